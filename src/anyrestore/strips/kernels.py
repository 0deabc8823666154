"""What is done to a map: the sweeps of a block, divided among a crew, and the convolutions between levels.

A map is channels last and contiguous: row by row, pixel by pixel. Some rows of it are then one block of
memory, a pixel-wise linear layer is one matrix product that writes where it belongs, and oneDNN's depthwise
convolution runs on it at several times its speed on channels-first maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.layers.norm import BiasFreeLayerNorm, LayerNorm
from anyrestore.strips.crew import Crew
from anyrestore.strips.field import Field
from anyrestore.strips.footprint import RELEASED
from anyrestore.strips.sweeps import Kind, fast_begin, fast_sweep, standardise


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Norm, pointwise layer, depthwise 3x3: what a sweep computes of every pixel.

    Attributes:
        norm: of the pixels; its weight and bias are merged into the layer.
        weight: of the pointwise layer, for standardised pixels.
        bias: likewise; empty if there is none.
        depthwise: the convolution's weight.
    """

    norm: nn.Module
    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " d2"]
    depthwise: Float[Tensor, "d 1 3 3"]

    @classmethod
    def of(cls, norm: nn.Module, pointwise: Float[Tensor, "d c"], depthwise: Tensor) -> Branch:
        """For the weight of the pointwise layer (d c) as it stands behind the norm."""
        bias = pointwise @ norm.bias if isinstance(norm, LayerNorm) else pointwise.new_empty(0)
        weight = (pointwise * cast("Tensor", norm.weight)).t()
        return cls(norm=norm, weight=weight, bias=bias, depthwise=depthwise)


@dataclass(frozen=True, kw_only=True)
class Gang:
    """Who sweeps, and how much at a time.

    Attributes:
        crew: the threads.
        rows: of a strip, at least 2.
    """

    crew: Crew
    rows: int


def is_known_norm(norm: nn.Module) -> bool:
    """Whether a :class:`Branch` can begin with it."""
    return isinstance(norm, BiasFreeLayerNorm | LayerNorm)


def normed(x: Float[Tensor, "n c"], norm: nn.Module) -> Float[Tensor, "n c"]:
    """The norm of pixels."""
    weight, eps = cast("Tensor", norm.weight), cast("float", norm.eps)
    if isinstance(norm, LayerNorm):
        return standardise(x, eps, centred=True) * weight + norm.bias
    return standardise(x, eps, centred=False) * weight


def matrix(convolution: nn.Module) -> Float[Tensor, "d c"]:
    """The weight of a 1x1 convolution without bias."""
    return cast("Tensor", convolution.weight).flatten(1)


def accumulate(
    field: Field, branch: Branch, heads: int, gang: Gang
) -> tuple[Float[Tensor, "k e e"], Float[Tensor, " d"]]:
    """Products of the first half of a branch's channels with the second, per head, and squares of all.

    Summed over all pixels; in float64 from strip to strip, as there may be many millions.
    """
    channels = branch.depthwise.shape[0]
    width, count = channels // 2 // heads, len(gang.crew.sections(field.height))
    zeros = partial(torch.zeros, dtype=torch.float64, device=field.values.device)
    products, squares = zeros(count, heads, width, width), zeros(count, channels)
    nothing = branch.weight.new_empty(0)
    _divide(field, branch, gang, Kind.SIMILARITY, out=nothing, sums=(products.unbind(), squares.unbind()))
    return products.sum(dim=0), squares.sum(dim=0)


def add_linear(field: Field, branch: Branch, out: Float[Tensor, "d c"], gang: Gang) -> None:
    """Add to every pixel its branch's features times a matrix."""
    _divide(field, branch, gang, Kind.APPLY, out=out)


def add_gated(field: Field, branch: Branch, out: Float[Tensor, "e c"], gang: Gang) -> None:
    """Add to every pixel ``gelu(a) * b`` of the two halves of its branch's features, times a matrix."""
    _divide(field, branch, gang, Kind.GATE, out=out)


def _divide(
    field: Field,
    branch: Branch,
    gang: Gang,
    kind: Kind,
    *,
    out: Tensor,
    sums: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None,
) -> None:
    """Let a crew sweep a map; rows beside a seam between two sections are kept as they were."""
    sections = gang.crew.sections(field.height)
    nothing = out.new_empty(0)
    seams = {first: field.rows(first - 1, first + 1).clone().unbind() for first, _ in sections[1:]}
    into = dict(zip(sections, zip(*sums, strict=True), strict=True)) if sums is not None else {}
    layer = cast("float", branch.norm.eps), isinstance(branch.norm, LayerNorm), branch.weight, branch.bias

    def section(first: int, last: int) -> None:
        rows = max(min(gang.rows, last - first), 2)
        x = field.rows(first, last).view(-1, field.channels)
        above, _ = seams.get(first, (nothing, nothing))
        _, behind = seams.get(last, (nothing, nothing))
        products, squares = into.get((first, last), (nothing, nothing))
        buffer = fast_begin(above, x, field.width, rows, *layer)
        at_once = field.release is None and not gang.crew.watched
        step = last - first if at_once else RELEASED * rows
        for top in range(first, last, step):
            end = min(top + step, last)
            fast_sweep(
                field.rows(top, end).view(-1, field.channels),
                behind if end == last else field.rows(end, end + 1)[0],
                buffer,
                *layer,
                branch.depthwise,
                kind,
                out,
                products,
                squares,
            )
            field.done(top, end)
            gang.crew.pause()

    gang.crew.share(field.height, section)


def convolve(
    x: Float[Tensor, "h w c"], first: int, last: int, weight: Float[Tensor, "d c 3 3"]
) -> Float[Tensor, "1 d rows w"]:
    """Rows ``first`` to ``last`` of a 3x3 convolution with zeros around the map, channels last in memory."""
    above, below = max(first - 1, 0), min(last + 1, x.shape[0])
    y = F.conv2d(x[above:below][None].permute(0, 3, 1, 2), weight, padding=1)
    return y[:, :, first - above : last - above]
