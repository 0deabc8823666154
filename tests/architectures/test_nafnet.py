"""NAFNet: the public parameter counts, the network again from plain operations, training."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anyrestore.architectures.nafnet import PRESETS, Config, NAFNet

TINY = PRESETS["nafnet-tiny"]


def tiny(**changes: Any) -> NAFNet:
    """With norms and scales away from their starts: a new block is the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NAFNet(dataclasses.replace(TINY, **changes)).eval()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.ndim == 1 or "scale" in name:
                    p.add_(0.5 * torch.randn_like(p))
    return model


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


COUNTS = [
    (PRESETS["nafnet"], 17_111_907),
    (PRESETS["nafnet-denoise"], 29_159_715),
    (dataclasses.replace(PRESETS["nafnet"], width=64), 67_888_835),
    (dataclasses.replace(PRESETS["nafnet-denoise"], width=64), 115_982_915),
]


@pytest.mark.parametrize(("config", "count"), COUNTS, ids=["GoPro-32", "SIDD-32", "GoPro-64", "SIDD-64"])
def test_parameter_counts_are_the_public_ones(config: Config, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in NAFNet(config).parameters()) == count


def block(w: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    def conv(kind: str, value: torch.Tensor, **options: int) -> torch.Tensor:
        return F.conv2d(value, w[f"{name}.{kind}.weight"], w[f"{name}.{kind}.bias"], **options)

    def norm(kind: str, value: torch.Tensor) -> torch.Tensor:
        args = (value.shape[1:2], w[f"{name}.{kind}.weight"], w[f"{name}.{kind}.bias"], 1e-6)
        return F.layer_norm(value.movedim(1, -1), *args).movedim(-1, 1)

    c = x.shape[1]
    y = conv("depthwise", conv("to_mixing", norm("norm_mixing", x)), padding=1, groups=2 * c)
    y = y[:, :c] * y[:, c:]
    y = y * conv("attention.conv", F.adaptive_avg_pool2d(y, 1))
    x = x + conv("from_mixing", y) * w[f"{name}.scale_mixing"]
    y = conv("to_feedforward", norm("norm_feedforward", x))
    return x + conv("from_feedforward", y[:, :c] * y[:, c:]) * w[f"{name}.scale_feedforward"]


@torch.no_grad()
def test_the_network_is_the_papers() -> None:
    model, x = tiny(encoder=(1, 2), middle=2, decoder=(2, 1)), image(batch=2)
    w = model.state_dict()

    def stage(name: str, y: torch.Tensor) -> torch.Tensor:
        i = 0
        while f"unet.{name}.{i}.scale_mixing" in w:
            y, i = block(w, f"unet.{name}.{i}", y), i + 1
        assert i == (1 if name in ("encoder.0", "decoder.1") else 2)
        return y

    y, skips = F.conv2d(x, w["unet.stem.weight"], w["unet.stem.bias"], padding=1), []
    for level in range(2):
        skips.append(stage(f"encoder.{level}", y))
        y = F.conv2d(skips[-1], w[f"unet.down.{level}.weight"], w[f"unet.down.{level}.bias"], stride=2)
    y = stage("middle", y)
    for i in range(2):
        y = F.pixel_shuffle(F.conv2d(y, w[f"unet.up.{i}.0.weight"]), 2) + skips[1 - i]
        y = stage(f"decoder.{i}", y)
    expected = x + F.conv2d(y, w["unet.head.weight"], w["unet.head.bias"], padding=1)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_a_new_block_is_the_identity() -> None:
    from anyrestore.layers.naf import NAFBlock

    x = torch.randn(1, 8, 5, 6)
    assert torch.equal(NAFBlock(8)(x), x)


def test_every_parameter_learns_once_the_scales_have_moved() -> None:
    model, x = tiny(), image(batch=2)
    (model(x) - x).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_new_network_needs_one_step_to_move_the_scales() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NAFNet(TINY)
    x = image(batch=2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for still in (True, False):
        optimiser.zero_grad()
        (model(x) - 0.5).square().mean().backward()
        quiet = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert bool(quiet) is still
        optimiser.step()


def test_depths_are_read() -> None:
    x = image()
    assert not torch.allclose(tiny(encoder=(2, 1, 1))(x), tiny()(x))
    assert tiny(encoder=(1,), decoder=(1,)).size_multiple == 2


def test_a_batch_equals_its_images_one_by_one() -> None:
    model, x = tiny(), image(batch=3)
    one_by_one = torch.cat([model(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(x), one_by_one, rtol=1e-4, atol=1e-5)


def test_sizes_and_configs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8, came 20 x 24"):
        tiny()(image(20, 24))
    for bad in (
        {"width": 0},
        {"width": 10**9},
        {"middle": 257},
        {"encoder": (1,)},
        {"encoder": (), "decoder": ()},
    ):
        with pytest.raises(ValueError, match="expected"):
            Config(**bad)
