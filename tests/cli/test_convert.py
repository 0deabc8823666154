"""`anyrestore convert`: public checkpoints become files that the command reads; none of them is run."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from anyrestore.cli import convert
from anyrestore.errors import ModelError, OutputError, UsageError
from anyrestore.zoo import create_model, load_model, save_weights
from anyrestore.zoo.convert.moce import _RULES
from public_weights import lightning, public_state


def run(*arguments: object) -> int:
    parser = convert.add_parser(argparse.ArgumentParser().add_subparsers())
    return convert.run(parser.parse_args([str(argument) for argument in arguments]))


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
        case "no heads":
            return state | {"enc.0.0.layers.0.mixer.temperature": torch.empty(0, 1, 1)}
        case "integers":
            return {key: value.int() for key, value in state.items()}
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
        "no heads",
        "integers",
        "width zero",
        "not finite",
        "gigabytes that repeat four bytes",
    ],
)
def test_what_is_no_model_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    torch.save(changed(name), tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"a\.pth") as refused:
        run(tmp_path / "a.pth", "-o", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
    assert "\n" not in str(refused.value)


def test_a_file_of_ours_is_said_to_need_no_conversion(tmp_path: Path) -> None:
    save_weights(create_model("tiny"), tmp_path / "own.safetensors")
    with pytest.raises(ModelError, match="they are of CEA and need no conversion"):
        run(tmp_path / "own.safetensors", "-o", tmp_path / "w.safetensors")


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
