"""A picture made small enough to be looked at in a bounded memory."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore.types import Image

Fit = Literal["crop", "scale"]


def fit(picture: Image, max_side: int, how: Fit = "crop") -> tuple[Float[Tensor, "b 3 h2 w2"], str]:
    """``picture`` with sides of at most ``max_side`` pixels, and in words what was done ("" for nothing).

    "crop" keeps the middle, pixel by pixel; "scale" shows all of it, but averages noise and fine rain away.
    """
    height, width = picture.shape[-2:]
    if max(height, width) <= max_side:
        return picture, ""
    if how == "crop":
        rows, columns = min(height, max_side), min(width, max_side)
        top, left = (height - rows) // 2, (width - columns) // 2
        part = picture[..., top : top + rows, left : left + columns]
        return part, f"middle {columns} x {rows} of {width} x {height} pixels"
    share = max_side / max(height, width)
    size = (max(1, round(height * share)), max(1, round(width * share)))
    smaller = F.interpolate(picture, size=size, mode="bilinear", antialias=True)
    return smaller.clamp(0, 1), f"scaled to {size[1]} x {size[0]} from {width} x {height} pixels"
