"""LayerNorm over channels, plain and in Restormer's bias-free form (arXiv 2111.09881).

Unusual: the bias-free form does *not* subtract the mean; it only divides by the standard deviation.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from anyrestore.layers.parts import is_channels_last, multiply
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
        variance = (_mean_square(x) - mean.square()).clamp_min(0.0)
        scaled = x * torch.rsqrt(variance + self.eps)
        return multiply(scaled, self.weight[:, None, None])


def _mean_square(x: Features) -> Tensor:
    """Over channels; of a pixel whose channels lie side by side in one pass, without a map of squares."""
    if not is_channels_last(x) or x.dtype != torch.float32:  # a rounded norm, squared, is rounded twice
        return x.square().mean(dim=1, keepdim=True)
    norm = cast("Tensor", torch.linalg.vector_norm(x, dim=1, keepdim=True))  # pyright: ignore[reportUnknownMemberType]
    return norm.square() / x.shape[1]


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
        weight, bias = self.weight, self.bias
        if is_channels_last(x) and x.dtype == weight.dtype == torch.float32:
            # torch's own takes the last axis. In bfloat16 its gradient of the weight is off by percents.
            pixels = x.permute(0, 2, 3, 1)
            return torch.native_layer_norm(pixels, weight.shape, weight, bias, self.eps)[0].permute(
                0, 3, 1, 2
            )
        x = x - x.mean(dim=1, keepdim=True)
        scale = torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self.eps)
        return multiply(multiply(x, scale), weight[:, None, None]) + bias[:, None, None]
