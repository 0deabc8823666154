"""What a picture is: pixels, alpha apart, and what travels along; the formats and limits of its files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anyrestore import scratch as backing
from anyrestore.errors import InputError

Format = Literal["png", "jpeg", "tiff", "webp", "avif"]
Pixels = npt.NDArray[Any]

SUFFIXES: dict[str, Format] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
    ".avif": "avif",
}
"""File name extensions (lower case) that can be written, and the format of each."""

MAX_PIXELS = 200_000_000
"""Default limit on width x height, checked from the header before decoding."""

MAX_FILE_BYTES = 2**31
"""Files above 2 GiB are refused unread: no picture within the pixel limit needs so much."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header of a file says, before any pixel is decoded.

    Attributes:
        format: ``"png"``, ``"jpeg"``, ``"tiff"``, ``"webp"`` or ``"avif"``, by content.
        width: Displayed width in pixels, after the EXIF orientation.
        height: Displayed height in pixels, after the EXIF orientation.
        bands: Channels as `read` will give them, alpha included: 1 to 4.
        bit_depth: Bits per channel of the array that `read` gives: 8, 16 or 32 (float).
        has_alpha: Whether there is an alpha channel.
    """

    format: Format
    width: int
    height: int
    bands: int
    bit_depth: int
    has_alpha: bool


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What reading takes, keeps and mends beyond its defaults.

    Attributes:
        allow_truncated: Take a file that is cut short: what the decoder makes of it, with a warning. The
            header has to be whole; where no row can be decoded the file is refused all the same.
        fix_nonfinite: In float pictures take NaN and minus infinity as 0, infinity as 1, and count them
            in a warning.
        strip_metadata: Drop EXIF, XMP, IPTC and text. What colours and size depend on stays: ICC profile and
            resolution.
    """

    allow_truncated: bool = False
    fix_nonfinite: bool = False
    strip_metadata: bool = False


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What travels with the pixels. Opaque to other modules; `Metadata()` is "none".

    Attributes:
        icc: ICC profile, byte for byte as it was in the file (RGB or grey).
        exif: EXIF block (a TIFF structure), upright, without thumbnail, without GPS unless kept.
        xmp: XMP packet, without GPS unless kept.
        iptc: IPTC-IIM records.
        text: PNG text chunks, (keyword, text); written to PNG only.
        resolution: Pixels per millimetre, horizontal and vertical; None if the file had none.
        resolution_unit: ``"in"`` or ``"cm"``, how TIFF and EXIF express the resolution.
        significant_bits: Bits per channel that carried information (AVIF: 8, 10 or 12).
        lossless: Whether the source was stored losslessly; decides WebP and AVIF output.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    resolution: tuple[float, float] | None = None
    resolution_unit: str = "in"
    significant_bits: int | None = None
    lossless: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded picture, upright, in the channel layout and depth of its file.

    Attributes:
        pixels: H x W x 3 (RGB) or H x W (grey); uint8, uint16, or float32 (nominally in [0, 1]).
        alpha: H x W, same dtype as `pixels`, straight (not premultiplied); None if there is none.
        format: The format it was stored in.
        metadata: What travels along to `write`.
        warnings: One sentence for everything that was odd in the file, or dropped.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    format: Format = "png"
    metadata: Metadata = field(default_factory=Metadata)
    warnings: tuple[str, ...] = ()


def blank_like(picture: Picture, *, scratch: str | os.PathLike[str] | None = None) -> Picture:
    """A black picture of the same kind, to be filled row by row: alpha, format and metadata are shared.

    Args:
        picture: The one to be like.
        scratch: A folder whose file holds the pixels, as in `read`; None for memory.

    Raises:
        OutputError: ``disk_full``, ``output_unwritable`` or ``output_storage`` for the scratch folder.
    """
    return replace(picture, pixels=blank(picture.pixels.shape, picture.pixels.dtype, scratch))


def blank(shape: tuple[int, ...], dtype: npt.DTypeLike, scratch: str | os.PathLike[str] | None) -> Pixels:
    """Zeros in memory, or in a file of the scratch folder."""
    return np.zeros(shape, dtype) if scratch is None else backing.allocate(shape, dtype, scratch)


def check_array(pixels: Pixels) -> None:
    """Raise ``bad_array`` unless it is H x W x 3 or H x W of a type that networks are given."""
    if pixels.dtype.name not in ("uint8", "uint16", "float16", "float32", "float64"):
        raise InputError(
            f"an image array must be uint8, uint16 or float (in [0, 1]), not {pixels.dtype}; "
            "convert it first.",
            code="bad_array",
        )
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if not fits or 0 in pixels.shape:
        hint = ""
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
            hint = " (channels come last)"
        elif pixels.ndim == 3 and pixels.shape[2] in (1, 2, 4):
            hint = " (drop a single channel's axis; carry alpha beside the colours)"
        raise InputError(
            f"an image array must be H x W x 3 (RGB) or H x W (grey) with at least one pixel, "
            f"not {pixels.shape}{hint}.",
            code="bad_array",
        )
