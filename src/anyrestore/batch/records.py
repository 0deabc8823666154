"""What is done, written down in the target: so that a batch that was killed goes on where it stopped.

A manifest is JSON Lines, as that of `anyrestore.batch.manifest`:

    {"anyrestore": 1, "settings": {...}}             what results depend on; what stands above counts no more
    {"output": "b/c.png", "size": ..., "sha256": ..., "source": [size, mtime_ns], ...}   this one is stored

Every shard has its own, `.anyrestore-3-of-8.jsonl`, and reads all of them, so that the number of shards may
change between runs. In a folder a line is appended and fsynced after its result has its name; the file is
locked meanwhile. An object cannot be appended to: there lines are put in parts, each with the header.

A result counts as done if a manifest with the same settings names it, a file of that size is there, and its
input has not changed. One that was stored just before a kill, and so is in no manifest, is made again.
Whoever replaces results of other settings lets all manifests of those begin anew, so that they do not speak
of files that are not theirs any more.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyrestore.batch.lines import LineFile, encoded
from anyrestore.batch.manifest import FORMAT, check_format
from anyrestore.batch.sharding import Shard
from anyrestore.batch.stores import MANIFEST, Folder, Stamp, Store, Stored, unique
from anyrestore.errors import OutputError, UsageError
from anyrestore.storage import lock, storing_failed

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
            with other settings are there (``settings_differ``); or a newer anyrestore made them
            (``newer_format``).
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
        self._header = {"anyrestore": FORMAT, "settings": settings}
        self._lines = list[str]()
        self._put_at = time.monotonic()
        self._file = self._open(store) if isinstance(store, Folder) else None
        try:
            self.done = self._begin(overwrite=overwrite)
        except BaseException:
            if self._file is not None:
                self._file.close()
            raise
        store.sweep(planned)

    def _begin(self, *, overwrite: bool) -> dict[str, Stored]:
        """See that nothing is mixed with other results, or replaced unasked; what is done."""
        store, planned = self._store, self._planned
        now = json.loads(encoded(self._header))["settings"]  # as it is read again: tuples are lists
        found = [_parse(name, data) for name, data in store.manifests()]
        others = [one for one in found if one.settings not in (None, now)]
        there = store.listing()
        if overwrite:
            for other in others:
                if other.name != self._name:
                    store.restart_manifest(other.name, self._header)
        else:
            self._check_settings(others, now)
            if all(one.settings is None for one in found):
                _check_empty(store, there.keys() & planned.keys())
        ours = [one for one in found if one.settings == now]
        if self._file is not None and self._name not in {one.name for one in ours}:
            self._file.add(self._header)
            self._file.sync()  # before any result: files without it are not known to be ours
        return {
            name: entry.stored
            for one in ours
            for name, entry in one.entries.items()
            if planned.get(name) == entry.source and name in there and there[name].size == entry.stored.size
        }

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
        if self._file is not None:
            self._file.add(entry)
            self._file.sync()
            return
        self._lines.append(encoded(entry))
        if len(self._lines) >= _PART or time.monotonic() - self._put_at > _SECONDS:
            self._put()

    def close(self) -> None:
        """Store what is not stored yet, and remove what workers that died left behind."""
        if self._file is None:
            self._put()
            return
        self._store.sweep(self._planned)
        self._file.close()

    @property
    def _name(self) -> str:
        return f"{MANIFEST}{self._shard.suffix}.jsonl"

    def _open(self, folder: Folder) -> LineFile:
        """The shard's own file, locked, with whole lines only."""
        try:
            folder.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storing_failed(error, folder.root) from error
        file = LineFile(folder.root / self._name, "a+")
        try:
            if not lock(file.fileno()):
                raise UsageError(
                    f"another process is storing in {folder.place} already; wait for it, or give "
                    "each its --shard",
                    code="folder_in_use",
                )
            file.read()
        except BaseException:
            file.close()
            raise
        return file

    def _check_settings(self, others: Iterable[_Found], now: Mapping[str, Any]) -> None:
        """Refuse a target with results of other settings; a run that ended before its first has none."""
        for other in others:
            mine = other.name == self._name
            if not other.entries and (mine or not self._store.is_in_use(other.name)):
                continue
            before = other.settings or {}
            differ = [
                f"{key} {before.get(key)!r} (now {now.get(key)!r})"
                for key in {**before, **now}
                if before.get(key) != now.get(key)
            ]
            raise UsageError(
                f"{self._store.place} holds results of other settings: {', '.join(differ[:3])}; "
                "name another target, or replace them with --overwrite",
                code="settings_differ",
            )

    def _put(self) -> None:
        if self._lines:
            data = (encoded(self._header) + "".join(self._lines)).encode()
            self._store.write_manifest(unique(self._name), data)
        self._lines.clear()
        self._put_at = time.monotonic()


@dataclass(frozen=True)
class _Entry:
    stored: Stored
    source: Stamp


@dataclass
class _Found:
    name: str
    settings: dict[str, Any] | None = None
    entries: dict[str, _Entry] = field(default_factory=dict[str, _Entry])


def _parse(name: str, data: bytes) -> _Found:
    """A manifest's settings and its results; lines that a kill has torn are left out."""
    found = _Found(name)
    for line in data.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged line is a missing one
            value: Any = json.loads(line)
            if "anyrestore" in value:
                check_format(value, name)
                found.settings = dict(value["settings"])
                found.entries.clear()
            elif "output" in value:
                size, modified = value["source"]
                stored = Stored(int(value["size"]), str(value["sha256"]))
                found.entries[str(value["output"])] = _Entry(stored, Stamp(int(size), int(modified)))
    return found


def _check_empty(store: Store, names: Collection[str]) -> None:
    """Refuse to replace files that no batch made."""
    if names:
        raise OutputError(
            f"{store.address(min(names))} and {len(names) - 1} more would be replaced, which no batch made; "
            "name an empty target, or allow it with --overwrite",
            code="output_exists",
        )
