"""Pictures for training as tensors: photographs of 8 bits, and the 16-bit and float pictures of medicine.

`anyrestore.image` reads the formats of photographs. Two more are read here, because data sets come in them
and nobody else does: uncompressed BMP (the Waterloo Exploration Database) and NumPy's .npy, without pickles.

Medical arrays hold what the scanner measured: stored magnitudes (MRI), Hounsfield units (CT), standard uptake
values (PET). They are cut to a range that is the same for all pictures and mapped to [0, 1], as AMIR does it
(Yang et al., "All-In-One Medical Image Restoration via Task-Adaptive Routing", MICCAI 2024):
y = (clip(x, low, high) - low) / (high - low), with `RANGES`. An array says nothing about its kind, so a
folder on its path does (`MRI/train/HQ/0001.npy`); elsewhere float values must lie in [0, 1] already.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from anyrestore import image as picture_io
from anyrestore.errors import DataError, InputError
from anyrestore.storage import shown

__all__ = ["RANGES", "SUFFIXES", "decode_picture", "list_pictures", "load_pictures"]

SUFFIXES = frozenset((*picture_io.SUFFIXES, ".bmp", ".npy"))
"""File name extensions (lower case) of pictures that data sets come in."""

RANGES: dict[str, tuple[float, float]] = {
    "mri": (0.0, 4095.0),
    "ixi": (0.0, 4095.0),
    "ct": (-1024.0, 3071.0),
    "aapm": (-1024.0, 3071.0),
    "pet": (0.0, 20.0),
}
"""What is mapped to [0, 1], by the name (lower case) of a folder on the path."""


def list_pictures(folder: Path) -> list[Path]:
    """The pictures directly in ``folder``, sorted by name.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of pictures at {folder}, found none; check the data directory")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise DataError(
            f"expected pictures in {folder}, found no file of a known format; check the data directory"
        )
    return found


def decode_picture(path: Path, *, grey: bool = False) -> Tensor:
    """Decode one picture.

    Alpha is dropped. Unsigned 16-bit pictures are divided by 65535; float pictures and arrays are mapped as
    the module's docstring says. A single channel is repeated three times.

    Args:
        path: PNG, JPEG, TIFF, WebP, AVIF, uncompressed BMP, or an .npy array (h w), (h w 1), (1 h w)
            or (h w 3).
        grey: Give one channel: the first.

    Returns:
        uint8 (3 h w) RGB for 8-bit pictures, float32 (3 h w) in [0, 1] for deeper ones; (1 h w) if `grey`.

    Raises:
        InputError: It cannot be read; the message names it. Codes as for `anyrestore.image.read`.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = _scaled(_read_array(path), path)
    elif suffix == ".bmp":
        values = _read_bmp(_bytes(path), shown(path))
    else:
        pixels = picture_io.read(path).pixels
        if pixels.dtype == np.uint16:
            values = pixels.astype(np.float32) / 65535
        else:
            values = pixels if pixels.dtype == np.uint8 else _scaled(pixels, path)
    if values.ndim == 2:
        values = values[..., None]
    planes = np.ascontiguousarray(values.transpose(2, 0, 1)[:1] if grey else values.transpose(2, 0, 1))
    picture: Tensor = torch.from_numpy(planes if planes.flags.writeable else planes.copy())  # pyright: ignore[reportUnknownMemberType]
    return picture if grey or picture.shape[0] == 3 else picture.expand(3, -1, -1).contiguous()


def load_pictures(paths: Sequence[Path], *, grey: bool = False, progress: bool = True) -> list[Tensor]:
    """Decode pictures into uint8 tensors (3 h w), RGB, or (1 h w) if ``grey``.

    Raises:
        InputError: a picture cannot be read; the message names it.
    """
    loaded = list[Tensor]()
    for path in tqdm(paths, desc=f"decoding {paths[0].parent.name}", delay=1, disable=not progress):
        picture = decode_picture(path, grey=grey)
        eight = picture if picture.dtype == torch.uint8 else (picture * 255).round().to(torch.uint8)
        loaded.append(eight)
    return loaded


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            code = "not_a_regular_file" if path.exists() else "not_found"
            raise InputError(f"{shown(path)} is not a file that can be read.", code=code)
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{shown(path)} is empty (0 bytes).", code="empty_file")
        if size > picture_io.MAX_FILE_BYTES:
            raise InputError(
                f"{shown(path)} has {size:,} bytes; no picture needs that.", code="file_too_large"
            )
        return path.read_bytes()
    except PermissionError as error:
        raise InputError(f"{shown(path)} may not be read (permission denied).", code="permission") from error
    except OSError as error:
        raise InputError(f"{shown(path)} could not be read: {error.strerror}.", code="unreadable") from error


def _read_array(path: Path) -> npt.NDArray[Any]:
    """An array (h w) or (h w 3) of whole or float numbers."""
    name = shown(path)
    try:
        array: Any = np.load(io.BytesIO(_bytes(path)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{name} is not a whole .npy array without pickled objects.", code="corrupt"
        ) from error
    if getattr(getattr(array, "dtype", None), "kind", "") not in ("u", "i", "f"):  # an .npz has none
        raise InputError(f"{name} holds no array of whole or float numbers.", code="bad_array")
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[..., 0] if array.shape[-1] == 1 else array[0]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and array.shape[-1] != 3):
        raise InputError(
            f"{name} has shape {array.shape}; expected (h w), (h w 1), (1 h w) or (h w 3).", code="bad_array"
        )
    if array.shape[0] * array.shape[1] > picture_io.MAX_PIXELS:
        raise InputError(f"{name} has more than {picture_io.MAX_PIXELS:,} pixels.", code="too_many_pixels")
    return array


def _scaled(values: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Values as float32 in [0, 1]; 8-bit arrays as they are."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{shown(path)} has NaN or infinite pixel values.", code="non_finite")
    kind = next((part.lower() for part in reversed(path.parts[:-1]) if part.lower() in RANGES), None)
    if kind is not None:
        low, high = RANGES[kind]
        return ((values.astype(np.float32).clip(low, high) - low) / (high - low)).astype(np.float32)
    if values.dtype == np.uint16:
        return values.astype(np.float32) / 65535
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return values.astype(np.float32)
    raise InputError(
        f"{shown(path)} has values from {values.min():g} to {values.max():g}; expected [0, 1], or a folder "
        f"called {', '.join(name.upper() for name in RANGES)} on its path that says what they mean.",
        code="bad_array",
    )


def _read_bmp(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """An uncompressed BMP of 8 (palette), 24 or 32 bits: (h w 3) RGB.

    Source: Microsoft, "Bitmap Storage" (BITMAPFILEHEADER, BITMAPINFOHEADER). Rows are padded to 4 bytes and
    stored from the bottom, unless the height is negative; colours are blue, green, red.
    """
    if data[:2] != b"BM":
        raise InputError(f"{name} is not a BMP file.", code="not_an_image")
    if len(data) < 54:
        raise InputError(f"{name} ends within its header.", code="truncated")
    start, size, width, height, planes, bits, compression = struct.unpack_from("<I I i i H H I", data, 10)
    if size < 40 or planes != 1 or compression != 0 or bits not in (8, 24, 32) or width <= 0 or height == 0:
        raise InputError(f"{name} is no uncompressed BMP of 8, 24 or 32 bits.", code="unsupported_format")
    rows, stride = abs(height), (width * bits + 31) // 32 * 4
    if width * rows > picture_io.MAX_PIXELS:
        raise InputError(f"{name} has more than {picture_io.MAX_PIXELS:,} pixels.", code="too_many_pixels")
    if start + rows * stride > len(data):
        raise InputError(f"{name} ends before its last row.", code="truncated")
    lines = np.frombuffer(data, np.uint8, rows * stride, start).reshape(rows, stride)
    samples = lines[:, : width * bits // 8].reshape(rows, width, bits // 8)
    if bits == 8:
        (colours,) = struct.unpack_from("<I", data, 46)
        count = colours or 256
        if 14 + size + 4 * count > len(data) or int(samples.max()) >= count:
            raise InputError(f"{name} names colours that its palette lacks.", code="corrupt")
        samples = np.frombuffer(data, np.uint8, 4 * count, 14 + size).reshape(count, 4)[samples[..., 0]]
    upright = samples if height < 0 else samples[::-1]
    return np.ascontiguousarray(upright[..., 2::-1])
