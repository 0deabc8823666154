from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torch import Tensor

from anyrestore.metrics import ssim_gaussian, ssim_uniform, ssim_wang

# scikit-image's own options for each of our three forms.
REFERENCE = {
    "uniform": (ssim_uniform, {}),
    "gaussian": (ssim_gaussian, {"gaussian_weights": True, "sigma": 1.5}),
    "wang": (ssim_wang, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
}

SSIM = Callable[..., Tensor]


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0)[None]


@pytest.mark.parametrize("form", REFERENCE)
@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_agrees_with_scikit_image_on_a_photograph(form: str, sigma: float) -> None:
    ssim, options = REFERENCE[form]
    target = data.chelsea()[:151, :200] / 255
    output = target + np.random.default_rng(0).normal(0, sigma, target.shape)
    expected = structural_similarity(target, output, channel_axis=-1, data_range=1, **options)
    assert ssim(as_tensor(output), as_tensor(target)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("form", REFERENCE)
def test_agrees_with_scikit_image_on_unrelated_noise(form: str) -> None:
    ssim, options = REFERENCE[form]
    x, y = np.random.default_rng(1).random((2, 33, 29, 3)) * 255
    expected = structural_similarity(x, y, channel_axis=-1, data_range=255.0, **options)
    ours = ssim(as_tensor(x), as_tensor(y), data_range=255.0).item()
    assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("form", REFERENCE)
def test_equal_images_score_one_and_the_order_does_not_matter(form: str) -> None:
    ssim = REFERENCE[form][0]
    x, y = torch.rand(2, 2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ssim(x, x), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(ssim(x, y), ssim(y, x))


@pytest.mark.parametrize("form", REFERENCE)
def test_a_batch_equals_its_images_one_by_one(form: str) -> None:
    ssim = REFERENCE[form][0]
    x, y = torch.rand(2, 3, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    single = torch.cat([ssim(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(ssim(x, y), single)


@pytest.mark.parametrize(("form", "size"), [("uniform", 7), ("gaussian", 11), ("wang", 11)])
def test_an_image_smaller_than_the_window_is_refused(form: str, size: int) -> None:
    ssim = REFERENCE[form][0]
    assert ssim(torch.ones(1, 3, size, size), torch.ones(1, 3, size, size)).item() == pytest.approx(1)
    with pytest.raises(ValueError, match=f"at least {size} x {size}"):
        ssim(torch.ones(1, 3, size, size - 1), torch.ones(1, 3, size, size - 1))
