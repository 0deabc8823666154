"""Pictures for the report page: which ones, where they are stored, and small enough to be carried inside it.

`evaluate --out DIR --save` stores, for each image, `restored/ENTRY/NAME.png` and a sheet
`sheets/ENTRY/NAME.png`, out of which input and target are cut (`anyrestore.evaluation.sheets`).

Unusual: JPEG with full colour resolution. WebP halves the resolution of colour, and with it the coloured
noise of an input, which then looks 2 dB better than it is.

Names come from a results file, which may be anybody's: what is not inside the results folder is not read.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from anyrestore import image
from anyrestore.errors import InputError
from anyrestore.evaluation import sheets
from anyrestore.evaluation.results import Results
from anyrestore.evaluation.scores import ImageScore, Score
from anyrestore.image import Picture, Pixels

__all__ = ["Shown", "Version", "choose", "embed", "versions"]

#: (longest side in pixels, JPEG quality), tried in turn until all pictures fit on the page.
_SIZES = ((640, 80), (640, 70), (520, 70), (420, 68), (340, 66), (280, 62))


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a picture.

    Attributes:
        label: "input", "target", or whose output it is.
        path: The file.
        panel: Which part of a sheet it is, counted from the left; None for a picture of its own.
        height: Of the panel, in pixels.
        width: Of the panel, in pixels.
    """

    label: str
    path: Path
    panel: int | None
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A version as the page holds it: a data URI, and its size in pixels."""

    label: str
    uri: str
    height: int
    width: int


def choose(entry: Score) -> list[tuple[str, ImageScore]]:
    """The best, the median and the worst image by gain, or by PSNR where the inputs are exact.

    Of an even number of images the median is the lower of the two in the middle; of one or two images there
    is no median.
    """

    def key(result: ImageScore) -> tuple[float, str]:
        gain = result.gain
        return (result.psnr if gain is None else gain, result.name)

    ranked = sorted(entry.images, key=key)
    if len(ranked) == 1:
        return [("Only", ranked[0])]
    middle = [("Median", ranked[(len(ranked) - 1) // 2])] if len(ranked) > 2 else []
    return [("Best", ranked[-1]), *middle, ("Worst", ranked[0])]


def versions(runs: Sequence[tuple[str, Results]], entry: str, result: ImageScore) -> list[Version]:
    """Input, each run's output, and target, as far as they are stored.

    Args:
        runs: Labels and results.
        entry: The entry's name.
        result: The image.
    """

    def version(label: str, path: Path | None, panel: int | None) -> list[Version]:
        if path is None:
            return []
        found = Version(label=label, path=path, panel=panel, height=result.height, width=result.width)
        return [found] if panel is None or _panel_left(found) is not None else []

    def cut(label: str, panel: int) -> list[Version]:
        stored = (_inside(run, "sheets", entry, result.name) for _, run in runs)
        return [found for path in stored for found in version(label, path, panel)][:1]

    outputs = [
        found
        for label, run in runs
        for found in version(label, _inside(run, "restored", entry, result.name), None)
    ]
    return [*cut("input", 0), *outputs, *cut("target", 2)] if outputs else []


def embed(
    pictures: Mapping[str, Sequence[Version]], *, budget: int
) -> tuple[dict[str, list[Shown]], int, list[str]]:
    """Encode pictures as JPEG, as large as the budget allows.

    Args:
        pictures: Versions by a key of the caller's.
        budget: Most bytes of all data URIs together.

    Returns:
        The encoded pictures by key; the longest side that one may have, in pixels; and the keys that had to
        be left out, from the end, because even the smallest size was too much.
    """
    encoded: dict[str, list[Shown]] = {}
    side = _SIZES[0][0]
    for side, quality in _SIZES:
        encoded = {key: [_encode(version, side, quality) for version in of] for key, of in pictures.items()}
        if sum(map(_size, encoded.values())) <= budget:
            return encoded, side, []
    left_out: list[str] = []
    for key in reversed(list(encoded)):
        if sum(map(_size, encoded.values())) <= budget:
            break
        del encoded[key]
        left_out.append(key)
    return encoded, side, left_out[::-1]


def _size(shown: Sequence[Shown]) -> int:
    return sum(len(version.uri) for version in shown)


def _inside(run: Results, folder: str, entry: str, name: str) -> Path | None:
    """The picture's file, if it is there and inside the results folder."""
    if run.folder is None or "\0" in entry + name:
        return None
    root = (run.folder / folder).resolve()
    path = (root / entry / f"{name}.png").resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def _panel_left(version: Version) -> int | None:
    """Where the panel begins in its sheet; None if it is no sheet of such pictures."""
    try:
        header = image.read_header(version.path)
    except InputError:
        return None
    if version.panel is None or (header.height, header.width) != sheets.size(version.height, version.width):
        return None
    return sheets.left(version.panel, version.width)


@lru_cache(maxsize=8)
def _pixels(version: Version) -> Pixels:
    pixels = image.read(version.path).pixels
    left = None if version.panel is None else _panel_left(version)
    return pixels if left is None else pixels[:, left : left + version.width]


def _encode(version: Version, side: int, quality: int) -> Shown:
    tensor = image.to_tensor(_pixels(version))
    height, width = tensor.shape[-2:]
    scale = min(1.0, side / max(height, width))
    if scale < 1.0:
        height, width = max(1, math.floor(height * scale)), max(1, math.floor(width * scale))
        with torch.inference_mode():
            tensor = F.interpolate(tensor, (height, width), mode="bicubic", antialias=True).clamp(0.0, 1.0)
    pixels = image.from_tensor(tensor, np.zeros((height, width, 3), np.uint8))
    data = image.encode(Picture(pixels=pixels), "jpeg", quality=quality)
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    return Shown(label=version.label, uri=uri, height=height, width=width)
