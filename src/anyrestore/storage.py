"""Storing bytes so that a name holds at every moment either the old file or the new one, never half.

The order of system calls is the point: temporary file beside the target, write, fsync, rename, fsync of the
folder. Pictures, weights and checkpoints all go to disk through here.
"""

# ruff: noqa: PTH101, PTH105, PTH108, PTH110, PTH112, PTH113, PTH116, PTH118, PTH120

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path

from anyrestore.errors import OutputError

__all__ = ["check_storable", "check_target", "place", "shown", "store_bytes", "storing"]


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
        raise _storing_failed(error, path) from error


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
        raise _storing_failed(error, path) from error


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
    # 255 bytes is the usual limit of a name; the random part must fit as well.
    stem = os.fsdecode(os.fsencode(name)[:200])
    temporary = os.path.join(folder, f".{stem}.{secrets.token_hex(6)}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(temporary, flags, 0o666), temporary


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
        raise _storing_failed(error, path) from error
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
        raise _storing_failed(error, path) from error


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


def _storing_failed(error: Exception, path: str | os.PathLike[str]) -> OutputError:
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
