"""The bytes of a picture file: in memory, or left in the file and fetched piece by piece.

Both can be cut (`content[8:12]`) and have a length. Pieces are fetched with `pread`: a mapping of the file
would end the process with SIGBUS if somebody cut the file short meanwhile, and count as its memory. libvips
would map an open file; so it is given `StoredBytes.read` and `StoredBytes.seek` instead.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Sequence
from typing import overload

from anyrestore.errors import InputError
from anyrestore.storage import shown

# The order and the flags of system calls are the point here, so they are named as such.
# ruff: noqa: PTH116

_WINDOW = 65_536  # bytes fetched at once: walks over a file ask for four bytes at a time


class StoredBytes:
    """The bytes of an open file, read when they are asked for.

    Args:
        descriptor: Of a regular file; it stays the caller's, and has to stay open.
        name: What error sentences call it.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.failure: BaseException | None = None
        self._descriptor = descriptor
        self._name = name
        self._position = 0
        self._size = os.fstat(descriptor).st_size
        self._start, self._window = 0, b""

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, int):
            return self._fetch(place, place + 1)[0]
        start, stop, _ = place.indices(self._size)
        return self._fetch(start, stop) if start < stop else b""

    def read(self, count: int) -> bytes:
        """The next bytes, as of a file; none at its end, and after an error, which `check` raises.

        It is called by libvips, which exceptions must not enter, and which takes some of them for an end.
        """
        try:
            piece = b"" if self.failure else _pread(self._descriptor, count, self._position)
            if not piece and count > 0 and self._position < self._size and not self.failure:
                self.failure = self._shortened()
        except BaseException as error:  # noqa: BLE001 (Ctrl-C too; the caller of libvips raises it)
            self.failure = error
            return b""
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int) -> int:
        """Say where `read` goes on, as of a file; -1 and no change for a place before its begin."""
        place = offset + (0, self._position, self._size)[whence]
        if place < 0:
            return -1
        self._position = place
        return place

    def check(self) -> None:
        """Raise what stopped `read`, if anything did."""
        if isinstance(self.failure, OSError):
            raise _reading_failed(self.failure, self._name) from self.failure
        if self.failure is not None:
            raise self.failure

    def _shortened(self) -> InputError:
        return InputError(f"{self._name} became shorter while it was read.", code="truncated")

    def _fetch(self, start: int, stop: int) -> bytes:
        inside = start - self._start
        if inside < 0 or stop > self._start + len(self._window):
            if stop - start >= _WINDOW:
                return self._read(start, stop)
            self._start, inside = start, 0
            self._window = self._read(start, min(start + _WINDOW, self._size))
        return self._window[inside : inside + stop - start]

    def _read(self, start: int, stop: int) -> bytes:
        pieces, at = list[bytes](), start
        while at < stop:  # one call gives 2 GiB at most
            try:
                pieces.append(_pread(self._descriptor, stop - at, at))
            except OSError as error:
                raise _reading_failed(error, self._name) from error
            if not pieces[-1]:
                raise self._shortened()
            at += len(pieces[-1])
        return b"".join(pieces)


def _pread(descriptor: int, count: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, at)
    os.lseek(descriptor, at, os.SEEK_SET)  # Windows; a descriptor is read by one thread at a time
    return os.read(descriptor, count)


Content = bytes | StoredBytes
"""A whole file; the walks over it take either."""


class Masked:
    """What a decoder is given of a file where it must not see all of it: some bytes are replaced.

    Args:
        data: The file; the errors of reading it stay there.
        masks: Places, and what stands there instead.
    """

    def __init__(self, data: Content, masks: Sequence[tuple[int, bytes]]) -> None:
        self._data = data
        self._masks = masks
        self._position = 0

    def read(self, count: int) -> bytes:
        """As `StoredBytes.read`."""
        start = self._position
        if isinstance(self._data, bytes):
            piece = bytearray(self._data[start : start + count])
        else:
            self._data.seek(start, os.SEEK_SET)
            piece = bytearray(self._data.read(count))
        self._position = end = start + len(piece)
        for at, mask in self._masks:
            first, last = max(at, start), min(at + len(mask), end)
            if first < last:
                piece[first - start : last - start] = mask[first - at : last - at]
        return bytes(piece)

    def seek(self, offset: int, whence: int) -> int:
        """As `StoredBytes.seek`."""
        place = offset + (0, self._position, len(self._data))[whence]
        if place < 0:
            return -1
        self._position = place
        return place


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file, read once, so that what is checked is what is decoded."""
    with open_stored(path, limit) as stored:
        return stored[:]


@contextlib.contextmanager
def open_stored(path: str | os.PathLike[str], limit: int) -> Generator[StoredBytes]:
    """A regular file of at most `limit` bytes, open for as long as the block lasts.

    Raises:
        InputError: ``not_found``, ``permission``, ``not_a_regular_file``, ``unreadable``, ``empty_file`` or
            ``file_too_large``.
    """
    descriptor = _open_regular(path, limit)
    try:
        yield StoredBytes(descriptor, shown(path))
    finally:
        os.close(descriptor)


def _open_regular(path: str | os.PathLike[str], limit: int) -> int:
    name = shown(path)
    try:
        # stat before open: opening a FIFO blocks, and opening a device can have effects.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise InputError(f"{name} is {what}; give the name of a picture file.", code="not_a_regular_file")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise _reading_failed(error, name) from error
    except ValueError as error:  # an embedded NUL character
        raise InputError(f"{name} is not a possible file name.", code="not_found") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name} is no longer a regular file.", code="not_a_regular_file")
        if status.st_size == 0:
            raise InputError(f"{name} is empty (0 bytes).", code="empty_file")
        _check_size(status.st_size, limit, name)
    except InputError:
        os.close(descriptor)
        raise
    return descriptor


def _reading_failed(error: OSError, name: str) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{name} does not exist.", code="not_found")
    if isinstance(error, PermissionError):
        return InputError(f"{name} may not be read (permission denied).", code="permission")
    nowhere = error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
    return InputError(
        f"{name} could not be read: {error.strerror}.", code="not_found" if nowhere else "unreadable"
    )


def _check_size(size: int, limit: int, name: str) -> None:
    if size > limit:
        raise InputError(f"{name} has {size:,} bytes; the limit is {limit:,}.", code="file_too_large")
