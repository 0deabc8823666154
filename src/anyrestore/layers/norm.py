"""LayerNorm over channels, plain and in Restormer's bias-free form (arXiv 2111.09881).

Unusual: the bias-free form does *not* subtract the mean; it only divides by the standard deviation.
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


class LayerNorm(nn.Module):
    """``y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias`` over channels.

    Args:
        channels: width c of the features.
        eps: added to the variance; 1e-5 in Restormer, 1e-6 in NAFNet (arXiv 2204.04676).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Features) -> Features:
        """Normalise every pixel of ``x`` (b c h w) over its channels."""
        x = x - x.mean(dim=1, keepdim=True)
        scale = torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self.eps)
        return x * scale * self.weight[:, None, None] + self.bias[:, None, None]
