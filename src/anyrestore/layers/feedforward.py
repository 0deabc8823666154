"""Gated-Dconv feed-forward network (GDFN), Restormer (arXiv 2111.09881), section 3.2."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from anyrestore.layers.parts import expand, multiply
from anyrestore.types import Features


class GatedFeedForward(nn.Module):
    """1x1 to two branches a and b, depthwise 3x3, ``gelu(a) * b``, 1x1 back.

    Args:
        channels: width c.
        expansion: width of each branch in units of c (2 in CEA-IR, 2.66 in Restormer).
    """

    def __init__(self, channels: int, expansion: float = 2.0) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.to_branches = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.to_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Features) -> Features:
        """Transform ``x`` (b c h w) pixel by pixel and with its 3x3 neighbours, same shape out."""
        return self.to_out(_gate(*expand(x, self.to_branches, self.depthwise, 2)))


def _gate(a: Features, b: Features) -> Features:
    return multiply(F.gelu(a), b)
