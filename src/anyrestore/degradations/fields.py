"""Smooth maps that haze and low light are made of: random low-frequency fields, edge-keeping smoothing.

Sources: value noise (a coarse random grid, interpolated); the self-guided filter of He, Sun and Tang,
"Guided Image Filtering", ECCV 2010, with the image as its own guide.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.draws import Randomness, rand

__all__ = ["guided_smooth", "smooth_noise"]


def smooth_noise(
    image: Float[Tensor, "b c h w"], cells: int, generator: Randomness
) -> Float[Tensor, "b 1 h w"]:
    """A random field in [0, 1] of about `cells` waves over the picture, whatever its size in pixels."""
    b, _, h, w = image.shape
    grid = rand((b, 1, cells, cells), generator, image)
    return F.interpolate(grid, size=(h, w), mode="bicubic", align_corners=True).clamp(0, 1)


def guided_smooth(plane: Float[Tensor, "b 1 h w"], radius: int, eps: float) -> Float[Tensor, "b 1 h w"]:
    """Smooth `plane`, keeping the edges whose local variance is well above `eps`.

    With I the plane, and means over windows of (2 radius + 1)^2 pixels (fewer at the border)::

        a = var(I) / (var(I) + eps)        b = (1 - a) mean(I)        q = mean(a) I + mean(b)

    Args:
        plane: In [0, 1].
        radius: In pixels.
        eps: A variance on the [0, 1] scale; 0.01 keeps edges of more than about 0.1.

    Returns:
        In [0, 1] up to rounding, and clamped to it.
    """
    i = plane
    mean_i = _box_mean(i, radius)
    var = (_box_mean(i * i, radius) - mean_i * mean_i).clamp(min=0)
    a = var / (var + eps)
    b = (1 - a) * mean_i
    return (_box_mean(a, radius) * i + _box_mean(b, radius)).clamp(0, 1)


def _box_mean(plane: Tensor, radius: int) -> Tensor:
    """Means over square windows, cut off at the border.

    Differences of running sums: the cost does not grow with the window, which spans hundreds of pixels
    on a large photograph.
    """
    for axis in (-2, -1):
        size = plane.shape[axis]
        here = torch.arange(size, device=plane.device)
        low, high = (here - radius).clamp(min=0), (here + radius + 1).clamp(max=size)
        total = torch.cat([torch.zeros_like(plane.narrow(axis, 0, 1)), plane.cumsum(axis)], dim=axis)
        count = (high - low).view((-1, 1) if axis == -2 else (-1,))
        plane = (total.index_select(axis, high) - total.index_select(axis, low)) / count
    return plane
