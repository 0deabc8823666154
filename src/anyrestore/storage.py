"""Storing bytes so that a name holds at every moment either the old file or the new one, never half.

The order of system calls is the point: temporary file beside the target, write, fsync, rename, fsync of the
folder. Pictures, weights and checkpoints all go to disk through here.

A temporary file is called `.NAME.<12 hex digits>.tmp` after the file it is to become, and locked by the
process that fills it. The lock goes with the process, so what a killed one left can be told from what a
living one is at work on (:func:`sweep`).
"""

# ruff: noqa: PTH101, PTH105, PTH108, PTH110, PTH112, PTH113, PTH116, PTH118, PTH120

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Generator, Iterable
from pathlib import Path

from anyrestore.errors import OutputError

if sys.platform != "win32":
    import fcntl

__all__ = [
    "check_storable",
    "check_target",
    "lock",
    "make_folder",
    "place",
    "shown",
    "store_bytes",
    "storing",
    "storing_failed",
    "sweep",
]

_TEMPORARY = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{12}\.tmp", re.DOTALL)


def shown(path: str | os.PathLike[str]) -> str:
    """A file name for a sentence: quoted, with control characters and bad UTF-8 escaped."""
    return repr(os.fsdecode(path))


def check_storable(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Find out whether :func:`store_bytes` could store to ``path``, before any long work.

    Creates and removes an empty temporary file in the folder, as storing would.

    Raises:
        OutputError: ``output_exists``, ``output_unwritable``, ``disk_full`` or ``output_storage``.
    """
    check_target(path, overwrite=overwrite)
    final = os.path.realpath(path)
    try:
        descriptor, temporary = _temporary_beside(final)
        os.close(descriptor)
        os.unlink(temporary)
    except OSError as error:
        raise storing_failed(error, path) from error


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """See from the outside that ``path`` can be a file's name, without touching the disk.

    Raises:
        OutputError: as :func:`check_storable`.
    """
    name = shown(path)
    try:
        parent = Path(os.path.realpath(path)).parent
        if not parent.is_dir():
            what = "is not a folder" if parent.exists() else "does not exist"
            raise OutputError(
                f"{name} cannot be written: the folder {shown(parent)} {what}.", code="output_unwritable"
            )
        if _stands(path):
            if os.path.isdir(path):
                raise OutputError(f"{name} is a folder; give a file name.", code="output_unwritable")
            if os.path.exists(path) and not os.path.isfile(path):
                raise OutputError(f"{name} is not a regular file.", code="output_unwritable")
            if not overwrite:
                raise OutputError(
                    f"{name} exists; choose another name or allow overwriting.", code="output_exists"
                )
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(
                f"{name} cannot be written: no permission in the folder {shown(parent)}.",
                code="output_unwritable",
            )
    except (OSError, ValueError) as error:
        raise storing_failed(error, path) from error


def _stands(path: str | os.PathLike[str]) -> bool:
    """As os.path.lexists, but an impossible name is an error rather than a free name."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _temporary_beside(final: str) -> tuple[int, str]:
    """A new file in the folder of `final`: descriptor and name. Its mode is what umask allows."""
    folder, name = os.path.split(final)
    temporary = os.path.join(folder, f".{_stem(name)}.{secrets.token_hex(6)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, 0o666)
    lock(descriptor)
    return descriptor, temporary


def _stem(name: str) -> str:
    """What a temporary file's name keeps of its target's: 255 bytes is the limit, the rest must fit too."""
    return os.fsdecode(os.fsencode(name)[:200])


def lock(descriptor: int) -> bool:
    """Take an open file for this process, until it is closed or the process ends.

    Returns:
        False if another process has it. Where there are no such locks (Windows, some network file systems)
        everybody gets it.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True


def sweep(folder: str | os.PathLike[str], names: Iterable[str]) -> int:
    """Remove the temporary files that killed processes left beside files of these names.

    Args:
        folder: Where the files are, or are to be.
        names: Their names, without a folder.

    Returns:
        How many were removed. What a living process is at work on stays, and so does all that cannot be
        removed.
    """
    stems, removed = {_stem(name) for name in names}, 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match is not None and match["stem"] in stems and entry.is_file(follow_symlinks=False):
                removed += _remove_if_left(entry.path)
    return removed


def _remove_if_left(temporary: str) -> bool:
    with contextlib.suppress(OSError):
        descriptor = os.open(temporary, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if lock(descriptor):
                os.unlink(temporary)
                return True
        finally:
            os.close(descriptor)
    return False


def store_bytes(data: bytes, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Put ``data`` at ``path`` in one step; a symbolic link is followed, a replaced file's mode kept.

    Args:
        data: The whole content.
        path: The target.
        overwrite: Replace an existing file; otherwise one that appears meanwhile is left alone.

    Raises:
        OutputError: ``output_exists``, ``output_unwritable``, ``disk_full`` or ``output_storage``; nothing
            is left behind.
    """
    with storing(path, overwrite=overwrite) as descriptor, open(descriptor, "wb", closefd=False) as file:
        file.write(data)


@contextlib.contextmanager
def storing(path: str | os.PathLike[str], *, overwrite: bool) -> Generator[int]:
    """As :func:`store_bytes`, for what is too large to hold: the block fills the file, which is then named.

    Args:
        path: The target.
        overwrite: As in :func:`store_bytes`.

    Yields:
        The descriptor of an empty file beside the target, to be written and read. An error that leaves the
        block removes the file.

    Raises:
        OutputError: as :func:`store_bytes`, also for an `OSError` that leaves the block.
    """
    final = os.path.realpath(path)
    temporary: str | None = None
    descriptor: int | None = None
    try:
        descriptor, temporary = _temporary_beside(final)
        # Created with 0666 the kernel has applied the umask: remember that, be private meanwhile.
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if overwrite and os.path.exists(final):
            mode = stat.S_IMODE(os.stat(final).st_mode)
        os.chmod(temporary, 0o600)
        yield descriptor
        os.chmod(temporary, mode)
        os.fsync(descriptor)
        filled, descriptor = descriptor, None
        os.close(filled)
        if overwrite:
            os.replace(temporary, final)
            temporary = None
        else:
            temporary = _place_without_replacing(temporary, final)
        _sync_folder(os.path.dirname(final))
    except FileExistsError as error:
        raise _appeared(path) from error
    except OSError as error:
        raise storing_failed(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            if descriptor is not None:
                os.close(descriptor)
        with contextlib.suppress(OSError):
            if temporary is not None:
                os.unlink(temporary)


def place(finished: str | os.PathLike[str], path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Give a finished file, on the file system of ``path``, its name in one step.

    Args:
        finished: The file; another name of it may be left, to be removed.
        path: The target.
        overwrite: As in :func:`store_bytes`.

    Raises:
        OutputError: as :func:`store_bytes`; the finished file is as it was.
    """
    final = os.path.realpath(path)
    try:
        with Path(finished).open("rb+") as file:
            os.fsync(file.fileno())
        if overwrite:
            if os.path.exists(final):
                os.chmod(finished, stat.S_IMODE(os.stat(final).st_mode))
            os.replace(finished, final)
        else:
            _place_without_replacing(os.fspath(finished), final)
        _sync_folder(os.path.dirname(final))
    except FileExistsError as error:
        raise _appeared(path) from error
    except OSError as error:
        raise storing_failed(error, path) from error


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where there is none.

    Raises:
        OutputError: it cannot be made (code `output_unwritable`).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {shown(folder)}: {error.strerror or error}", code="output_unwritable"
        ) from None


def _appeared(path: str | os.PathLike[str]) -> OutputError:
    return OutputError(
        f"{shown(path)} appeared meanwhile and was left alone; choose another name.", code="output_exists"
    )


def _place_without_replacing(temporary: str, final: str) -> str | None:
    """Give the file its name unless that is taken; returns the temporary name if it still stands."""
    try:
        os.link(temporary, final)  # fails if the name is taken, which rename does not
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (FAT, some network file systems): look, then rename.
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, "exists", final) from None
        os.replace(temporary, final)
        return None
    return temporary


def _sync_folder(folder: str) -> None:
    """Make the rename itself durable; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def storing_failed(error: Exception, path: str | os.PathLike[str]) -> OutputError:
    """What a system call's error means for the file that was to be stored."""
    number = error.errno if isinstance(error, OSError) else None
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    code = "output_storage"
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        code = "disk_full"
    elif number is None or number in (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT),
        *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    ):
        code = "output_unwritable"
    return OutputError(f"{shown(path)} could not be written: {why}.", code=code)
