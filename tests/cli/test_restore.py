"""`anyrestore restore`: every kind of file comes back right, or is refused in one sentence."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from torch import nn

from anyrestore import image, zoo
from anyrestore.cli.main import main
from anyrestore.image import Picture

Listing = Callable[[], list[str]]


def test_one_file_to_one_file(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    done = command("restore", tmp_path / "a.png", "-o", tmp_path / "b.png", "--device", "cpu")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{tmp_path}/a.png -> {tmp_path}/b.png  37x23  ")
    assert done.out.count("\n") == 1
    assert np.array_equal(image.read(tmp_path / "b.png").pixels, dark * 2)


@pytest.mark.parametrize("tile", ["auto", "off", "16"])
def test_depth_alpha_and_grey_survive(command: Any, tmp_path: Path, dark: np.ndarray, tile: str) -> None:
    deep = dark.astype(np.uint16) * 256 + 3
    alpha = np.random.default_rng(1).integers(1, 256, dark.shape[:2], np.uint8)
    pictures = {
        "deep.png": Picture(pixels=deep),
        "deep-alpha.tiff": Picture(pixels=deep, alpha=alpha.astype(np.uint16) * 257),
        "alpha.png": Picture(pixels=dark, alpha=alpha),
        "grey.png": Picture(pixels=dark[..., 0]),
        "grey-alpha.png": Picture(pixels=dark[..., 0], alpha=alpha),
        "deep-grey.tif": Picture(pixels=deep[..., 0]),
        "one.png": Picture(pixels=dark[:1, :1]),
        "row.png": Picture(pixels=dark[:1]),
        "float.tiff": Picture(pixels=dark.astype(np.float32) / 255),
    }
    (tmp_path / "in").mkdir()
    for name, picture in pictures.items():
        image.write(picture, tmp_path / "in" / name)
    done = command("restore", tmp_path / "in", "-o", tmp_path / "out", "--tile", tile, "--device", "cpu")
    assert (done.code, done.err) == (0, "")
    for name, before in pictures.items():
        after = image.read(tmp_path / "out" / name)
        assert after.pixels.dtype == before.pixels.dtype
        assert after.pixels.shape == before.pixels.shape
        assert np.allclose(after.pixels, before.pixels * 2, atol=1e-6), name
        assert (after.alpha is None) == (before.alpha is None)
        assert before.alpha is None or np.array_equal(after.alpha, before.alpha)


def test_orientation_is_applied_and_reset(command: Any, tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 100  # as stored: bright on the left; turned to the right by 90 degrees: at the top
    stored = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
    stored.set_type(pyvips.GValue.gint_type, "orientation", 6)
    stored.jpegsave(str(tmp_path / "phone.jpg"), Q=95)
    done = command("restore", tmp_path / "phone.jpg", "-o", tmp_path / "out.jpg", "--device", "cpu")
    assert done.code == 0
    result = pyvips.Image.new_from_file(str(tmp_path / "out.jpg"))
    assert (result.width, result.height) == (20, 40)
    assert "orientation" not in result.get_fields() or result.get("orientation") == 1
    assert np.asarray(result)[:15].mean() > 180
    assert np.asarray(result)[-15:].mean() < 20


def test_cmyk_becomes_rgb_of_the_same_size(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    flat = pyvips.Image.new_from_array(np.full_like(dark, 60)).copy(interpretation="srgb")
    flat.icc_transform("cmyk", input_profile="srgb").jpegsave(str(tmp_path / "print.jpg"), Q=95)
    done = command("restore", tmp_path / "print.jpg", "-o", tmp_path / "out.png", "--device", "cpu")
    assert done.code == 0
    result = image.read(tmp_path / "out.png")
    assert result.pixels.shape == dark.shape
    assert np.abs(result.pixels.astype(int) - 120).max() < 25


def test_without_output_it_is_written_beside(
    command: Any, tmp_path: Path, dark: np.ndarray, listing: Listing
) -> None:
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    assert command("restore", tmp_path / "a.png", "--compare").code == 0
    assert listing() == ["a.png", "a.restored.compare.png", "a.restored.png"]


def test_existing_results_are_kept_unless_told(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"old")
    done = command("restore", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert done.code == 4
    assert (tmp_path / "b.png").read_bytes() == b"old"
    assert command("restore", tmp_path / "a.png", "-o", tmp_path / "b.png", "--overwrite").code == 0
    assert np.array_equal(image.read(tmp_path / "b.png").pixels, dark * 2)


def _truncated(path: Path) -> None:
    image.write(Picture(pixels=np.zeros((40, 40, 3), np.uint8)), path)
    path.write_bytes(path.read_bytes()[:-200])


def _text(path: Path) -> None:
    path.write_text("this is not a picture\n")


def _folder(path: Path) -> None:
    path.mkdir()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _missing(path: Path) -> None:
    pass


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_truncated, _text, _folder, _empty, _missing, _pipe])
@pytest.mark.parametrize("output", ["out.png", "out/", None])
def test_what_is_no_picture_is_one_sentence(
    command: Any, tmp_path: Path, listing: Listing, make: Callable[[Path], None], output: str | None
) -> None:
    bad = tmp_path / ("x.jpg" if make is _truncated else "x.png")
    make(bad)
    before = listing()
    done = command("restore", bad, *(() if output is None else ("-o", f"{tmp_path}/{output}")))
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"anyrestore: {bad}: ")
    assert done.err.count("\n") == 1
    assert done.err.count(bad.name) == 1
    assert listing() == before


def test_one_bad_file_in_a_folder(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "c.png"):
        image.write(Picture(pixels=dark), tmp_path / "in" / name)
    _text(tmp_path / "in" / "b.png")
    done = command("restore", tmp_path / "in", "-o", tmp_path / "out")
    assert done.code == 1
    assert done.out.count("\n") == 2
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".anyrestore.jsonl",
        "a.png",
        "c.png",
    ]


def test_all_bad(command: Any, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        _text(tmp_path / name)
    assert command("restore", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out").code == 3


def test_a_target_that_cannot_be_written(
    command: Any, tmp_path: Path, dark: np.ndarray, listing: Listing
) -> None:
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way")
    before = listing()
    targets = [
        tmp_path / "file" / "b.png",
        tmp_path / "file" / "deeper" / "b.png",
        tmp_path / "none" / "b.png",
    ]
    if Path("/proc/self").is_dir():
        targets.append(Path("/proc/anyrestore-test.png"))
    for target in targets:
        done = command("restore", tmp_path / "a.png", "-o", target)
        assert (done.code, done.out) == (4, ""), target
        assert done.err.count("\n") == 1
    assert listing() == before


def test_a_disk_that_fills_up(command: Any, tmp_path: Path, listing: Listing) -> None:
    noise = np.random.default_rng(0).integers(0, 128, (150, 150, 3), np.uint8)
    for name in ("a.png", "b.png"):
        image.write(Picture(pixels=noise), tmp_path / name)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        done = command("restore", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (done.code, done.out) == (4, "")
    assert "not tried: 1" in done.err
    assert listing() == ["a.png", "b.png", "out", "out/.anyrestore.jsonl"]


@pytest.mark.parametrize(
    "options",
    [
        ["--tile", "0"],
        ["--tile", "-5"],
        ["--tile", "some"],
        ["--device", "tpu"],
        ["--quality", "0"],
        ["--quality", "101"],
        ["--max-pixels", "many"],
        ["--threads", "0"],
        ["--no-such-option"],
        ["-o", "x.bmp"],
    ],
)
def test_options_that_are_not_right(
    command: Any, tmp_path: Path, dark: np.ndarray, options: list[str]
) -> None:
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    done = command("restore", tmp_path / "a.png", *options)
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_no_pictures_at_all_is_a_wrong_command(command: Any, tmp_path: Path) -> None:
    assert command("restore", tmp_path, "-o", tmp_path / "out").code == 2
    assert command("restore").code == 2


def test_a_format_that_cannot_hold_the_picture(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    image.write(Picture(pixels=dark, alpha=dark[..., 0]), tmp_path / "a.png")
    done = command("restore", tmp_path / "a.png", "-o", tmp_path / "b.jpg")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "b.jpg").exists()


def test_pictures_above_the_limit(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    done = command("restore", tmp_path / "a.png", "-o", tmp_path / "b.png", "--max-pixels", "850")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "851" in done.err
    assert command("restore", tmp_path / "a.png", "-o", tmp_path / "b.png", "--max-pixels", "851").code == 0


def test_an_unknown_model_is_a_wrong_command(
    command: Any, tmp_path: Path, dark: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    done = command("restore", tmp_path / "a.png", "--model", "no-such-model")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "no-such-model" in done.err


def test_warnings_are_said_once(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    done = command("restore", tmp_path / "a.jpg", "-o", tmp_path / "b.png")
    assert done.code == 0
    assert done.err.count("\n") == done.err.count("warning: ") == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="APFS refuses names that are no UTF-8")
def test_odd_names_are_printed_escaped(command: Any, tmp_path: Path, dark: np.ndarray) -> None:
    for name in (
        "new\nline.png",
        "caf\u00e9 \U0001f600.png",
        os.fsdecode(b"not-utf8-\xff.png"),
        "-rf.png",
        ".dot.png",
    ):
        image.write(Picture(pixels=dark), tmp_path / name)
        done = command("restore", tmp_path / name, "-o", f"{tmp_path}/out/")
        assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
        assert (tmp_path / "out" / name).is_file()
        (tmp_path / name).unlink()
        done = command("restore", tmp_path / name, "-o", f"{tmp_path}/out2/")
        assert (done.code, done.err.count("\n")) == (3, 1)


@pytest.mark.parametrize("struck", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_leave_nothing_behind(
    command: Any, tmp_path: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch, struck: tuple[int, int]
) -> None:
    number, code = struck
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    class Struck(nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            os.kill(os.getpid(), number)
            return picture

    monkeypatch.setattr(zoo, "load_model", lambda _: Struck())
    image.write(Picture(pixels=np.zeros((20, 20, 3), np.uint8)), tmp_path / "a.png")
    handler = signal.getsignal(signal.SIGTERM)
    done = command("restore", tmp_path / "a.png", "-o", f"{tmp_path}/out/")
    signal.signal(signal.SIGINT, before)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert listing() == ["a.png"]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_bug_in_the_model_is_one_sentence_and_debug_shows_where(
    command: Any,
    tmp_path: Path,
    dark: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Broken(nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return picture[:, :, ::2] + picture

    monkeypatch.setattr(zoo, "load_model", lambda _: Broken())
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    done = command("restore", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "--debug" in done.err
    assert main(["restore", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--debug"]) == 3
    assert "Traceback" in capfd.readouterr().err


def test_real_weights_from_a_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], dark: np.ndarray
) -> None:
    zoo.save_weights(zoo.create_model("tiny"), tmp_path / "tiny.safetensors")
    image.write(Picture(pixels=dark), tmp_path / "a.png")
    arguments = [
        "restore",
        str(tmp_path / "a.png"),
        "--model",
        str(tmp_path / "tiny.safetensors"),
        "--tile",
        "16",
    ]
    assert main(arguments) == 0
    assert image.read(tmp_path / "a.restored.png").pixels.shape == dark.shape
