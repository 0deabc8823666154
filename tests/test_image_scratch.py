"""Pictures larger than memory: the way through files gives what the way through memory gives, in less."""

import dataclasses
import errno
import importlib.util
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile

from anyrestore import image, scratch
from anyrestore.errors import InputError, OutputError
from anyrestore.image import content, exif, reading, writing

# importlib mode puts no test folder on sys.path: load the helper beside this file by its place.
_spec = importlib.util.spec_from_file_location("pictures", Path(__file__).with_name("pictures.py"))
pictures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pictures)

RGB = pictures.ramp()
PILLOW = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "webp": "WEBP", "avif": "AVIF"}
SUFFIX = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "webp": ".webp", "avif": ".avif"}


@pytest.fixture(autouse=True)
def _narrow_strips(monkeypatch):
    """Strips of a few rows, so that small pictures have many."""
    monkeypatch.setattr(reading, "_STRIP_BYTES", 200)
    monkeypatch.setattr(reading, "_LYING_BYTES", 300)


def same(one, other):
    assert one.pixels.dtype == other.pixels.dtype
    assert np.array_equal(one.pixels, other.pixels)
    assert (one.alpha is None) == (other.alpha is None)
    assert one.alpha is None or np.array_equal(one.alpha, other.alpha)
    for field in ("format", "metadata", "warnings"):
        assert getattr(one, field) == getattr(other, field), field


def both(tmp_path, data, **options):
    """The picture read through a scratch folder, found equal to the one decoded from memory in one strip."""
    path = tmp_path / "picture"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_STRIP_BYTES", 2**22)
        patch.setattr(reading, "_LYING_BYTES", 2**22)
        held = image.read(path, **options)
    backed = image.read(path, scratch=tmp_path, **options)
    assert scratch.is_backed(backed.pixels)
    assert backed.alpha is None or scratch.is_backed(backed.alpha)
    same(backed, held)
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture"]
    return backed


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", PILLOW)
def test_orientations_and_metadata(kind, orientation, tmp_path):
    upright = pictures.ramp(width=48, height=32)
    options = {"icc_profile": pictures.icc(), "exif": pictures.exif(orientation)}
    if kind != "tiff":
        options["xmp"] = pictures.XMP_GPS
    data = pictures.pillow(pictures.upright_to(upright, orientation), PILLOW[kind], **options)
    picture = both(tmp_path, data)
    assert picture.pixels.shape == upright.shape
    assert picture.metadata.exif is not None
    assert b"GPS" not in (picture.metadata.xmp or b"")
    both(tmp_path, data, keep_gps=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_png_layouts(dtype, bands, tmp_path):
    shape = (16, 24) if bands == 1 else (16, 24, bands)
    both(tmp_path, pictures.png(pictures.noise(dtype, shape)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">", "compression": "zlib"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_layouts(options, dtype, tmp_path):
    if dtype == "float32" and "predictor" in options:
        options = {"compression": "zlib"}  # (tifffile alone has no predictor for floats)
    stored = pictures.ramp(dtype, width=50, height=40)
    source = np.moveaxis(stored, -1, 0) if "planarconfig" in options else stored
    picture = both(tmp_path, pictures.tiff(source, photometric="rgb", **options))
    assert np.array_equal(picture.pixels, stored)


def odd_files():
    inks = pictures.noise(shape=(20, 30, 4))
    yield "cmyk tiff", pictures.tiff(inks, photometric="separated")
    yield (
        "interlaced png",
        pyvips.Image.new_from_array(pictures.noise("uint16")).pngsave_buffer(interlace=True),
    )
    yield "progressive jpeg", pictures.pillow(RGB, "JPEG", progressive=True)
    shifted = pyvips.Image.new_from_array(pictures.ramp("uint16")).copy(interpretation="rgb16")
    yield "10-bit avif", shifted.heifsave_buffer(compression="av1", bitdepth=10, lossless=True)
    yield "premultiplied", pictures.tiff(inks, extrasamples=["assocalpha"])
    chunks = [(b"PLTE", pictures.noise(shape=(16, 3)).tobytes()), (b"tRNS", bytes(range(0, 256, 16)))]
    yield "palette", pictures.png(pictures.noise(shape=(16, 24)) % 16, color_type=3, chunks=chunks)


@pytest.mark.parametrize(
    ("name", "data"), [*odd_files()], ids=lambda value: value if type(value) is str else ""
)
def test_odd_files(name, data, tmp_path):
    both(tmp_path, data)


def outcome(call):
    try:
        call()
    except InputError as error:
        return error.code
    return "whole"


@pytest.mark.parametrize("kind", PILLOW)
def test_cut_and_damaged_files_are_refused_in_the_same_way(kind, tmp_path):
    data, path = pictures.pillow(RGB, PILLOW[kind]), tmp_path / "picture"
    seen = set()
    for cut in [*range(1, len(data), len(data) // 60 + 1), len(data) - 1]:
        path.write_bytes(data[:cut])
        codes = [outcome(lambda: image.decode(path.read_bytes()))]
        codes.append(outcome(lambda: image.read(path, scratch=tmp_path)))
        assert codes[0] == codes[1], cut
        seen.add(codes[0])
    assert "truncated" in seen


def test_not_finite_is_refused(tmp_path):
    values = pictures.ramp("float32")
    values[-1, -1, 1] = np.nan
    (tmp_path / "x.tif").write_bytes(pictures.tiff(values))
    assert outcome(lambda: image.read(tmp_path / "x.tif", scratch=tmp_path)) == "non_finite"


def test_a_jpeg_whose_frame_ends_the_file_is_refused(tmp_path):
    data = b"\xff\xd8\xff\xc0\x00\x02"
    assert outcome(lambda: image.decode(data)) in {"truncated", "unsupported_format"}


def test_a_file_cut_while_it_is_read_is_an_error_not_a_signal(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(200_000))
    with content.open_stored(path, 10**6) as data:
        assert data.seek(-4, os.SEEK_END) == 199_996
        assert data.read(8) == bytes(4)
        assert data.read(8) == b""
        assert data.seek(-8, os.SEEK_SET) == -1
        assert data.seek(-2, os.SEEK_CUR) == 199_998
        data.check()  # an end is no error
        assert len(data) == 200_000
        assert data[3] == 0
        os.truncate(path, 70_000)
        assert data[60_000:60_004] == bytes(4)
        with pytest.raises(InputError) as caught:
            data[100_000:100_004]
        assert caught.value.code == "truncated"
        data.seek(100_000, os.SEEK_SET)
        assert data.read(8) == b""
        with pytest.raises(InputError, match="became shorter"):
            data.check()


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])  # of the calls that reading takes
@pytest.mark.parametrize("kind", PILLOW)
def test_a_disk_that_cannot_be_read_is_not_a_damaged_picture(kind, share, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(pictures.pillow(pictures.noise(shape=(300, 300, 3)), PILLOW[kind]))
    real, calls, last = os.pread, 0, 10**6

    def counted(*arguments):
        nonlocal calls
        calls += 1
        if calls > last:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(os, "pread", counted)
    assert outcome(lambda: image.read(path, scratch=tmp_path)) == "whole"
    calls, last = 0, int(share * calls)
    assert outcome(lambda: image.read(path, scratch=tmp_path)) == "unreadable"


def test_ctrl_c_while_libvips_reads_is_not_lost(tmp_path, monkeypatch):
    path = tmp_path / "x.jpg"
    path.write_bytes(pictures.pillow(pictures.noise(shape=(300, 300, 3)), "JPEG"))

    def interrupted(self, count):
        raise KeyboardInterrupt

    real, calls = os.pread, iter(range(10**6))
    monkeypatch.setattr(os, "pread", lambda *a: interrupted(*a[:2]) if next(calls) > 3 else real(*a))
    with pytest.raises(KeyboardInterrupt):
        image.read(path, scratch=tmp_path)


def test_a_system_without_pread_reads_the_same(tmp_path, monkeypatch):
    """Windows."""
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    image.write(image.Picture(pixels=pixels), path)
    monkeypatch.delattr(os, "pread")
    assert np.array_equal(image.read(path).pixels, pixels)
    assert np.array_equal(image.read(path, scratch=tmp_path).pixels, pixels)


def test_only_with_a_scratch_folder_may_a_file_be_larger_than_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(pictures.png(RGB))
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 100)
    assert outcome(lambda: image.read(path)) == "file_too_large"
    assert outcome(lambda: image.read(path, scratch=tmp_path)) == "whole"
    assert image.read_header(path).width == RGB.shape[1]
    assert outcome(lambda: image.read(path, scratch=tmp_path, max_pixels=20)) == "file_too_large"


# ------------------------------------------------------------------------------------- writing


def backed_copy(picture, folder):
    """The same picture with its arrays in files, the pixels filled through `blank_like`."""
    blank = image.blank_like(picture, scratch=folder)
    assert scratch.is_backed(blank.pixels)
    assert not blank.pixels.any()
    blank.pixels[...] = picture.pixels
    if picture.alpha is None:
        return blank
    alpha = scratch.allocate(picture.alpha.shape, picture.alpha.dtype, folder)
    alpha[...] = picture.alpha
    return dataclasses.replace(blank, alpha=alpha)


def with_metadata(**fields):
    block = pictures.exif(big_endian=True)
    data = pictures.pillow(
        RGB, "JPEG", exif=block, xmp=pictures.XMP_GPS, icc_profile=pictures.icc(), dpi=(300, 150)
    )
    metadata = image.decode(data, keep_gps=True).metadata
    metadata = dataclasses.replace(
        metadata, iptc=b"\x1c\x02\x69\0\x08Headline", text=(("Title", "A street"),)
    )
    return image.Picture(metadata=metadata, **fields)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", PILLOW)
def test_what_is_written_is_what_memory_would_give(kind, bands, dtype, tmp_path):
    impossible = (
        (kind == "jpeg" and (bands in (2, 4) or dtype != "uint8"))
        or (kind == "webp" and dtype != "uint8")
        or (kind in ("png", "avif") and dtype == "float32")
    )
    if impossible:
        return
    pixels = pictures.ramp(dtype, bands=1 if bands <= 2 else 3)
    alpha = pictures.ramp(dtype, bands=1)[::-1] if bands in (2, 4) else None
    metadata = {} if bands >= 3 else {"icc": None}  # (the profile is one for RGB)
    picture = with_metadata(pixels=pixels, alpha=alpha)
    picture = dataclasses.replace(picture, metadata=dataclasses.replace(picture.metadata, **metadata))
    path = tmp_path / f"x{SUFFIX[kind]}"
    image.write(backed_copy(picture, tmp_path), path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    written = image.read(path, keep_gps=True)
    same(written, image.decode(image.encode(picture, kind), keep_gps=True))
    assert written.metadata.exif is not None
    assert kind not in ("jpeg", "tiff") or written.metadata.iptc == picture.metadata.iptc


def test_jpeg_keeps_its_resolution_beside_exif(tmp_path):
    picture = with_metadata(pixels=RGB)
    image.write(backed_copy(picture, tmp_path), tmp_path / "x.jpg")
    assert (tmp_path / "x.jpg").read_bytes()[2:4] == b"\xff\xe0"
    assert image.read(tmp_path / "x.jpg").metadata.resolution == pytest.approx(
        (300 / 25.4, 150 / 25.4), rel=0.01
    )


@pytest.mark.parametrize("backed", [False, True])
def test_above_4_gb_a_tiff_is_a_bigtiff_with_all_its_metadata(backed, tmp_path, monkeypatch):
    picture = with_metadata(pixels=RGB)
    classic = image.decode(image.encode(picture, "tiff"), keep_gps=True)
    monkeypatch.setattr(writing, "_CLASSIC_TIFF", 100)
    path = tmp_path / "x.tif"
    image.write(backed_copy(picture, tmp_path) if backed else picture, path)
    assert path.read_bytes()[:4] == b"II+\0"
    written = image.read(path, keep_gps=True)
    same(written, classic)
    assert written.metadata.exif is not None
    assert written.metadata.iptc == picture.metadata.iptc
    with tifffile.TiffFile(path) as file:  # another reader agrees
        assert file.is_bigtiff
        assert file.pages[0].tags[0x010F].value == "Examplecam"
        assert file.pages[0].tags[0x8769].value["LensModel"] == "Example 50 mm"
        assert np.array_equal(file.pages[0].asarray(), RGB)


def test_tags_behind_4_gb_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_CLASSIC_TIFF", 100)
    picture, path = with_metadata(pixels=RGB), tmp_path / "x.tif"
    path.write_bytes(image.encode(dataclasses.replace(picture, metadata=image.Metadata()), "tiff"))
    size = 5 * 2**30
    os.truncate(path, size)  # a hole of 5 GiB behind the pixels takes no room
    with path.open("r+b") as file:
        patch = exif.tags_for_tiff(
            content.StoredBytes(file.fileno(), "x"), picture.metadata.exif, picture.metadata.iptc
        )
        assert patch.end == size
        for at, piece in ((patch.end, patch.tail), (patch.at, patch.pointer)):
            file.seek(at)
            file.write(piece)
    assert outcome(lambda: image.read(path)) == "file_too_large"
    written = image.read(path, max_pixels=3 * 10**8, scratch=tmp_path)
    assert np.array_equal(written.pixels, RGB)
    assert b"Examplecam" in written.metadata.exif
    assert b"Example 50 mm" in written.metadata.exif
    assert written.metadata.iptc == picture.metadata.iptc


def test_exif_of_a_foreign_bigtiff_is_read(tmp_path):
    tags = [(0x010F, 2, 0, "Examplecam", True), (0x927A, 16, 1, 7, True), (0x927B, 16, 1, 2**40, True)]
    data = pictures.tiff(RGB, bigtiff=True, byteorder=">", extratags=tags)
    block = image.decode(data).metadata.exif
    assert block is not None
    assert block[:4] == b"MM\0*"
    assert b"Examplecam" in block
    assert struct.pack(">HHII", 0x927A, 4, 1, 7) in block  # 8 bytes become the 4 that EXIF knows
    assert struct.pack(">H", 0x927B) not in block


def test_large_pictures_in_memory_take_the_same_way(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_LARGE", 100)
    monkeypatch.setattr(writing, "_save", lambda *_: pytest.fail("encoded in memory"))
    image.write(image.Picture(pixels=RGB[::-1]), tmp_path / "x.png")
    assert np.array_equal(image.read(tmp_path / "x.png").pixels, RGB[::-1])
    image.write(image.Picture(pixels=RGB), tmp_path / "x.jpg")  # (without the second pass)
    assert image.read(tmp_path / "x.jpg").pixels.shape == RGB.shape


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp"])
def test_a_full_disk_leaves_the_old_file_and_no_other(kind, tmp_path):
    pixels = pictures.noise(shape=(200, 200, 3))
    path = tmp_path / f"x{SUFFIX[kind]}"
    path.write_bytes(b"old")
    picture = backed_copy(with_metadata(pixels=pixels), tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = len(image.encode(picture, kind))
    for limit in (0, 10_000, whole - 10):  # before, amid and behind the pixels
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            with pytest.raises(OutputError, match=r"^[^\n]*\.$") as caught:
                image.write(picture, path, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.code == "disk_full", limit
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_full_scratch_folder_is_said_so_at_reading(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(pictures.pillow(np.zeros((400, 400, 3), np.uint8), "PNG"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(OutputError, match="scratch folder") as caught:
            image.read(path, scratch=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "disk_full"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_wrong_values_in_the_encoded_file_are_found(kind, tmp_path, monkeypatch):
    real = writing._saver
    monkeypatch.setattr(writing, "_saver", lambda image, *rest: real(image.linear(1, 1).cast("uchar"), *rest))
    with pytest.raises(OutputError, match="rows from 0 on differ") as caught:
        image.write(backed_copy(image.Picture(pixels=RGB), tmp_path), tmp_path / f"x{SUFFIX[kind]}")
    assert caught.value.code == "output_encoding"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_libvips_writes_is_not_lost(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        image.write(backed_copy(image.Picture(pixels=RGB), tmp_path), tmp_path / "x.tif")
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------- memory

CHILD = """
import sys, types
sys.modules["torch"] = types.ModuleType("torch")  # not needed here, and loading it takes seconds
sys.modules["torch"].Tensor = type("Tensor", (), {})
from anyrestore import image
from anyrestore.scratch import release
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
source, target, folder = sys.argv[1:]
before = peak()
picture = image.read(source, scratch=folder or None)
result = image.blank_like(picture, scratch=folder or None)
for top in range(0, len(picture.pixels), 100):
    result.pixels[top : top + 100] = picture.pixels[top : top + 100]
    release(picture.pixels, top, top + 100)
    release(result.pixels, top, top + 100)
image.write(result, target)
print((peak() - before) // 1024)
"""


def test_a_picture_of_60_megapixels_needs_little_memory(tmp_path):
    flat = pyvips.Image.black(8000, 7500, bands=3).linear(1, [10, 20, 30]).cast("uchar")
    flat.copy(interpretation="srgb").tiffsave(str(tmp_path / "in.tif"))
    assert (tmp_path / "in.tif").stat().st_size > 170 * 2**20
    environment = {**os.environ, "PYTHONPATH": str(Path(image.__file__).parents[2])}

    def mebibytes(folder):
        command = [sys.executable, "-c", CHILD, tmp_path / "in.tif", tmp_path / f"{bool(folder)}.jpg", folder]
        return int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)

    assert mebibytes(str(tmp_path)) < 160  # usually about 80
    assert mebibytes("") > 340  # two arrays of 172 MiB
