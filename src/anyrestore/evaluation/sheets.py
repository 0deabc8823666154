"""Restored images as files, and sheets that show where they are wrong.

A sheet has four pictures side by side: input, output, target, and the error of the output: the mean absolute
difference of the three channels, black for 0 over red and yellow to white for `WHITE` and more. (Restored
pictures differ by a few levels; on a scale to 255 every error map would be black.)
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anyrestore.errors import OutputError
from anyrestore.evaluation.benchmarks import Sample
from anyrestore.image import Picture, encode, from_tensor
from anyrestore.storage import store_bytes

__all__ = ["WHITE", "Sheets", "error_map", "left", "sheet", "size"]

WHITE = 0.2
"""The error that is white, as a share of the range."""
_GAP = 4  # pixels


class Sheets:
    """Writes `restored/ENTRY/NAME.png` and `sheets/ENTRY/NAME.png` under a results folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def have(self, entry: str, name: str) -> bool:
        """Whether both pictures of an image are there."""
        return all(path.is_file() for path in self._paths(entry, name))

    def save(self, entry: str, sample: Sample, output: Tensor) -> None:
        """Store both pictures of one image; `output` is (1, 3, h, w), and is clamped and rounded.

        Raises:
            OutputError: One cannot be written.
        """
        pictures = output, sheet(sample.degraded, output, sample.target)
        for path, image in zip(self._paths(entry, sample.name), pictures, strict=True):
            like = np.empty((*image.shape[2:], 3), np.uint8)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{path.parent} could not be made: {error.strerror}.") from error
            store_bytes(encode(Picture(pixels=from_tensor(image, like)), "png"), path, overwrite=True)

    def _paths(self, entry: str, name: str) -> tuple[Path, Path]:
        file = Path(entry, f"{name}.png")
        return self._folder / "restored" / file, self._folder / "sheets" / file


def sheet(degraded: Tensor, output: Tensor, target: Tensor) -> Tensor:
    """Four (1, 3, h, w) pictures side by side, with white gaps."""
    gap = output.new_ones(1, 3, output.shape[2], _GAP)
    parts = [degraded, gap, output.clamp(0.0, 1.0), gap, target, gap, error_map(output, target)]
    return torch.cat(parts, dim=3)


def size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the sheet of pictures of so many pixels."""
    return height, 4 * width + 3 * _GAP


def left(panel: int, width: int) -> int:
    """Where a panel begins: 0 the input, 1 the output, 2 the target, 3 the error."""
    return panel * (width + _GAP)


def error_map(output: Tensor, target: Tensor) -> Tensor:
    """The error as a picture (1, 3, h, w): black, red, yellow, white."""
    error = (output.clamp(0.0, 1.0) - target).abs().mean(dim=1, keepdim=True) / WHITE
    return torch.cat([error * 3, error * 3 - 1, error * 3 - 2], dim=1).clamp(0.0, 1.0)
