"""Small files of every kind, good and bad, made from seeds: the corpus of the tests beside this file.

A `Case` says what the reader must make of it. Nothing here uses the code under test. Well under 5 MiB in all.
"""

from __future__ import annotations

import functools
import os
import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

import pictures

T = TypeVar("T")
OK = "ok"
RGB = pictures.ramp()
GREY = pictures.ramp(bands=1)
SMOOTH = pictures.ramp(width=40, height=32)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, and how it must end: OK, or one of these codes; a part of each warning that must come."""

    name: str
    data: bytes
    ends: frozenset[str]
    size: tuple[int, int] | None = None
    warns: tuple[str, ...] = ()


def _good(name: str, data: bytes, size: tuple[int, int] = (24, 16), warns: tuple[str, ...] = ()) -> Case:
    return Case(name=name, data=data, ends=frozenset({OK}), size=size, warns=warns)


def _bad(name: str, data: bytes, *codes: str) -> Case:
    return Case(name=name, data=data, ends=frozenset(codes))


# ------------------------------------------------------------------------- JPEG of rarer kinds


def jpeg_411() -> bytes:
    """4:1:1: a single row of 4:2:0 blocks, each of which is called 32 x 8 instead of 16 x 16."""
    data = pictures.pillow(pictures.ramp(width=128, height=16), "JPEG", quality=95, subsampling=2)
    return _resampled(data, sampling=0x41, width=256, height=8)


def jpeg_440() -> bytes:
    """4:4:0: a single row of 4:2:2 blocks, each of which is called 8 x 16 instead of 16 x 8."""
    data = pictures.pillow(pictures.ramp(width=128, height=8), "JPEG", quality=95, subsampling=1)
    return _resampled(data, sampling=0x12, width=64, height=16)


def _resampled(data: bytes, *, sampling: int, width: int, height: int) -> bytes:
    """The same blocks under another frame header; as many luma blocks to a chroma block as before."""
    at = data.index(b"\xff\xc0")
    frame = bytearray(data[at : at + 19])
    struct.pack_into(">HH", frame, 5, height, width)
    frame[11] = sampling
    return data[:at] + bytes(frame) + data[at + 19 :]


def jpeg_ycck(inks: np.ndarray) -> bytes:
    """What Photoshop writes of H x W x 4 inks (255 is full): inverted, the colours as YCbCr, transform 2."""
    # By the definition of transform 2, YCbCr gives 255 - the stored colour, which is the ink itself.
    luma = np.asarray(Image.fromarray(np.ascontiguousarray(inks[..., :3])).convert("YCbCr"))
    # Pillow stores 255 - x of every plane.
    stored = np.dstack((255 - luma, inks[..., 3]))
    data = pictures.pillow(Image.fromarray(stored, "CMYK"), "JPEG", quality=100, subsampling=0)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    return data[:at] + b"\2" + data[at + 1 :]


# --------------------------------------------------------------------------------- ICC profiles

_D50 = (0.9642, 1.0, 0.8249)
PRIMARIES = {
    # Columns of the matrix to XYZ under D50, and the gamma.
    "adobe": (((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)), 2.2),
    "prophoto": (((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)), 1.8),
    "p3": (((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)), 2.2),
    "grey": ((), 2.2),
}


def icc(name: str) -> bytes:
    """A matrix profile of version 2.1 (a curve alone for "grey"), as ICC.1:2022 lays it out."""
    columns, gamma = PRIMARIES[name]

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    words = name.encode() + b"\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(words)) + words + bytes(78)
    tags = {b"desc": described, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": xyz(_D50)}
    if columns:
        for letter, column in zip(b"rgb", columns, strict=True):
            tags[bytes([letter]) + b"XYZ"] = xyz(column)
            tags[bytes([letter]) + b"TRC"] = curve
    else:
        tags[b"kTRC"] = curve
    table, heap = struct.pack(">I", len(tags)), b""
    for tag, body in tags.items():
        at = 128 + 4 + 12 * len(tags) + len(heap)
        table += tag + struct.pack(">II", at, len(body))
        heap += body + bytes(-len(body) % 4)
    size = 128 + len(table) + len(heap)
    head = struct.pack(
        ">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB " if columns else b"GRAY", b"XYZ "
    )
    head += struct.pack(">6H4s", 2021, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += b"".join(struct.pack(">i", round(v * 65536)) for v in _D50)
    return head.ljust(128, b"\0") + table + heap


def jpeg_with_icc(data: bytes, profile: bytes) -> bytes:
    """A JPEG with a profile in as many segments as it takes (255 at most)."""
    pieces = [profile[at : at + 65_000] for at in range(0, len(profile), 65_000)]
    segments = b""
    for number, piece in enumerate(pieces, 1):
        body = b"ICC_PROFILE\0" + bytes([number, len(pieces)]) + piece
        segments += b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body
    return data[:2] + segments + data[2:]


# ----------------------------------------------------------------------------------- EXIF and GPS


def exif_orientation(kind: int, count: int, value: bytes) -> bytes:
    """EXIF whose one tag is the orientation, of that TIFF type."""
    entry = struct.pack("<HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + bytes(4)


WRONG_ORIENTATIONS = {
    "0": exif_orientation(3, 1, b"\0\0"),
    "9": exif_orientation(3, 1, b"\x09\0"),
    "65535": exif_orientation(3, 1, b"\xff\xff"),
    "text": exif_orientation(2, 2, b"6\0"),
    "rational": exif_orientation(5, 1, b"\x08\0\0\0"),
    "float": exif_orientation(11, 1, struct.pack("<f", 6)),
    "none of it": exif_orientation(3, 0, b"\x06\0"),
}


# -------------------------------------------------------------------------------- the whole corpus


def whole_files() -> dict[str, bytes]:
    """One small file of every kind that is read, all of 40 x 32 pixels."""
    return {
        "png": pictures.pillow(SMOOTH, "PNG"),
        "png 16": pictures.png(pictures.ramp("uint16", 4, 40, 32)),
        "png palette": pictures.pillow(Image.fromarray(SMOOTH).quantize(16), "PNG"),
        "jpeg": pictures.pillow(SMOOTH, "JPEG"),
        "progressive jpeg": pictures.pillow(SMOOTH, "JPEG", progressive=True),
        "grey jpeg": pictures.pillow(SMOOTH[..., 0], "JPEG"),
        "jpeg exif": pictures.pillow(SMOOTH, "JPEG", exif=pictures.exif(), xmp=pictures.XMP_GPS),
        "cmyk jpeg": pictures.pillow(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG"),
        "webp": pictures.pillow(SMOOTH, "WEBP"),
        "lossless webp": pictures.pillow(SMOOTH, "WEBP", lossless=True, exif=pictures.exif()),
        "tiff": pictures.pillow(SMOOTH, "TIFF", exif=pictures.exif()),
        "tiff lzw": pictures.pillow(SMOOTH, "TIFF", compression="tiff_lzw"),
        "tiff tiled": pictures.tiff(SMOOTH, tile=(16, 16), compression="zlib"),
        "tiff big": pictures.tiff(SMOOTH, bigtiff=True),
        "tiff float": pictures.tiff(pictures.ramp("float32", 3, 40, 32)),
        "avif": pictures.pillow(SMOOTH, "AVIF"),
    }


def refused_files() -> dict[str, bytes]:
    """Files of the formats that are never decoded, whole."""
    return {"bmp": pictures.pillow(SMOOTH, "BMP"), "gif": pictures.pillow(SMOOTH, "GIF")}


def lying_headers() -> dict[str, bytes]:
    """Much promised, nothing there; no width; a side below zero."""
    jpeg = pictures.pillow(SMOOTH, "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    webp = pictures.pillow(SMOOTH, "WEBP", lossless=True)
    lossless = webp.index(b"VP8L") + 9
    lies = {
        f"png {w}x{h}": pictures.png(RGB, size=(h, w))
        for w, h in ((0, 5), (5, 0), (2**31 - 1, 2**31 - 1), (2**31, 1), (14_000, 14_000), (1, 70_000))
    }
    lies |= {
        f"jpeg {w}x{h}": jpeg[: frame + 5] + struct.pack(">HH", h, w) + jpeg[frame + 9 :]
        for w, h in ((0, 32), (65_535, 65_535), (14_000, 14_000), (65_500, 3_000))
    }
    lies["webp"] = webp[:lossless] + b"\xff\xff\xff\x0f" + webp[lossless + 4 :]
    for side in (0, 14_000, 2**31 - 1, 2**32 - 1):
        lies[f"tiff {side}"] = _tiff_side(side)
    return lies


def _tiff_side(side: int) -> bytes:
    data = bytearray(pictures.tiff(RGB))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    for place in range(first + 2, first + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, place)
        if tag in (256, 257):
            struct.pack_into("<HHII", data, place, tag, 4, 1, side)
        elif tag == 278:  # rows in a strip: all of them
            struct.pack_into("<HHII", data, place, tag, 4, 1, 2**32 - 1)
    return bytes(data)


FOREIGN = {
    "text": (b"Hello, I am a text.\n" * 20, "not_an_image"),
    "html": (b"<html><body><script>1</script></body></html>", "not_an_image"),
    "zip": (b"PK\x03\x04" + bytes(60), "not_an_image"),
    "elf": (b"\x7fELF\2\1\1" + bytes(60), "not_an_image"),
    "pdf": (b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n", "unsupported_format"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "unsupported_format"),
    "wmf": (b"\xd7\xcd\xc6\x9a" + bytes(60), "unsupported_format"),
    "gif": (b"GIF89a" + bytes(60), "unsupported_format"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "unsupported_format"),
    "jpeg 2000 codestream": (b"\xff\x4f\xff\x51" + bytes(60), "unsupported_format"),
    "jpeg xl": (b"\xff\x0a" + bytes(60), "unsupported_format"),
    "dds": (b"DDS " + bytes(124), "unsupported_format"),
    "psd": (b"8BPS\0\1" + bytes(60), "unsupported_format"),
    "fits": (b"SIMPLE  =                    T" + bytes(60), "unsupported_format"),
    "exr": (b"\x76\x2f\x31\x01" + bytes(60), "unsupported_format"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60), "format_needs_extra"),
}


@functools.cache
def cases() -> tuple[Case, ...]:
    """A folder's worth of files: every kind of good and bad, by file name."""
    found = [_good(f"good {name}.{_suffix(name)}", data, (40, 32)) for name, data in whole_files().items()]
    found += [
        _bad(f"cut {name}.{_suffix(name)}", data[: len(data) * 2 // 3], "truncated", "corrupt")
        for name, data in whole_files().items()
    ]
    found += [_bad(f"foreign {name}.png", data, code) for name, (data, code) in FOREIGN.items()]
    found += [
        _bad(
            f"lie {name}.{_suffix(name)}",
            data,
            "too_many_pixels",
            "truncated",
            "corrupt",
            "unsupported_format",
        )
        for name, data in lying_headers().items()
    ]
    nan = pictures.ramp("float32")
    nan[3, 4, 1] = np.nan
    png = pictures.png(RGB)
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    found += [
        _bad("empty.png", b"", "empty_file"),
        _bad("one byte.png", b"\x89", "truncated"),
        _bad("checksum.png", png[:50] + bytes([png[50] ^ 1]) + png[51:], "corrupt"),
        _bad("nan.tif", pictures.tiff(nan), "non_finite"),
        _bad("five channels.tif", pictures.tiff(pictures.noise(shape=(9, 9, 5))), "unsupported_format"),
        _bad("lab.tif", pictures.pillow(Image.fromarray(RGB, "LAB"), "TIFF"), "unsupported_format"),
        _bad("double.tif", pictures.tiff(RGB.astype(np.float64)), "unsupported_format"),
        _bad(
            "animated.png",
            pictures.pillow(frames[0], "PNG", save_all=True, append_images=frames[1:]),
            "multi_page",
        ),
        _bad(
            "animated.webp",
            pictures.pillow(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
            "multi_page",
        ),
        _bad("pages.tif", pictures.tiff(np.stack([RGB, RGB]), photometric="rgb"), "multi_page"),
        _bad("no pages.tif", b"II*\0" + bytes(60), "corrupt", "truncated", "unsupported_format"),
        _bad("bomb.png", _bomb(), "too_many_pixels"),
        _good("one pixel.png", pictures.png(RGB[:1, :1]), (1, 1)),
        _good("really a jpeg.png", pictures.pillow(RGB, "JPEG"), warns=("name ends in",)),
        _good("zip behind.jpg", pictures.pillow(RGB, "JPEG") + b"PK\x03\x04" + bytes(5000)),
        _good("turned.png", pictures.pillow(RGB, "PNG", exif=pictures.exif(6)), (16, 24)),
        _good(
            "gamma.png", pictures.png(RGB, chunks=[(b"gAMA", struct.pack(">I", 100_000))]), warns=("gAMA",)
        ),
        _good("bad profile.png", pictures.pillow(RGB, "PNG", icc_profile=bytes(300)), warns=("ICC",)),
        _good("ycck.jpg", jpeg_ycck(np.zeros((16, 24, 4), np.uint8))),
        _good("411.jpg", jpeg_411(), (256, 8)),
        _good("440.jpg", jpeg_440(), (64, 16)),
    ]
    return tuple(found)


@functools.cache
def _bomb() -> bytes:
    """30,000 x 30,000 in a PNG of a few kilobytes: its data end after the first rows."""
    packed = zlib.compress(bytes(2_000_000), 9)
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    parts = (pictures.chunk(b"IHDR", header), pictures.chunk(b"IDAT", packed), pictures.chunk(b"IEND", b""))
    return pictures.SIGNATURE + b"".join(parts)


def _suffix(name: str) -> str:
    words = name.split()
    known = {"png": "png", "jpeg": "jpg", "webp": "webp", "tiff": "tif", "avif": "avif"}
    return next(known[word] for word in words if word in known)


# ------------------------------------------------------------------------------------ bombs, counts

FULL = bool(os.environ.get("ANYRESTORE_FULL"))
"""Whether the long counts are asked for (`make reliability FULL=1`)."""


def some(everything: Sequence[T], few: int) -> list[T]:
    """All of them in a full run, else a few that are always the same."""
    if FULL or len(everything) <= few:
        return list(everything)
    return random.Random(0).sample(everything, few)


def png_bomb(side: int) -> bytes:
    """A grey PNG of side x side zeros, whole and valid; `side` a multiple of 100. 400 kB for 20,000."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeeze.compress(bytes(100 * (side + 1))) + squeeze.flush(zlib.Z_FULL_FLUSH)
    # Behind a full flush nothing refers back: the block can be repeated. Of n zeros the checksum is n, 1.
    checksum = (side * (side + 1) % 65521) << 16 | 1
    packed = b"\x78\xda" + block * (side // 100) + b"\3\0" + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = (pictures.chunk(b"IHDR", header), pictures.chunk(b"IDAT", packed), pictures.chunk(b"IEND", b""))
    return pictures.SIGNATURE + b"".join(parts)
