"""Small files under the names that the documentation's commands use, so that these can be run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

import tiny_models
from anyrestore.zoo import save_weights
from documented import ROOT
from golden.test_instructir import public_state as instructir_state
from layouts import make_set
from public_weights import lightning, public_state
from training_pictures import write_training_root

DATA_FOLDERS = ("DATA", "DIR", "ROOT", "TEST_SETS", "PICTURES", "PHOTOS", "PHOTOGRAPHS")
SETS = ("cbsd68", "rain100l", "lolv1", "cdd11", "bsd400", "wed", "ots", "sots", "gopro")
PHOTOGRAPHS = ("chelsea.png", "rocket.jpg", "coffee.png", "astronaut.png")


def make(folder: Path) -> Path:
    """Everything, in a folder that is copied for every page; returns it."""
    _pictures(folder)
    _data(folder)
    _checkpoints(folder)
    _results(folder)
    return folder


def _pictures(folder: Path) -> None:
    from anyrestore import degrade
    from anyrestore.image import Picture, to_tensor, write

    random = np.random.default_rng(0)
    y, x = np.mgrid[:40, :56] / 56
    scene = np.stack([x, y, 0.5 + 0.3 * np.sin(9 * x + 4 * y)], -1)
    pixels = np.rint(255 * scene).astype(np.uint8)

    def store(name: str, values: np.ndarray) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(Picture(pixels=values), folder / name)

    noisy = degrade(to_tensor(pixels), "noise:0.5", torch.Generator().manual_seed(0))
    rough = np.rint(255 * noisy[0].permute(1, 2, 0).numpy()).astype(np.uint8)
    samples = [f"samples/{path.name}" for path in (ROOT / "samples").glob("*.png")]
    for name in ("photo.jpg", "photo.png", "FOLDER/input/a.png", *PHOTOGRAPHS, *samples):
        store(name, rough)
    store("FOLDER/target/a.png", pixels)
    store("large.tif", rough.astype(np.uint16) * 257)
    for place in ("holiday", "scans", "archive/scans"):
        for name in ("beach.jpg", "friends/evening.png"):
            store(f"{place}/{name}", random.permutation(rough))
    for i in range(6):
        store(f"CLEAN/{i}.png", np.roll(pixels, 7 * i, axis=1))
    (folder / "mnt/disk").mkdir(parents=True)


def _data(folder: Path) -> None:
    sets = folder / "DATA"
    for name in SETS:
        make_set(name, sets, count=4, size=(48, 64))
    write_training_root(sets)
    for side in ("low", "high", "photos"):
        shutil.copytree(sets / "CBSD68", sets / side)
    for name in DATA_FOLDERS[1:]:
        (folder / name).symlink_to("DATA")
    shutil.copytree(sets / "CBSD68", folder / "CBSD68")
    shutil.copytree(sets / "Rain100L", folder / "Rain100L")
    shutil.copytree(sets / "LOLv1/eval15", folder / "LOLv1-eval15")


def _checkpoints(folder: Path) -> None:
    moce = public_state()[1]
    for name in ("anyir.pth", "nafnet.pth", "deraining.pth", "CHECKPOINT.pth"):
        torch.save({"params": moce}, folder / name)
    for name in ("promptir.ckpt", "moce.ckpt"):
        torch.save(lightning(moce), folder / name)
    torch.save(instructir_state(), folder / "instructir.pt")
    for name in ("before.safetensors", "after.safetensors"):
        save_weights(tiny_models.make("tiny"), folder / name)


def _results(folder: Path) -> None:
    """Stored scores; what a page makes itself is not among them."""
    from anyrestore.cli.main import main

    made = folder / "b"
    command = ["evaluate", "--model", "identity", "--benchmark", "cbsd68,rain100l,lolv1"]
    assert main([*command, "--root", str(folder / "DATA"), "--limit", "1", "--out", str(made)]) == 0
    for name in ("B", "A1", "A2", "A3", "B1", "B2", "B3", "d1", "e1"):
        shutil.copytree(made, folder / name)


def make_clip(path: Path, frames: int = 3) -> None:
    """A video; needs PyAV."""
    from video.clips import IRREGULAR, write

    write(path, times=IRREGULAR[:frames])
