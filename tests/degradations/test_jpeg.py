"""JPEG against a real encoder and decoder (libjpeg-turbo in Pillow)."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from anyrestore.degradations import jpeg
from anyrestore.errors import UsageError


def real_jpeg(image, quality):
    pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=quality, subsampling="4:2:0")
    decoded = np.array(Image.open(buffer))
    return torch.from_numpy(decoded).permute(2, 0, 1)[None].float() / 255


def psnr(image, reference):
    return float(-10 * torch.log10(((image - reference) ** 2).mean()))


@pytest.mark.parametrize("quality", [5, 10, 30, 50, 75, 90, 95])
def test_it_is_what_a_real_codec_does(quality, photograph):
    ours, real = jpeg(photograph, float(quality)), real_jpeg(photograph, quality)
    # Far closer to the real one than either is to the picture: what is left is fixed-point rounding.
    assert psnr(ours, real) > 45
    assert psnr(ours, real) > psnr(real, photograph) + 8


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (31, 47), (8, 90)], ids=str)
def test_odd_sizes_are_padded_as_a_real_codec_pads(size, photograph):
    image = photograph[..., : size[0], : size[1]]
    assert psnr(jpeg(image, 60.0), real_jpeg(image, 60)) > 40


def test_every_image_has_its_own_quality(photograph):
    batch = photograph.repeat(3, 1, 1, 1)
    together = jpeg(batch, torch.tensor([10.0, 50.0, 90.0]))
    for i, quality in enumerate((10.0, 50.0, 90.0)):
        torch.testing.assert_close(together[i : i + 1], jpeg(photograph, quality))


def test_the_result_lies_on_8_bit_levels(photograph):
    levels = jpeg(photograph, 40.0) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_a_flat_grey_survives():
    grey = torch.full((1, 3, 20, 20), 128 / 255)
    torch.testing.assert_close(jpeg(grey, 10.0), grey)


@pytest.mark.parametrize("quality", [0.0, 101.0])
def test_qualities_off_the_scale_are_refused(quality):
    with pytest.raises(UsageError, match="quality"):
        jpeg(torch.rand(1, 3, 8, 8), quality)
