"""Restormer: Efficient Transformer for High-Resolution Image Restoration (arXiv 2111.09881).

The U-Net of transformer blocks with attention between channels on which most systems here build. Unusual, and
not so in CEA-IR: the top decoder level does not fuse its skip; it and the refinement run at twice the
embedding width, which is where half of the network's arithmetic is.

Nothing is open: names and numbers are checked against the public code. Its weights come in two kinds, which
``norm`` tells apart: denoising (Gaussian, real) has the bias-free norm, the other tasks a LayerNorm with
bias; the published 26.13 M are the latter. Left out: grey pictures and dual-pixel defocus (1 and 6 channels
in).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from anyrestore.layers.attention import Similarity, add_similarities
from anyrestore.layers.norm import BiasFreeLayerNorm, LayerNorm
from anyrestore.layers.sharing import Shared, share_statistics
from anyrestore.layers.transformer import TransformerBlock, TransformerStage
from anyrestore.layers.unet import UNet
from anyrestore.types import Image

#: Per stage, in the order in which an image passes them, per block: the similarity of the whole picture.
Condition = Sequence[Sequence[Similarity]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines a Restormer; the defaults are the paper's."""

    width: int = 48
    encoder: tuple[int, int, int] = (4, 6, 6)  # blocks at 1, 1/2, 1/4 of the resolution
    latent: int = 8
    decoder: tuple[int, int, int] = (6, 6, 4)  # blocks at 1/4, 1/2, 1: from low to high resolution
    refinement: int = 4
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    expansion: float = 2.66
    norm: Literal["with_bias", "bias_free"] = "with_bias"
    stem_scale: int = 1  # ours: 2 runs the U-Net at half resolution behind a pixel-unshuffle

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        numbers = (self.width, self.latent, self.refinement, *self.encoder, *self.decoder, *self.heads)
        if min(numbers) < 1 or self.width > 4096 or max(numbers[1:]) > 256:
            raise ValueError(f"expected widths in 1..4096, depths and heads in 1..256, came {self}")
        if self.stem_scale not in (1, 2, 4):
            raise ValueError(f"expected stem_scale 1, 2 or 4, came {self.stem_scale}")


PRESETS: dict[str, Config] = {
    "restormer": Config(),
    "restormer-tiny": Config(width=8, encoder=(1, 1, 1), latent=1, decoder=(1, 1, 1), refinement=1),
}


class Restormer(nn.Module):
    """Restormer. ``model(image) -> image``; height and width must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        norm = LayerNorm if config.norm == "with_bias" else BiasFreeLayerNorm

        def stage(channels: int, level: int, depth: int) -> nn.Module:
            heads = config.heads[level]
            return TransformerStage(
                TransformerBlock(channels, heads, config.expansion, norm=norm) for _ in range(depth)
            )

        self.unet = UNet(
            width=config.width,
            encoder=lambda channels, level: stage(channels, level, (*config.encoder, config.latent)[level]),
            decoder=lambda channels, level: stage(channels, level, config.decoder[2 - level]),
            refinement=lambda channels, level: stage(channels, level, config.refinement),
            top_width=2 * config.width,
            stem_scale=config.stem_scale,
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: 200 bytes per channel of C, measured at
        # 384 x 384, and half as much again. The feed-forward's branches at the top decoder level make it.
        self.bytes_per_pixel = 115.0 * config.width * max(config.expansion, 1.0) / config.stem_scale**2

    def forward(self, image: Image, condition: Condition | None = None) -> Image:
        """Restore ``image`` (b 3 h w).

        Args:
            image: RGB, nominally in [0, 1]; height and width multiples of ``size_multiple``.
            condition: what to use of a whole picture instead of the image's own, from :meth:`share`.

        Raises:
            ValueError: the size is not a multiple of ``size_multiple``.
        """
        return self.unet(image, condition)

    @torch.no_grad()
    def share(self, tiles: Iterable[Image], rounds: int = 2) -> Condition:
        """What a whole picture's tiles need to know of it, from (some of) its tiles.

        Args:
            tiles: tensors (1 3 h w) of one picture; sizes may differ.
            rounds: passes over the tiles, at least 1; see :mod:`anyrestore.layers.sharing`.

        Returns:
            To be given to every tile as ``condition``.
        """
        stages = cast("list[list[TransformerBlock]]", self.unet.stages)
        shared = [Shared(block.attention.similarity, add_similarities) for stage in stages for block in stage]
        merged = iter(share_statistics(self, shared, tiles, rounds))
        return [[next(merged) for _ in stage] for stage in stages]
