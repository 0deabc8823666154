import math

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from anyrestore.metrics import psnr


def test_a_hand_computed_value() -> None:
    target = torch.zeros(1, 3, 2, 2)
    output = torch.full((1, 3, 2, 2), 0.1)
    assert psnr(output, target).item() == pytest.approx(20.0, abs=1e-5)


def test_data_range_is_the_distance_between_black_and_white() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2, 3, 8, 9, generator=generator)
    torch.testing.assert_close(psnr(255 * x, 255 * y, data_range=255.0), psnr(x, y))


def test_equal_images_are_infinitely_good() -> None:
    x = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    assert [math.isinf(v) and v > 0 for v in psnr(x, x).tolist()] == [True, True]


def test_a_batch_equals_its_images_one_by_one() -> None:
    x, y = torch.rand(2, 3, 3, 8, 9, generator=torch.Generator().manual_seed(2))
    single = torch.cat([psnr(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(psnr(x, y), single, rtol=0, atol=0)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_agrees_with_scikit_image_on_a_photograph(sigma: float) -> None:
    target = (data.chelsea() / 255).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, sigma, target.shape)
    output = (target + noise).astype(np.float32)
    ours = psnr(torch.from_numpy(output).movedim(-1, 0)[None], torch.from_numpy(target).movedim(-1, 0)[None])
    assert ours.item() == pytest.approx(peak_signal_noise_ratio(target, output, data_range=1), abs=1e-5)
