"""LayerNorm over channels, in Restormer's bias-free form (arXiv 2111.09881).

Unusual: the mean is *not* subtracted; the features are only divided by their standard deviation.
"""

from __future__ import annotations

import torch
from torch import nn

from anyrestore.types import Features


class BiasFreeLayerNorm(nn.Module):
    """``y = weight * x / sqrt(var(x) + eps)`` with the variance over channels, about the mean.

    Args:
        channels: width c of the features.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: Features) -> Features:
        """Normalise every pixel of ``x`` (b c h w) over its channels."""
        # var = E[x^2] - E[x]^2: torch.var over the channel axis of an NCHW map is several times slower.
        mean = x.mean(dim=1, keepdim=True)
        variance = (x.square().mean(dim=1, keepdim=True) - mean.square()).clamp_min(0.0)
        return x * torch.rsqrt(variance + self.eps) * self.weight[:, None, None]
