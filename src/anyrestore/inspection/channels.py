"""Numbers per channel: InstructIR's masks and NAFNet's channel attention.

- The mask of an instruction condition block (arXiv 2401.16468): how far the sentence opens each channel.
- Simplified channel attention (arXiv 2204.04676): the factor of each channel, a linear function of means.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from anyrestore.conditioning.instruction_block import InstructionBlock
from anyrestore.inspection.probes import Ear, Look, Probe, places, plain
from anyrestore.inspection.views import Strip, View
from anyrestore.layers.naf import SimplifiedChannelAttention


def _find_masks(model: nn.Module) -> list[Probe]:
    return [
        Probe(block, "", (Ear(module.to_mask, _opening),), partial(_make, "instruction", block))
        for block, module in places(model, InstructionBlock)
    ]


def _find_factors(model: nn.Module) -> list[Probe]:
    return [
        Probe(block, "", (Ear(module.conv, _factor),), partial(_make, "factors", block))
        for block, module in places(model, SimplifiedChannelAttention)
    ]


def _opening(_inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return plain(output[0].sigmoid())


def _factor(_inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return plain(output[0].flatten())


def _make(look: str, block: str, heard: list[Any]) -> list[View]:
    masks = look == "instruction"
    unit = "opening" if masks else "factor"
    return [Strip(look=look, block=block, values=heard[0], unit=unit, signed=not masks)]


MASKS = Look("instruction", "Channels that the instruction opens (1) and closes (0)", _find_masks, every=True)
FACTORS = Look("factors", "Channel attention: the factor of every channel", _find_factors)
