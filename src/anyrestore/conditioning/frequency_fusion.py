"""Spatial-frequency fusion of two branches, AnyIR (arXiv 2504.14249), algorithm 2.

In space each branch receives the sigmoid of the other, and the two are concatenated; "in frequency" their
real Fourier transforms are added, transformed back and repeated over the channels; a scalar weighs the two.

Unusual: the Fourier transform is linear, so irfft2(rfft2(a) + rfft2(b)) = a + b, exactly. The sum is what
stands here; no transform is made, and a test shows that it is the same.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.layers.parts import is_channels_last
from anyrestore.types import Features

Fusion = Literal["learnable", "fixed", "spatial", "frequency", "none"]
Repeat = Literal["interleave", "tile"]


class SpatialFrequencyFusion(nn.Module):
    """``weight * spatial + (1 - weight) * frequency``: two branches of c channels -> 2c channels.

    Args:
        fusion: "learnable" (weight is a parameter from 0.5 on), "fixed" (0.5), "spatial" (1), "frequency"
            (0), or "none": the branches are concatenated as they are.
        repeat: how the sum's c channels become 2c: a a b b c c ("interleave", the authors' code), or
            a b c a b c ("tile", which puts every channel beside its own branches).
    """

    weight: Tensor

    def __init__(self, fusion: Fusion = "learnable", repeat: Repeat = "interleave") -> None:
        super().__init__()
        self.fusion = fusion
        self.repeat = repeat
        if fusion == "learnable":
            self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, attended: Features, gated: Features) -> Float[Tensor, "b c2 h w"]:
        """Fuse the branch of attention and the gated one, each (b c h w)."""
        if self.fusion == "none":
            return torch.cat([attended, gated], dim=1)
        if self.fusion == "spatial":
            return self.spatial(attended, gated)
        if self.fusion == "frequency":
            return self.frequency(attended, gated)
        weight = self.weight if self.fusion == "learnable" else 0.5
        frequency = self.frequency(attended, gated)
        return frequency + weight * (self.spatial(attended, gated) - frequency)

    def spatial(self, attended: Features, gated: Features) -> Float[Tensor, "b c2 h w"]:
        """Each branch plus the sigmoid of the other, concatenated."""
        return torch.cat([attended + gated.sigmoid(), gated + attended.sigmoid()], dim=1)

    def frequency(self, attended: Features, gated: Features) -> Float[Tensor, "b c2 h w"]:
        """The inverse transform of the sum of the transforms, which is the sum; then repeated."""
        total = attended + gated
        if self.repeat == "interleave":
            if is_channels_last(total):  # repeat_interleave would write it channel by channel
                pixels = total.permute(0, 2, 3, 1).unsqueeze(-1).expand(-1, -1, -1, -1, 2)
                return pixels.flatten(3).permute(0, 3, 1, 2)
            return total.repeat_interleave(2, dim=1)
        return torch.cat([total, total], dim=1)
