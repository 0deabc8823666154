"""Golden outputs of ExDA and AnyIR, in their smallest presets.

Made as in ``test_golden.py``: weights and input from a formula. When they were stored, the code of AnyIR's
authors with the same weights ("anyir-tiny-affine"; its batch norms at inference with mean 0 and variance
1 - eps) gave the same output within 2e-6. ExDA has no public code.
To store new ones: ``python tests/golden/test_zoo_exda_anyir.py``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from anyrestore.architectures import anyir, exda

STORED = Path(__file__).parent / "zoo_exda_anyir.safetensors"
EXDA, ANYIR = exda.PRESETS["exda-tiny"], anyir.PRESETS["anyir-tiny"]
CASES = {
    "exda-tiny": lambda: exda.ExDA(EXDA),
    "exda-tiny-in-place-two-tokens": lambda: exda.ExDA(
        dataclasses.replace(EXDA, value="in_place", value_activation="sigmoid", tokens=2, token_stride=1)
    ),
    "anyir-tiny": lambda: anyir.AnyIR(ANYIR),
    "anyir-tiny-affine": lambda: anyir.AnyIR(dataclasses.replace(ANYIR, gate_norm="affine")),
    "anyir-tiny-text": lambda: anyir.AnyIR(
        dataclasses.replace(
            ANYIR, gating="concatenated", activation="gelu", shares=(1 / 4, 1 / 4, 1 / 2), repeat="tile"
        )
    ),
}


def wave(shape: torch.Size, phase: float) -> torch.Tensor:
    """Values in [-1, 1] without randomness, the same on every machine."""
    count = torch.arange(shape.numel(), dtype=torch.float64)
    return torch.sin(1.7 * count + 0.3 * (count % 7) + phase).view(shape).float()


def fill(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for i, (_, parameter) in enumerate(sorted(model.named_parameters())):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            values = wave(parameter.shape, float(i)) * fan_in**-0.5
            parameter.copy_(1 + 0.1 * values if parameter.ndim in (1, 3) else values)
    return model.eval()


def picture() -> torch.Tensor:
    return 0.5 + 0.5 * wave(torch.Size((1, 3, 32, 48)), 0.5)


@torch.no_grad()
def output(name: str) -> torch.Tensor:
    return fill(CASES[name]())(picture())


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_stored_ones(name: str) -> None:
    stored = load_file(STORED)[name]
    assert stored.std() > 0.1
    torch.testing.assert_close(output(name), stored, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    save_file({name: output(name).contiguous() for name in CASES}, STORED)
