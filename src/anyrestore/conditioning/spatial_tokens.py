"""Global spatial tokens (GST): maps of where in the picture to look, as extra channels of attention.

ExDA (ICLR 2026), algorithm 1. Features are pooled by a stride, a 1x1 convolution makes K maps per head, each
is a softmax over all positions and is brought back to full resolution. Attention between channels then takes
them as K more channels of q, k and v.

Unusual: the softmax is written with its denominator apart, as a *log mass*. Those of several tiles add up to
that of the whole picture, so that tiles can share them; see :func:`merge_masses`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.types import Features

#: Logarithm of a softmax's denominator, per map.
Mass = Float[Tensor, "b m"]


def merge_masses(parts: Iterable[Mass]) -> Mass:
    """The log mass of all parts' positions together."""
    return torch.stack(list(parts)).logsumexp(dim=0)


class SpatialMass(nn.Module):
    """Scores (b m h w) of m maps -> their log mass."""

    def forward(self, scores: Float[Tensor, "b m h w"]) -> Mass:
        """Sum over all positions."""
        return scores.flatten(2).logsumexp(dim=-1)


class SpatialTokens(nn.Module):
    """Features (b c h w) -> maps (b k t n): t tokens for each of k heads, positive, over n = h w pixels.

    Args:
        channels: width c.
        heads: heads k of the attention.
        tokens: tokens per head; the paper's K, not given there: 1.
        stride: of the average pooling (2 in the paper).
    """

    def __init__(self, channels: int, heads: int, tokens: int = 1, stride: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.stride = stride
        self.to_scores = nn.Conv2d(channels, heads * tokens, 1, bias=False)
        self.mass = SpatialMass()

    def pool(self, x: Features) -> Tensor:
        """Means of squares of ``stride`` pixels; rounded up: 8 x 8 pixels are one at the lowest level."""
        return F.avg_pool2d(x, self.stride, ceil_mode=True)

    def forward(self, x: Features, mass: Mass | None = None) -> Float[Tensor, "b k t n"]:
        """Maps of ``x``; ``mass`` of the whole picture that ``x`` is a part of, None for its own."""
        scores = self.to_scores(self.pool(x))
        total: Mass = self.mass(scores) if mass is None else mass
        maps = (scores - total[..., None, None]).exp()
        maps = F.interpolate(maps, size=x.shape[-2:], mode="bilinear")
        return maps.reshape(x.shape[0], self.heads, -1, x.shape[-2] * x.shape[-1])
