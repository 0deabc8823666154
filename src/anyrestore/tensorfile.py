"""Files of tensors: opened with suspicion, and safetensors bytes that are checked before they are parsed.

The safetensors library refuses most broken headers. It lets through a name that stands twice (the last one
wins), takes a header of up to 100 MB at its word, and has no checksum: a flipped bit in the numbers loads.
Here a name may stand once, a header has a bound, and :func:`pack` puts a SHA-256 into it.

Unusual: files are read, not mapped. What is hashed and what is used are the same bytes in memory, whoever
writes to the file meanwhile; a file that changed while it was open is refused.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

__all__ = [
    "FILE_LIMIT",
    "HEADER_LIMIT",
    "WORD",
    "ByteFile",
    "Header",
    "opened",
    "pack",
    "parse",
    "read_header",
    "read_whole",
]

ByteFile = io.BufferedReader | io.BytesIO

HEADER_LIMIT = 4 << 20
"""Bytes. A network of ten thousand tensors has one; as Python objects it may take twenty times as much."""
FILE_LIMIT = 2 << 30
"""Bytes of a file that is read whole; no network that restores pictures has a quarter of that."""
WORD = "anyrestore"
"""The key of the header's metadata under which anyrestore says, as JSON, what a file is."""
_CHECKSUM = "sha256"


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        words: its metadata.
        tensors: by name, the type (safetensors' word: "F32"), the shape, and first and last offset.
        size: bytes before the numbers.
    """

    words: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...], tuple[int, int]]]
    size: int


@contextmanager
def opened(path: Path) -> Generator[io.BufferedReader]:
    """Open a file for reading; it must be a regular one, and must not change until the block ends.

    Raises:
        OSError: it cannot be opened, is something else (a FIFO is not waited for), or has changed.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a name with a null character
        raise OSError(errno.EINVAL, "no file can have this name") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor)
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield file
        if _state(os.fstat(descriptor)) != _state(before):
            raise OSError(errno.EBUSY, "it changed while it was read")


def read_whole(file: io.BufferedReader, limit: int = FILE_LIMIT) -> bytes:
    """All bytes of an open file.

    Raises:
        OSError: there are more than ``limit``; none of them has been read.
    """
    length = file.seek(0, io.SEEK_END)
    if length > limit:
        raise OSError(errno.EFBIG, f"its {length:,} bytes are more than such a file has")
    file.seek(0)
    return file.read()


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def read_header(file: ByteFile) -> Header | None:
    """The header of a safetensors file; None for another kind of file, and for an impossible header.

    Leaves the file at its beginning.
    """
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    raw = file.read(size) if 2 <= size <= min(HEADER_LIMIT, length - 8) else b""
    file.seek(0)
    if not raw.startswith(b"{"):
        return None
    try:
        found = json.loads(raw, object_pairs_hook=_once)
        words = found.pop("__metadata__", {})
        tensors = {name: _entry(entry) for name, entry in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(words, dict) or not all(
        isinstance(v, str) for v in cast("dict[str, Any]", words).values()
    ):
        return None
    return Header(cast("dict[str, str]", words), tensors, 8 + size)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _entry(entry: Mapping[str, Any]) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or not all(
        type(n) is int and n >= 0 for n in (*shape, begin, end)
    ):
        raise ValueError("no numbers")
    return entry["dtype"], shape, (begin, end)


def parse(data: bytes) -> tuple[Header, dict[str, Tensor]]:
    """The header and the tensors of a safetensors file; where :func:`pack` made it, its checksum is right.

    Raises:
        ValueError: it is no such file, or damaged; the message says how.
    """
    header = read_header(io.BytesIO(data))
    if header is None:
        raise ValueError("its header is broken")
    try:
        tensors = load(data)
    # KeyError: types that torch does not have. RuntimeError, OverflowError: shapes that it cannot make.
    except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    stated = _about(header).get(_CHECKSUM)
    if stated is not None and stated != _checksum(header, memoryview(data)):
        raise ValueError("its checksum is that of other contents")
    return header, tensors


def pack(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """A safetensors file of contiguous tensors on the CPU; equal contents give equal bytes.

    Args:
        tensors: by name.
        about: what the file is, to become JSON; a checksum of it and of the tensors is added.
    """
    # One word, not two: safetensors writes several in any order.
    plain = save(dict(tensors), metadata={WORD: json.dumps(about)})
    header = read_header(io.BytesIO(plain))
    assert header is not None  # it was just written
    signed = {**about, _CHECKSUM: _checksum(header, memoryview(plain))}
    return save(dict(tensors), metadata={WORD: json.dumps(signed)})


def _about(header: Header) -> dict[str, Any]:
    """What anyrestore says in a header; nothing where it did not write it."""
    try:
        found = json.loads(header.words.get(WORD, "{}"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _checksum(header: Header, data: memoryview) -> str:
    """SHA-256 of everything that a file says and holds, but for itself."""
    about = {key: value for key, value in _about(header).items() if key != _CHECKSUM}
    digest = hashlib.sha256(json.dumps([about, header.tensors], sort_keys=True).encode())
    digest.update(data[header.size :])
    return digest.hexdigest()
