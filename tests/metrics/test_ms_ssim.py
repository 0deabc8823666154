"""MS-SSIM against a plain computation in float64, plane by plane and scale by scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from anyrestore.metrics import ms_ssim, ssim_wang
from anyrestore.metrics.ms_ssim import WEIGHTS


def reference(output: Tensor, target: Tensor, weights: tuple[float, ...], data_range: float = 1.0) -> float:
    """Of one image: numpy, loops, a dense 11 x 11 window."""
    t = np.arange(11) - 5
    window = np.exp(-(t[:, None] ** 2 + t[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def local(plane: np.ndarray) -> np.ndarray:
        return (np.lib.stride_tricks.sliding_window_view(plane, (11, 11)) * window).sum(axis=(2, 3))

    def halved(plane: np.ndarray) -> np.ndarray:
        h, w = (side // 2 * 2 for side in plane.shape)
        return plane[:h, :w].reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))

    C1, C2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    channels = []
    for x, y in zip(output.double().numpy(), target.double().numpy(), strict=True):
        value = 1.0
        for scale, weight in enumerate(weights, start=1):
            mx, my = local(x), local(y)
            vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
            value *= ((2 * cov + C2) / (vx + vy + C2)).mean() ** weight
            if scale == len(weights):
                value *= ((2 * mx * my + C1) / (mx**2 + my**2 + C1)).mean() ** weight
            x, y = halved(x), halved(y)  # noqa: PLW2901
        channels.append(value)
    return float(np.mean(channels))


def images(height: int, width: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """A smooth picture with detail, and a noisy one."""
    generator = torch.Generator().manual_seed(1)
    y = torch.linspace(0, 6, height)[:, None]
    x = torch.linspace(0, 9, width)[None, :]
    planes = torch.stack([torch.sin(y * k + x) * torch.cos(x / k) for k in (1, 2, 3)])
    clean = (0.5 + 0.4 * planes)[None].repeat(2, 1, 1, 1)
    levels = torch.tensor([noise, 2 * noise]).view(2, 1, 1, 1)
    return clean + levels * torch.randn(clean.shape, generator=generator), clean


@pytest.mark.parametrize(
    ("height", "width", "scales"), [(176, 180, 5), (175, 190, 4), (128, 128, 4), (90, 44, 3), (11, 30, 1)]
)
def test_equals_the_plain_computation(height: int, width: int, scales: int) -> None:
    output, target = images(height, width)
    weights = tuple(w / sum(WEIGHTS[:scales]) for w in WEIGHTS[:scales])
    expected = [reference(output[i], target[i], weights) for i in range(2)]
    assert expected[0] > expected[1]
    assert ms_ssim(output, target).tolist() == pytest.approx(expected, abs=2e-6)
    assert ms_ssim(output.double(), target.double()).tolist() == pytest.approx(expected, abs=1e-12)


def test_the_weights_are_those_of_2003() -> None:
    assert WEIGHTS == (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    assert sum(WEIGHTS) == pytest.approx(1.0, abs=2e-4)


def test_range_of_values_scales_the_constants() -> None:
    output, target = images(64, 64)
    torch.testing.assert_close(
        ms_ssim(255 * output, 255 * target, data_range=255.0), ms_ssim(output, target), rtol=1e-5, atol=0
    )


def test_one_scale_of_flat_light_is_ssim() -> None:
    """With the same mean everywhere l is 1, and the only scale's cs is the SSIM."""
    generator = torch.Generator().manual_seed(0)
    target = 0.5 + 0.001 * torch.randn(1, 3, 16, 16, generator=generator, dtype=torch.float64)
    output = target + 0.001 * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(ms_ssim(output, target), ssim_wang(output, target), rtol=0, atol=1e-5)


def test_float32_holds_where_pictures_are_nearly_flat() -> None:
    generator = torch.Generator().manual_seed(0)
    target = 0.9 + 0.002 * torch.randn(1, 3, 128, 128, generator=generator)
    output = target + 0.002 * torch.randn(target.shape, generator=generator)
    exact = ms_ssim(output.double(), target.double())
    torch.testing.assert_close(ms_ssim(output, target).double(), exact, rtol=0, atol=1e-5)


def test_equal_images_give_one_and_no_gradient() -> None:
    target = images(64, 64)[1]
    output = target.clone().requires_grad_()
    value = ms_ssim(output, target)
    torch.testing.assert_close(value, torch.ones(2), rtol=0, atol=1e-6)
    value.sum().backward()
    assert output.grad is not None
    assert float(output.grad.abs().max()) < 1e-3


@pytest.mark.parametrize("kind", ["negative", "black", "white noise"])
def test_gradients_are_finite_where_nothing_matches(kind: str) -> None:
    target = images(64, 64)[1]
    generator = torch.Generator().manual_seed(0)
    output = {
        "negative": 1 - target,
        "black": torch.zeros_like(target),
        "white noise": torch.rand(target.shape, generator=generator),
    }[kind].requires_grad_()
    value = ms_ssim(output, target)
    assert bool(((value > 0) & (value < 0.9)).all())
    value.sum().backward()
    assert output.grad is not None
    assert bool(torch.isfinite(output.grad).all())


def test_following_the_gradient_restores() -> None:
    noisy, target = images(32, 32)
    output = noisy.clone().requires_grad_()
    before = float(ms_ssim(output, target).mean().detach())
    optimizer = torch.optim.Adam([output], lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (1 - ms_ssim(output, target)).sum().backward()
        optimizer.step()
    assert float(ms_ssim(output, target).mean().detach()) > before + 0.05


def test_refuses_what_is_smaller_than_the_window() -> None:
    with pytest.raises(ValueError, match="11 x 11"):
        ms_ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))
