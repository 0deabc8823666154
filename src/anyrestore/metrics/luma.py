"""Brightness of a picture, in the two forms that evaluation code uses.

Source: ITU-R BT.601. `luma` is the Y of studio-range YCbCr, 16 for black and 235 for white of 255, as
MATLAB's `rgb2ycbcr` has it; rain tables are measured on it. `grey` is the same weighted sum without head and
foot room, as OpenCV's grey picture; brightness is matched by its mean.
"""

from jaxtyping import Float
from torch import Tensor

__all__ = ["GREY", "LUMA", "grey", "luma"]

LUMA = (65.481, 128.553, 24.966)
"""What full red, green and blue add to 16, of 255."""
GREY = (0.299, 0.587, 0.114)
"""The shares of red, green and blue in grey."""


def luma(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Y of YCbCr (BT.601), not rounded.

    Args:
        image: RGB in [0, 1].

    Returns:
        Values in [16 / 255, 235 / 255], in the image's precision.
    """
    return (_weighted(image, LUMA) + 16.0) / 255.0


def grey(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """The weighted sum of red, green and blue (BT.601): in [0, 1] for RGB in [0, 1]."""
    return _weighted(image, GREY)


def _weighted(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    return (image * image.new_tensor(weights).view(3, 1, 1)).sum(dim=1, keepdim=True)
