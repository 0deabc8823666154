"""What every model of the zoo promises, on its smallest preset of each architecture."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.zoo import load_weights, save_weights
from tiny_models import image, moved


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


def test_a_batch_equals_its_items(model: nn.Module) -> None:
    other, batch = moved(model), image(16, 32, batch=3)
    alone = torch.cat([other(one[None]) for one in batch])
    torch.testing.assert_close(other(batch), alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient(model: nn.Module) -> None:
    other = moved(model).train()
    told = [torch.randn(2, 256, generator=torch.Generator().manual_seed(3))]
    given = told if hasattr(other, "instruction_width") else []
    forward = getattr(other, "forward_with_losses", lambda x: (other(x, *given), {}))
    restored, losses = forward(image(64, 64, batch=2))
    (restored.square().mean() + sum(losses.values())).backward()
    gradients = {n: p.grad for n, p in other.named_parameters() if p.requires_grad}
    assert [n for n, gradient in gradients.items() if gradient is None] == []
    # An expert that no image chose has zeros.
    quiet = [n for n, gradient in gradients.items() if gradient is not None and not gradient.any()]
    assert [n for n in quiet if ".experts." not in n] == []


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
