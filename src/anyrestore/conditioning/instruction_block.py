"""Instruction condition block (ICB), InstructIR (arXiv 2401.16468), section 3.3.

A sentence's vector opens and closes channels: ``x + block((s * x + t) * sigmoid(W e + b))`` with the vector
e, a learnt scale s and shift t per channel, and a block of the backbone.

Unusual: s and t start at zero, so that a new block adds only what its inner block makes of zeros, and the
mask gets a gradient only once they have moved.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyrestore.types import Features

#: One vector for every image of a batch (n = b), or one for all of them (n = 1).
Instruction = Float[Tensor, "n d"]


class InstructionBlock(nn.Module):
    """Routes the channels of (b c h w) by an instruction; same shape out.

    Args:
        channels: width c.
        instruction_width: numbers d in an instruction's vector.
        block: what works on the routed features, (b c h w) in and out.
    """

    def __init__(self, channels: int, instruction_width: int, block: nn.Module) -> None:
        super().__init__()
        self.instruction_width = instruction_width
        self.to_mask = nn.Linear(instruction_width, channels)
        self.scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.block = block

    def mask(self, instruction: Instruction) -> Float[Tensor, "n c"]:
        """How far every channel is open, in (0, 1)."""
        return torch.sigmoid(self.to_mask(instruction))

    def forward(self, x: Features, instruction: Instruction, *given: Any) -> Features:
        """The features with what the instruction asks for added; what else is ``given`` goes to the block."""
        routed = (x * self.scale + self.shift) * self.mask(instruction)[..., None, None]
        return x + self.block(routed, *given)
