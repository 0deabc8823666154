"""Decoding one picture for training: photographs, BMP, and the deep pictures of medicine."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyrestore.data.images import RANGES, decode_picture, list_pictures, load_pictures
from anyrestore.errors import DataError, InputError
from anyrestore.image import Picture, write
from layouts import write_bmp

RANDOM = np.random.default_rng(0)


def test_8_bit_colour_and_grey(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
    write(Picture(pixels=pixels), tmp_path / "colour.png")
    write(Picture(pixels=pixels[..., 0].copy(), alpha=pixels[..., 1].copy()), tmp_path / "grey.png")
    colour, grey = decode_picture(tmp_path / "colour.png"), decode_picture(tmp_path / "grey.png")
    assert colour.dtype == grey.dtype == torch.uint8
    assert (colour.permute(1, 2, 0).numpy() == pixels).all()
    assert grey.shape == (3, 5, 7)
    assert (grey.numpy() == pixels[..., 0]).all()
    assert decode_picture(tmp_path / "colour.png", grey=True).shape == (1, 5, 7)
    assert (decode_picture(tmp_path / "colour.png", grey=True)[0].numpy() == pixels[..., 0]).all()


def test_16_bits_become_float(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 65536, (5, 7), np.uint16)
    write(Picture(pixels=pixels), tmp_path / "a.png")
    picture = decode_picture(tmp_path / "a.png")
    assert (picture.dtype, picture.shape) == (torch.float32, (3, 5, 7))
    assert np.allclose(picture[1].numpy() * 65535, pixels, atol=0.01)


@pytest.mark.parametrize(("folder", "low", "high"), [("MRI", 0, 4095), ("CT", -1024, 3071), ("pet", 0, 20)])
def test_medical_arrays_are_cut_to_a_range_and_mapped_to_0_and_1(
    tmp_path: Path, folder: str, low: float, high: float
) -> None:
    path = tmp_path / folder / "train" / "HQ" / "1.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.array([[low - 5, low, (low + high) / 2], [high, high + 5, low]], np.float64))
    picture = decode_picture(path)
    assert (picture.dtype, picture.shape) == (torch.float32, (3, 2, 3))
    assert picture[2].flatten().tolist() == pytest.approx([0, 0, 0.5, 1, 1, 0])
    assert decode_picture(path, grey=True).shape == (1, 2, 3)
    assert (float(low), float(high)) == RANGES[folder.lower()]


def test_arrays_elsewhere(tmp_path: Path) -> None:
    for name, array in {
        "unit": np.array([[0.0, 0.25, 1.0]], np.float32),
        "one_channel": np.array([[[0.5], [1.0]]], np.float16),
        "bytes": np.zeros((2, 3, 3), np.uint8),
        "deep": np.full((2, 2), 65535, np.uint16),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    assert decode_picture(tmp_path / "unit.npy")[0].tolist() == [[0.0, 0.25, 1.0]]
    assert decode_picture(tmp_path / "one_channel.npy").shape == (3, 1, 2)
    assert decode_picture(tmp_path / "bytes.npy").dtype == torch.uint8
    assert decode_picture(tmp_path / "deep.npy").max() == 1


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.array([[0.0, 2.0]]), "bad_array"),  # of what kind? no folder says it
        (np.array([[0.0, np.nan]]), "non_finite"),
        (np.zeros((2, 3, 4, 5)), "bad_array"),
        (np.zeros((0, 3)), "bad_array"),
        (np.zeros((2, 2, 5)), "bad_array"),
        (np.zeros((2, 2), complex), "bad_array"),
        (np.array([[{}]], object), "corrupt"),  # a pickle
    ],
)
def test_arrays_that_are_no_pictures(tmp_path: Path, array: np.ndarray, code: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError) as raised:
        decode_picture(tmp_path / "a.npy")
    assert raised.value.code == code


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
@pytest.mark.parametrize("width", [5, 8])
def test_bmp_of_another_writer(tmp_path: Path, mode: str, width: int) -> None:
    image = Image.fromarray(RANDOM.integers(0, 256, (6, width, 3), np.uint8)).convert(mode)
    image.save(tmp_path / "a.bmp")
    expected = np.asarray(image.convert("RGB"))
    assert (decode_picture(tmp_path / "a.bmp").permute(1, 2, 0).numpy() == expected).all()


def test_bmp_that_stands_on_its_head(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (4, 5, 3), np.uint8)
    write_bmp(tmp_path / "a.bmp", pixels)
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[22:26] = (-4).to_bytes(4, "little", signed=True)
    (tmp_path / "a.bmp").write_bytes(data)
    assert (decode_picture(tmp_path / "a.bmp").permute(1, 2, 0).numpy() == pixels[::-1]).all()


def test_files_cut_anywhere_are_refused(tmp_path: Path) -> None:
    write_bmp(tmp_path / "a.bmp", RANDOM.integers(0, 256, (3, 4, 3), np.uint8))
    Image.fromarray(RANDOM.integers(0, 256, (2, 4), np.uint8)).save(tmp_path / "b.bmp")
    np.save(tmp_path / "c.npy", np.zeros((3, 4), np.float32))
    for name in ("a.bmp", "b.bmp", "c.npy"):
        data = (tmp_path / name).read_bytes()
        for end in [*range(60), len(data) - 1]:
            (tmp_path / f"cut-{name}").write_bytes(data[:end])
            with pytest.raises(InputError):
                decode_picture(tmp_path / f"cut-{name}")


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [(0, b"XX", "not_an_image"), (28, b"\x01\0", "unsupported_format"), (30, b"\x01", "unsupported_format"),
     (18, b"\xff\xff\xff\x7f", "too_many_pixels"), (22, b"\0\0\0\0", "unsupported_format")],
)  # fmt: skip
def test_bmp_headers_that_cannot_be(tmp_path: Path, at: int, value: bytes, code: str) -> None:
    write_bmp(tmp_path / "a.bmp", np.zeros((3, 4, 3), np.uint8))
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[at : at + len(value)] = value
    (tmp_path / "a.bmp").write_bytes(data)
    with pytest.raises(InputError) as raised:
        decode_picture(tmp_path / "a.bmp")
    assert raised.value.code == code


@pytest.mark.parametrize("name", ["nothing.npy", "nothing.bmp", "nothing.png", "folder.npy"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputError, match=name):
        decode_picture(tmp_path / name)


def test_an_npz_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    archive = io.BytesIO()
    np.savez(archive, a=np.zeros((2, 2)))
    (tmp_path / "a.npy").write_bytes(archive.getvalue())
    (tmp_path / "b.npy").touch()
    for name, code in (("a.npy", "bad_array"), ("b.npy", "empty_file")):
        with pytest.raises(InputError) as raised:
            decode_picture(tmp_path / name)
        assert raised.value.code == code


def test_folders_of_pictures(tmp_path: Path) -> None:
    write_bmp(tmp_path / "b.bmp", np.full((2, 2, 3), 7, np.uint8))
    np.save(tmp_path / "a.npy", np.full((2, 2), 0.5, np.float32))
    (tmp_path / "notes.txt").touch()
    paths = list_pictures(tmp_path)
    assert [path.name for path in paths] == ["a.npy", "b.bmp"]
    loaded = load_pictures(paths, progress=False)
    assert [int(picture.max()) for picture in loaded] == [128, 7]
    assert all(picture.dtype == torch.uint8 for picture in loaded)
    with pytest.raises(DataError):
        list_pictures(tmp_path / "nothing")
