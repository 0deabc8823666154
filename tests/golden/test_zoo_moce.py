"""The tiny MoCE-IR's outputs, stored, as in ``test_golden.py``; and that the public code gives the same.

Weights and input are filled by a formula. "public" was computed by the public code itself
(eduardzamfir/MoCE-IR, commit a1a6e74): its network of width 8 with one block a stage was filled by
:func:`filled`, by the names of its own state dict, its routing noise set to zero, and run on
:func:`picture`. Here the same tensors, under the same names, go through the converter. "tiny", "deep" and
"trained" (the losses, noise off) are our own, to be stored anew with ``python
tests/golden/test_zoo_moce.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anyrestore.architectures.moce import MoCE
from anyrestore.zoo import create_model
from anyrestore.zoo.catalog import build
from anyrestore.zoo.convert import CONVERTERS

STORED = Path(__file__).parent / "zoo_moce.safetensors"
CASES = {"tiny": {}, "deep": {"depths": (1, 2, 2), "top_k": 2, "rank": 3}}


def wave(shape: torch.Size | tuple[int, ...], phase: float) -> torch.Tensor:
    """Values in [-1, 1] without randomness, the same on every machine."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(1.7 * count + 0.3 * (count % 7) + phase).view(shape).float()


def filled(shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """A state dict by formula: scales near 1, sharp temperatures, the rest of its fan-in's size."""
    state = dict[str, torch.Tensor]()
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        values = wave(shape, float(i))
        if "temperature" in name:
            state[name] = 4 + values
        elif len(shape) == 1 and "norm" in name and name.endswith("weight"):
            state[name] = 1 + 0.1 * values
        else:
            fan_in = shape[1:].numel() if len(shape) > 1 else 16
            state[name] = values * (8 if "rout" in name else 1.5) * fan_in**-0.5
    return state


def picture() -> torch.Tensor:
    return 0.5 + 0.5 * wave((2, 3, 24, 32), 0.5) * torch.tensor([1.0, 0.2])[:, None, None, None]


def public_shapes() -> dict[str, torch.Size]:
    """Names and shapes of the public network of width 8, with one block a stage."""

    def attention(prefix: str, c: int, bias: bool) -> dict[str, tuple[int, ...]]:
        parts = {"qkv": (3 * c, c, 1, 1), "qkv_dwconv": (3 * c, 1, 3, 3), "project_out": (c, c, 1, 1)}
        return {f"{prefix}.temperature": (c // 8, 1, 1)} | convs(prefix, parts, bias)

    def convs(prefix: str, parts: dict[str, tuple[int, ...]], bias: bool) -> dict[str, tuple[int, ...]]:
        made = {f"{prefix}.{name}.weight": shape for name, shape in parts.items()}
        return made | ({f"{prefix}.{name}.bias": shape[:1] for name, shape in parts.items()} if bias else {})

    def block(prefix: str, c: int, bias: bool) -> dict[str, tuple[int, ...]]:
        ffn = {"project_in": (4 * c, c, 1, 1), "dwconv": (4 * c, 1, 3, 3), "project_out": (c, 2 * c, 1, 1)}
        norms = convs(f"{prefix}.norms", {"0.body": (c,), "1.body": (c,)}, True)
        return norms | convs(f"{prefix}.ffn", ffn, bias)

    def expert(prefix: str, c: int, r: int) -> dict[str, tuple[int, ...]]:
        inner = {"q_dwconv": (r, 1, 3, 3), "kv_dwconv": (2 * r, 1, 7, 7), "proj_out": (r, r, 1, 1)}
        return (
            convs(f"{prefix}.proj", {"0": (r, c, 1, 1), "1": (r, c, 1, 1), "2": (c, r, 1, 1)}, False)
            | convs(f"{prefix}.body", {"q": (r, r, 1, 1), "kv": (2 * r, r, 1, 1)}, False)
            | convs(f"{prefix}.body", inner | {"norm.body": (r,)}, True)
        )

    found: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (8, 3, 3, 3),
        "output.weight": (3, 8, 3, 3),
        "freq_embed.high_conv.0.conv.weight": (64, 1, 3, 3),
    } | convs("freq_embed.mlp", {"0": (128, 64), "2": (64, 128)}, True)
    plain = [("enc.0.0", 8), ("enc.1.0", 16), ("enc.2.0", 32), ("latent", 64), ("refinement", 8)]
    for stage, c in plain:
        found |= block(f"{stage}.layers.0", c, True) | attention(f"{stage}.layers.0.mixer", c, True)
    for i, c in enumerate((8, 16, 32)):
        found[f"enc.{i}.1.body.0.weight"] = (c // 2, c, 3, 3)
    for i, c in enumerate((32, 16, 8)):
        layer = f"dec.{i}.2.layers.0"
        cross = {
            "q": (c, c, 1, 1),
            "q_dwconv": (c, 1, 3, 3),
            "kv": (2 * c, c, 1, 1),
            "kv_dwconv": (2 * c, 1, 7, 7),
            "project_out": (c, c, 1, 1),
        }
        found |= {f"dec.{i}.0.body.0.weight": (4 * c, 2 * c, 3, 3), f"dec.{i}.1.weight": (c, 2 * c, 1, 1)}
        found |= block(layer, c, False) | attention(f"{layer}.shared", c, False)
        found |= convs(f"{layer}.proj", {"0": (c, c, 1, 1), "1": (c, c, 1, 1)}, True)
        found |= convs(f"{layer}.mixer", cross, False) | {f"{layer}.mixer.temperature": (c // 8, 1, 1)}
        for e in range(4):
            found |= expert(f"{layer}.adapter.experts.{e}.0", c, c >> (3 - e))
        found |= {
            f"{layer}.adapter.proj_out.weight": (c, c, 1, 1),
            f"{layer}.adapter.routing.complexity": (4,),
            f"{layer}.adapter.routing.gate.2.weight": (4, c),
            f"{layer}.adapter.routing.freq_gate.weight": (4, 64),
        }
    return {name: torch.Size(shape) for name, shape in found.items()}


def ours(name: str) -> MoCE:
    model = create_model("moce-tiny", **CASES[name])
    model.load_state_dict(filled({k: v.shape for k, v in model.state_dict().items()}))
    return model.eval()


def converted() -> MoCE:
    state = filled(public_shapes())
    assert [name for name, converter in CONVERTERS.items() if converter.recognises(state)] == ["moce"]
    architecture, config, mapped = CONVERTERS["moce"].convert(state)
    model = build(architecture, config)
    model.load_state_dict(mapped)
    return model.eval()


@torch.no_grad()
def outputs() -> dict[str, torch.Tensor]:
    found = {name: ours(name)(picture()) for name in CASES}
    losses = ours("tiny").forward_with_losses(picture())[1]
    return found | {"trained": torch.stack([losses["importance"], losses["load"]])}


@pytest.mark.parametrize("name", [*CASES, "trained"])
def test_outputs_are_the_stored_ones(name: str) -> None:
    torch.testing.assert_close(outputs()[name], load_file(STORED)[name], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_public_codes_output_comes_out_of_its_converted_weights() -> None:
    """Image by image, as the public code cannot do a batch."""
    model, stored = converted(), load_file(STORED)["public"]
    assert (stored - picture()).std() > 0.1
    torch.testing.assert_close(model(picture()), stored, rtol=0, atol=1e-4)
    forced = max((model(picture(), model.force(expert)) - stored).abs().max() for expert in range(4))
    assert forced > 1e-2  # another choice of experts would have been seen


def test_every_public_tensor_has_a_place_and_the_config_is_read_off() -> None:
    model = converted()
    assert (model.config.width, model.config.windows, model.config.rank) == (8, (4, 8, 16, 32), None)
    assert model.config.heads == (1, 2, 4, 8)
    state = filled(public_shapes())
    mapped = CONVERTERS["moce"].convert(state)[2]
    assert set(mapped) == set(model.state_dict())
    assert len(state) - len(mapped) == 3  # the complexities, which follow from the ranks


if __name__ == "__main__":
    kept = load_file(STORED) if STORED.exists() else {}
    save_file(kept | {name: value.contiguous() for name, value in outputs().items()}, STORED)
