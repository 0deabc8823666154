"""The objective against its written-out forms, and what balancing does to gradients."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from anyrestore.training.objective import balance, fourier_l1, l1, reconstruction
from anyrestore.training.schedule import cosine


def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 8, 10, generator=generator), torch.rand(2, 3, 8, 10, generator=generator)


def test_fourier_l1_is_the_mean_over_real_and_imaginary_parts_of_rfft2() -> None:
    restored, clean = images()
    for i in range(2):
        a, b = (np.fft.rfft2(t[i].double().numpy()) for t in (restored, clean))
        expected = np.mean(np.abs(np.stack([a.real, a.imag]) - np.stack([b.real, b.imag])))
        assert fourier_l1(restored, clean)[i].item() == pytest.approx(expected, rel=1e-5)


def test_reconstruction_adds_a_tenth_of_the_fourier_term() -> None:
    restored, clean = images()
    torch.testing.assert_close(
        reconstruction(restored, clean),
        (restored - clean).abs().mean((1, 2, 3)) + 0.1 * fourier_l1(restored, clean),
    )
    assert torch.equal(reconstruction(restored, clean, 0.0), l1(restored, clean))


def test_log_balance_divides_every_images_gradient_by_its_loss() -> None:
    losses = torch.tensor([0.9, 0.1], requires_grad=True)
    (gradient,) = torch.autograd.grad(balance(losses, "log", floor=0.1), losses)
    torch.testing.assert_close(gradient, torch.tensor([0.5 / 1.0, 0.5 / 0.2]))
    (gradient,) = torch.autograd.grad(balance(losses), losses)
    torch.testing.assert_close(gradient, torch.tensor([0.5, 0.5]))
    (gradient,) = torch.autograd.grad(balance(losses, weights=torch.tensor([1.0, 3.0])), losses)
    torch.testing.assert_close(gradient, torch.tensor([0.5, 1.5]))


def test_cosine_rises_falls_and_ends_at_the_floor() -> None:
    factors = [cosine(step, steps=100, warmup=10, floor=0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(factors[10:]))
