"""`anyrestore degrade`: repeatable by its seed, and faithful to the file's kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore import image
from anyrestore.image import Picture

RECIPE = "haze:0.5+rain:0.7"


@pytest.fixture
def source(tmp_path: Path, dark: np.ndarray) -> Path:
    deep = dark.astype(np.uint16) * 500
    image.write(Picture(pixels=deep, alpha=deep[..., 0]), tmp_path / "a.png")
    return tmp_path / "a.png"


def test_the_seed_decides(command: Any, source: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        done = command("degrade", source, "-o", tmp_path / f"{name}.png", "--recipe", RECIPE, "--seed", seed)
        assert (done.code, done.err) == (0, "")
    one, again, two = (image.read(tmp_path / f"{name}.png") for name in ("one", "again", "two"))
    assert np.array_equal(one.pixels, again.pixels)
    assert not np.array_equal(one.pixels, two.pixels)


def test_depth_and_alpha_are_kept(command: Any, source: Path, tmp_path: Path) -> None:
    command("degrade", source, "-o", tmp_path / "b.png", "--recipe", RECIPE)
    before, after = image.read(source), image.read(tmp_path / "b.png")
    assert after.pixels.dtype == np.uint16
    assert after.pixels.shape == before.pixels.shape
    assert not np.array_equal(after.pixels, before.pixels)
    assert before.alpha is not None
    assert after.alpha is not None
    assert np.array_equal(after.alpha, before.alpha)


def test_severity_zero_is_the_file_itself(command: Any, source: Path, tmp_path: Path) -> None:
    command("degrade", source, "-o", tmp_path / "b.png", "--recipe", "haze:0+noise:0")
    assert np.array_equal(image.read(tmp_path / "b.png").pixels, image.read(source).pixels)


@pytest.mark.parametrize("recipe", ["fog:0.5", "haze:2", "haze", "", "haze:0.5+"])
def test_recipes_that_are_not_right(command: Any, source: Path, tmp_path: Path, recipe: str) -> None:
    done = command("degrade", source, "-o", tmp_path / "b.png", "--recipe", recipe)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "b.png").exists()


def test_bad_input_and_existing_output(command: Any, source: Path, tmp_path: Path) -> None:
    arguments = ("-o", tmp_path / "b.png", "--recipe", RECIPE)
    assert command("degrade", tmp_path / "none.png", *arguments).code == 3
    (tmp_path / "b.png").write_bytes(b"old")
    assert command("degrade", source, *arguments).code == 4
    assert (tmp_path / "b.png").read_bytes() == b"old"
    assert command("degrade", source, *arguments, "--overwrite").code == 0


def test_rain_from_a_folder_of_streak_layers(command: Any, source: Path, tmp_path: Path) -> None:
    layer = np.zeros((9, 13), np.uint8)
    layer[:, 6] = 255
    (tmp_path / "streaks").mkdir()
    image.write(Picture(pixels=layer), tmp_path / "streaks" / "one.png")
    arguments = ("-o", tmp_path / "b.png", "--recipe", "rain:1", "--streaks", tmp_path / "streaks")
    assert command("degrade", source, *arguments).code == 0
    before, after = (image.read(path).pixels for path in (source, tmp_path / "b.png"))
    changed = (before != after).reshape(before.shape[0], before.shape[1], -1).any(axis=2)
    assert changed.any()
    assert all(column.all() or not column.any() for column in changed.T)  # upright streaks, whole columns
    (tmp_path / "empty").mkdir()
    assert command("degrade", source, *arguments[:-1], tmp_path / "empty", "--overwrite").code == 3
