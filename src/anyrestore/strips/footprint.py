"""How much memory a strip-wise pass takes, known before it begins.

Two parts. The maps: one a level, c 2^i channels at 1/2^i of the resolution, so that a level takes half of the
one above and all of them less than twice the top one. And what every thread holds of a strip while it works:
the line buffer, what the depthwise convolution makes of it, the gate, the norm. A strip has as many rows as
`STRIP_BYTES` allows, and two at the least, so the second part does not grow with the height of the picture.
Of a map in a file, the rows of a few strips are in memory too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import cast

from torch import nn

from anyrestore.layers.feedforward import GatedFeedForward
from anyrestore.layers.unet import UNet
from anyrestore.strips.field import BYTES

STRIP_BYTES = 2 << 20
"""Of the widest intermediate of a strip: about what an L2 cache holds."""
RELEASED = 8
"""Strips after which rows are let go that lie in a file."""
FIXED_BYTES = 64 << 20
"""What libraries need the first time, and a picture of any size: code, packed weights, thread stacks."""
MAPPED_BYTES = 32 << 20
"""What is mapped beside the rows at work where maps, and then the picture too, lie in files."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One resolution of the U-Net.

    Attributes:
        shape: (h w c) of its map.
        rows: of a strip, even.
        strip: bytes that a thread holds while it works on one.
        mapped: bytes of the map that a thread has in memory, if the map is in a file.
    """

    shape: tuple[int, int, int]
    rows: int
    strip: int
    mapped: int

    @property
    def bytes(self) -> int:
        """Of the map."""
        return prod(self.shape) * BYTES


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a pass over a picture of some size needs.

    Attributes:
        levels: from the top resolution to the latent's.
        top: channels of the decoder's map at the top.
    """

    levels: tuple[Level, ...]
    top: int

    @classmethod
    def of(cls, model: nn.Module, height: int, width: int) -> Footprint:
        """For a network and a padded picture's size."""
        unet = cast("UNet", model.unet)
        scale = unet.stem.unshuffle.downscale_factor
        channels, top = unet.stem.conv.out_channels, unet.head.conv.in_channels
        feedforwards = [module for module in model.modules() if isinstance(module, GatedFeedForward)]
        # Of the two branches together, in units of the block's width.
        wide = max(f.to_branches.out_channels / f.to_branches.in_channels for f in feedforwards)
        levels = list[Level]()
        for i in range(unet.levels):
            h, w, c = height // scale >> i, width // scale >> i, channels << i
            widest = max(c, top) if i == 0 else c
            branches = int(max(wide, 2.0) * widest)
            rows = max(STRIP_BYTES // (BYTES * w * branches) // 2 * 2, 2)
            # The line buffer, the convolution's result, the gate, and the norm's two temporaries; the
            # convolutions between levels take less.
            values = (2 * rows + 2) * branches + rows * (branches // 2) + 3 * (rows + 2) * widest
            mapped = min(RELEASED * rows + 2, h) * widest
            levels.append(
                Level(shape=(h, w, c), rows=rows, strip=values * w * BYTES, mapped=mapped * w * BYTES)
            )
        return cls(levels=tuple(levels), top=top)

    def maps(self, elsewhere: Collection[int] = ()) -> int:
        """Bytes of all maps at once, but for those of some levels."""
        own = [0 if i in elsewhere else level.bytes for i, level in enumerate(self.levels)]
        if self.top == self.levels[0].shape[2] or 0 in elsewhere:
            return sum(own)
        # A wider map at the top is filled while the skip and the level below still stand.
        return max(sum(own), own[0] + own[1] + own[0] * self.top // self.levels[0].shape[2])

    def total(self, threads: int, elsewhere: Collection[int] = ()) -> int:
        """Bytes at the most, with so many threads; maps of the levels ``elsewhere`` are not in memory."""
        held = (level.strip + (level.mapped if i in elsewhere else 0) for i, level in enumerate(self.levels))
        fixed = FIXED_BYTES + (MAPPED_BYTES if elsewhere else 0)
        return self.maps(elsewhere) + threads * max(held) + fixed
