"""The Restormer transformer block (arXiv 2111.09881): pre-norm attention and feed-forward; stages of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from anyrestore.layers.attention import Similarity, TransposedAttention
from anyrestore.layers.feedforward import GatedFeedForward
from anyrestore.layers.norm import BiasFreeLayerNorm
from anyrestore.types import Features


class TransformerBlock(nn.Module):
    """``x + MDTA(norm(x))``, then ``x + GDFN(norm(x))``; (b c h w) in and out.

    Args:
        channels: width c.
        heads: heads of the attention.
        expansion: of the feed-forward network.
        norm: makes a norm from a width.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        expansion: float = 2.0,
        *,
        norm: Callable[[int], nn.Module] = BiasFreeLayerNorm,
    ) -> None:
        super().__init__()
        self.norm_attention = norm(channels)
        self.attention = TransposedAttention(channels, heads)
        self.norm_feedforward = norm(channels)
        self.feedforward = GatedFeedForward(channels, expansion)

    def forward(self, x: Features, similarity: Similarity | None = None) -> Features:
        """Return the block's output, same shape as ``x``.

        Args:
            x: features (b c h w).
            similarity: of the channels in the whole picture that ``x`` is a part of; None for ``x``'s own.
        """
        x = x + self.attention(self.norm_attention(x), similarity)
        return x + self.feedforward(self.norm_feedforward(x))


class TransformerStage(nn.ModuleList):
    """Transformer blocks one after another; (b c h w) in and out."""

    def forward(self, x: Features, similarities: Sequence[Similarity] | None = None) -> Features:
        """Return the last block's output; ``similarities[i]``, if given, goes to block i."""
        for i, block in enumerate(self):
            x = block(x, None if similarities is None else similarities[i])
        return x


class ReducingStage(nn.Module):
    """Blocks one after another, each with a condition of its own; then, where asked for, a 1x1.

    Args:
        blocks: called as ``block(x, condition or None)``.
        channels: width c of the blocks.
        out: channels after the 1x1; None leaves it out.
    """

    def __init__(self, blocks: Iterable[nn.Module], channels: int, out: int | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.reduce = nn.Identity() if out is None else nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: Features, conditions: Sequence[Any] | None = None) -> Tensor:
        """(b c h w) -> (b out h w); ``conditions[i]``, where given, goes to block i."""
        for i, block in enumerate(self.blocks):
            x = block(x, None if conditions is None else conditions[i])
        return self.reduce(x)
