"""Scores as a table for people and as CSV for plots. (As JSON: `anyrestore.evaluation.results`.)

The PSNR of an exact copy is infinite, and "exact" in the table. LPIPS has its columns only where it was
measured, the colour shift where it was asked for. "least" is the smallest gain of what a line averages: of a
benchmark's images, or of a mean's benchmarks.

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
from anyrestore.evaluation.scores import GroupMean, ImageScore, Score, group_means, harmed, protocol_of
from anyrestore.tables import aligned

__all__ = ["as_csv", "as_harm", "as_published_table", "as_table", "collections_in"]

Pair = tuple[float, float]  # PSNR in dB, SSIM
_OPTIONAL = ("tile", "lpips", "input_lpips", "colour_shift", "input_colour_shift")


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
    parts = {
        name: part
        for name, part in COLLECTIONS.items()
        if name.startswith(f"{collection}-") and set(part) <= set(names)
    }
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


def as_table(scores: Sequence[Score], *, colour: bool = False) -> str:
    """A plain text table: one line for each benchmark, then the means of the groups.

    Args:
        scores: Of one protocol.
        colour: Whether the colour shift has columns; blank where it was not measured.

    Raises:
        UsageError: The scores were measured under more than one protocol.
    """
    protocol = protocol_of(scores)
    further = {"lpips": ("LPIPS", 4)} if all("lpips" in s.metrics for s in scores) else {}
    if colour:
        further["colour_shift"] = ("shift", 2)
    head = (
        *("benchmark", "images", "input dB", "output dB", "gain dB", "least", "input SSIM", "output SSIM"),
        *(f"{side} {title}" for title, _ in further.values() for side in ("input", "output")),
        "s/image",
    )
    rows = [
        (
            s.name,
            str(s.n),
            *_psnr_cells(s),
            *(
                f"{s.mean(key):.{decimals}f}" if key in s.metrics else ""
                for metric, (_, decimals) in further.items()
                for key in (f"input_{metric}", metric)
            ),
            f"{s.seconds / s.n:.2f}",
        )
        for s in scores
    ]
    means = [
        (f"mean of {m.lines} {m.group}", "", *_psnr_cells(m), *("" for _ in further for _ in range(2)), "")
        for m in group_means(scores)
    ]
    lines = aligned([head, None, *rows, *((None, *means) if means else ())])
    return "\n".join([f"protocol {protocol}", *lines])


def _psnr_cells(of: Score | GroupMean) -> tuple[str, ...]:
    """What a benchmark and a mean of several both have: PSNR, gains, SSIM."""
    return (
        _db(of.input_psnr),
        _db(of.psnr),
        "" if of.gain is None else f"{of.gain:+.2f}",
        "" if of.least_gain is None else f"{of.least_gain:+.2f}",
        f"{of.input_ssim:.4f}",
        f"{of.ssim:.4f}",
    )


def as_harm(scores: Sequence[Score]) -> str:
    """Which benchmarks' outputs are worse than their inputs, in one sentence; empty where none is."""
    worse = [f"{score.name} ({score.gain:+.2f} dB)" for score in harmed(scores)]
    return f"worse than their inputs: {', '.join(worse)}" if worse else ""


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
