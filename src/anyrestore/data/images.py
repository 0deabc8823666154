"""Folders of pictures as decoded 8-bit tensors in memory.

Decoding is far slower than cutting a crop, so every picture is decoded once. 1,000 photographs of a megapixel
take 3 GB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from anyrestore import image as picture_io
from anyrestore.errors import DataError


def list_pictures(folder: Path) -> list[Path]:
    """The pictures directly in ``folder``, sorted by name.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of pictures at {folder}, found none; check the data directory")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in picture_io.SUFFIXES and p.is_file())
    if not found:
        raise DataError(
            f"expected pictures in {folder}, found no file of a known format; check the data directory"
        )
    return found


def load_pictures(paths: Sequence[Path], *, grey: bool = False, progress: bool = True) -> list[Tensor]:
    """Decode pictures into uint8 tensors (3 h w), RGB, or (1 h w) if ``grey``.

    Raises:
        InputError: a picture cannot be read; the message names it.
    """
    loaded = list[Tensor]()
    for path in tqdm(paths, desc=f"decoding {paths[0].parent.name}", delay=1, disable=not progress):
        pixels = picture_io.read(path).pixels
        values = (picture_io.to_tensor(pixels)[0] * 255).round().to(torch.uint8)
        loaded.append(values[:1].contiguous() if grey else values)
    return loaded
