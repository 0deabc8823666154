"""What is used of PyAV, or the sentence that says that it is not installed."""

from __future__ import annotations

from anyrestore.errors import UsageError

try:
    import av
except ImportError as error:
    raise UsageError(
        'videos need PyAV, which is not installed; install it with: pip install "anyrestore[video]"',
        code="no_video",
    ) from error

from av.codec.codec import UnknownCodecError
from av.codec.context import Flags as CodecFlags
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.format import Flags as FormatFlags
from av.sidedata.sidedata import Type as SideData

__all__ = [
    "CodecFlags",
    "FFmpegError",
    "FormatFlags",
    "InputContainer",
    "OutputContainer",
    "SideData",
    "UnknownCodecError",
    "av",
]
