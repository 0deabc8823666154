r"""Gated degradation adaptation (GatedDA), AnyIR (arXiv 2504.14249), algorithm 1.

Normalised features are expanded and split into gamma (the gate), beta (kept) and alpha (depthwise
convolution, scaled by how the image's channels are distributed):

    delta = sigmoid(mean + std) per channel, over all pixels
    alpha' = depthwise(alpha) * (1 + tau * delta)                        tau learnable
    out = project(input + gate(gamma) * combine(concat(beta, alpha')))   "projected", or
    out = project(input + combine(gate(gamma) * concat(beta, alpha')))   "concatenated"

Unusual: mean and deviation come from sums over pixels, which add up over tiles; see :func:`add_moments`.

The paper's pseudocode, its text and the authors' code differ. Pseudocode and code gate after the combining
convolution ("projected", with a sigmoid, gamma as wide as the input), the text and a figure before it
("concatenated", with a GELU, gamma half of the expanded channels); all are choices here. Two things of the
code are not kept: it normalises with a batch norm, where the text says layer norm (at inference that is a
scale and a shift per channel: ``norm="affine"``), and it has a tau for every input channel, of which only as
many are read as alpha has channels: only those exist here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.layers.norm import LayerNorm
from anyrestore.layers.parts import multiply, pointwise
from anyrestore.types import Features

Gating = Literal["projected", "concatenated"]
Activation = Literal["sigmoid", "gelu"]
GateNorm = Literal["layer", "affine"]


class Moments(NamedTuple):
    """What is known of the distribution of each channel; every entry is a sum over pixels."""

    pixels: Float[Tensor, "b 1"]
    sums: Float[Tensor, "b c"]
    squares: Float[Tensor, "b c"]

    def mean_and_deviation(self, eps: float = 1e-6) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """Mean and standard deviation per channel; ``eps`` is added to the variance."""
        mean = self.sums / self.pixels
        variance = (self.squares / self.pixels - mean.square()).clamp_min(0.0)
        return mean, (variance + eps).sqrt()


def add_moments(parts: Iterable[Moments]) -> Moments:
    """The moments of all parts' pixels together."""
    pixels, sums, squares = zip(*parts, strict=True)
    return Moments(*(torch.stack(items).sum(dim=0) for items in (pixels, sums, squares)))


class ChannelMoments(nn.Module):
    """Features (b c h w) -> :class:`Moments`."""

    def forward(self, x: Features) -> Moments:
        """Sums over the pixels."""
        pixels = torch.full_like(x[:, :1, 0, 0], x.shape[-2] * x.shape[-1])
        return Moments(pixels, x.sum(dim=(-2, -1)), x.square().sum(dim=(-2, -1)))


class Affine(nn.Module):
    """``weight * x + bias`` per channel: what a trained batch norm does at inference."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Features) -> Features:
        """Scale and shift ``x`` (b c h w)."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class GatedAdaptation(nn.Module):
    """GatedDA: (b c h w) in and out.

    Args:
        channels: width c.
        expansion: width of the expanded features in units of c.
        shares: of alpha, beta and gamma in the expanded features; a share of 0 leaves that part out.
        kernel: size of alpha's depthwise convolution.
        gating: where gamma gates, see above. "projected" needs gamma as wide as the input, "concatenated" as
            wide as beta and alpha together.
        activation: of the gate.
        norm: "layer" or "affine".
    """

    def __init__(
        self,
        channels: int,
        expansion: float = 8 / 3,
        shares: tuple[float, float, float] = (1 / 4, 3 / 8, 3 / 8),
        *,
        kernel: int = 7,
        gating: Gating = "projected",
        activation: Activation = "sigmoid",
        norm: GateNorm = "layer",
    ) -> None:
        super().__init__()
        hidden = round(expansion * channels)
        alpha, beta, gamma = (round(share * hidden) for share in shares)
        needed = channels if gating == "projected" else alpha + beta
        if alpha + beta < 1 or (shares[2] > 0 and abs(gamma - needed) > 1):
            raise ValueError(
                f"expected a gate of {needed} channels for {gating!r} gating of {channels} channels, "
                f"came {gamma} of {hidden} expanded channels, {alpha} for alpha and {beta} for beta; "
                "choose another expansion or other shares"
            )
        self.widths = (needed if shares[2] > 0 else 0, beta, alpha)  # in the order in which they are split
        self.gating = gating
        self.activation = torch.sigmoid if activation == "sigmoid" else F.gelu
        self.norm = LayerNorm(channels) if norm == "layer" else Affine(channels)
        self.expand = nn.Conv2d(channels, sum(self.widths), 1, bias=False)
        self.combine = nn.Conv2d(alpha + beta, channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.moments = ChannelMoments() if alpha else None
        if alpha:
            self.depthwise = nn.Conv2d(alpha, alpha, kernel, padding=kernel // 2, groups=alpha, bias=False)
            self.tau = nn.Parameter(torch.ones(alpha))

    def scale(self, moments: Moments) -> Float[Tensor, "b a"]:
        """``1 + tau * delta`` for every channel of alpha.

        Alpha's channel i takes the statistics of the normalised input's channel i modulo c.
        """
        mean, deviation = moments.mean_and_deviation()
        delta = torch.sigmoid(mean + deviation)
        count = self.tau.shape[0]
        return 1 + self.tau * delta.repeat(1, -(-count // delta.shape[1]))[:, :count]

    def forward(self, x: Features, moments: Moments | None = None) -> Features:
        """Adapt ``x``; ``moments`` of the whole picture that ``x`` is a part of, None for its own."""
        normed = self.norm(x)
        gamma, beta, alpha = pointwise(normed, self.expand, self.widths)
        if self.moments is not None:
            seen: Moments = self.moments(normed) if moments is None else moments
            alpha = self.depthwise(alpha) * self.scale(seen)[..., None, None].to(alpha.dtype)
        if not self.widths[0]:
            gated = self._combine(beta, alpha)
        elif self.gating == "projected":
            gated = multiply(self.activation(gamma), self._combine(beta, alpha))
        else:
            gate = self.activation(gamma)
            of_beta, of_alpha = torch.split(gate, list(self.widths[1:]), dim=1)
            gated = self._combine(of_beta * beta, of_alpha * alpha)
        return self.project(x + gated)

    def _combine(self, beta: Tensor, alpha: Tensor) -> Tensor:
        """The 1x1 convolution of both, without their concatenation; either may have no channels."""
        parts = [
            F.conv2d(part, weight)
            for part, weight in zip(
                (beta, alpha), torch.split(self.combine.weight, list(self.widths[1:]), dim=1), strict=True
            )
            if part.shape[1]
        ]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]
