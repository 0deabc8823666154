"""InstructIR: High-Quality Image Restoration Following Human Instructions (arXiv 2401.16468, ECCV 2024).

A NAFNet whose encoder and decoder stages each end in an instruction condition block: the vector of a
sentence, 256 numbers of length 1, opens and closes channels. What makes vectors of sentences is
:mod:`anyrestore.text.instructions`; the network never sees a word.

Nothing is open here: names and numbers are checked against the public code (MIT). Its library of models has a
middle of 12 blocks by default; the published configuration has 4, which gives the published 15.8 M.

Unusual: without a condition the vector is zero, so that every mask is the sigmoid of its bias; no trained
network has seen that. A tile may be told the picture's means beside the instruction, see
:meth:`InstructIR.share`. The caller pads odd sizes (the public code pads with zeros).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from anyrestore.conditioning.instruction_block import Instruction, InstructionBlock
from anyrestore.layers.naf import NAFBlock, NAFStage, NAFUNet
from anyrestore.layers.sharing import Mean, Shared, merge_means, share_statistics
from anyrestore.types import Features, Image


class Condition(NamedTuple):
    """An instruction, and what a whole picture's tiles share.

    What is in the sequence is not declared: shape checks would compare the axes of different levels.
    """

    instruction: Instruction | None = None  # None for zeros
    means: Sequence[Any] | None = None  # a sequence of Mean for each stage, one for each of its NAF blocks


class StageCondition(NamedTuple):
    """What a stage with an instruction condition block is given beside the features."""

    instruction: Instruction
    means: Sequence[Mean] | None


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
    # Ours, for two CPU cores: half the width and half the blocks, a sixth of the arithmetic.
    "instructir-t": Config(width=16, encoder=(1, 1, 2, 4), middle=2, decoder=(1, 1, 1, 1)),
    "instructir-tiny": Config(width=8, encoder=(1, 1, 1), middle=1, decoder=(1, 1, 1), instruction_width=256),
}


class Stage(nn.Module):
    """NAF blocks, then an instruction condition block; (b c h w) in and out."""

    def __init__(self, channels: int, depth: int, instruction_width: int) -> None:
        super().__init__()
        self.blocks = NAFStage(NAFBlock(channels) for _ in range(depth))
        self.condition = InstructionBlock(channels, instruction_width, NAFBlock(channels))

    def forward(self, x: Features, given: StageCondition) -> Features:
        """Features (b c h w) as the instruction wants them."""
        means = given.means
        if means is None:
            return self.condition(self.blocks(x), given.instruction)
        return self.condition(self.blocks(x, means[:-1]), given.instruction, means[-1])


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
            middle=lambda channels, _level: NAFStage(NAFBlock(channels) for _ in range(config.middle)),
            decoder=lambda channels, level: stage(channels, config.decoder[-1 - level]),
        )
        self.size_multiple = self.unet.size_multiple
        # Peak memory of activations per input pixel in float32: 76 bytes per channel of the top level,
        # measured at 384 x 384, and a third as much again. The instruction condition block there is the peak.
        self.bytes_per_pixel = 100.0 * config.width

    def forward(self, image: Image, condition: Instruction | Condition | None = None) -> Image:
        """Restore ``image`` (b 3 h w).

        Args:
            image: RGB, nominally in [0, 1]; height and width multiples of ``size_multiple``.
            condition: the instruction's vector (1 d) for all images, or one for each (b d); None for zeros.
                Or that and what to use of a whole picture instead of the image's own, from :meth:`share`.

        Raises:
            ValueError: the size is not a multiple of ``size_multiple``, or the vector does not fit.
        """
        instruction, means = condition if isinstance(condition, Condition) else Condition(condition)
        if instruction is None:
            instruction = torch.zeros(1, self.instruction_width, dtype=image.dtype, device=image.device)
        if instruction.shape[1] != self.instruction_width or instruction.shape[0] not in (1, image.shape[0]):
            raise ValueError(
                f"expected an instruction of shape (1, {self.instruction_width}) or one for each of "
                f"{image.shape[0]} images, came {tuple(instruction.shape)}"
            )
        stages = self.unet.stages
        parts = [None] * len(stages) if means is None else means
        # The middle has no instruction condition block.
        given = [
            StageCondition(instruction, part) if isinstance(stage, Stage) else part
            for stage, part in zip(stages, parts, strict=True)
        ]
        return self.unet(image, given)

    @torch.no_grad()
    def share(
        self, tiles: Iterable[Image], rounds: int = 2, instruction: Instruction | None = None
    ) -> Condition:
        """What a whole picture's tiles need to know of it, from (some of) its tiles.

        Args:
            tiles: tensors (1 3 h w) of one picture; sizes may differ.
            rounds: passes over the tiles, at least 1; see :mod:`anyrestore.layers.sharing`.
            instruction: the vector (1 d) under which they are seen; None for zeros.

        Returns:
            To be given to every tile as ``condition``; it holds the instruction too.
        """
        stages = [_blocks(stage) for stage in self.unet.stages]
        shared = [Shared(block.attention.mean, merge_means) for stage in stages for block in stage]
        merged = iter(share_statistics(lambda tile: self(tile, instruction), shared, tiles, rounds))
        return Condition(instruction, [[next(merged) for _ in stage] for stage in stages])


def _blocks(stage: nn.Module) -> list[NAFBlock]:
    """A stage's NAF blocks, that of its instruction condition block the last."""
    if isinstance(stage, Stage):
        return [*cast("Iterable[NAFBlock]", stage.blocks), cast("NAFBlock", stage.condition.block)]
    return list(cast("Iterable[NAFBlock]", stage))
