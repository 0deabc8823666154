"""Overlapping tiles for pictures that do not fit in memory, and their blending.

A picture is cut into rectangles on a regular grid; each goes through the model alone and the results are
blended where neighbours overlap. The weights are separable, w(y, x) = w_rows(y) * w_columns(x), and along one
axis they are differences of ramps: with r_k the ramp that rises from 0 to 1 inside the strip that tiles k and
k + 1 share (r_-1 = 1, r_last = 0),

    w_k(x) = r_{k-1}(x) - r_k(x),        sum over k of w_k = r_-1 - r_last = 1.

The sum telescopes, so the weights add up to 1 at every pixel by construction, for any number of tiles over a
pixel, and blending needs no division by a weight image. Starts and ends both increase with k, so the ramps
are ordered and no weight is negative.

Unusual: a ramp takes only the middle half of a shared strip. The outer quarter on either side has weight 0:
it is where a tile's result suffers from the tile's own border. A model whose receptive field reaches R pixels
in each direction therefore gives exactly the whole-image result when the overlap is at least 4 R.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

FEATHER = 0.5
"""Share of an overlap that the ramp takes; the rest is split evenly between its two ends."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One tile along one axis, in pixels: [start, stop), and where its weight rises and falls.

    `rise` and `fall` are the [start, stop) of the ramps shared with the tile before and the tile after; None
    at the picture's own border, where the weight stays 1.
    """

    start: int
    stop: int
    rise: tuple[int, int] | None = None
    fall: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Pixels covered."""
        return self.stop - self.start

    def weights(self) -> Float[Tensor, " size"]:
        """Blending weight of each covered pixel, in [0, 1]."""
        positions = torch.arange(self.start, self.stop, dtype=torch.float64)
        weights = torch.ones_like(positions) if self.rise is None else _ramp(positions, *self.rise)
        if self.fall is not None:
            weights = weights - _ramp(positions, *self.fall)
        return weights.to(torch.float32)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A rectangle of the picture with its blending weights along both axes."""

    rows: Span
    columns: Span

    def weights(self) -> Float[Tensor, "height width"]:
        """Blending weights, in [0, 1]; over all tiles of a plan they add up to 1 at every pixel."""
        return self.rows.weights()[:, None] * self.columns.weights()


def windows(height: int, width: int, side: int, per_axis: int, multiple: int = 1) -> list[Tile]:
    """At most per_axis^2 rectangles spread evenly over the picture, up to its borders: a sample of it.

    Args:
        height: rows of the picture; like `width`, a multiple of `multiple`.
        width: columns of the picture.
        side: longest side of a window, in pixels; rounded down to `multiple`, at least `multiple`.
        per_axis: the most windows along one axis, at least 1; fewer where fewer cover the axis.
        multiple: the model's size multiple.
    """

    def spans(length: int) -> list[Span]:
        size = min(max(side // multiple, 1) * multiple, length)
        count = min(-(-length // size), per_axis)
        free = (length - size) // multiple
        starts = [multiple * (k * free // (count - 1)) for k in range(count)] if count > 1 else [0]
        return [Span(start=start, stop=start + size) for start in starts]

    return [Tile(rows=rows, columns=columns) for rows in spans(height) for columns in spans(width)]


def plan(height: int, width: int, tile: int, overlap: int, multiple: int = 1) -> list[Tile]:
    """Cover height x width pixels with tiles, listed row by row.

    All tiles have the same size where the picture is at least as large as a tile, and they start at multiples
    of `multiple`; only the last of an axis whose length is no such multiple is moved back so that it ends at
    the border. Tiles are made no larger than their number needs, so `tile` is an upper limit.

    Args:
        height: rows of the picture, at least 1.
        width: columns of the picture, at least 1.
        tile: longest side of a tile, in pixels; rounded down to `multiple`, at least `multiple`.
        overlap: pixels that neighbours share at the least; rounded up to `multiple`, at the most
            half a tile, beyond which the work would only grow.
        multiple: the model's size multiple.

    Raises:
        ValueError: if a size or `multiple` is below 1, or `overlap` below 0.
    """
    if min(height, width, tile, multiple) < 1 or overlap < 0:
        raise ValueError(
            f"expected sizes of at least 1 and an overlap of at least 0, got height {height}, width {width}, "
            f"tile {tile}, multiple {multiple}, overlap {overlap}"
        )
    columns = _spans(width, tile, overlap, multiple)
    return [
        Tile(rows=row, columns=column)
        for row in _spans(height, tile, overlap, multiple)
        for column in columns
    ]


def blend(
    tiles: Sequence[Tile], results: Iterable[Float[Tensor, "b c tile_height tile_width"]]
) -> Iterator[tuple[int, Float[Tensor, "b c rows width"]]]:
    """Blend tile results into the picture, band by band.

    Holds one row of tiles at a time: a band is handed out as soon as no later tile reaches it, so the memory
    is one band whatever the height of the picture.

    Args:
        tiles: a plan, in its own order.
        results: the model's output for each of them, in the same order.

    Yields:
        The first row of a finished band and the band itself. Bands come from top to bottom without gaps.
    """
    if len(tiles) == 1:
        yield from ((0, result) for result in results)
        return
    width = max(tile.columns.stop for tile in tiles)
    band: Tensor | None = None
    top = 0
    for tile, result in zip(tiles, results, strict=True):
        rows, columns = tile.rows, tile.columns
        if band is None:
            band = result.new_zeros((*result.shape[:2], rows.size, width))
        if rows.start > top:
            finished = rows.start - top
            yield top, band[:, :, :finished]
            band = torch.cat(
                [band[:, :, finished:], band.new_zeros((*band.shape[:2], finished, width))], dim=2
            )
            top = rows.start
        weighted = result * rows.weights().to(result.device)[:, None] * columns.weights().to(result.device)
        band[:, :, :, columns.start : columns.stop] += weighted
    if band is not None:
        yield top, band


def _ramp(positions: Tensor, start: int, stop: int) -> Tensor:
    """0 before `start`, 1 from `stop` on, linear between; sampled at pixel centres."""
    if start == stop:
        return (positions >= start).to(positions.dtype)
    return ((positions + 0.5 - start) / (stop - start)).clamp(0, 1)


def _spans(length: int, tile: int, overlap: int, multiple: int) -> list[Span]:
    """The tiles of one axis."""
    tile = max(tile // multiple, 1) * multiple
    if length <= tile:
        return [Span(start=0, stop=length)]
    overlap = min(_round_up(overlap, multiple), tile // 2 // multiple * multiple)
    whole = _round_up(length, multiple)
    count = -(-(whole - overlap) // (tile - overlap))
    # The same number of smaller tiles covers the axis with less to compute, as long as they fit in it.
    tile = min(_round_up(-(-(whole + (count - 1) * overlap) // count), multiple), tile)
    free = (whole - tile) // multiple
    starts = [multiple * (k * free // (count - 1)) for k in range(count)]
    starts[-1] = length - tile
    steps = [following - start for start, following in pairwise(starts)]
    # One ramp width for the whole axis, centred in each shared strip, keeps the ramps ordered.
    feather = round((tile - max(steps)) * FEATHER)
    middles = [(start + following + tile - feather) // 2 for start, following in pairwise(starts)]
    ramps = [(middle, middle + feather) for middle in middles]
    return [
        Span(start=start, stop=start + tile, rise=rise, fall=fall)
        for start, rise, fall in zip(starts, [None, *ramps], [*ramps, None], strict=True)
    ]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
