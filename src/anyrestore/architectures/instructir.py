"""InstructIR: High-Quality Image Restoration Following Human Instructions (arXiv 2401.16468, ECCV 2024).

A NAFNet whose encoder and decoder stages each end in an instruction condition block: the vector of a
sentence, 256 numbers of length 1, opens and closes channels. What makes vectors of sentences is
:mod:`anyrestore.text.instructions`; the network never sees a word.

Nothing is open here: names and numbers are checked against the public code (MIT). Its library of models has a
middle of 12 blocks by default; the published configuration has 4, which gives the published 15.8 M.

Unusual: without a condition the vector is zero, so that every mask is the sigmoid of its bias; no trained
network has seen that. Like NAFNet's, the means behind the channel attention are those of the tile, and the
caller pads odd sizes (the public code pads with zeros).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from anyrestore.conditioning.instruction_block import Instruction, InstructionBlock
from anyrestore.layers.naf import NAFBlock, NAFUNet
from anyrestore.types import Features, Image


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that defines an InstructIR network; the defaults are the published one."""

    width: int = 32
    encoder: tuple[int, ...] = (2, 2, 4, 8)  # NAF blocks at 1, 1/2, 1/4, ... of the resolution
    middle: int = 4
    decoder: tuple[int, ...] = (2, 2, 2, 2)  # from low to high resolution
    instruction_width: int = 256

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        depths = (self.middle, *self.encoder, *self.decoder)
        if not 1 <= len(self.encoder) == len(self.decoder) <= 8:
            raise ValueError(f"expected as many encoder as decoder stages, 1 to 8, came {self}")
        widths = (self.width, self.instruction_width)
        if min(widths) < 1 or max(widths) > 4096 or min(depths) < 0 or max(depths) > 256:
            raise ValueError(f"expected widths in 1..4096 and depths in 0..256, came {self}")


PRESETS: dict[str, Config] = {
    "instructir": Config(),
    "instructir-tiny": Config(width=8, encoder=(1, 1, 1), middle=1, decoder=(1, 1, 1), instruction_width=256),
}


class Blocks(nn.ModuleList):
    """NAF blocks one after another, deaf to instructions."""

    def forward(self, x: Features, instruction: Instruction | None = None) -> Features:
        """(b c h w) in and out."""
        del instruction
        for block in self:
            x = block(x)
        return x


class Stage(nn.Module):
    """NAF blocks, then an instruction condition block; (b c h w) in and out."""

    def __init__(self, channels: int, depth: int, instruction_width: int) -> None:
        super().__init__()
        self.blocks = Blocks(NAFBlock(channels) for _ in range(depth))
        self.condition = InstructionBlock(channels, instruction_width, NAFBlock(channels))

    def forward(self, x: Features, instruction: Instruction) -> Features:
        """Features (b c h w) as the instruction wants them."""
        return self.condition(self.blocks(x), instruction)


class InstructIR(nn.Module):
    """InstructIR. ``model(image, instruction) -> image``; sides must be multiples of ``size_multiple``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.instruction_width = config.instruction_width

        def stage(channels: int, depth: int) -> nn.Module:
            return Stage(channels, depth, config.instruction_width)

        self.unet = NAFUNet(
            width=config.width,
            levels=len(config.encoder),
            encoder=lambda channels, level: stage(channels, config.encoder[level]),
            middle=lambda channels, _level: Blocks(NAFBlock(channels) for _ in range(config.middle)),
            decoder=lambda channels, level: stage(channels, config.decoder[-1 - level]),
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: as NAFNet's, which has the same top level.
        self.bytes_per_pixel = 80.0 * config.width

    def forward(self, image: Image, condition: Instruction | None = None) -> Image:
        """Restore ``image`` (b 3 h w).

        Args:
            image: RGB, nominally in [0, 1]; height and width multiples of ``size_multiple``.
            condition: the instruction's vector (1 d) for all images, or one for each (b d); None for zeros.

        Raises:
            ValueError: the size is not a multiple of ``size_multiple``, or the vector does not fit.
        """
        if condition is None:
            condition = torch.zeros(1, self.instruction_width, dtype=image.dtype, device=image.device)
        if condition.shape[1] != self.instruction_width or condition.shape[0] not in (1, image.shape[0]):
            raise ValueError(
                f"expected an instruction of shape (1, {self.instruction_width}) or one for each of "
                f"{image.shape[0]} images, came {tuple(condition.shape)}"
            )
        return self.unet(image, condition)
