"""What is done, written down in the target: so that a batch that was killed goes on where it stopped.

A manifest is JSON Lines:

    {"anyrestore": 1, "settings": {...}}                                 what the results below depend on
    {"output": "b/c.png", "size": ..., "sha256": ..., "source": [size, mtime_ns], ...}   this one is stored

Every shard has its own, `.anyrestore-3-of-8.jsonl`, and reads all of them, so that the number of shards may
change between runs. In a folder a line is appended and fsynced after its result has its name; the file is
locked meanwhile. An object cannot be appended to: there lines are put in parts, each with the header.

A result counts as done if a manifest with the same settings names it, a file of that size is there, and its
input has not changed. One that was stored just before a kill, and so is in no manifest, is made again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from anyrestore.batch.sharding import Shard
from anyrestore.batch.stores import MANIFEST, Folder, Stamp, Store, Stored, unique
from anyrestore.errors import OutputError, UsageError

_FORMAT = 1
_PART = 100
"""Results in one part of an object store's manifest..."""
_SECONDS = 30
"""...or so many seconds of them: what a kill makes be done again."""


class Records:
    """The manifest of one shard of one target, open until `close`.

    Args:
        store: the target.
        shard: which part this process does.
        settings: what results depend on, from `Settings`.
        planned: the names that this shard is to store, and by what changed inputs are known.
        overwrite: replace results of other settings, and files that no batch made.

    Raises:
        UsageError: another process does this shard (``folder_in_use``); or, without `overwrite`, results
            with other settings are there (``settings_differ``).
        OutputError: without `overwrite`, files that no batch made are there (``output_exists``); or nothing
            can be stored.

    Attributes:
        done: the results that need not be made again.
    """

    def __init__(
        self,
        store: Store,
        shard: Shard,
        settings: Mapping[str, Any],
        planned: Mapping[str, Stamp],
        *,
        overwrite: bool,
    ) -> None:
        self._store = store
        self._shard = shard
        self._planned = planned
        self._header = json.dumps({"anyrestore": _FORMAT, "settings": settings}) + "\n"
        now = json.loads(self._header)["settings"]  # as it is read again: tuples are lists
        found = [_parse(data) for _, data in store.manifests()]
        there = store.listing()
        recorded = dict[str, _Entry]()
        for before, entries in found:
            if before == now:
                recorded.update(entries)
        self.done = {
            name: entry.stored
            for name, entry in recorded.items()
            if planned.get(name) == entry.source and name in there and there[name].size == entry.stored.size
        }
        if not overwrite:
            _check_settings(store, found, recorded, now)
            if not found:
                _check_empty(store, there.keys() & planned.keys())
        self._lines = list[str]()
        self._put_at = time.monotonic()
        self._file = self._open(store) if isinstance(store, Folder) else None
        if self._file is not None:
            store.sweep(planned)

    def add(self, name: str, result: Stored) -> None:
        """Write down that a result has its name.

        Raises:
            OutputError: the manifest cannot be stored.
        """
        source = self._planned[name]
        entry = {
            "output": name,
            "size": result.size,
            "sha256": result.sha256,
            "source": [source.size, source.modified],
            "sheet": None,
        }
        line = json.dumps(entry) + "\n"
        if self._file is not None:
            self._append(line)
            return
        self._lines.append(line)
        if len(self._lines) >= _PART or time.monotonic() - self._put_at > _SECONDS:
            self._put()

    def close(self) -> None:
        """Store what is not stored yet, and remove what workers that died left behind."""
        if self._file is None:
            self._put()
            return
        self._store.sweep(self._planned)
        os.close(self._file)
        self._file = None

    @property
    def _name(self) -> str:
        return f"{MANIFEST}{self._shard.suffix}"

    def _open(self, folder: Folder) -> int:
        """The shard's own file, locked, with the header at its top and a whole line at its end."""
        path = folder.root / f"{self._name}.jsonl"
        try:
            folder.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise _failed(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(
                f"another process is storing in {folder.place} already; wait for it, or give "
                "each its --shard",
                code="folder_in_use",
            ) from None
        except OSError:
            pass  # a file system without locks
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            data = file.read()
        if not data.startswith(self._header.encode()):  # new, torn, or of settings that are replaced
            os.ftruncate(descriptor, 0)
            self._append(self._header, descriptor)
        elif not data.endswith(b"\n"):
            self._append("\n", descriptor)
        return descriptor

    def _append(self, line: str, descriptor: int | None = None) -> None:
        to = self._file if descriptor is None else descriptor
        assert to is not None
        try:
            os.write(to, line.encode())
            os.fsync(to)
        except OSError as error:
            raise _failed(Path(self._name), error) from error

    def _put(self) -> None:
        if self._lines:
            data = (self._header + "".join(self._lines)).encode()
            self._store.write_manifest(f"{unique(self._name)}.jsonl", data)
        self._lines.clear()
        self._put_at = time.monotonic()


@dataclass(frozen=True)
class _Entry:
    stored: Stored
    source: Stamp


_Found: TypeAlias = tuple[dict[str, Any] | None, dict[str, _Entry]]


def _parse(data: bytes) -> _Found:
    """A manifest's settings and its results; lines that a kill has torn are left out."""
    settings: dict[str, Any] | None = None
    entries = dict[str, _Entry]()
    for line in data.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged line is a missing one
            value: Any = json.loads(line)
            if "anyrestore" in value:
                settings = dict(value["settings"])
                entries.clear()
            elif "output" in value:
                size, modified = value["source"]
                stored = Stored(int(value["size"]), str(value["sha256"]))
                entries[str(value["output"])] = _Entry(stored, Stamp(int(size), int(modified)))
    return settings, entries


def _check_settings(
    store: Store, found: list[_Found], recorded: Mapping[str, _Entry], now: Mapping[str, Any]
) -> None:
    """Refuse a target with results of other settings that have not been replaced since."""
    for before, entries in found:
        if before is None or before == now or (entries and entries.keys() <= recorded.keys()):
            continue
        differ = [
            f"{key} {before.get(key)!r} (now {now.get(key)!r})" for key in now if before.get(key) != now[key]
        ]
        raise UsageError(
            f"{store.place} holds results of other settings: {', '.join(differ[:3]) or 'of more kinds'}; "
            "name another target, or replace them with --overwrite",
            code="settings_differ",
        )


def _check_empty(store: Store, names: Collection[str]) -> None:
    """Refuse to replace files that no batch made."""
    if names:
        raise OutputError(
            f"{store.address(min(names))} and {len(names) - 1} more would be replaced, which no batch made; "
            "name an empty target, or allow it with --overwrite",
            code="output_exists",
        )


def _failed(path: Path, error: OSError) -> OutputError:
    code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "output_unwritable"
    return OutputError(f"{path} could not be written: {error.strerror or error}", code=code)
