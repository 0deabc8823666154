"""Cutting training crops: position, halving, flips and rotations, all drawn from one generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def draw(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high - 1."""
    return int(torch.randint(low, high, (), generator=generator))


def random_crop(pictures: Sequence[Tensor], size: int, generator: torch.Generator) -> list[Tensor]:
    """The same random window (c size size) of every picture (c h w); the pictures must have one size.

    A picture smaller than ``size`` is first extended by repeating its last rows and columns.
    """
    height, width = pictures[0].shape[-2:]
    if min(height, width) < size:
        pad = (0, max(0, size - width), 0, max(0, size - height))
        pictures = [F.pad(p[None].float(), pad, mode="replicate")[0].to(p.dtype) for p in pictures]
        height, width = pictures[0].shape[-2:]
    top, left = draw(0, height - size + 1, generator), draw(0, width - size + 1, generator)
    return [p[:, top : top + size, left : left + size] for p in pictures]


def random_scaled_crop(picture: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random window (c size size); half of the time, where that fits, of the picture at half its size.

    Halving shows the network sharper edges than a large photograph has at its own size.
    """
    halved = min(picture.shape[-2:]) >= 3 * size and draw(0, 2, generator) == 1
    (crop,) = random_crop([picture], 2 * size if halved else size, generator)
    return _halved(crop) if halved else crop


def _halved(picture: Tensor) -> Tensor:
    """Means of 2 x 2; four times as fast as a pooling layer on 8-bit values, and equal to it."""
    values = picture.float()
    rows = values[:, 0::2] + values[:, 1::2]
    means = (rows[..., 0::2] + rows[..., 1::2]) * 0.25
    return means if picture.is_floating_point() else means.round_().to(picture.dtype)


def covering_crop(layer: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """A random window (c height width) of a layer (c h w), mirrored until it is large enough."""
    for axis, wanted in ((-2, height), (-1, width)):
        while layer.shape[axis] < wanted:
            layer = torch.cat([layer, layer.flip(axis)], dim=axis)
    top = draw(0, layer.shape[-2] - height + 1, generator)
    left = draw(0, layer.shape[-1] - width + 1, generator)
    return layer[..., top : top + height, left : left + width]


def random_symmetry(pictures: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """One of the eight flips and rotations of a square, the identity among them, for all pictures alike."""
    turns, flip = draw(0, 4, generator), draw(0, 2, generator)
    turned = [torch.rot90(p, turns, (-2, -1)) for p in pictures]
    return [p.flip(-1) if flip else p for p in turned]
