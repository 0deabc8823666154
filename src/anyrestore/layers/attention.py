"""Multi-Dconv head transposed attention (MDTA), Restormer (arXiv 2111.09881), section 3.1.

Attention between channels instead of pixels: its map is (c/k) x (c/k) per head, so its cost is linear in
the number of pixels. It is global: every output pixel depends, through the map, on the whole input.

Unusual: q and k are not normalised before their product; the product is divided by their norms, which is
the same and moves less memory. Products and squares are sums over pixels, so those of several tiles add up to
those of the whole picture: a tile that is given them attends as if it saw all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.layers.parts import depthwise, expand, is_channels_last, pointwise
from anyrestore.types import Features


class Similarity(NamedTuple):
    """What attention between channels needs to know of an image; every entry is a sum over its pixels."""

    products: Float[Tensor, "b k d d"]  # of every channel of q with every channel of k, per head
    q_squares: Float[Tensor, "b k d"]
    k_squares: Float[Tensor, "b k d"]

    def cosine(self) -> Float[Tensor, "b k d d"]:
        """Cosine of the angle between every channel of q and every channel of k."""
        q_norm, k_norm = (squares.sqrt().clamp_min(1e-12) for squares in (self.q_squares, self.k_squares))
        return self.products / q_norm.unsqueeze(-1) / k_norm.unsqueeze(-2)


def add_similarities(parts: Iterable[Similarity]) -> Similarity:
    """The similarity of all parts' pixels together."""
    products, q_squares, k_squares = zip(*parts, strict=True)
    return Similarity(*(torch.stack(items).sum(dim=0) for items in (products, q_squares, k_squares)))


class ChannelSimilarity(nn.Module):
    """q and k (b k d n), heads k of d channels and n pixels -> :class:`Similarity`."""

    def forward(
        self,
        q: Float[Tensor, "b k d n"],
        k: Float[Tensor, "b k d n"],
        both: Float[Tensor, "b k t n"] | None = None,
    ) -> Similarity:
        """Sums over the pixels; ``both`` are more channels of q and of k, which follow theirs."""
        similarity = Similarity(q @ k.transpose(-2, -1), sum_squares(q), sum_squares(k))
        return similarity if both is None else _add_channels(similarity, q, k, both)


def _add_channels(similarity: Similarity, q: Tensor, k: Tensor, both: Tensor) -> Similarity:
    """By blocks: q and k are not copied."""
    products, q_squares, k_squares = similarity
    squares = sum_squares(both)
    above = torch.cat([products, q @ both.transpose(-2, -1)], dim=-1)
    below = torch.cat([both @ k.transpose(-2, -1), both @ both.transpose(-2, -1)], dim=-1)
    return Similarity(
        torch.cat([above, below], dim=-2),
        torch.cat([q_squares, squares], dim=-1),
        torch.cat([k_squares, squares], dim=-1),
    )


def sum_squares(x: Float[Tensor, "b k d n"]) -> Float[Tensor, "b k d"]:
    """Over the pixels; whichever of the two ways is fast for how ``x`` lies in memory."""
    if x.stride(-1) == 1:  # one pass; torch's stub leaves the norm untyped
        norm = cast("Tensor", torch.linalg.vector_norm(x, dim=-1))  # pyright: ignore[reportUnknownMemberType]
        return norm.square()
    return x.square().sum(dim=-1, dtype=torch.promote_types(x.dtype, torch.float32))


def aggregate(weights: Float[Tensor, "b k d e"], values: Features) -> Float[Tensor, "b c2 h w"]:
    """Every head's ``weights`` times its e channels of ``values`` (b k*e h w), in their format."""
    batch, heads, rows, columns = weights.shape
    height, width = values.shape[-2:]
    if not is_channels_last(values):
        mixed = weights @ values.reshape(batch, heads, columns, height * width)
        return mixed.reshape(batch, heads * rows, height, width)
    if batch == 1:
        return F.conv2d(values, weights.reshape(heads * rows, columns, 1, 1), groups=heads)
    pixels = values.movedim(1, -1).reshape(batch, height * width, heads, columns).transpose(1, 2)
    mixed = (pixels @ weights.transpose(-2, -1)).transpose(1, 2)  # b n k d
    return mixed.reshape(batch, height, width, heads * rows).movedim(-1, 1)


def merges(values: Features) -> bool:
    """Whether to merge what is done to the values (b c h w) into one matrix for each image.

    Making it costs as much arithmetic as c more pixels. On the meta device nothing is merged: there
    operations are counted, and the papers count the products one after the other.
    """
    return not values.is_meta and values.shape[-2] * values.shape[-1] >= values.shape[1]


def aggregate_into(
    weights: Float[Tensor, "b k d e"],
    values: Features,
    out: nn.Conv2d,
    *,
    bias: bool = True,
    channels_last: bool | None = None,
) -> Float[Tensor, "b c2 h w"]:
    """The 1x1 convolution ``out`` of :func:`aggregate`, as one product where that is less work.

    A 1x1 convolution and the heads' weights are both matrices, so their product is one, per image; see
    :func:`merges`.

    Args:
        weights: of the values' channels (e) for every channel (d) of a head's result.
        values: v (b k*e h w).
        out: from k*d channels.
        bias: add that of ``out``, if it has one.
        channels_last: the format of the result; None for that of the values.
    """
    batch, heads, rows, _ = weights.shape
    added = out.bias if bias else None
    if not merges(values):
        return F.conv2d(aggregate(weights, values), out.weight, added)
    height, width = values.shape[-2:]
    heads_out = out.weight.reshape(-1, heads, rows).transpose(0, 1)  # k o d
    merged = (heads_out @ weights).transpose(1, 2).flatten(2)  # b o (k e)
    last = is_channels_last(values) if channels_last is None else channels_last
    # Of a single channel torch cannot know the format, and makes planes.
    if batch == 1 and values.shape[1] > 1 and last == is_channels_last(values):
        return F.conv2d(values, merged[0, :, :, None, None], added)
    if last:
        pixels = values.movedim(1, -1).reshape(batch, height * width, -1)
        mixed = pixels @ merged.transpose(1, 2)
        mixed = mixed if added is None else mixed + added.to(mixed.dtype)
        return mixed.reshape(batch, height, width, -1).movedim(-1, 1)
    mixed = merged @ values.flatten(2)
    mixed = mixed if added is None else mixed + added[:, None].to(mixed.dtype)
    return mixed.reshape(batch, -1, height, width)


class ChannelAttention(nn.Module):
    """1x1 to q, k, v; depthwise 3x3; softmax(q k^T * temperature) over channels, applied to v.

    The parts can be called one after the other, so that a conditioning module may update q, k or v between
    the pointwise projection and the depthwise convolution, or after it.

    Args:
        channels: width c; must be a multiple of ``heads``.
        heads: number k of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"expected channels to be a multiple of heads, came {channels} channels and {heads} heads; "
                "choose another width or number of heads"
            )
        self.heads = heads
        self.similarity = ChannelSimilarity()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)

    def project(self, x: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pointwise projections q, k, v, each (b c h w), before the depthwise convolution."""
        q, k, v = pointwise(x, self.to_qkv, [x.shape[1]] * 3)
        return q, k, v

    def refine(self, q: Features, k: Features, v: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Depthwise 3x3 on q, k, v."""
        q, k, v = depthwise((q, k, v), self.depthwise)
        return q, k, v

    def expand(self, x: Features) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v, each (b c h w): :meth:`project`, then :meth:`refine`."""
        q, k, v = expand(x, self.to_qkv, self.depthwise, 3)
        return q, k, v

    def split_heads(self, x: Features) -> Float[Tensor, "b k d n"]:
        """(b c h w) -> (b k d n), d = c/k channels a head and n pixels."""
        return x.reshape(x.shape[0], self.heads, -1, x.shape[-2] * x.shape[-1])

    def weigh(self, q: Features, k: Features, similarity: Similarity | None = None) -> Tensor:
        """How much every channel of q takes of the channels of v: (b k d d), every row sums to 1."""
        seen: Similarity = (
            self.similarity(self.split_heads(q), self.split_heads(k)) if similarity is None else similarity
        )
        return self.soften(seen)

    def soften(self, similarity: Similarity) -> Tensor:
        """The softmax of the cosines times the temperature."""
        return torch.softmax(similarity.cosine() * self.temperature, dim=-1)

    def mix(self, weights: Float[Tensor, "b k d d"], v: Features) -> Features:
        """Every channel's weighted mean of the channels of v."""
        return aggregate(weights, v)

    def attend(self, q: Features, k: Features, v: Features, similarity: Similarity | None = None) -> Features:
        """Depthwise 3x3 on q, k, v, then attention over channels.

        Args:
            q: queries (b c h w), likewise k and v.
            k: keys.
            v: values.
            similarity: of the whole picture that this is a part of; None for the part's own.
        """
        q, k, v = self.refine(q, k, v)
        return self.mix(self.weigh(q, k, similarity), v)

    def forward(self, x: Features, similarity: Similarity | None = None) -> Features:
        """Attention of ``x`` (b c h w) to itself, same shape out; ``similarity`` as in :meth:`attend`."""
        q, k, v = self.expand(x)
        return self.mix(self.weigh(q, k, similarity), v)


class TransposedAttention(ChannelAttention):
    """Restormer's MDTA: :class:`ChannelAttention`, then a 1x1 convolution.

    Args:
        channels: width c; must be a multiple of ``heads``.
        heads: number k of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads)
        self.to_out = nn.Conv2d(channels, channels, 1, bias=False)

    def mix(self, weights: Float[Tensor, "b k d d"], v: Features) -> Features:
        """As :meth:`ChannelAttention.mix`, then the 1x1 output."""
        return aggregate_into(weights, v, self.to_out)
