"""Files recognised and checked by us before libvips sees a byte: the signature, a walk over the structure.

Sources: PNG (ISO/IEC 15948), JPEG (ITU-T T.81), WebP container (RFC 9649), ISO/IEC 14496-12, TIFF 6.0.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from anyrestore.errors import InputError
from anyrestore.image.content import Content
from anyrestore.image.exif import BadExifError, Entry, Form, form_of, place_of, unpack_ifd
from anyrestore.image.picture import Format

SUPPORTED = "PNG, JPEG, TIFF, WebP and AVIF"
_BLOCKS = frozenset((0x2BC, 0x83BB, 0x8649, 0x8773, 0x935C))  # XMP, IPTC, Photoshop, ICC, layers in a TIFF
_PHOTOMETRIC = 0x106
_COLOURS = frozenset((0, 1, 2, 3, 5, 6))  # grey (white or black is 0), RGB, palette, inks, YCbCr: TIFF 6.0
# Uncompressed and PackBits by TIFF 6.0; LZW has 12 bits for up to 4,094 bytes, deflate (RFC 1951) 2 for 258.
_MOST_SAVED = {1: 1, 32773: 64, 5: 2730, 8: 1032, 32946: 1032}
LARGEST_PROFILE = 2**24
"""Bytes of an ICC profile above which it is dropped: decoders hold several copies of one."""
_TOO_LARGE = "the ICC profile was dropped: it is larger than 16 MiB"
_PIECE = 2**20  # bytes that a walk looks at in one go where it has to look at all of them


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What our own walk over the container found."""

    warnings: tuple[str, ...] = ()
    lossless: bool = True
    claims: frozenset[bytes] = frozenset()  # PNG: the chunks seen, some of which libpng drops silently
    gone: str | None = None  # why the file cannot be whole, if so
    masks: tuple[tuple[int, bytes], ...] = ()  # places, and what the decoder shall see there instead


_HEIC = rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)"
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
    (rb"....ftyp", "video"),
    (rb"(II|MM)(\*\0|\0\*)?....CR|IIRO|IIU\0|FUJIFILMCCD", "camera raw"),
)


def recognise(data: Content, name: str) -> Format:
    """The format by signature; everything outside the allowlist is refused here."""
    start = data[:1024]
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[4:8] == b"ftyp":
        size = min(int.from_bytes(start[:4], "big"), 1024)
        brands = {start[8:12], *(start[at : at + 4] for at in range(16, size - 3, 4))}
        if brands & {b"avif", b"avis"}:
            return "avif"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and start[8:10] != b"CR":
        return "tiff"
    if re.match(_HEIC, start, re.DOTALL):
        # libvips's wheels carry no HEVC decoder (patents); what is named here writes PNG from HEIC by itself.
        raise InputError(
            f"{name} is a HEIC file, which needs a decoder that does not come with anyrestore; convert it to "
            "PNG or JPEG first, for example with pillow-heif (pip install pillow-heif).",
            code="format_needs_extra",
        )
    for pattern, label in _REFUSED:
        if re.match(pattern, start, re.DOTALL):
            raise InputError(
                f"{name} is a {label} file, which is not supported; convert it to one of {SUPPORTED}.",
                code="unsupported_format",
            )
    whole = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
    if any(signature.startswith(start) for signature in whole) or re.match(
        rb"RIFF.{0,7}\Z", start, re.DOTALL
    ):
        raise InputError(f"{name} ends in the middle of its signature.", code="truncated")
    raise InputError(
        f"{name} is not a picture that can be read: its first bytes are not those of {SUPPORTED}.",
        code="not_an_image",
    )


def _walk_png(data: Content, name: str) -> Structure:
    at, warnings, seen, masks = 8, list[str](), set[bytes](), list[tuple[int, bytes]]()
    packed = 0
    while True:
        if at + 12 > len(data):
            return Structure(gone="it ends before its last chunk")
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at == 8 and kind != b"IHDR":
            raise InputError(f"{name} is a damaged PNG: it does not start with IHDR.", code="corrupt")
        end = at + 8 + length
        if end + 4 > len(data):
            # A cut header cannot show the size, so only a cut after IHDR gets as far as libvips.
            return Structure(gone=f"it ends inside chunk {kind!r}")
        if _checksum(data, at + 4, end) != int.from_bytes(data[end : end + 4], "big"):
            raise InputError(
                f"{name} is a damaged PNG: the checksum of chunk {kind!r} is wrong.", code="corrupt"
            )
        if kind == b"acTL" and int.from_bytes(data[at + 8 : at + 12], "big") > 1:
            raise several(name, "an animated PNG")
        if kind == b"iCCP" and _is_bomb(data, at + 8, end):
            # (a chunk of a private kind, which libpng passes over; its checksum begins with the kind)
            kind = b"icCP"
            masks += [
                (at + 4, kind),
                (end, _checksum(data, at + 8, end, zlib.crc32(kind)).to_bytes(4, "big")),
            ]
            warnings.append(_TOO_LARGE)
        packed += length if kind == b"IDAT" else 0
        seen.add(kind)
        at = end + 4
        if kind == b"IEND":
            break
    if packed * _MOST_SAVED[8] < _least_png(data):
        return Structure(gone="its header promises more pixels than its data can hold")
    if not seen & {b"iCCP", b"sRGB"} and seen & {b"gAMA", b"cHRM", b"cICP"}:
        chunks = ", ".join(sorted(c.decode() for c in seen & {b"gAMA", b"cHRM", b"cICP"}))
        warnings.append(f"the colour chunk(s) {chunks} were ignored: values are taken as sRGB")
    return Structure(warnings=tuple(warnings), claims=frozenset(seen), masks=tuple(masks))


def _least_png(data: Content) -> int:
    """Bytes that the pixels of a PNG take at least before they are compressed, by its header."""
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    channels = {2: 3, 4: 2, 6: 4}.get(colour, 1)
    return width * height * depth * channels // 8


def _is_bomb(data: Content, start: int, end: int) -> bool:
    """Whether the profile in an iCCP chunk is too large; it is unpacked no further than shows that."""
    name = data[start : min(start + 81, end)].find(b"\0")
    unpacking, size = zlib.decompressobj(), 0
    try:
        for at in range(start + name + 2, end, _PIECE):
            piece = data[at : min(at + _PIECE, end)]
            while piece and size <= LARGEST_PROFILE:
                size += len(unpacking.decompress(piece, _PIECE))
                piece = unpacking.unconsumed_tail
    except zlib.error:
        return False  # a damaged one is dropped by libpng
    return size > LARGEST_PROFILE


def _checksum(data: Content, start: int, end: int, value: int = 0) -> int:
    for at in range(start, end, _PIECE):
        value = zlib.crc32(data[at : min(at + _PIECE, end)], value)
    return value


def _walk_jpeg(data: Content, name: str) -> Structure:
    at, warnings, needed = 2, list[str](), 0
    while True:
        if at + 4 > len(data):
            return Structure(gone="it ends before its picture data", lossless=False)
        if data[at] != 0xFF:
            raise InputError(f"{name} is a damaged JPEG: a marker is missing.", code="corrupt")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA:
            short = len(data) - at < needed
            gone = "it has too little data for the size that its header says" if short else None
            return Structure(warnings=tuple(warnings), lossless=False, gone=gone)
        if marker == 0xD9:
            raise InputError(f"{name} is a JPEG without picture data.", code="corrupt")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 2 + length > len(data):
            return Structure(gone="it ends inside its header", lossless=False)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            _check_frame(data, at, name)
            needed = _least_bytes(data[at : at + 2 + length])
        if marker == 0xE2 and data[at + 4 : at + 8] == b"MPF\0":
            warnings.append("the file holds more pictures (MPF); only the main one was read")
        at += 2 + max(length, 2)


def _check_frame(data: Content, at: int, name: str) -> None:
    """Refuse the JPEG processes that almost nothing writes, and progressive ones of endless scans."""
    marker = data[at + 1]
    if marker > 0xC2 or data[at + 4 : at + 5] != b"\x08":
        raise InputError(
            f"{name} is a JPEG of a rare kind (arithmetic-coded, lossless or not 8-bit), which is not "
            "supported; convert it to ordinary JPEG, PNG or TIFF.",
            code="unsupported_format",
        )
    if marker == 0xC2 and _scans(data, at) > 200:
        raise InputError(f"{name} is a JPEG with more than 200 scans.", code="corrupt")


def _least_bytes(frame: bytes) -> int:
    """How many bytes the scans of a JPEG have at least: a bit for the DC value of each block (T.81, F and G).

    A decoder draws what is missing in grey where the data end with a marker, however much that is.
    """
    if len(frame) < 13:
        return 0
    height, width = struct.unpack_from(">HH", frame, 5)
    # Each component has a block for every 8 x 8 pixels, times its share of the largest sampling.
    sampling = [(byte >> 4, byte & 15) for byte in frame[11::3]]
    largest = max(h for h, _ in sampling) * max(v for _, v in sampling)
    shares = sum(h * v for h, v in sampling)
    return width * height // 64 * shares // max(largest, 1) // 8


def _scans(data: Content, start: int) -> int:
    # (pieces overlap by a byte, so that no marker is cut in two)
    pieces = range(start, len(data), _PIECE)
    return sum(data[at : at + _PIECE + 1].count(b"\xff\xda") for at in pieces)


def _walk_webp(data: Content, name: str) -> Structure:
    declared = int.from_bytes(data[4:8], "little") + 8
    at, lossless, frames, masks = 12, False, 0, list[tuple[int, bytes]]()
    while at + 8 <= min(declared, len(data)):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        lossless |= kind == b"VP8L"
        frames += kind == b"ANMF"
        if kind == b"ICCP" and size > LARGEST_PROFILE and data[12:16] == b"VP8X":
            masks = [(at, b"xICC"), (20, bytes([data[20] & ~0x20]))]  # the flag that says that there is one
        at += 8 + size + (size & 1)
    if frames > 1:
        raise several(name, "an animated WebP")
    short = len(data) < declared
    return Structure(
        lossless=lossless,
        warnings=(_TOO_LARGE,) if masks else (),
        masks=tuple(masks),
        gone=f"it says {declared:,} bytes and has {len(data):,}" if short else None,
    )


def _walk_avif(data: Content, name: str) -> Structure:
    if data[8:12] == b"avis":
        raise several(name, "an AVIF image sequence")
    at, seen = 0, set[bytes]()
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:
            size = len(data) - at
        if size < 8 or at + size > len(data):
            if seen >= {b"meta", b"mdat"}:
                break  # what follows a picture that is there is none of its business
            return Structure(gone=f"box {data[at + 4 : at + 8]!r} runs past its end", lossless=False)
        seen.add(data[at + 4 : at + 8])
        at += size
    else:
        if at < len(data):
            return Structure(gone="it ends inside a box", lossless=False)
    masks = tuple((place, b"free") for place in _large_profiles(data))
    return Structure(lossless=False, warnings=(_TOO_LARGE,) if masks else (), masks=masks)


def _large_profiles(data: Content) -> Iterator[int]:
    """Where the kinds stand of an AVIF's boxes of profiles that are too large: in meta, iprp, ipco."""
    inside = [(0, len(data))]
    for outer, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        inside = [
            (start + 8 + skipped, end)
            for first, last in inside
            for kind, start, end in _boxes(data, first, last)
            if kind == outer
        ]
    for first, last in inside:
        for kind, start, end in _boxes(data, first, last):
            if kind == b"colr" and end - start > LARGEST_PROFILE:
                yield start + 4


def _boxes(data: Content, first: int, last: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes with sizes of four bytes that stand between two places: kind, begin and end of each."""
    while first + 8 <= last:
        size = int.from_bytes(data[first : first + 4], "big")
        if size < 8 or first + size > last:
            return
        yield data[first + 4 : first + 8], first, first + size
        first += size


def _walk_tiff(data: Content, name: str) -> Structure:
    form = form_of(data)
    if form is None:
        return Structure(gone="it ends inside its header")
    at = form.first(data)
    visited, pages, first = set[int](), 0, dict[int, Entry]()
    while at:
        if at in visited or len(visited) >= 1000:
            raise InputError(
                f"{name} is a damaged TIFF: its list of pages has a loop, or over 1000 entries.",
                code="corrupt",
            )
        visited.add(at)
        try:
            entries, following = unpack_ifd(data, at, form, skip=_BLOCKS)
        except BadExifError:
            return Structure(gone="its list of tags is cut")
        tags = {entry.tag: entry for entry in entries}
        reduced = 0xFE in tags and bool(tags[0xFE].integer(form) & 1)
        if not first:
            first = tags
            if reduced or 0xC612 in tags:
                raise InputError(
                    f"{name} is a camera raw file (DNG or similar), which is not supported; develop it "
                    f"to one of {SUPPORTED}.",
                    code="unsupported_format",
                )
        pages += not reduced
        at = following
    if pages > 1:
        raise several(name, f"a TIFF of {pages} pages")
    photometric = first[_PHOTOMETRIC].integer(form) if _PHOTOMETRIC in first else 0
    if photometric not in _COLOURS:
        raise InputError(
            f"{name} is a TIFF with colours of a kind that is not supported (photometric {photometric}); "
            "convert it to grey or RGB.",
            code="unsupported_format",
        )
    odd, masks = list[str](), list[tuple[int, bytes]]()
    profile = place_of(data, form.first(data), form, 0x8773) if first else None
    if profile is not None and profile[1] > LARGEST_PROFILE:
        masks.append((profile[0] + 2, bytes(2)))  # of a type that does not exist: libtiff passes over it
        odd.append(_TOO_LARGE)
    if 0x152 in first and first[0x152].integer(form) == 1:
        odd.append("the alpha was premultiplied; the colours were divided by it")  # libvips does that
    return Structure(warnings=tuple(odd), gone=_tiff_cut(first, form, len(data)), masks=tuple(masks))


def _tiff_cut(tags: dict[int, Entry], form: Form, size: int) -> str | None:
    """Whether a strip or tile lies outside the file, or there is too little of them for the size."""
    if _least_of_tiff(tags, form) > size:
        return "it has too little data for the size that its header says"
    for starts, lengths in ((0x111, 0x117), (0x144, 0x145)):
        if starts in tags and lengths in tags:
            ends = zip(tags[starts].integers(form), tags[lengths].integers(form), strict=False)
            if any(start + length > size for start, length in ends):
                return "its picture data runs past its end"
    return None


def _least_of_tiff(tags: dict[int, Entry], form: Form) -> int:
    """How many bytes of picture data there are at least, by the most that its compression can save.

    libtiff leaves black what is missing of a strip that is not compressed.
    """

    def value(tag: int, default: int) -> int:
        return tags[tag].integer(form) if tag in tags else default

    most = _MOST_SAVED.get(value(259, 1))
    if most is None or value(_PHOTOMETRIC, 0) == 6:  # subsampled YCbCr has fewer samples
        return 0
    bits = value(256, 0) * value(257, 0) * value(258, 1) * value(277, 1)
    return bits // 8 // most


def several(name: str, what: str) -> InputError:
    """The refusal of a file that holds more pictures than one."""
    return InputError(
        f"{name} is {what}; only single pictures are restored: split it into one file per picture.",
        code="multi_page",
    )


_WALKS: dict[Format, Callable[[Content, str], Structure]] = {
    "png": _walk_png,
    "jpeg": _walk_jpeg,
    "webp": _walk_webp,
    "avif": _walk_avif,
    "tiff": _walk_tiff,
}


def walk(kind: Format, data: Content, name: str) -> Structure:
    """Look through the structure of a file of that format, without decoding anything.

    Raises:
        InputError: ``corrupt``, ``truncated``, ``multi_page`` or ``unsupported_format``.
    """
    return _WALKS[kind](data, name)
