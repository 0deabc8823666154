"""Latency against resolution, as SVG or PNG.

Unusual: matplotlib (extra ``figures``) is imported on first use, untyped, and only its objects are used: no
pyplot, no state of the process.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anyrestore.benchmark.survey import Row, Survey
from anyrestore.errors import UsageError
from anyrestore.provenance import machine

__all__ = ["SUFFIXES", "check_plot", "plot"]

SUFFIXES = (".svg", ".png")
# Okabe and Ito's, which the colour-blind can tell apart; markers tell apart what shares a colour.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
_MARKERS = "os^Dv"


def check_plot(path: Path) -> None:
    """Find out whether :func:`plot` could draw for this file name, before any long work.

    Raises:
        UsageError: it is neither .svg nor .png, or matplotlib is missing (code ``no_figures``).
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"expected a plot's name to end in {' or '.join(SUFFIXES)}, got {path.name!r}")
    _matplotlib("figure")


def plot(survey: Survey, suffix: str) -> bytes:
    """Median latency against resolution, a line for each model, bars from quartile to quartile; log axes.

    Args:
        survey: with times.
        suffix: ".svg" or ".png".

    Raises:
        UsageError: nothing was timed, or matplotlib is missing (code ``no_figures``).
    """
    timed = [row for row in survey.rows if row.timing.runs]
    if not timed:
        raise UsageError("expected times to plot, and there are none; choose smaller sizes")
    figure = _matplotlib("figure").Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    # The slowest first, so that the legend has the order of the lines.
    names = sorted({r.model for r in timed}, key=lambda n: -_last(timed, n).timing.median)
    for i, name in enumerate(names):
        rows = sorted((row for row in timed if row.model == name), key=lambda row: row.side)
        medians = [1e3 * row.timing.median for row in rows]
        quartiles = [[1e3 * bound for bound in row.timing.quartiles] for row in rows]
        axes.errorbar(
            [row.side for row in rows],
            medians,
            yerr=[
                [median - low for median, (low, _) in zip(medians, quartiles, strict=True)],
                [high - median for median, (_, high) in zip(medians, quartiles, strict=True)],
            ],
            label=Path(name).name,
            color=_PALETTE[i % len(_PALETTE)],
            marker=_MARKERS[i // len(_PALETTE) % len(_MARKERS)],
            markersize=4,
            linewidth=1.2,
            capsize=2,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sides = sorted({row.side for row in timed})
    axes.set_xticks(sides, [f"{side}" for side in sides])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(_matplotlib("ticker").LogLocator(base=10, subs=(1, 2, 5)))
    axes.set_yticks([], minor=True)
    axes.yaxis.set_major_formatter(_matplotlib("ticker").StrMethodFormatter("{x:g}"))
    axes.set_xlabel("side of the picture (pixels)")
    axes.set_ylabel(f"latency of a batch of {survey.plan.batch} (ms)")
    axes.grid(which="major", linewidth=0.4, color="#BBBBBB")
    found = machine()
    axes.set_title(
        f"{found['gpu'] if survey.device.type == 'cuda' else found['cpu']}, {survey.plan.precision}; "
        "medians and quartiles",
        fontsize=9,
    )
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    held = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to say it on stderr.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(held, format=suffix.lower().removeprefix("."), dpi=200)
    return held.getvalue()


def _last(rows: Iterable[Row], name: str) -> Row:
    return max((row for row in rows if row.model == name), key=lambda row: row.side)


def _matplotlib(module: str) -> Any:
    """A module of matplotlib, which has no types that strict checking could use."""
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise UsageError(
            "expected matplotlib for the plot, and it is not installed; pip install 'anyrestore[figures]', "
            "or leave --plot out",
            code="no_figures",
        ) from error
