"""The objective against its written-out forms, and what balancing does to gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from anyrestore.metrics import ms_ssim
from anyrestore.training.objective import balance, charbonnier, fourier_l1, image_losses, l1
from anyrestore.training.run import Loss


def images(size: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, size, size + 2, generator=generator)
    return clean + 0.2 * torch.randn(clean.shape, generator=generator), clean


def fourier_as_published(restored: Tensor, clean: Tensor) -> Tensor:
    """The formula of MoCE-IR's code: L1 of stacked real and imaginary parts."""
    a, b = torch.fft.rfft2(restored), torch.fft.rfft2(clean)
    return F.l1_loss(torch.stack([a.real, a.imag], dim=-1), torch.stack([b.real, b.imag], dim=-1))


def test_fourier_l1_is_the_published_formula() -> None:
    restored, clean = images()
    published = fourier_as_published(restored, clean)
    torch.testing.assert_close(fourier_l1(restored, clean).mean(), published, rtol=1e-5, atol=0)


def test_fourier_l1_is_the_mean_over_real_and_imaginary_parts_of_rfft2() -> None:
    restored, clean = images()
    for i in range(2):
        a, b = (np.fft.rfft2(t[i].double().numpy()) for t in (restored, clean))
        expected = np.mean(np.abs(np.stack([a.real, a.imag]) - np.stack([b.real, b.imag])))
        assert fourier_l1(restored, clean)[i].item() == pytest.approx(expected, rel=1e-5)


def test_fourier_gradient_is_the_published_formulas() -> None:
    restored, clean = images()
    ours, theirs = (restored.double().clone().requires_grad_() for _ in range(2))
    fourier_l1(ours, clean.double()).mean().backward()
    fourier_as_published(theirs, clean.double()).backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_charbonnier_by_hand() -> None:
    restored = torch.tensor([3.0, 0.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    values = charbonnier(restored, torch.zeros(2, 3, 1, 1), eps=4.0)
    torch.testing.assert_close(values, torch.tensor([5.0, 4.0]))
    restored, clean = images()
    torch.testing.assert_close(charbonnier(restored, clean, 1e-6), l1(restored, clean), rtol=0, atol=1e-5)


TERMS = {
    "l1": lambda x, y: (x - y).abs().mean((1, 2, 3)),
    "charbonnier": lambda x, y: ((x - y) ** 2 + 1e-6).sqrt().mean((1, 2, 3)),
    "fourier": fourier_l1,
    "ms_ssim": lambda x, y: 1 - ms_ssim(x, y),
}


@pytest.mark.parametrize("name", TERMS)
def test_each_term_counts_by_its_weight(name: str) -> None:
    restored, clean = images()
    loss = Loss(**({"l1": 0.0} | {name: 0.3}))  # type: ignore[arg-type]
    torch.testing.assert_close(image_losses(restored, clean, loss), 0.3 * TERMS[name](restored, clean))


def test_terms_add_up_and_half_precision_is_computed_in_float32() -> None:
    restored, clean = images()
    loss = Loss(l1=1.0, charbonnier=0.5, fourier=0.1, ms_ssim=0.2)
    expected = sum(w * TERMS[n](restored, clean) for n, w in zip(TERMS, (1.0, 0.5, 0.1, 0.2), strict=True))
    torch.testing.assert_close(image_losses(restored, clean, loss), expected)
    half = image_losses(restored.bfloat16(), clean, loss)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=0.02, atol=0)
    assert image_losses(restored.double(), clean.double(), loss).dtype == torch.float64


def test_an_image_has_the_same_loss_in_any_batch() -> None:
    restored, clean = images()
    loss = Loss(l1=1.0, charbonnier=0.5, fourier=0.1, ms_ssim=0.2)
    alone = torch.cat([image_losses(restored[i : i + 1], clean[i : i + 1], loss) for i in range(2)])
    torch.testing.assert_close(image_losses(restored, clean, loss), alone)


def test_the_gradient_is_finite_at_equal_images() -> None:
    clean = images()[1]
    restored = clean.clone().requires_grad_()
    loss = Loss(l1=1.0, charbonnier=1.0, fourier=0.1, ms_ssim=1.0)
    image_losses(restored, clean, loss).sum().backward()
    assert restored.grad is not None
    assert bool(torch.isfinite(restored.grad).all())


def test_log_balance_divides_every_images_gradient_by_its_loss() -> None:
    losses = torch.tensor([0.9, 0.1], requires_grad=True)
    (gradient,) = torch.autograd.grad(balance(losses, "log", floor=0.1), losses)
    torch.testing.assert_close(gradient, torch.tensor([0.5 / 1.0, 0.5 / 0.2]))
    (gradient,) = torch.autograd.grad(balance(losses), losses)
    torch.testing.assert_close(gradient, torch.tensor([0.5, 0.5]))
    (gradient,) = torch.autograd.grad(balance(losses, weights=torch.tensor([1.0, 3.0])), losses)
    torch.testing.assert_close(gradient, torch.tensor([0.5, 1.5]))
