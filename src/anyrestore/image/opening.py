"""A file opened: recognised, walked over, its header read by libvips, its limits checked; no pixel decoded.

Importing this module sets three libvips settings of the process: the operation cache is off (it would keep
whole pictures alive), at most two worker threads, untrusted loaders blocked.
"""

# pyvips makes its methods at run time and carries no types: unknown members are expected here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import Any

import pyvips

from anyrestore.errors import InputError
from anyrestore.image.content import Content, Masked, StoredBytes
from anyrestore.image.formats import Structure, recognise, several, walk
from anyrestore.image.picture import Format, Header

# libvips reports warnings through the `pyvips` logger; without a handler Python prints them.
logging.getLogger("pyvips").addHandler(logging.NullHandler())
pyvips.cache_set_max(0)
pyvips.concurrency_set(min(2, os.cpu_count() or 1))  # pyright: ignore[reportAttributeAccessIssue]
pyvips.block_untrusted_set(True)

_HELD_AVIF = 2**28  # bytes of an AVIF file that are fetched at once, header or not


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A recognised, lazily opened file: header known, pixels not decoded."""

    kind: Format
    data: Content
    image: Any  # pyvips.Image
    source: Any  # what the image reads from, unless it is in memory
    header: Header
    orientation: int
    structure: Structure
    warnings: tuple[str, ...]


def _loader(kind: Format, data: Content | Masked, fail_on: str = "truncated") -> tuple[Any, Any]:
    """What the one libvips loader of a format opened, header only, and what has to live as long as that."""
    name = "heif" if kind == "avif" else kind
    options = {"access": "sequential", "fail_on": fail_on}
    if kind == "avif" and isinstance(data, StoredBytes) and len(data) <= _HELD_AVIF:
        data = data[:]  # libheif asks for a profile byte by byte: minutes, where each comes through Python
    if isinstance(data, bytes):
        return getattr(pyvips.Image, f"{name}load_buffer")(data, **options), None
    source = pyvips.SourceCustom()
    data.seek(0, os.SEEK_SET)
    source.on_read(data.read)
    source.on_seek(data.seek)
    return getattr(pyvips.Image, f"{name}load_source")(source, **options), source


def open_picture(data: Content, name: str, max_pixels: int, *, whole: bool = True) -> Opened:
    """Open a picture, as far as its header.

    Args:
        data: The whole file; an open one has to stay open until the pixels are decoded.
        name: What error sentences call it.
        max_pixels: Limit on width x height.
        whole: Whether to refuse a file that is cut short; if not, what is missing is what the decoder makes
            of nothing.

    Raises:
        InputError: as `read`, for everything that the header shows.
    """
    if not data:
        raise InputError(f"{name} is empty (0 bytes).", code="empty_file")
    kind = recognise(data, name)
    structure = walk(kind, data, name)
    shown = Masked(data, structure.masks) if structure.masks else data
    try:
        image, source = _loader(kind, shown, "truncated" if whole else "none")
    except pyvips.Error as error:
        check_reading(data)
        raise decoding_failed(error, kind, name, structure) from error
    check_reading(data)
    width, height = int(image.width), int(image.height)
    if width * height > max_pixels:
        raise InputError(
            f"{name} has {width} x {height} = {width * height:,} pixels; the limit is {max_pixels:,}.",
            code="too_many_pixels",
        )
    if structure.gone is not None and whole:
        raise InputError(f"{name} is cut short: {structure.gone}.", code="truncated")
    _check_contents(image, kind, name)

    depth = {"uchar": 8, "ushort": 16, "float": 32}.get(image.format)
    bands = int(image.bands)
    cmyk = image.interpretation == "cmyk"
    if cmyk:
        bands -= 1
    known = {"b-w", "grey16", "srgb", "rgb", "rgb16", "scrgb", "cmyk", "multiband"}
    if depth is None or not 1 <= bands <= 4 or image.interpretation not in known:
        raise InputError(
            f"{name} holds {image.bands} channels of type {image.format} ({image.interpretation}); "
            f"supported are grey, RGB and CMYK, with or without alpha, 8-bit, 16-bit or float32.",
            code="unsupported_format",
        )
    orientation = 1
    # libheif has already turned AVIF by its own irot/imir boxes; EXIF must not turn it again.
    if kind != "avif" and image.get_typeof("orientation"):
        # (what is no such number is told of with the metadata: libvips calls it 1)
        orientation = min(max(int(image.get("orientation")), 1), 8)
    if orientation >= 5:
        width, height = height, width
    header = Header(
        format=kind, width=width, height=height, bands=bands, bit_depth=depth, has_alpha=bands in (2, 4)
    )
    return Opened(
        kind=kind,
        data=data,
        image=image,
        source=source,
        header=header,
        orientation=orientation,
        structure=structure,
        warnings=structure.warnings,
    )


def _check_contents(image: Any, kind: Format, name: str) -> None:
    """What only the opened file tells: more pictures than one, another codec inside an AVIF."""
    if kind == "avif" and image.get("heif-compression") != "av1":
        raise InputError(
            f"{name} says that it is AVIF but holds {image.get('heif-compression')} data, which is not "
            "supported.",
            code="unsupported_format",
        )
    pages = field_of(image, "n-pages", 1)
    # (the walk over a TIFF has counted its pages, and knows thumbnails from pages)
    if pages > 1 and kind != "tiff":
        raise several(name, f"one file with {pages} pictures")


def check_reading(data: Content) -> None:
    """Raise what the file itself had against being read, before the decoder's own view of it."""
    if not isinstance(data, bytes):
        data.check()


def field_of(image: Any, name: str, default: int) -> int:
    """A whole number among libvips's fields."""
    return int(image.get(name)) if image.get_typeof(name) else default


def decoding_failed(
    error: Exception, kind: Format, name: str, structure: Structure | None = None
) -> InputError:
    """Cut and damaged look alike to a decoder: call it cut where the message or our walk says so."""
    said = str(error).lower()
    if kind == "tiff" and re.search(r"out of range|unsupported|not supported|unimplemented|unknown", said):
        return InputError(
            f"{name} is a TIFF of a kind that is not supported; convert it to 8-bit, 16-bit or float32 "
            "grey or RGB.",
            code="unsupported_format",
        )
    cut = re.search(
        r"truncat|premature|end of (file|input|stream)|eof|read error|not enough data|short", said
    )
    if cut or (structure is not None and structure.gone is not None):
        return InputError(
            f"{name} is cut short or incomplete ({kind.upper()} data is missing).", code="truncated"
        )
    return InputError(f"{name} is damaged: its {kind.upper()} data cannot be decoded.", code="corrupt")
