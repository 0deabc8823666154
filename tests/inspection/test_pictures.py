"""Pictures made small, and labelled sets from folders and recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anyrestore.errors import DataError, UsageError
from anyrestore.image import Picture, write
from anyrestore.inspection.pictures import Labelled, fit, labelled, load, read


def save(path: Path, seed: int, shape: tuple[int, ...] = (20, 30, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Picture(pixels=np.random.default_rng(seed).integers(0, 256, shape, np.uint8)), path)
    return path


def test_large_pictures_are_cut_or_scaled() -> None:
    x = torch.rand(1, 3, 40, 100)
    same, nothing = fit(x, 100)
    assert same is x
    assert nothing == ""
    cut, said = fit(x, 60)
    assert torch.equal(cut, x[..., 20:80])
    assert said == "middle 60 x 40 of 100 x 40 pixels"
    scaled, said = fit(x, 50, "scale")
    assert scaled.shape == (1, 3, 20, 50)
    assert said == "scaled to 50 x 20 from 100 x 40 pixels"
    assert fit(torch.rand(1, 3, 2, 900), 30, "scale")[0].shape == (1, 3, 1, 30)


def test_grey_files_are_read(tmp_path: Path) -> None:
    image, said = read(save(tmp_path / "grey.png", 0, (20, 30)), 16)
    assert image.shape == (1, 3, 16, 16)
    assert "middle 16 x 16" in said


def test_subfolders_are_labels(tmp_path: Path) -> None:
    for label, count in {"rain": 3, "haze": 2}.items():
        for i in range(count):
            save(tmp_path / label / f"{i}.png", i)
    found = labelled([str(tmp_path)], limit=2)
    assert [(one.label, one.path.name) for one in found] == [
        *(("haze", name) for name in ("0.png", "1.png")),
        *(("rain", name) for name in ("0.png", "1.png")),
    ]


def test_recipes_make_labels(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b.png", 2)
    found = labelled([str(tmp_path)], "noise:0.5, rain:0.6+haze:0.5,clean")
    assert [one.label for one in found[::2]] == ["noise:0.5", "rain:0.6+haze:0.5", "clean"]
    images = list(load(found, 16))
    assert all(image.shape == (1, 3, 16, 16) for image in images)
    clean = images[4]
    assert torch.equal(clean, fit(read(tmp_path / "a.png", 100)[0], 16)[0])
    assert 10 < float((images[0] - clean).std()) * 255 < 30  # sigma 25, clipped
    # The draw is the file's own: the same without the others, another with another seed.
    assert torch.equal(next(load(found[1:], 16)), images[1])
    assert not torch.equal(next(load(found[1:], 16, seed=5)), images[1])


def test_named_folders(tmp_path: Path) -> None:
    save(tmp_path / "clean@home" / "a.png", 1)
    save(tmp_path / "dark" / "a.png", 1)
    found = labelled(
        [f"sigma25={tmp_path}/clean@home@noise:0.5", f"low={tmp_path}/dark", f"x={tmp_path}/clean@home"]
    )
    assert [(one.label, one.recipe) for one in found] == [
        ("sigma25", "noise:0.5"),
        ("low", None),
        ("x", None),
    ]
    assert isinstance(found[0], Labelled)


def test_what_is_not_right_is_told(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a.png", 1)
    one = f"{tmp_path}/one"
    for sources, recipes, says in (
        ([one], None, "found 0"),
        ([one, one], None, "LABEL=DIR"),
        ([f"a={one}"], "noise:0.5", "one folder"),
        ([f"a={one}", f"a={one}"], None, "every label once"),
        ([f"={one}"], None, "LABEL=DIR"),
        ([one], "fog:0.5", "unknown degradation"),
    ):
        with pytest.raises(UsageError, match=says):
            labelled(sources, recipes)
    with pytest.raises(DataError, match="folder of pictures"):
        labelled([f"a={tmp_path}/none", f"b={one}"])
