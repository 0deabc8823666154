"""Results as one HTML page that needs nothing else: tables, plots, sliders over pictures, provenance.

What is unusual: whatever comes from a results file goes through `html.escape`, and, should that ever be
forgotten, the page's content security policy (`anyrestore.evaluation.sliders`) lets nothing run but its own
script. Pictures are data URIs; the page stays below `MAX_BYTES`.

The same results give the same page, byte for byte.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anyrestore.evaluation import gallery, plots
from anyrestore.evaluation.comparison import (
    FEWEST_IMAGES,
    METRICS,
    Comparison,
    Estimate,
    Line,
    Metric,
    common_entries,
    compare,
    estimates,
    probability_text,
)
from anyrestore.evaluation.gallery import Shown
from anyrestore.evaluation.results import Results
from anyrestore.evaluation.scores import ImageScore, Score, told
from anyrestore.evaluation.sliders import document, slider
from anyrestore.evaluation.sliders import escape as _e
from anyrestore.evaluation.statistics import LEVEL, RESAMPLES

__all__ = ["MAX_BYTES", "page"]

MAX_BYTES = 10_000_000
"""A page is not larger than this."""

#: What is left of it for tables, plots and words, without the pictures.
_FOR_THE_REST = 1_500_000

_GAIN = Metric(name="gain", label="Gain over the input in dB", decimals=2)

Runs = Sequence[tuple[str, Results]]
ValueOf = Callable[[ImageScore], float | None]
Gains = npt.NDArray[np.float64]


def page(
    runs: Sequence[Results], *, resamples: int = RESAMPLES, seed: int = 0, picture_bytes: int | None = None
) -> str:
    """The page for one run, or for several side by side.

    Args:
        runs: At least one. The others are compared with the first, which also decides which pictures are
            shown.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        picture_bytes: Most bytes of all pictures together; what the page's limit leaves, unless told.

    Raises:
        UsageError: `results_differ`; the runs cannot be shown side by side.
    """
    names = common_entries(runs)
    labelled = list(zip(_labels(runs), runs, strict=True))
    budget = MAX_BYTES - _FOR_THE_REST if picture_bytes is None else picture_bytes
    title = _and([label for label, _ in labelled]) + (" compared" if len(runs) > 1 else "")
    body = [
        _header(title, runs[0], names),
        "<main>",
        _scores(labelled, names, resamples=resamples, seed=seed),
        *(_verdicts(labelled[0], other, resamples=resamples, seed=seed) for other in labelled[1:]),
        _entries(labelled, names, budget),
        "</main>",
        _footer(labelled, names, resamples=resamples, seed=seed),
    ]
    return document(title, "\n".join(part for part in body if part), generator="anyrestore report")


def _header(title: str, first: Results, names: Sequence[str]) -> str:
    images = sum(first.entry(name).n for name in names)
    part = ""
    if first.limit is not None:
        part = (
            f'<p class="warning">A part only: at most {first.limit} images of each entry were measured. '
            "Do not print these scores beside those of whole sets.</p>"
        )
    measured = f"{_count(len(names), 'entry')}, {_count(images, 'image')}"
    return (
        f'<header><h1>{_e(title)}</h1>\n<p class="deck">Restoration measured on {measured}, '
        f"protocol <strong>{_e(first.protocol)}</strong>.</p>\n{part}</header>"
    )


# ------------------------------------------------------------------------------------------------
# Tables


def _scores(runs: Runs, names: Sequence[str], *, resamples: int, seed: int) -> str:
    shared = [
        metric
        for metric in METRICS.values()
        if all(metric.name in run.entry(name).metrics for _, run in runs for name in names)
    ]
    columns = [
        _columns(runs, names, metric, resamples=resamples, seed=seed)
        for metric in (shared[0], _GAIN, *shared[1:])
    ]
    if len(runs) == 1:  # one wide table says more than several narrow ones
        tables = [_score_table("PSNR, gain and SSIM", names, [column for of in columns for column in of])]
    else:
        tables = [_score_table(_caption(of[0].metric), names, of) for of in columns if of]
    return (
        f'<section aria-labelledby="scores"><h2 id="scores">Scores</h2>\n'
        f'<p class="note">Means over images; below each, its {LEVEL:.0%} bootstrap interval over images. '
        "Means over entries average the entries. Exact copies, whose PSNR is infinite, are not in the "
        f"means of PSNR.</p>\n{''.join(tables)}</section>"
    )


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One column of a table of scores; the input's have no interval."""

    head: str
    metric: Metric
    found: Mapping[str, Estimate]
    with_interval: bool = True


def _columns(runs: Runs, names: Sequence[str], metric: Metric, *, resamples: int, seed: int) -> list[_Column]:
    first, alone = runs[0][1], len(runs) == 1
    before, unit = f"input_{metric.name}", metric.label.removesuffix(" in dB")
    columns: list[_Column] = []
    if all(before in first.entry(name).metrics for name in names):
        found = estimates(first, names, lambda image: image.value(before), resamples=1, seed=seed)
        head = f"input {unit}" if alone else "input"
        columns.append(_Column(head=head, metric=metric, found=found, with_interval=False))
    for label, run in runs:
        found = estimates(run, names, _value(metric), resamples=resamples, seed=seed)
        if metric is _GAIN and all(estimate.mean is None for estimate in found.values()):
            continue
        head = ("gain" if metric is _GAIN else f"output {unit}") if alone else label
        columns.append(_Column(head=head, metric=metric, found=found))
    return columns


def _value(metric: Metric) -> ValueOf:
    if metric is _GAIN:
        return lambda image: image.gain
    return lambda image: image.value(metric.name)


def _caption(metric: Metric) -> str:
    return metric.label + ("" if metric.higher_is_better else ", lower is better")


def _score_table(caption: str, names: Sequence[str], columns: Sequence[_Column]) -> str:
    rows = "".join(_score_row(name, columns, link=i) for i, name in enumerate(names))
    means = "".join(_score_row(name, columns, link=None) for name in columns[0].found if name not in names)
    head = "".join(f'<th scope="col">{_e(_head(column))}</th>' for column in columns)
    return _table(
        caption, f'<tr><th scope="col">entry</th><th scope="col">images</th>{head}</tr>', rows, means
    )


def _head(column: _Column) -> str:
    named = column.head.startswith(("input ", "output ", "gain"))
    return f"{column.head}, dB" if named and column.metric in (METRICS["psnr"], _GAIN) else column.head


def _score_row(name: str, columns: Sequence[_Column], *, link: int | None) -> str:
    cells: list[str] = []
    for column in columns:
        estimate, metric, signed = column.found[name], column.metric, column.metric is _GAIN
        if estimate.mean is None:
            cells.append(f"<td>{'exact' if metric is METRICS['psnr'] else ''}</td>")
            continue
        text = metric.show(estimate.mean, sign=signed)
        if column.with_interval:
            ends = (metric.show(estimate.low, sign=signed), metric.show(estimate.high, sign=signed))
            text += f"<small>{ends[0]} to {ends[1]}</small>"
        cells.append(f"<td>{text}</td>")
    title = _e(name) if link is None else f'<a href="#entry-{link}">{_e(name)}</a>'
    return f'<tr><th scope="row">{title}</th><td>{columns[0].found[name].n}</td>{"".join(cells)}</tr>'


def _table(caption: str, head: str, rows: str, means: str) -> str:
    foot = f'<tbody class="means">{means}</tbody>' if means else ""
    # A region that can be focused can be scrolled with the arrow keys.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_e(caption)}"><table>'
        f"<caption>{_e(caption)}</caption><thead>{head}</thead><tbody>{rows}</tbody>{foot}</table></div>\n"
    )


def _verdicts(first: tuple[str, Results], other: tuple[str, Results], *, resamples: int, seed: int) -> str:
    (a, results_a), (b, results_b) = first, other
    tables: list[str] = []
    for name in ("psnr", "ssim"):
        found = compare([results_a], [results_b], metric=name, resamples=resamples, seed=seed)
        tables.append(_verdict_table(a, b, found))
        if name == "psnr":
            tables += [f'<p class="note">{_e(note)}</p>' for note in found.notes]
    return (
        f"<section><h2>{_e(b)} against {_e(a)}</h2>\n"
        f'<p class="note">Paired bootstrap over images. P is the share of {resamples:,} resamples in which '
        f"{_e(b)} is not better. A verdict is given where the {LEVEL:.0%} interval of the difference leaves "
        f"zero out and every entry has at least {FEWEST_IMAGES} images.</p>\n{''.join(tables)}</section>"
    )


def _verdict_table(a: str, b: str, found: Comparison) -> str:
    paired = [line.paired for line in (*found.lines, *found.means) if line.paired is not None]
    reach = (min((0.0, *(p.low for p in paired))), max((0.0, *(p.high for p in paired))))

    def row(line: Line) -> str:
        how, p = found.metric, line.paired
        verdict = {"B is better": f"{b} is better", "A is better": f"{a} is better"}.get(
            line.verdict, line.verdict
        )
        sides = "".join(f"<td>{how.show(math.fsum(side) / len(side))}</td>" for side in (line.a, line.b))
        start = f'<tr><th scope="row">{_e(line.name)}</th><td>{line.n}</td>{sides}'
        if p is None:
            return f'{start}<td></td><td></td><td></td><td></td><td class="words">{_e(verdict)}</td></tr>'
        sure = line.verdict.endswith("is better")
        mark = plots.interval_mark(p.difference, p.low, p.high, ends=reach, sure=sure)
        words = f"<strong>{_e(verdict)}</strong>" if sure else _e(verdict)
        return (
            f"{start}<td>{how.show(p.difference, sign=True)}</td>"
            f'<td class="mark">{mark}</td>'
            f"<td>{how.show(p.low, sign=True)} to {how.show(p.high, sign=True)}</td>"
            f"<td>{_e(probability_text(p.probability, found.resamples))}</td>"
            f'<td class="words">{words}</td></tr>'
        )

    head = "".join(
        f'<th scope="col"{kind}>{_e(text)}</th>'
        for text, kind in (
            *(("entry", ""), ("images", ""), (a, ""), (b, ""), ("difference", "")),
            *(("", ' aria-label="interval, drawn"'), (f"{found.level:.0%} interval", "")),
            *(("P", ""), ("verdict", ' class="words"')),
        )
    )
    return _table(
        found.metric.label, f"<tr>{head}</tr>", "".join(map(row, found.lines)), "".join(map(row, found.means))
    )


# ------------------------------------------------------------------------------------------------
# Entry by entry, with plots and pictures


def _entries(runs: Runs, names: Sequence[str], budget: int) -> str:
    chosen = {name: gallery.choose(runs[0][1].entry(name)) for name in names}
    wanted = {
        f"{i} {word}": found
        for i, name in enumerate(names)
        for word, image in chosen[name]
        if (found := gallery.versions(runs, name, image))
    }
    pictures, side, left_out = gallery.embed(wanted, budget=budget)
    by_gain = "PSNR gain" + (f" of {_e(runs[0][0])}" if len(runs) > 1 else "")
    about = (
        f"The best, the median and the worst image of each entry by {by_gain}. Drag across a picture, or use "
        f"the arrow keys. Pictures are at most {side} pixels long and compressed here; scores are of the "
        "originals."
        if pictures
        else "No pictures are stored with these results. <code>anyrestore evaluate … --out DIR --save</code> "
        "stores them."
    )
    if left_out:
        about += f" {_count(len(left_out), 'image')} left out, to keep the page small."
    sections = [
        _entry(
            runs, i, name, [(word, image, pictures.get(f"{i} {word}", [])) for word, image in chosen[name]]
        )
        for i, name in enumerate(names)
    ]
    return (
        '<section aria-labelledby="entries"><h2 id="entries">Entry by entry</h2>\n'
        f'<p class="note">{about}</p>\n'
        f"<noscript><p>The sliders need the page's script.</p></noscript>\n{''.join(sections)}</section>"
    )


def _entry(
    runs: Runs, index: int, name: str, pictures: Sequence[tuple[str, ImageScore, Sequence[Shown]]]
) -> str:
    first = runs[0][1].entry(name)
    outputs = [(label, run.entry(name).values("psnr")) for label, run in runs]
    gains = [_gains(run.entry(name)) for _, run in runs]
    drawn = [
        plots.histograms(
            [("input", first.values("input_psnr")), *outputs],
            unit="PSNR (dB)",
            decimals=2,
            name=f"{name}: PSNR of the images",
        ),
        *(
            plots.sorted_gains(of_run, label=label, name=f"{name}: gain of {label}", among=gains)
            for (label, _), of_run in zip(runs, gains, strict=True)
        ),
    ]
    sliders = "".join(
        _slider(name, word, image, shown, whose=runs[0][0] if len(runs) > 1 else "")
        for word, image, shown in pictures
        if shown
    )
    return f'<h3 id="entry-{index}">{_e(name)}</h3>\n<div class="plots">{"".join(drawn)}</div>\n' + (
        f'<div class="sliders">{sliders}</div>\n' if sliders else ""
    )


def _gains(entry: Score) -> Gains:
    return np.array([math.nan if image.gain is None else image.gain for image in entry.images])


def _slider(entry: str, word: str, image: ImageScore, shown: Sequence[Shown], *, whose: str) -> str:
    # The first two outputs, or the input and the only one, or what there is.
    left, right = 0, min(1, len(shown) - 1)
    if shown[0].label == "input" and sum(version.label not in ("input", "target") for version in shown) > 1:
        left, right = 1, 2
    name = f"{image.name}, {whose}" if whose else image.name
    told = " to ".join(METRICS["psnr"].show(value) for value in (image.input_psnr, image.psnr)) + " dB"
    if image.gain is not None and math.isfinite(image.gain):
        told += f" ({_GAIN.show(image.gain, sign=True)} dB)"
    caption = f"<strong>{word}</strong> {_e(name)}, {told}, SSIM {image.ssim:.4f}"
    return slider(shown, of=f"{image.name} of {entry}", caption=caption, left=left, right=right)


# ------------------------------------------------------------------------------------------------
# Where it is from


def _footer(runs: Runs, names: Sequence[str], *, resamples: int, seed: int) -> str:
    first = runs[0][1]
    lists = "".join(f"<h4>{_e(label)}</h4>{_provenance(run)}" for label, run in runs)
    data = "".join(
        f'<tr><th scope="row">{_e(name)}</th>'
        f'<td class="words hash">{_e(first.entry(name).data_sha256)}</td></tr>'
        for name in names
    )
    table = _table(
        "SHA-256 of inputs and targets",
        '<tr><th scope="col">entry</th><th scope="col" class="words">data</th></tr>',
        data,
        "",
    )
    return (
        f"<footer><h2>Where these numbers are from</h2>\n{lists}\n"
        f"<details><summary>Data that was measured</summary>{table}</details>\n"
        f'<p class="foot">Intervals: percentile bootstrap, {resamples:,} resamples, seed {seed}. '
        "Written by <code>anyrestore report</code>.</p></footer>"
    )


def _provenance(run: Results) -> str:
    rows = {
        "Model": run.model,
        "Weights": run.weights_sha256 or "none",
        "Protocol": run.protocol,
        "Images": "all" if run.limit is None else f"at most {run.limit} of each entry",
        **({"Told": "; ".join(told(run.entries))} if told(run.entries) else {}),
        "Command": run.command or "not stored",
        "Versions": ", ".join(f"{key} {value}" for key, value in run.versions.items()) or "not stored",
        "Machine": ", ".join(f"{key} {value}" for key, value in run.machine.items()) or "not stored",
        "Results": str(run.path),
    }
    kinds = {"Weights": ' class="hash"', "Command": ' class="hash"', "Results": ' class="hash"'}
    return (
        "<dl>"
        + "".join(f"<dt>{key}</dt><dd{kinds.get(key, '')}>{_e(value)}</dd>" for key, value in rows.items())
        + "</dl>"
    )


def _labels(runs: Sequence[Results]) -> list[str]:
    """A short name for each run: its model's, with the results' name where that is not enough."""
    models = [Path(run.model).stem if run.model.endswith(".safetensors") else run.model for run in runs]
    named = [
        model if models.count(model) == 1 else f"{model} ({run.path.name or run.path})"
        for model, run in zip(models, runs, strict=True)
    ]
    return [label if named.count(label) == 1 else f"{label} #{i}" for i, label in enumerate(named, start=1)]


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _count(n: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{n:,} {what if n == 1 else plural}"
