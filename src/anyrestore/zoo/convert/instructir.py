"""Public InstructIR weights (the repository of arXiv 2401.16468) to ours: the image network only.

The text head is a file of its own there, and the two belong together: the image network understands only the
vectors of the head that it was trained with, whose sentence encoder is BGE-micro-v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from anyrestore.zoo.convert.blocks import naf_rules
from anyrestore.zoo.convert.keys import Rules, fits, rename, shape
from anyrestore.zoo.convert.nafnet import BACKBONE
from anyrestore.zoo.convert.nafnet import backbone_config as naf_config

RULES: Rules = [
    *BACKBONE,
    *naf_rules(r"encoders\.(\d+)\.(\d+)", r"unet.encoder.\1.blocks.\2"),
    *naf_rules(r"middle_blks\.(\d+)", r"unet.middle.\1"),
    *naf_rules(r"decoders\.(\d+)\.(\d+)", r"unet.decoder.\1.blocks.\2"),
    *(
        rule
        for public, side in (("enc_cond", "encoder"), ("dec_cond", "decoder"))
        for ours in (rf"unet.{side}.\1.condition",)
        for rule in (
            (rf"{public}\.(\d+)\.fc\.(weight|bias)", rf"{ours}.to_mask.\2"),
            (rf"{public}\.(\d+)\.gamma", f"{ours}.scale"),
            (rf"{public}\.(\d+)\.beta", f"{ours}.shift"),
            *naf_rules(rf"{public}\.(\d+)\.block", f"{ours}.block"),
        )
    ),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of an InstructIR's tensors, all of them."""
    return fits(state, RULES, ("intro.weight", "ending.weight", "enc_cond.0.fc.weight"))


def from_public(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """``("instructir", fields of its Config, our state dict)``; the tensors are the same objects.

    Raises:
        ModelError: the network is none that is built here, or is damaged.
    """
    config = naf_config(state) | {"instruction_width": shape(state, "enc_cond.0.fc.weight")[1]}
    return "instructir", config, rename(state, RULES)
