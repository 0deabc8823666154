"""Noise has the mean and the variance that its formula says."""

import pytest
import torch

from anyrestore.degradations import KINDS, gaussian_noise, poisson_gaussian_noise, quantise8
from anyrestore.errors import UsageError

GREY = torch.full((2, 3, 128, 128), 0.5)


def test_gaussian_noise_has_each_images_own_sigma(seeded):
    noise = gaussian_noise(GREY, torch.tensor([10.0, 25.0]), seeded(0), clip=False) - GREY
    deviation = noise.flatten(1).std(dim=1) * 255
    assert deviation.tolist() == pytest.approx([10.0, 25.0], rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.001)


def test_gaussian_noise_is_scaled_not_redrawn(seeded):
    weak = gaussian_noise(GREY, 5.0, seeded(0), clip=False) - GREY
    strong = gaussian_noise(GREY, 20.0, seeded(0), clip=False) - GREY
    torch.testing.assert_close(4 * weak, strong, rtol=0, atol=1e-6)


def test_clipping_is_optional(seeded):
    white = torch.ones(1, 3, 16, 16)
    assert float(gaussian_noise(white, 50.0, seeded(0)).max()) == 1
    assert float(gaussian_noise(white, 50.0, seeded(0), clip=False).max()) > 1.1


def test_severity_one_half_is_sigma_25(seeded):
    assert torch.equal(KINDS["noise"](GREY, 0.5, seeded(4)), gaussian_noise(GREY, 25.0, seeded(4)))


@pytest.mark.parametrize(("gain", "sigma"), [(0.02, 0.0), (0.05, 10.0), (0.0, 15.0), (0.001, 2.0)])
def test_poisson_gaussian_noise_has_mean_x_and_variance_gain_x_plus_sigma_squared(gain, sigma, seeded):
    for x in (0.2, 0.8):
        image = torch.full((1, 3, 200, 200), x)
        y = poisson_gaussian_noise(image, gain, sigma, seeded(1), clip=False)
        assert float(y.mean()) == pytest.approx(x, abs=0.003)
        assert float(y.var()) == pytest.approx(gain * x + (sigma / 255) ** 2, rel=0.03)


def test_photons_are_counted_whole(seeded):
    y = poisson_gaussian_noise(GREY, 0.1, 0.0, seeded(2), clip=False)
    torch.testing.assert_close(y * 10, (y * 10).round(), rtol=0, atol=1e-5)
    assert len(y.unique()) > 5


def test_negative_parameters_are_refused(seeded):
    with pytest.raises(UsageError, match="sigma"):
        gaussian_noise(GREY, -1.0, seeded(0))
    with pytest.raises(UsageError, match="gain"):
        poisson_gaussian_noise(GREY, -0.1, 1.0, seeded(0))


def test_quantise8_rounds_to_the_nearest_level():
    image = torch.tensor([0.0, 0.4, 0.6, 254.4, 300.0, -3.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6) / 255
    expected = torch.tensor([0.0, 0.0, 1.0, 254.0, 255.0, 0.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6) / 255
    assert torch.equal(quantise8(image), expected)
