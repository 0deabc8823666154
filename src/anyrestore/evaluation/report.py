"""Scores as a table for people, JSON for programs and CSV for plots.

JSON has no infinity: a PSNR of an exact copy is `null` there, and "exact" in the table. LPIPS has its columns
and keys only where it was measured.

Tables of the papers (AIO-3, CDD-11 and so on) are printed with the published rows above ours. Those were
measured by their own authors; no mean is ever taken over theirs and ours.
"""

import csv
import dataclasses
import io
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from anyrestore.errors import UsageError
from anyrestore.evaluation.benchmarks import COLLECTIONS
from anyrestore.evaluation.published import columns, published, sources
from anyrestore.evaluation.scores import ImageScore, Score

__all__ = [
    "FORMAT",
    "GroupMean",
    "as_csv",
    "as_dict",
    "as_json",
    "as_published_table",
    "as_table",
    "collections_in",
    "group_means",
    "machine",
    "versions",
]

#: Of the JSON. 1 (no such key) had no per-image values and no machine.
FORMAT = 2
Pair = tuple[float, float]  # PSNR in dB, SSIM
_OPTIONAL = ("tile", "lpips", "input_lpips")


@dataclass(frozen=True, kw_only=True)
class GroupMean:
    """The mean over the benchmarks of a group: it averages lines, not images.

    Attributes:
        group: A group or a collection of `anyrestore.evaluation.benchmarks`.
        lines: How many.
        entries: Their names.
    """

    group: str
    lines: int
    entries: tuple[str, ...]
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float
    gain: float


def group_means(scores: Sequence[Score]) -> list[GroupMean]:
    """Means over groups of which more than one line was measured, and over collections that are complete."""
    groups = {
        group: [score for score in scores if score.group == group]
        for group in dict.fromkeys(score.group for score in scores)
    }
    by_name = {score.name: score for score in scores}
    for name, entries in COLLECTIONS.items():
        if name not in groups and all(entry in by_name for entry in entries):
            groups[name] = [by_name[entry] for entry in entries]
    return [_group_mean(name, lines) for name, lines in groups.items() if len(lines) > 1]


def _group_mean(group: str, lines: Sequence[Score]) -> GroupMean:
    return GroupMean(
        group=group,
        lines=len(lines),
        entries=tuple(s.name for s in lines),
        psnr=math.fsum(s.psnr for s in lines) / len(lines),
        ssim=math.fsum(s.ssim for s in lines) / len(lines),
        input_psnr=math.fsum(s.input_psnr for s in lines) / len(lines),
        input_ssim=math.fsum(s.input_ssim for s in lines) / len(lines),
        gain=math.fsum(s.psnr - s.input_psnr for s in lines) / len(lines),
    )


def collections_in(scores: Sequence[Score]) -> list[str]:
    """The papers' tables that these scores fill a line of, of those that have published rows."""
    by_name = {score.name for score in scores}
    names = dict.fromkeys((*COLLECTIONS, *(score.group for score in scores)))
    return [name for name in names if published(name) and by_name.issuperset(columns(name))]


def as_published_table(collection: str, scores: Sequence[Score], *, model: str) -> str:
    """A table in the papers' layout: their rows, then ours, then where theirs are from.

    The means of CDD-11's groups are those of the entries in the row; the last one is what the paper prints.

    Args:
        collection: One of `collections_in(scores)`.
        scores: Of one protocol; others than the collection's are left out.
        model: The name for our row.
    """
    protocol = _protocol(scores)
    names = columns(collection)
    parts = {name: part for name, part in COLLECTIONS.items() if name.startswith(f"{collection}-")}
    by_name = {score.name: (score.psnr, score.ssim) for score in scores}
    ours = [by_name[name] for name in names]

    def cells(values: Sequence[Pair | None], average: Pair | None, star: str) -> list[str]:
        means = [_mean_pair([values[names.index(name)] for name in part]) for part in parts.values()]
        overall = [_pair(average) + star] if len(names) > 1 else []
        return [*(_pair(value) for value in (*values, *means)), *overall]

    head = [name.removeprefix(f"{collection}-") for name in (*names, *parts)]
    table = [["method", "params", *head, *(["average"] if len(names) > 1 else []), "source"]]
    for row in published(collection):
        star = "" if row.consistent else "*"
        numbers = cells(row.values, row.average, star)
        table.append([row.method, row.parameters or "-", *numbers, " ".join(row.sources)])
    table.append([model, "", *cells(ours, _mean_pair(ours), ""), "ours"])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    rule = "  ".join("-" * width for width in widths)
    used = dict.fromkeys(key for row in published(collection) for key in row.sources)
    notes = [f"{key}: {sources()[key].table}; protocol: {sources()[key].protocol}" for key in used]
    if not all(row.consistent for row in published(collection)):
        notes.append("*: as printed; the mean of the row's own entries is another number")
    title = f"{collection}, PSNR in dB / SSIM; rows as their papers print them, under their own protocols"
    lines = [_line(row, widths) for row in table]
    return "\n".join(
        [f"{title}; ours under {protocol}", lines[0], rule, *lines[1:-1], rule, lines[-1], *notes]
    )


def _pair(value: Pair | None) -> str:
    return "-" if value is None else f"{_db(value[0])}/{value[1]:.3f}".replace("/0.", "/.")


def _mean_pair(values: Sequence[Pair | None]) -> Pair | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return math.fsum(psnr for psnr, _ in known) / len(known), math.fsum(ssim for _, ssim in known) / len(
        known
    )


def as_table(scores: Sequence[Score]) -> str:
    """A plain text table: one line for each benchmark, then the means of the groups.

    Raises:
        UsageError: The scores were measured under more than one protocol.
    """
    protocol = _protocol(scores)
    lpips = all(s.lpips is not None for s in scores)
    further = ("input LPIPS", "output LPIPS") if lpips else ()
    head = (
        *("benchmark", "images", "input dB", "output dB", "gain dB", "input SSIM", "output SSIM"),
        *further,
        "s/image",
    )
    rows = [
        (
            s.name,
            str(s.n),
            _db(s.input_psnr),
            _db(s.psnr),
            "" if s.gain is None else f"{s.gain:+.2f}",
            f"{s.input_ssim:.4f}",
            f"{s.ssim:.4f}",
            *((f"{s.input_lpips:.4f}", f"{s.lpips:.4f}") if lpips else ()),
            f"{s.seconds / s.n:.2f}",
        )
        for s in scores
    ]
    means = [
        (
            f"mean of {m.lines} {m.group}",
            "",
            _db(m.input_psnr),
            _db(m.psnr),
            f"{m.gain:+.2f}",
            f"{m.input_ssim:.4f}",
            f"{m.ssim:.4f}",
            *("" for _ in further),
            "",
        )
        for m in group_means(scores)
    ]
    widths = [max(len(row[i]) for row in (head, *rows, *means)) for i in range(len(head))]
    rule = "  ".join("-" * width for width in widths)
    lines = [_line(head, widths), rule, *(_line(row, widths) for row in rows)]
    if means:
        lines += [rule, *(_line(row, widths) for row in means)]
    return "\n".join([f"protocol {protocol}", *lines])


def as_dict(
    scores: Sequence[Score],
    *,
    model: str,
    weights_sha256: str | None,
    limit: int | None = None,
    command: str = "",
    device: str = "cpu",
    tile: int | str = "auto",
) -> dict[str, Any]:
    """Everything about a run that JSON can hold, at full precision.

    Args:
        scores: Of one protocol.
        model: The name or path that was asked for.
        weights_sha256: Of the weights' file; None if there is none.
        limit: At most so many images of each benchmark; None for all.
        command: By which it can be done again.
        device: Where the model ran.
        tile: What was asked for; each entry's `tiles` says which images were tiled, and how.

    Raises:
        UsageError: The scores were measured under more than one protocol.
    """
    return {
        "format": FORMAT,
        "model": model,
        "weights_sha256": weights_sha256,
        "protocol": _protocol(scores),
        "limit": limit,
        "command": command,
        "versions": versions(),
        "machine": machine(),
        "device": device,
        "tile": tile,
        "entries": [_entry(score) for score in scores],
        "groups": [
            {key: _finite(value) for key, value in dataclasses.asdict(mean).items()}
            for mean in group_means(scores)
        ],
    }


def _entry(s: Score) -> dict[str, Any]:
    measured = {"lpips": s.lpips, "input_lpips": s.input_lpips} if s.lpips is not None else {}
    return {
        "name": s.name,
        "group": s.group,
        "n": s.n,
        "psnr": _finite(s.psnr),
        "ssim": s.ssim,
        "input_psnr": _finite(s.input_psnr),
        "input_ssim": s.input_ssim,
        **measured,
        "gain": None if s.gain is None else _finite(s.gain),
        "seconds": s.seconds,
        "data_sha256": s.data_sha256,
        "tiles": {image.name: image.tile for image in s.images if image.tile is not None},
        "images": [
            {
                key: _finite(value)
                for key, value in dataclasses.asdict(image).items()
                if key != "tile" and not (key in _OPTIONAL and value is None)
            }
            for image in s.images
        ],
    }


def as_json(scores: Sequence[Score], **about: Any) -> str:
    """`as_dict` as text; takes what `as_dict` takes."""
    return json.dumps(as_dict(scores, **about), indent=2, allow_nan=False) + "\n"


def as_csv(scores: Sequence[Score]) -> str:
    """One line for each image of each benchmark."""
    fields = [field.name for field in dataclasses.fields(ImageScore)]
    fields = [
        name
        for name in fields
        if name not in _OPTIONAL
        or any(getattr(image, name) is not None for s in scores for image in s.images)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["benchmark", "protocol", *fields])
    for score in scores:
        for image in score.images:
            writer.writerow([score.name, score.protocol, *(getattr(image, field) for field in fields)])
    return text.getvalue()


def machine() -> dict[str, Any]:
    """What it was computed on: the processor, the cores that this process may use, memory, the GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (AttributeError, OSError, ValueError):  # not POSIX
        memory = None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _processor(), "cores": cores, "memory_gb": memory, "gpu": gpu}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """What computed the scores."""
    packages = {}
    for package in ("anyrestore", "torch", "numpy"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            packages[package] = "unknown"
    return {**packages, "python": platform.python_version()}


def _protocol(scores: Sequence[Score]) -> str:
    protocols = sorted({score.protocol for score in scores})
    if len(protocols) != 1:
        raise UsageError(
            f"Expected scores of one protocol, got {', '.join(protocols) or 'no scores'}; their numbers "
            "cannot be compared, so make one table for each."
        )
    return protocols[0]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _db(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "exact"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
