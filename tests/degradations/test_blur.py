"""Blurs against plain loops and the shapes that their names promise."""

import pytest
import torch

from anyrestore.degradations import defocus_blur, gaussian_blur, kernel_blur, motion_blur
from anyrestore.degradations.blur import stroke
from anyrestore.errors import UsageError


def delta(b=1, size=21):
    image = torch.zeros(b, 3, size, size)
    image[..., size // 2, size // 2] = 1
    return image


def test_a_point_becomes_each_images_own_kernel(seeded):
    kernels = torch.rand(2, 5, 7, generator=seeded(0))  # not symmetric: correlation would flip it
    blurred = kernel_blur(delta(2), kernels)
    expected = kernels / kernels.sum(dim=(1, 2), keepdim=True)
    for c in range(3):
        torch.testing.assert_close(blurred[:, c, 8:13, 7:14], expected)
    assert float(blurred.sum()) == pytest.approx(6, abs=1e-4)


def test_one_kernel_serves_the_batch(seeded):
    image = torch.rand(3, 3, 12, 10, generator=seeded(1))
    kernel = torch.rand(3, 3, generator=seeded(2))
    torch.testing.assert_close(kernel_blur(image, kernel), kernel_blur(image, kernel.expand(3, 3, 3)))


def test_borders_are_mirrored():
    image = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 3, 4, 5) / 10
    blurred = kernel_blur(image, torch.tensor([[1.0, 1.0, 1.0]]))
    # At the left border 0.1 stands on both sides of 0.0, at the right 0.3 on both sides of 0.4.
    torch.testing.assert_close(blurred[0, 0, 0], torch.tensor([0.2, 0.3, 0.6, 0.9, 1.0]) / 3)


def test_an_image_smaller_than_the_kernel_repeats_its_edge():
    image = torch.tensor([0.2, 0.8]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    blurred = kernel_blur(image, torch.ones(1, 5))
    torch.testing.assert_close(blurred[0, 0, 0], torch.tensor([3 * 0.2 + 2 * 0.8, 2 * 0.2 + 3 * 0.8]) / 5)


def test_a_flat_image_stays_flat():
    flat = torch.full((2, 3, 9, 14), 0.37)
    for blurred in (gaussian_blur(flat, 3.0), defocus_blur(flat, 4.0), motion_blur(flat, 15.0, 33.0)):
        torch.testing.assert_close(blurred, flat)


def test_horizontal_motion_is_the_mean_along_the_path():
    blurred = motion_blur(delta(), 5.0, 0.0)[0, 0]
    expected = torch.zeros(21, 21)
    expected[10, 8:13] = 0.2
    torch.testing.assert_close(blurred, expected)


def test_vertical_motion_is_the_horizontal_one_turned(photograph):
    horizontal = motion_blur(photograph, 7.0, 0.0)
    vertical = motion_blur(photograph.transpose(2, 3), 7.0, 90.0).transpose(2, 3)
    torch.testing.assert_close(horizontal, vertical, atol=1e-5, rtol=0)


def test_angles_turn_counterclockwise():
    blurred = motion_blur(delta(), 15.0, 45.0)[0, 0]
    assert float(blurred[6, 14]) > 0.03  # up and to the right
    assert float(blurred[6, 6]) == 0


def test_motion_of_one_pixel_is_none(photograph):
    assert torch.equal(motion_blur(photograph, 1.0, 30.0), photograph)


def test_a_disk_is_uniform_and_round():
    blurred = defocus_blur(delta(), 4.0)[0, 0]
    inside = float(blurred[10, 10])
    assert 1 / inside == pytest.approx(3.14159 * 16, rel=0.03)  # its area
    for y, x in ((10, 13), (7, 10), (12, 12)):
        assert float(blurred[y, x]) == pytest.approx(inside)
    assert float(blurred[10, 15]) == 0
    torch.testing.assert_close(blurred, blurred.T)


def test_a_gaussian_has_its_variance():
    blurred = gaussian_blur(delta(size=41), 2.5)[0, 0]
    x = torch.arange(-20.0, 21.0)
    assert float((blurred.sum(0) * x**2).sum()) == pytest.approx(2.5**2, rel=0.02)
    torch.testing.assert_close(blurred[20, 20] * blurred[23, 22], blurred[20, 22] * blurred[23, 20])


def test_a_batch_equals_its_images_one_by_one(photograph):
    batch = torch.cat([photograph, photograph.flip(3), photograph.flip(2)])
    values = torch.tensor([0.4, 1.7, 4.2])
    for together, one in (
        (gaussian_blur(batch, values), gaussian_blur),
        (defocus_blur(batch, values), defocus_blur),
        (motion_blur(batch, 1 + values, 10 * values), lambda x, v: motion_blur(x, 1 + v, 10 * v)),
    ):
        for i in range(3):
            alone = one(batch[i : i + 1], float(values[i]))
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=0)


def test_a_stroke_is_just_large_enough():
    kernel = stroke(torch.tensor([4.0]), torch.tensor([0.0]), torch.tensor([0.5]))
    assert kernel.shape == (1, 1, 5)
    assert torch.equal(kernel, torch.ones(1, 1, 5))
    tapered = stroke(torch.tensor([4.0]), torch.tensor([0.0]), torch.tensor([0.5]), taper=1.0)
    torch.testing.assert_close(tapered[0, 0], torch.tensor([0.0, 0.75, 1.0, 0.75, 0.0]))


@pytest.mark.parametrize(
    "kernels",
    [torch.ones(4, 3), torch.zeros(3, 3), -torch.ones(3, 3), torch.ones(3, 3, 3)],
    ids=("even", "zero", "negative", "too_many"),
)
def test_unfit_kernels_are_refused(kernels):
    with pytest.raises(UsageError, match="kernels must"):
        kernel_blur(torch.rand(2, 3, 8, 8), kernels)


def test_lengths_below_one_are_refused():
    with pytest.raises(UsageError, match="length"):
        motion_blur(torch.rand(1, 3, 8, 8), 0.5, 0.0)
