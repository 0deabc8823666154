"""Where a batch takes its pictures from and where it puts the results: a folder, or an object store.

Names are relative to the place and separated by "/". A result gets its name in one step, in a folder by
`anyrestore.storage` (temporary file, fsync, rename), in an object store by a single put, which shows the
whole object or none. So whatever is killed in the middle leaves nothing under a final name.

Object stores are reached through fsspec (extra "scale") and the package that fsspec names for each: s3fs,
gcsfs, adlfs. Of those that fsspec knows, only object stores are accepted as a target, because only their put
is one step; anything can be a source.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

from anyrestore import image
from anyrestore.batch.lines import LineFile, encoded
from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.storage import lock, make_folder, shown, store_bytes, sweep

MANIFEST = ".anyrestore"
"""What the names of a target's manifests begin with; they end in .jsonl."""

_ONE_STEP = ("abfs", "abfss", "az", "gcs", "gs", "memory", "s3", "s3a")
"""Protocols of fsspec whose put shows the whole object or none."""
_FOLDERS = ("file", "local")
"""Protocols of fsspec that mean folders."""


@dataclass(frozen=True)
class Stored:
    """What was stored: its bytes and their SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Stamp:
    """By what a changed file is known: its size, and in a folder the nanoseconds of its last change."""

    size: int
    modified: int = 0


@runtime_checkable
class Store(Protocol):
    """A place with pictures in it."""

    place: str
    is_local: bool

    def listing(self) -> dict[str, Stamp]:
        """Every picture below the place, by name; none where there is no such place.

        Raises:
            InputError: the place cannot be read.
        """
        ...

    def address(self, name: str) -> str:
        """How a report calls the picture."""
        ...

    def fetch(self, name: str, spare: Path) -> Path:
        """The file of a picture: its own, or a copy made at `spare`.

        Raises:
            InputError: it cannot be read.
        """
        ...

    def path_for(self, name: str, spare: Path) -> Path:
        """Where to write a result: its own file, or `spare`."""
        ...

    def put(self, name: str, path: Path) -> None:
        """Give a result its name, in one step, if it was written to a spare file.

        Raises:
            OutputError: it cannot be stored; nothing new is under the name.
        """
        ...

    def manifests(self) -> Iterator[tuple[str, bytes]]:
        """The names and contents of all manifests in the place."""
        ...

    def write_manifest(self, name: str, data: bytes) -> None:
        """Store a manifest as a whole; errors as of `put`."""
        ...

    def restart_manifest(self, name: str, header: Mapping[str, object]) -> None:
        """Let a manifest begin anew with a header, unless somebody is at work on it; errors as of `put`."""
        ...

    def is_in_use(self, name: str) -> bool:
        """Whether somebody is at work on a manifest, as far as that can be told."""
        ...

    def sweep(self, names: Iterable[str]) -> None:
        """Remove what killed processes left of results with these names."""
        ...


def open_store(place: str) -> Store:
    """A folder's path, or a URL of anything that fsspec knows ("file://" is a folder).

    Raises:
        UsageError: ``no_store``: fsspec, or what it needs for the URL, is not installed.
    """
    protocol, separator, rest = place.partition("://")
    if not separator:
        return Folder(place)
    if protocol in _FOLDERS:
        return Folder(rest)
    return Remote(place, *_filesystem(place, protocol))


def check_target(place: str) -> None:
    """Make sure that results can be stored there in one step, before anything is reached.

    Raises:
        UsageError: they cannot.
    """
    protocol, separator, _ = place.partition("://")
    if separator and protocol not in (*_ONE_STEP, *_FOLDERS):
        raise UsageError(
            f"a target must take a file in one step, which {protocol} does not; expected a folder or one of "
            f"{', '.join(f'{one}://' for one in _ONE_STEP)}"
        )


def check_apart(source: Store, target: Store) -> None:
    """Make sure that no result can replace a picture.

    Raises:
        UsageError: the source is, or lies in, the target.
    """
    before, after = _absolute(source), _absolute(target)
    if before == after or before.startswith(after.rstrip("/") + "/"):
        raise UsageError(
            f"results in {target.place} would lie among the pictures of {source.place}; name another target"
        )


def inside(target: Store, source: Store) -> str | None:
    """What the names of results would begin with if they were taken for pictures; None if they are not."""
    before, after = _absolute(source).rstrip("/") + "/", _absolute(target)
    return after.removeprefix(before).rstrip("/") + "/" if after.startswith(before) else None


def is_safe(name: str) -> bool:
    """Whether a name stays below its place; an object's key may be anything."""
    return not name.startswith("/") and not {"", ".", ".."} & set(name.split("/")) and "\0" not in name


class Folder:
    """A folder of this machine, or one that machines share."""

    is_local = True

    def __init__(self, place: str) -> None:
        self.place = place
        self.root = Path(place)

    def listing(self) -> dict[str, Stamp]:
        """See `Store`. Symbolic links are left out, so that nothing is found twice, nor outside."""
        found = dict[str, Stamp]()
        if not self.root.exists():
            return found
        for folder, _, files in os.walk(self.root, onerror=_unreadable):
            for path in (Path(folder, file) for file in files if _is_picture(file)):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    found[path.relative_to(self.root).as_posix()] = Stamp(status.st_size, status.st_mtime_ns)
        return dict(sorted(found.items()))

    def address(self, name: str) -> str:
        """See `Store`."""
        return str(self.root / name)

    def fetch(self, name: str, spare: Path) -> Path:
        """See `Store`."""
        del spare
        return self.root / name

    def path_for(self, name: str, spare: Path) -> Path:
        """See `Store`."""
        del spare
        return self.root / name

    def put(self, name: str, path: Path) -> None:
        """Nothing to do: it has its name."""

    def manifests(self) -> Iterator[tuple[str, bytes]]:
        """See `Store`."""
        for path in sorted(self.root.glob(f"{MANIFEST}*.jsonl")):
            yield path.name, path.read_bytes()

    def write_manifest(self, name: str, data: bytes) -> None:
        """See `Store`."""
        make_folder(self.root)
        store_bytes(data, self.root / name, overwrite=True)

    def restart_manifest(self, name: str, header: Mapping[str, object]) -> None:
        """See `Store`. It is added to, not replaced: whoever opens it meanwhile looks at the same file."""
        with closing(LineFile(self.root / name, "a+")) as file:
            if lock(file.fileno()):
                file.read()
                file.add(header)

    def is_in_use(self, name: str) -> bool:
        """See `Store`."""
        with closing(LineFile(self.root / name, "a+")) as file:
            return not lock(file.fileno())

    def sweep(self, names: Iterable[str]) -> None:
        """See `Store`."""
        beside = dict[Path, list[str]]()
        for name in names:
            path = self.root / name
            beside.setdefault(path.parent, []).append(path.name)
        for folder, some in beside.items():
            sweep(folder, some)


class Remote:
    """A place that fsspec reaches.

    Args:
        place: the URL.
        filesystem: fsspec's object for it.
        root: what the filesystem calls the place.
    """

    is_local = False

    def __init__(self, place: str, filesystem: Any, root: str) -> None:
        self.place = place.rstrip("/")
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def listing(self) -> dict[str, Stamp]:
        """See `Store`."""
        try:
            self._filesystem.invalidate_cache()
            entries: dict[str, dict[str, Any]] = self._filesystem.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        # What each store raises is its own package's: there is no class that they have in common.
        except Exception as error:
            raise InputError(f"{self.place} cannot be listed: {_why(error)}", code="unreadable") from error
        names = {path.removeprefix(self._root + "/"): entry for path, entry in entries.items()}
        return {name: Stamp(int(names[name].get("size") or 0)) for name in sorted(names) if _is_picture(name)}

    def address(self, name: str) -> str:
        """See `Store`."""
        return f"{self.place}/{name}"

    def fetch(self, name: str, spare: Path) -> Path:
        """See `Store`."""
        try:
            spare.parent.mkdir(exist_ok=True)
            self._filesystem.get_file(f"{self._root}/{name}", str(spare))
        except FileNotFoundError as error:
            raise InputError(
                f"{shown(self.address(name))} is not there any more", code="not_found"
            ) from error
        except PermissionError as error:
            raise InputError(f"{shown(self.address(name))} may not be read", code="permission") from error
        except Exception as error:
            raise InputError(
                f"{shown(self.address(name))} cannot be read: {_why(error)}", code="unreadable"
            ) from error
        return spare

    def path_for(self, name: str, spare: Path) -> Path:
        """See `Store`."""
        del name
        return spare

    def put(self, name: str, path: Path) -> None:
        """See `Store`."""
        self._put(path.read_bytes(), name)

    def manifests(self) -> Iterator[tuple[str, bytes]]:
        """See `Store`."""
        try:
            self._filesystem.invalidate_cache()
            paths: list[str] = self._filesystem.ls(self._root, detail=False)
            for path in sorted(paths):
                name = PurePosixPath(path).name
                if name.startswith(MANIFEST) and name.endswith(".jsonl"):
                    yield name, self._filesystem.cat_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise InputError(f"{self.place} cannot be read: {_why(error)}", code="unreadable") from error

    def write_manifest(self, name: str, data: bytes) -> None:
        """See `Store`."""
        self._put(data, name)

    def restart_manifest(self, name: str, header: Mapping[str, object]) -> None:
        """See `Store`; who is at work on it puts parts of names of its own."""
        self._put(encoded(header).encode(), name)

    def is_in_use(self, name: str) -> bool:
        """Nobody: what was put is not added to."""
        del name
        return False

    def sweep(self, names: Iterable[str]) -> None:
        """Nothing to do: a put that was not finished is nowhere to be seen."""
        del names

    def _put(self, data: bytes, name: str) -> None:
        try:
            self._filesystem.pipe_file(f"{self._root}/{name}", data)
        except Exception as error:
            code = "output_unwritable" if isinstance(error, PermissionError) else "output_storage"
            raise OutputError(
                f"{shown(self.address(name))} could not be written: {_why(error)}", code=code
            ) from error


def stored(path: Path) -> Stored:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return Stored(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def unique(name: str) -> str:
    """A file's name that no other process gives: for a manifest that cannot be appended to."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{secrets.token_hex(6)}{dot}{suffix}"


def _filesystem(place: str, protocol: str) -> tuple[Any, str]:
    try:
        fsspec = importlib.import_module("fsspec")
        filesystem, root = fsspec.core.url_to_fs(place)
    except ImportError as error:
        raise UsageError(
            f'{protocol}:// needs packages that are not there ({error}); pip install "anyrestore[scale]" '
            "and what fsspec names for the protocol, such as s3fs",
            code="no_store",
        ) from error
    except ValueError as error:  # fsspec: no such protocol, or no such address
        raise UsageError(f"{place} is not a place that fsspec knows: {error}") from None
    return filesystem, str(root)


def _is_picture(name: str) -> bool:
    """Whether a file is named like a picture; names that begin with "._" macOS leaves on foreign disks."""
    path = PurePosixPath(name)
    return path.suffix.lower() in image.SUFFIXES and not path.name.startswith("._")


def _absolute(store: Store) -> str:
    return str(store.root.resolve()) if isinstance(store, Folder) else store.place


def _unreadable(error: OSError) -> None:
    raise InputError(
        f"cannot read the folder {shown(error.filename)}: {error.strerror}", code="permission"
    ) from None


def _why(error: Exception) -> str:
    """An error of somebody else's package in one line."""
    return f"{' '.join(str(error).split()) or type(error).__name__:.200}"
