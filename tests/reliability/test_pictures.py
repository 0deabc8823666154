"""Good and bad pictures, through the library and through the command: rows I1 to I59 of docs/reliability.md.

Rows that tests/test_image.py shows already are marked there.
"""

import io
import random
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000

import pictures
import tiny_models
from anyrestore import Restorer, image
from anyrestore.errors import InputError
from anyrestore.image import Picture, ReadOptions, opening
from reliability import corpus
from reliability.conftest import Command
from reliability.corpus import FULL, RGB, SMOOTH, Case
from reliability.measured import read_apart

FILES = corpus.whole_files()
LENIENT = ReadOptions(allow_truncated=True)


def end_of(data: bytes, **options: object) -> str:
    """ "ok" or the code."""
    try:
        image.decode(data, **options)
    except InputError as error:
        code, sentence = error.code, str(error)
    else:
        return corpus.OK
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return code


def written(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


# ----------------------------------------------------------------- the whole corpus, both ways in


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", corpus.cases(), ids=by_name)
def test_every_file_ends_as_it_must_in_the_library(case: Case) -> None:
    assert end_of(case.data) in case.ends
    if case.size is not None:
        picture = image.decode(case.data)
        assert picture.pixels.shape[1::-1] == case.size
    assert len(case.data) < 200_000


@pytest.mark.reliability("I8", "I10")
def test_every_file_ends_the_same_way_in_the_command(command: Command, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for case in corpus.cases():
        written(source, case.name, case.data)
    done = command(source, "-o", out)
    assert done.code == 1
    kept = {case.name for case in corpus.cases() if corpus.OK in case.ends}
    for case in corpus.cases():
        lines = [
            line for line in done.err.splitlines() if line.startswith(f"anyrestore: {source / case.name}: ")
        ]
        if case.name not in kept:
            with pytest.raises(InputError) as caught:
                image.read(source / case.name)
            assert caught.value.code in case.ends
            (line,) = lines
            # The command says what the library says, without the name that stands before it.
            assert str(caught.value).removeprefix(repr(str(source / case.name))) in line
            continue
        if case.name.startswith("good tiff float") or "avif" in case.name:
            assert (out / case.name).is_file() == all("warning" in line for line in lines)
            continue
        before, after = image.read(source / case.name), image.read(out / case.name)
        assert after.pixels.shape[1::-1] == case.size
        assert after.format == image.SUFFIXES[Path(case.name).suffix]  # the output format by the name
        if after.format in ("png", "tiff"):
            assert np.array_equal(before.pixels, after.pixels), case.name
        assert [part for part in case.warns if not any(part in line for line in lines)] == []
    assert {path.name for path in out.iterdir()} - {".anyrestore.jsonl"} == kept


def test_the_corpus_is_small() -> None:
    assert sum(len(case.data) for case in corpus.cases()) < 5 * 2**20


# ------------------------------------------------------------------------------- cut at every byte


def cuts(data: bytes) -> list[int]:
    return corpus.some(range(len(data)), 150)


@pytest.mark.reliability("I1")
@pytest.mark.parametrize("name", ["png", "png 16", "png palette"])
def test_a_png_cut_anywhere_is_refused_or_complete(name: str) -> None:
    data = FILES[name]
    full = image.decode(data)
    for cut in cuts(data):
        end = end_of(data[:cut])
        assert end in {"truncated", "empty_file", corpus.OK}, cut
        if end == corpus.OK:
            assert np.array_equal(image.decode(data[:cut]).pixels, full.pixels)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("jpeg", marks=pytest.mark.reliability("I2")),
        pytest.param("jpeg exif", marks=pytest.mark.reliability("I2")),
        pytest.param("progressive jpeg", marks=pytest.mark.reliability("I3")),
    ],
)
def test_a_jpeg_cut_anywhere_is_refused_unless_told(name: str) -> None:
    data = FILES[name]
    full = image.decode(data)
    seen = 0
    for cut in cuts(data):
        assert end_of(data[:cut]) in {"truncated", "empty_file"}, cut
        if end_of(data[:cut], options=LENIENT) == corpus.OK:
            part = image.decode(data[:cut], options=LENIENT)
            assert part.pixels.shape == full.pixels.shape
            assert "cut short" in part.warnings[-1]
            seen += 1
    assert seen > 5


@pytest.mark.reliability("I4")
@pytest.mark.parametrize(
    "name", [n for n in FILES if not any(w in n for w in ("png", "jpeg"))] + ["bmp", "gif"]
)
def test_other_formats_cut_anywhere_are_refused_or_complete(name: str) -> None:
    data = (FILES | corpus.refused_files())[name]
    full = image.decode(data).pixels if name in FILES else None
    for cut in corpus.some(range(len(data)), 60):
        end = end_of(data[:cut])
        assert end != corpus.OK or np.array_equal(image.decode(data[:cut]).pixels, full), cut
        assert end_of(data[:cut], options=LENIENT) in {end, corpus.OK}


@pytest.mark.reliability("I1", "I2", "I3", "I4")
def test_the_command_refuses_cut_files_and_leaves_nothing(command: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, (name, data) in enumerate(FILES.items()):
        for cut in (len(data) // 3, len(data) - 30):
            written(tmp_path / "in", f"{number} {cut}.{corpus._suffix(name)}", data[:cut])
    done = command(tmp_path / "in", "-o", tmp_path / "out")
    assert (done.code, done.out) == (3, "")
    assert done.err.count("\n") == 2 * len(FILES)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".anyrestore.jsonl"]


@pytest.mark.reliability("I2", "I3")
@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg"])
def test_the_command_takes_part_of_a_picture_when_told(command: Command, tmp_path: Path, name: str) -> None:
    data = pictures.pillow(
        pictures.ramp(width=200, height=200), "JPEG", progressive=name != "jpeg", quality=95, subsampling=0
    )
    part = written(tmp_path, "part.jpg", data[: len(data) // 2])
    assert command(part, "-o", tmp_path / "out.png").code == 3
    for scratch in ("off", tmp_path):
        out = tmp_path / f"{Path(scratch).name}.png"
        done = command(part, "-o", out, "--allow-truncated", "--scratch", scratch)
        assert done.code == 0
        assert done.err.count("warning: the file is cut short") == 1
        whole, found = image.decode(data).pixels.astype(int), image.read(out).pixels.astype(int)
        assert found.shape == whole.shape
        assert np.abs(found - whole)[:64].mean() < 25  # (progressive: the first scans of everything)
        assert name != "jpeg" or np.array_equal(found[:64], whole[:64])
        assert not np.array_equal(found, whole)


# --------------------------------------------------------------------------------- not a picture


@pytest.mark.reliability("I5")
def test_an_empty_file(command: Command, tmp_path: Path) -> None:
    empty = written(tmp_path, "empty.png", b"")
    good = written(tmp_path, "good.png", pictures.png(RGB))
    assert end_of(b"") == "empty_file"
    for inputs, code in (([empty], 3), ([empty, good], 1)):
        done = command(*inputs, "-o", f"{tmp_path}/out{code}/")
        assert (done.code, done.err.count("\n")) == (code, 1)
        assert "empty (0 bytes)" in done.err


@pytest.mark.reliability("I6")
def test_random_bytes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for seed in range(1000):
        data = random.Random(seed).randbytes(1 + seed % 32)
        assert end_of(data) in {"not_an_image", "truncated", "unsupported_format"}
        if seed < 60:
            written(tmp_path / "in", f"{seed}.{'png' if seed % 2 else 'jpg'}", data)
    done = command(tmp_path / "in", "-o", tmp_path / "out")
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 60)


@pytest.mark.reliability("I7")
def test_foreign_files_are_refused_by_content_and_start_nothing(tmp_path: Path) -> None:
    good = written(tmp_path, "good.png", pictures.png(RGB))
    paths, codes = list[Path](), list[str]()
    for name, (data, code) in corpus.FOREIGN.items():
        for suffix in (".png", ".jpg", ".tiff"):
            paths.append(written(tmp_path, f"{name}{suffix}", data))
            codes.append(code)
    assert [found.end for found in read_apart(good, paths)] == codes


@pytest.mark.reliability("I59", "I7", "I52")
@pytest.mark.parametrize("name", corpus.FOREIGN)
def test_no_decoder_is_entered_for_foreign_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_loader", lambda *_: pytest.fail("a decoder was entered"))
    data, code = corpus.FOREIGN[name]
    assert end_of(data) == code


@pytest.mark.reliability("I52")
def test_heic_names_a_package(command: Command, tmp_path: Path) -> None:
    done = command(written(tmp_path, "phone.heic.jpg", corpus.FOREIGN["heic"][0]), "-o", tmp_path / "o.png")
    assert done.code == 3
    assert "pip install pillow-heif" in done.err


@pytest.mark.reliability("I8")
@pytest.mark.parametrize(("suffix", "kind"), [(".png", "png"), (".tif", "tiff"), (".webp", "webp")])
def test_a_wrong_extension_changes_no_pixel(command: Command, tmp_path: Path, suffix: str, kind: str) -> None:
    data = FILES["jpeg"]
    wrong, right = written(tmp_path, f"x{suffix}", data), written(tmp_path, "x.jpg", data)
    assert np.array_equal(image.read(wrong).pixels, image.read(right).pixels)
    done = command(wrong, "-o", f"{tmp_path}/out/")
    assert (done.code, done.err.count("warning: the name ends in")) == (0, 1)
    assert image.read(tmp_path / "out" / wrong.name).format == kind


@pytest.mark.reliability("I9")
@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "avif", "tiff"])
def test_a_polyglot_gives_pixels_only(command: Command, tmp_path: Path, name: str) -> None:
    marker = b"PK\x03\x04<script>MARKER()</script>"
    data = FILES[name] + marker
    if name == "png":
        data = pictures.png(SMOOTH, chunks=[(b"paYl", marker)]) + marker
    both = written(tmp_path, f"both.{corpus._suffix(name)}", data)
    assert command(both, "-o", f"{tmp_path}/out/").code == 0
    assert b"MARKER" not in (tmp_path / "out" / both.name).read_bytes()
    assert np.array_equal(image.read(both).pixels, image.decode(FILES[name]).pixels)


# ------------------------------------------------------------------------------------------- sizes


@pytest.fixture(scope="module")
def tiny() -> Restorer:
    return Restorer(tiny_models.make("tiny"), device="cpu")


def restored(restorer: Restorer, height: int, width: int) -> None:
    array = np.random.default_rng(height * 67 + width).integers(0, 256, (height, width, 3), np.uint8)
    found = restorer(array)
    assert found.shape == array.shape
    assert not np.array_equal(found, array) or array.size < 100  # the model did run


@pytest.mark.reliability("I10")
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "avif"])
def test_one_pixel(command: Command, tiny: Restorer, tmp_path: Path, kind: str) -> None:
    for pixels in (RGB[:1, :1], RGB[0, :1, :1].astype(np.uint8)):
        data = image.encode(Picture(pixels=pixels), kind)
        one = written(tmp_path, f"one.{kind}", data)
        assert command(one, "-o", f"{tmp_path}/out/", "--overwrite").code == 0
        assert image.read(tmp_path / "out" / one.name).pixels.shape[:2] == (1, 1)
    tensor = tiny(torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(0)))
    assert tensor.shape == (3, 1, 1)
    assert tensor.isfinite().all()


@pytest.mark.reliability("I11")
def test_many_rows_are_read_in_no_time() -> None:
    tall = pictures.noise(shape=(200_000, 1, 3))
    start = time.process_time()
    assert np.array_equal(image.decode(pictures.png(tall)).pixels, tall)
    assert time.process_time() - start < 2  # (9 s when strips had as many rows as 2 MiB hold)


@pytest.mark.reliability("I11")
def test_lines() -> None:
    restorer = Restorer(Blur(), device="cpu")
    for length in [2, 3, 4096, *corpus.some(range(4, 4096), 8)]:
        restored(restorer, 1, length)
        restored(restorer, length, 1)


@pytest.mark.reliability("I12")
def test_every_small_size(tiny: Restorer) -> None:
    sizes = [(height, width) for height in range(1, 68) for width in range(1, 68)]
    assert len(sizes) == 4489
    for height, width in corpus.some(sizes, 20):
        restored(tiny, height, width)


@pytest.mark.reliability("I13")
@pytest.mark.parametrize("shape", [(7, 8193), (8193, 7), (3, 20_001)])
def test_extreme_shapes_in_tiles(command: Command, tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = pictures.noise(shape=(*shape, 3))
    source = written(tmp_path, "long.png", pictures.png(pixels))
    for tile in ("auto", "64"):
        assert command(source, "-o", tmp_path / f"{tile}.png", "--tile", tile).code == 0
        assert np.array_equal(image.read(tmp_path / f"{tile}.png").pixels, pixels)


# ------------------------------------------------------------------------- limits, from the header


@pytest.mark.reliability("I14")
def test_a_bomb_is_refused_from_its_header(command: Command, tmp_path: Path) -> None:
    data = corpus.png_bomb(20_000)
    assert len(data) < 500_000
    bomb = written(tmp_path, "bomb.png", data)
    (found,) = read_apart(written(tmp_path, "good.png", pictures.png(RGB)), [bomb])
    assert found.end == "too_many_pixels"
    assert found.seconds < 0.1
    assert found.mebibytes < 20
    done = command(bomb, "-o", tmp_path / "out.png")
    assert done.code == 3
    assert "20000 x 20000 = 400,000,000 pixels" in done.err
    # It is a picture, though: a small one of its kind is read.
    assert (image.decode(corpus.png_bomb(100)).pixels == np.zeros((100, 100), np.uint8)).all()


@pytest.mark.reliability("I15")
def test_the_limit_can_be_set(command: Command, tmp_path: Path) -> None:
    large = written(tmp_path, "large.png", corpus.png_bomb(13_000))
    (found,) = read_apart(written(tmp_path, "good.png", pictures.png(RGB)), [large], max_pixels=32_000_000)
    assert found.end == "too_many_pixels"
    assert found.seconds < 0.1
    assert found.mebibytes < 20
    assert command(large, "-o", tmp_path / "out.png", "--max-pixels", 32_000_000).code == 3
    assert image.read_header(large).width == 13_000  # within the limit of the command


@pytest.mark.reliability("I16")
def test_headers_that_lie(tmp_path: Path) -> None:
    paths = [written(tmp_path, name, data) for name, data in corpus.lying_headers().items()]
    for path, found in zip(paths, read_apart(written(tmp_path, "good", FILES["jpeg"]), paths), strict=True):
        assert found.end in {"too_many_pixels", "truncated", "corrupt", "unsupported_format"}, path.name
        assert found.seconds < 0.1, path.name
        assert found.mebibytes < 200, path.name


def test_headers_of_honest_files_are_not_taken_for_lies() -> None:
    """Flat pictures compress as far as anything can."""
    flat = np.full((2000, 3000, 3), 77, np.uint8)
    for kind, options in (
        ("JPEG", {"quality": 1, "optimize": True}),
        ("JPEG", {"quality": 1, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": 2}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "jpeg"}),
        ("PNG", {}),
    ):
        assert image.decode(pictures.pillow(flat, kind, **options)).pixels.shape == flat.shape
    lines = Image.fromarray(np.zeros((3000, 2000), bool))
    for compression in ("group3", "group4", "packbits", "tiff_lzw"):
        assert image.decode(pictures.pillow(lines, "TIFF", compression=compression)).pixels.shape == (
            3000,
            2000,
        )


# -------------------------------------------------------------------------------- colours and depths


@pytest.mark.reliability("I22")
def test_ycck_has_the_right_polarity(command: Command, tmp_path: Path) -> None:
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    stripes = np.repeat(np.array(inks, np.uint8)[np.newaxis], 16, 0).repeat(16, 1)
    source = written(tmp_path, "ycck.jpg", corpus.jpeg_ycck(stripes))
    assert command(source, "-o", tmp_path / "out.png").code == 0
    for picture in (image.read(source), image.read(tmp_path / "out.png")):
        white, cyan, magenta, yellow, black = picture.pixels[8, 8::16].astype(int)
        assert white.min() >= 250
        assert (cyan[0] < 90) & (cyan[2] > 130)
        assert (magenta[1] < 90) & (magenta[0] > 150)
        assert (yellow[2] < 90) & (yellow[0] > 200)
        assert black.max() < 70


@pytest.mark.reliability("I23")
@pytest.mark.parametrize("make", [corpus.jpeg_411, corpus.jpeg_440])
def test_rare_chroma_samplings(make: object) -> None:
    data = make()
    ours, theirs = image.decode(data).pixels.astype(float), np.asarray(pictures.opened(data)).astype(float)
    assert theirs.std() > 20
    assert 10 * np.log10(255**2 / max(np.mean((ours - theirs) ** 2), 1e-9)) >= 45


def identical(command: Command, tmp_path: Path, name: str, data: bytes) -> Picture:
    """What an identity model makes of a file, which must be what the file holds."""
    source = written(tmp_path, name, data)
    done = command(source, "-o", tmp_path / f"out {name}")
    assert (done.code, done.err) == (0, "")
    before, after = image.read(source), image.read(tmp_path / f"out {name}")
    assert before.pixels.dtype == after.pixels.dtype
    assert np.array_equal(before.pixels, after.pixels)
    assert (before.alpha is None) == (after.alpha is None)
    assert before.alpha is None or np.array_equal(before.alpha, after.alpha)
    return after


@pytest.mark.reliability("I24", "I28", "I31", "I32")
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_png_of_every_layout_through_an_identity_model(
    command: Command, tmp_path: Path, dtype: str, bands: int
) -> None:
    stored = pictures.noise(dtype, (16, 24) if bands == 1 else (16, 24, bands))
    picture = identical(command, tmp_path, "x.png", pictures.png(stored))
    colours = stored if bands == 1 else stored[..., 0] if bands == 2 else stored[..., :3]
    assert np.array_equal(picture.pixels, colours)
    assert picture.pixels.dtype == dtype
    assert bands in (1, 3) or np.array_equal(picture.alpha, stored[..., -1])


@pytest.mark.reliability("I24")
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
def test_grey_stays_grey(command: Command, tmp_path: Path, kind: str) -> None:
    name = f"grey.{corpus._suffix(kind.lower())}"
    source = written(tmp_path, name, pictures.pillow(corpus.GREY, kind))
    assert command(source, "-o", f"{tmp_path}/out/").code == 0
    assert pictures.opened((tmp_path / "out" / name).read_bytes()).mode == "L"


@pytest.mark.reliability("I25", "I26", "I27")
def test_bits_and_palettes_through_an_identity_model(command: Command, tmp_path: Path) -> None:
    bits = pictures.noise(shape=(16, 24)) > 127
    for kind, name in (("PNG", "bits.png"), ("TIFF", "bits.tif")):
        picture = identical(command, tmp_path, name, pictures.pillow(bits, kind))
        assert np.array_equal(picture.pixels, bits * np.uint8(255))
    palette, opacity = pictures.noise(shape=(16, 3), seed=1), pictures.noise(shape=(16,), seed=2)
    index = pictures.noise(shape=(16, 24)) % 16
    chunks = [(b"PLTE", palette.tobytes()), (b"tRNS", opacity.tobytes())]
    picture = identical(command, tmp_path, "p.png", pictures.png(index, color_type=3, chunks=chunks))
    assert np.array_equal(picture.pixels, palette[index])
    assert np.array_equal(picture.alpha, opacity[index])


@pytest.mark.reliability("I33")
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"byteorder": ">", "tile": (16, 16), "compression": "zlib"},
    ],
    ids=str,
)
def test_tiff_16_bit_through_an_identity_model(command: Command, tmp_path: Path, options: dict) -> None:
    stored = pictures.noise("uint16")
    if options.get("compression") == "lzw":
        data = pyvips.Image.new_from_array(stored).tiffsave_buffer(compression="lzw", predictor="horizontal")
    else:
        data = pictures.tiff(np.moveaxis(stored, -1, 0) if "planarconfig" in options else stored, **options)
    assert np.array_equal(identical(command, tmp_path, "x.tif", data).pixels, stored)


@pytest.mark.reliability("I34")
@pytest.mark.parametrize("bands", [1, 3])
def test_floats_keep_their_range(command: Command, tmp_path: Path, bands: int) -> None:
    values = pictures.ramp("float32", bands) * 3 - 1
    picture = identical(command, tmp_path, "x.tif", pictures.tiff(values))
    assert picture.pixels.dtype == np.float32
    assert np.abs(picture.pixels - values).max() <= 1e-6
    assert (picture.pixels.min() < 0) & (picture.pixels.max() > 1)
    done = command(tmp_path / "x.tif", "-o", tmp_path / "x.png")  # never clipped in silence
    assert done.code == 2
    assert "cannot hold float" in done.err


@pytest.mark.reliability("I35")
@pytest.mark.parametrize("scratch", [False, True])
def test_values_that_are_not_finite_are_refused_or_mended(
    command: Command, tmp_path: Path, scratch: bool
) -> None:
    values = pictures.ramp("float32", 4)
    values[3, 4, 1], values[5, 6, 0], values[7, 8, 2], values[9, 9, 3] = np.nan, np.inf, -np.inf, np.nan
    source = written(tmp_path, "x.tif", pictures.tiff(values, extrasamples=["unassalpha"]))
    done = command(source, "-o", tmp_path / "out.tif")
    assert (done.code, done.err.count("--fix-nonfinite")) == (3, 1)
    done = command(source, "-o", tmp_path / "out.tif", "--fix-nonfinite")
    assert done.code == 0
    assert "warning: 4 values that were not finite" in done.err
    expected = np.nan_to_num(values, nan=0, posinf=1, neginf=0)
    options = ReadOptions(fix_nonfinite=True)
    picture = image.read(source, options=options, scratch=tmp_path if scratch else None)
    for found in (picture, image.read(tmp_path / "out.tif")):
        assert np.isfinite(found.pixels).all()
        assert np.isfinite(found.alpha).all()
        assert np.array_equal(found.pixels, expected[..., :3])
        assert np.array_equal(found.alpha, expected[..., 3])


class Blur(torch.nn.Module):
    """The mean of 5 x 5 pixels: colours that should stay hidden would show around them."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(picture, (2, 2, 2, 2), mode="replicate")
        return torch.nn.functional.avg_pool2d(padded, 5, 1)


@pytest.mark.reliability("I29", "I30")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_hidden_colour_does_not_bleed(dtype: str) -> None:
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    pixels = np.full((40, 40, 3), top * 0.4).astype(dtype)
    alpha = np.full((40, 40), top, dtype)
    alpha[10:30, 10:30] = 0
    pixels[10:30, 10:30] = (np.array([1, 0, 1]) * top).astype(dtype)
    result = Restorer(Blur(), device="cpu")(Picture(pixels=pixels, alpha=alpha))
    assert np.array_equal(result.alpha, alpha)
    shown = alpha > 0
    assert np.abs(result.pixels[shown].astype(float) - pixels[shown]).max() <= 2 / 255 * top
    hidden = Restorer(Blur(), device="cpu")(Picture(pixels=pixels, alpha=np.zeros_like(alpha)))
    assert np.isfinite(hidden.pixels.astype(float)).all()
    assert np.array_equal(hidden.pixels, pixels)


@pytest.mark.reliability("I30")
def test_premultiplied_and_all_hidden_tiff(command: Command, tmp_path: Path) -> None:
    for name, alpha in (("none", 0), ("half", 128)):
        multiplied = np.dstack((RGB * (alpha / 255), np.full(RGB.shape[:2], alpha))).astype(np.uint8)
        source = written(tmp_path, f"{name}.tif", pictures.tiff(multiplied, extrasamples=["assocalpha"]))
        done = command(source, "-o", f"{tmp_path}/out/")
        assert done.code == 0
        assert "premultiplied" in done.err
        assert (image.read(tmp_path / "out" / source.name).alpha == alpha).all()


@pytest.mark.reliability("I36", "I37")
@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((9, 9, 3), np.int32), "int32"),
        (np.zeros((9, 9, 3), np.uint32), "uint32"),
        (np.zeros((9, 9, 3), bool), "bool"),
        (np.zeros((9, 9, 3), np.complex128), "complex128"),
        (np.zeros((3, 9, 9), np.uint8), r"\(3, 9, 9\)"),
        (np.zeros((9, 9, 5), np.uint8), r"\(9, 9, 5\)"),
        (np.zeros((9, 9, 1), np.uint8), r"\(9, 9, 1\)"),
        (np.zeros((0, 9, 3), np.uint8), r"\(0, 9, 3\)"),
        (np.zeros((0, 0), np.uint8), r"\(0, 0\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_are_no_pictures_are_named(tiny: Restorer, array: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        tiny(array)
    assert caught.value.code == "bad_array"


@pytest.mark.reliability("I36")
def test_float64_is_taken_and_given_back(tiny: Restorer) -> None:
    found = tiny(pictures.ramp("float32").astype(np.float64))
    assert found.dtype == np.float64
    assert np.array_equal(found, tiny(pictures.ramp("float32")))


@pytest.mark.reliability("I38")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_way_an_array_lies_makes_no_difference(dtype: str) -> None:
    restorer = Restorer(Blur(), device="cpu")
    base = pictures.ramp(dtype, width=40, height=30)
    locked = base.copy()
    locked.flags.writeable = False
    views = [base[::2, ::3], base[::-1, ::-1], base[..., ::-1], np.asfortranarray(base), locked]
    for view in views:
        before = view.tobytes()
        assert np.array_equal(restorer(view), restorer(np.array(view, order="C")))
        assert view.tobytes() == before


# ---------------------------------------------------------------------------------- orientation, EXIF


def with_exif(kind: str, block: bytes) -> bytes:
    if kind != "TIFF":
        return pictures.pillow(RGB, kind, exif=block, **({"lossless": True} if kind == "WEBP" else {}))
    # Pillow checks what it writes into a TIFF: write a good one, and change it.
    good = pictures.pillow(RGB, "TIFF", exif=corpus.exif_orientation(3, 1, b"\6\0"))
    assert good.count(b"\x12\x01\x03\0\1\0\0\0\6\0") == 1
    return good.replace(b"\x12\x01\x03\0\1\0\0\0\6\0\0\0", block[16:28])


@pytest.mark.reliability("I45")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("odd", corpus.WRONG_ORIENTATIONS)
def test_orientations_that_do_not_exist(command: Command, tmp_path: Path, kind: str, odd: str) -> None:
    source = written(
        tmp_path, f"x.{corpus._suffix(kind.lower())}", with_exif(kind, corpus.WRONG_ORIENTATIONS[odd])
    )
    right = image.decode(with_exif(kind, corpus.exif_orientation(3, 1, b"\1\0")))
    assert right.warnings == ()
    assert np.array_equal(image.read(source).pixels, right.pixels)
    done = command(source, "-o", f"{tmp_path}/out/")
    assert (done.code, done.err.count("warning: EXIF orientation")) == (0, 1)


# -------------------------------------------------------------------------------------------- colours


def lab(data: bytes, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    picture = pictures.opened(data)
    found = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("LAB"), outputMode="LAB")
    values = np.asarray(found).astype(float)
    return np.dstack((values[..., 0] / 2.55, values[..., 1:].astype(np.uint8).astype(np.int8)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("p3", marks=pytest.mark.reliability("I47")),
        pytest.param("adobe", marks=pytest.mark.reliability("I48")),
        pytest.param("prophoto", marks=pytest.mark.reliability("I48")),
    ],
)
def test_colour_profiles_and_colours_are_kept(command: Command, tmp_path: Path, kind: str, name: str) -> None:
    profile = corpus.icc(name)
    before = pictures.pillow(SMOOTH, kind, icc_profile=profile, quality=95)
    source = written(tmp_path, f"x.{corpus._suffix(kind.lower())}", before)
    done = command(source, "-o", f"{tmp_path}/out/")
    assert (done.code, done.err) == (0, "")
    after = (tmp_path / "out" / source.name).read_bytes()
    assert pictures.opened(after).info["icc_profile"] == profile
    assert deltaE_ciede2000(lab(before, profile), lab(after, profile)).mean() <= 1


@pytest.mark.reliability("I48")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_grey_profiles_are_kept(command: Command, tmp_path: Path, kind: str) -> None:
    profile = corpus.icc("grey")
    before = pictures.pillow(corpus.GREY, kind, icc_profile=profile)
    source = written(tmp_path, f"x.{corpus._suffix(kind.lower())}", before)
    done = command(source, "-o", f"{tmp_path}/out/")
    assert (done.code, done.err) == (0, "")
    after = pictures.opened((tmp_path / "out" / source.name).read_bytes())
    assert after.info["icc_profile"] == profile
    assert np.abs(np.asarray(after).astype(int) - np.asarray(pictures.opened(before))).mean() <= 1


@pytest.mark.reliability("I48")
def test_lab_is_refused_not_taken_for_rgb() -> None:
    assert end_of(pictures.pillow(Image.fromarray(RGB, "LAB"), "TIFF")) == "unsupported_format"


@pytest.mark.reliability("I49")
def test_profiles_of_any_size_and_kind_cost_little(tmp_path: Path) -> None:
    rgb = corpus.icc("p3")
    huge = struct.pack(">I", 50 * 2**20) + rgb[4:] + bytes(50 * 2**20 - len(rgb))
    good = written(tmp_path, "good.png", pictures.png(RGB))
    files = {
        "large.png": pictures.png(RGB, chunks=[(b"iCCP", b"huge\0\0" + zlib.compress(huge))]),
        "stored.png": pictures.png(RGB, chunks=[(b"iCCP", b"huge\0\0" + zlib.compress(huge, 0))]),
        "large.jpg": corpus.jpeg_with_icc(FILES["jpeg"], huge[: 65_000 * 255]),
        "large.tif": pictures.pillow(RGB, "TIFF", icc_profile=huge),
        "large.webp": pictures.pillow(RGB, "WEBP", lossless=True, icc_profile=huge),
        "large.avif": pictures.pillow(RGB, "AVIF", icc_profile=huge),
        "cut.png": pictures.png(RGB, chunks=[(b"iCCP", b"cut\0\0" + zlib.compress(rgb[:200]))]),
        "class.jpg": corpus.jpeg_with_icc(FILES["jpeg"], corpus.icc("grey")),
    }
    paths = [written(tmp_path, name, data) for name, data in files.items()]
    in_memory, in_files = read_apart(good, paths), read_apart(good, paths, scratch=str(tmp_path))
    for path, one, other in zip(paths, in_memory, in_files, strict=True):
        for found in (one, other):
            assert found.end == corpus.OK, path.name
            assert sum("ICC profile was dropped" in line for line in found.warnings) == 1, path.name
        assert one.mebibytes < 100 + path.stat().st_size / 2**20, path.name
        assert other.mebibytes < 100, path.name
        picture = image.read(path)
        assert picture.metadata.icc is None
        if path.suffix in (".png", ".tif", ".webp"):
            assert np.array_equal(picture.pixels, RGB), path.name


@pytest.mark.reliability("I49")
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_profiles_of_some_megabytes_are_kept_and_quick(tmp_path: Path, kind: str) -> None:
    rgb, size = corpus.icc("p3"), 2**21
    profile = struct.pack(">I", size) + rgb[4:] + bytes(size - len(rgb))
    path = written(
        tmp_path, f"x.{corpus._suffix(kind.lower())}", pictures.pillow(RGB, kind, icc_profile=profile)
    )
    start = time.process_time()
    assert image.read(path, scratch=tmp_path).metadata.icc == profile
    assert time.process_time() - start < 2  # (libheif reads one byte by byte: 20 s through `StoredBytes`)


@pytest.mark.reliability("I50")
@pytest.mark.parametrize(
    ("name", "body", "warned"),
    [
        (b"gAMA", struct.pack(">I", 100_000), True),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), True),
        (b"cICP", b"\x09\x10\0\1", True),
        (b"sRGB", b"\0", False),
    ],
)
def test_png_colour_chunks(command: Command, tmp_path: Path, name: bytes, body: bytes, warned: bool) -> None:
    source = written(tmp_path, "x.png", pictures.png(RGB, chunks=[(name, body)]))
    done = command(source, "-o", tmp_path / "out.png")
    assert done.code == 0
    assert (name.decode() in done.err) == warned == ("warning" in done.err)
    assert np.array_equal(image.read(tmp_path / "out.png").pixels, RGB)


# ------------------------------------------------------------------------------------------- metadata


@pytest.mark.reliability("I51")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("option", [None, "--keep-metadata", "--strip-metadata"])
def test_what_metadata_stays(command: Command, tmp_path: Path, kind: str, option: str | None) -> None:
    profile = corpus.icc("p3")
    if kind == "TIFF":
        data = pictures.pillow(RGB, kind, exif=pictures.exif(xmp=pictures.XMP_GPS), icc_profile=profile)
    else:
        data = pictures.pillow(RGB, kind, exif=pictures.exif(), xmp=pictures.XMP_GPS, icc_profile=profile)
    source = written(tmp_path, f"x.{corpus._suffix(kind.lower())}", data)
    assert command(source, "-o", f"{tmp_path}/out/", *([option] if option else [])).code == 0
    result = (tmp_path / "out" / source.name).read_bytes()
    exif = pictures.opened(result).getexif()
    packet = image.read(tmp_path / "out" / source.name, keep_gps=True).metadata.xmp or b""
    assert pictures.opened(result).info["icc_profile"] == profile
    assert (exif.get_ifd(0x8825) != {}) == (option == "--keep-metadata")
    assert (b"GPS" in packet) == (option == "--keep-metadata")
    if option == "--strip-metadata":
        assert packet == b""
        assert not {0x010F, 0x0110, 0x0132, 0x8298, 0x8769} & set(exif)
        assert not any(word in result for word in (b"Examplecam", b"Somebody", b"xmpmeta", b"Tool"))
    else:
        assert exif[0x8298] == "(c) Somebody"
        assert exif.get_ifd(0x8769)[0x9003] == "2021:02:03 04:05:06"


@pytest.mark.reliability("I51")
def test_text_is_dropped_with_the_rest_and_both_options_are_a_contradiction(
    command: Command, tmp_path: Path
) -> None:
    source = written(tmp_path, "x.png", pictures.png(RGB, chunks=[(b"tEXt", b"Title\0A street")]))
    assert command(source, "-o", tmp_path / "kept.png").code == 0
    assert command(source, "-o", tmp_path / "bare.png", "--strip-metadata").code == 0
    assert pictures.opened((tmp_path / "kept.png").read_bytes()).info["Title"] == "A street"
    assert b"street" not in (tmp_path / "bare.png").read_bytes()
    done = command(source, "-o", tmp_path / "no.png", "--strip-metadata", "--keep-metadata")
    assert (done.code, (tmp_path / "no.png").exists()) == (2, False)


# ------------------------------------------------------------------------------ damage and oddities


@pytest.mark.reliability("I55")
@pytest.mark.parametrize("size", [1, 1000, 10 * 2**20])
def test_bytes_behind_a_jpeg(size: int) -> None:
    for name in ("jpeg", "progressive jpeg"):
        clean = image.decode(FILES[name])
        found = image.decode(FILES[name] + random.Random(size).randbytes(size))
        assert np.array_equal(found.pixels, clean.pixels)
        assert found.warnings == ()


@pytest.mark.reliability("I56")
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_progressive_equals_baseline_of_the_same_coefficients(subsampling: int, quality: int) -> None:
    noisy = np.asarray(Image.fromarray(pictures.noise(shape=(12, 16, 3))).resize((100, 75)))
    how = {"subsampling": subsampling, "quality": quality}
    baseline, progressive = (pictures.pillow(noisy, "JPEG", progressive=p, **how) for p in (False, True))
    assert b"\xff\xc0" in baseline
    assert b"\xff\xc2" in progressive
    assert np.array_equal(image.decode(baseline).pixels, image.decode(progressive).pixels)


@pytest.mark.reliability("I57")
def test_flipped_jpeg_bytes() -> None:
    data = FILES["jpeg"]
    start = data.index(b"\xff\xda") + 14
    ends = set()
    for seed in corpus.some(range(1000), 250):
        source = random.Random(seed)
        at = source.randrange(start, len(data) - 2)
        damaged = data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
        try:
            assert image.decode(damaged).pixels.shape == SMOOTH.shape
            ends.add(corpus.OK)
        except InputError as error:
            ends.add(error.code)
    assert corpus.OK in ends
    assert ends <= {corpus.OK, "truncated", "corrupt"}


def covered(data: bytes) -> Iterator[int]:
    """The places of a PNG that a checksum covers, and the checksums."""
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield from range(at + 4, at + 12 + length)
        at += 12 + length


@pytest.mark.reliability("I58")
def test_every_wrong_checksum_is_refused() -> None:
    data = pictures.png(pictures.noise(shape=(8, 8, 3)), chunks=[(b"tEXt", b"Title\0words")])
    places = list(covered(data))
    assert len(places) > 250
    for at in places:
        for bit in range(8) if FULL else (at % 8,):
            damaged = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            assert end_of(damaged) == "corrupt", (at, bit)
