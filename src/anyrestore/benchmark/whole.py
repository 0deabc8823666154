"""Whole pictures, as `anyrestore restore` treats them: the way each goes, its time, its memory, its limit.

Every figure comes from a fresh child process that reads a picture's file, restores it and writes the result.
"Peak" is the most that this process has ever occupied, the interpreter and its libraries included: that is
what a memory limit is about. "Over" is the same less what it occupied before the model was loaded. Sizes are
given in megapixels; the pictures are noise on a slope (3:2, 8 bit, JPEG), or files of the caller's own.

With `plain`, the same pixels then go through the plain forward, in a second child and without a limit; the
largest difference between the two results is that of values in float32.

`python -m anyrestore.benchmark.whole JSON` is that child.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from anyrestore import image
from anyrestore.batch.jobs import Job
from anyrestore.batch.running import run_jobs
from anyrestore.benchmark.memory import forget_peak, load
from anyrestore.image import Picture
from anyrestore.inference import Restorer, memory
from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.tables import aligned

__all__ = ["WholeRow", "as_table", "measure_whole"]

_HEAD = (
    *("model", "picture", "MP", "limit MB", "way", "all s", "restore s", "s per MP"),
    *("peak MB", "over MB", "plain s", "plain over MB", "difference", "note"),
)
_MAX_PIXELS = 1 << 30


@dataclass(frozen=True, kw_only=True)
class WholeRow:
    """One picture restored within one limit.

    Attributes:
        model: a name of the zoo, or a file.
        picture: "WIDTHxHEIGHT", or the file's name.
        pixels: of the picture.
        limit: bytes that the process may occupy; None for the planner's own budget.
        way: "strips", "strips, files", "whole", "tiles N", or "refused".
        whole: seconds from the file to the stored result.
        restore: seconds of these that the model took.
        peak: bytes that the process has occupied at most.
        over: the same over what it occupied before the model was loaded.
        plain: seconds of the plain forward of the same pixels; None if it was not asked for.
        plain_over: bytes of that process, as `over`.
        difference: the largest between the two results, of values in [0, 1].
        note: why there are no figures, if there are none.
    """

    model: str
    picture: str
    pixels: int
    limit: int | None
    way: str = "refused"
    whole: float = math.nan
    restore: float = math.nan
    peak: int = 0
    over: int = 0
    plain: float | None = None
    plain_over: int | None = None
    difference: float | None = None
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether the process stayed within its limit; a picture that was refused took nothing."""
        return self.limit is None or self.peak <= self.limit


def measure_whole(
    models: Sequence[str],
    pictures: Sequence[Path],
    megapixels: Sequence[float],
    limits: Sequence[int | None],
    *,
    scratch: str = "auto",
    threads: int | None = None,
    plain: bool = False,
    say: Callable[[str], object] = lambda _: None,
) -> list[WholeRow]:
    """Restore every picture with every model within every limit, each in a process of its own.

    Args:
        models: names of the zoo, or files.
        pictures: files.
        megapixels: sizes of pictures to make, beside those.
        limits: bytes; None for the planner's own budget.
        scratch: where maps may lie that do not fit: a folder, "auto", or "off".
        threads: CPU threads; None for torch's default.
        plain: whether to restore them by the plain forward too, and to compare.
        say: is told what is measured next.
    """
    rows = list[WholeRow]()
    with tempfile.TemporaryDirectory() as folder:
        made = [_make(size, Path(folder)) for size in megapixels]
        for model in models:
            for path in (*pictures, *made):
                header = image.read_header(path, max_pixels=_MAX_PIXELS)
                size = f"{header.width}x{header.height}"
                name = size if path in made else path.name
                for limit in limits:
                    say(f"{model}, {name}, {'no limit' if limit is None else f'{limit >> 20} MB'}")
                    row = WholeRow(
                        model=model, picture=name, pixels=header.width * header.height, limit=limit
                    )
                    order: dict[str, object] = {
                        "model": model,
                        "path": str(path),
                        "limit": limit,
                        "scratch": scratch,
                        "threads": threads,
                        "plain": plain,
                        "folder": folder,
                    }
                    rows.append(dataclasses.replace(row, **_child(order)))
    return rows


def as_table(rows: Sequence[WholeRow]) -> str:
    """Aligned text, a line a row, and how many stayed within their limits."""

    def seconds(value: float | None) -> str:
        return "-" if value is None or math.isnan(value) else f"{value:.2f}"

    def megabytes(value: int | None) -> str:
        return f"{value / (1 << 20):,.0f}" if value else "-"

    cells = [
        (
            *(row.model, row.picture, f"{row.pixels / 1e6:.2f}", megabytes(row.limit), row.way),
            *(seconds(row.whole), seconds(row.restore), seconds(1e6 * row.restore / row.pixels)),
            *(megabytes(row.peak), megabytes(row.over)),
            *(seconds(row.plain), megabytes(row.plain_over)),
            "-" if row.difference is None else f"{row.difference:.1e}",
            row.note if row.kept else "ABOVE ITS LIMIT",
        )
        for row in rows
    ]
    limited = [row for row in rows if row.limit is not None and row.way != "refused"]
    lines = aligned([_HEAD, *cells], left=(0, 1, 4, 13))
    if limited:
        lines.append(f"within the limit: {sum(row.kept for row in limited)} of {len(limited)}")
    return "\n".join(lines)


def _make(megapixels: float, folder: Path) -> Path:
    """A picture of about so many pixels, 3:2."""
    height = max(round(math.sqrt(megapixels * 1e6 / 1.5)), 1)
    width = max(round(1.5 * height), 1)
    pixels = np.random.default_rng(0).integers(0, 64, (height, width, 3), np.uint8)
    pixels += np.linspace(0, 190, width, dtype=np.uint8)[:, None]
    path = folder / f"{width}x{height}.jpg"
    if not path.exists():
        image.write(Picture(pixels=pixels), path)
    return path


def _child(order: dict[str, object]) -> dict[str, object]:
    command = [sys.executable, "-m", "anyrestore.benchmark.whole", json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this program)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"way": "failed", "note": f"ended with {done.returncode}: {last}"}
    found = json.loads(done.stdout.splitlines()[-1])
    if order["plain"] and found["way"] != "refused":
        found |= _child({**order, "plain": False, "reference": True})
    return found


def _measure(order: dict[str, object]) -> dict[str, object]:
    """In the child: one picture, from file to file."""
    threads, limit = order["threads"], order["limit"]
    assert threads is None or isinstance(threads, int)
    assert limit is None or isinstance(limit, int)
    before = memory.resident()
    restorer = Restorer(
        load(str(order["model"])),
        device="cpu",
        threads=threads,
        memory_limit=limit,
        scratch=None if order["scratch"] == "off" else str(order["scratch"]),
    )
    took = 0.0

    def restore(picture: Picture) -> Picture:
        nonlocal took
        began = time.perf_counter()
        try:
            return restorer(picture)
        finally:
            took = time.perf_counter() - began

    source = Path(str(order["path"]))
    job = Job(source=source, target=Path(str(order["folder"])) / f"result{source.suffix}")
    (result,) = run_jobs(
        [job],
        restore,
        overwrite=True,
        max_pixels=_MAX_PIXELS,
        scratch=restorer.scratch,
        memory_limit=limit,
    )
    if result.error is not None:
        return {"way": "refused", "note": str(result.error)}
    way = restorer.way
    assert way is not None
    kinds = {"strips": "strips, files" if way.in_files else "strips", "tiles": f"tiles {way.tile}"}
    found: dict[str, object] = {
        "way": kinds.get(way.kind, way.kind),
        "whole": result.seconds,
        "restore": took,
        "peak": memory.occupied("VmHWM"),
        "over": memory.occupied("VmHWM") - before,
    }
    return found


def _compare(order: dict[str, object]) -> dict[str, object]:
    """In the child: the plain forward of the same pixels, and its difference to the planner's way."""
    model = load(str(order["model"]))
    picture = image.to_tensor(image.read(Path(str(order["path"])), max_pixels=_MAX_PIXELS).pixels)
    threads = order["threads"]
    restorer = Restorer(model, device="cpu", threads=threads if isinstance(threads, int) else None)
    padded, size = pad_to_multiple(picture, restorer.size_multiple)
    forget_peak()
    before = memory.resident()
    began = time.perf_counter()
    with torch.inference_mode():
        plain = crop_to(model(padded), size)
    seconds = time.perf_counter() - began
    over = memory.occupied("VmHWM") - before
    difference = float((restorer(picture) - plain).abs().max())
    return {"plain": seconds, "plain_over": over, "difference": difference}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps((_compare if given.get("reference") else _measure)(given)) + "\n")
