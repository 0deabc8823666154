"""Scores as a table for people and as CSV for plots. (As JSON: `anyrestore.evaluation.results`.)

The PSNR of an exact copy is infinite, and "exact" in the table. LPIPS has its columns only where it was
measured.

Tables of the papers (AIO-3, CDD-11 and so on) are printed with the published rows above ours. Those were
measured by their own authors; no mean is ever taken over theirs and ours.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence

from anyrestore.evaluation.benchmarks import COLLECTIONS
from anyrestore.evaluation.published import columns, published, sources
from anyrestore.evaluation.scores import ImageScore, Score, group_means, protocol_of
from anyrestore.tables import aligned

__all__ = ["as_csv", "as_published_table", "as_table", "collections_in"]

Pair = tuple[float, float]  # PSNR in dB, SSIM
_OPTIONAL = ("tile", "lpips", "input_lpips")


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
    protocol = protocol_of(scores)
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
    own = [model, "", *cells(ours, _mean_pair(ours), ""), "ours"]
    used = dict.fromkeys(key for row in published(collection) for key in row.sources)
    notes = [f"{key}: {sources()[key].table}; protocol: {sources()[key].protocol}" for key in used]
    if not all(row.consistent for row in published(collection)):
        notes.append("*: as printed; the mean of the row's own entries is another number")
    title = f"{collection}, PSNR in dB / SSIM; rows as their papers print them, under their own protocols"
    lines = aligned([table[0], None, *table[1:], None, own])
    return "\n".join([f"{title}; ours under {protocol}", *lines, *notes])


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
    protocol = protocol_of(scores)
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
            "" if m.gain is None else f"{m.gain:+.2f}",
            f"{m.input_ssim:.4f}",
            f"{m.ssim:.4f}",
            *("" for _ in further),
            "",
        )
        for m in group_means(scores)
    ]
    lines = aligned([head, None, *rows, *((None, *means) if means else ())])
    return "\n".join([f"protocol {protocol}", *lines])


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


def _db(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "exact"
