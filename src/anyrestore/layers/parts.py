"""Convolutions whose output is wanted in parts, and how feature maps lie in memory.

A 1x1 convolution to q, k, v (or to two branches) and the depthwise one behind it are stored as one weight
each. On a CPU every part is convolved by itself: same sums, same result, but each part is a dense map of its
own. What comes next does not stride through its neighbours (GELU on half of the channels in channels_last
loses its vectors where that half is no multiple of them), nothing is concatenated again after a part was
changed, and fewer maps live at a time. On a GPU, where this has not been timed, it is one convolution.

Unusual: layers here keep the memory format that they are given, (b c h w) or channels_last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.types import Features


def is_channels_last(x: Features) -> bool:
    """Whether the channels of a pixel lie side by side in memory; views of a range of channels count."""
    return x.stride(1) == 1


def like(x: Tensor, other: Tensor) -> Tensor:
    """``x``, copied if need be, in the memory format of ``other``."""
    last = is_channels_last(other)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def multiply(fresh: Tensor, factor: Tensor) -> Tensor:
    """``fresh * factor``, in place where no gradient is wanted: nobody else may hold ``fresh``.

    What a submodule returned is not fresh: a forward hook may have kept it.
    """
    other_type = fresh.dtype != factor.dtype
    return fresh * factor if torch.is_grad_enabled() or other_type else fresh.mul_(factor)


def pointwise(x: Features, conv: nn.Conv2d, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """A 1x1 convolution's output, split into ``widths`` channels, each part convolved by itself."""
    return tuple(
        F.conv2d(x, weight, bias) if width else x[:, :0]
        for width, (weight, bias) in zip(widths, _split(conv, widths), strict=True)
    )


def depthwise(parts: Sequence[Tensor], conv: nn.Conv2d) -> tuple[Tensor, ...]:
    """A depthwise convolution of parts (b c_i h w), each by itself."""
    both = zip(parts, _split(conv, [part.shape[1] for part in parts]), strict=True)
    return tuple(_depthwise(part, weight, bias) for part, (weight, bias) in both)


def expand(x: Features, to_parts: nn.Conv2d, over: nn.Conv2d, count: int) -> tuple[Tensor, ...]:
    """1x1, then depthwise, in ``count`` equal parts."""
    if x.is_cuda:
        whole = F.conv2d(x, to_parts.weight, to_parts.bias)
        return _depthwise(whole, over.weight, over.bias).chunk(count, dim=1)
    widths = [to_parts.out_channels // count] * count
    both = zip(_split(to_parts, widths), _split(over, widths), strict=True)
    return tuple(_depthwise(F.conv2d(x, *first), *second) for first, second in both)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Keeps height and width; the kernels' sides are odd."""
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=x.shape[1])


def only(x: Features, channels: slice) -> Tensor:
    """Some channels of ``x``, as a dense map in its memory format."""
    return like(x[:, channels], x)


def _split(conv: nn.Conv2d, widths: Sequence[int]) -> list[tuple[Tensor, Tensor | None]]:
    """Weight and bias of every range of output channels."""
    weights = torch.split(conv.weight, list(widths))
    biases = [None] * len(widths) if conv.bias is None else torch.split(conv.bias, list(widths))
    return list(zip(weights, biases, strict=True))
