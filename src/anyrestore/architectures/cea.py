"""CEA-IR: Continuous Expert Assembly for all-in-one image restoration (arXiv 2605.06127).

A Restormer-shaped U-Net whose alternate decoder blocks carry a hyper-adapter. From the block's own features
it generates low-rank routing bases and residual directions for this image; every token assembles from them
its own update of the attention's queries and keys. No prompts, no labels, no experts to choose from.

What the paper leaves open, and what is chosen here (all of it is in :class:`Config`):

- the condensation's stride (its value did not survive in the text): 4;
- "a stabilizing scaling factor": 1/sqrt(r); ``learnable_scale`` makes it a learnable scalar per target (ten
  parameters more, below the rounding of the published counts);
- where "the attention query and key projections" are updated: at the pointwise projection's output, before
  the
  depthwise convolution;
- the decoder's top level and the refinement stay at width C, which reproduces the published parameter counts
  for ranks 4, 8 and 16 to the last digit of their rounding (9.708, 9.712, 9.718 M).

Unusual here: ``stem_scale = 2`` (ours, for CPUs) runs the whole U-Net at half the image's resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from anyrestore.conditioning.hyper_adapter import (
    Context,
    Factors,
    HyperAdapter,
    StaticFactors,
    merge_contexts,
)
from anyrestore.conditioning.low_rank import LowRankAssembly, rank_norm
from anyrestore.layers.attention import Similarity, add_similarities
from anyrestore.layers.sharing import listener
from anyrestore.layers.transformer import TransformerBlock
from anyrestore.layers.unet import UNet
from anyrestore.types import Features, Image

Targets = Literal["none", "q", "k", "v", "qk", "qkv", "ffn"]


class BlockCondition(NamedTuple):
    """What a block takes from a whole picture instead of from the part of it that it sees."""

    similarity: Similarity | None = None
    factors: Factors | None = None  # of a block with a hyper-adapter


#: Per stage, in the order in which an image passes them, per block.
Condition = Sequence[Sequence[BlockCondition]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines a CEA-IR network; the defaults are CEA-IR-S."""

    width: int = 32
    encoder: tuple[int, int, int] = (4, 6, 6)  # blocks at 1, 1/2, 1/4 of the top resolution
    latent: int = 8
    decoder: tuple[int, int, int] = (4, 4, 2)  # blocks at 1/4, 1/2, 1: from low to high resolution
    refinement: int = 4
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    expansion: float = 2.0
    stem_scale: int = 1  # ours: 2 runs the U-Net at half resolution behind a pixel-unshuffle
    rank: int = 8
    targets: Targets = "qk"
    factors: Literal["dynamic", "static"] = "dynamic"
    routing: Literal["dense", "top2"] = "dense"
    generator: Literal["cross_attention", "pooled"] = "cross_attention"
    rank_norm: bool = True
    learnable_scale: bool = False  # open in the paper
    adapter_heads: int = 4
    adapter_stride: int = 4  # open in the paper
    placement: Literal["alternate", "all"] = (
        "alternate"  # the paper's: blocks 0, 2, ... of each decoder stage
    )

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        numbers = (self.width, self.latent, self.refinement, self.rank, *self.encoder, *self.decoder)
        if min(numbers) < 1 or self.width > 4096 or max(numbers[1:]) > 256:
            raise ValueError(f"expected widths in 1..4096, depths and rank in 1..256, came {self}")
        if self.stem_scale not in (1, 2, 4):
            raise ValueError(f"expected stem_scale 1, 2 or 4, came {self.stem_scale}")


PRESETS: dict[str, Config] = {
    "cea-s": Config(),
    "cea": Config(width=48),
    "cea-t": Config(stem_scale=2, encoder=(1, 2, 2), latent=2, decoder=(2, 1, 1), refinement=1),
    "tiny": Config(width=8, encoder=(1, 1, 1), latent=1, decoder=(1, 1, 1), refinement=1, rank=4),
}


class CEABlock(TransformerBlock):
    """A transformer block whose attention (or feed-forward input) is updated by low-rank assembly."""

    def __init__(self, channels: int, heads: int, config: Config) -> None:
        super().__init__(channels, heads, config.expansion)
        names = ("ffn",) if config.targets == "ffn" else tuple(config.targets)
        self.normalise = rank_norm if config.rank_norm else _identity
        self.adapter = (
            HyperAdapter(
                channels,
                config.rank,
                names,
                generator=config.generator,
                heads=config.adapter_heads,
                stride=config.adapter_stride,
            )
            if config.factors == "dynamic"
            else StaticFactors(channels, config.rank, names)
        )
        self.assembly = nn.ModuleDict(
            {
                name: LowRankAssembly(config.rank, config.routing, learnable_scale=config.learnable_scale)
                for name in names
            }
        )

    def update(self, name: str, value: Features, x: Features, factors: Factors) -> Features:
        """``value`` plus the residual that the tokens of ``x`` assemble for target ``name``, if it is one."""
        if name not in self.assembly:
            return value
        bases, directions = (self.normalise(factor) for factor in factors[name])
        return value + self.assembly[name](x, bases, directions)

    def forward(
        self, x: Features, similarity: Similarity | None = None, factors: Factors | None = None
    ) -> Features:
        """(b c h w) in and out; ``similarity`` and ``factors`` replace those that ``x`` itself would give."""
        normed = self.norm_attention(x)
        if "ffn" in self.assembly:
            x = x + self.attention(normed, similarity)
            normed = self.norm_feedforward(x)
            own: Factors = self.adapter(normed) if factors is None else factors
            return x + self.feedforward(self.update("ffn", normed, normed, own))
        own = self.adapter(normed) if factors is None else factors
        q, k, v = (
            self.update(name, value, normed, own)
            for name, value in zip("qkv", self.attention.project(normed), strict=True)
        )
        x = x + self.attention.attend(q, k, v, similarity)
        return x + self.feedforward(self.norm_feedforward(x))


class Stage(nn.ModuleList):
    """Blocks one after another."""

    def forward(self, x: Features, condition: Sequence[BlockCondition] | None = None) -> Features:
        """(b c h w) in and out; ``condition[i]``, where given, goes to block i."""
        for i, block in enumerate(self):
            given = BlockCondition() if condition is None else condition[i]
            x = block(x, *given) if isinstance(block, CEABlock) else block(x, given.similarity)
        return x


class CEA(nn.Module):
    """CEA-IR. ``model(image) -> image``; height and width must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

        def plain(channels: int, level: int) -> nn.Module:
            return TransformerBlock(channels, config.heads[level], config.expansion)

        def encoder(channels: int, level: int) -> nn.Module:
            depth = (*config.encoder, config.latent)[level]
            return Stage(plain(channels, level) for _ in range(depth))

        def decoder(channels: int, level: int) -> nn.Module:
            step = 2 if config.placement == "alternate" else 1
            adapted = config.targets != "none"
            return Stage(
                CEABlock(channels, config.heads[level], config)
                if adapted and i % step == 0
                else plain(channels, level)
                for i in range(config.decoder[2 - level])
            )

        def refinement(channels: int, level: int) -> nn.Module:
            return Stage(plain(channels, level) for _ in range(config.refinement))

        self.unet = UNet(
            width=config.width,
            encoder=encoder,
            decoder=decoder,
            refinement=refinement,
            stem_scale=config.stem_scale,
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32, measured at 512 x 512: 110 to 145 bytes per
        # channel of the top level; the feed-forward's two branches there are the peak.
        self.bytes_per_pixel = 160.0 * config.width / config.stem_scale**2

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

        Attention between channels and the hyper-adapters look at the whole image. What they see in the tiles
        is merged over all of them: the similarities add up, the adapters' contexts are averaged by their
        masses. Each is exact for the features it is given; in the first round those were still made by every
        tile on its own, in the next ones with what the round before has found.

        Args:
            tiles: tensors (1 3 h w) of one picture; sizes may differ.
            rounds: passes over the tiles, at least 1.

        Returns:
            To be given to every tile as ``condition``.
        """
        parts = list(tiles)
        condition: Condition = [[BlockCondition() for _ in stage] for stage in self._stages()]
        for _ in range(rounds):
            seen = [[(list[Similarity](), list[Context]()) for _ in stage] for stage in self._stages()]
            with ExitStack() as hooks:
                for stage, founds, givens in zip(self._stages(), seen, condition, strict=True):
                    for block, found, given in zip(stage, founds, givens, strict=True):
                        _listen(hooks, block, found, given)
                for part in parts:
                    self(part)
            condition = [
                [_merge(block, *found) for block, found in zip(stage, founds, strict=True)]
                for stage, founds in zip(self._stages(), seen, strict=True)
            ]
        return condition

    @torch.no_grad()
    def routing_maps(self, image: Image) -> dict[str, Tensor]:
        """The affinity of every token to every rank, without changing the model.

        Returns:
            Per assembly, e.g. ``"decoder.2.0.q"`` (stage, block, target): a map (b r h w) at that stage's
            resolution; signed for dense routing, softmax weights for top-2.
        """
        maps = dict[str, list[Tensor]]()
        shapes = dict[str, list[Tensor]]()
        with ExitStack() as hooks:
            for i, stage in enumerate(self.unet.decoder):
                for j, block in enumerate(cast("Stage", stage)):
                    for target, assembly in getattr(block, "assembly", {}).items():
                        name = f"decoder.{i}.{j}.{target}"
                        maps[name], shapes[name] = [], []
                        _hook(hooks, assembly, listener(shapes[name]))
                        _hook(hooks, assembly.routing, listener(maps[name]))
            self(image)
        return {name: found[0].unflatten(-1, shapes[name][0].shape[-2:]) for name, found in maps.items()}

    def _stages(self) -> list[Stage]:
        return cast("list[Stage]", self.unet.stages)


def _identity(factor: Tensor) -> Tensor:
    return factor


def _merge(block: nn.Module, similarities: list[Similarity], contexts: list[Context]) -> BlockCondition:
    """What the tiles' similarities and contexts are together."""
    adapter = getattr(block, "adapter", None)
    factors = adapter.decode(merge_contexts(contexts)) if isinstance(adapter, HyperAdapter) else None
    return BlockCondition(add_similarities(similarities), factors)


def _listen(
    stack: ExitStack,
    block: nn.Module,
    into: tuple[list[Similarity], list[Context]],
    given: BlockCondition,
) -> None:
    """Store what the block's attention and adapter see, and let them go on with what is given."""
    _hook(stack, cast("TransformerBlock", block).attention.similarity, listener(into[0], given.similarity))
    adapter = getattr(block, "adapter", None)
    if isinstance(adapter, HyperAdapter):
        _hook(stack, adapter.generator, listener(into[1]))
        _hook(stack, adapter, listener([], given.factors))


def _hook(stack: ExitStack, module: nn.Module, hook: Callable[..., object]) -> None:
    """Register a forward hook that the stack removes again."""
    stack.callback(module.register_forward_hook(hook).remove)
