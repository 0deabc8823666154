"""What an output folder holds and how it was made, so that a run that was killed goes on where it was.

`.anyrestore.jsonl` has one JSON object a line, and lines are only ever added:

    {"anyrestore": 1, "settings": {...}}        what results depend on; what stands above counts no more
    {"planned": ["a.png", "b/c.png", ...]}      these may be stored from here on
    {"output": "a.png", "size": ..., "sha256": ..., "source": [size, mtime_ns], ...}      this one is stored

A result counts as done if its line and its file agree (size, SHA-256) and its input has not changed since. A
file that was planned, and stands there without a line, is what a killed run stored last: it may be replaced.
Any other file is somebody else's, and stays. What a kill left of a last line is cut off; a line that is no
JSON is as good as missing.

The file itself is the lock of the folder: whoever adds to it holds it (flock), until the process ends,
however it ends. It is never renamed or removed, so that all look at the same one.

What is unusual: lines reach the kernel one by one, which is all that a kill asks for, but the disk only once
a second: after a power cut the pictures of that second are done again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from anyrestore import backends
from anyrestore.batch.jobs import Job
from anyrestore.batch.lines import LineFile
from anyrestore.batch.running import Result
from anyrestore.errors import UsageError
from anyrestore.provenance import versions
from anyrestore.storage import lock, shown, storing_failed, sweep
from anyrestore.zoo import deciding_file, is_file
from anyrestore.zoo.catalog import CATALOG

FILE = ".anyrestore.jsonl"
FORMAT = 1
"""Version of the file's layout; a newer one needs a newer anyrestore."""

_PLANNED_A_LINE = 500
_SYNC_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Pending:
    """Jobs, by what is known of their results.

    Attributes:
        new: to be done; a file that stands where the result goes is not ours.
        redo: to be done; what stands there was made by an earlier run, and may be replaced.
        done: need not be done; with the SHA-256 of each result.
    """

    new: tuple[Job, ...] = ()
    redo: tuple[Job, ...] = ()
    done: tuple[tuple[Job, str], ...] = ()


@dataclass(frozen=True)
class _Entry:
    size: int
    sha256: str
    source: tuple[int, int]
    sheet: int | None


class Manifest:
    """The manifest of an output folder, locked until `close`.

    Args:
        folder: where results go; made if it is not there.
        settings: what results depend on, see :func:`describe_settings`.
        restart: whether results of other settings may be replaced; else they are a reason to stop.

    Raises:
        UsageError: another process is at work on the folder (code `folder_in_use`), the results in it were
            made with other settings or by shards of a batch (`settings_differ`), or by a newer anyrestore
            (`newer_format`).
        OutputError: the file cannot be made, read or written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object], *, restart: bool = False) -> None:
        self._path = folder / FILE
        self._entries: dict[str, _Entry] = {}
        self._planned: set[str] = set()
        self._settings: Mapping[str, object] | None = None
        self._sources: dict[str, tuple[int, int]] = {}
        self._synced = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_no_shards(folder)
        except OSError as error:
            raise storing_failed(error, folder) from error
        self._file = LineFile(self._path, "a+")
        try:
            if not lock(self._file.fileno()):
                raise UsageError(
                    f"another process is restoring into {shown(folder)}; wait for it to end, or name another "
                    "folder with -o",
                    code="folder_in_use",
                )
            self._read()
            self._begin(folder, dict(settings), restart=restart)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """See that all lines are on the disk, and let go of the folder."""
        self._file.close()

    def sort(self, jobs: Sequence[Job], *, resume: bool, overwrite: bool = False) -> Pending:
        """Find out what is left to do, write it down, and remove what killed runs left half done.

        Args:
            jobs: of one plan, each with its `name`.
            resume: whether what is done stays as it is; otherwise all are to be done.
            overwrite: whether files that are not ours may be replaced.

        Raises:
            OutputError: the manifest cannot be written.
        """
        new, redo, done = list[Job](), list[Job](), list[tuple[Job, str]]()
        planned = list[str]()
        for job in jobs:
            source = _source(job.source)
            entry = self._entries.get(job.name)
            agrees = entry is not None and resume and _agrees(entry, job.target)
            if entry is not None and agrees and entry.source == source and _has_sheet(entry, job):
                done.append((job, entry.sha256))
                continue
            self._sources[job.name] = source
            free = not any(os.path.lexists(one) for one in (job.target, job.sheet) if one is not None)
            if overwrite or (resume and not free and (agrees or job.name in self._planned)):
                redo.append(job)
            else:
                new.append(job)
                if not free:  # whose it is cannot be told: it is not to be replaced later on either
                    continue
            if job.name not in self._planned:
                planned.append(job.name)
        for first in range(0, len(planned), _PLANNED_A_LINE):
            self._take_and_write({"planned": planned[first : first + _PLANNED_A_LINE]})
        self._file.sync()
        _sweep(jobs)
        return Pending(new=tuple(new), redo=tuple(redo), done=tuple(done))

    def run(self, pending: Pending, run: Callable[..., Iterator[Result]]) -> Generator[Result]:
        """Do what is pending, and write down what is stored, before its result is handed on.

        Args:
            pending: from `sort`.
            run: `run_jobs` with all its options but one: called as `run(jobs, overwrite=...)`. Its generator
                is closed with this one.

        Yields:
            A result per job; fewer where the disk is full, the last of which says so.

        Raises:
            OutputError: the manifest cannot be written.
        """
        for jobs, overwrite in ((pending.new, False), (pending.redo, True)):
            results = run(jobs, overwrite=overwrite)
            try:
                for result in results:
                    if result.error is None:
                        self._record(result)
                    yield result
                    if getattr(result.error, "code", None) == "disk_full":
                        return
            finally:
                if isinstance(results, Generator):
                    results.close()

    def _record(self, result: Result) -> None:
        job = result.job
        try:
            line = {
                "output": job.name,
                "size": job.target.stat().st_size,
                "sha256": result.sha256 or _sha256(job.target),
                "source": self._sources.get(job.name, (0, 0)),
                "sheet": None if job.sheet is None else job.sheet.stat().st_size,
            }
        except OSError:  # somebody has taken it away since; then there is nothing to remember
            return
        self._take_and_write(line)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._file.sync()
            self._synced = time.monotonic()

    def _begin(self, folder: Path, settings: dict[str, object], *, restart: bool) -> None:
        """Make sure that what follows is made with the same settings as what is there."""
        settings = cast("dict[str, object]", json.loads(json.dumps(settings)))  # as it will be read again
        before = self._settings
        if before == settings:
            return
        if before is not None and not restart and (self._entries or self._planned):
            differing = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
            raise UsageError(
                f"the results in {shown(folder)} were made with {_told(before, differing)}, and now it is "
                f"{_told(settings, differing)}; name another folder with -o, or replace them all with "
                "--resume --overwrite",
                code="settings_differ",
            )
        self._take_and_write({"anyrestore": FORMAT, "settings": settings})

    def _read(self) -> None:
        for line in self._file.read():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged line is a missing one
                record: Any = json.loads(line)
                self._take(cast("dict[str, Any]", record))

    def _take(self, record: dict[str, Any]) -> None:
        if "anyrestore" in record:
            check_format(record, self._path)
            self._settings = dict(record["settings"])
            self._entries.clear()
            self._planned.clear()
        elif "planned" in record:
            self._planned.update(record["planned"])
            for name in record["planned"]:
                self._entries.pop(name, None)
        else:
            size, modified = record["source"]
            entry = _Entry(
                size=int(record["size"]),
                sha256=str(record["sha256"]),
                source=(int(size), int(modified)),
                sheet=None if record["sheet"] is None else int(record["sheet"]),
            )
            self._entries[str(record["output"])] = entry
            self._planned.discard(str(record["output"]))

    def _take_and_write(self, record: dict[str, Any]) -> None:
        self._take(record)
        self._file.add(record)


def check_format(header: Mapping[str, Any], path: str | Path) -> None:
    """Make sure that a manifest can be understood.

    Raises:
        UsageError: a newer anyrestore wrote it (``newer_format``).
    """
    if int(header["anyrestore"]) > FORMAT:
        raise UsageError(
            f"{shown(path)} was written by a newer anyrestore (format {header['anyrestore']}, this one knows "
            f"{FORMAT}); update anyrestore or name another place for the results",
            code="newer_format",
        )


def _check_no_shards(folder: Path) -> None:
    """Refuse the results of a batch in parts: this manifest would know nothing of them, nor they of it."""
    for path in folder.glob(".anyrestore-*.jsonl"):
        if path.stat().st_size:
            raise UsageError(
                f"{shown(folder)} holds results of anyrestore batch --shard; go on with that command, or "
                "name another folder with -o",
                code="settings_differ",
            )


def describe_settings(model: str | Path, options: Mapping[str, object]) -> dict[str, object]:
    """What a result depends on: this version, the model, its weights by SHA-256, and options.

    Args:
        model: a name of the catalogue or the file of the weights.
        options: all that changes pixels, as JSON holds it; of files (a `Path`) the content counts.

    Raises:
        OSError: a file cannot be read.
    """
    entry = CATALOG.get(str(model))
    by_file = entry is None and (is_file(model) or backends.is_graph(model))
    weights = _sha256(deciding_file(Path(model))) if by_file else getattr(entry, "sha256", None)
    described = {key: _sha256(value) if isinstance(value, Path) else value for key, value in options.items()}
    return {"version": versions()["anyrestore"], "model": Path(model).name, "weights": weights, **described}


def _told(settings: Mapping[str, object], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {settings.get(key)}" for key in keys[:3])


def _source(path: Path) -> tuple[int, int]:
    """By what a changed input is known; zeros if there is none, which reading it will tell."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _agrees(entry: _Entry, target: Path) -> bool:
    try:
        return target.stat().st_size == entry.size and _sha256(target) == entry.sha256
    except OSError:
        return False


def _has_sheet(entry: _Entry, job: Job) -> bool:
    if job.sheet is None:
        return True
    try:
        return job.sheet.stat().st_size == entry.sheet
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(jobs: Sequence[Job]) -> None:
    beside: dict[Path, list[str]] = {}
    for job in jobs:
        for target in (job.target, job.sheet):
            if target is not None:
                beside.setdefault(target.parent, []).append(target.name)
    for folder, names in beside.items():
        sweep(folder, names)
