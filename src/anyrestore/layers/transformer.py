"""The Restormer transformer block (arXiv 2111.09881): pre-norm attention, then pre-norm feed-forward."""

from __future__ import annotations

from torch import nn

from anyrestore.layers.attention import Similarity, TransposedAttention
from anyrestore.layers.feedforward import GatedFeedForward
from anyrestore.layers.norm import BiasFreeLayerNorm
from anyrestore.types import Features


class TransformerBlock(nn.Module):
    """``x + MDTA(norm(x))``, then ``x + GDFN(norm(x))``; (b c h w) in and out."""

    def __init__(self, channels: int, heads: int, expansion: float = 2.0) -> None:
        super().__init__()
        self.norm_attention = BiasFreeLayerNorm(channels)
        self.attention = TransposedAttention(channels, heads)
        self.norm_feedforward = BiasFreeLayerNorm(channels)
        self.feedforward = GatedFeedForward(channels, expansion)

    def forward(self, x: Features, similarity: Similarity | None = None) -> Features:
        """Return the block's output, same shape as ``x``.

        Args:
            x: features (b c h w).
            similarity: of the channels in the whole picture that ``x`` is a part of; None for ``x``'s own.
        """
        x = x + self.attention(self.norm_attention(x), similarity)
        return x + self.feedforward(self.norm_feedforward(x))
