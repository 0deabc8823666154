"""Tiles against the whole picture: exact for a pointwise model, not for one that looks at all of it."""

from __future__ import annotations

import math

import torch
from torch import nn

from anyrestore.benchmark import compare_tiles


class Pointwise(nn.Module):
    size_multiple = 8

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 1 - image


class Global(Pointwise):
    """Subtracts the mean of what it is shown, or a mean that was shared."""

    def forward(self, image: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return image - (image.mean() if condition is None else condition)

    def share(self, tiles: object) -> torch.Tensor:
        return torch.stack([tile.mean() for tile in tiles]).mean()  # type: ignore[attr-defined]


def picture() -> torch.Tensor:
    return torch.linspace(0.2, 1, 128 * 96).view(1, 1, 128, 96).expand(1, 3, 128, 96).contiguous()


def test_a_pointwise_model_is_exact_in_tiles() -> None:
    rows = compare_tiles(Pointwise(), [picture()], [64, 32])
    assert [(row.side, row.share) for row in rows] == [(64, False), (64, True), (32, False), (32, True)]
    assert all(row.psnr_to_whole > 120 or math.isinf(row.psnr_to_whole) for row in rows)
    assert all(row.largest < 1e-3 for row in rows)


def test_sharing_brings_a_global_model_back_to_the_whole() -> None:
    alone, shared = compare_tiles(Global(), [picture()], [32])
    assert alone.psnr_to_whole < 25
    assert shared.psnr_to_whole > 50
    assert alone.largest > 20
