"""Restoring many files: which file becomes which, checked before any work, then one after another.

`plan_jobs` settles every name first: nothing is computed before it is known that no two results would meet,
none would overwrite an input, and the place for them can be written to. `run_jobs` then takes the files in
turn; one that fails is reported and does not stop the rest. The one exception is a full disk, where each
further file would only be computed to be thrown away.
"""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from anyrestore import image
from anyrestore.errors import AnyRestoreError, InputError, OutputError, UsageError
from anyrestore.image import Picture, Pixels
from anyrestore.inference import memory
from anyrestore.scratch import allocate, release

COMPARE_SUFFIX = ".compare.png"
_DIVIDER = 4
"""Width, in pixels, of the white line between the two halves of a before/after sheet."""
_BAND = 64
"""Rows of a sheet that are made at once."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to restore: where from, where to, and where its before/after sheet goes, if anywhere."""

    source: Path
    target: Path
    sheet: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a job: the picture's size, or the error; seconds from reading to storing."""

    job: Job
    seconds: float
    width: int = 0
    height: int = 0
    warnings: tuple[str, ...] = ()
    error: Exception | None = None


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


def run_jobs(
    jobs: Sequence[Job],
    restore: Callable[[Picture], Picture],
    *,
    overwrite: bool = False,
    keep_gps: bool = False,
    quality: int | None = None,
    max_pixels: int | None = None,
    scratch: Path | None = None,
    memory_limit: int | None = None,
) -> Iterator[Result]:
    """Do the jobs one after another, handing out each result as it comes.

    Args:
        jobs: from `plan_jobs`.
        restore: usually a `Restorer`.
        overwrite: whether results may replace files.
        keep_gps: whether the place where a picture was taken stays in its metadata.
        quality: of lossy formats, 1 to 100; None for the format's default.
        max_pixels: the largest picture to accept; None for the default of `image.read`.
        scratch: a folder of a disk for pictures that would take a good part of the memory; None for nowhere.
        memory_limit: bytes that the process may occupy; None for no limit but what is free.

    Yields:
        A result per job, in order; fewer where the disk is full, the last of which says so.
    """

    def do(job: Job) -> Result:
        # A function of its own: behind it nothing holds on to its pictures while the next ones are restored.
        limit = image.MAX_PIXELS if max_pixels is None else max_pixels
        folder = scratch if _is_large(job.source, limit, memory_limit) else None
        before = image.read(job.source, keep_gps=keep_gps, max_pixels=limit, scratch=folder)
        _check_targets(job, overwrite=overwrite)
        image.check_holds(before, job.target)
        after = restore(before)
        _make_folder(job.target.parent)
        image.write(after, job.target, overwrite=overwrite, quality=quality)
        if job.sheet is not None:
            image.write(_sheet(before, after, folder), job.sheet, overwrite=overwrite)
        height, width = after.pixels.shape[:2]
        return Result(job=job, seconds=0, width=width, height=height, warnings=after.warnings)

    for job in jobs:
        began = time.monotonic()
        try:
            result = do(job)
        except (AnyRestoreError, OSError, MemoryError, RuntimeError) as error:
            # RuntimeError: what torch raises for anything at all; it must not end the other files' turn.
            traceback.clear_frames(error.__traceback__)  # the places stay; the pictures in them do not
            result = Result(job=job, seconds=0, error=error)
        yield replace(result, seconds=time.monotonic() - began)
        if isinstance(result.error, OutputError) and result.error.code == "disk_full":
            return


def _is_large(path: Path, max_pixels: int, memory_limit: int | None) -> bool:
    """Whether a picture, its result and what writing it takes are more than a quarter of the memory."""
    header = image.read_header(path, max_pixels=max_pixels)
    size = 4 * header.width * header.height * header.bands * header.bit_depth // 8
    return size > (memory.default_budget(torch.device("cpu")) if memory_limit is None else memory_limit) // 4


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


def _check_targets(job: Job, *, overwrite: bool) -> None:
    """Before the model runs: whether its result will find a place."""
    if job.target.suffix.lower() not in image.SUFFIXES:
        raise InputError(
            f"the name {job.target.name} does not say in which format to write; use -o NAME.png or another",
            code="unsupported_format",
        )
    for target in (job.target, job.sheet):
        if target is not None and target.parent.exists():
            image.check_writable(target, overwrite=overwrite)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder}: {error.strerror or error}", code="output_unwritable"
        ) from None


def _sheet(before: Picture, after: Picture, scratch: Path | None) -> Picture:
    """Before on the left, after on the right, a thin white line between them; 8 bits, without alpha."""
    height, width, *channels = before.pixels.shape
    shape = (height, 2 * width + _DIVIDER, *channels)
    sheet = np.empty(shape, np.uint8) if scratch is None else allocate(shape, np.uint8, scratch)
    # In floats there are a few rows at a time, and in memory too if the pictures are in files.
    for top in range(0, height, _BAND):
        rows = slice(top, top + _BAND)
        sheet[rows, :width] = _to_eight_bits(before.pixels[rows])
        sheet[rows, width : width + _DIVIDER] = 255
        sheet[rows, width + _DIVIDER :] = _to_eight_bits(after.pixels[rows])
        for array in (before.pixels, after.pixels, sheet):
            release(array, top, top + _BAND)
    return replace(after, pixels=sheet, alpha=None, format="png")


def _to_eight_bits(pixels: Pixels) -> Pixels:
    return image.from_tensor(image.to_tensor(pixels), like=np.empty(pixels.shape, dtype=np.uint8))
