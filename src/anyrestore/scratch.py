"""Arrays larger than memory: they lie in a file without a name, in a scratch folder.

    array = allocate((20_000, 20_000, 3), np.uint8, folder)  # an ordinary, writable ndarray, all zeros
    array[:256] = ...
    release(array, 0, 256)  # these rows leave memory, not the file

The file is unlinked before the first byte is written, so it is gone when the last reference to the array is,
however the process ends. Its room is taken at once (posix_fallocate): a full disk is an error here, not a
SIGBUS at some later row.

What is unusual: the pages of a shared mapping count as resident memory of the process for as long as they are
mapped. The kernel takes them away only when memory is short, so whoever is done with rows says so with
`release`; the pages then belong to the page cache alone, which gives way to anybody who needs memory. Two
limits: a folder on tmpfs is memory by another name, and the page cache writes what was changed to the disk
in its own time, at the disk's speed.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anyrestore.errors import OutputError

__all__ = ["SUPPORTED", "allocate", "is_backed", "release"]

SUPPORTED = hasattr(os, "posix_fallocate") and hasattr(mmap.mmap, "madvise")
"""Whether the system has what this takes: Linux has, macOS and Windows have not."""

_PIECE = 2**24  # bytes written at once where room cannot be asked for
_WINDOW = 2**16
"""Bytes that Linux maps around a page that is looked at (``fault_around_bytes``)."""


def allocate(shape: Sequence[int], dtype: npt.DTypeLike, folder: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """An array of zeros in a nameless file; `torch.from_numpy` takes it without a copy.

    Args:
        shape: As for `numpy.zeros`; row-major.
        dtype: Any type of numbers, usually float32, uint8 or uint16.
        folder: Where the file lies. A file system on a disk, with as many free bytes as the array has.

    Returns:
        A writable, contiguous array. Its file lives as long as the array, or a view or tensor made of it.

    Raises:
        OutputError: ``disk_full`` if the folder has no room for it, ``output_unwritable`` if nothing can be
            stored in the folder, ``output_storage`` for anything else.
    """
    kind = np.dtype(dtype)
    size = max(math.prod(shape) * kind.itemsize, 1)  # (a mapping has at least one byte)
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".anyrestore.", suffix=".tmp") as file:
            # Looked at first, since a hopeless request would fill the disk for a moment before it fails.
            if size > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _take_room(file.fileno(), size)
            buffer = mmap.mmap(file.fileno(), size)  # keeps a descriptor of its own
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
        raise OutputError(
            f"the scratch folder {os.fsdecode(folder)!r} cannot take {size:,} bytes: {error.strerror}; "
            "name another folder.",
            code="disk_full" if full else "output_unwritable" if forbidden else "output_storage",
        ) from error
    return np.ndarray(tuple(shape), kind, buffer=buffer)


def _take_room(descriptor: int, size: int) -> None:
    """Make an empty file so long, of blocks that are its own."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = memoryview(bytes(_PIECE))  # macOS and Windows have no such call
    while size:
        size -= os.write(descriptor, zeros[:size])


def release(array: npt.NDArray[Any], first: int = 0, last: int | None = None) -> None:
    """Let rows leave memory; their values stay, and come back from the file when they are looked at.

    Safe at any time, also while others read or write the rows: nothing is lost, it only costs the time to
    map the pages again. An array that `allocate` did not make is left as it is; so is every one on Windows,
    which takes pages away by itself.

    Args:
        array: From `allocate`, or a view of one.
        first: The first row (along the leading axis).
        last: The row after the last one; None for all that follow.
    """
    buffer = _mapping(array)
    rows = array[first:last]
    if buffer is None or rows.size == 0 or not hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
        return
    base = np.frombuffer(buffer, np.uint8, 1).__array_interface__["data"][0]
    low = high = rows.__array_interface__["data"][0] - base
    for count, stride in zip(rows.shape, rows.strides, strict=True):
        low += min(0, (count - 1) * stride)
        high += max(0, (count - 1) * stride)
    # Outwards, and a window more: where Linux maps a page it maps the window around it, as far as that is in
    # the page cache, so rows that were let go are back with their neighbours. What is needed comes back too.
    start = max(low // _WINDOW - 1, 0) * _WINDOW
    stop = min(-(-(high + rows.itemsize) // _WINDOW) * _WINDOW, len(buffer))
    buffer.madvise(mmap.MADV_DONTNEED, start, stop - start)


def is_backed(array: npt.NDArray[Any]) -> bool:
    """Whether the array is from `allocate`, or a view of one."""
    return _mapping(array) is not None


def _mapping(array: npt.NDArray[Any]) -> mmap.mmap | None:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
