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

    def forward(self, q: Float[Tensor, "b k d n"], k: Float[Tensor, "b k d n"]) -> Similarity:
        """Sums over the pixels."""
        return Similarity(q @ k.transpose(-2, -1), _squares(q), _squares(k))


def _squares(x: Tensor) -> Tensor:
    """Sum of squares over the last axis, in one pass; torch's stub leaves the norm untyped."""
    norm = cast("Tensor", torch.linalg.vector_norm(x, dim=-1))  # pyright: ignore[reportUnknownMemberType]
    return norm.square()


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
        q, k, v = self.to_qkv(x).chunk(3, dim=1)
        return q, k, v

    def refine(self, q: Features, k: Features, v: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Depthwise 3x3 on q, k, v."""
        q, k, v = self.depthwise(torch.cat([q, k, v], dim=1)).chunk(3, dim=1)
        return q, k, v

    def split_heads(self, x: Features) -> Float[Tensor, "b k d n"]:
        """(b c h w) -> (b k d n), d = c/k channels a head and n pixels."""
        return x.reshape(x.shape[0], self.heads, -1, x.shape[-2] * x.shape[-1])

    def mix(
        self,
        q: Float[Tensor, "b k d n"],
        k: Float[Tensor, "b k d n"],
        v: Float[Tensor, "b k d n"],
        similarity: Similarity | None = None,
    ) -> Float[Tensor, "b k d n"]:
        """Every channel of q takes a weighted mean of the channels of v."""
        seen: Similarity = self.similarity(q, k) if similarity is None else similarity
        return torch.softmax(seen.cosine() * self.temperature, dim=-1) @ v

    def attend(self, q: Features, k: Features, v: Features, similarity: Similarity | None = None) -> Features:
        """Depthwise 3x3 on q, k, v, then attention over channels.

        Args:
            q: queries (b c h w), likewise k and v.
            k: keys.
            v: values.
            similarity: of the whole picture that this is a part of; None for the part's own.
        """
        q, k, v = self.refine(q, k, v)
        mixed: Tensor = self.mix(self.split_heads(q), self.split_heads(k), self.split_heads(v), similarity)
        return mixed.reshape(q.shape)

    def forward(self, x: Features, similarity: Similarity | None = None) -> Features:
        """Attention of ``x`` (b c h w) to itself, same shape out; ``similarity`` as in :meth:`attend`."""
        return self.attend(*self.project(x), similarity)


class TransposedAttention(ChannelAttention):
    """Restormer's MDTA: :class:`ChannelAttention`, then a 1x1 convolution.

    Args:
        channels: width c; must be a multiple of ``heads``.
        heads: number k of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads)
        self.to_out = nn.Conv2d(channels, channels, 1, bias=False)

    def attend(self, q: Features, k: Features, v: Features, similarity: Similarity | None = None) -> Features:
        """As :meth:`ChannelAttention.attend`, then the 1x1 output."""
        return self.to_out(super().attend(q, k, v, similarity))
