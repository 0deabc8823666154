"""The tiny models' outputs, stored: whoever changes what a network computes must change these on purpose.

Weights and input are filled by a formula, so they need no file. To store new outputs:
``python tests/golden/test_golden.py NAME ...``, or without names to store all of them anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save_file
from torch import nn

from anyrestore.zoo import create_model

STORED = Path(__file__).parent / "outputs.safetensors"
#: What is stored under a name: a model of the zoo, and fields of its Config to change.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("tiny", {}),
    "tiny-half": ("tiny", {"stem_scale": 2}),
    "tiny-pooled-top2-ffn": ("tiny", {"generator": "pooled", "routing": "top2", "targets": "ffn"}),
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


@torch.no_grad()
def output(name: str) -> torch.Tensor:
    image = 0.5 + 0.5 * wave(torch.Size((1, 3, 32, 48)), 0.5)
    model, changes = CASES[name]
    return fill(create_model(model, **changes))(image)


def store(names: Iterable[str]) -> None:
    """Compute these outputs and put them beside the ones that are stored already."""
    save_file(load(STORED.read_bytes()) | {name: output(name).contiguous() for name in names}, STORED)


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_stored_ones(name: str) -> None:
    stored = load_file(STORED)[name]
    assert stored.std() > 0.1
    torch.testing.assert_close(output(name), stored, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    store(sys.argv[1:] or CASES)
