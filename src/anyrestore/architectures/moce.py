"""MoCE-IR: mixture of complexity experts for all-in-one restoration (arXiv 2411.18466).

A Restormer-shaped U-Net. Every decoder block has a shared expert (attention between channels) beside
complexity experts of growing rank and window; for each image one of them is chosen, from the block's pooled
features and the latent's high frequencies, and cross-attention fuses the two. Names, widths and constants
are those of the public code (eduardzamfir/MoCE-IR), whose weights :mod:`anyrestore.zoo.convert.moce` reads.

Unusual: encoder, latent and refinement have convolutions with bias, the decoder's backbone has none; both
norms have a mean and a bias. :meth:`MoCE.forward_with_losses` gives the balancing losses ``importance`` and
``load``, each the mean over the decoder's blocks (the public code adds half of each).

The public code does some things that its paper does not say. ``paper_quirks`` brings them back, all at once:

- routing noise is added in inference too, so no two runs are equal (here: only in training);
- in inference on a batch of b > 1 images every image gets the *sum* of the experts that the b images chose,
  once for each time it was chosen, weighted with its own gate (here: every image its own expert);
- an expert's ``depths`` have no effect: every turn starts from the same input (here: each from the last one's
  result). The published models have depth 1, where this is the same;
- the high-pass filter that should be frozen trains (here: a parameter that is counted, stored and not
  trained);
- the bias to cheap experts is off unless asked for (here: ``complexity_bias``, on).

None of them is needed for published weights: with one image and no noise the two are the same function. The
sixth, that ``--loss_type FFT`` trains L1 alone, is a matter of the recipe.

Its table says 36.93 G and 80.59 G; convolutions and matrix products come to 36.59 G and 79.56 G with the
costliest expert in every block (which the catalogue states) and to 32.5 G and 70.9 G with the cheapest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.conditioning.complexity_experts import (
    ComplexityExperts,
    FrequencyEmbedding,
    Router,
    Routing,
    importance_loss,
    load_loss,
)
from anyrestore.layers.attention import (
    ChannelSimilarity,
    Similarity,
    TransposedAttention,
    add_similarities,
    aggregate_into,
)
from anyrestore.layers.feedforward import GatedFeedForward
from anyrestore.layers.norm import LayerNorm
from anyrestore.layers.padding import check_multiple
from anyrestore.layers.parts import expand
from anyrestore.layers.sharing import Mean, Shared, merge_means, share_statistics
from anyrestore.layers.transformer import TransformerBlock, TransformerStage
from anyrestore.layers.unet import UNet
from anyrestore.types import Features, Image


class BlockCondition(NamedTuple):
    """What a MoCE block takes from a whole picture instead of from the part of it that it sees."""

    similarity: Similarity | None = None  # of the shared expert
    cross: Similarity | None = None  # of the cross-attention
    mean: Mean | None = None  # that the router saw


class Condition(NamedTuple):
    """What a whole picture's tiles share, and which expert to run if not the router's choice.

    What is in the sequences is not declared: shape checks would compare the axes of different levels.
    """

    frequency: Mean | None = None
    encoder: Sequence[Any] | None = None  # a Similarity for each block of each stage, the latent's the last
    decoder: Sequence[Any] | None = None  # a BlockCondition for each block of each stage
    refinement: Sequence[Any] | None = None  # a Similarity for each block
    expert: int | None = None


class Guidance(NamedTuple):
    """What a stage of MoCE blocks is given beside the features."""

    embedding: Float[Tensor, "b f"]
    blocks: Sequence[BlockCondition] | None
    expert: int | None
    routings: list[Routing]  # every block appends its own


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines a MoCE-IR network; the defaults are MoCE-IR-S."""

    width: int = 32
    encoder: tuple[int, int, int] = (4, 6, 6)  # blocks at 1, 1/2, 1/4 of the image's resolution
    latent: int = 8
    decoder: tuple[int, int, int] = (4, 4, 2)  # blocks at 1/4, 1/2, 1: from low to high resolution
    refinement: int = 4
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    expansion: float = 2.0
    stem_scale: int = 1  # ours: 2 runs the U-Net at half resolution behind a pixel-unshuffle
    windows: tuple[int, ...] = (4, 8, 16, 32)  # one expert each
    rank: int | None = None  # of all experts; None for C/8, C/4, C/2, C at a level of width C
    depths: tuple[int, ...] = (1, 1, 1, 1)  # how often each expert is applied
    top_k: int = 1
    complexity_bias: bool = True  # weigh importance by complexity, so that cheap experts are preferred
    paper_quirks: bool = False

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        numbers = (self.width, self.latent, self.refinement, *self.encoder, *self.decoder)
        if min(numbers) < 1 or self.width > 4096 or max(numbers[1:]) > 256:
            raise ValueError(f"expected widths in 1..4096 and depths in 1..256, came {self}")
        if self.stem_scale not in (1, 2, 4):
            raise ValueError(f"expected stem_scale 1, 2 or 4, came {self.stem_scale}")
        experts = len(self.windows)
        if not 2 <= experts <= 16 or len(self.depths) != experts or not 1 <= self.top_k <= experts:
            raise ValueError(f"expected 2 to 16 windows, a depth for each and top_k of them, came {self}")
        if min(*self.windows, *self.depths) < 1 or max(self.windows) > 1024 or max(self.depths) > 64:
            raise ValueError(f"expected windows in 1..1024 and experts' depths in 1..64, came {self}")
        if not 1 <= (self.width >> (experts - 1) if self.rank is None else self.rank) <= 4096:
            raise ValueError(f"expected ranks in 1..4096 (a larger width, or fewer windows), came {self}")

    def ranks(self, channels: int) -> list[int]:
        """Of the experts at a level of width ``channels``."""
        last = len(self.windows) - 1
        return [channels >> (last - i) if self.rank is None else self.rank for i in range(last + 1)]


PRESETS: dict[str, Config] = {
    "moce-s": Config(),
    "moce": Config(width=48),
    # Three experts: the cheapest of four would have one channel, which a norm over channels makes zero.
    "moce-tiny": Config(
        width=8,
        encoder=(1, 1, 1),
        latent=1,
        decoder=(1, 1, 1),
        refinement=1,
        windows=(4, 8, 16),
        depths=(1, 1, 1),
    ),
}


class CrossAttention(nn.Module):
    """Attention between channels with queries of one input, keys and values of another.

    As :class:`TransposedAttention`, but depthwise 3x3 on the queries and 7x7 on keys and values.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.similarity = ChannelSimilarity()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_q = nn.Conv2d(channels, channels, 1, bias=False)
        self.q_depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.to_kv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.kv_depthwise = nn.Conv2d(
            2 * channels, 2 * channels, 7, padding=3, groups=2 * channels, bias=False
        )
        self.to_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Features, source: Features, similarity: Similarity | None = None) -> Features:
        """Of ``x`` (b c h w) to ``source``, same shape out; ``similarity`` of the whole picture, if given."""
        batch, _, height, width = x.shape
        heads = (batch, self.heads, -1, height * width)  # b k d n
        q = self.q_depthwise(self.to_q(x))
        k, v = expand(source, self.to_kv, self.kv_depthwise, 2)
        seen: Similarity = (
            self.similarity(q.reshape(heads), k.reshape(heads)) if similarity is None else similarity
        )
        attention = torch.softmax(seen.cosine() * self.temperature, dim=-1)
        return aggregate_into(attention, v, self.to_out)


class MoCEBlock(nn.Module):
    """Shared expert and complexity experts side by side, fused by cross-attention; then feed-forward."""

    def __init__(self, channels: int, heads: int, config: Config) -> None:
        super().__init__()
        self.norm_attention = LayerNorm(channels)
        self.to_shared = nn.Conv2d(channels, channels, 1)
        self.to_experts = nn.Conv2d(channels, channels, 1)
        self.shared = TransposedAttention(channels, heads)
        self.router = Router(
            channels,
            8 * config.width,
            len(config.windows),
            config.top_k,
            noisy_inference=config.paper_quirks,
        )
        self.experts = ComplexityExperts(
            channels,
            config.ranks(channels),
            config.windows,
            config.depths,
            paper_quirks=config.paper_quirks,
        )
        self.cross = CrossAttention(channels, heads)
        self.norm_feedforward = LayerNorm(channels)
        self.feedforward = GatedFeedForward(channels, config.expansion)

    def forward(self, x: Features, guidance: Guidance, given: BlockCondition) -> Features:
        """(b c h w) in and out; ``given`` replaces what ``x`` itself would give."""
        normed = self.norm_attention(x)
        shared = self.shared(self.to_shared(normed), given.similarity)
        special = self.to_experts(normed)
        routing: Routing = self.router(special, guidance.embedding, given.mean, guidance.expert)
        guidance.routings.append(routing)
        x = x + self.cross(self.experts(special, shared, routing), shared, given.cross)
        return x + self.feedforward(self.norm_feedforward(x))


class MoCEStage(nn.ModuleList):
    """MoCE blocks one after another."""

    def forward(self, x: Features, guidance: Guidance) -> Features:
        """(b c h w) in and out."""
        for i, block in enumerate(self):
            x = block(x, guidance, BlockCondition() if guidance.blocks is None else guidance.blocks[i])
        return x


class MoCE(nn.Module):
    """MoCE-IR. ``model(image) -> image``; height and width must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

        def stage(channels: int, level: int, blocks: int) -> nn.Module:
            heads, expansion = config.heads[level], config.expansion
            return TransformerStage(
                _with_bias(TransformerBlock(channels, heads, expansion, norm=LayerNorm))
                for _ in range(blocks)
            )

        def encoder(channels: int, level: int) -> nn.Module:
            return stage(channels, level, (*config.encoder, config.latent)[level])

        def decoder(channels: int, level: int) -> nn.Module:
            return MoCEStage(
                MoCEBlock(channels, config.heads[level], config) for _ in range(config.decoder[2 - level])
            )

        def refinement(channels: int, level: int) -> nn.Module:
            return stage(channels, level, config.refinement)

        self.unet = UNet(
            width=config.width,
            encoder=encoder,
            decoder=decoder,
            refinement=refinement,
            stem_scale=config.stem_scale,
        )
        self.frequency = FrequencyEmbedding(8 * config.width, frozen=not config.paper_quirks)
        self.size_multiple = self.unet.size_multiple
        self.bytes_per_pixel = 160.0 * config.width / config.stem_scale**2

    def forward(self, image: Image, condition: Condition | None = None) -> Image:
        """Restore ``image`` (b 3 h w).

        Args:
            image: RGB, nominally in [0, 1]; height and width multiples of ``size_multiple``.
            condition: what to use of a whole picture instead of the image's own, from :meth:`share`, or which
                expert to run, from :meth:`force`.

        Raises:
            ValueError: the size is not a multiple of ``size_multiple``.
        """
        return self._restore(image, condition)[0]

    def forward_with_losses(self, image: Image) -> tuple[Image, dict[str, Tensor]]:
        """The restored image, and the losses ``importance`` and ``load`` that keep experts in use."""
        restored, routings = self._restore(image, None)
        biased = self.config.complexity_bias and not self.config.paper_quirks
        importance: list[Tensor] = []
        load: list[Tensor] = []
        blocks = [block for stage in self._blocks() for block in stage]
        for block, routing in zip(blocks, routings, strict=True):
            importance.append(importance_loss(routing.logits, block.experts.complexity if biased else None))
            load.append(load_loss(routing, block.router.top_k, block.router.noise))
        return restored, {"importance": torch.stack(importance).mean(), "load": torch.stack(load).mean()}

    def force(self, expert: int) -> Condition:
        """A condition under which every block runs this expert, weighted as the one that it would choose.

        Raises:
            ValueError: there is no such expert.
        """
        if not 0 <= expert < len(self.config.windows):
            raise ValueError(f"expected an expert in 0..{len(self.config.windows) - 1}, came {expert}")
        return Condition(expert=expert)

    @torch.no_grad()
    def gates(self, image: Image) -> dict[str, Float[Tensor, "b e"]]:
        """The experts' weights in every block, e.g. ``"decoder.2.0"`` (stage, block); 0 for those not run."""
        _, routings = self._restore(image, None)
        names = [f"decoder.{i}.{j}" for i, blocks in enumerate(self.config.decoder) for j in range(blocks)]
        return {name: routing.gates for name, routing in zip(names, routings, strict=True)}

    @torch.no_grad()
    def share(self, tiles: Iterable[Tensor], rounds: int = 2) -> Condition:
        """What a whole picture's tiles need to know of it, from (some of) its tiles.

        Attention between channels and the routers look at the whole image: similarities add up over the
        tiles, the means that the routers see are weighted by pixels. So all tiles run the same experts.
        Each is exact for the features it is given; in the first round those were still made by every tile
        on its own, in the next ones with what the round before has found.

        Args:
            tiles: tensors (1 3 h w) of one picture; sizes may differ.
            rounds: passes over the tiles, at least 1.

        Returns:
            To be given to every tile as ``condition``.
        """
        decoder, stages = self._blocks(), [*self.unet.encoder, self.unet.refinement]
        plain = [[cast("TransformerBlock", b) for b in cast("TransformerStage", stage)] for stage in stages]
        shared = [Shared(self.frequency.mean, merge_means)]
        shared += [Shared(b.attention.similarity, add_similarities) for stage in plain for b in stage]
        for block in (block for stage in decoder for block in stage):
            shared += [Shared(part.similarity, add_similarities) for part in (block.shared, block.cross)]
            shared.append(Shared(block.router.mean, merge_means))
        found = iter(share_statistics(self, shared, tiles, rounds))
        frequency: Mean = next(found)
        similarities: list[list[Similarity]] = [[next(found) for _ in stage] for stage in plain]
        blocks = [[BlockCondition(*islice(found, 3)) for _ in stage] for stage in decoder]
        return Condition(frequency, similarities[:-1], blocks, similarities[-1])

    def _restore(self, image: Image, condition: Condition | None) -> tuple[Image, list[Routing]]:
        """The restored image and the routing of every decoder block."""
        check_multiple(image, self.size_multiple)
        given = Condition() if condition is None else condition
        latent, skips = self.unet.encode(image, given.encoder)
        embedding = self.frequency(latent, given.frequency)
        routings: list[Routing] = []  # list[Routing]() is nothing that torch.compile can trace
        stages: list[Any] = [
            *(None for _ in self.unet.encoder),
            *(
                Guidance(
                    embedding, None if given.decoder is None else given.decoder[i], given.expert, routings
                )
                for i in range(len(self.unet.decoder))
            ),
            given.refinement,
        ]
        return image + self.unet.head(self.unet.decode(latent, skips, stages)), routings

    def _blocks(self) -> list[list[MoCEBlock]]:
        """The decoder's stages and their blocks, in the order in which an image passes them."""
        return [
            [cast("MoCEBlock", block) for block in cast("MoCEStage", stage)] for stage in self.unet.decoder
        ]


def _with_bias(block: nn.Module) -> nn.Module:
    """Give every convolution of the block a bias, drawn as a convolution draws its own."""
    for conv in block.modules():
        if isinstance(conv, nn.Conv2d):
            bound = conv.weight[0].numel() ** -0.5
            conv.bias = nn.Parameter(torch.empty(conv.out_channels).uniform_(-bound, bound))
    return block
