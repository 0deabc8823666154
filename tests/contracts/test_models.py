"""What every model of the zoo promises, on its smallest preset of each architecture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.zoo import create_model
from anyrestore.zoo.catalog import ARCHITECTURES

SMALLEST: dict[str, tuple[str, dict[str, int]]] = {
    "cea": ("tiny", {}),
    "cea at half resolution": ("tiny", {"stem_scale": 2}),
    **{name: (f"{name}-tiny", {}) for name in ARCHITECTURES if name != "cea"},
}


@pytest.fixture(params=SMALLEST, scope="module")
def model(request: pytest.FixtureRequest) -> nn.Module:
    name, changes = SMALLEST[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model(name, **changes).eval()


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height * 100 + width))


def test_the_declared_size_multiple_is_true_and_needed(model: nn.Module) -> None:
    multiple = model.size_multiple
    for times in (1, 2, 3):
        x = image(multiple, times * multiple)
        assert model(x).shape == x.shape
    with pytest.raises(ValueError, match="multiples"):
        model(image(multiple, multiple + multiple // 2))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 2), (33, 65)])
def test_any_size_goes_through_with_padding(model: nn.Module, size: tuple[int, int]) -> None:
    padded, original = pad_to_multiple(image(*size), model.size_multiple)
    restored = crop_to(model(padded), original)
    assert restored.shape[-2:] == size
    assert torch.isfinite(restored).all()


def test_two_calls_are_equal(model: nn.Module) -> None:
    x = image(32, 32)
    assert torch.equal(model(x), model(x))


def test_bfloat16_stays_near_float32(model: nn.Module) -> None:
    x = image(32, 48)
    with torch.autocast("cpu", torch.bfloat16):
        near = model(x).float()
    error = (near - model(x)).square().mean().sqrt() / (model(x) - x).square().mean().sqrt()
    assert error < 0.03


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_pictures_stay_finite(model: nn.Module, value: float) -> None:
    assert torch.isfinite(model(torch.full((1, 3, 32, 32), value))).all()
