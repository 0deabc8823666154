"""State dicts under the public names of AnyIR become ours; the names are written the other way round here."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from anyrestore.architectures.anyir import PRESETS, AnyIR, Config
from anyrestore.errors import ModelError
from anyrestore.zoo.convert import anyir

STAGES = {
    "encoder.0": "encoder_level1",
    "encoder.1": "encoder_level2",
    "encoder.2": "encoder_level3",
    "encoder.3": "latent",
    "decoder.0": "decoder_level3",
    "decoder.1": "decoder_level2",
    "decoder.2": "decoder_level1",
    "refinement": "refinement",
}
BLOCK = {
    "norm_mixing": "norm1.body",
    "attention.temperature": "attn.temperature",
    "attention.to_qkv": "attn.qkv",
    "attention.depthwise": "attn.qkv_dwconv",
    "gate.norm": "attn.gatedcnn.norm",
    "gate.tau": "attn.gatedcnn.tau",
    "gate.expand": "attn.gatedcnn.W_exp",
    "gate.depthwise": "attn.gatedcnn.W_depth",
    "gate.combine": "attn.gatedcnn.W_gate",
    "gate.project": "attn.gatedcnn.W_proj",
    "fusion.weight": "attn.lam",
    "to_out": "attn.project_out",
    "norm_feedforward": "norm2.body",
    "feedforward.to_branches": "ffn.project_in",
    "feedforward.depthwise": "ffn.dwconv",
    "feedforward.to_out": "ffn.project_out",
}
OTHERS = {
    "stem.conv": "patch_embed.proj",
    "head.conv": "output",
    "encoder.3.reduce": "reduce_dim_level3",
    **{f"down.{i}.0": f"down{i + 1}_{i + 2}.body.0" for i in range(3)},
    **{f"up.{i}.0": f"up{4 - i}_{3 - i}.body.0" for i in range(3)},
    **{f"fuse.{i}": f"reduce_chan_level{3 - i}" for i in range(2)},
}


def public_name(ours: str) -> str:
    name = ours.removeprefix("unet.")
    for start, public in OTHERS.items():
        if name.startswith(start + "."):
            return public + name[len(start) :]
    stage = max((s for s in STAGES if name.startswith(s + ".blocks.")), key=len)
    number, inner = name[len(stage) + len(".blocks.") :].split(".", 1)
    start = max((b for b in BLOCK if inner == b or inner.startswith(b + ".")), key=len)
    return f"{STAGES[stage]}.{number}.{BLOCK[start]}{inner[len(start) :]}"


def pair() -> tuple[AnyIR, dict[str, Tensor]]:
    """A model of ours, and the public state dict that should become it."""
    torch.manual_seed(0)
    model = AnyIR(dataclasses.replace(PRESETS["anyir-tiny"], encoder=(2, 1, 1), gate_norm="affine")).eval()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    state = {public_name(name): tensor for name, tensor in model.state_dict().items()}
    for name in [n for n in state if n.endswith("gatedcnn.tau")]:
        gate = name.removesuffix("tau")
        half = state[f"{gate}W_proj.weight"].shape[0]
        state[name] = torch.cat([state[name], torch.ones(half - len(state[name]))])[None, :, None, None]
        mean, variance = torch.rand(half) - 0.5, torch.rand(half) + 0.5
        scale, shift = state[f"{gate}norm.weight"], state[f"{gate}norm.bias"]
        # What batch norm makes of these is x * scale + shift.
        state[f"{gate}norm.weight"] = scale * (variance + 1e-5).sqrt()
        state[f"{gate}norm.bias"] = shift + mean * scale
        state |= {f"{gate}norm.running_mean": mean, f"{gate}norm.running_var": variance}
        state[f"{gate}norm.num_batches_tracked"] = torch.tensor(7)
    return model, state


def test_the_public_names_become_ours() -> None:
    model, state = pair()
    assert anyir.recognises(state)
    name, config, tensors = anyir.from_public(state)
    assert name == "anyir"
    assert Config(**config) == model.config
    assert set(tensors) == set(model.state_dict())
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensors[key], tensor)


def test_a_missing_or_strange_tensor_is_told() -> None:
    _, state = pair()
    assert not anyir.recognises(state | {"prompt1.prompt_param": torch.zeros(1)})
    without = {n: t for n, t in state.items() if not n.startswith("refinement.")}
    with pytest.raises(ModelError, match="no tensors of refinement"):
        anyir.from_public(without)
    del state["latent.0.attn.gatedcnn.norm.running_var"]
    with pytest.raises(ModelError, match="has no running_var"):
        anyir.from_public(state)
