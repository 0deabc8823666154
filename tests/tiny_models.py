"""The smallest model of every architecture, with weights that are the same every time."""

from __future__ import annotations

import copy

import torch
from torch import nn

from anyrestore.zoo import create_model
from anyrestore.zoo.catalog import ARCHITECTURES

SMALLEST: dict[str, tuple[str, dict[str, object]]] = {
    "cea": ("tiny", {}),
    **{name: (f"{name}-tiny", {}) for name in ARCHITECTURES if name != "cea"},
    "cea at half resolution": ("tiny", {"stem_scale": 2}),
    **{
        f"{name} at half resolution": (f"{name}-tiny", {"stem_scale": 2})
        for name in ("exda", "anyir", "moce", "restormer")
    },
    "nafnet with local means": ("nafnet-tiny", {"local_window": (24, 24)}),
}


def make(name: str, **changes: object) -> nn.Module:
    """A model of the catalogue in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model(name, **changes).eval()


def make_smallest(name: str) -> nn.Module:
    """One of ``SMALLEST``."""
    preset, changes = SMALLEST[name]
    return make(preset, **changes)


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height * 100 + width))


def moved(model: nn.Module) -> nn.Module:
    """A copy whose weights have left their first values: some are zeros, and hide what lies behind them."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return other
