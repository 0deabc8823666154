"""Convolutions in 8-bit integers: which, and what that loses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from anyrestore import image
from anyrestore.backends import int8
from anyrestore.errors import UsageError
from anyrestore.image import Picture
from graph_process import ENGINES, in_integers, need, process


def test_as_many_as_lose_little(tmp_path: Path) -> None:
    need("onnx", *ENGINES)
    with process(os.fspath(tmp_path)) as pool:
        found = pool.submit(in_integers).result()
    assert found["float int8"] == 0 < found["part int8"] <= found["whole int8"]
    assert found["float"] - found["part"] < 0.1
    assert found["openvino"] == pytest.approx(found["part"], abs=0.05)
    assert found["whole"] != found["float"]
    assert found["refused"]


def _write(folder: Path, sizes: list[tuple[int, int]]) -> None:
    draw = np.random.default_rng(0)
    for i, (height, width) in enumerate(sizes):
        image.write(Picture(pixels=draw.integers(0, 256, (height, width, 3), np.uint8)), folder / f"{i}.png")


def test_every_second_picture_is_held_out(tmp_path: Path) -> None:
    _write(tmp_path, [(256, 256), (300, 257), (255, 400), (256, 300), (400, 256), (256, 256)])
    (tmp_path / "notes.txt").write_text("no picture")
    vector = torch.ones(1, 4)
    calibration, held_out = int8.pairs(tmp_path, (vector,))
    assert (len(calibration), len(held_out)) == (3, 2)
    everything = [*calibration, *held_out]
    assert all(pair.clean.shape == (1, 3, 256, 256) and pair.given[1] is vector for pair in everything)
    assert len({pair.clean.sum().item() for pair in everything}) == 5
    deviation = torch.stack([(pair.given[0] - pair.clean).std() for pair in everything]).mean()
    assert 0.07 < deviation < 0.1  # sigma 25 / 255 = 0.098, less what clipping takes
    again = int8.pairs(tmp_path, (vector,))[0]
    assert torch.equal(again[0].given[0], calibration[0].given[0])


def test_too_few_pictures(tmp_path: Path) -> None:
    _write(tmp_path, [(256, 256)] * 3 + [(256, 255)])
    with pytest.raises(UsageError, match="at least 4 pictures of 256 x 256"):
        int8.pairs(tmp_path)
