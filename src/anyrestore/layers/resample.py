"""Changing resolution by factors of two, and the ways in and out of a U-Net.

Down, Up and PatchEmbed are Restormer's (arXiv 2111.09881). A stem at reduced resolution (pixel-unshuffle
before the first convolution, as in FFDNet, arXiv 1710.04026) is the same embedding on rearranged pixels.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.types import Features, Image


class Down(nn.Sequential):
    """Conv 3x3 c -> c/2, pixel-unshuffle 2: (b c h w) -> (b 2c h/2 w/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


class Up(nn.Sequential):
    """Conv 3x3 c -> 2c, pixel-shuffle 2: (b c h w) -> (b c/2 2h 2w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))


class PatchEmbed(nn.Module):
    """RGB image -> features: pixel-unshuffle by ``scale`` (1 does nothing), conv 3x3 to ``channels``."""

    def __init__(self, channels: int, scale: int = 1) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(scale)
        self.conv = nn.Conv2d(3 * scale**2, channels, 3, padding=1, bias=False)

    def forward(self, image: Image) -> Float[Tensor, "b c h2 w2"]:
        """(b 3 h w) -> (b channels h/scale w/scale)."""
        return self.conv(self.unshuffle(image))


class ToImage(nn.Module):
    """Features -> RGB residual: conv 3x3, pixel-shuffle by ``scale`` (1 does nothing)."""

    def __init__(self, channels: int, scale: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 3 * scale**2, 3, padding=1, bias=False)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Features) -> Float[Tensor, "b 3 h2 w2"]:
        """(b channels h w) -> (b 3 h*scale w*scale)."""
        return self.shuffle(self.conv(x))
