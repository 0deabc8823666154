"""Public PromptIR weights (the repository of arXiv 2306.13090) to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from anyrestore.zoo.convert.blocks import transformer_rules
from anyrestore.zoo.convert.keys import Rules, fits, rename, shape
from anyrestore.zoo.convert.restormer import BACKBONE, backbone_config

#: Our stages with a prompt block: public names of the stage, and the number of its prompt.
_PROMPTED = (
    ("encoder.3", "latent", 3),
    ("decoder.0", "decoder_level3", 2),
    ("decoder.1", "decoder_level2", 1),
)
_PLAIN = (
    ("encoder.0", "encoder_level1"),
    ("encoder.1", "encoder_level2"),
    ("encoder.2", "encoder_level3"),
    ("decoder.2", "decoder_level1"),
)
RULES: Rules = [
    *BACKBONE,
    *(r for ours, name in _PLAIN for r in transformer_rules(rf"{name}\.(\d+)", rf"unet.{ours}.\1")),
    *(
        r
        for ours, name, _ in _PROMPTED
        for r in transformer_rules(rf"{name}\.(\d+)", rf"unet.{ours}.stage.\1")
    ),
    *(r for ours, _, i in _PROMPTED for r in transformer_rules(rf"noise_level{i}", f"unet.{ours}.mixing")),
    *(
        rule
        for ours, _, i in _PROMPTED
        for rule in (
            (rf"reduce_noise_level{i}\.weight", f"unet.{ours}.reduce.weight"),
            (rf"prompt{i}\.prompt_param", f"unet.{ours}.pool.components"),
            (rf"prompt{i}\.linear_layer\.(weight|bias)", rf"unet.{ours}.pool.to_weights.\1"),
            (rf"prompt{i}\.conv3x3\.weight", f"unet.{ours}.pool.conv.weight"),
        )
    ),
    # Made by the public code, and never run.
    (r"chnl_reduce[123]\.weight", None),
    (r"reduce_noise_channel_[123]\.weight", None),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a PromptIR's tensors, all of them."""
    return fits(state, RULES, ("patch_embed.proj.weight", *(f"prompt{i}.prompt_param" for i in (1, 2, 3))))


def from_public(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """``("promptir", fields of its Config, our state dict)``, without the tensors that nothing uses.

    Raises:
        ModelError: the network is none that is built here, or is damaged.
    """
    pools = [shape(state, f"prompt{i}.prompt_param") for _, _, i in _PROMPTED]  # 1 n p s s
    config = backbone_config(state) | {
        "prompt_widths": tuple(pool[2] for pool in pools),
        "prompt_sizes": tuple(pool[3] for pool in pools),
        "prompt_length": pools[0][1],
        "prompt_heads": shape(state, "noise_level3.attn.temperature")[0],
    }
    tensors = rename(state, RULES)
    return (
        "promptir",
        config,
        {k: v.squeeze(0) if k.endswith(".components") else v for k, v in tensors.items()},
    )
