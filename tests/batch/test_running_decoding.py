"""A decoder in a process of its own: what it crashes or hangs on costs that picture alone."""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from anyrestore import image, scratch
from anyrestore.batch.decoding import Isolated
from anyrestore.batch.jobs import plan_jobs
from anyrestore.batch.running import run_jobs
from anyrestore.errors import AnyRestoreError, InputError
from anyrestore.image import Metadata, Picture
from pictures import exif, icc

STUB = [sys.executable, str(Path(__file__).with_name("decoder_that_fails.py"))]
FULL = os.environ.get("ANYRESTORE_FULL") == "1"
DRAW = np.random.default_rng(0)


def draw(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    if dtype == np.float32:
        return DRAW.random(shape, np.float32)
    return DRAW.integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Isolated]:
    """One for all tests: it takes a second to start."""
    decoder = Isolated(seconds=30, command=STUB)
    yield decoder
    decoder.close()


def read(decoder: Isolated, path: Path, folder: Path | None = None) -> Picture:
    return decoder.read(path, max_pixels=10_000, keep_gps=False, scratch=folder)


@pytest.mark.parametrize(
    "in_file",
    [
        False,
        pytest.param(True, marks=pytest.mark.skipif(not scratch.SUPPORTED, reason="no scratch files here")),
    ],
)
@pytest.mark.parametrize(
    "picture",
    [
        Picture(
            pixels=draw(40, 30, 3),
            alpha=draw(40, 30),
            metadata=Metadata(icc=icc(), exif=exif(), text=(("Title", "täst"),), resolution=(3.0, 4.0)),
        ),
        Picture(pixels=draw(7, 5, dtype=np.uint16)),
        Picture(pixels=draw(7, 5, 3, dtype=np.float32), format="tiff"),
    ],
)
def test_a_picture_comes_whole(tmp_path: Path, decoder: Isolated, picture: Picture, in_file: bool) -> None:
    path = tmp_path / f"\udc80 ü\n.{picture.format}"
    image.write(picture, path)
    here = image.read(path)
    there = read(decoder, path, tmp_path if in_file else None)
    assert np.array_equal(there.pixels, here.pixels)
    assert there.pixels.dtype == here.pixels.dtype
    assert (there.alpha is None) == (here.alpha is None)
    assert here.alpha is None or np.array_equal(there.alpha, here.alpha)
    assert scratch.is_backed(there.pixels) == in_file
    for name in ("format", "metadata", "warnings"):
        assert getattr(there, name) == getattr(here, name)
    assert dataclasses.astuple(decoder.read_header(path, max_pixels=10_000)) == dataclasses.astuple(
        image.read_header(path)
    )


def test_its_errors_are_those_of_reading(tmp_path: Path, decoder: Isolated) -> None:
    with pytest.raises(InputError, match="does not exist") as caught:
        read(decoder, tmp_path / "none.png")
    assert caught.value.code == "not_found"
    image.write(Picture(pixels=draw(4, 4, 3)), tmp_path / "bug.png")
    with pytest.raises(AnyRestoreError, match="ZeroDivisionError: two over nothing") as unforeseen:
        read(decoder, tmp_path / "bug.png")
    assert unforeseen.value.code == "internal"
    image.write(Picture(pixels=draw(4, 4, 3)), tmp_path / "good.png")
    assert read(decoder, tmp_path / "good.png").pixels.shape == (4, 4, 3)


@pytest.mark.reliability("B6")
def test_crashes_and_hangs_cost_that_picture_alone(tmp_path: Path) -> None:
    bad = {"1-crash": "decoder_crashed", "4-quit": "decoder_crashed", "6-hang": "time_limit"}
    if FULL:
        bad["3-early"] = "decoder_crashed"
    names = ["0", *bad, "2", "5", "7"]
    (tmp_path / "in").mkdir()
    for name in names:
        image.write(Picture(pixels=draw(9, 8, 3)), tmp_path / "in" / f"{name}.png")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    results = list(run_jobs(jobs, lambda it: it, decoder=lambda: Isolated(seconds=4, command=STUB)))
    codes = {result.job.source.stem: getattr(result.error, "code", None) for result in results}
    assert codes == {name: bad.get(name) for name in names}
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(names) - set(bad)
    said = {result.job.source.stem: str(result.error) for result in results}
    assert "SIGSEGV" in said["1-crash"]
    assert "exit code 7" in said["4-quit"]
    assert "4 seconds" in said["6-hang"]


def test_closing_ends_what_hangs(tmp_path: Path, decoder: Isolated) -> None:
    image.write(Picture(pixels=draw(4, 4, 3)), tmp_path / "hang.png")
    own = Isolated(seconds=60, command=STUB)
    threading.Timer(2, own.close).start()
    began = time.monotonic()
    with pytest.raises(AnyRestoreError) as caught:
        read(own, tmp_path / "hang.png")
    assert caught.value.code == "process_lost"
    assert time.monotonic() - began < 20


def test_a_child_that_cannot_start_is_told(tmp_path: Path) -> None:
    own = Isolated(seconds=60, command=[sys.executable, "-c", "pass"])
    with pytest.raises(AnyRestoreError, match="did not start") as caught:
        read(own, tmp_path / "a.png")
    assert caught.value.code == "process_lost"
