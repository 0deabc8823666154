"""Pictures in and out: formats, odd files, metadata, safe writing, tensors.

Row numbers (I1 ...) are those of the reliability catalogue that this project tests against.
"""

import errno
import importlib.util
import io
import os
import random
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anyrestore import image
from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.image import opening, reading, writing

# importlib mode puts no test folder on sys.path: load the helper beside this file by its place.
_spec = importlib.util.spec_from_file_location("pictures", Path(__file__).with_name("pictures.py"))
pictures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pictures)

RGB = pictures.ramp()
GREY = pictures.ramp(bands=1)
FORMATS = ["png", "jpeg", "tiff", "webp", "avif"]
PILLOW = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "webp": "WEBP", "avif": "AVIF"}
LIKE_OURS = {
    "jpeg": {"quality": 95},
    "webp": {"quality": 95},
    "avif": {"quality": 95, "subsampling": "4:4:4"},
}
SUFFIX = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "webp": ".webp", "avif": ".avif"}


def code_of(kind, call, *arguments, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    sentence = str(caught.value)
    assert sentence.endswith("."), sentence
    assert "\n" not in sentence
    return caught.value.code


def refused(data):
    return code_of(InputError, image.decode, data)


def psnr(one, other):
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


def outcome(data, expected=None):
    """The error code, or "whole"; a wrong size, or other pixels than expected, is no outcome."""
    try:
        pixels = image.decode(data).pixels
    except InputError as error:
        return error.code
    same = pixels.shape == RGB.shape if expected is None else np.array_equal(pixels, expected)
    return "whole" if same else "wrong pixels"


def whole(picture):
    """Pixels and alpha in one array, to compare with what was put in."""
    return picture.pixels if picture.alpha is None else np.dstack((picture.pixels, picture.alpha))


# ------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_decodes_to_what_pillow_sees(kind):
    data = pictures.pillow(RGB, PILLOW[kind], **LIKE_OURS.get(kind, {}))
    picture = image.decode(data)
    assert picture.format == kind
    assert picture.pixels.shape == RGB.shape
    assert picture.pixels.dtype == np.uint8
    assert picture.alpha is None
    assert picture.warnings == ()
    assert psnr(picture.pixels, np.asarray(pictures.opened(data))) >= 45


@pytest.mark.reliability("I23")
@pytest.mark.parametrize("options", [{"subsampling": "4:1:1"}, {"subsampling": 2}, {"keep_rgb": True}])
def test_jpeg_colour_layouts(options):  # I23
    smooth = pictures.ramp(width=64, height=48)
    data = pictures.pillow(smooth, "JPEG", quality=95, **options)
    assert psnr(image.decode(data).pixels, np.asarray(pictures.opened(data))) >= 45


@pytest.mark.reliability("I24", "I28", "I29", "I31", "I32")
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_png_of_every_depth_and_layout_is_exact(dtype, bands):  # I24, I28, I29, I31, I32
    shape = (16, 24) if bands == 1 else (16, 24, bands)
    stored = pictures.noise(dtype, shape)
    picture = image.decode(pictures.png(stored))
    assert np.array_equal(whole(picture), stored)
    assert picture.pixels.dtype == dtype
    assert picture.pixels.ndim == (2 if bands <= 2 else 3)
    assert (picture.alpha is not None) == (bands in (2, 4))


@pytest.mark.reliability("I54")
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_interlaced_png_is_the_same(dtype):  # I54
    stored = pictures.noise(dtype)
    interlaced = pyvips.Image.new_from_array(stored).pngsave_buffer(interlace=True)
    assert interlaced[28] == 1  # IHDR says Adam7
    assert np.array_equal(image.decode(interlaced).pixels, stored)


@pytest.mark.reliability("I25")
def test_one_bit_becomes_grey_8():  # I25
    bits = pictures.noise(shape=(16, 24)) > 127
    packed = [np.packbits(row).tobytes() for row in bits]
    for data in (
        pictures.png(bits.astype(np.uint8), bit_depth=1, rows=packed),
        pictures.pillow(bits, "TIFF"),
    ):
        picture = image.decode(data)
        assert picture.pixels.dtype == np.uint8
        assert np.array_equal(picture.pixels, bits * 255)


@pytest.mark.reliability("I26", "I27")
@pytest.mark.parametrize("transparent", [False, True])
def test_palette_becomes_rgb_and_its_transparency_alpha(transparent):  # I26, I27
    palette, opacity = pictures.noise(shape=(16, 3), seed=1), pictures.noise(shape=(16,), seed=2)
    index = pictures.noise(shape=(16, 24)) % 16
    chunks = [(b"PLTE", palette.tobytes())] + [(b"tRNS", opacity.tobytes())] * transparent
    picture = image.decode(pictures.png(index, color_type=3, chunks=chunks))
    assert np.array_equal(picture.pixels, palette[index])
    if transparent:
        assert np.array_equal(picture.alpha, opacity[index])
    else:
        assert picture.alpha is None


@pytest.mark.reliability("I33")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"bigtiff": True},
    ],
    ids=str,
)
def test_tiff_16_bit_is_exact(options):  # I33
    stored = pictures.noise("uint16")
    source = np.moveaxis(stored, -1, 0) if "planarconfig" in options else stored
    assert np.array_equal(image.decode(pictures.tiff(source, **options)).pixels, stored)


@pytest.mark.reliability("I33")
def test_tiff_lzw_is_exact():  # I33
    assert np.array_equal(image.decode(pictures.pillow(RGB, "TIFF", compression="tiff_lzw")).pixels, RGB)


@pytest.mark.reliability("I34")
def test_tiff_float_keeps_values_outside_the_range():  # I34
    values = pictures.ramp("float32") * 1.5 - 0.2
    picture = image.decode(pictures.tiff(values))
    assert picture.pixels.dtype == np.float32
    assert np.array_equal(picture.pixels, values)
    assert np.array_equal(image.decode(image.encode(picture, "tiff")).pixels, values)


@pytest.mark.reliability("I35")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_tiff_float_not_finite_is_refused(bad):  # I35
    values = pictures.ramp("float32")
    values[3, 4, 1] = bad
    assert refused(pictures.tiff(values)) == "non_finite"


@pytest.mark.parametrize(
    "array",
    [RGB.astype(np.uint32), RGB.astype(np.int16), RGB.astype(np.float64), pictures.noise(shape=(9, 9, 5))],
    ids=lambda array: f"{array.dtype}x{array.shape[2]}",
)
def test_tiff_of_other_types_is_refused(array):
    assert refused(pictures.tiff(array)) == "unsupported_format"


def test_tiff_alpha_straight_is_exact_and_premultiplied_is_divided():
    stored = pictures.noise(shape=(16, 24, 4))
    picture = image.decode(pictures.tiff(stored, extrasamples=["unassalpha"]))
    assert np.array_equal(whole(picture), stored)

    colours, alpha = pictures.ramp(), np.full((16, 24, 1), 128, np.uint8)
    multiplied = np.dstack((np.rint(colours * (128 / 255)).astype(np.uint8), alpha))
    picture = image.decode(pictures.tiff(multiplied, extrasamples=["assocalpha"]))
    assert np.array_equal(picture.alpha, alpha[..., 0])
    assert np.abs(picture.pixels.astype(int) - colours).max() <= 2
    assert "premultiplied" in picture.warnings[0]


def cmyk(*, profile=None, kind="JPEG"):
    """White, cyan, magenta, yellow and black patches; Pillow writes Adobe-inverted JPEG."""
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    stripes = np.repeat(np.array(inks, np.uint8)[np.newaxis], 16, 0).repeat(16, 1)
    options = {} if profile is None else {"icc_profile": profile}
    if kind == "JPEG":
        options |= {"quality": 100, "subsampling": 0}
    return pictures.pillow(Image.fromarray(stripes, "CMYK"), kind, **options)


@pytest.fixture(scope="module")
def cmyk_profile():
    return bytes(pyvips.Image.profile_load("cmyk"))


@pytest.mark.reliability("I21", "I22")
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("embedded", [False, True])
def test_cmyk_becomes_rgb_with_the_right_polarity(kind, embedded, cmyk_profile):  # I21, I22
    picture = image.decode(cmyk(profile=cmyk_profile if embedded else None, kind=kind))
    assert picture.pixels.shape == (16, 80, 3)
    white, cyan, magenta, yellow, black = picture.pixels[8, 8::16].astype(int)
    assert white.min() >= 250
    assert cyan[0] < 90
    assert cyan[2] > 130
    assert magenta[1] < 90
    assert magenta[0] > 150
    assert yellow[2] < 90
    assert yellow[0] > 200
    assert black.max() < 70
    assert picture.metadata.icc is None  # a CMYK profile would be wrong for RGB values


@pytest.mark.reliability("I21")
def test_cmyk_matches_little_cms(cmyk_profile):  # I21
    from PIL import ImageCms

    data = cmyk(profile=cmyk_profile)
    ours = image.decode(data).pixels
    source = ImageCms.ImageCmsProfile(io.BytesIO(cmyk_profile))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    theirs = ImageCms.profileToProfile(
        pictures.opened(data), source, ImageCms.createProfile("sRGB"), intent, outputMode="RGB"
    )
    assert np.abs(ours.astype(int) - np.asarray(theirs)).mean() <= 2


def test_cmyk_16_bit_stays_16_bit():
    inks = np.zeros((8, 8, 4), np.uint16)
    inks[4:, :, 3] = 65535
    picture = image.decode(pictures.tiff(inks, photometric="separated"))
    assert picture.pixels.shape == (8, 8, 3)
    assert picture.pixels.dtype == np.uint16
    assert picture.alpha is None
    assert picture.pixels[0].min() > 64_000
    assert picture.pixels[7].max() < 18_000


def test_cmyk_with_a_broken_profile_is_still_read():
    picture = image.decode(cmyk(profile=b"\0" * 300))
    assert picture.pixels[8, 8].min() >= 250
    assert "profile" in picture.warnings[0]


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_more_than_8_bits_uses_the_full_range_and_comes_back_exact(bits):  # I53
    values = pictures.ramp("uint16") >> (16 - bits)
    values[0, 0] = 2**bits - 1
    assert values.max() == 2**bits - 1
    shifted = pyvips.Image.new_from_array(values << (16 - bits)).copy(interpretation="rgb16")
    data = shifted.heifsave_buffer(compression="av1", bitdepth=bits, lossless=True)
    picture = image.decode(data)
    assert picture.pixels.dtype == np.uint16
    assert picture.pixels.max() == 65535  # white is white
    assert picture.metadata.significant_bits == bits
    again = image.decode(image.encode(picture, "avif", quality=100))
    assert again.metadata.significant_bits == bits
    assert np.abs(again.pixels.astype(int) - picture.pixels).max() < 600  # lossy, but not 8 bits


# ------------------------------------------------------------------- what is refused, and how


@pytest.mark.reliability("I5", "I7", "I52", "I59")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"Hello, I am a text.\n" * 20, "not_an_image"),
        (b"<html><body>no</body></html>", "not_an_image"),
        (b"PK\x03\x04" + b"\0" * 60, "not_an_image"),
        (b"\x7fELF" + b"\0" * 60, "not_an_image"),
        (b"BM is how this text starts", "not_an_image"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_format"),
        (b'<?xml version="1.0"?>\n<!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        (b"GIF89a" + b"\0" * 60, "unsupported_format"),
        (b"BM" + struct.pack("<IHHI", 90, 0, 0, 54) + b"\0" * 60, "unsupported_format"),
        (b"P6\n2 2\n255\n" + b"\0" * 12, "unsupported_format"),
        (b"8BPS\0\1" + b"\0" * 60, "unsupported_format"),
        (b"\x76\x2f\x31\x01" + b"\0" * 60, "unsupported_format"),
        (b"\xff\x0a" + b"\0" * 60, "unsupported_format"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 60, "unsupported_format"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 60, "unsupported_format"),
        (b"SIMPLE  =                    T", "unsupported_format"),
        (b"DDS " + b"\0" * 60, "unsupported_format"),
        (b"\xd7\xcd\xc6\x9a" + b"\0" * 60, "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 60, "format_needs_extra"),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 60, "unsupported_format"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:12]),
)
def test_refused_by_content_whatever_the_name(tmp_path, data, code):  # I5, I7, I52, I59
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    assert code_of(InputError, image.read, path) == code
    assert code_of(InputError, image.read_header, path) == code
    if code == "unsupported_format":
        with pytest.raises(InputError, match="PNG, JPEG, TIFF, WebP and AVIF"):
            image.read(path)


@pytest.mark.reliability("I6")
def test_random_bytes_are_never_anything_else_than_refused():  # I6
    source = random.Random(0)
    starts = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"\0\0\0\x1cftypavif"]
    starts.append(b"RIFF\x40\0\0\0WEBP")
    for _ in range(150):
        for start in starts:
            try:
                image.decode(start + source.randbytes(source.randint(1, 64)))
            except InputError:
                continue
            pytest.fail("random bytes were decoded")


@pytest.mark.reliability("I59")
@pytest.mark.parametrize("marker", [0xC3, 0xC9, 0xCA])
def test_jpeg_of_rare_kinds_never_reaches_the_decoder(marker, monkeypatch):  # I59
    data = pictures.pillow(RGB, "JPEG")
    at = data.index(b"\xff\xc0")
    monkeypatch.setattr(opening, "_loader", lambda *_: pytest.fail("the decoder was entered"))
    assert refused(data[: at + 1] + bytes([marker]) + data[at + 2 :]) == "unsupported_format"
    assert refused(data[: at + 4] + b"\x0c" + data[at + 5 :]) == "unsupported_format"  # 12 bits


def test_avif_that_holds_another_codec_is_refused(monkeypatch):
    data = pictures.pillow(RGB, "AVIF")
    opened = opening._loader("avif", data)[0].copy()
    opened.set_type(pyvips.GValue.gstr_type, "heif-compression", "hevc")
    monkeypatch.setattr(opening, "_loader", lambda *_: (opened, None))
    assert refused(data) == "unsupported_format"


@pytest.mark.reliability("I8")
def test_a_wrong_extension_is_a_warning(tmp_path):  # I8
    path = tmp_path / "really_a_jpeg.png"
    path.write_bytes(pictures.pillow(RGB, "JPEG"))
    picture = image.read(path)
    assert picture.format == "jpeg"
    assert len(picture.warnings) == 1
    assert "jpeg" in picture.warnings[0]
    assert np.array_equal(picture.pixels, image.decode(path.read_bytes()).pixels)


@pytest.mark.reliability("I9", "I55")
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_what_follows_the_picture_is_ignored_and_not_passed_on(kind):  # I9, I55
    clean = pictures.pillow(RGB, PILLOW[kind])
    garbage = b"PK\x03\x04 MARKER <script>" + bytes(100_000)
    picture = image.decode(clean + garbage)
    assert np.array_equal(picture.pixels, image.decode(clean).pixels)
    assert b"MARKER" not in image.encode(picture, kind)


@pytest.mark.reliability("I62")
def test_paths_that_are_no_regular_file(tmp_path):  # I62
    (tmp_path / "x.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s.png"))
    start = time.monotonic()
    for name in (tmp_path / "x.png", tmp_path / "pipe.png", tmp_path / "s.png", Path("/dev/zero")):
        assert code_of(InputError, image.read, name) == "not_a_regular_file"
    assert time.monotonic() - start < 1
    listening.close()


@pytest.mark.reliability("I64")
def test_paths_that_lead_nowhere(tmp_path):  # I61, I64
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "file").write_bytes(b"x")
    names = ["missing.png", "loop.png", "dangling.png", "file/x.png", "x" * 300 + ".png", "nul\0.png"]
    for name in names:
        assert code_of(InputError, image.read, f"{tmp_path}/{name}") == "not_found", name


@pytest.fixture
def guarded():
    """A folder that may be entered but not written, in a process that mode bits stop (root they do not)."""
    folder = Path(tempfile.mkdtemp())
    (folder / "secret.png").write_bytes(pictures.png(RGB))
    (folder / "secret.png").chmod(0)
    folder.chmod(0o555)
    effective = os.geteuid()
    if effective == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(effective)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.reliability("I60", "I67")
def test_permission(guarded):  # I60, I67
    assert code_of(InputError, image.read, guarded / "secret.png") == "permission"
    assert code_of(OutputError, image.check_writable, guarded / "new.png") == "output_unwritable"
    assert code_of(OutputError, image.write, PICTURE, guarded / "new.png") == "output_unwritable"


@pytest.mark.parametrize("extra", [0, 1])
def test_file_size_limit_is_checked_before_reading(tmp_path, monkeypatch, extra):
    data = pictures.png(RGB)
    (tmp_path / "x.png").write_bytes(data)
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", len(data) - extra)
    if extra:
        assert code_of(InputError, image.read, tmp_path / "x.png") == "file_too_large"
    else:
        assert np.array_equal(image.read(tmp_path / "x.png").pixels, RGB)


@pytest.mark.reliability("I14", "I15")
def test_pixel_limit_is_checked_from_the_header(tmp_path):  # I14, I15
    path = tmp_path / "bomb.png"
    path.write_bytes(pictures.png_bomb(20_000))
    assert path.stat().st_size < 500_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    assert code_of(InputError, image.read, path) == "too_many_pixels"
    assert time.monotonic() - start < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # kilobytes
    with pytest.raises(InputError, match="20000 x 20000 = 400,000,000 pixels; the limit is 200,000,000"):
        image.read(path)
    area = RGB.shape[0] * RGB.shape[1]
    assert image.decode(pictures.png(RGB), max_pixels=area).pixels.shape == RGB.shape
    assert code_of(InputError, image.decode, pictures.png(RGB), max_pixels=area - 1) == "too_many_pixels"


@pytest.mark.reliability("I16")
@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2**31 - 1, 2**31 - 1), (14_000, 14_000), (1, 70_000)])
def test_headers_that_lie(size):  # I16
    start = time.process_time()
    assert refused(pictures.png(RGB, size=size)) in {"too_many_pixels", "truncated", "corrupt"}
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_chunk_bombs_are_not_unpacked(kind):  # I17
    squeeze = zlib.compressobj(9)
    packed = b"".join(squeeze.compress(bytes(1_000_000)) for _ in range(120)) + squeeze.flush()
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + packed
    data = pictures.png(RGB, chunks=[(kind, body)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert np.array_equal(image.decode(data).pixels, RGB)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80 * 1024


def test_tiff_with_a_loop_or_endless_pages():  # I18
    data = bytearray(pictures.tiff(RGB))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)  # the next page is this page
    assert refused(bytes(data)) == "corrupt"


def animations():
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    options = {"save_all": True, "append_images": frames[1:]}
    for kind in ("WEBP", "PNG", "AVIF"):
        yield kind, pictures.pillow(frames[0], kind, **options)
    yield "TIFF", pictures.tiff(np.stack([RGB, RGB, RGB]), photometric="rgb")
    yield "BigTIFF", pictures.tiff(np.stack([RGB, RGB, RGB]), photometric="rgb", bigtiff=True)


@pytest.mark.parametrize(
    ("kind", "data"), [*animations()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_several_pictures_in_one_file_are_refused(kind, data):  # I19, I40, I41, I42
    assert refused(data) == "multi_page"


def test_pictures_beside_the_main_one_are_a_warning():  # I43
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    data = pictures.pillow(frames[0], "MPO", save_all=True, append_images=frames[1:])
    picture = image.decode(data)
    assert "only the main one" in picture.warnings[0]
    assert psnr(picture.pixels, RGB) > 30


def test_camera_raw_is_not_taken_for_its_thumbnail():
    data = pictures.tiff(RGB, subfiletype=1)
    assert refused(data) == "unsupported_format"
    data = pictures.tiff(RGB, extratags=[(0xC612, 1, 4, b"\1\4\0\0", True)])
    assert refused(data) == "unsupported_format"


def whole_files():
    smooth = pictures.ramp(width=40, height=32)
    yield "png", pictures.pillow(smooth, "PNG")
    yield "jpeg", pictures.pillow(smooth, "JPEG")
    yield "progressive jpeg", pictures.pillow(smooth, "JPEG", progressive=True)
    yield "webp", pictures.pillow(smooth, "WEBP")
    yield "lossless webp", pictures.pillow(smooth, "WEBP", lossless=True)
    yield "tiff", pictures.pillow(smooth, "TIFF")
    yield "tiff lzw", pictures.pillow(smooth, "TIFF", compression="tiff_lzw")
    yield "tiled tiff", pictures.tiff(smooth, tile=(16, 16), compression="zlib")
    yield "avif", pictures.pillow(smooth, "AVIF")


@pytest.mark.reliability("I1", "I2", "I3", "I4")
@pytest.mark.parametrize(
    ("kind", "data"), [*whole_files()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_cut_file_is_never_decoded_in_part(kind, data):  # I1-I4
    full = image.decode(data).pixels
    tail = range(len(data) - 20, len(data))
    seen = set()
    for cut in sorted({*range(40), *range(40, len(data), max(1, len(data) // 150)), *tail}):
        code = outcome(data[:cut], full)
        seen.add(code)
        assert cut < 64 or code in {"whole", "truncated", "corrupt"}, cut
    assert "truncated" in seen


@pytest.mark.reliability("I58")
def test_png_with_a_wrong_checksum_is_refused():  # I58
    data = pictures.png(RGB, chunks=[(b"tEXt", b"Title\0words")])
    for at in (20, 45, 100, len(data) - 20):
        assert refused(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]) in {"corrupt", "truncated"}


@pytest.mark.reliability("I57")
def test_flipped_jpeg_bytes_never_crash(capfd):  # I57
    source, data = random.Random(0), pictures.pillow(RGB, "JPEG")
    start = data.index(b"\xff\xda") + 14
    for _ in range(100):
        at = source.randrange(start, len(data) - 2)
        damaged = data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
        assert outcome(damaged) in {"whole", "truncated", "corrupt"}
    assert capfd.readouterr() == ("", "")  # libvips and libjpeg keep quiet


# -------------------------------------------------------------------------------- orientation


@pytest.mark.reliability("I44")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", FORMATS)
def test_orientation_is_applied_and_reset(kind, orientation, tmp_path):  # I44
    stored = pictures.upright_to(pictures.ramp(width=48, height=32), orientation)
    options = LIKE_OURS.get(kind, {})
    data = pictures.pillow(stored, PILLOW[kind], exif=pictures.exif(orientation), **options)
    upright = image.decode(data)
    reference = image.decode(pictures.pillow(pictures.ramp(width=48, height=32), PILLOW[kind], **options))
    assert upright.pixels.shape == (32, 48, 3)
    assert psnr(upright.pixels, reference.pixels) > 38  # the same codec, turned: blocks differ a little
    if kind in ("png", "tiff"):
        assert np.array_equal(upright.pixels, reference.pixels)
    path = tmp_path / f"x{SUFFIX[kind]}"
    path.write_bytes(data)
    header = image.read_header(path)
    assert (header.width, header.height) == (48, 32)
    for out in FORMATS:
        written = image.encode(upright, out)
        assert pictures.opened(written).getexif().get(0x0112, 1) == 1
        assert image.decode(written).pixels.shape == (32, 48, 3)


@pytest.mark.reliability("I45")
@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_ignored(orientation):  # I45
    picture = image.decode(pictures.pillow(RGB, "PNG", exif=pictures.exif(orientation)))
    assert np.array_equal(picture.pixels, RGB)
    assert pictures.opened(image.encode(picture, "png")).getexif()[0x0112] == 1


# ----------------------------------------------------------------------------------- metadata


def with_gps(kind, *, big_endian=False):
    """A file with the place in EXIF and in XMP."""
    if kind == "tiff":
        block = pictures.exif(big_endian=big_endian, xmp=pictures.XMP_GPS)
        return pictures.pillow(RGB, "TIFF", exif=block)
    block = pictures.exif(big_endian=big_endian)
    return pictures.pillow(RGB, PILLOW[kind], exif=block, xmp=pictures.XMP_GPS)


@pytest.mark.reliability("I51")
@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("big_endian", [False, True])
def test_exif_travels_without_gps(source, target, big_endian):  # I51
    data = with_gps(source, big_endian=big_endian)
    assert pictures.opened(data).getexif().get_ifd(0x8825)  # it is there to begin with
    written = image.encode(image.decode(data), target)
    found = pictures.opened(written).getexif()
    assert found[0x010F] == "Examplecam"
    assert found[0x0110] == "Model One"
    assert found[0x0132] == "2021:02:03 04:05:06"
    assert found[0x8298] == "(c) Somebody"
    details = found.get_ifd(0x8769)
    assert details[0x9003] == "2021:02:03 04:05:06"
    assert details[0x8827] == 200
    assert details[0x927C] == b"NOTE\0\1\2\3\xff\xfe" * 3
    assert details[0xA434] == "Example 50 mm"
    assert found.get_ifd(0x8825) == {}
    assert 0x8825 not in found
    assert struct.pack("<II", 52, 1) not in written  # nor are the degrees left as dead bytes
    assert struct.pack(">II", 52, 1) not in written
    assert b"gps" not in written.lower()
    packet = image.decode(written, keep_gps=True).metadata.xmp  # (compressed in a PNG)
    assert b"gps" not in packet.lower()
    assert b"CreatorTool" in packet
    assert b"Somebody</dc:rights>" in packet


@pytest.mark.reliability("I51")
@pytest.mark.parametrize("kind", FORMATS)
def test_gps_is_kept_on_request(kind):  # I51
    data = with_gps(kind)
    written = image.encode(image.decode(data, keep_gps=True), kind)
    place = pictures.opened(written).getexif().get_ifd(0x8825)
    assert place[1] == "N"
    assert [float(part) for part in place[2]] == [52.0, 30.0, 17.25]
    assert b'GPSLatitude="52,30.2875N"' in image.decode(written, keep_gps=True).metadata.xmp


def test_xmp_in_a_form_that_cannot_be_cleaned_is_dropped():
    packet = pictures.XMP_GPS.decode().encode("utf-16-le")
    picture = image.decode(pictures.pillow(RGB, "JPEG", xmp=packet))
    assert picture.metadata.xmp is None
    assert "XMP" in picture.warnings[0]


def test_xmp_orientation_is_reset_and_other_words_stay():
    cleaned = image.decode(pictures.pillow(RGB, "PNG", xmp=pictures.XMP_GPS)).metadata.xmp
    assert b'tiff:Orientation="1"' in cleaned
    assert b"Tool" in cleaned
    assert b"52,30" not in cleaned
    assert b"13.4" not in cleaned
    assert b"35/1" not in cleaned


def test_gps_in_png_text_goes_and_other_text_stays():
    chunks = [(b"tEXt", b"exif:GPSLatitude\0 52/1"), (b"tEXt", b"Title\0A street")]
    chunks.append((b"tEXt", b"Raw profile type exif\0 00ff"))
    written = image.encode(image.decode(pictures.png(RGB, chunks=chunks)), "png")
    assert pictures.opened(written).info["Title"] == "A street"
    assert b"GPS" not in written
    assert b"Raw profile" not in written


def test_the_thumbnail_goes_with_the_old_picture():
    block = pictures.exif(gps=False)
    # A second list of tags behind the first is the thumbnail's.
    (first,) = struct.unpack_from("<I", block, 6 + 4)
    (count,) = struct.unpack_from("<H", block, 6 + first)
    entry = struct.pack("<HHHII", 1, 0x0201, 4, 1, 0) + bytes(4)
    link = struct.pack("<I", len(block) - 6)
    at = 6 + first + 2 + 12 * count
    block = block[:at] + link + block[at + 4 :] + entry + b"THUMBNAIL"
    picture = image.decode(pictures.pillow(RGB, "JPEG", exif=block))
    assert b"THUMBNAIL" not in picture.metadata.exif
    assert b"Examplecam" in picture.metadata.exif


@pytest.mark.reliability("I46")
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "avif"])  # the EXIF of a TIFF is the TIFF itself
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize(
    "block", [b"II*\0\xff\xff\xff\xffgarbage", b"no exif at all", b"II*\0\x08\0\0\0\xff\xff"]
)
def test_corrupt_exif_is_a_warning(kind, block):  # I46
    if kind == "png":
        data = pictures.png(RGB, chunks=[(b"eXIf", block)])
    elif kind == "avif" and not block.startswith(b"II"):
        data = pictures.pillow(RGB, "AVIF", exif=pictures.exif()).replace(b"II*\0", b"xx*\0")
    else:
        data = pictures.pillow(RGB, PILLOW[kind], exif=b"Exif\0\0" + block.ljust(30, b"."))
    picture = image.decode(data)
    clean = image.decode(pictures.pillow(RGB, PILLOW[kind]))
    assert np.array_equal(picture.pixels, clean.pixels)
    assert picture.metadata.exif is None
    assert "EXIF" in picture.warnings[0]


@pytest.mark.reliability("I47", "I48")
@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_icc_profile_is_kept_byte_for_byte(source, target):  # I47, I48
    profile = pictures.icc()
    picture = image.decode(pictures.pillow(RGB, PILLOW[source], icc_profile=profile))
    assert picture.metadata.icc == profile
    assert pictures.opened(image.encode(picture, target)).info["icc_profile"] == profile


@pytest.mark.reliability("I48")
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_grey_icc_profile_is_kept_byte_for_byte(kind):  # I48
    profile = bytearray(pictures.icc(b"GRAY"))
    picture = image.decode(pictures.pillow(GREY, "TIFF", icc_profile=bytes(profile)))
    assert picture.metadata.icc == bytes(profile)
    if kind != "png":  # libpng wants more than a patched header
        assert pictures.opened(image.encode(picture, kind)).info["icc_profile"] == profile


@pytest.mark.reliability("I49")
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("bad", ["zeros", "cut", "grey"])
def test_a_bad_icc_profile_is_dropped_with_a_warning(kind, bad):  # I49
    profile = {"zeros": bytes(300), "cut": pictures.icc()[:200], "grey": pictures.icc(b"GRAY")}[bad]
    picture = image.decode(pictures.pillow(RGB, PILLOW[kind], icc_profile=profile))
    assert picture.metadata.icc is None
    assert "ICC" in picture.warnings[0]


@pytest.mark.reliability("I50")
@pytest.mark.parametrize("name", [b"gAMA", b"cHRM"])
def test_png_colour_chunks_are_ignored_with_a_warning(name):  # I50
    body = struct.pack(">I", 100_000) * (1 if name == b"gAMA" else 8)
    picture = image.decode(pictures.png(RGB, chunks=[(name, body)]))
    assert np.array_equal(picture.pixels, RGB)
    assert name.decode() in picture.warnings[0]


@pytest.mark.parametrize("source", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("target", ["png", "jpeg", "tiff"])
def test_resolution_is_kept(source, target):
    picture = image.decode(pictures.pillow(RGB, PILLOW[source], dpi=(300, 150)))
    found = pictures.opened(image.encode(picture, target)).info["dpi"]
    assert [round(float(value)) for value in found] == [300, 150]


def test_iptc_travels_between_jpeg_and_tiff_without_the_rest_of_the_block():
    records = b"\x1c\x02\x69\0\x08Headline" + b"\x1c\x02\x74\0\x07(c) Som"
    other = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 6) + b"THUMBS"
    resource_block = (
        b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + b"\0" * (len(records) & 1)
    )
    body = b"Photoshop 3.0\0" + other + resource_block
    plain = pictures.pillow(RGB, "JPEG")
    data = plain[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    picture = image.decode(data)
    assert picture.metadata.iptc == records
    for kind in ("jpeg", "tiff"):
        again = image.decode(image.encode(picture, kind))
        assert again.metadata.iptc == records
        assert again.warnings == ()
    assert b"THUMBS" not in image.encode(picture, "jpeg")


@pytest.mark.parametrize("kind", FORMATS)
def test_no_metadata_in_no_metadata_out(kind):
    found = pictures.opened(image.encode(image.Picture(pixels=RGB), kind))
    assert {tag for tag in found.getexif() if tag > 0x8000 or tag in (0x10F, 0x110)} == set()
    assert "icc_profile" not in found.info
    assert not found.info.get("xmp")


# ------------------------------------------------------------------------------------ writing

PICTURE = image.Picture(pixels=RGB)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", FORMATS)
def test_round_trip_of_every_kind(kind, bands, dtype, tmp_path):
    shape = (16, 24) if bands <= 2 else (16, 24, 3)
    if dtype == "float32":
        pixels = np.random.default_rng(0).random(shape, np.float32)
        alpha = pixels[:, ::-1] if bands in (2, 4) else None
        alpha = alpha if alpha is None or alpha.ndim == 2 else alpha[..., 0]
    else:
        pixels = pictures.noise(dtype, shape)
        alpha = pictures.noise(dtype, (16, 24), seed=5) if bands in (2, 4) else None
    picture = image.Picture(pixels=pixels, alpha=alpha)
    path = tmp_path / f"out{SUFFIX[kind]}"
    impossible = (
        (kind == "jpeg" and (alpha is not None or dtype != "uint8"))
        or (kind == "webp" and dtype != "uint8")
        or (kind in ("png", "avif") and dtype == "float32")
    )
    if impossible:
        assert code_of(UsageError, image.write, picture, path) == "format_cannot_hold"
        assert list(tmp_path.iterdir()) == []
        return
    image.write(picture, path)
    back = image.read(path)
    assert back.format == kind
    assert back.warnings == ()
    if kind in ("png", "tiff"):
        assert np.array_equal(back.pixels, pixels)
        assert back.pixels.dtype == pixels.dtype
        assert (back.alpha is None) == (alpha is None)
        assert alpha is None or np.array_equal(back.alpha, alpha)
        return
    assert back.pixels.shape[:2] == (16, 24)
    assert (back.alpha is None) == (alpha is None)
    if kind in ("webp", "avif") and dtype == "uint8":  # lossless, since the source was
        expected = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
        assert np.array_equal(back.pixels, expected)
        assert alpha is None or np.array_equal(back.alpha, alpha)


def test_independent_readers_agree_about_what_was_written():
    grey = pictures.noise("uint16", (16, 24))
    assert np.array_equal(np.asarray(pictures.opened(image.encode(image.Picture(pixels=grey), "png"))), grey)
    colour = pictures.noise("uint16")
    picture = image.Picture(
        pixels=colour,
        alpha=grey,
        metadata=image.decode(pictures.pillow(RGB, "JPEG", exif=pictures.exif(big_endian=True))).metadata,
    )
    with tifffile.TiffFile(io.BytesIO(image.encode(picture, "tiff"))) as file:
        assert len(file.pages) == 1
        assert np.array_equal(file.pages[0].tags[256].value, 24)
        assert file.pages[0].tags[0x010F].value == "Examplecam"
        assert file.pages[0].tags[0x8769].value["LensModel"] == "Example 50 mm"
    assert np.array_equal(np.asarray(pictures.opened(image.encode(PICTURE, "webp"))), RGB)
    eight = pictures.opened(image.encode(image.Picture(pixels=colour), "png"))
    assert np.array_equal(np.asarray(eight), (colour >> 8).astype(np.uint8))  # Pillow shows the high bytes


def test_jpeg_is_written_in_444_at_high_quality():
    chequer = np.indices((32, 32)).sum(0)[..., None] % 2 * np.array([255, 0, 0], np.uint8)
    back = image.decode(image.encode(image.Picture(pixels=chequer.astype(np.uint8)), "jpeg"))
    assert psnr(back.pixels, chequer) > 35  # subsampled chroma would give about 10 dB


def test_quality_makes_files_smaller_and_is_checked():
    # (noise, so that every quality step shows)
    picture = image.Picture(pixels=pictures.noise(shape=(64, 64, 3)))
    for kind in ("jpeg", "webp", "avif"):
        assert len(image.encode(picture, kind, quality=40)) < len(image.encode(picture, kind, quality=90))
    for quality in (0, 101, -5):
        assert code_of(UsageError, image.encode, picture, "jpeg", quality=quality) == "usage"


def test_lossy_sources_stay_lossy_in_webp_and_avif():
    lossy = image.decode(pictures.pillow(pictures.noise(shape=(64, 64, 3)), "JPEG"))
    lossless = image.Picture(pixels=lossy.pixels)
    for kind in ("webp", "avif"):
        assert len(image.encode(lossy, kind)) < len(image.encode(lossless, kind))


@pytest.mark.reliability("I10", "I11", "I12")
@given(height=st.integers(1, 40), width=st.integers(1, 40), kind=st.sampled_from(FORMATS))
def test_size_out_is_size_in(height, width, kind):  # I10, I11, I12
    pixels = pictures.noise(shape=(height, width, 3))
    back = image.decode(image.encode(image.Picture(pixels=pixels), kind))
    assert back.pixels.shape == (height, width, 3)
    if kind != "jpeg":
        assert np.array_equal(back.pixels, pixels)


@pytest.mark.reliability("I11", "I13")
@pytest.mark.parametrize("shape", [(1, 4096), (4096, 1), (7, 8193)])
@pytest.mark.parametrize("kind", FORMATS)
def test_extreme_shapes(shape, kind):  # I11, I13
    assert (
        image.decode(
            image.encode(image.Picture(pixels=pictures.noise(shape=(*shape, 3))), kind)
        ).pixels.shape[:2]
        == shape
    )


def test_sides_that_a_format_cannot_hold_are_refused():
    long = image.Picture(pixels=np.zeros((1, 16_384), np.uint8))
    assert code_of(UsageError, image.encode, long, "webp") == "format_cannot_hold"
    longer = image.Picture(pixels=np.zeros((65_536, 1), np.uint8))
    for kind in ("webp", "jpeg", "avif"):
        assert code_of(UsageError, image.encode, longer, kind) == "format_cannot_hold"
    assert image.decode(image.encode(longer, "png")).pixels.shape == (65_536, 1)


def test_pictures_that_are_not_pictures_are_refused(tmp_path):
    bad = [
        ({"pixels": RGB.astype(np.float64)}, "bad_array"),
        ({"pixels": RGB, "alpha": GREY[:-1]}, "bad_array"),
        ({"pixels": RGB, "alpha": GREY.astype(np.uint16)}, "bad_array"),
        ({"pixels": np.full((2, 2), np.nan, np.float32)}, "non_finite"),
    ]
    for fields, code in bad:
        assert code_of(InputError, image.write, image.Picture(**fields), tmp_path / "x.tiff") == code
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_left_alone_unless_asked(tmp_path):  # I65
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    assert code_of(OutputError, image.check_writable, path) == "output_exists"
    assert code_of(OutputError, image.write, PICTURE, path) == "output_exists"
    assert path.read_bytes() == b"old"
    image.check_writable(path, overwrite=True)
    assert path.read_bytes() == b"old"
    image.write(PICTURE, path, overwrite=True)
    assert np.array_equal(image.read(path).pixels, RGB)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path, monkeypatch, links):
    path = tmp_path / "x.png"
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    image.write(PICTURE, path)
    path.unlink()
    real = os.fsync

    def meanwhile(descriptor):
        real(descriptor)
        path.write_bytes(b"somebody else's")

    monkeypatch.setattr(os, "fsync", meanwhile)
    assert code_of(OutputError, image.write, PICTURE, path) == "output_exists"
    assert path.read_bytes() == b"somebody else's"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.reliability("I64", "I67")
def test_targets_that_cannot_be_written(tmp_path):  # I64, I67
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    cases = {
        "folder.png": "output_unwritable",
        "pipe.png": "output_unwritable",
        "missing/x.png": "output_unwritable",
        "file/x.png": "output_unwritable",
        "x" * 300 + ".png": "output_unwritable",
        "nul\0.png": "output_unwritable",
        "x.bmp": "output_unsupported",
        "x": "output_unsupported",
    }
    before = sorted(entry.name for entry in tmp_path.iterdir())
    for name, code in cases.items():
        for call in (
            lambda p: image.check_writable(p, True),
            lambda p: image.write(PICTURE, p, overwrite=True),
        ):
            assert code_of(OutputError, call, f"{tmp_path}/{name}") == code, name
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


@pytest.mark.reliability("I63")
@pytest.mark.parametrize(
    "name",
    [
        "e\u0301.png",
        "\N{FROG FACE}.png",
        "a\nb.png",
        "-rf.png",
        ".hidden.png",
        "n" * 251 + ".png",
        os.fsdecode(b"bad\xff.png"),
        "é" * 125 + ".png",
    ],
)
def test_unusual_names(tmp_path, name):  # I63
    image.write(PICTURE, tmp_path / name)
    assert np.array_equal(image.read(tmp_path / name).pixels, RGB)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    code_of(OutputError, image.write, PICTURE, tmp_path / name)  # one line, printable


def test_modes_follow_the_umask_and_a_replaced_file(tmp_path):
    old = os.umask(0o027)
    try:
        image.write(PICTURE, tmp_path / "x.png")
        assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o640
        (tmp_path / "x.png").chmod(0o604)
        image.write(PICTURE, tmp_path / "x.png", overwrite=True)
        assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o604
    finally:
        os.umask(old)


def test_a_symbolic_link_is_followed(tmp_path):  # I68
    (tmp_path / "real").mkdir()
    image.write(PICTURE, tmp_path / "real" / "x.png")
    (tmp_path / "link.png").symlink_to("real/x.png")
    image.write(image.Picture(pixels=GREY), tmp_path / "link.png", overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert np.array_equal(image.read(tmp_path / "real" / "x.png").pixels, GREY)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "output_unwritable"),
        (errno.EIO, "output_storage"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_failing_system_call_leaves_the_old_file_and_no_other(
    tmp_path, monkeypatch, number, code, call
):  # I66
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def failing(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, failing)
    assert code_of(OutputError, image.write, PICTURE, path, overwrite=True) == code
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("limit", [0, 1, 4096, 10_000, 20_000])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, limit):  # I66
    path = tmp_path / "x.tiff"
    path.write_bytes(b"old")
    big = image.Picture(pixels=pictures.noise(shape=(100, 100, 3)))  # about 30,000 bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        code = code_of(OutputError, image.write, big, path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == "disk_full"
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.tiff"]


def test_what_was_not_encoded_well_never_reaches_the_disk(tmp_path, monkeypatch):
    real = writing._save
    for damage in (lambda data: data[: len(data) // 2], lambda _: pictures.png(RGB[:-1]), lambda _: b""):
        monkeypatch.setattr(writing, "_save", lambda *a, damage=damage, **k: damage(real(*a, **k)))
        assert code_of(OutputError, image.write, PICTURE, tmp_path / "x.png") == "output_encoding"
        assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        image.write(PICTURE, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_order_of_system_calls(tmp_path, monkeypatch):
    """Contents reach the disk before the name does, and the name before the call returns."""
    calls = []

    def spy(name):
        real = getattr(os, name)

        def recorded(first, *rest):
            what = name
            if name == "fsync":
                what += " folder" if stat.S_ISDIR(os.fstat(first).st_mode) else " file"
            calls.append(what)
            return real(first, *rest)

        return recorded

    for name in ("fsync", "replace", "link"):
        monkeypatch.setattr(os, name, spy(name))
    image.write(PICTURE, tmp_path / "x.png")
    assert calls == ["fsync file", "link", "fsync folder"]
    calls.clear()
    image.write(PICTURE, tmp_path / "x.png", overwrite=True)
    assert calls == ["fsync file", "replace", "fsync folder"]


KILLED = """
import os, signal, sys, types
sys.modules["torch"] = types.ModuleType("torch")  # writing needs no torch, and loading it takes seconds
sys.modules["torch"].Tensor = type("Tensor", (), {})
import numpy as np
from anyrestore import image
path, name, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
if name != "none":
    real = getattr(os, name)
    def killed(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    setattr(os, name, killed)
pictures = [image.Picture(pixels=np.full((300, 300), value, np.uint8)) for value in (0, 255)]
for turn in range(100_000):
    image.write(pictures[turn % 2], path, overwrite=True)
    if turn == 0:
        print("ready", flush=True)
"""


def write_until_killed(path, name="none", left=0, seconds=None):
    """Write black and white pictures in turn in a child; kill it inside a call, or after a time."""
    environment = {**os.environ, "PYTHONPATH": str(Path(image.__file__).parents[2])}
    command = [sys.executable, "-c", KILLED, str(path), name, str(left)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        if seconds is not None:
            time.sleep(seconds)
            child.kill()
        assert child.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("name", "calls", "value"),
    [
        ("chmod", 2, 0),  # the temporary file of the second write stands, and is empty
        ("chmod", 3, 0),  # it is written
        ("fsync", 2, 0),
        ("replace", 1, 0),
        ("fsync", 3, 255),  # of the folder: the new name is there already
    ],
)
def test_kill_inside_a_write_leaves_the_old_file_or_the_new(tmp_path, name, calls, value):  # I68, B2
    write_until_killed(tmp_path / "x.png", name, calls)
    assert (image.read(tmp_path / "x.png").pixels == np.full((300, 300), value)).all()


@pytest.mark.parametrize("seed", range(4))
def test_kill_at_any_moment_leaves_a_whole_file(tmp_path, seed):  # I68, B3
    write_until_killed(tmp_path / "x.png", seconds=random.Random(seed).uniform(0, 0.3))
    pixels = image.read(tmp_path / "x.png").pixels
    assert pixels.shape == (300, 300)
    assert np.unique(pixels).tolist() in ([0], [255])


# --------------------------------------------------------------------------------------- tensors


def test_header_agrees_with_the_picture(tmp_path):
    cases = {
        "a.png": (pictures.png(pictures.noise("uint16", (16, 24, 4))), (4, 16, True)),
        "b.png": (pictures.png(pictures.noise("uint8", (16, 24, 2))), (2, 8, True)),
        "c.jpg": (pictures.pillow(RGB, "JPEG"), (3, 8, False)),
        "d.tif": (pictures.tiff(pictures.ramp("float32")), (3, 32, False)),
        "e.jpg": (pictures.pillow(GREY, "JPEG"), (1, 8, False)),
        "f.jpg": (cmyk(), (3, 8, False)),
    }
    for name, (data, expected) in cases.items():
        (tmp_path / name).write_bytes(data)
        header, picture = image.read_header(tmp_path / name), image.read(tmp_path / name)
        assert image.decode_header(data) == header
        assert (header.bands, header.bit_depth, header.has_alpha) == expected
        assert (header.height, header.width) == picture.pixels.shape[:2]
        assert header.format == picture.format
        assert picture.pixels.dtype.itemsize * 8 == header.bit_depth


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_integer_comes_back_from_a_tensor(dtype, channels):
    top = np.iinfo(dtype).max
    values = np.arange(top + 1, dtype=dtype).reshape(-1, 256 if dtype == "uint16" else 16)
    array = values if channels == 1 else np.dstack([values, values[::-1], top - values])
    tensor = image.to_tensor(array)
    assert tensor.dtype == torch.float32
    assert tuple(tensor.shape) == (1, 3, *values.shape)
    assert tensor.min() == 0
    assert tensor.max() == 1
    assert np.array_equal(image.from_tensor(tensor, array), array)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_come_back_unclipped(dtype, channels):
    values = np.random.default_rng(0).normal(0.5, 1, (9, 11, 3)).astype(np.float32).astype(dtype)
    array = values[..., 0] if channels == 1 else values
    back = image.from_tensor(image.to_tensor(array), array)
    assert back.dtype == dtype
    assert np.abs(back - array.astype(np.float32).astype(dtype)).max() <= 1e-6
    assert back.min() < 0
    assert back.max() > 1


def test_channels_keep_their_places():
    array = np.zeros((2, 3, 3), np.uint8)
    array[1, 2] = 255, 0, 51
    tensor = image.to_tensor(array)
    assert tensor[0, :, 1, 2].tolist() == pytest.approx([1, 0, 0.2])
    assert tensor.sum() == pytest.approx(1.2)
    assert np.array_equal(image.to_tensor(array[..., 0])[0, 2], image.to_tensor(array)[0, 0])


def test_integers_are_clipped_never_wrapped_and_rounded_half_to_even():
    values = torch.tensor([-0.5, -0.001, 0.5 / 255, 1.5 / 255, 2.5 / 255, 1.0, 1.5, 300.0])
    tensor = values.expand(1, 3, 1, 8)
    for dtype, expected in (("uint8", [0, 0, 0, 2, 2, 255, 255, 255]),):
        assert image.from_tensor(tensor, np.zeros((1, 8, 3), dtype))[0, :, 1].tolist() == expected
    steep = torch.linspace(-0.5, 1.5, 4001).expand(1, 3, 1, 4001)
    for dtype in ("uint8", "uint16"):
        result = image.from_tensor(steep, np.zeros((1, 4001, 3), dtype)).astype(int)
        assert (np.diff(result[0, :, 0]) >= 0).all()


def test_grey_is_the_mean_of_three_channels():
    tensor = torch.tensor([0.1, 0.2, 0.6]).view(1, 3, 1, 1)
    assert image.from_tensor(tensor, np.zeros((1, 1), np.float32))[0, 0] == pytest.approx(0.3)
    assert image.from_tensor(tensor, np.zeros((1, 1), np.uint8))[0, 0] == round(0.3 * 255)


@pytest.mark.reliability("I38")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_any_strides_give_the_same_and_nothing_is_changed(dtype):  # I38
    base = pictures.ramp(dtype, width=40, height=30)
    views = {
        "step": base[::2, ::3],
        "mirrored": base[::-1, ::-1],
        "channels reversed": base[..., ::-1],
        "fortran": np.asfortranarray(base),
        "broadcast": np.broadcast_to(base[:1], base.shape),
        "big-endian": base.astype(base.dtype.newbyteorder(">")),
    }
    for name, view in views.items():
        plain = np.array(view, order="C", dtype=dtype)
        view.flags.writeable = False
        before = view.tobytes()
        tensor = image.to_tensor(view)
        assert torch.equal(tensor, image.to_tensor(plain)), name
        assert np.array_equal(image.from_tensor(tensor, view), plain), name
        written = image.encode(image.Picture(pixels=view), "tiff")
        assert np.array_equal(image.decode(written).pixels, plain), name
        tensor.mul_(0)  # a copy: the tensor may be changed
        assert view.tobytes() == before


@pytest.mark.reliability("I36", "I37")
@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.int32), "int32"),
        (np.zeros((4, 4, 3), np.uint32), "uint32"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.zeros((4, 4), object), "object"),
        (np.zeros((3, 4, 5), np.uint8), r"\(3, 4, 5\).*channels come last"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\).*alpha"),
        (np.zeros((4, 4, 1), np.uint8), r"\(4, 4, 1\).*single channel"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((4, 0), np.uint8), r"\(4, 0\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"\(1, 4, 4, 3\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_arrays_that_are_no_pictures_are_named(array, words):  # I36, I37
    with pytest.raises(InputError, match=words) as caught:
        image.to_tensor(array)
    assert caught.value.code == "bad_array"


@pytest.mark.reliability("I35")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(dtype, bad):  # I35
    array = np.zeros((3, 4, 3), dtype)
    array[1, 2, 2] = bad
    assert code_of(InputError, image.to_tensor, array) == "non_finite"
    tensor = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
    assert code_of(InputError, image.from_tensor, tensor, RGB[:3, :4]) == "non_finite"
    assert code_of(InputError, image.to_tensor, np.full((2, 2), 1e300)) == "non_finite"


def test_a_tensor_that_does_not_fit_is_refused():
    for shape in ((1, 3, 24, 16), (3, 16, 24), (1, 1, 16, 24), (2, 3, 16, 24)):
        assert code_of(InputError, image.from_tensor, torch.zeros(shape), RGB) == "bad_array"


def test_half_precision_and_gradients_are_taken():
    tensor = image.to_tensor(RGB).bfloat16().requires_grad_()
    assert np.abs(image.from_tensor(tensor, RGB).astype(int) - RGB).max() <= 1


def test_a_jpeg_encoded_in_little_memory_has_the_same_pixels():
    """And is larger: its Huffman tables are the default ones."""
    picture = image.Picture(pixels=RGB)
    best, plain = image.encode(picture, "jpeg"), image.encode(picture, "jpeg", whole=False)
    assert len(best) < len(plain)
    assert np.array_equal(image.decode(best).pixels, image.decode(plain).pixels)
