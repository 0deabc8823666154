"""Multi-Dconv head transposed attention (MDTA), Restormer (arXiv 2111.09881), section 3.1.

Attention between channels instead of pixels: its map is (c/k) x (c/k) per head, so its cost is linear in
the number of pixels. It is global: every output pixel depends, through the map, on the whole input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.types import Features


class TransposedAttention(nn.Module):
    """1x1 to q, k, v; depthwise 3x3; softmax(q k^T * temperature) over channels, applied to v; 1x1 out.

    The two halves can be called one after the other, so that a conditioning module may update
    q, k or v between the pointwise projection and the depthwise convolution.

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
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.to_out = nn.Conv2d(channels, channels, 1, bias=False)

    def project(self, x: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pointwise projections q, k, v, each (b c h w), before the depthwise convolution."""
        q, k, v = self.to_qkv(x).chunk(3, dim=1)
        return q, k, v

    def attend(self, q: Features, k: Features, v: Features) -> Features:
        """Mix channels: depthwise 3x3 on q, k, v, then attention over channels and the 1x1 output."""
        batch, _, height, width = q.shape
        heads = (batch, self.heads, -1, height * width)
        q, k, v = self.depthwise(torch.cat([q, k, v], dim=1)).chunk(3, dim=1)
        q, k, v = q.reshape(heads), k.reshape(heads), v.reshape(heads)  # b k c/k n
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attention = torch.softmax((q @ k.transpose(-2, -1)) * self.temperature, dim=-1)
        return self.to_out((attention @ v).reshape(batch, -1, height, width))

    def forward(self, x: Features) -> Features:
        """Attention of ``x`` (b c h w) to itself, same shape out."""
        return self.attend(*self.project(x))
