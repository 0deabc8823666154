"""Which file becomes which: settled before any work.

Nothing is computed before it is known that no two results would meet, none would overwrite an input, and the
place for them can be written to.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anyrestore import image
from anyrestore.errors import InputError, OutputError, UsageError

COMPARE_SUFFIX = ".compare.png"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to restore: where from, where to, and where its before/after sheet goes, if anywhere."""

    source: Path
    target: Path
    sheet: Path | None = None


def plan_jobs(inputs: Sequence[Path], output: str | Path | None, *, compare: bool = False) -> list[Job]:
    """Settle which file each input becomes.

    Args:
        inputs: files and folders; of a folder its pictures directly within, in the order of their names.
        output: a file (for a single input file) or a folder, which need not exist; a text that ends in a
        slash
            is a folder; None writes NAME.restored.EXT beside a single input file.
        compare: whether each result gets a before/after sheet, NAME.compare.png beside it.

    Raises:
        UsageError: the names do not work out; the sentence says which and why.
    """
    sources, all_files = _sources(inputs)
    if output is None:
        if not all_files or len(sources) != 1:
            raise UsageError("several pictures need a folder to go to: name it with -o FOLDER")
        source = sources[0]
        targets = [source.with_name(f"{source.stem}.restored{source.suffix}")]
    elif all_files and len(sources) == 1 and not _is_folder(output):
        targets = [_target_file(Path(output))]
    else:
        folder = Path(output)
        if folder.suffix.lower() in image.SUFFIXES and not _is_folder(output):
            raise UsageError(f"several pictures need a folder to go to, but -o names the file {folder}")
        targets = [folder / source.name for source in sources]
    jobs = [
        Job(
            source=source,
            target=target,
            sheet=target.with_name(target.stem + COMPARE_SUFFIX) if compare else None,
        )
        for source, target in zip(sources, targets, strict=True)
    ]
    _check_collisions(jobs)
    return jobs


def check_places(jobs: Sequence[Job]) -> None:
    """Make sure, before any work, that results can be stored where they are to go.

    A folder that does not exist yet is not made here; its nearest existing ancestor is tried instead.

    Raises:
        OutputError: a result's folder cannot be written to.
    """
    for folder in dict.fromkeys(job.target.parent for job in jobs):
        existing = folder
        while not os.path.lexists(existing):
            existing = existing.parent
        if not existing.is_dir():
            raise OutputError(
                f"{existing} is not a folder, so nothing can be stored in it", code="output_unwritable"
            )
        try:
            # Permission bits do not tell of read-only file systems, nor do they bind root: try it.
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise OutputError(
                f"cannot write to the folder {existing}: {error.strerror or error}", code="output_unwritable"
            ) from None


def _sources(inputs: Sequence[Path]) -> tuple[list[Path], bool]:
    """The files to restore, each once, and whether all of them were named themselves (no folder)."""
    found: list[Path] = []
    all_files = True
    for path in inputs:
        is_folder = os.path.isdir(path)  # noqa: PTH112 (Path.is_dir may raise)
        pictures = _pictures_in(path) if is_folder else []
        # A folder named like a picture that holds none was meant as a picture: reading it says what it is.
        if not is_folder or (not pictures and path.suffix.lower() in image.SUFFIXES):
            found.append(path)
            continue
        all_files = False
        if not pictures:
            raise UsageError(
                f"no pictures in the folder {path}; expected files ending in {', '.join(image.SUFFIXES)}"
            )
        found.extend(pictures)
    once: dict[Path, Path] = {}
    for path in found:
        once.setdefault(path.absolute(), path)
    return list(once.values()), all_files


def _pictures_in(folder: Path) -> list[Path]:
    """The entries of a folder that are named like pictures, in the order of their names."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"cannot read the folder {folder}: {error.strerror or error}", code="permission"
        ) from None
    # Names that begin with "._" are what macOS leaves beside a file on foreign disks.
    return [
        path for path in entries if path.suffix.lower() in image.SUFFIXES and not path.name.startswith("._")
    ]


def _is_folder(output: str | Path) -> bool:
    path = Path(output)
    return str(output).endswith(("/", os.sep)) or path.is_dir() or (not path.suffix and not path.exists())


def _target_file(path: Path) -> Path:
    if path.suffix.lower() not in image.SUFFIXES:
        raise UsageError(
            f"{path} ends in {path.suffix!r}, no known format; expected one of {', '.join(image.SUFFIXES)}"
        )
    if not path.parent.exists():
        raise OutputError(f"the folder {path.parent} does not exist; make it first", code="output_unwritable")
    return path


def _check_collisions(jobs: Sequence[Job]) -> None:
    """Refuse results that would meet each other or an input."""
    sources = {_identity(job.source): job.source for job in jobs}
    owners: dict[object, Path] = {}
    for job in jobs:
        for target in (job.target, job.sheet):
            if target is None:
                continue
            identity = _identity(target)
            if identity in sources:
                raise UsageError(
                    f"{target} is an input too ({sources[identity]}) and stays; choose another place with -o"
                )
            if identity in owners:
                raise UsageError(
                    f"{owners[identity]} and {job.source} would both become {target}; restore them separately"
                )
            owners[identity] = job.source


def _identity(path: Path) -> object:
    """The same for two names of one file (links too); of a file that is not there yet, its full path."""
    try:
        status = path.stat()
    except OSError:
        return path.parent.resolve() / path.name
    return status.st_dev, status.st_ino
