from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The three test sets in their layout, in miniature: parts of one photograph, 50 x 35 pixels."""
    photograph = data.chelsea()
    parts = [photograph[y : y + 35, x : x + 50] for y in (60, 150) for x in (100, 200, 300)]
    for i, part in enumerate(parts):
        save(tmp_path / "CBSD68" / f"{i:04}.png", part)
    for i, part in enumerate(parts[:2]):
        save(tmp_path / "Rain100L" / "target" / f"rain-{i}.png", part)
        save(tmp_path / "Rain100L" / "input" / f"rain-{i}.png", np.maximum(part, 120))
        save(tmp_path / "LOLv1-eval15" / "high" / f"{i}.png", part)
        save(tmp_path / "LOLv1-eval15" / "low" / f"{i}.png", part // 8)
    return tmp_path
