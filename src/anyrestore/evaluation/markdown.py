"""A page of results for the docs: one table for each protocol, with bootstrap intervals of the means.

It is written from stored results, so that it can be written again without computing. Two protocols stand on
one page in two tables, never in one.
"""

import math
from collections.abc import Sequence

import numpy as np

from anyrestore.evaluation.results import Entry, Results
from anyrestore.evaluation.statistics import interval

__all__ = ["as_markdown"]

_SEED = 0


def as_markdown(results: Sequence[Results], *, target: str) -> str:
    """The page.

    Args:
        results: As they are to follow each other; all of images, none of means only.
        target: The name of the page's file, for the commands in its header.
    """
    lines = [
        "# Results",
        "",
        "Written by these commands, not by hand; `ROOT` is the folder of the test sets:",
        "",
        "```",
        *_commands(results, target),
        "```",
        "",
        "Brackets hold the 95% percentile bootstrap interval of the mean over the images (10,000 resamples,",
        f"NumPy's generator seeded with {_SEED} for each number): how far the mean would move with other",
        "images of the same kind. It says nothing about another training run.",
    ]
    for result in results:
        lines += ["", *_section(result)]
    return "\n".join(lines) + "\n"


def _commands(results: Sequence[Results], target: str) -> list[str]:
    folders = [f"results/{result.protocol}-{i}" for i, result in enumerate(results, start=1)]
    lines = [f"{result.command} --out {folder}" for result, folder in zip(results, folders, strict=True)]
    beside = "".join(f" --beside {folder}" for folder in folders[:-1])
    return [*lines[:-1], f"{lines[-1]}{beside} --markdown {target}"]


def _section(result: Results) -> list[str]:
    extra = ["lpips"] if all("lpips" in entry.metrics for entry in result.entries) else []
    head = [
        "benchmark",
        "images",
        "input PSNR",
        "PSNR",
        "gain",
        "input SSIM",
        "SSIM",
        *(key.upper() for key in extra),
    ]
    lines = [
        f"## {result.model}, protocol `{result.protocol}`",
        "",
        _row(head),
        _row(["---", *("---:" for _ in head[1:])]),
    ]
    lines += [_row(_cells(entry, extra)) for entry in result.entries]
    for group in result.groups:
        means = [
            math.fsum(result.entry(name).mean(metric) for name in group.entries) / len(group.entries)
            for metric in ("input_psnr", "psnr", "input_ssim", "ssim")
        ]
        gain = f"{means[1] - means[0]:+.2f}" if math.isfinite(means[0]) else ""
        cells = [f"mean of {len(group.entries)} {group.name}", "", _db(means[0]), _db(means[1]), gain]
        lines.append(_row([*cells, f"{means[2]:.4f}", f"{means[3]:.4f}", *("" for _ in extra)]))
    about = [f"Weights `{result.weights_sha256}`." if result.weights_sha256 else ""]
    about.append(f"Only the first {result.limit} images of each." if result.limit else "")
    about.append("Versions: " + ", ".join(f"{name} {value}" for name, value in result.versions.items()) + ".")
    about.append("Machine: " + ", ".join(f"{name} {value}" for name, value in result.machine.items()) + ".")
    return [*lines, "", *(line for line in about if line)]


def _cells(entry: Entry, extra: Sequence[str]) -> list[str]:
    before, after = entry.mean("input_psnr"), entry.mean("psnr")
    return [
        entry.name,
        str(entry.n),
        _db(before),
        _db(after) + _interval(entry, "psnr", 2),
        f"{after - before:+.2f}" if math.isfinite(before) else "",
        f"{entry.mean('input_ssim'):.4f}",
        f"{entry.mean('ssim'):.4f}" + _interval(entry, "ssim", 4),
        *(f"{entry.mean(key):.4f}" + _interval(entry, key, 4) for key in extra),
    ]


def _interval(entry: Entry, metric: str, digits: int) -> str:
    values = entry.values(metric).tolist()
    if not all(math.isfinite(value) for value in values):
        return ""
    low, high = interval(values, generator=np.random.default_rng(_SEED))
    return f" [{low:.{digits}f}, {high:.{digits}f}]"


def _db(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "exact"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
