"""The inner loop: norm, pointwise layer, depthwise 3x3, and what is done with the result, strip after strip.

A strip is not read with halo rows. The loop keeps the last two rows of the depthwise convolution's *input*
from strip to strip, as a camera's line buffer does, so nothing is computed twice, and a map can be
overwritten by its successor row by row: what a later strip needs of the old rows is taken before they go.

Unusual: these functions are plain Python and are also run by torch's own interpreter (TorchScript), which
does not need Python's lock; see :func:`without_lock`. Two threads of them do not wait for each other, and a
strip's temporaries are freed when they were used last. Where a torch or a Python has no TorchScript any more,
they run as they stand, with the same results, some 20 % slower. So: no closures, no keyword-only arguments,
and types that TorchScript reads.
"""

# torch's stubs leave norms untyped, and TorchScript knows no cast.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

P = ParamSpec("P")
T = TypeVar("T")


class Kind(Enum):
    """What a sweep does with the convolved features."""

    SIMILARITY = 0
    APPLY = 1
    GATE = 2


def standardise(x: Tensor, eps: float, centred: bool) -> Tensor:  # noqa: FBT001 (TorchScript)
    """Pixels (n c) over their standard deviation over channels; with ``centred``, less their mean."""
    if centred:
        return F.layer_norm(x, [x.shape[1]], None, None, eps)
    mean = x.mean(dim=1, keepdim=True)
    norm: Tensor = torch.linalg.vector_norm(x, dim=[1], keepdim=True)
    variance = torch.addcmul(mean.square_().neg_(), norm, norm, value=1.0 / x.shape[1]).clamp_min_(0.0)
    return x * variance.add_(eps).rsqrt_()


def project(  # noqa: PLR0917 (TorchScript)
    x: Tensor,
    eps: float,
    centred: bool,  # noqa: FBT001
    weight: Tensor,
    bias: Tensor,
    out: Tensor,
) -> None:
    """Standardise pixels (n c), apply a linear layer (c d), write to ``out`` (n d); an empty bias is none."""
    if bias.numel() == 0:
        torch.mm(standardise(x, eps, centred), weight, out=out)
    else:
        torch.addmm(bias, standardise(x, eps, centred), weight, out=out)


def begin(  # noqa: PLR0917 (TorchScript)
    above: Tensor,
    x: Tensor,
    width: int,
    rows: int,
    eps: float,
    centred: bool,  # noqa: FBT001
    weight: Tensor,
    bias: Tensor,
) -> Tensor:
    """The buffer for :func:`sweep`, in strips of ``rows``, from the first row of ``x`` (h*w c) on.

    ``above`` is the row before it (w c), as it was; empty at the map's border.
    """
    buffer = x.new_empty([rows + 2, width, weight.shape[1]])
    if above.numel() == 0:
        buffer[0].zero_()
    else:
        project(above, eps, centred, weight, bias, buffer[0])
    project(x[:width], eps, centred, weight, bias, buffer[1])
    return buffer


def sweep(  # noqa: PLR0917 (TorchScript)
    x: Tensor,
    behind: Tensor,
    buffer: Tensor,
    eps: float,
    centred: bool,  # noqa: FBT001
    weight: Tensor,
    bias: Tensor,
    depthwise: Tensor,
    kind: Kind,
    matrix: Tensor,
    products: Tensor,
    squares: Tensor,
) -> None:
    """Pass over some rows of a map.

    Args:
        x: their pixels (h*w c), changed by APPLY and GATE.
        behind: the row behind them (w c), as it was; empty at the map's border.
        buffer: (rows + 2, w, d) for strips of so many rows, from :func:`begin`. Its first two rows hold the
            layer's output for the row before ``x`` (zeros at the border) and the first of ``x``; afterwards
            the same for the rows that follow.
        eps: of the norm.
        centred: whether the norm subtracts the mean.
        weight: of the layer (c d).
        bias: of the layer (d), or empty.
        depthwise: the convolution's weight (d 1 3 3).
        kind: SIMILARITY adds to ``products`` (k e e), for every head, the products of the first half of the
            channels with the second, and to ``squares`` (d) their squares; APPLY adds the features times
            ``matrix`` (d c) to ``x``; GATE adds ``gelu(a) * b`` of the two halves times ``matrix`` (d/2 c).
        matrix: see there; else empty.
        products: likewise, float64.
        squares: likewise, float64.
    """
    width, channels, rows = buffer.shape[1], buffer.shape[2], buffer.shape[0] - 2
    height = x.shape[0] // width
    first = 0
    while first < height:
        last = min(first + rows, height)
        count = last - first
        # The row behind a strip is made with it, so that it may be changed before the next one is.
        inside = min(last + 1, height) - (first + 1)
        if inside > 0:
            fresh = x[(first + 1) * width : (first + 1 + inside) * width]
            project(fresh, eps, centred, weight, bias, buffer[2 : 2 + inside].view(-1, channels))
        if last == height:
            if behind.numel() == 0:
                buffer[count + 1].zero_()
            else:
                project(behind, eps, centred, weight, bias, buffer[count + 1])
        strip = buffer[: count + 2].view(1, count + 2, width, channels).permute(0, 3, 1, 2)
        y = F.conv2d(strip, depthwise, None, [1, 1], [0, 1], [1, 1], channels)
        y = y.permute(0, 2, 3, 1).view(-1, channels)
        pixels = x[first * width : last * width]
        if kind == Kind.SIMILARITY:
            heads = products.shape[0]
            q, k = y.view(-1, 2, heads, channels // 2 // heads).permute(1, 2, 0, 3).unbind(0)
            products.add_(torch.bmm(q.transpose(1, 2), k))
            squares.add_(y.square_().sum(dim=0))
        elif kind == Kind.APPLY:
            pixels.addmm_(y, matrix)
        else:
            a, b = torch.chunk(y, 2, dim=1)
            # Copied side by side: of half a pixel after the other the GELU takes two to four times as long.
            gate = a.contiguous()
            torch.ops.aten.gelu_(gate)
            pixels.addmm_(gate.mul_(b), matrix)
        buffer[:2].copy_(buffer[count : count + 2].clone() if count < 2 else buffer[count : count + 2])
        first = last


def without_lock(function: Callable[P, T]) -> Callable[P, T]:
    """The function as TorchScript runs it; itself where there is no TorchScript."""
    jit = cast("Any", torch.jit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return jit.script(function)
    except (AttributeError, OSError, RuntimeError, TypeError):
        return function


fast_begin = without_lock(begin)
fast_sweep = without_lock(sweep)
