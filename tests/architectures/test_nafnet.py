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


def naive_local_means(x: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """For every pixel the mean of a window about it, moved inside where it would leave the picture."""
    height, width = x.shape[-2:]
    rows, columns = min(window[0], height), min(window[1], width)
    result = torch.empty_like(x)
    for i in range(height):
        for j in range(width):
            top = min(max(i - (rows - 1) // 2, 0), height - rows)
            left = min(max(j - (columns - 1) // 2, 0), width - columns)
            part = x[..., top : top + rows, left : left + columns]
            result[..., i, j] = part.double().mean(dim=(-2, -1)).float()
    return result


@pytest.mark.parametrize("window", [(1, 1), (4, 4), (5, 3), (7, 100), (100, 6), (13, 17), (8, 11)], ids=str)
def test_local_means_are_those_of_the_windows(window: tuple[int, int]) -> None:
    from anyrestore.layers.naf import SimplifiedChannelAttention

    attention, x = SimplifiedChannelAttention(3, window), image(13, 17, batch=2)
    torch.testing.assert_close(attention(x), x * attention.conv(naive_local_means(x, window)))


def test_a_window_as_large_as_the_picture_is_the_global_mean_to_the_bit() -> None:
    local, whole, x = tiny(local_window=(32, 48)), tiny(), image(32, 48)
    assert torch.equal(local(x), whole(x))
    assert not torch.allclose(local(image(40, 48)), whole(image(40, 48)), rtol=0, atol=1e-4)


def test_a_window_shrinks_with_the_resolution() -> None:
    model = tiny(local_window=(12, 7))
    windows = [stage[0].attention.window for stage in model.unet.stages]
    assert windows == [(12, 7), (6, 3), (3, 1), (1, 1), (3, 1), (6, 3), (12, 7)]


def test_local_means_lose_no_digits_to_a_bright_surrounding() -> None:
    """Differences of running sums in float32 would: the sums over 4,000 bright pixels have none left."""
    from anyrestore.layers.naf import window_means

    x = torch.full((1, 1, 8, 4096), 1e4)
    x[..., -64:] = image(8, 64)[:, :1]
    torch.testing.assert_close(
        window_means(x, (8, 8))[0, 0, 0, -1], x[..., -8:].double().mean().float(), rtol=1e-6, atol=0
    )


def test_a_local_mean_depends_on_its_window_only() -> None:
    from anyrestore.layers.naf import window_means

    x = image(16, 40)
    assert torch.equal(window_means(x, (5, 6))[..., 9:], window_means(x[..., 9:], (5, 6)))


def test_a_network_with_local_means_has_nothing_to_share() -> None:
    model, x = tiny(local_window=(16, 16)), image()
    assert model.share([x]) is None
    told = tiny().share([x])  # which replaces them
    assert told is not None
    assert torch.equal(model(x, told), tiny()(x, told))


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
        {"local_window": (0, 8)},
    ):
        with pytest.raises(ValueError, match="expected"):
            Config(**bad)
