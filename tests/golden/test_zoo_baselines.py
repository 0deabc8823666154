"""Golden outputs of Restormer, NAFNet and PromptIR, in their smallest presets.

Made as in ``test_golden.py``: weights and input from a formula. When they were stored, the public code with
the same weights gave the same outputs within 2e-6 where it can be built this small; PromptIR's cannot, its
widths are fixed. To store new ones: ``python tests/golden/test_zoo_baselines.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from anyrestore.architectures import nafnet, promptir, restormer

STORED = Path(__file__).parent / "zoo_baselines.safetensors"
CASES = {
    "restormer-tiny": lambda: restormer.Restormer(restormer.PRESETS["restormer-tiny"]),
    "restormer-tiny-bias-free": lambda: restormer.Restormer(
        restormer.Config(
            width=8, encoder=(1, 1, 1), latent=1, decoder=(1, 1, 1), refinement=1, norm="bias_free"
        )
    ),
    "nafnet-tiny": lambda: nafnet.NAFNet(nafnet.PRESETS["nafnet-tiny"]),
    "promptir-tiny": lambda: promptir.PromptIR(promptir.PRESETS["promptir-tiny"]),
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
    return fill(CASES[name]())(image)


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_stored_ones(name: str) -> None:
    stored = load_file(STORED)[name]
    assert stored.std() > 0.1
    torch.testing.assert_close(output(name), stored, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    save_file({name: output(name).contiguous() for name in CASES}, STORED)
