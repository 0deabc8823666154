"""Padding to a multiple and back, so that a picture of any size from 1 x 1 goes through any network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore.types import Features


def pad_to_multiple(image: Features, multiple: int) -> tuple[Float[Tensor, "b c h2 w2"], tuple[int, int]]:
    """Pad right and bottom until height and width are multiples of ``multiple``.

    Reflects the picture; where the picture is too small to reflect, its last row or column is repeated.

    Returns:
        The padded image, and the (height, width) to hand to :func:`crop_to` afterwards.
    """
    size = image.shape[-2], image.shape[-1]
    return pad_columns(_pad(image, -2, multiple), multiple), size


def pad_columns(image: Features, multiple: int) -> Float[Tensor, "b c h w2"]:
    """As :func:`pad_to_multiple`, at the right only."""
    return _pad(image, -1, multiple)


def _pad(image: Tensor, axis: int, multiple: int) -> Tensor:
    missing = -image.shape[axis] % multiple
    while missing:  # reflect gives at most size - 1 new pixels
        step = min(missing, image.shape[axis] - 1)
        if step == 0:
            last = image.narrow(axis, image.shape[axis] - 1, 1)
            shape = list(last.shape)
            shape[axis] = missing
            return torch.cat([image, last.expand(shape)], dim=axis)
        pad = (0, step, 0, 0) if axis == -1 else (0, 0, 0, step)
        image, missing = F.pad(image, pad, mode="reflect"), missing - step
    return image


def crop_to(image: Features, size: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """Undo :func:`pad_to_multiple`: keep the upper left ``size`` = (height, width)."""
    return image[..., : size[0], : size[1]]


def check_multiple(image: Features, multiple: int) -> None:
    """Refuse an image (b c h w) whose sides are not multiples of ``multiple``.

    Raises:
        ValueError: they are not.
    """
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"expected height and width to be multiples of {multiple}, came {height} x {width}; "
            "pad with anyrestore.layers.padding.pad_to_multiple, or use anyrestore.Restorer"
        )
