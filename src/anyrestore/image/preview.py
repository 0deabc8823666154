"""A small copy of a picture for a screen: sRGB, 8 bit, WebP, whatever the file holds.

libvips shrinks while it decodes, so that a large picture is never in memory as a whole (but for the kinds
that their libraries decode whole, see `reading`). Nothing of this goes into a result.
"""

# pyvips makes its methods at run time and carries no types: unknown members are expected here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

from typing import Any

import pyvips

from anyrestore.image.opening import decoding_failed, open_picture
from anyrestore.image.picture import MAX_PIXELS

_QUALITY = 90


def preview(data: bytes, *, side: int, name: str = "the data", max_pixels: int = MAX_PIXELS) -> bytes:
    """Make a WebP file that any browser shows of a picture file.

    Args:
        data: The whole file, of any kind that `decode` takes.
        side: Pixels of the longer side at most; a smaller picture keeps its size.
        name: What error sentences call it.
        max_pixels: Limit on width x height, checked before decoding.

    Raises:
        InputError: As `decode`.
    """
    opened = open_picture(data, name, max_pixels)
    try:
        image = _for_screens(opened.image)
        # (turns it by its EXIF orientation on the way)
        small = image.thumbnail_image(side, height=side, size="down")
        return small.webpsave_buffer(Q=_QUALITY, keep="none")
    except pyvips.Error as error:
        raise decoding_failed(error, opened.kind, name, opened.structure) from error


def _for_screens(image: Any) -> Any:
    """The picture as 8-bit sRGB or grey."""
    if image.format == "float":
        # Values of [0, 1] are those of a screen already; libvips would take them for linear light.
        return (image * 255).cast("uchar").copy(interpretation="srgb" if image.bands >= 3 else "b-w")
    if image.get_typeof("icc-profile-data") or image.interpretation == "cmyk":
        kind = "cmyk" if image.interpretation == "cmyk" else "srgb"
        return image.icc_transform("srgb", embedded=True, input_profile=kind, depth=8)
    if image.format == "ushort":
        return image.colourspace("srgb" if image.bands >= 3 else "b-w")
    return image
