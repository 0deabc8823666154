"""A file of JSON objects, one a line: each goes out whole or not at all, as soon as it is known."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Generator, Mapping
from io import FileIO
from pathlib import Path

from anyrestore.storage import storing_failed


class LineFile:
    """An open file of lines.

    Args:
        path: the file; made if it is not there.
        mode: "w" to begin anew, "a+" to read what is there and add to it.

    Raises:
        OutputError: the file cannot be opened (every method: cannot be read or written).
    """

    def __init__(self, path: str | os.PathLike[str], mode: str) -> None:
        self.path = Path(path)
        with self._storing():
            self._file = FileIO(path, mode)

    def fileno(self) -> int:
        """The descriptor, for locking it."""
        return self._file.fileno()

    def read(self) -> list[bytes]:
        """The lines so far; what a kill left of a last one is cut off the file."""
        with self._storing():
            self._file.seek(0)
            data = self._file.readall()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                self._file.truncate(whole)
        return data[:whole].split(b"\n")[:-1]

    def add(self, record: Mapping[str, object]) -> None:
        """Write one line; in ASCII, so that names that are no UTF-8 come back as they were."""
        data = encoded(record).encode("ascii")
        with self._storing():
            # One call for the whole line: a signal comes before it or after it.
            written = self._file.write(data)
            if written != len(data):
                with contextlib.suppress(OSError):  # (a pipe has no end to be cut off)
                    self._file.truncate(self._file.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """See that all lines are on the disk, where they go to one."""
        with self._storing():
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe, a terminal, a device
                    raise

    def close(self) -> None:
        """As `sync`, and give the file back; a second time does nothing."""
        if not self._file.closed:
            try:
                self.sync()
            finally:
                self._file.close()

    @contextlib.contextmanager
    def _storing(self) -> Generator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise storing_failed(error, self.path) from error


def encoded(record: Mapping[str, object]) -> str:
    """A record as its line."""
    return json.dumps(record) + "\n"
