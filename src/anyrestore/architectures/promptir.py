"""PromptIR: Prompting for All-in-One Image Restoration (arXiv 2306.13090).

A Restormer with a prompt block after the latent stage and after the two lower decoder stages: a prompt from
a pool of components is concatenated to the features, a transformer block mixes the two, a 1x1 convolution
goes back.

Nothing is open: names and numbers are checked against the public code. Unusual there, and so here:

- the block after the latent stage returns 4C channels, half of what came in, so the first upsampling and
  fusion are narrower than Restormer's;
- the prompt blocks' attention has 4 heads at every level;
- the public network makes six convolutions that it never runs (215,296 of its 35,592,263 parameters). They
  are left out; ``unused_layers`` makes them too, for the published count. They get no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.conditioning.prompt_pool import PromptPool
from anyrestore.layers.attention import Similarity, add_similarities
from anyrestore.layers.norm import BiasFreeLayerNorm, LayerNorm
from anyrestore.layers.sharing import Mean, Shared, merge_means, share_statistics
from anyrestore.layers.transformer import TransformerBlock, TransformerStage
from anyrestore.layers.unet import UNet
from anyrestore.types import Features, Image


class PromptedCondition(NamedTuple):
    """What a stage with a prompt block takes from a whole picture instead of from the part that it sees."""

    similarities: Sequence[Similarity]  # per block of the stage
    mean: Mean  # of the features that choose the prompt
    mixing: Similarity  # of the block that mixes features and prompt


#: Per stage, in the order in which an image passes them.
Condition = Sequence[Sequence[Similarity] | PromptedCondition]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines a PromptIR; the defaults are the paper's."""

    width: int = 48
    encoder: tuple[int, int, int] = (4, 6, 6)  # blocks at 1, 1/2, 1/4 of the resolution
    latent: int = 8
    decoder: tuple[int, int, int] = (6, 6, 4)  # blocks at 1/4, 1/2, 1: from low to high resolution
    refinement: int = 4
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    expansion: float = 2.66
    norm: Literal["with_bias", "bias_free"] = "with_bias"
    prompt_widths: tuple[int, int, int] = (320, 128, 64)  # at 1/8, 1/4, 1/2: from low to high resolution
    prompt_sizes: tuple[int, int, int] = (16, 32, 64)  # sides of the components, likewise
    prompt_length: int = 5  # components of every pool
    prompt_heads: int = 4
    unused_layers: bool = False  # the six convolutions that the public code makes and never runs

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        depths = (self.latent, self.refinement, *self.encoder, *self.decoder, *self.heads, self.prompt_heads)
        sizes = (self.width, self.prompt_length, *self.prompt_widths, *self.prompt_sizes)
        if min(*depths, *sizes) < 1 or max(sizes) > 4096 or max(depths) > 256:
            raise ValueError(f"expected widths and sizes in 1..4096, depths and heads in 1..256, came {self}")


PRESETS: dict[str, Config] = {
    "promptir": Config(),
    "promptir-tiny": Config(
        width=8,
        encoder=(1, 1, 1),
        latent=1,
        decoder=(1, 1, 1),
        refinement=1,
        prompt_widths=(16, 8, 8),
        prompt_sizes=(4, 8, 16),
    ),
}


class PromptedStage(nn.Module):
    """A stage; then a prompt beside its features, a transformer block, a 1x1 to ``out`` channels."""

    def __init__(
        self, stage: TransformerStage, pool: PromptPool, mixing: TransformerBlock, reduce: nn.Conv2d
    ) -> None:
        super().__init__()
        self.stage, self.pool, self.mixing, self.reduce = stage, pool, mixing, reduce

    def forward(self, x: Features, condition: PromptedCondition | None = None) -> Float[Tensor, "b out h w"]:
        """(b c h w) -> (b out h w)."""
        similarities, mean, mixing = (None, None, None) if condition is None else condition
        x = self.stage(x, similarities)
        return self.reduce(self.mixing(torch.cat([x, self.pool(x, mean)], dim=1), mixing))


class PromptIR(nn.Module):
    """PromptIR. ``model(image) -> image``; height and width must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.width

        def block(channels: int, heads: int) -> TransformerBlock:
            norm = LayerNorm if config.norm == "with_bias" else BiasFreeLayerNorm
            return TransformerBlock(channels, heads, config.expansion, norm=norm)

        def plain(channels: int, level: int, depth: int) -> TransformerStage:
            return TransformerStage(block(channels, config.heads[level]) for _ in range(depth))

        def prompted(channels: int, level: int, depth: int, out: int) -> PromptedStage:
            prompt_width, size = config.prompt_widths[3 - level], config.prompt_sizes[3 - level]
            return PromptedStage(
                plain(channels, level, depth),
                PromptPool(channels, prompt_width, size, config.prompt_length),
                block(channels + prompt_width, config.prompt_heads),
                nn.Conv2d(channels + prompt_width, out, 1, bias=False),
            )

        def encoder(channels: int, level: int) -> nn.Module:
            if level == UNet.levels - 1:
                return prompted(channels, level, config.latent, 4 * width)
            return plain(channels, level, config.encoder[level])

        def decoder(channels: int, level: int) -> nn.Module:
            depth = config.decoder[2 - level]
            return prompted(channels, level, depth, channels) if level else plain(channels, level, depth)

        self.unet = UNet(
            width=width,
            encoder=encoder,
            decoder=decoder,
            refinement=lambda channels, level: plain(channels, level, config.refinement),
            latent_width=4 * width,
            top_width=2 * width,
        )
        if config.unused_layers:
            self.unused = _unused_layers(config)
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: 190 bytes per channel of C, measured at
        # 384 x 384, and half as much again. The feed-forward's branches at the top decoder level make it.
        self.bytes_per_pixel = 115.0 * width * max(config.expansion, 1.0)

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

        These are the similarities of channels, and the means that choose the prompts. The prompts themselves
        are resized to each tile, as they are to a picture: where in the picture it lies makes no difference.

        Args:
            tiles: tensors (1 3 h w) of one picture; sizes may differ.
            rounds: passes over the tiles, at least 1; see :mod:`anyrestore.layers.sharing`.

        Returns:
            To be given to every tile as ``condition``.
        """
        shared = [part for stage in self.unet.stages for part in _shared(stage)]
        merged = iter(share_statistics(self, shared, tiles, rounds))
        condition: list[Sequence[Similarity] | PromptedCondition] = []
        for stage in self.unet.stages:
            found: list[Any] = [next(merged) for _ in _shared(stage)]
            condition.append(
                PromptedCondition(found[:-2], *found[-2:]) if isinstance(stage, PromptedStage) else found
            )
        return condition


def _shared(stage: nn.Module) -> list[Shared]:
    """What of a stage looks at the whole image: its blocks, the prompt's mean, the mixing block."""
    if isinstance(stage, PromptedStage):
        blocks, means = [*stage.stage, stage.mixing], [Shared(stage.pool.mean, merge_means)]
    else:
        blocks, means = list(cast("TransformerStage", stage)), list[Shared]()
    parts = [
        Shared(cast("TransformerBlock", block).attention.similarity, add_similarities) for block in blocks
    ]
    return [*parts[:-1], *means, parts[-1]]


def _unused_layers(config: Config) -> nn.ModuleList:
    """Convolutions that nothing runs: of prompts, and of encoder features beside prompts."""
    low, middle, high = config.prompt_widths
    pairs = [(high, high), (middle, middle), (low, 256)]
    pairs += [(config.width * 2**i + p, config.width * 2**i) for i, p in enumerate((high, middle, 256))]
    return nn.ModuleList(nn.Conv2d(c, into, 1, bias=False) for c, into in pairs)
