"""A tiny model of ours under the names of its public code, as public checkpoints have it."""

from __future__ import annotations

import collections
from typing import Any

import torch

from anyrestore.zoo import create_model


def public_state() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A tiny model of ours, and its weights under the public names."""
    model = create_model("moce-tiny").eval()
    state = dict[str, torch.Tensor]()
    for name, value in model.state_dict().items():
        state[_public(name)] = value.clone()
    return model, state


def _public(name: str) -> str:
    """The public name of one of our tensors, by hand: the converter's table is not asked."""
    for ours, theirs in (
        ("unet.stem.conv", "patch_embed.proj"),
        ("unet.head.conv", "output"),
        ("frequency.high_pass", "freq_embed.high_conv.0.conv"),
        ("frequency.mlp", "freq_embed.mlp"),
    ):
        name = name.replace(ours, theirs)
    parts = name.split(".")
    if parts[:2] in (["unet", "down"], ["unet", "up"], ["unet", "fuse"]):
        kind, i = parts[1:3]
        return {
            "down": f"enc.{i}.1.body.0.weight",
            "up": f"dec.{i}.0.body.0.weight",
            "fuse": f"dec.{i}.1.weight",
        }[kind]
    if parts[0] != "unet":
        return name
    if parts[1] == "refinement":
        stage, rest = "refinement", parts[2:]
    elif parts[1] == "encoder":
        stage, rest = ("latent" if parts[2] == "3" else f"enc.{parts[2]}.0"), parts[3:]
    else:
        stage, rest = f"dec.{parts[2]}.2", parts[3:]
    block, tail = rest[0], ".".join(rest[1:])
    attention = {"to_qkv": "qkv", "depthwise": "qkv_dwconv", "to_out": "project_out"}
    cross = {
        "to_q": "q",
        "q_depthwise": "q_dwconv",
        "to_kv": "kv",
        "kv_depthwise": "kv_dwconv",
        "to_out": "project_out",
    }
    expert = {
        "down": "proj.0",
        "gate": "proj.1",
        "up": "proj.2",
        "attention.norm": "body.norm.body",
        "attention.to_out": "body.proj_out",
        **{f"attention.{k}": f"body.{v}" for k, v in cross.items() if k != "to_out"},
    }
    table = {
        "norm_attention": "norms.0.body",
        "norm_feedforward": "norms.1.body",
        "feedforward.to_branches": "ffn.project_in",
        "feedforward.depthwise": "ffn.dwconv",
        "feedforward.to_out": "ffn.project_out",
        "attention.temperature": "mixer.temperature",
        "shared.temperature": "shared.temperature",
        "cross.temperature": "mixer.temperature",
        "to_shared": "proj.0",
        "to_experts": "proj.1",
        "experts.to_out": "adapter.proj_out",
        "router.from_features": "adapter.routing.gate.2",
        "router.from_embedding": "adapter.routing.freq_gate",
        **{f"attention.{k}": f"mixer.{v}" for k, v in attention.items()},
        **{f"shared.{k}": f"shared.{v}" for k, v in attention.items()},
        **{f"cross.{k}": f"mixer.{v}" for k, v in cross.items()},
        **{
            f"experts.experts.{e}.{k}": f"adapter.experts.{e}.0.{v}"
            for e in range(4)
            for k, v in expert.items()
        },
    }
    part, kind = (tail, "") if tail.endswith("temperature") else tail.rsplit(".", 1)
    return f"{stage}.layers.{block}.{table[part]}" + (f".{kind}" if kind else "")


def lightning(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    nested = collections.OrderedDict((f"net.{name}", value) for name, value in state.items())
    return {"epoch": 119, "state_dict": nested, "hyper_parameters": {"dim": 8, "heads": [1, 2, 4, 8]}}
