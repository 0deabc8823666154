import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab

from anyrestore.metrics import colour_shift
from anyrestore.metrics.colour import ciede2000, srgb_to_lab

# Of Sharma's test data: pairs about the corners of the formula, where hues lie around 0 or opposite.
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_the_formula_gives_what_its_authors_print(first, second, expected: float) -> None:
    a, b = (torch.tensor([colour], dtype=torch.float64) for colour in (first, second))
    assert round(ciede2000(a, b).item(), 4) == expected
    assert round(ciede2000(b, a).item(), 4) == expected


def test_colours_are_those_of_scikit_image() -> None:
    colours = np.random.default_rng(0).random((200, 3))
    ours = srgb_to_lab(torch.from_numpy(colours)).numpy()
    theirs = rgb2lab(colours)
    np.testing.assert_allclose(ours, theirs, atol=0.05)  # its matrix has other last digits
    first, second = torch.from_numpy(theirs[:100]), torch.from_numpy(theirs[100:])
    expected = deltaE_ciede2000(theirs[:100], theirs[100:])
    np.testing.assert_allclose(ciede2000(first, second).numpy(), expected, atol=1e-9)


def test_it_sees_tints_and_brightness_and_no_detail() -> None:
    photograph = torch.from_numpy(data.chelsea()[:96, :96] / 255).permute(2, 0, 1)[None].float()
    shuffled = photograph.flatten(2)[..., torch.randperm(96 * 96)].view_as(photograph)
    noisy = photograph + 0.1 * torch.randn(photograph.shape, generator=torch.Generator().manual_seed(0))
    tinted = photograph * torch.tensor([1.1, 1.0, 0.9]).view(3, 1, 1)
    dark = photograph * 0.5
    shifts = [colour_shift(image, photograph).item() for image in (photograph, shuffled, noisy, tinted, dark)]
    assert shifts[0] == 0
    assert shifts[1] < 1e-4
    assert shifts[2] < 0.2
    assert shifts[3] > 5
    assert shifts[4] > 20


def test_every_image_of_a_batch_has_its_own_and_means_outside_are_cut() -> None:
    ends = torch.stack([torch.zeros(3, 4, 5), torch.full((3, 4, 5), 1.5)])
    assert colour_shift(ends, ends.flip(0)).tolist() == pytest.approx([100, 100])
    assert colour_shift(ends, torch.zeros(2, 3, 4, 5)).tolist() == pytest.approx([0, 100])
