"""`anyrestore convert`: public checkpoints become files that the command reads; none of them is run."""

from __future__ import annotations

import argparse
import collections
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from anyrestore.cli import convert
from anyrestore.errors import ModelError, OutputError, UsageError
from anyrestore.zoo import create_model, load_model
from anyrestore.zoo.convert.moce import _RULES


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


def run(*arguments: object) -> int:
    parser = convert.add_parser(argparse.ArgumentParser().add_subparsers())
    return convert.run(parser.parse_args([str(argument) for argument in arguments]))


def lightning(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    nested = collections.OrderedDict((f"net.{name}", value) for name, value in state.items())
    return {"epoch": 119, "state_dict": nested, "hyper_parameters": {"dim": 8, "heads": [1, 2, 4, 8]}}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_public_lightning_checkpoint_becomes_the_same_model(
    new: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, state = public_state()
    torch.save(lightning(state), tmp_path / "last.ckpt", _use_new_zipfile_serialization=new)
    assert run(tmp_path / "last.ckpt", "-o", tmp_path / "w.safetensors") == 0
    assert "MoCE, 247,416 parameters" in capsys.readouterr().out
    found = load_model(tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found(x), model(x))


def test_half_stores_half_the_bytes_and_an_old_result_stays(tmp_path: Path) -> None:
    torch.save({"params_ema": public_state()[1]}, tmp_path / "a.pth")
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    run(tmp_path / "a.pth", "-o", full, "--architecture", "moce")
    run(tmp_path / "a.pth", "-o", half, "--half")
    assert 1.8 < full.stat().st_size / half.stat().st_size < 2
    before = full.read_bytes()
    with pytest.raises(OutputError) as refused:
        run(tmp_path / "a.pth", "-o", full)
    assert (refused.value.code, full.read_bytes()) == ("output_exists", before)
    assert run(tmp_path / "a.pth", "-o", full, "--overwrite") == 0
    with pytest.raises(UsageError):
        run(tmp_path / "a.pth", "-o", tmp_path / "w.pth")


def changed(name: str) -> Any:
    """A checkpoint that is no model, and a word of the sentence that says why."""
    state = public_state()[1]
    first = "patch_embed.proj.weight"
    match name:
        case "nothing known":
            return {"conv.weight": torch.ones(3)}
        case "no tensors":
            return {"epoch": 3}
        case "one tensor more":
            return state | {"surprise": torch.ones(1)}
        case "one tensor less":
            del state["output.weight"]
            return state
        case "another shape":
            return state | {"output.weight": torch.ones(3, 7, 3, 3)}
        case "no dimensions":
            return state | {"enc.0.0.layers.0.ffn.project_out.weight": torch.tensor(1.0)}
        case "width zero":
            return state | {first: torch.empty(0, 3, 3, 3)}
        case "not finite":
            return state | {first: torch.full((8, 3, 3, 3), float("nan"))}
        case "gigabytes that repeat four bytes":
            return state | {first: torch.zeros(1).expand(8_000_000, 3, 1, 1)}
        case _:
            raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "nothing known",
        "no tensors",
        "one tensor more",
        "one tensor less",
        "another shape",
        "no dimensions",
        "width zero",
        "not finite",
        "gigabytes that repeat four bytes",
    ],
)
def test_what_is_no_model_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    torch.save(changed(name), tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"a\.pth|convert|network") as refused:
        run(tmp_path / "a.pth", "-o", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
    assert "\n" not in str(refused.value)


def test_missing_files_and_unknown_architectures(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        run(tmp_path / "no.pth", "-o", tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="expected an architecture among") as refused:
        run(tmp_path / "no.pth", "-o", tmp_path / "w.safetensors", "--architecture", "resnet")
    assert refused.value.code == "unknown_model"


def test_a_hostile_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, ("canary",)

    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Attack()}, "a.ckpt", pickle_module=pickle)
    with pytest.raises(ModelError, match=r"posix.mkdir") as refused:
        run("a.ckpt", "-o", "w.safetensors")
    assert refused.value.code == "unsafe_format"
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_the_table_of_names_has_no_rule_twice() -> None:
    patterns = [pattern for pattern, _ in _RULES]
    assert len(set(patterns)) == len(patterns)
