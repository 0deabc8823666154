import numpy as np
import torch
from skimage import data
from skimage.color import rgb2ycbcr

from anyrestore.metrics import grey, luma


def test_luma_is_the_y_of_ycbcr() -> None:
    photograph = data.chelsea()[:40, :60]
    image = torch.from_numpy(photograph / 255).permute(2, 0, 1)[None]
    np.testing.assert_allclose(luma(image)[0, 0].numpy() * 255, rgb2ycbcr(photograph)[..., 0], atol=1e-9)


def test_black_and_white_of_both() -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    torch.testing.assert_close(luma(ends).flatten() * 255, torch.tensor([16.0, 235.0], dtype=torch.float64))
    torch.testing.assert_close(grey(ends).flatten(), torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_green_weighs_most() -> None:
    for weighted in (luma, grey):
        red, green, blue = weighted(torch.eye(3).view(3, 3, 1, 1)).flatten().tolist()
        assert green > red > blue
