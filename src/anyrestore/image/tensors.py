"""Between a picture's array and a network's tensor."""

# torch.from_numpy carries no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.errors import InputError
from anyrestore.image.picture import Pixels, check_array


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
    check_array(pixels)
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
    check_array(like)
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
