"""What travels with the pixels, in and out of libvips's fields: profile, EXIF, XMP, IPTC, resolution."""

# pyvips makes its methods at run time and carries no types: unknown members are expected here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import contextlib
import re
import struct
from typing import Any

import pyvips

from anyrestore.image.content import Content
from anyrestore.image.exif import (
    IPTC,
    LAYOUT_TAGS,
    BadExifError,
    bad_orientation,
    clean_exif,
    form_of,
    unpack_ifd,
)
from anyrestore.image.formats import LARGEST_PROFILE
from anyrestore.image.opening import Opened, field_of
from anyrestore.image.picture import Format, Metadata


def metadata_in(opened: Opened, warnings: list[str], *, keep_gps: bool) -> Metadata:
    """The metadata of an opened file, cleaned; what was dropped is added to `warnings`."""
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
        exif=_exif_in(opened, warnings, keep_gps=keep_gps),
        xmp=xmp,
        iptc=iptc,
        text=_png_text(image, keep_gps=keep_gps),
        resolution=None if resolution == (1.0, 1.0) else resolution,
        resolution_unit=unit,
        significant_bits=field_of(image, "bits-per-sample", 0) or None if kind == "avif" else None,
        lossless=opened.structure.lossless,
    )


def _exif_in(opened: Opened, warnings: list[str], *, keep_gps: bool) -> bytes | None:
    block = opened.data if opened.kind == "tiff" else _blob(opened.image, "exif-data")
    if isinstance(block, bytes):
        block = block.removeprefix(b"Exif\0\0")
    if block is None:
        if b"eXIf" in opened.structure.claims:
            warnings.append("the EXIF data was dropped: it does not start like EXIF")
        return None
    # (AVIF is turned by its own boxes, whatever EXIF says)
    if opened.kind != "avif" and (odd := bad_orientation(block)):
        warnings.append(f"EXIF orientation {odd} does not exist; the picture was not turned")
    try:
        return clean_exif(block, keep_gps=keep_gps)
    except BadExifError as error:
        warnings.append(f"the EXIF data was dropped: {error}")
        return None


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
    if len(icc) > LARGEST_PROFILE:
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


def _tiff_iptc(data: Content) -> bytes | None:
    """The IPTC tag as it stands: often mistyped as 32-bit words, whose order must not be turned."""
    form = form_of(data)
    if form is not None:
        with contextlib.suppress(BadExifError):
            entries, _ = unpack_ifd(data, form.first(data), form, skip=LAYOUT_TAGS - {IPTC})
            return next((entry.value for entry in entries if entry.tag == IPTC), None)
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


def metadata_out(image: Any, metadata: Metadata, kind: Format) -> None:
    """Give a libvips image the fields from which its saver of that format makes the metadata."""
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
