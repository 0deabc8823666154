"""A page of results for the docs: one table for each protocol, with bootstrap intervals of the means.

It is written from stored results, so that it can be written again without computing. Two protocols stand on
one page in two tables, never in one.
"""

import math
import shlex
from collections.abc import Mapping, Sequence

from anyrestore.evaluation.comparison import METRICS, Estimate, estimates, mean_lines
from anyrestore.evaluation.published import columns, published, sources
from anyrestore.evaluation.report import as_harm
from anyrestore.evaluation.results import Results
from anyrestore.evaluation.scores import Score, least, told

__all__ = ["as_markdown"]

_SEED = 0
#: The papers' tables whose columns stand for themselves, whichever of them were measured.
_TABLES = ("aio3", "aio5")
_SHIFTS = ("input_colour_shift", "colour_shift")


def as_markdown(results: Sequence[Results], *, target: str, title: str = "Results") -> str:
    """The page.

    Args:
        results: As they are to follow each other; all of images, none of means only.
        target: The name of the page's file, for the commands in its header.
        title: The page's heading.
    """
    lines = [
        f"# {title}",
        "",
        "Written by these commands, not by hand; `ROOT` is the folder of the test sets:",
        "",
        "```",
        *_commands(results, target, title),
        "```",
        "",
        "Brackets hold the 95% percentile bootstrap interval of the mean over the images (10,000 resamples,",
        f"seed {_SEED}, as `anyrestore report` has it): how far the mean would move with other images of",
        "the same kind. It says nothing about another training run. *Least* is the smallest gain among the",
        "images of a line, or among the lines of a mean; *shift* the colour shift, CIEDE2000 between mean",
        "colours (`docs/protocols.md`).",
    ]
    for result in results:
        lines += ["", *_section(result)]
    for name in _TABLES:
        lines += _beside_published(name, results)
    return "\n".join(lines) + "\n"


def _commands(results: Sequence[Results], target: str, title: str) -> list[str]:
    folders = [f"results/{result.protocol}-{i}" for i, result in enumerate(results, start=1)]
    lines = [f"{result.command} --out {folder}" for result, folder in zip(results, folders, strict=True)]
    beside = "".join(f" --beside {folder}" for folder in folders[:-1])
    named = "" if title == "Results" else f" --title {shlex.quote(title)}"
    return [*lines[:-1], f"{lines[-1]}{beside} --markdown {target}{named}"]


def _section(result: Results) -> list[str]:
    extra = ["lpips"] if all("lpips" in entry.metrics for entry in result.entries) else []
    shifts = all(key in entry.metrics for entry in result.entries for key in _SHIFTS)
    names = [entry.name for entry in result.entries]
    of_line = dict(mean_lines(result, names))
    found = {
        metric: estimates(result, names, lambda image, of=metric: image.value(of), seed=_SEED)
        for metric in ("psnr", "ssim", *extra)
    }
    head = [
        *("benchmark", "images", "input PSNR", "PSNR", "gain", "least", "input SSIM", "SSIM"),
        *(METRICS[key].label for key in extra),
        *(("input shift", "shift") if shifts else ()),
    ]
    lines = [
        f"## {result.model}, protocol `{result.protocol}`",
        "",
        _row(head),
        _row(["---", *("---:" for _ in head[1:])]),
    ]
    for name in found["psnr"]:
        members = of_line.get(name, [name])
        of = {metric: by_name[name] for metric, by_name in found.items()}
        lines.append(_row([name, *_cells([result.entry(member) for member in members], of, shifts=shifts)]))
    about = [f"Weights `{result.weights_sha256}`." if result.weights_sha256 else ""]
    about.append(f"Only the first {result.limit} images of each." if result.limit else "")
    about += [
        f'Told "{sentence}": {", ".join(of_entries)}.'
        for sentence, of_entries in told(result.entries).items()
    ]
    about.append("Versions: " + ", ".join(f"{name} {value}" for name, value in result.versions.items()) + ".")
    about.append("Machine: " + ", ".join(f"{name} {value}" for name, value in result.machine.items()) + ".")
    harm = as_harm(result.entries)
    return [*lines, *(["", f"{harm[0].upper()}{harm[1:]}."] if harm else []), "", *filter(None, about)]


def _beside_published(table: str, results: Sequence[Results]) -> list[str]:
    """Our rows above those that one paper prints, in the columns that were measured; empty where none was."""
    rows = published(table)
    source = rows[0].sources[0]
    names = [
        name
        for name in columns(table)
        if all(name in {entry.name for entry in result.entries} for result in results)
    ]
    if not names:
        return []
    at = [columns(table).index(name) for name in names]
    lines = [
        "",
        f"## Beside published rows: {table}",
        "",
        f"PSNR / SSIM as {sources()[source].table}, prints them, measured by their authors;",
        f"protocol {sources()[source].protocol}. What they were trained on is not what ours was:",
        "the training sets that belong to these benchmarks.",
        "",
        _row(["method", "parameters, M", *names]),
        _row(["---", "---:", *("---:" for _ in names)]),
    ]
    for result in results:
        scores = [result.entry(name) for name in names]
        cells = [f"**{METRICS['psnr'].show(s.mean('psnr'))}** / {s.mean('ssim'):.3f}" for s in scores]
        lines.append(_row([f"**{result.model}**, `{result.protocol}`", "", *cells]))
    for row in rows:
        if source in row.sources:
            values = [row.values[i] for i in at]
            cells = ["" if value is None else f"{value[0]:.2f} / {value[1]:.3f}" for value in values]
            lines.append(_row([row.method, (row.parameters or "").replace("M", ""), *cells]))
    return lines


def _cells(entries: Sequence[Score], found: Mapping[str, Estimate], *, shifts: bool) -> list[str]:
    """One line: of one entry, or of the plain mean of several."""

    def mean(metric: str) -> float:
        return math.fsum(entry.mean(metric) for entry in entries) / len(entries)

    def with_interval(metric: str) -> str:
        how, value, of = METRICS[metric], mean(metric), found[metric]
        if not math.isfinite(value) or of.mean is None:
            return how.show(value)
        return f"{how.show(value)} [{how.show(of.low)}, {how.show(of.high)}]"

    before, after = mean("input_psnr"), mean("psnr")
    gains = [below.gain for below in (entries if len(entries) > 1 else entries[0].images)]
    smallest = least(gains)
    return [
        str(sum(entry.n for entry in entries)),
        METRICS["psnr"].show(before),
        with_interval("psnr"),
        METRICS["psnr"].show(after - before, sign=True) if math.isfinite(before) else "",
        "" if smallest is None else METRICS["psnr"].show(smallest, sign=True),
        METRICS["ssim"].show(mean("input_ssim")),
        with_interval("ssim"),
        *(with_interval(key) for key in found if key == "lpips"),
        *(METRICS["colour_shift"].show(mean(key)) for key in _SHIFTS if shifts),
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
