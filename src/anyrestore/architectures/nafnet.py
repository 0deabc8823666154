"""NAFNet: Simple Baselines for Image Restoration (arXiv 2204.04676).

A U-Net of convolutional blocks without activation functions; skips are added, not concatenated.

Nothing is open: names and numbers are checked against the public code. The papers' 17.11 M is the network for
deblurring (GoPro): width 32, nearly all blocks in the lowest encoder stage. ``nafnet-denoise`` is the one for
denoising (SIDD), width 32 as well, 29.16 M; both exist at width 64 (67.89 M and 115.98 M).

For GoPro the authors test with local means instead of global ones (TLC, arXiv 2112.04491): every pixel's mean
is that of a window of 1.5 times the training crop, ``local_window=(384, 384)`` in pixels of the image; at 1/2
of the resolution the window has half the side, and so on. The presets have none: their means are global, as
in training. Either way the weights are the same. The public code pads odd sizes with zeros; here that is the
caller's, see :mod:`anyrestore.layers.padding`.

Tiles: with global means a tile must be told the picture's, which is what :meth:`NAFNet.share` is for. With
local ones it needs nothing: a pixel's window ends half a window away (a whole one at the borders), and only
so near to its own borders does a tile differ from the picture, in every block a little further. Choose
tiles larger than the window: a smaller one has nothing but its own mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from anyrestore.layers.naf import NAFBlock, NAFStage, NAFUNet
from anyrestore.layers.sharing import Mean, Shared, merge_means, share_statistics
from anyrestore.types import Image

#: Per stage, in the order in which an image passes them, per block: the mean over the whole picture.
Condition = Sequence[Sequence[Mean]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines a NAFNet; the defaults are the papers' 17.11 M."""

    width: int = 32
    encoder: tuple[int, ...] = (1, 1, 1, 28)  # blocks at 1, 1/2, 1/4, ... of the resolution
    middle: int = 1
    decoder: tuple[int, ...] = (1, 1, 1, 1)  # from low to high resolution
    local_window: tuple[int, int] | None = None  # height and width in pixels of the image; None: global means

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        depths = (self.middle, *self.encoder, *self.decoder)
        if not 1 <= len(self.encoder) == len(self.decoder) <= 8:
            raise ValueError(f"expected as many encoder as decoder stages, 1 to 8, came {self}")
        if not 1 <= self.width <= 4096 or min(depths) < 0 or max(depths) > 256:
            raise ValueError(f"expected width in 1..4096 and depths in 0..256, came {self}")
        if self.local_window is not None and not (len(self.local_window) == 2 and min(self.local_window) > 0):
            raise ValueError(f"expected local_window as (height, width) of at least 1 pixel, came {self}")


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

        def stage(channels: int, level: int, depth: int) -> nn.Module:
            window = None
            if config.local_window is not None:
                height, width = (max(side >> level, 1) for side in config.local_window)
                window = (height, width)
            return NAFStage(NAFBlock(channels, window=window) for _ in range(depth))

        self.unet = NAFUNet(
            width=config.width,
            levels=len(config.encoder),
            encoder=lambda channels, level: stage(channels, level, config.encoder[level]),
            middle=lambda channels, level: stage(channels, level, config.middle),
            decoder=lambda channels, level: stage(channels, level, config.decoder[-1 - level]),
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: 52 bytes per channel of the top level,
        # measured at 512 x 512, and half as much again.
        self.bytes_per_pixel = 80.0 * config.width

    def forward(self, image: Image, condition: Condition | None = None) -> Image:
        """Restore ``image`` (b 3 h w).

        Args:
            image: RGB, nominally in [0, 1]; height and width multiples of ``size_multiple``.
            condition: what to use of a whole picture instead of the image's own, from :meth:`share`.

        Raises:
            ValueError: the size is not a multiple of ``size_multiple``.
        """
        return self.unet(image, condition)

    @torch.no_grad()
    def share(self, tiles: Iterable[Image], rounds: int = 2) -> Condition | None:
        """What a whole picture's tiles need to know of it, from (some of) its tiles.

        Args:
            tiles: tensors (1 3 h w) of one picture; sizes may differ.
            rounds: passes over the tiles, at least 1; see :mod:`anyrestore.layers.sharing`.

        Returns:
            To be given to every tile as ``condition``; None where the means are local, which a tile sees.
        """
        if self.config.local_window is not None:
            return None
        stages = cast("list[list[NAFBlock]]", self.unet.stages)
        shared = [Shared(block.attention.mean, merge_means) for stage in stages for block in stage]
        merged = iter(share_statistics(self, shared, tiles, rounds))
        return [[next(merged) for _ in stage] for stage in stages]
