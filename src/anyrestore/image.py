"""How pictures go in and out: the only file of the package that touches image files.

PNG, TIFF, JPEG, WebP and AVIF through libvips (pyvips), with four promises:

* **Nothing is guessed from a name.** The bytes are read once; their signature picks one libvips
  loader out of an allowlist of five, so no other parser ever sees untrusted data. Size limits are
  checked from the header, before a pixel is decoded.
* **Nothing is lost in silence.** Depth, grey, alpha, ICC profile, EXIF, XMP, IPTC and resolution
  come back out. What a format cannot hold is refused with a sentence; what had to be dropped is
  in `Picture.warnings`.
* **Privacy by construction.** GPS leaves EXIF and XMP at reading, unless it is asked for, and so
  do embedded thumbnails, which would show the picture as it was.
* **A file is either old or new.** Encode to memory, check, write a temporary file beside the
  target, fsync, rename, fsync the folder.

What is unusual: the EXIF block is taken apart and put together again here, because libvips only
deletes GPS tags that libexif knows, and neither reads nor writes EXIF of TIFF files. Sources:
EXIF 2.32 (CIPA DC-008), TIFF 6.0, PNG (ISO/IEC 15948), WebP container (RFC 9649), ISO/IEC 14496-12.

Importing this module sets three libvips settings of the process: the operation cache is off (it
would keep whole pictures alive), at most two worker threads, untrusted loaders blocked.
"""

# pyvips makes its methods at run time and carries no types: unknown members are expected here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# The order and the flags of system calls are the point of this file, so they are named as such.
# ruff: noqa: PTH116, PTH123

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyvips
import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.storage import check_storable, check_target, shown, store_bytes

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "Metadata",
    "Picture",
    "check_holds",
    "check_writable",
    "decode",
    "encode",
    "from_tensor",
    "read",
    "read_header",
    "to_tensor",
    "write",
]

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

_SUPPORTED = "PNG, JPEG, TIFF, WebP and AVIF"
_LARGEST_SIDE: dict[Format, int] = {
    "png": 10_000_000,
    "tiff": 10_000_000,
    "jpeg": 65_500,
    "webp": 16_383,
    "avif": 65_535,
}

# libvips reports warnings through the `pyvips` logger; without a handler Python prints them.
logging.getLogger("pyvips").addHandler(logging.NullHandler())
pyvips.cache_set_max(0)
pyvips.concurrency_set(min(2, os.cpu_count() or 1))  # pyright: ignore[reportAttributeAccessIssue]
pyvips.block_untrusted_set(True)


# --------------------------------------------------------------------------------------------
# What a picture is


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


# --------------------------------------------------------------------------------------------
# Reading


def read_header(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Header:
    """Say what a picture file is without decoding its pixels.

    Args:
        path: A regular file.
        max_pixels: Limit on width x height.

    Raises:
        InputError: As `read`, for everything that the header shows.
    """
    data = _read_file(path)
    return _open(data, shown(path), max_pixels).header


def read(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, keep_gps: bool = False) -> Picture:
    """Read a picture file.

    The content decides the format; an extension that says otherwise is a warning. CMYK becomes
    RGB (through the embedded profile, else libvips's generic CMYK profile), a palette becomes
    RGB, 1-bit becomes 8-bit grey. 10- and 12-bit AVIF becomes uint16 over the full range.
    Float values are kept as they are, also outside [0, 1].

    Args:
        path: A regular file.
        max_pixels: Limit on width x height, checked before decoding.
        keep_gps: Keep the place where the picture was taken.

    Raises:
        InputError: Codes ``not_found``, ``permission``, ``not_a_regular_file``, ``unreadable``,
            ``empty_file``, ``file_too_large``, ``not_an_image``, ``unsupported_format``,
            ``multi_page``, ``too_many_pixels``, ``truncated``, ``corrupt``, ``non_finite``.
    """
    picture = decode(_read_file(path), name=shown(path), max_pixels=max_pixels, keep_gps=keep_gps)
    suffix = Path(path).suffix.lower()
    if suffix and SUFFIXES.get(suffix) != picture.format:
        odd = f"the name ends in {suffix!r} but the content is {picture.format}; the content was used"
        picture = replace(picture, warnings=(*picture.warnings, odd))
    return picture


def decode(
    data: bytes, *, name: str = "the data", max_pixels: int = MAX_PIXELS, keep_gps: bool = False
) -> Picture:
    """Decode a picture held in memory; `read` without the file. Same arguments and errors.

    Args:
        data: The whole file.
        name: What error sentences call it.
        max_pixels: Limit on width x height, checked before decoding.
        keep_gps: Keep the place where the picture was taken.
    """
    opened = _open(data, name, max_pixels)
    image, kind, warnings = opened.image, opened.kind, list(opened.warnings)
    metadata = _metadata_in(opened, warnings, keep_gps=keep_gps)

    bands, alpha_band = opened.header.bands, opened.header.has_alpha
    try:
        if image.interpretation == "cmyk":
            depth = 16 if image.format == "ushort" else 8
            image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
        dtype = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}[image.format]
        array = np.frombuffer(image.write_to_memory(), dtype=dtype)
    except pyvips.Error as error:
        raise _decoding_failed(error, kind, name) from error
    array = array.reshape(image.height, image.width, bands)
    array = _upright(array, opened.orientation)

    if dtype is np.uint16 and metadata.significant_bits in (10, 12):
        # libvips shifts 10 bits up by 6, so that white is 65472: repeat the high bits below.
        array = array | (array >> metadata.significant_bits)
    if dtype is np.float32 and not np.isfinite(array).all():
        raise InputError(
            f"{name} has NaN or infinite pixel values; replace them before restoring.",
            code="non_finite",
        )
    colour = bands - alpha_band
    pixels = np.ascontiguousarray(array[..., :3] if colour == 3 else array[..., 0])
    alpha = np.ascontiguousarray(array[..., -1]) if alpha_band else None
    return Picture(pixels=pixels, alpha=alpha, format=kind, metadata=metadata, warnings=tuple(warnings))


def _read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file, read once, so that what is checked is what is decoded."""
    name = shown(path)
    try:
        # stat before open: opening a FIFO blocks, and opening a device can have effects.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise InputError(f"{name} is {what}; give the name of a picture file.", code="not_a_regular_file")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{name} is no longer a regular file.", code="not_a_regular_file")
            if status.st_size == 0:
                raise InputError(f"{name} is empty (0 bytes).", code="empty_file")
            _check_bytes(status.st_size, name)
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist.", code="not_found") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read (permission denied).", code="permission") from error
    except OSError as error:
        code = (
            "not_found" if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG) else "unreadable"
        )
        raise InputError(f"{name} could not be read: {error.strerror}.", code=code) from error
    except ValueError as error:  # an embedded NUL character
        raise InputError(f"{name} is not a possible file name.", code="not_found") from error
    _check_bytes(len(data), name)
    return data


def _check_bytes(size: int, shown: str) -> None:
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"{shown} has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}.", code="file_too_large"
        )


# --------------------------------------------------------------------------------------------
# Formats: recognised and checked by us, before libvips sees a byte


@dataclass(frozen=True, kw_only=True)
class _Structure:
    """What our own walk over the container found."""

    warnings: tuple[str, ...] = ()
    lossless: bool = True
    claims: frozenset[bytes] = frozenset()  # PNG: the chunks seen, some of which libpng drops silently
    gone: str | None = None  # why the file cannot be whole, if so


_REFUSED: tuple[tuple[bytes, str], ...] = (
    (rb"GIF8[79]a", "GIF"),
    (rb"BM....\0\0\0\0", "BMP"),
    (rb"%PDF", "PDF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "EPS"),
    (rb"\s*(\xef\xbb\xbf)?(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE svg[^>]*>|\s)*<svg", "SVG"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"8BPS", "Photoshop"),
    (rb"\x76\x2f\x31\x01", "OpenEXR"),
    (rb"\0\0[\1\2]\0[^\0]\0", "icon"),
    (rb"DDS ", "DDS"),
    (rb"SIMPLE  =", "FITS"),
    (rb"\xd7\xcd\xc6\x9a", "WMF"),
    (rb"qoif", "QOI"),
    (rb"P[1-7FfHh]\s", "PNM"),
    (rb"#\?(RADIANCE|RGBE)", "Radiance"),
    (rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "HEIC"),
    (rb"....ftyp", "video"),
    (rb"(II|MM)(\*\0|\0\*)?....CR|IIRO|IIU\0|FUJIFILMCCD", "camera raw"),
)


def _recognise(data: bytes, name: str) -> Format:
    """The format by signature; everything outside the allowlist is refused here."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 1024)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))}
        if brands & {b"avif", b"avis"}:
            return "avif"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and data[8:10] != b"CR":
        return "tiff"
    start = data[:1024]
    for pattern, label in _REFUSED:
        if re.match(pattern, start, re.DOTALL):
            raise InputError(
                f"{name} is a {label} file, which is not supported; convert it to one of {_SUPPORTED}.",
                code="unsupported_format",
            )
    whole = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
    if any(signature.startswith(data) for signature in whole) or re.match(rb"RIFF.{0,7}\Z", data, re.DOTALL):
        raise InputError(f"{name} ends in the middle of its signature.", code="truncated")
    raise InputError(
        f"{name} is not a picture that can be read: its first bytes are not those of {_SUPPORTED}.",
        code="not_an_image",
    )


def _walk_png(data: bytes, name: str) -> _Structure:
    at, warnings, seen = 8, [], set[bytes]()
    while True:
        if at + 12 > len(data):
            return _Structure(gone="it ends before its last chunk")
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at == 8 and kind != b"IHDR":
            raise InputError(f"{name} is a damaged PNG: it does not start with IHDR.", code="corrupt")
        end = at + 8 + length
        if end + 4 > len(data):
            # A cut header cannot show the size, so only a cut after IHDR gets as far as libvips.
            return _Structure(gone=f"it ends inside chunk {kind!r}")
        if zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise InputError(
                f"{name} is a damaged PNG: the checksum of chunk {kind!r} is wrong.", code="corrupt"
            )
        if kind == b"acTL" and int.from_bytes(data[at + 8 : at + 12], "big") > 1:
            raise _several(name, "an animated PNG")
        seen.add(kind)
        at = end + 4
        if kind == b"IEND":
            break
    if not seen & {b"iCCP", b"sRGB"} and seen & {b"gAMA", b"cHRM", b"cICP"}:
        chunks = ", ".join(sorted(c.decode() for c in seen & {b"gAMA", b"cHRM", b"cICP"}))
        warnings.append(f"the colour chunk(s) {chunks} were ignored: values are taken as sRGB")
    return _Structure(warnings=tuple(warnings), claims=frozenset(seen))


def _walk_jpeg(data: bytes, name: str) -> _Structure:
    at, warnings = 2, list[str]()
    while True:
        if at + 4 > len(data):
            return _Structure(gone="it ends before its picture data", lossless=False)
        if data[at] != 0xFF:
            raise InputError(f"{name} is a damaged JPEG: a marker is missing.", code="corrupt")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA:
            return _Structure(warnings=tuple(warnings), lossless=False)
        if marker == 0xD9:
            raise InputError(f"{name} is a JPEG without picture data.", code="corrupt")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 2 + length > len(data):
            return _Structure(gone="it ends inside its header", lossless=False)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            _check_frame(data, at, name)
        if marker == 0xE2 and data[at + 4 : at + 8] == b"MPF\0":
            warnings.append("the file holds more pictures (MPF); only the main one was read")
        at += 2 + max(length, 2)


def _check_frame(data: bytes, at: int, name: str) -> None:
    """Refuse the JPEG processes that almost nothing writes, and progressive ones of endless scans."""
    marker = data[at + 1]
    if marker > 0xC2 or data[at + 4] != 8:
        raise InputError(
            f"{name} is a JPEG of a rare kind (arithmetic-coded, lossless or not 8-bit), which is not "
            "supported; convert it to ordinary JPEG, PNG or TIFF.",
            code="unsupported_format",
        )
    if marker == 0xC2 and data.count(b"\xff\xda", at) > 200:
        raise InputError(f"{name} is a JPEG with more than 200 scans.", code="corrupt")


def _walk_webp(data: bytes, name: str) -> _Structure:
    declared = int.from_bytes(data[4:8], "little") + 8
    at, lossless, frames = 12, False, 0
    while at + 8 <= min(declared, len(data)):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        lossless |= kind == b"VP8L"
        frames += kind == b"ANMF"
        at += 8 + size + (size & 1)
    if frames > 1:
        raise _several(name, "an animated WebP")
    short = len(data) < declared
    return _Structure(
        lossless=lossless,
        gone=f"it says {declared:,} bytes and has {len(data):,}" if short else None,
    )


def _walk_avif(data: bytes, name: str) -> _Structure:
    if data[8:12] == b"avis":
        raise _several(name, "an AVIF image sequence")
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:
            size = len(data) - at
        if size < 8 or at + size > len(data):
            return _Structure(gone=f"box {data[at + 4 : at + 8]!r} runs past its end", lossless=False)
        at += size
    return _Structure(gone="it ends inside a box" if at < len(data) else None, lossless=False)


def _walk_tiff(data: bytes, name: str) -> _Structure:
    if data[2:4] in (b"+\0", b"\0+"):
        return _Structure(warnings=("EXIF inside BigTIFF is not carried over",))
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return _Structure(gone="it ends inside its header")
    (at,) = struct.unpack_from(order + "I", data, 4)
    visited, pages, first = set[int](), 0, dict[int, _Entry]()
    while at:
        if at in visited or len(visited) >= 1000:
            raise InputError(
                f"{name} is a damaged TIFF: its list of pages has a loop, or over 1000 entries.",
                code="corrupt",
            )
        visited.add(at)
        try:
            entries, following = _unpack_ifd(data, at, order)
        except _BadExifError:
            return _Structure(gone="its list of tags is cut")
        tags = {entry.tag: entry for entry in entries}
        reduced = 0xFE in tags and bool(tags[0xFE].integer(order) & 1)
        if not first:
            first = tags
            if reduced or 0xC612 in tags:
                raise InputError(
                    f"{name} is a camera raw file (DNG or similar), which is not supported; develop it "
                    f"to one of {_SUPPORTED}.",
                    code="unsupported_format",
                )
        pages += not reduced
        at = following
    if pages > 1:
        raise _several(name, f"a TIFF of {pages} pages")
    odd = list[str]()
    if 0x152 in first and first[0x152].integer(order) == 1:
        odd.append("the alpha was premultiplied; the colours were divided by it")  # libvips does that
    return _Structure(warnings=tuple(odd), gone=_tiff_cut(first, order, len(data)))


def _tiff_cut(tags: dict[int, _Entry], order: str, size: int) -> str | None:
    """Whether a strip or tile lies outside the file."""
    for starts, lengths in ((0x111, 0x117), (0x144, 0x145)):
        if starts in tags and lengths in tags:
            ends = zip(tags[starts].integers(order), tags[lengths].integers(order), strict=False)
            if any(start + length > size for start, length in ends):
                return "its picture data runs past its end"
    return None


def _several(name: str, what: str) -> InputError:
    return InputError(
        f"{name} is {what}; only single pictures are restored: split it into one file per picture.",
        code="multi_page",
    )


_WALKS: dict[Format, Callable[[bytes, str], _Structure]] = {
    "png": _walk_png,
    "jpeg": _walk_jpeg,
    "webp": _walk_webp,
    "avif": _walk_avif,
    "tiff": _walk_tiff,
}


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A recognised, lazily opened file: header known, pixels not decoded."""

    kind: Format
    data: bytes
    image: Any  # pyvips.Image
    header: Header
    orientation: int
    structure: _Structure
    warnings: tuple[str, ...]


def _loader(kind: Format, data: bytes) -> Any:
    """The one libvips loader of a format, opened on a buffer, header only."""
    match kind:
        case "png":
            return pyvips.Image.pngload_buffer(data, access="sequential", fail_on="truncated")
        case "jpeg":
            return pyvips.Image.jpegload_buffer(data, access="sequential", fail_on="truncated")
        case "webp":
            return pyvips.Image.webpload_buffer(data, access="sequential", fail_on="truncated")
        case "avif":
            return pyvips.Image.heifload_buffer(data, access="sequential", fail_on="truncated")
        case "tiff":
            return pyvips.Image.tiffload_buffer(data, access="sequential", fail_on="truncated")


def _open(data: bytes, name: str, max_pixels: int) -> _Opened:
    if not data:
        raise InputError(f"{name} is empty (0 bytes).", code="empty_file")
    kind = _recognise(data, name)
    structure = _WALKS[kind](data, name)
    try:
        image = _loader(kind, data)
    except pyvips.Error as error:
        raise _decoding_failed(error, kind, name, structure) from error
    width, height = int(image.width), int(image.height)
    if width * height > max_pixels:
        raise InputError(
            f"{name} has {width} x {height} = {width * height:,} pixels; the limit is {max_pixels:,}.",
            code="too_many_pixels",
        )
    if structure.gone is not None:
        raise InputError(f"{name} is cut short: {structure.gone}.", code="truncated")
    _check_contents(image, kind, data, name)

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
    warnings = list(structure.warnings)
    orientation = 1
    # libheif has already turned AVIF by its own irot/imir boxes; EXIF must not turn it again.
    if kind != "avif" and image.get_typeof("orientation"):
        orientation = int(image.get("orientation"))
        if not 1 <= orientation <= 8:
            warnings.append(f"EXIF orientation {orientation} does not exist; the picture was not turned")
            orientation = 1
    if orientation >= 5:
        width, height = height, width
    header = Header(
        format=kind, width=width, height=height, bands=bands, bit_depth=depth, has_alpha=bands in (2, 4)
    )
    return _Opened(
        kind=kind,
        data=data,
        image=image,
        header=header,
        orientation=orientation,
        structure=structure,
        warnings=tuple(warnings),
    )


def _check_contents(image: Any, kind: Format, data: bytes, name: str) -> None:
    """What only the opened file tells: more pictures than one, another codec inside an AVIF."""
    if kind == "avif" and image.get("heif-compression") != "av1":
        raise InputError(
            f"{name} says that it is AVIF but holds {image.get('heif-compression')} data, which is not "
            "supported.",
            code="unsupported_format",
        )
    pages = _field(image, "n-pages", 1)
    # (_walk_tiff has counted the pages of a classic TIFF, and knows thumbnails from pages)
    if pages > 1 and (kind != "tiff" or data[2:4] in (b"+\0", b"\0+")):
        raise _several(name, f"one file with {pages} pictures")


def _field(image: Any, name: str, default: int) -> int:
    return int(image.get(name)) if image.get_typeof(name) else default


def _decoding_failed(
    error: Exception, kind: Format, name: str, structure: _Structure | None = None
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


def _upright(array: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation 1-8 (EXIF 2.32, tag 0x0112) to H x W x C, without copying."""
    if orientation >= 5:  # stored lying: rows of the picture are columns of the array
        array = array.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


# --------------------------------------------------------------------------------------------
# Metadata


def _metadata_in(opened: _Opened, warnings: list[str], *, keep_gps: bool) -> Metadata:
    image, kind = opened.image, opened.kind
    colour = "GRAY" if opened.header.bands <= 2 else "RGB "
    icc = _blob(image, "icc-profile-data")
    if image.interpretation == "cmyk":
        if icc is not None and (why := _bad_icc(icc, "CMYK")):
            warnings.append(f"the CMYK profile was not used: {why}")
            image.remove("icc-profile-data")
        icc = None
    elif icc is not None and (why := _bad_icc(icc, colour)):
        warnings.append(f"the ICC profile was dropped: {why}")
        icc = None
    elif icc is None and b"iCCP" in opened.structure.claims:
        warnings.append("the ICC profile was dropped: it is damaged or does not fit the picture")

    exif = None
    block = opened.data if kind == "tiff" else _blob(image, "exif-data")
    if block is not None and not (kind == "tiff" and block[2:4] in (b"+\0", b"\0+")):
        try:
            exif = _clean_exif(block.removeprefix(b"Exif\0\0"), keep_gps=keep_gps)
        except _BadExifError as error:
            warnings.append(f"the EXIF data was dropped: {error}")
    elif b"eXIf" in opened.structure.claims:
        warnings.append("the EXIF data was dropped: it does not start like EXIF")

    xmp = _blob(image, "xmp-data")
    if xmp is not None:
        xmp = _clean_xmp(xmp, keep_gps=keep_gps)
        if xmp is None:
            warnings.append("the XMP data was dropped: its GPS position could not be taken out")

    iptc = _tiff_iptc(opened.data) if kind == "tiff" else _blob(image, "iptc-data")
    if iptc is not None and iptc.startswith(b"Photoshop 3.0\0"):
        iptc = _iptc_of_photoshop(iptc)

    resolution = (float(image.xres), float(image.yres))
    unit = str(image.get("resolution-unit")) if image.get_typeof("resolution-unit") else "in"
    return Metadata(
        icc=icc,
        exif=exif,
        xmp=xmp,
        iptc=iptc,
        text=_png_text(image, keep_gps=keep_gps),
        resolution=None if resolution == (1.0, 1.0) else resolution,
        resolution_unit=unit,
        significant_bits=_field(image, "bits-per-sample", 0) or None if kind == "avif" else None,
        lossless=opened.structure.lossless,
    )


def _png_text(image: Any, *, keep_gps: bool) -> tuple[tuple[str, str], ...]:
    texts = list[tuple[str, str]]()
    for name in image.get_fields():
        match = re.fullmatch(r"png-comment-\d+-(.+)", name, re.DOTALL)
        # ImageMagick puts EXIF into text chunks: "exif:GPSLatitude", "Raw profile type exif".
        hidden = match and (match[1].startswith(("Raw profile", "XML:")) or "gps" in match[1].lower())
        if match and (keep_gps or not hidden):
            texts.append((match[1], str(image.get(name))))
    return tuple(texts)


def _blob(image: Any, name: str) -> bytes | None:
    return bytes(image.get(name)) if image.get_typeof(name) else None


def _bad_icc(icc: bytes, colour: str) -> str | None:
    """Why a profile cannot be kept, or None. ICC.1:2022, section 7.2 (the 128-byte header)."""
    if len(icc) < 132 or icc[36:40] != b"acsp":
        return "it is not an ICC profile"
    if int.from_bytes(icc[:4], "big") > len(icc):
        return "it is cut short"
    if len(icc) > 16 * 2**20:
        return "it is larger than 16 MiB"
    if icc[16:20] != colour.encode():
        return f"it is for {icc[16:20].decode('latin-1').strip()!r}, the picture is {colour.strip()!r}"
    return None


_XMP_GPS_ELEMENT = re.compile(rb"<([\w.-]+:(?i:gps)[\w.-]*)\b(?:[^>]*/>|[^>]*>.*?</\1\s*>)", re.DOTALL)
_XMP_GPS_ATTRIBUTE = re.compile(rb"""\s[\w.-]+:(?i:gps)[\w.-]*\s*=\s*(?:"[^"]*"|'[^']*')""")
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|\s*>\s*))\d+""")


def _clean_xmp(xmp: bytes, *, keep_gps: bool) -> bytes | None:
    """XMP with orientation 1 and no GPS; None if it is in a form where that cannot be made sure."""
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    if keep_gps:
        return xmp
    xmp = _XMP_GPS_ATTRIBUTE.sub(b"", _XMP_GPS_ELEMENT.sub(b"", xmp))
    leftover = re.search(rb"gps\0?[a-z]", xmp, re.IGNORECASE) or b"\0" in xmp
    return None if leftover else xmp


def _tiff_iptc(data: bytes) -> bytes | None:
    """The IPTC tag as it stands: often mistyped as 32-bit words, whose order must not be turned."""
    if data[2:4] not in (b"*\0", b"\0*"):
        return None
    order = "<" if data[:2] == b"II" else ">"
    with contextlib.suppress(_BadExifError, struct.error):
        entries, _ = _unpack_ifd(data, struct.unpack_from(order + "I", data, 4)[0], order)
        return next((entry.value for entry in entries if entry.tag == _IPTC), None)
    return None


def _iptc_of_photoshop(block: bytes) -> bytes | None:
    """The IPTC resource (0x0404) of a Photoshop block; others may hold thumbnails or EXIF."""
    at = len(b"Photoshop 3.0\0")
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, at + 4)
        at += 6 + (block[at + 6] + 2 & ~1)  # Pascal string, padded to an even length
        size = int.from_bytes(block[at : at + 4], "big")
        if number == 0x0404:
            return block[at + 4 : at + 4 + size]
        at += 4 + (size + 1 & ~1)
    return None


# --------------------------------------------------------------------------------------------
# EXIF: a TIFF structure of tag lists (IFDs), taken apart and put together

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # unit that byte order turns
_ORIENTATION, _IPTC, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x0112, 0x83BB, 0x8769, 0x8825, 0xA005
# Tags of a TIFF's own layout, colour or embedded blocks: they describe a file, not a photograph.
_LAYOUT_TAGS = frozenset(
    (
        *range(0xFE, 0x10B),  # subfile type, size, depth, compression, photometric, fill order
        *(0x111, 0x112, 0x115, 0x116, 0x117, 0x118, 0x119, 0x11A, 0x11B, 0x11C),  # strips, resolution
        *range(0x11D, 0x12A),  # page name and position, fax options, resolution unit, page number
        *(0x12D, 0x13D, 0x13E, 0x13F, *range(0x140, 0x146)),  # transfer, predictor, palette, tiles
        *(0x14A, 0x14C, *range(0x150, 0x15C), *range(0x200, 0x215)),  # sub-files, inks, samples, JPEG
        *(0x2BC, _IPTC, 0x8649, 0x8773, 0x935C, 0xC612),  # XMP, IPTC, Photoshop, ICC, layers, DNG
        *(_EXIF_IFD, _GPS_IFD, _INTEROP_IFD),
    )
)


class _BadExifError(Exception):
    """The EXIF block is not a readable TIFF structure."""


@dataclass(frozen=True)
class _Entry:
    tag: int
    kind: int
    count: int
    value: bytes

    def integers(self, order: str) -> tuple[int, ...]:
        letter = {1: "B", 3: "H", 4: "I", 13: "I"}.get(self.kind)
        if letter is None:
            return (0,)
        return struct.unpack(f"{order}{self.count}{letter}", self.value)

    def integer(self, order: str) -> int:
        return (*self.integers(order), 0)[0]


def _unpack_ifd(data: bytes, at: int, order: str) -> tuple[list[_Entry], int]:
    """One IFD and the place of the next; entries of unknown type or outside the data are left out."""
    if at < 8 or at + 2 > len(data):
        raise _BadExifError("a tag list lies outside of it")
    (count,) = struct.unpack_from(order + "H", data, at)
    end = at + 2 + 12 * count
    if end > len(data):
        raise _BadExifError("a tag list is cut short")
    entries = list[_Entry]()
    for place in range(at + 2, end, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, place)
        size = _SIZES.get(kind, 0) * number
        start = place + 8 if size <= 4 else struct.unpack_from(order + "I", data, place + 8)[0]
        if kind in _SIZES and start + size <= len(data):
            entries.append(_Entry(tag, kind, number, data[start : start + size]))
    following = struct.unpack_from(order + "I", data, end)[0] if end + 4 <= len(data) else 0
    return entries, following


def _swap(entry: _Entry) -> _Entry:
    word = _WORDS.get(entry.kind, 1)
    turned = np.frombuffer(entry.value, np.uint8).reshape(-1, word)[:, ::-1].tobytes()
    return replace(entry, value=turned)


def _pack_ifd(entries: Sequence[_Entry], at: int, order: str) -> bytes:
    """One IFD (no next) as it stands at offset `at`, its long values right behind it."""
    entries = sorted(entries, key=lambda entry: entry.tag)
    table, heap = [struct.pack(order + "H", len(entries))], b""
    base = at + 2 + 12 * len(entries) + 4
    for entry in entries:
        table.append(struct.pack(order + "HHI", entry.tag, entry.kind, entry.count))
        if len(entry.value) <= 4:
            table.append(entry.value.ljust(4, b"\0"))
        else:
            table.append(struct.pack(order + "I", base + len(heap)))
            heap += entry.value + b"\0" * (len(entry.value) & 1)
    return b"".join(table) + b"\0\0\0\0" + heap


def _exif_lists(block: bytes) -> tuple[str, dict[int, list[_Entry]]]:
    """Byte order, and the tag lists by pointer tag (0 is the main list). No thumbnail list."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        raise _BadExifError("it does not start like EXIF")
    main, _ = _unpack_ifd(block, struct.unpack_from(order + "I", block, 4)[0], order)
    lists = {0: main}
    for parent, pointer in ((0, _EXIF_IFD), (0, _GPS_IFD), (_EXIF_IFD, _INTEROP_IFD)):
        for entry in lists.get(parent, []):
            if entry.tag == pointer:
                # A broken sub-list must not cost the camera and the date of the main one.
                with contextlib.suppress(_BadExifError):
                    lists[pointer] = _unpack_ifd(block, entry.integer(order), order)[0]
    for key, entries in lists.items():
        drop = _LAYOUT_TAGS if key == 0 else {_EXIF_IFD, _GPS_IFD, _INTEROP_IFD}
        lists[key] = [entry for entry in entries if entry.tag not in drop]
    return order, lists


def _lay_out(lists: dict[int, list[_Entry]], at: int, order: str) -> bytes:
    """All tag lists, the main one at offset `at`, with the pointers between them filled in."""

    def pointer(tag: int, where: int) -> _Entry:
        return _Entry(tag, 4, 1, struct.pack(order + "I", where))

    children = {0: [_EXIF_IFD, _GPS_IFD], _EXIF_IFD: [_INTEROP_IFD], _GPS_IFD: [], _INTEROP_IFD: []}
    present = [key for key in (0, _EXIF_IFD, _GPS_IFD, _INTEROP_IFD) if key == 0 or lists.get(key)]
    places = dict.fromkeys(present, 0)
    packed = dict[int, bytes]()
    for _ in range(2):  # first to learn the lengths, then with the right places
        where = at
        for key in present:
            links = [pointer(tag, places[tag]) for tag in children[key] if tag in places]
            places[key], packed[key] = where, _pack_ifd([*lists[key], *links], where, order)
            where += len(packed[key])
    return b"".join(packed[key] for key in present)


def _clean_exif(block: bytes, *, keep_gps: bool) -> bytes | None:
    """An EXIF block without thumbnail and layout tags, orientation 1, and GPS only if kept."""
    order, lists = _exif_lists(block)
    if not keep_gps:
        lists.pop(_GPS_IFD, None)
    if _INTEROP_IFD in lists and not lists.get(_EXIF_IFD):
        del lists[_INTEROP_IFD]
    if not any(lists.values()):
        return None
    start = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    lists[0] = [*lists[0], _Entry(_ORIENTATION, 3, 1, struct.pack(order + "H", 1))]
    return start + _lay_out(lists, 8, order)


def _tags_into_tiff(tiff: bytes, exif: bytes | None, iptc: bytes | None) -> bytes:
    """Append a new main tag list, with EXIF and IPTC, to an encoded TIFF, and point to it."""
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    layout, _ = _unpack_ifd(tiff, first, order)
    own, lists = _exif_lists(exif) if exif is not None else (order, {0: []})
    if own != order:
        lists = {key: [_swap(entry) for entry in entries] for key, entries in lists.items()}
    if iptc is not None:
        lists[0].append(_Entry(_IPTC, 7, len(iptc), iptc))
    taken = {entry.tag for entry in layout}
    lists[0] = [*layout, *(entry for entry in lists[0] if entry.tag not in taken)]
    tiff += b"\0" * (len(tiff) & 1)
    return tiff[:4] + struct.pack(order + "I", len(tiff)) + tiff[8:] + _lay_out(lists, len(tiff), order)


# --------------------------------------------------------------------------------------------
# Writing


def write(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Store a picture; the extension of `path` says the format.

    At every moment, also after a kill or a full disk, `path` is either what it was or the whole
    new file. A symbolic link is followed. A replaced file keeps its mode.

    Args:
        picture: What to store; see `Picture` for shapes and types.
        path: Where; the folder must exist.
        overwrite: Replace a file that is there. Without it, a file that appears meanwhile is
            not lost either (on file systems with hard links).
        quality: As in `encode`.

    Raises:
        UsageError: ``format_cannot_hold``; as `encode`.
        OutputError: ``output_unsupported``, ``output_exists``, ``output_unwritable``,
            ``disk_full``, ``output_storage``, ``output_encoding``. No temporary file is left.
    """
    kind = _format_of_target(path)
    check_target(path, overwrite=overwrite)
    store_bytes(encode(picture, kind, quality=quality), path, overwrite=overwrite)


def encode(picture: Picture, kind: Format, *, quality: int | None = None) -> bytes:
    """Encode a picture to the bytes of a file, and check that they open with the right size.

    PNG and TIFF (deflate) are lossless. JPEG is 4:4:4 at quality 95. WebP and AVIF are lossless
    if the source was and `quality` is None; else they are at quality 95 (4:4:4 for AVIF), the
    alpha of WebP lossless. AVIF keeps 10 or 12 bits; 16-bit pictures get 12. WebP and AVIF have
    no grey: it is stored as equal R, G and B. JPEG leaves out EXIF, XMP or IPTC above 65,000 bytes
    (one segment). A picture without a resolution gets 72 dots an inch where one must be written.

    Args:
        picture: What to encode.
        kind: One of the five formats.
        quality: 1 to 100, for JPEG, WebP and AVIF; others ignore it.

    Raises:
        UsageError: ``format_cannot_hold`` if the format has no place for the picture's alpha,
            depth or size; ``usage`` for a quality outside 1-100.
        InputError: ``bad_array`` or ``non_finite`` if the picture is not as described.
        OutputError: ``output_encoding`` if the encoder failed.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be between 1 and 100, not {quality}.")
    _check_array(picture.pixels)
    array = _interleaved(picture)
    height, width, bands = array.shape
    _check_holds(picture, kind)

    scale = {"uint8": ("uchar", "b-w", "srgb"), "uint16": ("ushort", "grey16", "rgb16")}
    vips_format, grey, rgb = scale.get(array.dtype.name, ("float", "b-w", "srgb"))
    image = pyvips.Image.new_from_memory(array.data, width, height, bands, vips_format)
    metadata = picture.metadata
    across, down = metadata.resolution or (72 / 25.4, 72 / 25.4)
    image = image.copy(interpretation=grey if bands <= 2 else rgb, xres=across, yres=down)
    _metadata_out(image, metadata, kind)
    try:
        data = _save(image, kind, metadata, quality)
    except pyvips.Error as error:
        raise OutputError(
            f"the picture could not be encoded as {kind}: {str(error).strip().splitlines()[-1].strip()}.",
            code="output_encoding",
        ) from error
    if kind == "tiff" and (metadata.exif or metadata.iptc) and data[2:4] in (b"*\0", b"\0*"):
        data = _tags_into_tiff(data, metadata.exif, metadata.iptc)
    _verify(data, kind, width, height)
    return data


def check_writable(path: str | os.PathLike[str], overwrite: bool = False) -> None:  # noqa: FBT001, FBT002
    """Find out whether `write` could store to `path`, before any long work.

    Creates and removes an empty temporary file in the folder, as `write` would.

    Raises:
        OutputError: ``output_unsupported``, ``output_exists``, ``output_unwritable``,
            ``disk_full`` or ``output_storage``.
    """
    _format_of_target(path)
    check_storable(path, overwrite=overwrite)


def check_holds(picture: Picture, path: str | os.PathLike[str]) -> None:
    """Find out whether the format that `path` names could hold `picture`, before any long work.

    Raises:
        UsageError: ``format_cannot_hold``.
        OutputError: ``output_unsupported``.
    """
    _check_holds(picture, _format_of_target(path))


def _format_of_target(path: str | os.PathLike[str]) -> Format:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        what = f"the extension {suffix!r}" if suffix else "no extension"
        raise OutputError(
            f"{shown(path)} has {what}; end the name in one of {', '.join(SUFFIXES)}.",
            code="output_unsupported",
        )
    return SUFFIXES[suffix]


def _interleaved(picture: Picture) -> Pixels:
    """H x W x bands, contiguous, native byte order; a view of the caller's array where possible."""
    pixels, alpha = picture.pixels, picture.alpha
    if pixels.dtype.name not in ("uint8", "uint16", "float32"):
        raise InputError(
            f"a picture to store must be uint8, uint16 or float32, not {pixels.dtype}.", code="bad_array"
        )
    if alpha is not None:
        if alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype:
            raise InputError(
                f"alpha must be {pixels.shape[:2]} {pixels.dtype}, like the pixels, not "
                f"{alpha.shape} {alpha.dtype}.",
                code="bad_array",
            )
        pixels = np.dstack((pixels, alpha))
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    array = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("the picture has NaN or infinite values; they cannot be stored.", code="non_finite")
    return array


def _check_holds(picture: Picture, kind: Format) -> None:
    height, width = picture.pixels.shape[:2]
    why = None
    if picture.alpha is not None and kind == "jpeg":
        why = "JPEG has no alpha channel; store it as .png, .tiff, .webp or .avif"
    elif picture.pixels.dtype.itemsize == 2 and kind in ("jpeg", "webp"):
        why = f"{kind.upper()} holds 8 bits per channel, this picture has 16; store it as .png or .tiff"
    elif picture.pixels.dtype.kind == "f" and kind != "tiff":
        why = f"{kind.upper()} cannot hold float values; store it as .tiff or convert it to 8 or 16 bits"
    elif max(width, height) > _LARGEST_SIDE[kind]:
        why = f"{kind.upper()} holds at most {_LARGEST_SIDE[kind]:,} pixels a side; store it as .png or .tiff"
    if why is not None:
        raise UsageError(
            f"the picture ({width} x {height}) cannot be stored: {why}.", code="format_cannot_hold"
        )


def _metadata_out(image: Any, metadata: Metadata, kind: Format) -> None:
    image.set_type(pyvips.GValue.gstr_type, "resolution-unit", metadata.resolution_unit)
    # TIFF gets EXIF and IPTC afterwards: libvips writes no EXIF there, and cuts IPTC short.
    blobs = {"icc-profile-data": metadata.icc, "xmp-data": metadata.xmp}
    if kind != "tiff":
        blobs["exif-data"] = None if metadata.exif is None else b"Exif\0\0" + metadata.exif
    if kind == "jpeg":
        if metadata.iptc is not None:
            size = len(metadata.iptc)
            record = b"8BIM\x04\x04\0\0" + struct.pack(">I", size) + metadata.iptc + b"\0" * (size & 1)
            blobs["iptc-data"] = b"Photoshop 3.0\0" + record
        # A JPEG segment ends at 65,533 bytes; only the ICC profile may span several.
        blobs = {
            name: blob
            for name, blob in blobs.items()
            if name == "icc-profile-data" or blob is None or len(blob) <= 65_000
        }
    for name, blob in blobs.items():
        if blob is not None:
            image.set_type(pyvips.GValue.blob_type, name, blob)
    if kind == "png":
        for number, (keyword, text) in enumerate(metadata.text):
            image.set_type(pyvips.GValue.gstr_type, f"png-comment-{number}-{keyword}", text)


def _save(image: Any, kind: Format, metadata: Metadata, quality: int | None) -> bytes:
    # Without EXIF of its own libvips would make one up for the resolution.
    keep = ["xmp", "iptc", "icc", "other"] + (["exif"] if metadata.exif is not None else [])
    options: dict[str, Any] = {"keep": "|".join(keep)}
    lossless = metadata.lossless and quality is None
    match kind:
        case "png":
            return image.pngsave_buffer(compression=6, filter="sub|paeth", **options)
        case "tiff":
            # Horizontal differences suit integers; libtiff has another predictor for floats.
            predictor = "float" if image.format == "float" else "horizontal"
            unit = "cm" if metadata.resolution_unit == "cm" else "inch"
            return image.tiffsave_buffer(compression="deflate", predictor=predictor, resunit=unit, **options)
        case "jpeg":
            data = image.jpegsave_buffer(
                Q=quality or 95, subsample_mode="off", optimize_coding=True, **options
            )
            return data if data[2:4] == b"\xff\xe0" else _with_jfif(data, image.xres, image.yres)
        case "webp":
            if lossless:
                # exact: colours under full transparency belong to the picture too.
                return image.webpsave_buffer(lossless=True, exact=True, **options)
            return image.webpsave_buffer(Q=quality or 95, alpha_q=100, smart_subsample=True, **options)
        case "avif":
            bits = 8 if image.format == "uchar" else (metadata.significant_bits or 12)
            bits = bits if image.format == "uchar" or bits in (10, 12) else 12
            how = {"lossless": True} if lossless else {"Q": quality or 95}
            return image.heifsave_buffer(
                compression="av1", bitdepth=bits, subsample_mode="off", effort=1, **how, **options
            )


def _with_jfif(jpeg: bytes, across: float, down: float) -> bytes:
    """Put the JFIF segment in front: libvips leaves it, and the resolution, out without EXIF."""
    dots = [min(max(round(per_mm * 25.4), 1), 65_535) for per_mm in (across, down)]
    segment = b"JFIF\0\1\2" + struct.pack(">BHHBB", 1, *dots, 0, 0)  # unit 1: dots an inch
    return jpeg[:2] + b"\xff\xe0" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def _verify(data: bytes, kind: Format, width: int, height: int) -> None:
    """Open what was encoded; a size or format that differs must never reach the disk."""
    try:
        header = _open(data, "the encoded picture", max_pixels=width * height).header
    except InputError as error:
        raise OutputError(f"the picture was not encoded well: {error}", code="output_encoding") from error
    if (header.format, header.width, header.height) != (kind, width, height):
        raise OutputError(
            f"the picture was not encoded well: {header.width} x {header.height} instead of "
            f"{width} x {height}.",
            code="output_encoding",
        )


# --------------------------------------------------------------------------------------------
# Arrays and tensors


def to_tensor(pixels: Pixels) -> Float[Tensor, "1 3 h w"]:
    """Turn an array into a network's input.

    Integers are divided by their largest value (255 or 65535); floats are taken as they are,
    expected in [0, 1] but not clipped. Grey is repeated to three channels. The array may have any
    strides and may be read-only; it is copied, never changed.

    Args:
        pixels: H x W x 3 (RGB) or H x W (grey); uint8, uint16, float16, float32 or float64.

    Returns:
        (1, 3, H, W), float32, contiguous, on the CPU.

    Raises:
        InputError: ``bad_array`` for another shape or type, ``non_finite`` for NaN or infinity.
    """
    _check_array(pixels)
    height, width = pixels.shape[:2]
    planes = np.empty((3, height, width), np.float32)
    top = _largest(pixels.dtype)
    for channel in range(3 if pixels.ndim == 3 else 1):
        plane = pixels[..., channel] if pixels.ndim == 3 else pixels
        if top is None:
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, caught below
                planes[channel] = plane
            if not np.isfinite(planes[channel]).all():
                raise InputError(
                    "the array has NaN or infinite values; replace them before restoring.",
                    code="non_finite",
                )
        else:
            np.divide(plane, top, out=planes[channel], dtype=np.float32, casting="unsafe")
    if pixels.ndim == 2:
        planes[1:] = planes[0]
    return torch.from_numpy(planes)[None]


def from_tensor(tensor: Tensor, like: Pixels) -> Pixels:
    """Turn a network's output back into an array of the type and channels of `like`.

    Integers: times 255 or 65535, clipped to [0, 1] first (never wrapped), rounded half to even.
    Floats: as they are, not clipped. Grey: the mean of the three channels, each with weight 1/3,
    computed so that three equal channels give their exact value back.
    `from_tensor(to_tensor(x), x)` is `x`.

    Args:
        tensor: (1, 3, H, W), any float type, any device; nominally in [0, 1].
        like: H x W x 3 or H x W, the array that the tensor came from.

    Returns:
        A new, contiguous array of the shape and dtype of `like`.

    Raises:
        InputError: ``bad_array`` if shapes do not fit, ``non_finite`` for NaN or infinity.
    """
    _check_array(like)
    height, width = like.shape[:2]
    if tuple(tensor.shape) != (1, 3, height, width):
        raise InputError(
            f"the tensor must be (1, 3, {height}, {width}) to fit the array, not {tuple(tensor.shape)}.",
            code="bad_array",
        )
    top = _largest(like.dtype)
    result = np.empty(like.shape, like.dtype)
    tensor = tensor.detach()
    if like.ndim == 2:
        first, second, third = (tensor[0, channel].to("cpu", torch.float32) for channel in range(3))
        planes = [first + ((second - first) + (third - first)) / 3]
    else:
        planes = [tensor[0, channel] for channel in range(3)]
    for channel, plane in enumerate(planes):
        values: npt.NDArray[np.float32] = plane.to("cpu", torch.float32).numpy()
        if not np.isfinite(values).all():
            raise InputError("the result has NaN or infinite values.", code="non_finite")
        if top is not None:
            values = np.clip(values, 0, 1)
            values *= np.float32(top)
            np.rint(values, out=values)
        target = result if like.ndim == 2 else result[..., channel]
        target[...] = values
    return result


def _largest(dtype: np.dtype[Any]) -> int | None:
    """The value that stands for 1.0; None for floats."""
    return {"uint8": 255, "uint16": 65535}.get(dtype.name)


def _check_array(pixels: Pixels) -> None:
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
