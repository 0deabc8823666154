"""The block and the U-Net of NAFNet, a network without activation functions (arXiv 2204.04676), section 4.

Unusual: what is nonlinear is the product of two halves of the channels (SimpleGate), not an activation. Both
branches start at zero (``scale_mixing``, ``scale_feedforward``), so a new block is the identity, and its
other parameters get a gradient only once those have moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anyrestore.layers.norm import LayerNorm
from anyrestore.layers.padding import check_multiple
from anyrestore.types import Features, Image

#: Makes a stage from (width c, level); level 0 is the image's resolution.
StageFactory = Callable[[int, int], nn.Module]


def simple_gate(x: Features) -> Tensor:
    """``a * b`` for the two halves a and b of the channels: (b 2c h w) -> (b c h w)."""
    a, b = x.chunk(2, dim=1)
    return a * b


class SimplifiedChannelAttention(nn.Module):
    """Every channel times a linear function of all channels' means over the image; no sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Features) -> Features:
        """(b c h w) in and out; global, every output pixel depends on the whole input."""
        return x * self.conv(x.mean(dim=(-2, -1), keepdim=True))


class NAFBlock(nn.Module):
    """``y = x + s1 * mix(norm(x))``, then ``y + s2 * feedforward(norm(y))``; (b c h w) in and out.

    mix: 1x1 to e c, depthwise 3x3, SimpleGate, channel attention, 1x1 back. feedforward: 1x1 to e c,
    SimpleGate, 1x1 back. The scales s1 and s2 are learnt per channel and start at zero.

    Args:
        channels: width c.
        expansion: e, of both branches; c * e must be even.
    """

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        hidden = channels * expansion
        self.norm_mixing = LayerNorm(channels, eps=1e-6)
        self.to_mixing = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.attention = SimplifiedChannelAttention(hidden // 2)
        self.from_mixing = nn.Conv2d(hidden // 2, channels, 1)
        self.scale_mixing = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.norm_feedforward = LayerNorm(channels, eps=1e-6)
        self.to_feedforward = nn.Conv2d(channels, hidden, 1)
        self.from_feedforward = nn.Conv2d(hidden // 2, channels, 1)
        self.scale_feedforward = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Features) -> Features:
        """Return the block's output, same shape as ``x``."""
        mixed = self.attention(simple_gate(self.depthwise(self.to_mixing(self.norm_mixing(x)))))
        x = x + self.scale_mixing * self.from_mixing(mixed)
        gated = simple_gate(self.to_feedforward(self.norm_feedforward(x)))
        return x + self.scale_feedforward * self.from_feedforward(gated)


class NAFUNet(nn.Module):
    """``image + head(decode(middle(encode(stem(image)))))``, skips added; knows no block.

    Down: conv 2x2 with stride 2, c -> 2c. Up: conv 1x1 c -> 2c without bias, pixel-shuffle 2.

    Args:
        width: channels at level 0; they double with every level.
        levels: how many times the resolution is halved.
        encoder: makes the encoder stages (levels 0 to ``levels`` - 1).
        middle: makes the stage at level ``levels``.
        decoder: makes the decoder stages (levels ``levels`` - 1 to 0).
    """

    def __init__(
        self, *, width: int, levels: int, encoder: StageFactory, middle: StageFactory, decoder: StageFactory
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.size_multiple = 2**levels
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.encoder = nn.ModuleList(encoder(widths[i], i) for i in range(levels))
        self.down = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in widths[:-1])
        self.middle = middle(widths[-1], levels)
        # decoder[0] works at the lowest resolution, decoder[-1] at level 0.
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)) for c in widths[:0:-1]
        )
        self.decoder = nn.ModuleList(decoder(widths[i], i) for i in reversed(range(levels)))
        self.head = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: Image, condition: Any = None) -> Image:
        """Restore ``image`` (b 3 h w), h and w multiples of ``size_multiple``.

        ``condition``, if given, is handed to every stage beside the features.
        """
        check_multiple(image, self.size_multiple)
        given = () if condition is None else (condition,)
        x = self.stem(image)
        skips: list[Tensor] = []
        for stage, down in zip(self.encoder, self.down, strict=True):
            x = stage(x, *given)
            skips.append(x)
            x = down(x)
        x = self.middle(x, *given)
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = stage(up(x) + skips.pop(), *given)
        return image + self.head(x)
