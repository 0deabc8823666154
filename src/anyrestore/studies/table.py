"""A study's numbers: every variant beside the reference, with intervals, and beside the paper's.

With several seeds an image's value is its mean over the seeds. Intervals are paired bootstraps over images
within each entry (10,000 resamples, 95 %), so they tell how a difference would move with other pictures of
these kinds; the standard deviation over seeds tells how it moves with another start.
"""

from __future__ import annotations

import dataclasses
import statistics as plain
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anyrestore.evaluation.comparison import probability_text
from anyrestore.evaluation.statistics import RESAMPLES, Paired, stratified_interval, stratified_paired
from anyrestore.studies.budgets import CAVEAT, Budget
from anyrestore.studies.catalog import Study, Variant
from anyrestore.studies.running import Measured
from anyrestore.studies.scoring import PROTOCOL
from anyrestore.tables import aligned

__all__ = ["Row", "as_dict", "as_text", "rows_of"]

_METRICS = ("psnr", "ssim")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant.

    Attributes:
        variant: Which.
        parameters: Of its network.
        seeds: How many runs.
        means: Metric -> the plain mean of the entries' means.
        intervals: Metric -> 95 % interval of that mean.
        deviations: Metric -> standard deviation of that mean over the seeds; empty for one seed.
        differences: Metric -> this variant less the reference, paired; empty for the reference.
        difference_deviations: Metric -> standard deviation of that difference over the seeds.
        groups: Group -> metric -> mean of its entries' means.
        entries: Entry -> metric -> mean.
    """

    variant: Variant
    parameters: int
    seeds: int
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    deviations: dict[str, float]
    differences: dict[str, Paired]
    difference_deviations: dict[str, float]
    groups: dict[str, dict[str, float]]
    entries: dict[str, dict[str, float]]


def rows_of(study: Study, measured: Sequence[Measured]) -> list[Row]:
    """A row for each variant of the study, the degraded input last.

    Args:
        study: Says which the reference is.
        measured: Every variant with the same seeds.
    """
    of_reference = [one for one in measured if one.variant.name == study.reference.name]
    rows = [
        _row(variant, [one for one in measured if one.variant.name == variant.name], of_reference)
        for variant in study.variants
    ]
    return [*rows, _input_row(of_reference[0])]


def _row(variant: Variant, runs: Sequence[Measured], reference: Sequence[Measured]) -> Row:
    means, intervals = dict[str, float](), dict[str, tuple[float, float]]()
    deviations, differences, spread = dict[str, float](), dict[str, Paired](), dict[str, float]()
    for metric in _METRICS:
        own, theirs = _mean_of_seeds(runs, metric), _mean_of_seeds(reference, metric)
        each = [_overall(_values(one, metric)) for one in runs]
        means[metric] = _overall(own)
        intervals[metric] = stratified_interval(own, generator=np.random.default_rng(0))
        if len(runs) > 1:
            deviations[metric] = plain.stdev(each)
        if runs[0].variant.name == reference[0].variant.name:
            continue
        differences[metric] = stratified_paired(theirs, own, generator=np.random.default_rng(0))
        if len(runs) > 1:
            others = [_overall(_values(one, metric)) for one in reference]
            spread[metric] = plain.stdev(a - b for a, b in zip(each, others, strict=True))
    return Row(
        variant=variant,
        parameters=runs[0].parameters,
        seeds=len(runs),
        means=means,
        intervals=intervals,
        deviations=deviations,
        differences=differences,
        difference_deviations=spread,
        **_parts(runs, _METRICS, _METRICS),
    )


def _input_row(run: Measured) -> Row:
    keys = tuple(f"input_{metric}" for metric in _METRICS)
    return Row(
        variant=Variant(name="input", label="(degraded input)"),
        parameters=0,
        seeds=1,
        means={m: _overall(_values(run, key)) for m, key in zip(_METRICS, keys, strict=True)},
        intervals={},
        deviations={},
        differences={},
        difference_deviations={},
        **_parts([run], _METRICS, keys),
    )


def _parts(runs: Sequence[Measured], metrics: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    """Means of entries and groups."""
    results = runs[0].results
    entries = {
        entry.name: {
            metric: float(np.mean([one.results.entry(entry.name).values(key).mean() for one in runs]))
            for metric, key in zip(metrics, keys, strict=True)
        }
        for entry in results.entries
    }
    groups = {
        group.name: {m: float(np.mean([entries[name][m] for name in group.entries])) for m in metrics}
        for group in results.groups
    }
    return {"entries": entries, "groups": groups}


def _values(run: Measured, metric: str) -> list[npt.NDArray[np.float64]]:
    return [entry.values(metric) for entry in run.results.entries]


def _mean_of_seeds(runs: Sequence[Measured], metric: str) -> list[npt.NDArray[np.float64]]:
    """For every entry the images' values, each its mean over the seeds."""
    of_runs = [_values(one, metric) for one in runs]
    return [np.mean(np.stack(values), axis=0) for values in zip(*of_runs, strict=True)]


def _overall(strata: Sequence[npt.NDArray[np.float64]]) -> float:
    return float(np.mean([values.mean() for values in strata]))


# ------------------------------------------------------------------------------------------- as text


def as_text(study: Study, rows: Sequence[Row], budget: Budget) -> str:
    """The tables, and what they are and are not."""
    entries, seeds = rows[0].entries, rows[0].seeds
    many = seeds > 1
    head = ["variant", "parameters", "PSNR", *(["sd"] if many else []), "SSIM", "dPSNR", "95 %"]
    head += [*(["sd"] if many else []), "p", "dSSIM"]
    head += ["paper", "dpaper"] if any(row.variant.published for row in rows) else []
    lines = [
        f"{study.name}: {study.question}",
        f"{len(entries)} entries, {seeds} seed{'s' * many}, budget {budget}, protocol {PROTOCOL.name}",
        "",
        *aligned([head, *(_line(study, row, many=many)[: len(head)] for row in rows)]),
        "",
        *_breakdown(study, rows),
        *textwrap.wrap(
            "dPSNR, dSSIM: less the first row's, paired by image; 95 %: bootstrap interval of dPSNR; p: "
            "share of resamples in which the variant is not better. paper: "
            f"{study.benchmark} ({study.source}).",
            100,
        ),
    ]
    if many:
        lines.append(f"Values of images are means over {seeds} seeds; sd: standard deviation over the seeds.")
    if budget == "small":
        lines += textwrap.wrap(CAVEAT, 100)
    return "\n".join(lines)


def _line(study: Study, row: Row, *, many: bool) -> list[str]:
    psnr, ssim = row.differences.get("psnr"), row.differences.get("ssim")
    published, best = row.variant.published, study.reference.published
    cells = [row.variant.label, f"{row.parameters:,}" if row.parameters else "", f"{row.means['psnr']:.3f}"]
    if many:
        cells.append(_maybe(row.deviations.get("psnr"), "{:.3f}"))
    cells.append(f"{row.means['ssim']:.4f}")
    cells += ["", ""] if psnr is None else [f"{psnr.difference:+.3f}", f"[{psnr.low:+.3f}, {psnr.high:+.3f}]"]
    if many:
        cells.append(_maybe(row.difference_deviations.get("psnr"), "{:.3f}"))
    cells.append("" if psnr is None else probability_text(psnr.probability, RESAMPLES))
    cells.append("" if ssim is None else f"{ssim.difference:+.4f}")
    if published is None:
        return [*cells, "", ""]
    cells.append(
        f"{published.psnr:.2f}"
        + ("" if published.ssim is None else f"/{published.ssim:.3f}".replace("0.", "."))
    )
    apart = None if best is None or row.variant.name == study.reference.name else published.psnr - best.psnr
    return [*cells, _maybe(apart, "{:+.2f}")]


def _breakdown(study: Study, rows: Sequence[Row]) -> list[str]:
    """PSNR of groups, with the paper's, and of every entry."""
    lines = list[str]()
    if rows[0].groups:
        published = any(v.published and v.published.groups for v in study.variants)
        names = list(rows[0].groups)
        head = ["PSNR of groups", *names, *([f"paper {name}" for name in names] if published else [])]

        def of_paper(row: Row, name: str) -> str:
            found = row.variant.published.groups.get(name) if row.variant.published else None
            return "" if found is None else f"{found[0]:.2f}"

        table = [
            [
                row.variant.label,
                *(f"{row.groups[name]['psnr']:.2f}" for name in names),
                *([of_paper(row, name) for name in names] if published else []),
            ]
            for row in rows
        ]
        lines += [*aligned([head, *table]), ""]
    names = list(rows[0].entries)
    table = [[row.variant.label, *(f"{row.entries[name]['psnr']:.2f}" for name in names)] for row in rows]
    return [*lines, *aligned([["PSNR of entries", *names], *table]), ""]


def _maybe(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


# ------------------------------------------------------------------------------------------- as JSON


def as_dict(study: Study, rows: Sequence[Row], budget: Budget) -> dict[str, Any]:
    """Everything that the tables show, and the intervals of the means, at full precision."""
    return {
        "study": study.name,
        "question": study.question,
        "budget": budget,
        "reference": study.reference.name,
        "benchmark": study.benchmark,
        "source": study.source,
        "caveat": CAVEAT if budget == "small" else None,
        "rows": [
            {
                **{
                    field.name: getattr(row, field.name)
                    for field in dataclasses.fields(row)
                    if field.name not in ("variant", "differences")
                },
                "variant": row.variant.name,
                "label": row.variant.label,
                "options": dict(row.variant.options),
                "differences": {m: dataclasses.asdict(paired) for m, paired in row.differences.items()},
                "published": None
                if row.variant.published is None
                else dataclasses.asdict(row.variant.published),
            }
            for row in rows
        ],
    }
