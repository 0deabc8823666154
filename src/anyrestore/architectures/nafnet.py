"""NAFNet: Simple Baselines for Image Restoration (arXiv 2204.04676).

A U-Net of convolutional blocks without activation functions; skips are added, not concatenated.

Nothing is open: names and numbers are checked against the public code. The papers' 17.11 M is the network for
deblurring (GoPro): width 32, nearly all blocks in the lowest encoder stage. ``nafnet-denoise`` is the one for
denoising (SIDD), width 32 as well, 29.16 M; both exist at width 64 (67.89 M and 115.98 M).

Left out: for GoPro the authors test with local means (TLC, arXiv 2112.04491: every mean is taken over a
window of 1.5 times the training crop) instead of global ones. Here the means are global, as in training;
tiles, which see their own means, are nearer to TLC than the whole picture is. The public code pads odd sizes
with zeros; here that is the caller's, see :mod:`anyrestore.layers.padding`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from anyrestore.layers.naf import NAFBlock, NAFUNet
from anyrestore.types import Image


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines a NAFNet; the defaults are the papers' 17.11 M."""

    width: int = 32
    encoder: tuple[int, ...] = (1, 1, 1, 28)  # blocks at 1, 1/2, 1/4, ... of the resolution
    middle: int = 1
    decoder: tuple[int, ...] = (1, 1, 1, 1)  # from low to high resolution

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        depths = (self.middle, *self.encoder, *self.decoder)
        if not 1 <= len(self.encoder) == len(self.decoder) <= 8:
            raise ValueError(f"expected as many encoder as decoder stages, 1 to 8, came {self}")
        if not 1 <= self.width <= 4096 or min(depths) < 0 or max(depths) > 256:
            raise ValueError(f"expected width in 1..4096 and depths in 0..256, came {self}")


PRESETS: dict[str, Config] = {
    "nafnet": Config(),
    "nafnet-denoise": Config(encoder=(2, 2, 4, 8), middle=12, decoder=(2, 2, 2, 2)),
    "nafnet-tiny": Config(width=8, encoder=(1, 1, 1), decoder=(1, 1, 1)),
}


class NAFNet(nn.Module):
    """NAFNet. ``model(image) -> image``; height and width must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

        def stage(channels: int, depth: int) -> nn.Module:
            return nn.Sequential(*(NAFBlock(channels) for _ in range(depth)))

        self.unet = NAFUNet(
            width=config.width,
            levels=len(config.encoder),
            encoder=lambda channels, level: stage(channels, config.encoder[level]),
            middle=lambda channels, _level: stage(channels, config.middle),
            decoder=lambda channels, level: stage(channels, config.decoder[-1 - level]),
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: 52 bytes per channel of the top level,
        # measured at 512 x 512, and half as much again.
        self.bytes_per_pixel = 80.0 * config.width

    def forward(self, image: Image, condition: None = None) -> Image:
        """Restore ``image`` (b 3 h w).

        Args:
            image: RGB, nominally in [0, 1]; height and width multiples of ``size_multiple``.
            condition: nothing; NAFNet takes none.

        Raises:
            ValueError: the size is not a multiple of ``size_multiple``.
        """
        del condition
        return self.unet(image)
