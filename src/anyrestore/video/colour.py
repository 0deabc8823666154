"""A frame to a tensor and back, such that a model that changes nothing changes no value.

Y'CbCr by ITU-R BT.601, 709, 2020 (not constant luminance), SMPTE 240M and FCC, in limited or full range,
with 8 to 16 bits; RGB and grey; alpha, which is left alone. All of it in floats: what lies outside of RGB's
cube comes back as it was.

Unusual: not swscale, whose way to 8-bit RGB and back is not exact. Here chroma is enlarged (bilinear) and
then corrected so that its mean over each block of pixels is exactly the stored value; on the way back the
mean over the block is taken. Where chroma samples sit within a block is not asked: the same shift is made
there and undone.
"""

# torch.from_numpy carries no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore.errors import InputError
from anyrestore.video.av import av

_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, not constant luminance
}
"""Of red and blue in luma, per matrix (ITU-T H.273, table 4)."""
_UNSPECIFIED = (2, 3)
_FULL = 2
_HIGH_DEFINITION = 720  # lines from which an unnamed matrix is BT.709

_PLANAR = {
    **{f"yuvj{ratio}p": f"yuv{ratio}p" for ratio in ("411", "420", "422", "440", "444")},
    **dict.fromkeys(("nv12", "nv21"), "yuv420p"),
    **dict.fromkeys(("nv16", "yuyv422", "uyvy422", "yvyu422"), "yuv422p"),
    **dict.fromkeys(("nv24", "nv42"), "yuv444p"),
    **dict.fromkeys(("rgb24", "bgr24", "rgb0", "bgr0", "0rgb", "0bgr"), "gbrp"),
    **dict.fromkeys(("rgba", "bgra", "argb", "abgr", "pal8"), "gbrap"),
    **dict.fromkeys(("rgb48le", "rgb48be", "bgr48le", "bgr48be"), "gbrp16le"),
    **dict.fromkeys(("rgba64le", "rgba64be"), "gbrap16le"),
    **dict.fromkeys(("monow", "monob"), "gray"),
    **dict.fromkeys(("gray16be",), "gray16le"),
}
"""Which planar format holds the same values."""


@dataclass(frozen=True)
class Layout:
    """How the values of a planar format lie; `name` is FFmpeg's."""

    name: str

    @cached_property
    def _format(self) -> Any:
        return av.VideoFormat(self.name, 64, 64)

    @property
    def depth(self) -> int:
        """Bits of a value."""
        return self._format.components[0].bits

    @property
    def kind(self) -> Literal["rgb", "grey", "yuv"]:
        """What its planes are."""
        if self._format.is_rgb:
            return "rgb"
        return "yuv" if len(self._format.components) >= 3 else "grey"

    @property
    def alpha(self) -> bool:
        """Whether the last plane is alpha."""
        return any(component.is_alpha for component in self._format.components)

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of pixels that share a chroma value."""
        if self.kind != "yuv":
            return 1, 1
        chroma = self._format.components[1]
        return 64 // chroma.height, 64 // chroma.width

    @property
    def supported(self) -> bool:
        """Whether this file can take it apart: integers of at most 16 bits, each plane by itself."""
        form = self._format
        planes = [component.plane for component in form.components]
        return (
            len(set(planes)) == len(planes)
            and not form.is_big_endian
            and not form.has_palette
            and not form.is_bayer
            and self.depth in (8, 9, 10, 12, 14, 16)
            and "f16" not in self.name
        )


def layout_of(name: str) -> Layout:
    """The planar layout that holds a format's values.

    Raises:
        InputError: there is none here (code `unsupported_format`).
    """
    layout = Layout(name if name.startswith("yuvj") else _PLANAR.get(name, name))
    if not layout.supported:
        raise InputError(
            f"expected frames of RGB, grey or Y'CbCr with 8 to 16 bits, these are {name}; convert them first",
            code="unsupported_format",
        )
    return layout


@dataclass(frozen=True)
class Matrix:
    """What the numbers of a frame mean: the weights of red and blue, and whether all codes are used."""

    red: float
    blue: float
    full: bool


def matrix_of(frame: av.VideoFrame) -> Matrix:
    """By what is written in the frame; where nothing is, as players do: BT.709 from 720 lines on.

    Raises:
        InputError: another matrix (code `unsupported_format`).
    """
    space = frame.colorspace
    if space in _UNSPECIFIED or Layout(frame.format.name).kind != "yuv":
        space = 1 if frame.height >= _HIGH_DEFINITION else 6
    if space not in _WEIGHTS:
        raise InputError(
            f"expected colours by BT.601, 709, 2020 or SMPTE 240M, the video's matrix is number {space} of "
            "ITU-T H.273; convert it first",
            code="unsupported_format",
        )
    return Matrix(*_WEIGHTS[space], full=frame.color_range == _FULL or "yuvj" in frame.format.name)


def to_tensor(frame: av.VideoFrame) -> Float[Tensor, "1 3 h w"]:
    """RGB of a frame, nominally in [0, 1]; grey three times."""
    layout, matrix = layout_of(frame.format.name), matrix_of(frame)
    arrays = _planes(_planar(frame, layout))[: 1 if layout.kind == "grey" else 3]
    planes = [torch.from_numpy(array.astype(np.float32))[None, None] for array in arrays]
    planes = [
        _from_codes(plane, layout, matrix, chroma=layout.kind == "yuv" and i > 0)
        for i, plane in enumerate(planes)
    ]
    if layout.kind == "rgb":
        green, blue, red = planes
    elif layout.kind == "grey":
        red = green = blue = planes[0]
    else:
        luma = planes[0]
        size = luma.shape[-2], luma.shape[-1]
        cb, cr = (_enlarge(plane, size, layout.block) for plane in planes[1:])
        red = luma + 2 * (1 - matrix.red) * cr
        blue = luma + 2 * (1 - matrix.blue) * cb
        green = (luma - matrix.red * red - matrix.blue * blue) / (1 - matrix.red - matrix.blue)
    return torch.cat((red, green, blue), dim=1)


def from_tensor(tensor: Float[Tensor, "1 3 h w"], source: av.VideoFrame, name: str) -> av.VideoFrame:
    """A frame with the colours of a tensor, and everything else of the frame that it came from.

    Args:
        tensor: RGB, nominally in [0, 1]; what no code can say is clipped.
        source: the frame it came from; may be overwritten.
        name: the format of the new frame, FFmpeg's.
    """
    layout, matrix = layout_of(name), matrix_of(source)
    red, green, blue = (tensor[:, channel : channel + 1].to("cpu", torch.float32) for channel in range(3))
    luma = matrix.red * red + (1 - matrix.red - matrix.blue) * green + matrix.blue * blue
    if layout.kind == "rgb":
        planes = [green, blue, red]
    elif layout.kind == "grey":
        # Three equal channels give their exact value back.
        planes = [red + ((green - red) + (blue - red)) / 3]
    else:
        cb = (blue - luma) / (2 * (1 - matrix.blue))
        cr = (red - luma) / (2 * (1 - matrix.red))
        planes = [luma, *(_shrink(plane, layout.block) for plane in (cb, cr))]
    arrays = [
        _to_codes(plane, layout, matrix, chroma=layout.kind == "yuv" and i > 0)
        for i, plane in enumerate(planes)
    ]
    if layout.alpha:
        arrays.append(_planes(_planar(source, layout_of(source.format.name)))[-1])
    return _packed(_filled(arrays, source, layout), source, name)


def _planar(frame: av.VideoFrame, layout: Layout) -> av.VideoFrame:
    return frame if frame.format.name == layout.name else frame.reformat(format=layout.name)


def _planes(frame: av.VideoFrame) -> list[npt.NDArray[Any]]:
    """Its planes, as they lie in memory, without what is over at the right of a row."""
    found: list[npt.NDArray[Any]] = []
    for component in frame.format.components:
        plane = frame.planes[component.plane]
        kind = np.dtype(np.uint8 if component.bits <= 8 else "<u2")
        rows: npt.NDArray[Any] = np.frombuffer(cast("memoryview", plane), kind).reshape(plane.height, -1)
        found.append(rows[:, : plane.width])
    # Components of RGB are named in the order red, green, blue; the planes lie as green, blue, red.
    if frame.format.is_rgb:
        found[:3] = [found[1], found[2], found[0]]
    return found


def _filled(arrays: Sequence[npt.NDArray[Any]], source: av.VideoFrame, layout: Layout) -> av.VideoFrame:
    """The source's own frame where it has the layout: captions and light levels stay. Else a new one."""
    if source.format.name == layout.name:
        frame = source
        frame.make_writable()
    else:
        frame = av.VideoFrame(source.width, source.height, layout.name)
    for array, plane in zip(arrays, _planes(frame), strict=True):
        plane[...] = array
    return _labelled(frame, source)


def _packed(frame: av.VideoFrame, source: av.VideoFrame, name: str) -> av.VideoFrame:
    return frame if frame.format.name == name else _labelled(frame.reformat(format=name), source)


def _labelled(frame: av.VideoFrame, source: av.VideoFrame) -> av.VideoFrame:
    """With the labels of its source; the encoder decides by itself what refers to what."""
    for label in ("colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(frame, label, getattr(source, label))
    frame.pict_type = 0
    return frame


def _scale(layout: Layout, matrix: Matrix, *, chroma: bool) -> tuple[float, float]:
    """Offset and length of the range of codes."""
    step = 1 << (layout.depth - 8)
    top = (1 << layout.depth) - 1
    if matrix.full or layout.kind == "rgb":
        return (float(1 << (layout.depth - 1)) if chroma else 0.0), float(top)
    return (128.0 * step, 224.0 * step) if chroma else (16.0 * step, 219.0 * step)


def _from_codes(plane: Tensor, layout: Layout, matrix: Matrix, *, chroma: bool) -> Tensor:
    offset, length = _scale(layout, matrix, chroma=chroma)
    return (plane - offset) / length


def _to_codes(plane: Tensor, layout: Layout, matrix: Matrix, *, chroma: bool) -> npt.NDArray[Any]:
    offset, length = _scale(layout, matrix, chroma=chroma)
    codes = (plane * length + offset).round().clamp(0, (1 << layout.depth) - 1)
    return codes[0, 0].numpy().astype(np.uint8 if layout.depth == 8 else np.dtype("<u2"))


def _shrink(plane: Tensor, block: tuple[int, int]) -> Tensor:
    """The mean of each block; blocks that the edge cuts have fewer pixels."""
    return plane if block == (1, 1) else F.avg_pool2d(plane, block, ceil_mode=True, count_include_pad=False)


def _enlarge(plane: Tensor, size: tuple[int, int], block: tuple[int, int]) -> Tensor:
    """Bilinear, then corrected: `_shrink` of it is the plane itself."""
    if block == (1, 1):
        return plane
    full = tuple(side * factor for side, factor in zip(plane.shape[-2:], block, strict=True))
    smooth = F.interpolate(plane, full, mode="bilinear")[..., : size[0], : size[1]]
    wrong = F.interpolate(plane - _shrink(smooth, block), full, mode="nearest")
    return smooth + wrong[..., : size[0], : size[1]]
