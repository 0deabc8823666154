"""What the tiny models promise, on every other preset that is small enough to run it in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from anyrestore.layers.padding import crop_to, pad_to_multiple
from anyrestore.zoo import CATALOG, load_weights, save_weights
from tiny_models import image, make, moved

SMALL_ENOUGH = [
    entry.name
    for entry in CATALOG.values()
    if entry.parameters < 20_000_000 and not entry.name.endswith("tiny")
]


@pytest.fixture(params=SMALL_ENOUGH, scope="module")
def preset(request: pytest.FixtureRequest) -> nn.Module:
    return moved(make(request.param))


def test_the_rule_covers_every_architecture_but_the_two_that_have_one_large_size() -> None:
    covered = {CATALOG[name].architecture for name in SMALL_ENOUGH}
    assert {entry.architecture for entry in CATALOG.values()} - covered == {"restormer", "promptir"}


@torch.no_grad()
def test_odd_sizes_go_through_and_two_calls_are_equal(preset: nn.Module) -> None:
    padded, original = pad_to_multiple(image(19, 33), preset.size_multiple)
    restored = crop_to(preset(padded), original)
    assert restored.shape == (1, 3, 19, 33)
    assert torch.isfinite(restored).all()
    assert torch.equal(crop_to(preset(padded), original), restored)


@torch.no_grad()
def test_a_batch_equals_its_items(preset: nn.Module) -> None:
    batch = image(16, 32, batch=2)
    together, alone = preset(batch), torch.cat([preset(one[None]) for one in batch])
    assert (together - alone).norm() < 1e-4 * (alone - batch).norm()


@torch.no_grad()
def test_bfloat16_stays_near_float32(preset: nn.Module) -> None:
    x = image(32, 32)
    exact = preset(x)
    with torch.autocast("cpu", torch.bfloat16):
        near = preset(x).float()
    assert (near - exact).norm() < 0.05 * (exact - x).norm()


def test_every_parameter_gets_a_gradient(preset: nn.Module) -> None:
    preset.train()
    forward = getattr(preset, "forward_with_losses", lambda x: (preset(x), {}))
    restored, losses = forward(image(16, 16, batch=2))
    (restored.square().mean() + sum(losses.values())).backward()
    preset.eval()
    missing = [n for n, p in preset.named_parameters() if p.requires_grad and p.grad is None]
    preset.zero_grad()
    assert missing == []


@torch.no_grad()
def test_weights_come_back_from_a_file(preset: nn.Module, tmp_path: Path) -> None:
    save_weights(preset, tmp_path / "w.safetensors", dtype=torch.float32)
    again = load_weights(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").unlink()
    assert again.config == preset.config
    assert torch.equal(again(image(16, 16)), preset(image(16, 16)))
