"""The block and the U-Net of NAFNet, a network without activation functions (arXiv 2204.04676), section 4.

Unusual: what is nonlinear is the product of two halves of the channels (SimpleGate), not an activation. Both
branches start at zero (``scale_mixing``, ``scale_feedforward``), so a new block is the identity, and its
other parameters get a gradient only once those have moved.

The channel attention can take local means instead of global ones: the test-time local converter (TLC, arXiv
2112.04491). A network trained on crops has seen means over crops; over a whole picture they mean something
else. So every pixel gets the mean of a window of its own, as large as a crop or somewhat larger. Windows lie
inside the picture: near a border all pixels get the mean of the last window that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.layers.norm import LayerNorm
from anyrestore.layers.padding import check_multiple
from anyrestore.layers.parts import expand, multiply, pointwise
from anyrestore.layers.sharing import GlobalMean, Mean
from anyrestore.types import Features, Image

#: Makes a stage from (width c, level); level 0 is the image's resolution.
StageFactory = Callable[[int, int], nn.Module]


def simple_gate(a: Features, b: Features) -> Tensor:
    """``a * b``, the two halves of the channels; nobody else may hold ``a``, see :func:`multiply`."""
    return multiply(a, b)


def window_means(x: Features, window: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """The means of all windows that lie inside ``x`` (b c h w), by rows and columns.

    Sums of half as many neighbours make those of a window, in float32: the cost grows with the logarithm of
    the window, and no digits are lost to the size of the picture, as they are in differences of running sums.

    Args:
        x: features.
        window: (height, width) in pixels of ``x``; what is larger than ``x`` is cut to it.
    """
    height, width = (min(side, size) for side, size in zip(window, x.shape[-2:], strict=True))
    sums = _sliding_sums(_sliding_sums(x.float(), height, -2), width, -1)
    return (sums / (height * width)).to(x.dtype)


def _sliding_sums(x: Tensor, length: int, axis: int) -> Tensor:
    """Sums of every ``length`` neighbours along ``axis``, one for each place where they fit."""
    if length == 1:
        return x
    half, count = length // 2, x.shape[axis] - length + 1
    sums = _sliding_sums(x, half, axis)
    sums = sums.narrow(axis, 0, count) + sums.narrow(axis, half, count)
    return sums + x.narrow(axis, length - 1, count) if length % 2 else sums


class SimplifiedChannelAttention(nn.Module):
    """Every channel times a linear function of all channels' means; no sigmoid.

    Args:
        channels: width c.
        window: (height, width) of the windows over which means are taken, in pixels of the features; None for
            the mean over the image.
    """

    def __init__(self, channels: int, window: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.window = window
        self.mean = GlobalMean()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Features, mean: Mean | None = None) -> Features:
        """(b c h w) in and out; without a window every output pixel depends on the whole input.

        Args:
            x: features; where they are not larger than the window, its mean is the image's.
            mean: of the whole picture that ``x`` is a part of; None for ``x``'s own, or its windows'.
        """
        return x * self.factors(x, mean)

    def factors(self, x: Features, mean: Mean | None = None) -> Float[Tensor, "b c h2 w2"]:
        """What :meth:`forward` multiplies ``x`` with: one number per channel, or a map of them."""
        height, width = x.shape[-2:]
        if mean is None and self.window is not None and (height > self.window[0] or width > self.window[1]):
            weights = self.conv(window_means(x, self.window))
            below, right = height - weights.shape[-2], width - weights.shape[-1]
            borders = (right // 2, right - right // 2, below // 2, below - below // 2)
            return F.pad(weights, borders, mode="replicate")
        seen: Mean = self.mean(x) if mean is None else mean
        return self.conv(seen.value[..., None, None])


class NAFBlock(nn.Module):
    """``y = x + s1 * mix(norm(x))``, then ``y + s2 * feedforward(norm(y))``; (b c h w) in and out.

    mix: 1x1 to e c, depthwise 3x3, SimpleGate, channel attention, 1x1 back. feedforward: 1x1 to e c,
    SimpleGate, 1x1 back. The scales s1 and s2 are learnt per channel and start at zero.

    Args:
        channels: width c.
        expansion: e, of both branches; c * e must be even.
        window: of the channel attention, see :class:`SimplifiedChannelAttention`.
    """

    def __init__(self, channels: int, expansion: int = 2, window: tuple[int, int] | None = None) -> None:
        super().__init__()
        hidden = channels * expansion
        self.norm_mixing = LayerNorm(channels, eps=1e-6)
        self.to_mixing = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.attention = SimplifiedChannelAttention(hidden // 2, window)
        self.from_mixing = nn.Conv2d(hidden // 2, channels, 1)
        self.scale_mixing = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.norm_feedforward = LayerNorm(channels, eps=1e-6)
        self.to_feedforward = nn.Conv2d(channels, hidden, 1)
        self.from_feedforward = nn.Conv2d(hidden // 2, channels, 1)
        self.scale_feedforward = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Features, mean: Mean | None = None) -> Features:
        """Return the block's output, same shape as ``x``; ``mean`` is the channel attention's, if given."""
        gated = simple_gate(*expand(self.norm_mixing(x), self.to_mixing, self.depthwise, 2))
        factors = self.attention.factors(gated, mean)
        x = x + _scaled(self.from_mixing, self.scale_mixing, gated, factors)
        widths = [self.from_feedforward.in_channels] * 2
        gated = simple_gate(*pointwise(self.norm_feedforward(x), self.to_feedforward, widths))
        return x + _scaled(self.from_feedforward, self.scale_feedforward, gated)


def _scaled(conv: nn.Conv2d, scale: Tensor, x: Features, factors: Tensor | None = None) -> Features:
    """``scale * conv(factors * x)`` of a 1x1 with bias; what can be multiplied into its weight is."""
    scale = scale.flatten()
    weight, bias = conv.weight * scale[:, None, None, None], cast("Tensor", conv.bias) * scale
    if factors is not None:
        if factors.shape[0] * factors.shape[-2] * factors.shape[-1] == 1:
            weight = weight * factors
        else:
            x = multiply(x, factors)
    return F.conv2d(x, weight, bias)


class NAFStage(nn.ModuleList):
    """NAF blocks one after another; (b c h w) in and out."""

    def forward(self, x: Features, means: Sequence[Mean] | None = None) -> Features:
        """Return the last block's output; ``means[i]``, if given, goes to block i."""
        for i, block in enumerate(self):
            x = block(x, None if means is None else means[i])
        return x


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

    @property
    def stages(self) -> list[nn.Module]:
        """Every stage, in the order in which an image passes them."""
        return [*self.encoder, self.middle, *self.decoder]

    def forward(self, image: Image, conditions: Sequence[Any] | None = None) -> Image:
        """Restore ``image`` (b 3 h w), h and w multiples of ``size_multiple``.

        ``conditions[i]``, if given, is handed to ``stages[i]`` beside the features.
        """
        check_multiple(image, self.size_multiple)
        given = iter([None] * len(self.stages) if conditions is None else conditions)
        x = self.stem(image)
        skips: list[Tensor] = []
        for stage, down in zip(self.encoder, self.down, strict=True):
            x = stage(x, next(given))
            skips.append(x)
            x = down(x)
        x = self.middle(x, next(given))
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = stage(up(x) + skips.pop(), next(given))
        return image + self.head(x)
