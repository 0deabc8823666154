"""What every model of the zoo promises, on its smallest preset of each architecture."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.zoo import create_model, load_weights, save_weights
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


def moved(model: nn.Module) -> nn.Module:
    """A copy whose weights have left their first values: some are zeros, and hide what lies behind them."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return other


def test_a_batch_equals_its_items(model: nn.Module) -> None:
    other, batch = moved(model), image(16, 32, batch=3)
    alone = torch.cat([other(one[None]) for one in batch])
    torch.testing.assert_close(other(batch), alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient(model: nn.Module) -> None:
    other = moved(model).train()
    forward = getattr(other, "forward_with_losses", lambda x: (other(x), {}))
    restored, losses = forward(image(32, 32, batch=4))
    (restored.square().mean() + sum(losses.values())).backward()
    missing = [n for n, p in other.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_weights_come_back_from_a_file(model: nn.Module, tmp_path: Path) -> None:
    other = moved(model).eval()
    save_weights(other, tmp_path / "w.safetensors", dtype=torch.float32)
    again = load_weights(tmp_path / "w.safetensors")
    assert again.config == other.config
    x = image(32, 32)
    assert torch.equal(again(x), other(x))


def test_twenty_steps_lower_the_loss(model: nn.Module) -> None:
    """On pictures that are too dark and noisy, always the same eight."""
    other = copy.deepcopy(model).train()
    clean = image(32, 32, batch=8)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    dark = (0.4 * clean + 0.05 * noise).clamp(0, 1)
    optimizer = torch.optim.AdamW(other.parameters(), lr=2e-3)
    losses = list[float]()
    for _ in range(20):
        loss = (other(dark) - clean).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
