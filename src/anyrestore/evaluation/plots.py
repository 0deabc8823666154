"""Small plots as inline SVG for the report page: histograms, sorted gains, intervals about zero.

Drawn by hand, so that the page needs no plotting library and no script. Colours come from the page's classes
(`ink`, `muted`, `accent`, `line`), so that the same drawing is right on a light and on a dark page. Drawings
are 400 units wide with text of 13, which can still be read at the 330 pixels of a telephone.
"""

import html
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["histograms", "interval_mark", "sorted_gains", "ticks"]

Array = npt.NDArray[np.float64]

_WIDTH = 400
_LEFT = 42
_RIGHT = 8
_BINS = 24
_MOST_BARS = 120


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that lie in [low, high]; `about` so many."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def histograms(rows: Sequence[tuple[str, Array]], *, unit: str, decimals: int, name: str) -> str:
    """One histogram below the other on a common axis: how a value spreads over images.

    Args:
        rows: Labels, and (n,) values; those that are not finite are left out. The first row is the input, in
            grey.
        unit: What the values are, as in "PSNR (dB)".
        decimals: Of the means that are written beside the labels.
        name: What the plot shows, for those who cannot see it.
    """
    finite = [(label, values[np.isfinite(values)]) for label, values in rows]
    drawn = [(label, values) for label, values in finite if values.size]
    if not drawn:
        return ""
    everything = np.concatenate([values for _, values in drawn])
    low, high = float(everything.min()), float(everything.max())
    pad = (high - low) * 0.04 or 0.5
    low, high = low - pad, high + pad
    edges = np.linspace(low, high, _BINS + 1)
    counts = [np.histogram(values, edges)[0] for _, values in drawn]
    most = max(int(count.max()) for count in counts)
    row_height, bars = 78, 48
    height = row_height * len(drawn) + 40

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts: list[str] = []
    bottom = row_height * len(drawn)
    for tick in ticks(low, high):
        parts.append(_line(x(tick), 22, x(tick), bottom, "line"))
        parts.append(_text(x(tick), bottom + 15, _number(tick), "muted", "middle"))
    for row, ((label, values), count) in enumerate(zip(drawn, counts, strict=True)):
        base = row_height * (row + 1)
        kind = "muted" if label == rows[0][0] else "accent"
        mean = math.fsum(values) / len(values)
        for left, right, number in zip(edges[:-1], edges[1:], count, strict=True):
            if number:
                tall = bars * int(number) / most
                parts.append(
                    f'<rect class="fill-{kind}" x="{x(float(left)) + 0.5:.1f}" y="{base - tall:.1f}" '
                    f'width="{x(float(right)) - x(float(left)) - 1:.1f}" height="{tall:.1f}"/>'
                )
        parts.append(_line(_LEFT, base, _WIDTH - _RIGHT, base, "axis"))
        parts.append(_line(x(mean), base - bars - 5, x(mean), base, "ink dashed"))
        parts.append(_text(_LEFT, base - bars - 12, _short(label, 30), "ink", "start"))
        told = f"mean {mean:.{decimals}f}" + (" dB" if "dB" in unit else "")
        parts.append(_text(_WIDTH - _RIGHT, base - bars - 12, told, "muted", "end"))
        parts.append(_text(_LEFT - 6, base - bars + 10, str(most), "muted", "end"))
        parts.append(_text(_LEFT - 6, base, "0", "muted", "end"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 34, unit, "ink", "middle"))
    parts.append(_text(11, bottom / 2, "images", "ink", "middle", upright=True))
    means = "; ".join(
        f"{label}: mean {math.fsum(v) / len(v):.{decimals}f}, from {v.min():.{decimals}f} "
        f"to {v.max():.{decimals}f}"
        for label, v in drawn
    )
    return _svg(height, name, f"Histograms of {unit}. {means}.", parts)


def sorted_gains(gains: Array, *, label: str, name: str, among: Sequence[Array] = ()) -> str:
    """Every image's gain over its input in dB, from the largest to the smallest.

    Args:
        gains: (n,) in dB; those that are not finite are left out.
        label: Whose gains.
        name: What the plot shows, for those who cannot see it.
        among: All gains that stand beside these, for one axis for all of them.
    """
    values = np.sort(gains[np.isfinite(gains)])[::-1]
    if not values.size:
        return ""
    n, mean = len(values), math.fsum(values) / len(values)
    # Of many images every bar stands for several: the one in their middle.
    shown = (
        values if n <= _MOST_BARS else values[((np.arange(_MOST_BARS) + 0.5) / _MOST_BARS * n).astype(int)]
    )
    together = np.concatenate([values, *among])
    together = together[np.isfinite(together)]
    low, high = min(0.0, float(together.min())), max(0.0, float(together.max()))
    pad = (high - low) * 0.06 or 0.5
    low, high = low - (pad if low < 0.0 else 0.0), high + pad
    top, bottom = 30, 190

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts: list[str] = []
    for tick in ticks(low, high):
        parts.append(_line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "line"))
        parts.append(_text(_LEFT - 6, y(tick) + 4, _number(tick), "muted", "end"))
    step = (_WIDTH - _LEFT - _RIGHT) / len(shown)
    gap = min(2.0, step * 0.25)
    for i, value in enumerate(map(float, shown)):
        tall = max(abs(y(value) - y(0.0)), 0.4)
        kind = "accent" if value > 0.0 else "loss"
        parts.append(
            f'<rect class="fill-{kind}" x="{_LEFT + i * step + gap / 2:.2f}" y="{min(y(value), y(0.0)):.1f}" '
            f'width="{step - gap:.2f}" height="{tall:.1f}"/>'
        )
    parts.append(_line(_LEFT, y(0.0), _WIDTH - _RIGHT, y(0.0), "axis"))
    parts.append(_line(_LEFT, y(mean), _WIDTH - _RIGHT, y(mean), "ink dashed"))
    better = int(np.count_nonzero(values > 0.0))
    parts.append(_text(_LEFT, 16, _short(label, 26), "ink", "start"))
    told = f"mean {mean:+.2f} dB".replace("-", "−")
    parts.append(_text(_WIDTH - _RIGHT, 16, told, "muted", "end"))
    foot = f"{n} images, sorted; {better} better than their input"
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 24, foot, "ink", "middle"))
    parts.append(_text(11, (top + bottom) / 2, "gain (dB)", "ink", "middle", upright=True))
    about = (
        f"Gain of {label} over the input, {values[0]:+.2f} to {values[-1]:+.2f} dB, mean {mean:+.2f} dB; "
        f"{better} of {n} images are better than their input."
    )
    return _svg(bottom + 32, name, about, parts)


def interval_mark(value: float, low: float, high: float, *, ends: tuple[float, float], sure: bool) -> str:
    """A point and its interval about zero, to stand in a table whose text says the same.

    Args:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end of it.
        ends: From where to where the drawing runs; zero is in between.
        sure: Whether the interval leaves zero out.
    """
    width, height = 150, 20

    def x(at: float) -> float:
        return 5 + (at - ends[0]) / ((ends[1] - ends[0]) or 1.0) * (width - 10)

    kind = "accent" if sure else "muted"
    return (
        f'<svg class="mark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'aria-hidden="true">'
        + _line(x(0.0), 1, x(0.0), height - 1, "axis")
        + _line(x(low), height / 2, x(high), height / 2, f"stroke-{kind}")
        + f'<circle class="fill-{kind}" cx="{x(value):.1f}" cy="{height / 2:.0f}" r="4"/></svg>'
    )


def _svg(height: float, name: str, about: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{html.escape(f"{name}. {about}")}">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str, *, upright: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if upright else ""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}'
    return f'<text class="{kind}" {where}>{html.escape(text)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(value: float) -> str:
    return f"{round(value, 6):g}".replace("-", "−")
