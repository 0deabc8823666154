"""A training folder in miniature, in the layout that the composite mixture expects."""

from pathlib import Path

import numpy as np


def write_training_root(root: Path) -> Path:
    """Four pictures of a kind; returns ``root``."""
    from anyrestore.image import Picture, write

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
