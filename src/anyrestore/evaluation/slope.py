"""How much more training is worth: score against crops seen, by how much it rises when the crops double.

Results of one model, evaluated after more and more crops. The slope is that of the least-squares line
through (log2 of the crops seen, mean score). It is a sum of scores with weights that the crops alone decide,
and so the mean over images of each image's own slope. These the bootstrap draws: its interval speaks of other
images with these very networks, not of other training runs, and not of crops that nobody has trained on yet.

What may stand in one line, groups, exact copies and names are as in :mod:`anyrestore.evaluation.comparison`.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyrestore.errors import UsageError
from anyrestore.evaluation import comparison
from anyrestore.evaluation.comparison import Array, Metric, Values
from anyrestore.evaluation.results import Results
from anyrestore.evaluation.statistics import LEVEL, RESAMPLES, stratified_interval

__all__ = ["Line", "Point", "Slopes", "as_dict", "slopes", "table", "weights_of"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One evaluation: which, and how many crops its weights have seen."""

    label: str
    crops: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """One entry, or the plain mean of several.

    Attributes:
        name: The entry's, or "mean of 3 cbsd68".
        n: Images.
        left_out: Images that are exact at one of the points, and so were not counted.
        scores: Mean at each point.
        slope: Metric per doubling of the crops, over all points; None where no image is left.
        low: Lower end of its interval.
        high: Upper end of it.
        last: The same between the last two points.
        last_low: Lower end of its interval.
        last_high: Upper end of it.
    """

    name: str
    n: int
    left_out: int
    scores: tuple[float, ...]
    slope: float | None = None
    low: float | None = None
    high: float | None = None
    last: float | None = None
    last_low: float | None = None
    last_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """What `slopes` found."""

    metric: Metric
    protocol: str
    limit: int | None
    seed: int
    resamples: int
    level: float
    points: tuple[Point, ...]
    lines: tuple[Line, ...]
    means: tuple[Line, ...]
    notes: tuple[str, ...]


def slopes(
    runs: Sequence[Results],
    *,
    crops: Sequence[int] = (),
    metric: str = "psnr",
    benchmarks: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Slopes:
    """The slope of every entry and of the means of groups.

    Args:
        runs: Results of one model, at least two, in any order.
        crops: How many crops the weights of each had seen, in the order of `runs`; empty: as the results say.
        metric: As in :func:`anyrestore.evaluation.comparison.compare`; so the other arguments.
        benchmarks: As there.
        resamples: As there.
        level: As there.
        seed: As there.

    Raises:
        UsageError: Fewer than two results, crops that are not known or not different; as `compare`.
        DataError: The metric was not measured.
    """
    how = comparison.metric_of(metric)
    runs, seen = _in_order(runs, crops)
    names, notes = comparison.common(runs, benchmarks)
    found = {name: comparison.values_of(name, (runs,), metric) for name in names}
    notes += [n for v in found.values() if (n := comparison.left_out_note(v, ("one of the results",)))]
    every, last = weights_of(seen), np.concatenate([np.zeros(len(seen) - 2), weights_of(seen[-2:])])

    def line(name: str, members: Sequence[str]) -> Line:
        chosen = [found[member] for member in members]
        scores = comparison.run_means(chosen, 0)
        about: dict[str, Any] = {
            "name": name,
            "n": sum(values.n for values in chosen),
            "left_out": sum(values.left_out for values in chosen),
            "scores": scores,
        }
        if not all(values.n for values in chosen):
            return Line(**about)

        def estimate(weights: Array) -> tuple[float, float, float]:
            interval = stratified_interval(
                _strata(chosen, weights),
                resamples=resamples,
                level=level,
                generator=comparison.generator_of(seed, name),
            )
            return float(weights @ np.array(scores)), *interval

        slope, low, high = estimate(every)
        of_last, last_low, last_high = estimate(last)
        return Line(
            **about, slope=slope, low=low, high=high, last=of_last, last_low=last_low, last_high=last_high
        )

    return Slopes(
        metric=how,
        protocol=runs[0].protocol,
        limit=runs[0].limit,
        seed=seed,
        resamples=resamples,
        level=level,
        points=tuple(
            Point(label=comparison.label_of(run), crops=n) for run, n in zip(runs, seen, strict=True)
        ),
        lines=tuple(line(name, [name]) for name in names),
        means=tuple(
            line(name, of) for name, of in comparison.mean_lines(runs[0], names, chosen=bool(benchmarks))
        ),
        notes=tuple(notes),
    )


def weights_of(crops: Sequence[int]) -> Array:
    """(n,) what the scores at n points are multiplied by; the sum is the slope of the least-squares line.

    Args:
        crops: At each point, at least two different numbers above 0.
    """
    x = np.log2(np.asarray(crops, dtype=np.float64))
    x -= x.mean()
    return np.asarray(x / (x @ x))


def as_dict(found: Slopes) -> dict[str, Any]:
    """Everything, as JSON can hold it: infinity as null."""
    return {"kind": "slope", **comparison.plain(dataclasses.asdict(found))}


def table(found: Slopes) -> str:
    """A plain text table: an entry a line, then the means, then what a reader must know."""
    how, level = found.metric, f"{found.level:.0%} interval"
    unit = "dB" if how.name == "psnr" else how.label
    head = (
        "entry",
        "images",
        *(f"{point.crops:,}" for point in found.points),
        f"{unit} per doubling",
        level,
        "last two",
        level,
    )

    def row(line: Line) -> tuple[str, ...]:
        return (
            line.name,
            str(line.n),
            *(how.show(score) for score in line.scores),
            *_estimate(how, line.slope, line.low, line.high),
            *_estimate(how, line.last, line.last_low, line.last_high),
        )

    lines = [f"{point.crops:>13,} crops  {point.label}" for point in found.points]
    lines.append(f"protocol {found.protocol}; {how.label}" + comparison.limit_text(found.limit))
    rows, means = ([row(line) for line in of] for of in (found.lines, found.means))
    lines += ["", *comparison.ruled(head, rows, means), ""]
    lines.append(
        f"Least squares over log2 of the crops; bootstrap over images, {found.resamples:,} resamples, seed "
        f"{found.seed}: of other images, not of other training runs."
    )
    return "\n".join([*lines, *found.notes])


def _estimate(how: Metric, value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    if value is None or low is None or high is None:
        return "exact", ""
    return how.show(value, sign=True), f"{how.show(low, sign=True)} to {how.show(high, sign=True)}"


def _in_order(runs: Sequence[Results], crops: Sequence[int]) -> tuple[list[Results], list[int]]:
    """The results by the crops that their weights have seen."""
    if len(runs) < 2:
        raise UsageError(f"Expected at least two results of one model for a slope, got {len(runs)}.")
    if crops and len(crops) != len(runs):
        raise UsageError(
            f"Expected --crops with a number for each of the {len(runs)} results, got {len(crops)}."
        )
    seen = list(crops) or [sum(run.crops.values()) if run.crops else 0 for run in runs]
    if unknown := [comparison.label_of(run) for run, n in zip(runs, seen, strict=True) if n < 1]:
        raise UsageError(
            f"Expected results that say how many crops their weights have seen; {', '.join(unknown)} "
            "does not; give --crops N,N,... in the order of the results."
        )
    if len(set(seen)) < len(seen):
        raise UsageError(
            f"Expected results after different numbers of crops, got {', '.join(f'{n:,}' for n in seen)}."
        )
    pairs = sorted(zip(seen, range(len(runs)), strict=True))
    return [runs[i] for _, i in pairs], [n for n, _ in pairs]


def _strata(chosen: Sequence[Values], weights: Array) -> list[Array]:
    return comparison.strata_of([(values.images, weights @ values.sides[0]) for values in chosen])
