"""Doing jobs: read, restore, write; one that fails is reported and does not stop the rest.

The one exception is a full disk, where each further file would only be computed to be thrown away.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from anyrestore import image
from anyrestore.batch.jobs import Job
from anyrestore.errors import AnyRestoreError, InputError, OutputError
from anyrestore.image import Picture, Pixels
from anyrestore.inference import memory
from anyrestore.scratch import allocate, release

_DIVIDER = 4
"""Width, in pixels, of the white line between the two halves of a before/after sheet."""
_BAND = 64
"""Rows of a sheet that are made at once."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a job: the picture's size, or the error; seconds from reading to storing."""

    job: Job
    seconds: float
    width: int = 0
    height: int = 0
    warnings: tuple[str, ...] = ()
    error: Exception | None = None


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
