"""ExDA: rethinking expressivity and degradation-awareness in attention (ICLR 2026).

A Restormer-shaped U-Net whose attention between channels has two additions, in encoder, decoder and
refinement:

- *Nonlinear values.* V' = V + g(V), g = 1x1, depthwise 3x3, GELU, 1x1, before the aggregation.
- *Global spatial tokens.* K maps per head of where in the picture to look, as K more channels of q, k and
  v'; what they receive is averaged over K, times alpha (from 0.1 on), added to every channel of the head.

There is no public code. Some 3,400 readings were counted (layout of the decoder; width, biases, sharing and
place of g; K and form of the tokens' projection; norms) against the six numbers of the paper's table. This
one gives all six to every printed digit:

- the decoder is PromptIR's without prompts: a 1x1 takes the latent from 8C to 4C channels before it goes up,
  the skip of the top level is not fused, and that level and the refinement have 2C channels;
- g is half as wide as V and its convolutions have biases (the rest of the network has none); K = 1; the
  tokens' projection is a 1x1 from the attention's input to heads * K maps; one alpha per block; LayerNorm
  with bias.

| preset | parameters | published | G | published |
|---|---|---|---|---|
| exda-t | 5,834,340 | 5.83 M | 26.82 | 27 |
| exda-s | 10,046,462 | 10.05 M | 46.83 | 47 |
| exda-b | 22,420,752 | 22.42 M | 109.21 | 109 |

The paper's text gives the tiny model 6.21 M and 16 G as well, which is not followed. The tokens' projection
has no bias, since a softmax would not see one; with it the counts round to the same.

Open, and chosen here: q and k are normalised after the tokens have joined them (being of the order of
1/pixels, they would not be seen otherwise); v' is not, so what the tokens' *own* rows add to the output is of
that order, as the paper's equation has it. "Encoder" includes the latent stage, "decoder" the refinement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.conditioning.spatial_tokens import Mass, SpatialTokens, merge_masses
from anyrestore.layers.attention import (
    Similarity,
    TransposedAttention,
    add_similarities,
    aggregate_into,
    merges,
)
from anyrestore.layers.feedforward import GatedFeedForward
from anyrestore.layers.norm import LayerNorm
from anyrestore.layers.parts import is_channels_last
from anyrestore.layers.sharing import Shared, share_blocks
from anyrestore.layers.transformer import ReducingStage
from anyrestore.layers.unet import UNet
from anyrestore.types import Features, Image


class BlockCondition(NamedTuple):
    """What a block takes from a whole picture instead of from the part of it that it sees."""

    similarity: Similarity | None = None
    mass: Mass | None = None  # of the tokens' maps


#: Per stage, in the order in which an image passes them, per block.
Condition = Sequence[Sequence[BlockCondition]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines an ExDA network; the defaults are ExDA-S."""

    width: int = 32
    encoder: tuple[int, int, int] = (4, 6, 6)  # blocks at 1, 1/2, 1/4 of the resolution
    latent: int = 8
    decoder: tuple[int, int, int] = (6, 6, 4)  # blocks at 1/4, 1/2, 1: from low to high resolution
    refinement: int = 3
    heads: tuple[int, int, int, int] = (1, 2, 4, 8)
    expansion: float = 2.0
    stem_scale: int = 1  # ours: 2 runs the U-Net at half resolution behind a pixel-unshuffle
    value: Literal["residual", "in_place", "linear"] = "residual"  # V + g(V), g(V), V
    value_activation: Literal["gelu", "sigmoid"] = "gelu"
    value_learnable: bool = True  # False: g is the activation alone
    value_expansion: float = 0.5  # width of g in units of V's, open in the paper
    value_placement: Literal["both", "encoder", "decoder"] = "both"
    tokens: int = 1  # K, open in the paper; 0 leaves them out
    token_stride: int = 2

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        numbers = (self.width, self.latent, self.refinement, *self.encoder, *self.decoder, *self.heads)
        if min(numbers) < 1 or self.width > 4096 or max(numbers[1:]) > 256:
            raise ValueError(f"expected widths in 1..4096, depths and heads in 1..256, came {self}")
        if self.stem_scale not in (1, 2, 4):
            raise ValueError(f"expected stem_scale 1, 2 or 4, came {self.stem_scale}")
        if not 0 < self.value_expansion <= 64:
            raise ValueError(f"expected value_expansion in 0..64, came {self}")
        if not 0 <= self.tokens <= 256 or not 1 <= self.token_stride <= 256:
            raise ValueError(f"expected tokens in 0..256 and token_stride in 1..256, came {self}")


PRESETS: dict[str, Config] = {
    "exda-t": Config(width=26, encoder=(3, 5, 5), latent=7, decoder=(5, 5, 3)),
    "exda-s": Config(),
    "exda-b": Config(width=48, refinement=4),
    "exda-tiny": Config(width=8, encoder=(1, 1, 1), latent=1, decoder=(1, 1, 1), refinement=1),
}


class Activation(nn.Module):
    """GELU or sigmoid."""

    def __init__(self, name: Literal["gelu", "sigmoid"]) -> None:
        super().__init__()
        self.function: Callable[[Tensor], Tensor] = F.gelu if name == "gelu" else torch.sigmoid

    def forward(self, x: Features) -> Features:
        """Apply it to every value of ``x``."""
        return self.function(x)


class NonlinearValue(nn.Module):
    """``v + g(v)``, or ``g(v)`` in place; g = 1x1, depthwise 3x3, activation, 1x1, all with biases.

    Args:
        channels: width c of the values.
        expansion: width of g in units of c.
        residual: add the values themselves.
        activation: inside g.
        learnable: False for a g that is the activation alone.
    """

    def __init__(
        self,
        channels: int,
        expansion: float = 0.5,
        *,
        residual: bool = True,
        activation: Literal["gelu", "sigmoid"] = "gelu",
        learnable: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        hidden = max(1, int(expansion * channels))
        self.transform = (
            nn.Sequential(
                nn.Conv2d(channels, hidden, 1),
                nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
                Activation(activation),
                nn.Conv2d(hidden, channels, 1),
            )
            if learnable
            else Activation(activation)
        )

    def forward(self, v: Features) -> Features:
        """Values (b c h w) in and out."""
        transformed = self.transform(v)
        return v + transformed if self.residual else transformed


class TokenAttention(TransposedAttention):
    """Attention between channels with nonlinear values and global spatial tokens.

    Args:
        channels: width c; must be a multiple of ``heads``.
        heads: number k of heads.
        value: transforms the values before they are aggregated; None leaves them linear.
        tokens: tokens per head; 0 for none.
        stride: of the tokens' pooling.
    """

    def __init__(
        self, channels: int, heads: int, value: nn.Module | None = None, tokens: int = 1, stride: int = 2
    ) -> None:
        super().__init__(channels, heads)
        self.value = nn.Identity() if value is None else value
        if tokens:
            self.tokens = SpatialTokens(channels, heads, tokens, stride)
            self.alpha = nn.Parameter(torch.tensor(0.1))
        else:
            self.tokens = None

    def forward(
        self, x: Features, similarity: Similarity | None = None, mass: Mass | None = None
    ) -> Features:
        """(b c h w) in and out; ``similarity`` and ``mass`` replace those that ``x`` itself would give."""
        q, k, v = self.expand(x)
        v = self.value(v)
        if self.tokens is None:
            return self.mix(self.weigh(q, k, similarity), v)
        maps = self.tokens(x, mass)  # b k t n
        seen: Similarity = (
            self.similarity(self.split_heads(q), self.split_heads(k), maps)
            if similarity is None
            else similarity
        )
        weights = self.soften(seen)  # b k (d + t) (d + t)
        widths = [weights.shape[-1] - maps.shape[2], maps.shape[2]]
        if not merges(v):
            mixed = weights @ torch.cat([self.split_heads(v), maps], dim=2)
            local, received = torch.split(mixed, widths, dim=2)
            rows = local + self.alpha * received.mean(dim=2, keepdim=True)
            return self.to_out(rows.reshape(x.shape))
        # The same done to the rows of the weights instead of to the maps that they make.
        local, received = torch.split(weights, widths, dim=2)
        local = local + self.alpha * received.mean(dim=2, keepdim=True)
        of_values, of_maps = torch.split(local, widths, dim=3)
        images = maps.reshape(x.shape[0], -1, *x.shape[-2:])
        spread = aggregate_into(of_maps, images, self.to_out, channels_last=is_channels_last(v))
        return aggregate_into(of_values, v, self.to_out, bias=False) + spread


class ExDABlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + GDFN(norm(x))``; the paper's MDAB."""

    def __init__(self, channels: int, heads: int, config: Config, *, decoder: bool) -> None:
        super().__init__()
        here = config.value_placement in ("both", "decoder" if decoder else "encoder")
        value = NonlinearValue(
            channels,
            config.value_expansion,
            residual=config.value == "residual",
            activation=config.value_activation,
            learnable=config.value_learnable,
        )
        self.norm_attention = LayerNorm(channels)
        self.attention = TokenAttention(
            channels,
            heads,
            value if here and config.value != "linear" else None,
            config.tokens,
            config.token_stride,
        )
        self.norm_feedforward = LayerNorm(channels)
        self.feedforward = GatedFeedForward(channels, config.expansion)

    @property
    def statistics(self) -> list[Shared]:
        """What this block sees of a whole image, in the order of :class:`BlockCondition`."""
        seen = [Shared(self.attention.similarity, add_similarities)]
        if self.attention.tokens is not None:
            seen.append(Shared(self.attention.tokens.mass, merge_masses))
        return seen

    def forward(self, x: Features, condition: BlockCondition | None = None) -> Features:
        """(b c h w) in and out."""
        x = x + self.attention(self.norm_attention(x), *(condition or BlockCondition()))
        return x + self.feedforward(self.norm_feedforward(x))


class ExDA(nn.Module):
    """ExDA. ``model(image) -> image``; height and width must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

        def stage(
            channels: int, level: int, depth: int, *, decoder: bool, out: int | None = None
        ) -> ReducingStage:
            heads = config.heads[level]
            blocks = [ExDABlock(channels, heads, config, decoder=decoder) for _ in range(depth)]
            return ReducingStage(blocks, channels, out)

        def encoder(channels: int, level: int) -> nn.Module:
            if level == UNet.levels - 1:
                return stage(channels, level, config.latent, decoder=False, out=channels // 2)
            return stage(channels, level, config.encoder[level], decoder=False)

        self.unet = UNet(
            width=config.width,
            encoder=encoder,
            decoder=lambda channels, level: stage(channels, level, config.decoder[2 - level], decoder=True),
            refinement=lambda channels, level: stage(channels, level, config.refinement, decoder=True),
            stem_scale=config.stem_scale,
            latent_width=4 * config.width,
            top_width=2 * config.width,
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: the feed-forward's two branches at the top
        # decoder level, whose width is 2C.
        self.bytes_per_pixel = 136.0 * config.width * max(config.expansion, 2.0) / config.stem_scale**2

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
            [block.statistics for block in cast("Iterable[ExDABlock]", stage.blocks)]
            for stage in self.unet.stages
        ]
        return share_blocks(self, stages, BlockCondition, tiles, rounds)
