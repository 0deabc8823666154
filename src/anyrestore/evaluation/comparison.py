"""Two models, or several training runs of each, on the same images: what differs, and how surely.

Only like is compared with like: `compare` refuses results of different protocols, limits, data or images, and
says which of them differ. With several runs on a side, an image's value is the mean over them, and the
bootstrap draws images: its interval speaks of other images with these runs, not of other runs. How much runs
differ stands beside it, as the standard deviation over them.

A mean over entries draws images within each entry. Entries whose images have the same names show the same
photographs (CBSD68 at three noise levels, the categories of CDD-11), and are drawn together.

Exact copies. An image whose PSNR is infinite on either side has no finite difference, so it is left out on
both sides, and the comparison says how many were. An entry with nothing left has no difference, and a mean
over entries that needs it is not given. SSIM and LPIPS are finite everywhere and leave nothing out.
"""

import dataclasses
import itertools
import math
import statistics
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from anyrestore.errors import UsageError
from anyrestore.evaluation.results import Results
from anyrestore.evaluation.scores import ImageScore
from anyrestore.evaluation.statistics import LEVEL, RESAMPLES, Paired, stratified_interval, stratified_paired
from anyrestore.storage import shown
from anyrestore.tables import aligned

__all__ = [
    "FEWEST_IMAGES",
    "METRICS",
    "Comparison",
    "Estimate",
    "Line",
    "Metric",
    "Summary",
    "SummaryLine",
    "Values",
    "as_dict",
    "common",
    "common_entries",
    "compare",
    "comparison_table",
    "estimates",
    "generator_of",
    "label_of",
    "left_out_note",
    "limit_text",
    "mean_lines",
    "metric_of",
    "plain",
    "probability_text",
    "ruled",
    "run_means",
    "strata_of",
    "summarise",
    "summary_table",
    "values_of",
]

FEWEST_IMAGES = 10
"""With fewer images than this an interval is given but no verdict: it is then far too narrow."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is written and read."""

    name: str
    label: str
    decimals: int
    higher_is_better: bool = True

    def show(self, value: float, *, sign: bool = False) -> str:
        """`value` with this metric's decimals; "exact" for the PSNR of an exact copy."""
        if not math.isfinite(value):
            return "exact"
        text = f"{value:{'+' if sign else ''}.{self.decimals}f}"
        return text.replace("-", "−") if float(text) else text.lstrip("+-")


#: What can be compared.
METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="psnr", label="PSNR in dB", decimals=2),
        Metric(name="ssim", label="SSIM", decimals=4),
        Metric(name="lpips", label="LPIPS", decimals=4, higher_is_better=False),
        Metric(name="colour_shift", label="colour shift", decimals=2, higher_is_better=False),
    )
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One entry, or the plain mean of several.

    Attributes:
        name: The entry's, or "mean of 3 cbsd68".
        entries: What it stands on: one entry, or several.
        n: Images that were compared.
        left_out: Images that are exact on one side, and so were not.
        a: Mean of each run of A, over the images that were compared.
        b: Mean of each run of B.
        paired: The bootstrap over those images; None where no image is left.
        verdict: For people: "B is better", "A is better", "no difference shown", "too few images", "exact".
    """

    name: str
    entries: tuple[str, ...]
    n: int
    left_out: int
    a: tuple[float, ...]
    b: tuple[float, ...]
    paired: Paired | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` found: a line for each entry, means of groups, and what a reader must know."""

    metric: Metric
    protocol: str
    limit: int | None
    seed: int
    resamples: int
    level: float
    a: tuple[str, ...]
    b: tuple[str, ...]
    lines: tuple[Line, ...]
    means: tuple[Line, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SummaryLine:
    """One entry over several training runs.

    Attributes:
        name: The entry's.
        n: Images.
        left_out: Images that are exact in one of the runs, and so were not counted.
        runs: Mean of each run.
        mean: Mean over the runs; infinite where no image is left.
        sd: Standard deviation over the runs (divisor: their number less one); None for one run.
        low: Lower end of the interval of the mean over images, with these runs; None where no image is left.
        high: Upper end of it.
    """

    name: str
    n: int
    left_out: int
    runs: tuple[float, ...]
    mean: float
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Several training runs of one model."""

    metric: Metric
    protocol: str
    limit: int | None
    seed: int
    resamples: int
    level: float
    runs: tuple[str, ...]
    lines: tuple[SummaryLine, ...]
    means: tuple[SummaryLine, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over n images with the ends of its interval; None where no image has a finite value."""

    n: int
    mean: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Values:
    """One entry: (runs, images) values of each side, of the images that are finite everywhere."""

    name: str
    sides: tuple[Array, ...]
    images: tuple[str, ...]
    left_out: int
    exact: tuple[int, ...]

    @property
    def n(self) -> int:
        """Images."""
        return self.sides[0].shape[1]


def compare(
    a: Sequence[Results],
    b: Sequence[Results],
    *,
    metric: str = "psnr",
    benchmarks: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Compare B with A, entry by entry, and the means of groups of entries.

    Args:
        a: One or more runs of the first model.
        b: One or more runs of the second.
        metric: `psnr`, `ssim`, `lpips` or `colour_shift`.
        benchmarks: Names of entries or groups; all that both sides have, if empty. A mean over all that were
            chosen is then added.
        resamples: How often the images are drawn again.
        level: Of the intervals.
        seed: Of the resamples. An entry's draws depend on it and on the entry's name only, not on what else
            is compared.

    Raises:
        UsageError: `results_differ`, when the results do not speak of the same thing; otherwise when a name
            is not known.
        DataError: The metric was not measured.
    """
    how = metric_of(metric)
    names, notes = common([*a, *b], benchmarks)
    found = {name: values_of(name, (a, b), metric) for name in names}
    notes += [note for values in found.values() if (note := left_out_note(values, ("A", "B")))]

    def line(name: str, members: Sequence[str]) -> Line:
        chosen = [found[member] for member in members]
        complete = all(values.n for values in chosen)
        paired: Paired | None = None
        if complete:
            paired = stratified_paired(
                strata_of([(values.images, values.sides[0].mean(axis=0)) for values in chosen]),
                strata_of([(values.images, values.sides[1].mean(axis=0)) for values in chosen]),
                resamples=resamples,
                level=level,
                higher_is_better=how.higher_is_better,
                generator=generator_of(seed, name),
            )
        return Line(
            name=name,
            entries=tuple(members),
            n=sum(values.n for values in chosen),
            left_out=sum(values.left_out for values in chosen),
            a=run_means(chosen, 0),
            b=run_means(chosen, 1),
            paired=paired,
            verdict=_verdict(paired, min(values.n for values in chosen), how),
        )

    return Comparison(
        metric=how,
        protocol=a[0].protocol,
        limit=a[0].limit,
        seed=seed,
        resamples=resamples,
        level=level,
        a=tuple(label_of(run) for run in a),
        b=tuple(label_of(run) for run in b),
        lines=tuple(line(name, [name]) for name in names),
        means=tuple(line(name, of) for name, of in mean_lines(a[0], names, chosen=bool(benchmarks))),
        notes=tuple(notes),
    )


def summarise(
    runs: Sequence[Results],
    *,
    metric: str = "psnr",
    benchmarks: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Summary:
    """Mean and standard deviation over training runs, and the interval over images; arguments as `compare`.

    Raises:
        UsageError: As :func:`compare`.
        DataError: As :func:`compare`.
    """
    how = metric_of(metric)
    names, notes = common(runs, benchmarks)
    found = {name: values_of(name, (runs,), metric) for name in names}
    notes += [note for values in found.values() if (note := left_out_note(values, ("one of the runs",)))]

    def line(name: str, members: Sequence[str]) -> SummaryLine:
        chosen = [found[member] for member in members]
        means = run_means(chosen, 0)
        low = high = None
        if all(values.n for values in chosen):
            of_images = strata_of([(values.images, values.sides[0].mean(axis=0)) for values in chosen])
            low, high = stratified_interval(
                of_images, resamples=resamples, level=level, generator=generator_of(seed, name)
            )
        return SummaryLine(
            name=name,
            n=sum(values.n for values in chosen),
            left_out=sum(values.left_out for values in chosen),
            runs=means,
            mean=statistics.fmean(means),
            sd=_sd(means),
            low=low,
            high=high,
        )

    return Summary(
        metric=how,
        protocol=runs[0].protocol,
        limit=runs[0].limit,
        seed=seed,
        resamples=resamples,
        level=level,
        runs=tuple(label_of(run) for run in runs),
        lines=tuple(line(name, [name]) for name in names),
        means=tuple(line(name, of) for name, of in mean_lines(runs[0], names, chosen=bool(benchmarks))),
        notes=tuple(notes),
    )


def estimates(
    run: Results,
    names: Sequence[str],
    value: Callable[[ImageScore], float | None],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Means of one run with their intervals, for tables: of each entry, and of its groups.

    Args:
        run: What was measured.
        names: The entries.
        value: An image's value; an image where it is None or not finite is left out.
        resamples: As in :func:`compare`.
        level: As in :func:`compare`.
        seed: As in :func:`compare`.
    """
    finite: dict[str, dict[str, float]] = {}
    for name in names:
        of_images = [(image.name, value(image)) for image in run.entry(name).images]
        finite[name] = {
            key: number for key, number in of_images if number is not None and math.isfinite(number)
        }

    def of(name: str, members: Sequence[str]) -> Estimate:
        strata = [list(finite[member].values()) for member in members]
        n = sum(run.entry(member).n for member in members)
        if not all(strata):
            return Estimate(n=n, mean=None, low=math.nan, high=math.nan)
        low, high = stratified_interval(
            strata_of(
                [(tuple(finite[member]), np.array(list(finite[member].values()))) for member in members]
            ),
            resamples=resamples,
            level=level,
            generator=generator_of(seed, name),
        )
        mean = math.fsum(math.fsum(values) / len(values) for values in strata) / len(strata)
        return Estimate(n=n, mean=mean, low=low, high=high)

    lines = [(name, [name]) for name in names]
    return {name: of(name, members) for name, members in (*lines, *mean_lines(run, names))}


def mean_lines(run: Results, names: Sequence[str], *, chosen: bool = False) -> list[tuple[str, list[str]]]:
    """The means that are shown, by what they are called: of groups, and of all that were chosen."""
    of_entries = {entry.name: entry.group for entry in run.entries}
    found: dict[str, list[str]] = {}
    for group in run.groups:
        members = [name for name in group.entries if name in names]
        own = all(of_entries[name] == group.name for name in group.entries)
        # A set that cuts across groups, such as AIO-5, is only itself when it is whole.
        if len(members) > 1 and (own or len(members) == len(group.entries)):
            found[f"mean of {len(members)} {group.name}"] = members
    if chosen and len(names) > 1 and list(names) not in [list(members) for members in found.values()]:
        found[f"mean of these {len(names)}"] = list(names)
    return list(found.items())


def common_entries(runs: Sequence[Results]) -> list[str]:
    """The names of the entries that all runs hold.

    Raises:
        UsageError: `results_differ`, as :func:`compare`.
    """
    return common(runs, ())[0]


def as_dict(found: Comparison | Summary) -> dict[str, Any]:
    """Everything, as JSON can hold it: infinity as null."""
    content = dataclasses.asdict(found)
    return {"kind": "comparison" if isinstance(found, Comparison) else "summary", **plain(content)}


def comparison_table(found: Comparison) -> str:
    """A plain text table: an entry a line, then the means, then what a reader must know."""
    how, several = found.metric, len(found.a) > 1 or len(found.b) > 1
    head = (
        *("entry", "images", "A", "B", "B − A", f"{found.level:.0%} interval"),
        *("P(B not better)", "verdict"),
    )

    def row(line: Line) -> tuple[str, ...]:
        sides = (_with_sd(line.a, how), _with_sd(line.b, how))
        if line.paired is None:
            return (line.name, str(line.n), *sides, "", "", "", line.verdict)
        return (
            line.name,
            str(line.n),
            *sides,
            how.show(line.paired.difference, sign=True),
            f"{how.show(line.paired.low, sign=True)} to {how.show(line.paired.high, sign=True)}",
            probability_text(line.paired.probability, found.resamples),
            line.verdict,
        )

    better = "higher" if how.higher_is_better else "lower"
    lines = [f"A  {', '.join(found.a)}", f"B  {', '.join(found.b)}"]
    lines.append(f"protocol {found.protocol}; {how.label}, {better} is better" + limit_text(found.limit))
    lines += ["", *ruled(head, [row(line) for line in found.lines], [row(line) for line in found.means]), ""]
    lines.append(
        f"Paired bootstrap over images, {found.resamples:,} resamples, seed {found.seed}. P(B not better) is "
        "the share of them in which B's mean is not better than A's."
    )
    if several:
        lines.append(
            "An image's value is its mean over the runs of a side; A and B show mean ± standard deviation "
            "over runs; the intervals speak of other images, not of other runs."
        )
    return "\n".join([*lines, *found.notes])


def summary_table(found: Summary) -> str:
    """A plain text table of a summary."""
    how = found.metric
    head = (
        "entry",
        "images",
        "mean",
        "sd over runs",
        "lowest",
        "highest",
        f"{found.level:.0%} interval over images",
    )

    def row(line: SummaryLine) -> tuple[str, ...]:
        over_images = (
            "" if line.low is None or line.high is None else f"{how.show(line.low)} to {how.show(line.high)}"
        )
        return (
            line.name,
            str(line.n),
            how.show(line.mean),
            "" if line.sd is None or not math.isfinite(line.sd) else f"{line.sd:.{how.decimals}f}",
            how.show(min(line.runs)),
            how.show(max(line.runs)),
            over_images,
        )

    lines = [f"{len(found.runs)} runs  {', '.join(found.runs)}"]
    lines.append(f"protocol {found.protocol}; {how.label}" + limit_text(found.limit))
    lines += ["", *ruled(head, [row(line) for line in found.lines], [row(line) for line in found.means]), ""]
    lines.append(
        f"The interval is a bootstrap over images with these runs: {found.resamples:,} resamples, "
        f"seed {found.seed}."
    )
    return "\n".join([*lines, *found.notes])


def probability_text(probability: float, resamples: int) -> str:
    """A share of resamples, as it can be known from so many of them."""
    return f"< {1 / resamples:g}" if probability == 0.0 else f"{probability:.4f}"


def metric_of(name: str) -> Metric:
    """The metric of that name; UsageError if there is none."""
    if name not in METRICS:
        raise UsageError(f"Expected a metric among {', '.join(METRICS)}, got {name!r}.")
    return METRICS[name]


def common(runs: Sequence[Results], benchmarks: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of the entries to look at, and notes about those that are not looked at.

    Raises:
        UsageError: As `compare`.
    """
    first = runs[0]
    for run in runs[1:]:
        _check_alike("protocol", first, run, first.protocol, run.protocol)
        _check_alike("limit", first, run, first.limit, run.limit)
    everywhere = [e.name for e in first.entries if all(e.name in _names(run) for run in runs)]
    if not everywhere:
        _differ(
            "No entry is in all of the results",
            first,
            runs[-1],
            _told(_names(first)),
            _told(_names(runs[-1])),
        )
    names = _select(first, everywhere, benchmarks) if benchmarks else everywhere
    for run in runs[1:]:
        for name in names:
            _check_same_images(name, first, run)
    _check_same_words(names, runs)
    elsewhere = sorted({entry for run in runs for entry in _names(run)} - set(everywhere))
    told = [] if benchmarks or not elsewhere else [f"Not in all of the results: {', '.join(elsewhere)}."]
    return names, told


def _names(run: Results) -> list[str]:
    return [entry.name for entry in run.entries]


def _select(run: Results, everywhere: Sequence[str], benchmarks: Sequence[str]) -> list[str]:
    groups = {group.name: group.entries for group in run.groups}
    groups |= {
        entry.group: tuple(e.name for e in run.entries if e.group == entry.group)
        for entry in run.entries
        if entry.group not in groups
    }
    chosen: set[str] = set()
    for name in benchmarks:
        of = (name,) if name in everywhere else groups.get(name, ())
        missing = [entry for entry in of if entry not in everywhere]
        if not of or missing:
            raise UsageError(
                f"Expected --benchmark to name what all of the results hold, got {name!r}; "
                f"they hold {', '.join(everywhere)}."
            )
        chosen.update(of)
    return [name for name in everywhere if name in chosen]


def _check_same_images(name: str, first: Results, other: Results) -> None:
    ours, theirs = first.entry(name), other.entry(name)
    images, others = ([image.name for image in entry.images] for entry in (ours, theirs))
    if images != others:
        _differ(
            f"The images of {name} differ", first, other, f"{len(images)} images", f"{len(others)} images"
        )
    if ours.data_sha256 != theirs.data_sha256:
        _differ(
            f"The data of {name} differ",
            first,
            other,
            f"{ours.data_sha256[:12]}…",
            f"{theirs.data_sha256[:12]}…",
        )


def _check_same_words(names: Sequence[str], runs: Sequence[Results]) -> None:
    """Models that find out by themselves may stand beside one that is told; what is said must agree."""
    for name in names:
        told = [run for run in runs if run.entry(name).instruction is not None]
        for run in told[1:]:
            ours, theirs = told[0].entry(name).instruction, run.entry(name).instruction
            if ours != theirs:
                _differ(f"The instructions of {name} differ", told[0], run, repr(ours), repr(theirs))


def _check_alike(what: str, first: Results, other: Results, ours: object, theirs: object) -> None:
    if ours != theirs:
        _differ(f"The {what}s differ", first, other, str(ours or "none"), str(theirs or "none"))


def _differ(what: str, first: Results, other: Results, ours: str, theirs: str) -> None:
    raise UsageError(
        f"{what}: {ours} in {shown(first.path)}, {theirs} in {shown(other.path)}; their numbers do not mean "
        "the same, so evaluate one of them again as the other was.",
        code="results_differ",
    )


def _told(names: Iterable[str]) -> str:
    return ", ".join(names)


def values_of(name: str, sides: Sequence[Sequence[Results]], metric: str) -> Values:
    """An entry's values in the runs of each side."""
    arrays = [np.stack([run.entry(name).values(metric) for run in side]) for side in sides]
    finite = np.asarray(np.isfinite(np.concatenate(arrays)).all(axis=0))
    exact = tuple(int((~np.isfinite(array)).any(axis=0).sum()) for array in arrays)
    return Values(
        name=name,
        sides=tuple(array[:, finite] for array in arrays),
        images=tuple(
            itertools.compress((image.name for image in sides[0][0].entry(name).images), finite.tolist())
        ),
        left_out=int(np.count_nonzero(~finite)),
        exact=exact,
    )


def strata_of(entries: Sequence[tuple[tuple[str, ...], Array]]) -> list[Array]:
    """Names and (n,) values of each entry's images, put together as (k, n) where k entries show the same.

    Entries whose images have the same names show the same photographs, degraded in other ways: what is easy
    in one is easy in the others. Drawn apart, they would pass for more evidence than they are.
    """
    alike: dict[tuple[str, ...], list[Array]] = {}
    for names, values in entries:
        alike.setdefault(names, []).append(values)
    return [np.stack(values) for values in alike.values()]


def left_out_note(values: Values, sides: Sequence[str]) -> str | None:
    """A sentence about the images that are left out, where there are some."""
    if not values.left_out:
        return None
    counts = ", ".join(f"{count} in {side}" for count, side in zip(values.exact, sides, strict=True))
    return (
        f"{values.name}: {values.left_out} of {values.n + values.left_out} images left out, because their "
        f"PSNR is infinite (exact copies: {counts}); compare SSIM to have them all."
    )


def run_means(chosen: Sequence[Values], side: int) -> tuple[float, ...]:
    """(runs,) for each run the mean over entries of the means over images; infinite if an entry has none."""
    means: list[float] = []
    for run in range(len(chosen[0].sides[side])):
        of_entries = [
            math.fsum(values.sides[side][run]) / values.n if values.n else math.inf for values in chosen
        ]
        means.append(math.fsum(of_entries) / len(of_entries))
    return tuple(means)


def _verdict(paired: Paired | None, fewest: int, how: Metric) -> str:
    if paired is None:
        return "exact"
    if fewest < FEWEST_IMAGES:
        return "too few images"
    if paired.low <= 0.0 <= paired.high:
        return "no difference shown"
    return "B is better" if (paired.low > 0.0) == how.higher_is_better else "A is better"


def generator_of(seed: int, name: str) -> np.random.Generator:
    """What draws the resamples of an entry; that of the same name draws the same."""
    return np.random.default_rng([seed, zlib.crc32(name.encode(errors="surrogatepass"))])


def label_of(run: Results) -> str:
    """What to call a run in a table."""
    return f"{run.model} ({run.path})"


def _sd(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.inf


def _with_sd(runs: Sequence[float], how: Metric) -> str:
    sd, mean = _sd(runs), how.show(statistics.fmean(runs))
    return mean if sd is None or not math.isfinite(sd) else f"{mean} ± {sd:.{how.decimals}f}"


def limit_text(limit: int | None) -> str:
    """The end of a sentence that says on how many images."""
    return "" if limit is None else f"; at most {limit} images of each entry"


def ruled(head: Sequence[str], rows: Sequence[Sequence[str]], means: Sequence[Sequence[str]]) -> list[str]:
    """A table with lines below its head and above the means."""
    # Words to the left, numbers to the right.
    left = (0, len(head) - 1) if head[-1] == "verdict" else (0,)
    return aligned([head, None, *rows, *((None, *means) if means else ())], left=left)


def plain(value: Any) -> Any:
    """As JSON can hold it: what is infinite or no number becomes null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
