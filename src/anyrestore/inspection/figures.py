"""Sheets and plots of what was seen, as PNG, PDF or SVG, for print at 7.2 inches (two columns of a paper).

Everything is placed in inches from the top: a sheet is a column of *bands* whose heights are known before
anything is drawn, so nothing can overlap and nothing is moved by a layout engine. Colours: viridis for what
is not negative, a diverging map with white at 0 for what is signed, the colour-blind safe palette of Okabe
and Ito for labels.

Unusual: matplotlib (extra ``figures``) is imported on first use, untyped, and only its objects are used: no
pyplot, no state of the process.
"""

from __future__ import annotations

import importlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from anyrestore.errors import UsageError
from anyrestore.inspection.clusters import Separation
from anyrestore.inspection.looking import LOOKS, Findings
from anyrestore.inspection.spectra import STAGES
from anyrestore.inspection.views import Maps, Matrices, Shares, Spectrum, Strip, View, as_list

WIDTH = 7.2
MARGIN = 0.1
LABEL = 1.02
"""Inches at the left in which the rows' names stand..."""
BAR = 0.62
"""...and at the right, in which their colour bars stand."""
GAP = 0.05
DPI = 220
SUFFIXES = (".png", ".pdf", ".svg")
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
_MARKERS = "os^DvP<X>*"
_SMALL, _NORMAL, _LARGE = 6.0, 7.0, 9.0
_MOST_COLUMNS = 8
_SMALLEST, _LARGEST = 0.66, 1.25  # inches, of one side of a panel
_LOWEST = 0.45  # inches, of a row: a place's name and a bar's unit fit beside it
_GREY = "#444444"


#: Left, top, width, height in inches.
_Box: TypeAlias = tuple[float, float, float, float]
#: What the first and the last colour stand for, and the name of the colour map.
_Colours: TypeAlias = tuple[float, float, str]


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a sheet says about itself.

    Attributes:
        title: model and picture.
        lines: what else there is to know, a sentence each.
        untrained: the weights are random, which is written large.
    """

    title: str
    lines: tuple[str, ...] = ()
    untrained: bool = False


class _Band(NamedTuple):
    """A part of a sheet: inches high, drawn with its top ``y`` inches below the sheet's."""

    height: float
    draw: Callable[[_Page, float], None]


class _Page:
    """A figure on which things are placed in inches from the upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        check_installed()
        figure = importlib.import_module("matplotlib.figure").Figure
        self.figure = figure(figsize=(width, height), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes with thin frames and small type."""
        box = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(box)
        axes.tick_params(labelsize=_SMALL, width=0.5, length=2, pad=1.5)
        for spine in axes.spines.values():
            spine.set_linewidth(0.5)
        return axes

    def picture(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes without ticks, for something that is a picture itself."""
        axes = self.axes(left, top, width, height)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def image(self, box: _Box, values: Tensor, colours: _Colours) -> Any:
        """Numbers (h w) as colours; what a colour bar is made of comes back."""
        low, high, name = colours
        axes = self.picture(*box)
        # Few values are cells of a matrix and keep their edges; many are a picture.
        how = "antialiased" if min(values.shape) > 64 else "nearest"
        return axes.imshow(_numbers(values), cmap=name, vmin=low, vmax=high, aspect="auto", interpolation=how)

    def text(self, left: float, top: float, text: str, *, size: float = _NORMAL, **how: Any) -> None:
        """Text; as it stands, without formulas or line breaks of matplotlib's own."""
        how = {"va": "top", "ha": "left", "parse_math": False} | how
        self.figure.text(left / self.width, 1 - top / self.height, _printable(text), fontsize=size, **how)

    def rule(self, top: float) -> None:
        """A thin line across."""
        line = importlib.import_module("matplotlib.lines").Line2D
        y = 1 - top / self.height
        ends = (MARGIN / self.width, 1 - MARGIN / self.width)
        self.figure.add_artist(line(ends, (y, y), color="#999999", linewidth=0.6))

    def bar(
        self,
        left: float,
        top: float,
        height: float,
        image: Any,
        unit: str,
        *,
        ends: tuple[str, str] | None = None,
    ) -> None:
        """A colour bar with its unit; ``ends`` in place of numbers, where these differ from map to map."""
        axes = self.axes(left, top, 0.07, height)
        bar = self.figure.colorbar(image, cax=axes)
        bar.outline.set_linewidth(0.5)
        if ends is None:
            bar.locator = _ticks("MaxNLocator")(nbins=max(2, min(4, int(height / 0.2))), steps=[1, 2, 5, 10])
            bar.update_ticks()
        else:
            bar.set_ticks([image.norm.vmin, image.norm.vmax], labels=ends)
        axes.tick_params(labelsize=_SMALL, width=0.5, length=2, pad=1.5)
        axes.set_ylabel(unit, fontsize=_SMALL, labelpad=2)

    def store(self, suffix: str) -> bytes:
        """The file's content; the same for the same findings."""
        metadata = {"png": {"Software": "anyrestore"}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
        kind = suffix.removeprefix(".")
        into = io.BytesIO()
        with warnings.catch_warnings():
            # A file's name may have letters that the font has not; they become boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            self.figure.savefig(into, format=kind, dpi=DPI, metadata=metadata[kind])
        return into.getvalue()


def check_installed() -> None:
    """Refuse now rather than after the computing.

    Raises:
        UsageError: matplotlib is not installed (code ``no_figures``).
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        raise UsageError(
            'figures need matplotlib, which is not installed; install "anyrestore[figures]"',
            code="no_figures",
        ) from None


def _ticks(name: str) -> Any:
    """A class of matplotlib.ticker."""
    return getattr(importlib.import_module("matplotlib.ticker"), name)


def check_suffix(path: Path) -> str:
    """The ending that says how to store a figure.

    Raises:
        UsageError: it is none of :data:`SUFFIXES`.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"expected a name ending in {', '.join(SUFFIXES)} for the figure, came {path.name!r}"
        )
    return suffix


def draw_sheet(findings: Findings, caption: Caption, suffix: str = ".png") -> bytes:
    """Everything that was found about one picture, as the content of a file.

    Args:
        findings: what :func:`anyrestore.inspection.look` found.
        caption: stands above it.
        suffix: one of :data:`SUFFIXES`.

    Raises:
        UsageError: matplotlib is not installed (code ``no_figures``).
    """
    bands = [_header(caption), _panels(findings)]
    for name, views in groupby(findings.views, key=lambda view: view.look):
        shown, there = findings.places[name]
        about = LOOKS[name].about + (f" ({shown} of {there} shown)" if shown < there else "")
        bands += [_heading(about), *_section(list(views), findings.image.shape[-2:])]
    page = _Page(WIDTH, sum(band.height for band in bands) + MARGIN)
    top = 0.0
    for band in bands:
        band.draw(page, top)
        top += band.height
    return page.store(suffix)


def _section(views: list[View], size: Sequence[int]) -> list[_Band]:
    """The bands of one look's views."""
    bands: list[_Band] = []
    maps = [view for view in views if isinstance(view, Maps)]
    groups: list[_Group] = []
    if len({view.labels for view in maps}) == 1 and 4 < len(maps[0].labels) <= 10:
        bands += [_aligned(view, size, first=view is maps[0]) for view in maps]
    else:
        groups += [_group_of_maps(view, size) for view in maps]
    groups += [_group_of_matrices(view) for view in views if isinstance(view, Matrices)]
    bands += _flowing(groups, size[0] / size[1] if maps else 1.0)
    shares = [view for view in views if isinstance(view, Shares)]
    if shares:
        bands.append(_shares(shares))
    strips = [view for view in views if isinstance(view, Strip)]
    if strips:
        bands.append(_strips(strips))
    spectra = [view for view in views if isinstance(view, Spectrum)]
    plots = [list(plot) for _, plot in groupby(spectra, key=lambda view: view.group)]
    wide = [plot for plot in plots if plot[0].group == STAGES]
    narrow = [plot for plot in plots if plot[0].group != STAGES]
    bands += [_spectra([plot]) for plot in wide]
    bands += [_spectra(narrow[i : i + 2]) for i in range(0, len(narrow), 2)]
    return bands


# --------------------------------------------------------------------------------------------
# The bands of a sheet


def _header(caption: Caption) -> _Band:
    lines = [part for line in caption.lines for part in _wrapped(line, 128)]

    def draw(page: _Page, top: float) -> None:
        page.text(MARGIN, top + 0.1, _shortened(caption.title, 90), size=_LARGE, weight="bold")
        if caption.untrained:
            box = {"facecolor": "#B00020", "edgecolor": "none", "boxstyle": "round,pad=0.25"}
            page.text(
                WIDTH - MARGIN - 0.05,
                top + 0.1,
                "UNTRAINED: random weights",
                size=_NORMAL,
                ha="right",
                color="white",
                weight="bold",
                bbox=box,
            )
        for i, line in enumerate(lines):
            page.text(MARGIN, top + 0.29 + 0.12 * i, line, size=_SMALL, color=_GREY)

    return _Band(0.36 + 0.12 * len(lines), draw)


def _heading(about: str) -> _Band:
    def draw(page: _Page, top: float) -> None:
        page.rule(top + 0.05)
        page.text(MARGIN, top + 0.1, about, size=_NORMAL + 0.5, weight="bold")

    return _Band(0.29, draw)


def _panels(findings: Findings) -> _Band:
    """Input, output, and the difference between them, averaged over the colours."""
    difference = (findings.restored - findings.image)[0].mean(dim=0)
    height, width = difference.shape
    step = (WIDTH - 2 * MARGIN - BAR) / 3  # a title fits, however narrow the picture
    side = min(step - GAP, 3.2 * width / height)
    tall = max(side * height / width, _LOWEST)

    def draw(page: _Page, top: float) -> None:
        for i, (name, picture) in enumerate((("input", findings.image), ("output", findings.restored))):
            axes = page.picture(MARGIN + i * step, top + 0.14, side, tall)
            axes.imshow(_colours(picture), aspect="auto", interpolation="antialiased")
            page.text(MARGIN + i * step, top + 0.02, name, size=_NORMAL)
        left = MARGIN + 2 * step
        page.text(left, top + 0.02, "output - input, mean of R, G, B", size=_NORMAL)
        image = page.image((left, top + 0.14, side, tall), difference, _range(difference, signed=True))
        page.bar(left + side + GAP, top + 0.14, tall, image, "white = 1")

    return _Band(tall + 0.2, draw)


def _aligned(view: Maps, size: Sequence[int], *, first: bool) -> _Band:
    """One place a row, its name at the left; what the columns are stands above the first row."""
    columns = len(view.labels)
    side = (WIDTH - 2 * MARGIN - LABEL - BAR - (columns - 1) * GAP) / columns
    side, tall = _panel(side, size[0] / size[1])
    head = 0.14 if first else 0.02

    def draw(page: _Page, top: float) -> None:
        top += head
        page.text(MARGIN, top, view.place)
        page.text(MARGIN, top + 0.13, _resolution(view, size), size=_SMALL, color=_GREY)
        image: Any = None
        for i, (values, label) in enumerate(zip(view.values, view.labels, strict=True)):
            left = MARGIN + LABEL + i * (side + GAP)
            if first:
                page.text(left + side / 2, top - 0.02, label, size=_SMALL, ha="center", va="bottom")
            colours = _range(view.values if view.shared else values, signed=view.signed)
            image = page.image((left, top, side, tall), values, colours)
            if not view.shared:
                ends = f"{colours[0]:.2f} to {colours[1]:.2f}"
                page.text(left + side / 2, top + tall + 0.02, ends, size=_SMALL - 1.2, ha="center")
        right = MARGIN + LABEL + columns * (side + GAP)
        page.bar(right, top, tall, image, view.unit, ends=None if view.shared else ("low", "high"))

    return _Band(head + tall + (0.04 if view.shared else 0.14), draw)


class _Group(NamedTuple):
    """Panels of one place that stand side by side, on one range of colours."""

    title: str
    about: str
    panels: Sequence[Tensor]
    labels: Sequence[str]
    colours: _Colours
    unit: str

    def width(self, side: float) -> float:
        """Inches, with the colour bar and the room to the next group."""
        return len(self.panels) * (side + GAP) + BAR


def _group_of_maps(view: Maps, size: Sequence[int]) -> _Group:
    about, colours = _resolution(view, size), _range(view.values, signed=view.signed)
    return _Group(view.place, about, list(view.values), view.labels, colours, view.unit)


def _group_of_matrices(view: Matrices) -> _Group:
    channels = view.values.shape[1]
    about = f"{channels} x {channels} channels"
    _, high, name = _range(view.values, signed=False)
    return _Group(view.place, about, list(view.values), view.labels, (0.0, high, name), view.unit)


def _flowing(groups: Sequence[_Group], aspect: float) -> list[_Band]:
    """As many places a row as fit, each with its name above."""
    rows: list[list[_Group]] = []
    room = WIDTH - 2 * MARGIN
    for group in (part for whole in groups for part in _parts(whole)):
        if rows and sum(other.width(_SMALLEST) for other in (*rows[-1], group)) <= room:
            rows[-1].append(group)
        else:
            rows.append([group])
    # Every row's panels as large as they fit into the fullest one.
    side, tall = _panel(min(_side(row) for row in rows), aspect) if rows else (0.0, 0.0)
    return [_row_of_groups(row, side, tall) for row in rows]


def _panel(room: float, aspect: float) -> tuple[float, float]:
    """Width and height of a panel in a room so wide; labels fit, and strips are drawn out of proportion."""
    side = min(room, _LARGEST, max(_LARGEST / aspect, 0.45))
    return side, max(min(side * aspect, 2 * _LARGEST), _LOWEST)


def _side(row: Sequence[_Group]) -> float:
    """Width of a panel so that the row is full."""
    return (WIDTH - 2 * MARGIN - len(row) * BAR) / sum(len(group.panels) for group in row) - GAP


def _parts(group: _Group) -> list[_Group]:
    """The group itself, or pieces of it that fit into a row."""
    count = math.ceil(len(group.panels) / _MOST_COLUMNS)
    length = math.ceil(len(group.panels) / count)
    starts = range(0, len(group.panels), length)
    return [
        group._replace(panels=group.panels[i : i + length], labels=group.labels[i : i + length])
        for i in starts
    ]


def _row_of_groups(row: Sequence[_Group], side: float, tall: float) -> _Band:
    head = 0.35

    def draw(page: _Page, top: float) -> None:
        left = MARGIN
        for group in row:
            page.text(left, top + 0.02, group.title, size=_SMALL, weight="bold")
            page.text(left, top + 0.12, group.about, size=_SMALL - 0.5, color=_GREY)
            image: Any = None
            for i, (values, label) in enumerate(zip(group.panels, group.labels, strict=True)):
                at = left + i * (side + GAP)
                page.text(at + side / 2, top + head - 0.02, label, size=_SMALL, ha="center", va="bottom")
                image = page.image((at, top + head, side, tall), values, group.colours)
            page.bar(left + len(group.panels) * (side + GAP), top + head, tall, image, group.unit)
            left += group.width(side)

    return _Band(head + tall + 0.1, draw)


def _shares(views: list[Shares]) -> _Band:
    """A table of probabilities: places down, things across, numbers in the cells."""
    columns = len(views[0].labels)
    lines = 1 + max(label.count("\n") for label in views[0].labels)
    cell, row = min(0.85, (WIDTH - 2 * MARGIN - LABEL - BAR) / columns), 0.21
    head = 0.05 + 0.1 * lines

    def draw(page: _Page, top: float) -> None:
        for j, label in enumerate(views[0].labels):
            middle = MARGIN + LABEL + (j + 0.5) * cell
            page.text(
                middle, top + head - 0.02, label, size=_SMALL, ha="center", va="bottom", linespacing=1.1
            )
        axes = page.picture(MARGIN + LABEL, top + head, columns * cell, row * len(views))
        table = torch.stack([view.values for view in views])
        image = axes.imshow(_numbers(table), cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
        rectangle = importlib.import_module("matplotlib.patches").Rectangle
        for i, view in enumerate(views):
            page.text(MARGIN, top + head + (i + 0.5) * row, view.place, size=_SMALL, va="center")
            for j, value in enumerate(as_list(view.values)):
                colour = "white" if value < 0.6 else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=_SMALL, color=colour)
            for j in view.chosen:
                frame = rectangle(
                    (j - 0.46, i - 0.42), 0.92, 0.84, fill=False, edgecolor="#D55E00", linewidth=1.4
                )
                axes.add_patch(frame)
        tall = max(row * len(views), 0.6)
        page.bar(MARGIN + LABEL + columns * cell + GAP, top + head, tall, image, views[0].unit)

    return _Band(head + max(row * len(views), 0.6) + 0.1, draw)


def _strips(views: list[Strip]) -> _Band:
    """One line of colours a place, every channel as wide as any other of its line."""
    row, gap = 0.15, 0.05
    signed = views[0].signed
    everything = torch.cat([view.values for view in views])
    colours = _range(everything, signed=True) if signed else (0.0, 1.0, "viridis")
    begin = MARGIN + LABEL + 0.1  # names have the number of channels
    width = WIDTH - MARGIN - BAR - begin

    def draw(page: _Page, top: float) -> None:
        image: Any = None
        for i, view in enumerate(views):
            y = top + 0.03 + i * (row + gap)
            name = f"{view.place}, {len(view.values)}"
            page.text(MARGIN, y + row / 2, name, size=_SMALL, va="center")
            image = page.image((begin, y, width, row), view.values[None], colours)
        tall = max(len(views) * (row + gap) - gap, 0.6)
        page.bar(begin + width + GAP, top + 0.03, tall, image, views[0].unit)

    return _Band(max(len(views) * (row + gap), 0.65) + 0.1, draw)


def _spectra(groups: list[list[Spectrum]]) -> _Band:
    """For each group singular values beside cumulative variance; one wide pair, or two narrow ones."""
    half = (WIDTH - 2 * MARGIN) / 2
    wide = groups[0][0].group == STAGES
    tall = 1.5 if wide else 0.85
    # Left of every plot its numbers, right of the last one the legend.
    plot = 2.3 if wide else half / 2 - 0.5

    def pair(page: _Page, top: float, left: float, group: list[Spectrum]) -> None:
        first = page.axes(left + 0.42, top + 0.18, plot, tall)
        second = page.axes(left + 0.42 + plot + 0.44, top + 0.18, plot, tall)
        map_ = importlib.import_module("matplotlib").colormaps["viridis"]
        for i, one in enumerate(group):
            colour = map_(0.95 * i / max(len(group) - 1, 1)) if wide else PALETTE[i]
            at = range(1, len(one.singular) + 1)
            largest = max(float(one.singular[0]), 1e-30)
            # Curves that lie on each other stay visible: the later ones are dashed.
            line = "-" if wide else ("-", (0, (4, 2)), (0, (1.5, 1.5)))[i]
            style = {"color": colour, "linewidth": 1.0, "linestyle": line, "label": one.label}
            first.plot(at, as_list((one.singular / largest).clamp_min(1e-9)), **style)
            second.plot(at, as_list(one.cumulative), **style)
        first.set_yscale("log")
        floor = min(float((one.singular / one.singular[0].clamp_min(1e-30)).min()) for one in group)
        first.set_ylim(min(max(floor, 1e-5) * 0.7, 0.07), 1.5)
        first.yaxis.set_minor_formatter(_ticks("NullFormatter")())
        second.set_ylim(0.0, 1.05)
        for axes in (first, second):
            if wide:  # stages differ in width by powers of two
                axes.set_xscale("log", base=2)
                axes.xaxis.set_major_formatter(_ticks("StrMethodFormatter")("{x:g}"))
            else:
                axes.xaxis.set_major_locator(_ticks("MaxNLocator")(4, integer=True))
            axes.grid(linewidth=0.3, color="#cccccc")
            axes.set_xlabel("index", fontsize=_SMALL, labelpad=1)
        title = {"fontsize": _SMALL, "loc": "left", "pad": 2, "parse_math": False}
        place = "" if wide else f"{group[0].group}: "
        first.set_title(f"{place}s / largest s", **title)
        second.set_title("cumulative variance", **title)
        where = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.03)} if wide else {"loc": "lower right"}
        second.legend(fontsize=_SMALL - 0.5, frameon=False, handlelength=1.2, borderaxespad=0.2, **where)

    def draw(page: _Page, top: float) -> None:
        for i, group in enumerate(groups):
            pair(page, top, MARGIN + i * half, group)

    return _Band(tall + 0.48, draw)


# --------------------------------------------------------------------------------------------
# The plot of a labelled set


def draw_separation(separation: Separation, caption: Caption, suffix: str = ".png") -> bytes:
    """Vectors in a plane, coloured by their labels, beside the labels' counts in the clusters.

    Args:
        separation: from :func:`anyrestore.inspection.clusters.separate`.
        caption: stands above it.
        suffix: one of :data:`SUFFIXES`.

    Raises:
        UsageError: matplotlib is not installed (code ``no_figures``).
    """
    header = _header(caption)
    side, names = 3.6, separation.names
    page = _Page(WIDTH, header.height + side + 0.55)
    header.draw(page, 0.0)
    top = header.height + 0.1
    axes = page.axes(0.52, top, side, side)
    for i, name in enumerate(names):
        points = separation.plane[torch.tensor(separation.labels) == i]
        axes.scatter(
            as_list(points[:, 0]),
            as_list(points[:, 1]),
            s=13,
            color=PALETTE[i % len(PALETTE)],
            marker=_MARKERS[i // len(PALETTE) % len(_MARKERS)],
            linewidths=0.3,
            edgecolors="white",
            label=f"{_shortened(_printable(name), 26)} ({len(points)})",
        )
    of_axes = "t-SNE" if separation.method == "tsne" else "principal component"
    axes.set_xlabel(f"{of_axes} 1", fontsize=_NORMAL, labelpad=2)
    axes.set_ylabel(f"{of_axes} 2", fontsize=_NORMAL, labelpad=2)
    axes.margins(0.06)
    if separation.method == "tsne":  # its numbers mean nothing, and neither do its directions
        axes.set_xticks([])
        axes.set_yticks([])
    left = 0.52 + side + 0.22
    page.text(left, top, f"NMI {separation.nmi:.3f}    ARI {separation.ari:.3f}", size=_LARGE, weight="bold")
    shown = axes.legend(
        fontsize=_SMALL,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=((left - 0.52) / side, 1 - 0.22 / side),
        borderaxespad=0.0,
        borderpad=0.0,
        labelspacing=0.35,
        handletextpad=0.2,
        title="labels (pictures)",
        title_fontsize=_SMALL,
        alignment="left",
    )
    for text in shown.get_texts():
        text.set_parse_math(False)
    _contingency(page, left, top + 0.45 + 0.135 * (len(names) + 1), top + side, separation)
    return page.store(suffix)


def _contingency(page: _Page, left: float, top: float, bottom: float, separation: Separation) -> None:
    """How many pictures of each label (down) are in each cluster (across), where there is room for it."""
    names = separation.names
    longest = max(len(name) for name in names)
    margin = min(0.2 + 0.045 * longest, 1.1)
    cell = min(0.3, (WIDTH - MARGIN - left - margin) / len(names), (bottom - top - 0.3) / len(names))
    if cell < 0.1:
        return
    page.text(left, top, "pictures of each label (down) in each cluster (across)", size=_SMALL)
    axes = page.picture(left + margin, top + 0.14, cell * len(names), cell * len(names))
    counts = separation.table()
    shares = torch.tensor(counts, dtype=torch.float32)
    shares = shares / shares.sum(dim=1, keepdim=True)
    axes.imshow(_numbers(shares), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for i, row in enumerate(counts):
        name = _shortened(names[i], 24)
        page.text(
            left + margin - 0.04,
            top + 0.14 + (i + 0.5) * cell,
            name,
            size=_SMALL - 0.5,
            ha="right",
            va="center",
        )
        for j, count in enumerate(row):
            colour = "white" if float(shares[i, j]) > 0.55 else "black"
            size = min(_SMALL, 24 * cell)
            axes.text(j, i, str(count), ha="center", va="center", fontsize=size, color=colour)


# --------------------------------------------------------------------------------------------
# Parts


def _range(values: Tensor, *, signed: bool) -> _Colours:
    """Lowest and highest colour, and the colour map.

    A thousandth of the values lies beyond either end: single pixels must not make a picture pale.
    """
    if signed:
        limit = max(_quantile(values.abs(), 0.999), 1e-3)
        return -limit, limit, "RdBu_r"
    low, high = _quantile(values, 0.001), _quantile(values, 0.999)
    # What is even within a hundredth is shown as even: not every last bit is a pattern.
    return low, max(high, low + max(0.01 * abs(low), 1e-6)), "viridis"


def _quantile(values: Tensor, share: float) -> float:
    """torch.quantile refuses more than 16 million values."""
    flat = values.flatten().float()
    return float(flat.kthvalue(max(1, math.ceil(share * len(flat)))).values)


def _resolution(view: Maps, size: Sequence[int]) -> str:
    height, width = view.values.shape[1:]
    scale = size[1] / width
    return f"{width} x {height}" + (f", 1/{scale:.0f}" if scale > 1.4 else "")


def _numbers(values: Tensor) -> Any:
    return values.detach().float().cpu().numpy()


def _colours(picture: Tensor) -> Any:
    return _numbers(picture[0].clamp(0, 1).permute(1, 2, 0))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 1]}...{text[-(most // 2 - 2) :]}"


def _wrapped(text: str, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
