"""Decoded pictures in memory, shared by the processes that feed a training run.

Decoding is far slower than cutting a crop. Every picture is decoded once, by whichever process first needs
it, and kept as bytes in one file that all processes map; a crop touches only its own pages. The file has
no name from the start (``O_TMPFILE``): when the last process ends, however it ends, the kernel frees it.

Filling is guarded by a POSIX record lock, which the kernel releases when its holder dies, so a killed
worker cannot keep the others waiting; what it had half written was not announced yet, and is overwritten.
What is unusual: nothing is ever thrown out. Training visits pictures in random order, where no rule of
replacement does better than keeping what came first; what does not fit is decoded every time.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator
from pathlib import Path

import torch
from torch import Tensor

from anyrestore.errors import DataError, UsageError

__all__ = ["PictureCache", "capacity_of"]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's memory file system, not a name of ours
# The index begins with one row of its own: bytes in use, and whether the file system refused more.
_HEAD, _COLUMNS, _WORD = 1, 6, 8
_USED, _FULL = 0, 1
# A row of the index: whether the picture is there, where it begins, its size and its type.
_READY, _BEGIN, _CHANNELS, _HEIGHT, _WIDTH, _TYPE = range(_COLUMNS)
_TYPES = (torch.uint8, torch.float32)


class PictureCache:
    """Pictures by number, decoded once.

    Args:
        pictures: how many there are.
        capacity: at most so many bytes of memory, the index included.
        file: the inherited file descriptor of another process's cache (its :attr:`file`), which this one
            is to share; None: a new cache.

    Raises:
        DataError: there is no room for a file of that size.
    """

    def __init__(self, pictures: int, capacity: int, file: int | None = None) -> None:
        self.pictures, self.capacity = pictures, capacity
        try:
            self.file = _new_file(capacity) if file is None else file
            weakref.finalize(self, os.close, self.file)
            self._memory = mmap.mmap(self.file, capacity)
        except (OSError, OverflowError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise DataError(
                f"expected room for a cache of {capacity / 1e9:g} GB of decoded pictures, but it cannot be "
                f"made: {why}; ask for a smaller one (--cache-gb), or none (0)"
            ) from error
        words = (pictures + _HEAD) * _COLUMNS
        self._index = torch.frombuffer(self._memory, dtype=torch.int64, count=words).view(-1, _COLUMNS)
        self._known = dict[int, Tensor]()  # what this process has found to be there
        self._thread = threading.Lock()  # record locks hold between processes, not between threads
        if file is None:
            self._index[0, _USED] = _page(words * _WORD)

    @staticmethod
    def smallest(pictures: int) -> int:
        """A capacity below which there is room for nothing but the index."""
        return _page((pictures + _HEAD) * _COLUMNS * _WORD) + mmap.PAGESIZE

    @property
    def used(self) -> int:
        """Bytes in use, the index included."""
        return int(self._index[0, _USED])

    def get(self, number: int, decode: Callable[[], Tensor]) -> Tensor:
        """Picture ``number``: a view of the shared memory, not to be written to, or what ``decode`` gives.

        Args:
            number: of the picture, from 0.
            decode: called where the picture is not there yet; gives (c h w), uint8 or float32.

        Raises:
            Whatever ``decode`` raises; nothing is stored then.
        """
        found = self._find(number)
        if found is not None:
            return found
        picture = decode()
        return self._store(number, picture)

    def _find(self, number: int) -> Tensor | None:
        if number in self._known:
            return self._known[number]
        if not int(self._index[number + _HEAD, _READY]):
            return None
        # Once for every picture and process: what another processor wrote before it released the lock is
        # sure to be seen after the lock was taken here.
        with self._lock():
            return self._view(number)

    def _view(self, number: int) -> Tensor:
        _, begin, c, h, w, kind = (int(word) for word in self._index[number + _HEAD])
        flat = torch.frombuffer(self._memory, dtype=_TYPES[kind], count=c * h * w, offset=begin)
        self._known[number] = flat.view(c, h, w)
        return self._known[number]

    def _store(self, number: int, picture: Tensor) -> Tensor:
        if picture.ndim != 3 or picture.dtype not in _TYPES:
            return picture
        size = picture.numel() * picture.element_size()
        if self._room() < size or int(self._index[0, _FULL]):
            return picture
        with self._lock():
            row = self._index[number + _HEAD]
            if int(row[_READY]):  # another process was faster
                return self._view(number)
            begin = self.used
            if self._room() < size:
                return picture
            try:
                self._write(picture, begin)
            except OSError:
                # Less memory than promised. Writing through the map would have been a SIGBUS.
                self._index[0, _FULL] = 1
                return picture
            # In this order, a process killed in between loses at most this picture's room.
            self._index[0, _USED] = begin + _page(size)
            row[1:] = torch.tensor([begin, *picture.shape, _TYPES.index(picture.dtype)])
            row[_READY] = 1
            return self._view(number)

    def _room(self) -> int:
        return self.capacity - self.used

    def _write(self, picture: Tensor, begin: int) -> None:
        data = memoryview(picture.contiguous().view(torch.uint8).numpy().data).cast("B")
        done = 0
        while done < len(data):
            done += os.pwrite(self.file, data[done:], begin + done)

    @contextlib.contextmanager
    def _lock(self) -> Generator[None]:
        with self._thread:
            fcntl.lockf(self.file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self.file, fcntl.LOCK_UN)


def capacity_of(gigabytes: float) -> int:
    """A cache's size in bytes.

    Raises:
        UsageError: below 0, no number, or more than this machine's memory.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if not 0 <= gigabytes * 1e9 <= memory:
        raise UsageError(
            f"expected from 0 to {memory / 1e9:.1f} GB, this machine's memory, for decoded pictures "
            f"(--cache-gb), came {gigabytes:g}; give less"
        )
    return int(gigabytes * 1e9)


def _page(size: int) -> int:
    """Up to whole pages, so that every picture is aligned for its type."""
    return math.ceil(size / mmap.PAGESIZE) * mmap.PAGESIZE


def _new_file(size: int) -> int:
    """A sparse file without a name: in memory if all of it has room there, else in the temporary folder."""
    folder = Path(tempfile.gettempdir())
    if _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK):
        state = os.statvfs(_SHARED_MEMORY)
        if state.f_bavail * state.f_frsize >= size:
            folder = _SHARED_MEMORY
    with tempfile.TemporaryFile(dir=folder) as file:
        os.ftruncate(file.fileno(), size)
        return os.dup(file.fileno())
