"""Results files in miniature, as `anyrestore evaluate` stores them, for tests of what reads them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def image_of(name: str, psnr: float | None, *, before: float | None = 20.0, **more: Any) -> dict[str, Any]:
    """One image's object; None is the null of an exact copy."""
    return {
        "name": name,
        "height": 24,
        "width": 32,
        "psnr": psnr,
        "ssim": 0.9 if psnr is None else psnr / 50,
        "input_psnr": before,
        "input_ssim": 0.5,
        "seconds": 0.1,
        **more,
    }


def entry_of(name: str, images: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One entry's object."""
    known = [image["psnr"] for image in images]
    mean = None if None in known else sum(known) / len(known)
    entry = {"name": name, "group": name.partition("-")[0], "n": len(images), "psnr": mean}
    return {**entry, "data_sha256": "d" * 64, "images": list(images), **more}


def content_of(entries: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The file's object."""
    return {
        "format": 2,
        "model": "tiny",
        "weights_sha256": "a" * 64,
        "protocol": "promptir",
        "limit": None,
        "command": "anyrestore evaluate --model tiny",
        "versions": {"anyrestore": "0.1.0"},
        "machine": {"cpu": "abacus", "cores": 2, "gpu": None},
        "entries": list(entries),
        **more,
    }


def entries_from(values: Mapping[str, Sequence[float | None]]) -> list[dict[str, Any]]:
    """An entry for each name, with images 0, 1, ... of the given PSNR."""
    return [
        entry_of(name, [image_of(str(i), psnr) for i, psnr in enumerate(of)]) for name, of in values.items()
    ]


def write(path: Path, content: Any) -> Path:
    """Store it as JSON; a path without suffix becomes a results folder."""
    file = path if path.suffix else path / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_pictures(folder: Path, entries: Sequence[dict[str, Any]], *, shade: int = 0) -> None:
    """What `--save` stores of every image: `restored/` and `sheets/`, 32 x 24 pixels with gaps of 4.

    Every part is of one grey: input 40, output 120 + shade, target 200, error map 0.
    """
    for entry in entries:
        for image in entry["images"]:
            parts = [np.full((24, 32, 3), grey, np.uint8) for grey in (40, 120 + shade, 200, 0)]
            gap = np.full((24, 4, 3), 255, np.uint8)
            sheet = np.concatenate([parts[0], gap, parts[1], gap, parts[2], gap, parts[3]], axis=1)
            for kind, pixels in (("restored", parts[1]), ("sheets", sheet)):
                path = folder / kind / entry["name"] / f"{image['name']}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
