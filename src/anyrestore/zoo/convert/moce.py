"""MoCE-IR (arXiv 2411.18466): weights of eduardzamfir/MoCE-IR, whose checkpoints hold the network as ``net``.

What leaves no trace in the shapes is taken from the options that the public models were trained with:
windows of 4, 8, 16, ... pixels, top-1 routing, experts of depth 1. The stored complexities follow from the
ranks and are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from anyrestore.errors import ModelError
from anyrestore.zoo.convert.keys import Rules, depth, expansion, fits, rename, shape

_PARTS = (
    (r"norms\.0\.body", "norm_attention"),
    (r"norms\.1\.body", "norm_feedforward"),
    (r"ffn\.project_in", "feedforward.to_branches"),
    (r"ffn\.dwconv", "feedforward.depthwise"),
    (r"ffn\.project_out", "feedforward.to_out"),
)
_SHARED = (
    (r"qkv", "to_qkv"),
    (r"qkv_dwconv", "depthwise"),
    (r"project_out", "to_out"),
)
_CROSS = (
    (r"q", "to_q"),
    (r"q_dwconv", "q_depthwise"),
    (r"kv", "to_kv"),
    (r"kv_dwconv", "kv_depthwise"),
    (r"project_out", "to_out"),
)
_EXPERT = (
    (r"proj\.0", "down"),
    (r"proj\.1", "gate"),
    (r"proj\.2", "up"),
    (r"body\.q", "attention.to_q"),
    (r"body\.q_dwconv", "attention.q_depthwise"),
    (r"body\.kv", "attention.to_kv"),
    (r"body\.kv_dwconv", "attention.kv_depthwise"),
    (r"body\.norm\.body", "attention.norm"),
    (r"body\.proj_out", "attention.to_out"),
)


def _named(block: str, ours: str, names: tuple[tuple[str, str], ...]) -> Rules:
    """Rules for the weights and biases of parts of a block; ``block`` has the groups of ``ours``."""
    return [
        (rf"{block}\.{public}\.(?P<kind>weight|bias)", rf"{ours}.{name}.\g<kind>") for public, name in names
    ]


def _plain(stage: str, ours: str) -> Rules:
    """Rules for the transformer blocks of a stage."""
    block, ours = rf"{stage}\.layers\.(?P<block>\d+)", rf"{ours}.\g<block>"
    return [
        (rf"{block}\.mixer\.temperature", f"{ours}.attention.temperature"),
        *_named(block, ours, _PARTS),
        *_named(rf"{block}\.mixer", f"{ours}.attention", _SHARED),
    ]


_BLOCK = r"dec\.(?P<stage>\d+)\.2\.layers\.(?P<block>\d+)"
_OURS = r"unet.decoder.\g<stage>.\g<block>"
_RULES: Rules = [
    (r"patch_embed\.proj\.weight", "unet.stem.conv.weight"),
    (r"freq_embed\.high_conv\.0\.conv\.weight", "frequency.high_pass.weight"),
    (r"freq_embed\.mlp\.(0|2)\.(weight|bias)", r"frequency.mlp.\1.\2"),
    *_plain(r"enc\.(?P<stage>\d+)\.0", r"unet.encoder.\g<stage>"),
    (r"enc\.(\d+)\.1\.body\.0\.weight", r"unet.down.\1.0.weight"),
    *_plain("latent", "unet.encoder.3"),
    (r"dec\.(\d+)\.0\.body\.0\.weight", r"unet.up.\1.0.weight"),
    (r"dec\.(\d+)\.1\.weight", r"unet.fuse.\1.weight"),
    *_named(_BLOCK, _OURS, _PARTS),
    *_named(_BLOCK, _OURS, ((r"proj\.0", "to_shared"), (r"proj\.1", "to_experts"))),
    (rf"{_BLOCK}\.shared\.temperature", f"{_OURS}.shared.temperature"),
    *_named(rf"{_BLOCK}\.shared", f"{_OURS}.shared", _SHARED),
    (rf"{_BLOCK}\.mixer\.temperature", f"{_OURS}.cross.temperature"),
    *_named(rf"{_BLOCK}\.mixer", f"{_OURS}.cross", _CROSS),
    *_named(
        rf"{_BLOCK}\.adapter\.experts\.(?P<expert>\d+)\.0", rf"{_OURS}.experts.experts.\g<expert>", _EXPERT
    ),
    (rf"{_BLOCK}\.adapter\.proj_out\.weight", f"{_OURS}.experts.to_out.weight"),
    (rf"{_BLOCK}\.adapter\.routing\.gate\.2\.weight", f"{_OURS}.router.from_features.weight"),
    (rf"{_BLOCK}\.adapter\.routing\.freq_gate\.weight", f"{_OURS}.router.from_embedding.weight"),
    (rf"{_BLOCK}\.adapter\.routing\.complexity", None),
    *_plain("refinement", "unet.refinement"),
    (r"output\.weight", "unet.head.conv.weight"),
]
_NEEDED = (
    "patch_embed.proj.weight",
    "freq_embed.high_conv.0.conv.weight",
    "dec.0.2.layers.0.adapter.routing.gate.2.weight",
)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of MoCE-IR."""
    return fits(state, _RULES, _NEEDED)


def from_public(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Our architecture's name, the fields of its Config, and our state dict.

    Raises:
        ModelError: a tensor has no place, or the shapes are none of MoCE-IR.
    """
    width = shape(state, "patch_embed.proj.weight")[0]
    stages = (*(f"enc.{i}.0" for i in range(3)), "latent")
    blocks = [depth(state, f"{stage}.layers") for stage in stages]
    experts = "dec.2.2.layers.0.adapter.experts"
    ranks = [shape(state, f"{experts}.{i}.0.proj.0.weight")[0] for i in range(depth(state, experts))]
    spread = [width >> i for i in reversed(range(len(ranks)))]
    if ranks != spread and len(set(ranks)) != 1:
        raise ModelError(f"cannot convert these weights: expected experts' ranks {spread}, came {ranks}")
    hidden = shape(state, "enc.0.0.layers.0.ffn.project_out.weight")[1]
    config: dict[str, Any] = {
        "width": width,
        "encoder": tuple(blocks[:3]),
        "latent": blocks[3],
        "decoder": tuple(depth(state, f"dec.{i}.2.layers") for i in range(3)),
        "refinement": depth(state, "refinement.layers"),
        "heads": tuple(shape(state, f"{stage}.layers.0.mixer.temperature")[0] for stage in stages),
        "expansion": expansion([(width, hidden)]),
        "windows": tuple(4 << i for i in range(len(ranks))),
        "rank": None if ranks == spread else ranks[0],
        "depths": (1,) * len(ranks),
    }
    return "moce", config, rename(state, _RULES)
