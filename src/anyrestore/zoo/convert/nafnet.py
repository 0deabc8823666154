"""Public NAFNet weights (the repository of arXiv 2204.04676) to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from anyrestore.errors import ModelError
from anyrestore.zoo.convert.blocks import naf_rules
from anyrestore.zoo.convert.keys import Rules, depth, fits, rename, shape

#: What NAFNet and its descendants call the same, up to the stages' blocks.
BACKBONE: Rules = [
    (r"intro\.(weight|bias)", r"unet.stem.\1"),
    (r"ending\.(weight|bias)", r"unet.head.\1"),
    (r"downs\.(\d+)\.(weight|bias)", r"unet.down.\1.\2"),
    (r"ups\.(\d+)\.0\.weight", r"unet.up.\1.0.weight"),
]
RULES: Rules = [
    *BACKBONE,
    *naf_rules(r"encoders\.(\d+)\.(\d+)", r"unet.encoder.\1.\2"),
    *naf_rules(r"middle_blks\.(\d+)", r"unet.middle.\1"),
    *naf_rules(r"decoders\.(\d+)\.(\d+)", r"unet.decoder.\1.\2"),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a NAFNet's tensors, all of them."""
    return fits(state, RULES, ("intro.weight", "ending.weight", "ups.0.0.weight"))


def from_public(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """``("nafnet", fields of its Config, our state dict)``; the tensors are the same objects.

    Raises:
        ModelError: the network is none that is built here, or is damaged.
    """
    return "nafnet", backbone_config(state), rename(state, RULES)


def backbone_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields that NAFNet's Config and those of its descendants share, read off the tensors."""
    width, channels = shape(state, "intro.weight")[:2]
    if channels != 3:
        raise ModelError(
            f"cannot convert these weights: they take {channels} channels; only RGB is built here"
        )
    levels = range(depth(state, "downs"))
    return {
        "width": width,
        "encoder": tuple(depth(state, f"encoders.{i}") for i in levels),
        "middle": depth(state, "middle_blks"),
        "decoder": tuple(depth(state, f"decoders.{i}") for i in levels),
    }
