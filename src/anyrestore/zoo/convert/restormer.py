"""Public Restormer weights (the repository of arXiv 2111.09881) to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from anyrestore.errors import ModelError
from anyrestore.zoo.convert.blocks import transformer_rules
from anyrestore.zoo.convert.keys import Rules, depth, expansion, fits, rename, shape

#: Public names of the stages, in our order.
ENCODER = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
DECODER = ("decoder_level3", "decoder_level2", "decoder_level1")
#: What Restormer and its descendants call the same.
BACKBONE: Rules = [
    (r"patch_embed\.proj\.weight", "unet.stem.conv.weight"),
    *((rf"down{i + 1}_{i + 2}\.body\.0\.weight", f"unet.down.{i}.0.weight") for i in range(3)),
    *((rf"up{4 - i}_{3 - i}\.body\.0\.weight", f"unet.up.{i}.0.weight") for i in range(3)),
    *((rf"reduce_chan_level{3 - i}\.weight", f"unet.fuse.{i}.weight") for i in range(2)),
    (r"output\.weight", "unet.head.conv.weight"),
    *transformer_rules(r"refinement\.(\d+)", r"unet.refinement.\1"),
]
RULES: Rules = [
    *BACKBONE,
    *(
        rule
        for side, names in (("encoder", ENCODER), ("decoder", DECODER))
        for i, name in enumerate(names)
        for rule in transformer_rules(rf"{name}\.(\d+)", rf"unet.{side}.{i}.\1")
    ),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a Restormer's tensors, all of them."""
    return fits(state, RULES, ("patch_embed.proj.weight", "latent.0.attn.temperature", "output.weight"))


def from_public(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """``("restormer", fields of its Config, our state dict)``; the tensors are the same objects.

    Raises:
        ModelError: the network is none that is built here (grey pictures, dual-pixel defocus), or is damaged.
    """
    return "restormer", backbone_config(state), rename(state, RULES)


def backbone_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields that Restormer's Config and those of its descendants share, read off the tensors."""
    width, channels = shape(state, "patch_embed.proj.weight")[:2]
    if channels != 3 or shape(state, "output.weight")[0] != 3:
        raise ModelError(
            f"cannot convert these weights: they take {channels} channels and give "
            f"{shape(state, 'output.weight')[0]}; only RGB in and RGB out is built here"
        )
    if missing := [name for name in (*ENCODER, *DECODER, "refinement") if depth(state, name) == 0]:
        raise ModelError(f"cannot convert these weights: no tensors of {', '.join(missing)}")
    inner = [shape(state, f"{name}.0.ffn.project_out.weight") for name in ENCODER]
    return {
        "width": width,
        "encoder": tuple(depth(state, name) for name in ENCODER[:-1]),
        "latent": depth(state, "latent"),
        "decoder": tuple(depth(state, name) for name in DECODER),
        "refinement": depth(state, "refinement"),
        "heads": tuple(shape(state, f"{name}.0.attn.temperature")[0] for name in ENCODER),
        "expansion": expansion([(c, hidden) for c, hidden, *_ in inner]),
        "norm": "with_bias" if "latent.0.norm1.body.bias" in state else "bias_free",
    }
