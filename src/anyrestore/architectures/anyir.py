"""AnyIR: any image restoration via efficient spatial-frequency degradation adaptation (arXiv 2504.14249).

A U-Net of degradation adaptation blocks. A block deals its channels out in turn ("skip-split") to attention
between channels and to a gated convolution (GatedDA), fuses the two and projects; a gated feed-forward
network follows.

The defaults are the authors' code (Amazingren/AnyIR), whose counts are the paper's to every printed digit.
Its decoder is PromptIR's without prompts: a 1x1 takes the latent from 8C to 4C channels before it goes up,
the skip of the top level is not fused, and that level and the refinement have 2C channels. The norms are
LayerNorms with bias.

| preset | parameters | authors' code | published | G | published |
|---|---|---|---|---|---|
| anyir-t | 5,735,759 | 5,736,376 | 5.74 M | 26.25 | 26 |
| anyir-s | 8,512,600 | 8,513,436 | 8.51 M | 39.19 | 39 |

What differs from the code: GatedDA has no batch norm but a LayerNorm, as the text says
(``gate_norm="affine"`` is the code's at inference, of as many parameters), and only those temperatures tau
exist that are read (the difference in the counts above). Where code and text contradict each other the code
is the default:

- the gate. The code multiplies by sigmoid(gamma) after the 1x1 that combines beta and alpha'; gamma and beta
  are as wide as the input, alpha is the remaining quarter of 8/3 times that width. The text takes
  GELU(gamma) before that 1x1 and shares of (1/4, 1/4, 1/2): ``gating="concatenated", activation="gelu",
  shares=(1/4, 1/4, 1/2)`` has 0.8 % fewer parameters than published; with ``gate_expansion=3.0, kernel=5``
  they are within 0.2 %, and G are 26.08 and 39.01.
- the repeat in the fusion's second half interleaves (``repeat="tile"`` does not).

Unusual: the fusion "in the frequency domain" is a plain sum; see ``conditioning/frequency_fusion.py``.
Open: what stands in GatedDA's place in the ablation without it. Here its channels pass unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import nn

from anyrestore.conditioning.frequency_fusion import Fusion, Repeat, SpatialFrequencyFusion
from anyrestore.conditioning.gated_adaptation import (
    Activation,
    GatedAdaptation,
    GateNorm,
    Gating,
    Moments,
    add_moments,
)
from anyrestore.layers.attention import ChannelAttention, Similarity, add_similarities
from anyrestore.layers.feedforward import GatedFeedForward
from anyrestore.layers.norm import LayerNorm
from anyrestore.layers.parts import only
from anyrestore.layers.sharing import Shared, share_blocks
from anyrestore.layers.transformer import ReducingStage
from anyrestore.layers.unet import UNet
from anyrestore.types import Features, Image


class BlockCondition(NamedTuple):
    """What a block takes from a whole picture instead of from the part of it that it sees."""

    similarity: Similarity | None = None
    moments: Moments | None = None  # of the normalised features in GatedDA


#: Per stage, in the order in which an image passes them, per block.
Condition = Sequence[Sequence[BlockCondition]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines an AnyIR network; the defaults are AnyIR-S."""

    width: int = 32
    encoder: tuple[int, int, int] = (4, 6, 6)  # blocks at 1, 1/2, 1/4 of the resolution
    latent: int = 8
    decoder: tuple[int, int, int] = (6, 6, 4)  # blocks at 1/4, 1/2, 1: from low to high resolution
    refinement: int = 4
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    expansion: float = 2.0
    stem_scale: int = 1  # ours: 2 runs the U-Net at half resolution behind a pixel-unshuffle
    split: Literal["skip", "half"] = "skip"  # channels dealt out in turn, or two contiguous halves
    fusion: Fusion = "learnable"
    repeat: Repeat = "interleave"
    gated: bool = True  # False: the gated branch passes its channels unchanged
    gate_expansion: float = 8 / 3
    shares: tuple[float, float, float] = (1 / 4, 3 / 8, 3 / 8)  # of (alpha, beta, gamma)
    kernel: int = 7
    gating: Gating = "projected"
    activation: Activation = "sigmoid"
    gate_norm: GateNorm = "layer"

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        numbers = (self.width, self.latent, self.refinement, *self.encoder, *self.decoder, *self.heads)
        if min(numbers) < 1 or self.width > 4096 or max(numbers[1:]) > 256:
            raise ValueError(f"expected widths in 1..4096, depths and heads in 1..256, came {self}")
        if self.width % 2 or self.kernel % 2 == 0 or not 1 <= self.kernel <= 31:
            raise ValueError(f"expected an even width and an odd kernel in 1..31, came {self}")
        if self.stem_scale not in (1, 2, 4):
            raise ValueError(f"expected stem_scale 1, 2 or 4, came {self.stem_scale}")
        if not 0 < self.gate_expansion <= 64 or not 0 <= min(self.shares) <= max(self.shares) <= 1:
            raise ValueError(f"expected gate_expansion in 0..64 and shares in 0..1, came {self}")


PRESETS: dict[str, Config] = {
    "anyir-t": Config(width=28, encoder=(3, 5, 5), latent=7, decoder=(5, 5, 3)),
    "anyir-s": Config(),
    "anyir-tiny": Config(width=8, encoder=(1, 1, 1), latent=1, decoder=(1, 1, 1), refinement=1),
}


class AnyIRBlock(nn.Module):
    """Split, attention beside GatedDA, fusion, 1x1, plus the input; then ``x + GDFN(norm(x))``."""

    def __init__(self, channels: int, heads: int, config: Config) -> None:
        super().__init__()
        half = channels // 2
        self.split = config.split
        self.norm_mixing = LayerNorm(channels)
        self.attention = ChannelAttention(half, heads)
        self.gate = (
            GatedAdaptation(
                half,
                config.gate_expansion,
                config.shares,
                kernel=config.kernel,
                gating=config.gating,
                activation=config.activation,
                norm=config.gate_norm,
            )
            if config.gated
            else None
        )
        self.fusion = SpatialFrequencyFusion(config.fusion, config.repeat)
        self.to_out = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm_feedforward = LayerNorm(channels)
        self.feedforward = GatedFeedForward(channels, config.expansion)

    @property
    def statistics(self) -> list[Shared]:
        """What this block sees of a whole image, in the order of :class:`BlockCondition`."""
        seen = [Shared(self.attention.similarity, add_similarities)]
        if self.gate is not None and self.gate.moments is not None:
            seen.append(Shared(self.gate.moments, add_moments))
        return seen

    def forward(self, x: Features, condition: BlockCondition | None = None) -> Features:
        """(b c h w) in and out."""
        similarity, moments = condition or BlockCondition()
        normed = self.norm_mixing(x)
        half = normed.shape[1] // 2
        skip = self.split == "skip"
        attended = only(normed, slice(0, None, 2) if skip else slice(half))
        gated = only(normed, slice(1, None, 2) if skip else slice(half, None))
        attended = self.attention(attended, similarity)
        gated = gated if self.gate is None else self.gate(gated, moments)
        x = x + self.to_out(self.fusion(attended, gated))
        return x + self.feedforward(self.norm_feedforward(x))


class AnyIR(nn.Module):
    """AnyIR. ``model(image) -> image``; height and width must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

        def stage(channels: int, level: int, depth: int, out: int | None = None) -> ReducingStage:
            blocks = [AnyIRBlock(channels, config.heads[level], config) for _ in range(depth)]
            return ReducingStage(blocks, channels, out)

        def encoder(channels: int, level: int) -> nn.Module:
            if level == UNet.levels - 1:
                return stage(channels, level, config.latent, channels // 2)
            return stage(channels, level, config.encoder[level])

        self.unet = UNet(
            width=config.width,
            encoder=encoder,
            decoder=lambda channels, level: stage(channels, level, config.decoder[2 - level]),
            refinement=lambda channels, level: stage(channels, level, config.refinement),
            stem_scale=config.stem_scale,
            latent_width=4 * config.width,
            top_width=2 * config.width,
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: the feed-forward's two branches at the top
        # decoder level, whose width is 2C.
        self.bytes_per_pixel = 160.0 * config.width * max(config.expansion, 2.0) / config.stem_scale**2

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
            rounds: passes over the tiles, at least 1; see
                :func:`~anyrestore.layers.sharing.share_blocks`.

        Returns:
            To be given to every tile as ``condition``.
        """
        stages = [
            [block.statistics for block in cast("Iterable[AnyIRBlock]", stage.blocks)]
            for stage in self.unet.stages
        ]
        return share_blocks(self, stages, BlockCondition, tiles, rounds)
