"""Small copies for a screen, of every kind of picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import pictures
from anyrestore import image
from anyrestore.errors import InputError
from anyrestore.image.preview import preview


def shown(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "WEBP"
        return np.asarray(opened.convert("RGB")).astype(int)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 3])
def test_looks_as_the_picture_does(dtype: str, bands: int) -> None:
    array = pictures.ramp(dtype, bands, width=120, height=80)
    got = shown(preview(image.encode(image.Picture(pixels=array), "tiff"), side=200))
    want = pictures.ramp("uint8", bands, width=120, height=80).astype(int)
    want = want if bands == 3 else np.repeat(want[..., None], 3, -1)
    assert got.shape == want.shape
    assert np.abs(got - want).mean() < 3


def test_is_no_larger_than_asked() -> None:
    array = pictures.ramp(width=300, height=200)
    assert shown(preview(pictures.png(array), side=60)).shape == (40, 60, 3)


def test_bad_files_are_refused_as_elsewhere() -> None:
    with pytest.raises(InputError) as cut:
        preview(pictures.png(pictures.ramp(width=90))[:2000], side=60)
    assert cut.value.code == "truncated"
    with pytest.raises(InputError) as large:
        preview(pictures.png(pictures.ramp()), side=60, max_pixels=10)
    assert large.value.code == "too_many_pixels"
