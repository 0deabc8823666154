"""Public AnyIR weights (Amazingren/AnyIR, the repository of arXiv 2504.14249) to ours.

Two things of GatedDA change on the way: its batch norm becomes the scale and shift per channel that it is at
inference (``gate_norm="affine"``), and of its temperatures tau only those that are read are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from anyrestore.errors import ModelError
from anyrestore.zoo.convert.keys import Rules, depth, expansion, fits, rename, shape

#: Public names of the stages, and ours.
_ENCODER = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
_DECODER = ("decoder_level3", "decoder_level2", "decoder_level1")
_STAGES = (
    *((name, f"encoder.{i}") for i, name in enumerate(_ENCODER)),
    *((name, f"decoder.{i}") for i, name in enumerate(_DECODER)),
    ("refinement", "refinement"),
)
_BLOCK = (
    (r"norm1\.body\.(weight|bias)", r"norm_mixing.\2"),
    (r"attn\.temperature", "attention.temperature"),
    (r"attn\.qkv\.weight", "attention.to_qkv.weight"),
    (r"attn\.qkv_dwconv\.weight", "attention.depthwise.weight"),
    (r"attn\.gatedcnn\.norm\.(weight|bias)", r"gate.norm.\2"),
    (r"attn\.gatedcnn\.norm\.(running_mean|running_var|num_batches_tracked)", None),  # see _fold
    (r"attn\.gatedcnn\.tau", "gate.tau"),
    (r"attn\.gatedcnn\.W_exp\.weight", "gate.expand.weight"),
    (r"attn\.gatedcnn\.W_depth\.weight", "gate.depthwise.weight"),
    (r"attn\.gatedcnn\.W_gate\.weight", "gate.combine.weight"),
    (r"attn\.gatedcnn\.W_proj\.weight", "gate.project.weight"),
    (r"attn\.lam", "fusion.weight"),
    (r"attn\.project_out\.weight", "to_out.weight"),
    (r"norm2\.body\.(weight|bias)", r"norm_feedforward.\2"),
    (r"ffn\.project_in\.weight", "feedforward.to_branches.weight"),
    (r"ffn\.dwconv\.weight", "feedforward.depthwise.weight"),
    (r"ffn\.project_out\.weight", "feedforward.to_out.weight"),
)
RULES: Rules = [
    (r"patch_embed\.proj\.weight", "unet.stem.conv.weight"),
    *((rf"down{i + 1}_{i + 2}\.body\.0\.weight", f"unet.down.{i}.0.weight") for i in range(3)),
    *((rf"up{4 - i}_{3 - i}\.body\.0\.weight", f"unet.up.{i}.0.weight") for i in range(3)),
    *((rf"reduce_chan_level{3 - i}\.weight", f"unet.fuse.{i}.weight") for i in range(2)),
    (r"reduce_dim_level3\.weight", "unet.encoder.3.reduce.weight"),
    (r"output\.weight", "unet.head.conv.weight"),
    *(
        (rf"{name}\.(\d+)\.{public}", None if inner is None else rf"unet.{ours}.blocks.\1.{inner}")
        for name, ours in _STAGES
        for public, inner in _BLOCK
    ),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of an AnyIR's tensors, all of them."""
    needed = ("patch_embed.proj.weight", "reduce_dim_level3.weight", "latent.0.attn.gatedcnn.tau")
    return fits(state, RULES, needed)


def from_public(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """``("anyir", fields of its Config, our state dict)``.

    Raises:
        ModelError: the network is none that is built here, or is damaged.
    """
    if missing := [name for name, _ in _STAGES if depth(state, name) == 0]:
        raise ModelError(f"cannot convert these weights: no tensors of {', '.join(missing)}")
    inner = [shape(state, f"{name}.0.ffn.project_out.weight") for name in _ENCODER]
    gate = "latent.0.attn.gatedcnn"
    hidden, half = shape(state, f"{gate}.W_exp.weight")[:2]
    alpha, kernel = shape(state, f"{gate}.W_depth.weight")[0], shape(state, f"{gate}.W_depth.weight")[-1]
    if hidden != round(8 / 3 * half) or alpha != hidden - 2 * half:
        raise ModelError(
            f"cannot convert these weights: expected {round(8 / 3 * half)} expanded channels of {half}, "
            f"came {hidden}, {alpha} of them convolved"
        )
    config = {
        "width": shape(state, "patch_embed.proj.weight")[0],
        "encoder": tuple(depth(state, name) for name in _ENCODER[:-1]),
        "latent": depth(state, "latent"),
        "decoder": tuple(depth(state, name) for name in _DECODER),
        "refinement": depth(state, "refinement"),
        "heads": tuple(shape(state, f"{name}.0.attn.temperature")[0] for name in _ENCODER),
        "expansion": expansion([(c, width) for c, width, *_ in inner]),
        "kernel": kernel,
        "gate_norm": "affine",
    }
    return "anyir", config, rename(_fold(state), RULES)


def _fold(state: Mapping[str, Tensor], eps: float = 1e-5) -> dict[str, Tensor]:
    """Batch norms' statistics in their scale and shift; tau as long as alpha."""
    folded = dict(state)
    for name in state:
        if not name.endswith(".gatedcnn.tau"):
            continue
        gate = name.removesuffix(".tau")
        names = ("weight", "bias", "running_mean", "running_var")
        if missing := [n for n in names if f"{gate}.norm.{n}" not in state]:
            raise ModelError(f"cannot convert these weights: {gate}.norm has no {', '.join(missing)}")
        weight, bias, mean, variance = (state[f"{gate}.norm.{n}"] for n in names)
        scale = weight * torch.rsqrt(variance + eps)
        folded[f"{gate}.norm.weight"] = scale
        folded[f"{gate}.norm.bias"] = bias - mean * scale
        folded[name] = state[name].flatten()[: shape(state, f"{gate}.W_depth.weight")[0]]
    return folded
