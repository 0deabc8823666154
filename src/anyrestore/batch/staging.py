"""Doing names of a batch by `run_jobs`, from file to file; what lies elsewhere is fetched and put.

Every name ends in a row, a plain dict, as it stands in the report. Where both places are folders, all names
go to `run_jobs` at once. Otherwise they go in chunks through a temporary folder, and the next chunk is
fetched while one is restored.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from anyrestore.batch.jobs import Job
from anyrestore.batch.running import Result, run_jobs
from anyrestore.batch.settings import Settings
from anyrestore.batch.stores import Store, stored
from anyrestore.errors import AnyRestoreError, OutputError
from anyrestore.image import Picture

Row: TypeAlias = dict[str, Any]
"""A line of the report: name, input, output, status (done, skipped, failed), code, message, seconds, width,
height, size, sha256, warnings, worker."""

_CHUNK = 8
"""Pictures that are restored from a temporary folder at a time; as many more are being fetched."""


def row_of(source: Store, target: Store, name: str, *, status: str, **fields: object) -> Row:
    """A row with what is told, and nothing else in it."""
    return {
        "name": name,
        "input": source.address(name),
        "output": None if status == "failed" else target.address(name),
        "status": status,
        "code": None,
        "message": None,
        "seconds": 0.0,
        "width": None,
        "height": None,
        "size": None,
        "sha256": None,
        "warnings": [],
        "worker": None,
        **fields,
    }


def failed(source: Store, target: Store, name: str, error: BaseException, **fields: object) -> Row:
    """The row of a picture that could not be done, with the error's code and sentence."""
    code, message = describe(error)
    return row_of(source, target, name, status="failed", code=code, message=message, **fields)


def describe(error: BaseException) -> tuple[str, str]:
    """An error's code and its sentence."""
    if isinstance(error, AnyRestoreError):
        return error.code, error.message
    if isinstance(error, MemoryError):
        return "out_of_memory", "memory ran out; use smaller tiles or fewer workers"
    if isinstance(error, OSError):
        return "unreadable", f"{error.filename or 'a file'}: {error.strerror or error}"
    return "internal", f"internal error ({type(error).__name__}: {' '.join(str(error).split()):.200})"


def restore_names(
    names: Sequence[str],
    source: Store,
    target: Store,
    restore: Callable[[Picture], Picture],
    settings: Settings,
    *,
    scratch: Path | None = None,
) -> Generator[Row]:
    """Restore pictures of the source into the target.

    Args:
        names: relative to the source, and to the target.
        source: where they are.
        target: where the results go; one that is there is replaced.
        restore: usually a `Restorer`.
        settings: how to read and write.
        scratch: as in `run_jobs`.

    Yields:
        A row per name; fewer where the disk is full, the last of which says so.
    """
    chunks = _chunks(names, whole=source.is_local and target.is_local)
    with tempfile.TemporaryDirectory(prefix="anyrestore-") as room, ThreadPoolExecutor(1) as fetching:
        ahead = list[Future[_Chunk]]()
        for i, chunk in enumerate(chunks):
            if i == 0:
                ahead.append(fetching.submit(_Chunk, chunk, source, target, Path(room, "0")))
            now = ahead.pop().result()
            if i + 1 < len(chunks):
                ahead.append(fetching.submit(_Chunk, chunks[i + 1], source, target, Path(room, str(i + 1))))
            for row in now.rows(restore, settings, scratch):
                yield row
                if row["code"] == "disk_full":
                    return


class _Chunk:
    """Some names, each a job from file to file; what is no file of its own is fetched into `room`."""

    def __init__(self, names: Sequence[str], source: Store, target: Store, room: Path) -> None:
        self._source, self._target = source, target
        self._names = dict[Path, str]()
        self._jobs = list[Job]()
        self._refused = list[Row]()
        for i, name in enumerate(names):
            suffix = PurePosixPath(name).suffix.lower()
            try:
                before = source.fetch(name, room / f"{i}{suffix}")
            except (AnyRestoreError, OSError) as error:
                self._refused.append(failed(source, target, name, error))
                continue
            after = target.path_for(name, room / f"{i}.out{suffix}")
            self._jobs.append(Job(source=before, target=after))
            self._names[after] = name

    def rows(
        self, restore: Callable[[Picture], Picture], settings: Settings, scratch: Path | None
    ) -> Iterator[Row]:
        """Do the jobs; a row for each name."""
        yield from self._refused
        worker = f"{socket.gethostname()}:{os.getpid()}"
        results = run_jobs(
            self._jobs,
            restore,
            overwrite=True,
            keep_gps=settings.keep_gps,
            quality=settings.quality,
            max_pixels=settings.max_pixels,
            scratch=scratch,
            memory_limit=settings.memory_limit,
        )
        try:
            for result in results:
                yield self._row(result) | {"worker": worker, "seconds": round(result.seconds, 4)}
        finally:
            if isinstance(results, Generator):  # its threads end with it
                results.close()

    def _row(self, result: Result) -> Row:
        """What became of a name; its result is in the target, and the copies of it are gone."""
        name = self._names[result.job.target]
        try:
            if result.error is not None:
                return failed(self._source, self._target, name, result.error)
            what = stored(result.job.target)
            self._target.put(name, result.job.target)
        except (OutputError, OSError) as error:
            return failed(self._source, self._target, name, error)
        finally:
            for path, store in ((result.job.source, self._source), (result.job.target, self._target)):
                if not store.is_local:
                    path.unlink(missing_ok=True)
        return row_of(
            self._source,
            self._target,
            name,
            status="done",
            width=result.width,
            height=result.height,
            size=what.size,
            sha256=what.sha256,
            warnings=list(result.warnings),
        )


def _chunks(names: Sequence[str], *, whole: bool) -> list[Sequence[str]]:
    step = len(names) if whole else _CHUNK
    return [names[first : first + step] for first in range(0, len(names), step or 1)]
