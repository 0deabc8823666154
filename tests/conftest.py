"""Settings for the whole suite. Nothing here imports anyrestore: jaxtyping must hook it first."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# The tensors here are small, and xdist gives every core a worker: more threads only wait for each other.
torch.set_num_threads(1)

# The same examples every time: a failure here must be one that the next run shows again.
settings.register_profile("anyrestore", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("anyrestore")

REFERENCE_DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "test"


def _reference(name: str) -> Path:
    folder = (REFERENCE_DATA / name).resolve()
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not on this machine")
    return folder


@pytest.fixture(scope="session")
def cbsd68_root() -> Path:
    """The folder that holds CBSD68; a test that asks for it is skipped where there is none."""
    return _reference("CBSD68").parent


@pytest.fixture(scope="session")
def rain100l_root() -> Path:
    """The folder that holds Rain100L; a test that asks for it is skipped where there is none."""
    return _reference("Rain100L").parent


@pytest.fixture(scope="session")
def lolv1_root() -> Path:
    """The folder that holds LOLv1-eval15; a test that asks for it is skipped where there is none."""
    return _reference("LOLv1-eval15").parent


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder in miniature, in the layout that the composite recipe expects."""
    from anyrestore.image import Picture, write

    root = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(0)

    def picture(name: str, height: int = 72, width: int = 96, *, grey: bool = False) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(
            0, 256, (height // 12, width // 12) if grey else (height // 12, width // 12, 3)
        )
        pixels = small.repeat(12, axis=0).repeat(12, axis=1).astype(np.uint8)
        write(Picture(pixels=pixels), root / name)

    for i in range(4):
        for folder in ("BSDS500-365", "photos-1792", "SunHays80"):
            picture(f"{folder}/{i}.png")
        picture(f"LOLv1-our485-288/low/{i}.png")
        picture(f"LOLv1-our485-288/high/{i}.png")
        picture(f"rain-streaks/{i}.png", grey=True)
        picture(f"snow-masks/{i}.png", grey=True)
    kernel = np.zeros((5, 5))
    kernel[2] = 0.2
    np.savez(root / "blur-kernels.npz", line=kernel, sharpening=kernel - 0.05)
    return root
