"""Pictures in: a file's header, its pixels, its metadata.

Pixels come in strips, through one way for all: libvips decodes from top to bottom, each strip is put in its
place in the array, and the array is in memory, or in a file of a scratch folder, from which each strip is
released. So a picture needs no more memory than a strip, but for the kinds that their libraries decode whole:
progressive JPEG, interlaced PNG, WebP and AVIF.
"""

# pyvips makes its methods at run time and carries no types: unknown members are expected here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips

from anyrestore.errors import InputError
from anyrestore.image.content import Content, open_stored, read_bytes
from anyrestore.image.metadata import metadata_in
from anyrestore.image.opening import Opened, check_reading, decoding_failed, open_picture
from anyrestore.image.picture import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    SUFFIXES,
    Header,
    Picture,
    Pixels,
    ReadOptions,
    blank,
)
from anyrestore.scratch import release
from anyrestore.storage import shown

_STRIP_BYTES = 2**21  # 2 MiB decoded at once: several copies of a strip are alive inside libvips
_STRIP_ROWS = 1024  # and no more rows: libvips takes time that grows with their square
_LYING_BYTES = 2**26  # 64 MiB gathered where rows become columns: each block goes to every row of the picture
_BYTES_PER_PIXEL = 20  # four channels of float32, and a quarter for tiles that reach over the edge


_STRICT = ReadOptions()


def read_header(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, options: ReadOptions = _STRICT
) -> Header:
    """Say what a picture file is without decoding its pixels, or reading the file into memory.

    Args:
        path: A regular file, as large as `read` with a scratch folder takes.
        max_pixels: Limit on width x height.
        options: As for `read`.

    Raises:
        InputError: As `read`, for everything that the header shows.
    """
    with open_stored(path, _largest_file(max_pixels)) as data:
        return open_picture(data, shown(path), max_pixels, whole=not options.allow_truncated).header


def decode_header(
    data: bytes, *, name: str = "the data", max_pixels: int = MAX_PIXELS, options: ReadOptions = _STRICT
) -> Header:
    """Say what a picture file held in memory is; `read_header` without the file. Same errors.

    Args:
        data: The whole file.
        name: What error sentences call it.
        max_pixels: Limit on width x height.
        options: As for `read`.
    """
    return open_picture(data, name, max_pixels, whole=not options.allow_truncated).header


def read(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    keep_gps: bool = False,
    scratch: str | os.PathLike[str] | None = None,
    options: ReadOptions = _STRICT,
) -> Picture:
    """Read a picture file.

    The content decides the format; an extension that says otherwise is a warning. CMYK becomes
    RGB (through the embedded profile, else libvips's generic CMYK profile), a palette becomes
    RGB, 1-bit becomes 8-bit grey. 10- and 12-bit AVIF becomes uint16 over the full range.
    Float values are kept as they are, also outside [0, 1].

    With a scratch folder neither the file nor the pixels are held in memory: the picture's arrays are
    those of `anyrestore.scratch.allocate`, and their rows can be released when they are done with. The
    file may then have more than `MAX_FILE_BYTES`: up to 20 bytes for each pixel of the limit, which no
    picture needs. Progressive JPEG, interlaced PNG, WebP and AVIF are still decoded in memory.

    Args:
        path: A regular file.
        max_pixels: Limit on width x height, checked before decoding.
        keep_gps: Keep the place where the picture was taken.
        scratch: A folder on a disk with room for the pixels; None for pixels in memory.
        options: What to take, keep and mend beyond the defaults.

    Raises:
        InputError: Codes ``not_found``, ``permission``, ``not_a_regular_file``, ``unreadable``,
            ``empty_file``, ``file_too_large``, ``not_an_image``, ``unsupported_format``,
            ``format_needs_extra``, ``multi_page``, ``too_many_pixels``, ``truncated``, ``corrupt``,
            ``non_finite``.
        OutputError: ``disk_full``, ``output_unwritable`` or ``output_storage`` for the scratch folder.
    """
    name = shown(path)
    if scratch is None:
        data = read_bytes(path, MAX_FILE_BYTES)
        picture = decode(data, name=name, max_pixels=max_pixels, keep_gps=keep_gps, options=options)
    else:
        with open_stored(path, _largest_file(max_pixels)) as data:
            picture = _decoded(data, name, max_pixels, keep_gps=keep_gps, scratch=scratch, options=options)
    suffix = Path(path).suffix.lower()
    if suffix and SUFFIXES.get(suffix) != picture.format:
        odd = f"the name ends in {suffix!r} but the content is {picture.format}; the content was used"
        picture = replace(picture, warnings=(*picture.warnings, odd))
    return picture


def decode(
    data: bytes,
    *,
    name: str = "the data",
    max_pixels: int = MAX_PIXELS,
    keep_gps: bool = False,
    options: ReadOptions = _STRICT,
) -> Picture:
    """Decode a picture held in memory; `read` without the file. Same arguments and errors.

    Args:
        data: The whole file.
        name: What error sentences call it.
        max_pixels: Limit on width x height, checked before decoding.
        keep_gps: Keep the place where the picture was taken.
        options: As for `read`.
    """
    return _decoded(data, name, max_pixels, keep_gps=keep_gps, scratch=None, options=options)


def _largest_file(max_pixels: int) -> int:
    return max(MAX_FILE_BYTES, _BYTES_PER_PIXEL * max_pixels)


def _decoded(
    data: Content,
    name: str,
    max_pixels: int,
    *,
    keep_gps: bool,
    scratch: str | os.PathLike[str] | None,
    options: ReadOptions,
) -> Picture:
    """The picture; of a file that is cut short what there is of it, if that is allowed."""

    def attempt(*, whole: bool) -> Picture:
        opened = open_picture(data, name, max_pixels, whole=whole)
        return _drawn(opened, name, keep_gps=keep_gps, scratch=scratch, options=options)

    try:
        picture = attempt(whole=True)
    except InputError as error:
        if error.code != "truncated" or not options.allow_truncated:
            raise
        picture = attempt(whole=False)
        cut = "the file is cut short; only a part of the picture is there"
        picture = replace(picture, warnings=(*picture.warnings, cut))
    return picture


def _drawn(
    opened: Opened,
    name: str,
    *,
    keep_gps: bool,
    scratch: str | os.PathLike[str] | None,
    options: ReadOptions,
) -> Picture:
    warnings = list(opened.warnings)
    metadata = metadata_in(opened, warnings, keep_gps=keep_gps)
    if options.strip_metadata:
        metadata = replace(metadata, exif=None, xmp=None, iptc=None, text=())
    header = opened.header
    mended = 0
    dtype = {8: np.uint8, 16: np.uint16, 32: np.float32}[header.bit_depth]
    size = header.height, header.width
    pixels = blank((*size, 3) if header.bands >= 3 else size, dtype, scratch)
    alpha = blank(size, dtype, scratch) if header.has_alpha else None
    found = strips(opened, name)
    for top, strip in found if opened.orientation < 5 else _gathered(found):
        if metadata.significant_bits in (10, 12) and strip.dtype == np.uint16:
            # libvips shifts 10 bits up by 6, so that white is 65472: repeat the high bits below.
            np.bitwise_or(strip, strip >> metadata.significant_bits, out=strip)
        if strip.dtype == np.float32:
            mended += _mend(strip, name, options)
        _put(strip[..., :3] if pixels.ndim == 3 else strip[..., 0], top, pixels, opened.orientation)
        if alpha is not None:
            _put(strip[..., -1], top, alpha, opened.orientation)
    if mended:
        warnings.append(f"{mended:,} values that were not finite were replaced: NaN by 0, infinity by 0 or 1")
    return Picture(
        pixels=pixels, alpha=alpha, format=opened.kind, metadata=metadata, warnings=tuple(warnings)
    )


def _mend(strip: Pixels, name: str, options: ReadOptions) -> int:
    """Replace what is not finite, if that is allowed; how many values there were."""
    count = strip.size - int(np.count_nonzero(np.isfinite(strip)))
    if count and not options.fix_nonfinite:
        raise InputError(
            f"{name} has NaN or infinite pixel values; replace them before restoring, or with "
            "--fix-nonfinite.",
            code="non_finite",
        )
    if count:
        np.nan_to_num(strip, copy=False, nan=0, neginf=0, posinf=1)
    return count


def strips(opened: Opened, name: str) -> Iterator[tuple[int, Pixels]]:
    """Decode from top to bottom, as stored: not turned by the orientation.

    Args:
        opened: A file just opened; it can be decoded once.
        name: What error sentences call it.

    Yields:
        The first row of each strip, and its values: rows x width x bands, alpha last; writable.

    Raises:
        InputError: ``truncated``, ``corrupt`` or ``unsupported_format``.
    """
    image = opened.image
    try:
        if image.interpretation == "cmyk":
            depth = 16 if image.format == "ushort" else 8
            image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
        dtype = np.dtype({"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}[image.format])
        width, height, bands = int(image.width), int(image.height), int(image.bands)
        rows = min(max(_STRIP_BYTES // (width * bands * dtype.itemsize), 1), _STRIP_ROWS)
        region = pyvips.Region.new(image)
        for top in range(0, height, rows):
            count = min(rows, height - top)
            fetched = np.frombuffer(region.fetch(0, top, width, count), dtype)
            yield top, fetched.reshape(count, width, bands)
    except pyvips.Error as error:
        check_reading(opened.data)
        raise decoding_failed(error, opened.kind, name) from error
    check_reading(opened.data)


def _gathered(found: Iterator[tuple[int, Pixels]]) -> Iterator[tuple[int, Pixels]]:
    """Strips joined to larger ones, in one array that is filled again and again."""
    block, start, filled = np.empty(0), 0, 0
    for top, strip in found:
        if top == 0:
            block = np.empty(
                (max(_LYING_BYTES // strip.nbytes, 1) * len(strip), *strip.shape[1:]), strip.dtype
            )
        block[filled : filled + len(strip)] = strip
        filled += len(strip)
        if filled == len(block):
            yield start, block
            start, filled = start + filled, 0
    if filled:
        yield start, block[:filled]


def _put(strip: Pixels, top: int, target: Pixels, orientation: int) -> None:
    """Put rows as stored where they belong in the upright picture, and let the picture's rows leave memory.

    Done here rather than by libvips, which would keep a whole copy of a picture to turn it.
    """
    stored = _as_stored(target, orientation)
    bottom = top + len(strip)
    if orientation < 5:
        place = stored[top:bottom]
        place[...] = strip
        release(place)
        return
    across = max(_STRIP_BYTES // target.strides[0], 1)  # rows of the picture, columns of the strip
    for first in range(0, stored.shape[1], across):
        place = stored[top:bottom, first : first + across]
        place[...] = strip[:, first : first + across]
        release(place)


def _as_stored(upright: Pixels, orientation: int) -> Pixels:
    """The view of an upright H x W (x C) array that has the rows as EXIF orientation 1-8 stores them.

    Source: EXIF 2.32, tag 0x0112.
    """
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.swapaxes(0, 1) if orientation >= 5 else upright
