"""A video opened: what is in it, and its frames, checked, in the order in which they are shown.

A frame that cannot be decoded ends it: to show the frame before twice would be a made-up picture, and to
leave it out would leave a hole.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from anyrestore.errors import InputError
from anyrestore.storage import shown
from anyrestore.video.av import FFmpegError, InputContainer, av
from anyrestore.video.recognition import recognise

_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC
_MICROSECONDS = 1_000_000  # a container's unit of time
_HDR = {16: "PQ", 18: "HLG"}


@dataclass
class Clip:
    """A video file, opened.

    Attributes:
        path: where it is.
        name: what sentences call it.
        container: PyAV's.
        stream: the video stream whose frames are restored.
        first: its first frame: size, format, colours of all.
        warnings: what there is to be said about it.
    """

    path: Path
    name: str
    container: InputContainer
    stream: av.VideoStream
    first: av.VideoFrame
    warnings: list[str] = field(default_factory=list[str])

    @property
    def others(self) -> list[Any]:
        """The streams that are copied."""
        return [stream for stream in self.container.streams if stream.index != self.stream.index]

    @property
    def rate(self) -> Fraction:
        """Frames a second, on the average."""
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    @property
    def expected(self) -> int | None:
        """How many frames there will be, as far as the header says."""
        if self.stream.frames:
            return self.stream.frames
        duration = self.container.duration
        return None if not duration else max(1, round(duration * self.rate / _MICROSECONDS))

    def frames(self) -> Generator[av.VideoFrame]:
        """All frames, from the beginning.

        Raises:
            InputError: ``corrupt``, ``truncated``, or ``unsupported_format`` for frames unlike the first.
        """
        with open_container(self.path, self.name) as again:
            stream = again.streams.video[self._position()]
            last: int | None = None
            for frame in decode(again, stream, self.name):
                self._check(frame, last)
                last = frame.pts
                yield frame

    def _position(self) -> int:
        return [stream.index for stream in self.container.streams.video].index(self.stream.index)

    def _check(self, frame: av.VideoFrame, last: int | None) -> None:
        first = self.first
        if (frame.width, frame.height, frame.format.name) != (first.width, first.height, first.format.name):
            raise InputError(
                f"{self.name}: expected frames of {first.width} x {first.height} ({first.format.name}) "
                f"throughout, at {_moment(frame)} they become {frame.width} x {frame.height} "
                f"({frame.format.name}); cut it there",
                code="unsupported_format",
            )
        if frame.pts is None or (last is not None and frame.pts <= last):
            raise InputError(
                f"{self.name} is damaged: its time stamps do not rise at {_moment(frame)}; remux it first",
                code="corrupt",
            )


@contextmanager
def open_clip(path: Path, max_pixels: int) -> Generator[Clip]:
    """Open a video, as far as its first frame.

    Args:
        path: the file.
        max_pixels: of a frame, the most to accept.

    Raises:
        InputError: as for pictures; ``no_frames`` if there is no video in it.
    """
    name = shown(path)
    with open_container(path, name) as container:
        streams = [stream for stream in container.streams.video if not stream.disposition & _COVER]
        if not streams:
            raise InputError(f"{name} has no video stream; expected one with frames", code="no_frames")
        stream = streams[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            raise InputError(
                f"{name} has frames of {width} x {height} = {width * height:,} pixels; the limit is "
                f"{max_pixels:,}.",
                code="too_many_pixels",
            )
        first = next(decode(container, stream, name), None)
        if first is None:
            code = "truncated" if stream.frames else "no_frames"
            raise InputError(f"{name} has a video stream, but not one whole frame", code=code)
        clip = Clip(path, name, container, stream, first)
        clip.warnings += _remarks(clip, len(streams))
        yield clip


@contextmanager
def open_container(path: Path, name: str) -> Generator[InputContainer]:
    """A file taken apart by the one demuxer that its first bytes name.

    Raises:
        InputError: it is not there, not a video, or its header cannot be read.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        code = "permission" if isinstance(error, PermissionError) else "not_found"
        raise InputError(f"{name} cannot be read: {error.strerror or error}", code=code) from None
    if not path.is_file():
        raise InputError(f"{name} is not a regular file", code="not_a_regular_file")
    if size == 0:
        raise InputError(f"{name} is empty (0 bytes).", code="empty_file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{name} cannot be read: no permission", code="permission")
    demuxer = recognise(path)
    if demuxer is None:
        raise InputError(
            f"{name} is not a video of a known kind; expected MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG or NUT",
            code="unsupported_format",
        )
    # "file:" keeps colons in a name from being taken for a protocol; no other protocol is let in.
    try:
        container = av.open(
            f"file:{path.absolute()}",
            format=demuxer,
            container_options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (FFmpegError, ValueError) as error:
        raise InputError(
            f"{name} is damaged or cut short: its header cannot be read ({reason(error)})", code="corrupt"
        ) from error
    with container:
        yield container


def decode(container: InputContainer, stream: av.VideoStream, name: str) -> Iterator[av.VideoFrame]:
    """The frames of a stream, with time stamps.

    Raises:
        InputError: ``corrupt`` for a frame that cannot be decoded, ``truncated`` for data that ends early.
    """
    stream.thread_type = "AUTO"  # pyright: ignore[reportAttributeAccessIssue] (its setter takes the name)
    moment = "its beginning"
    last = Fraction(0)
    try:
        for packet in container.demux():
            if packet.is_corrupt:
                raise InputError(f"{name} is cut short after {moment}", code="truncated")
            last = max(last, _end(packet))
            if packet.stream.index != stream.index:  # `stream_index` of the last, empty packets is 0
                continue
            for frame in cast("list[av.VideoFrame]", packet.decode()):
                if frame.is_corrupt:
                    raise InputError(
                        f"{name} is damaged: the frame at {_moment(frame)} cannot be decoded whole",
                        code="corrupt",
                    )
                if frame.pts is None:
                    frame.pts = frame.dts
                moment = _moment(frame)
                yield frame
        if container.format.name.startswith("matroska") and _is_short(container, stream, last):
            raise InputError(f"{name} is cut short after {moment}", code="truncated")
    except FFmpegError as error:
        raise InputError(
            f"{name} is damaged: what follows {moment} cannot be decoded ({reason(error)})", code="corrupt"
        ) from error


def reason(error: Exception) -> str:
    """What FFmpeg says, without its error number."""
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".").lower()


def _moment(frame: av.VideoFrame) -> str:
    if frame.pts is None or frame.time_base is None:
        return "an unknown time"
    return f"{float(frame.pts * frame.time_base):.3f} s"


def _end(packet: av.Packet[Any]) -> Fraction:
    """Until when a packet is shown, in seconds; 0 if it does not say."""
    if packet.pts is None:
        return Fraction(0)
    return (packet.pts + (packet.duration or 0)) * packet.time_base


def _is_short(container: InputContainer, stream: av.VideoStream, last: Fraction) -> bool:
    """Whether packets end well before what the header says; FFmpeg takes a cut Matroska for a whole one."""
    said = Fraction((container.duration or 0) + max(container.start_time or 0, 0), _MICROSECONDS)
    return said - last > max(2 / (stream.average_rate or Fraction(25)), Fraction(1, 10))


def _remarks(clip: Clip, videos: int) -> list[str]:
    """What a user should know of it."""
    found: list[str] = []
    if videos > 1:
        found.append(f"of its {videos} video streams the first is restored, the others are copied")
    if clip.first.interlaced_frame:
        found.append(
            "it is interlaced: both fields of a frame are restored as one picture, moving edges with their "
            "combs; deinterlace it first for a better result"
        )
    if clip.first.color_trc in _HDR:
        found.append(f"it is HDR ({_HDR[clip.first.color_trc]}); models know pictures in the range of sRGB")
    return found
