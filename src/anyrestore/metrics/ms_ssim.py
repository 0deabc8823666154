"""Multi-scale structural similarity, differentiable.

Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", Asilomar
2003. With the contrast-structure term cs and the luminance term l of the 2004 SSIM (11 x 11 Gaussian window
of 1.5 px, population covariance, windows inside the image), scale 1 the image itself, and every further scale
the one before it averaged over 2 x 2 pixels:

    MS-SSIM = l_M^w_M * prod_j cs_j^w_j,   w = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333

per colour channel, then averaged over the channels.

Unusual: an image too small for five scales (below 176 px) gets as many as fit its shorter side, and the
weights of those are divided by their sum; a 128 px crop has four. Moments are taken about the target's own
mean, so that variances in float32 are not differences of large numbers. Terms below 1e-4 count as 1e-4:
negative correlation has no real root, and the root's slope at 0 is infinite.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore.metrics.ssim import K1, K2

__all__ = ["WEIGHTS", "ms_ssim"]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIZE, _SIGMA = 11, 1.5
_LEAST = 1e-4


def ms_ssim(
    output: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], *, data_range: float = 1.0
) -> Float[Tensor, " b"]:
    """MS-SSIM of every image of a batch, in (0, 1]; gradients flow to ``output``.

    Args:
        output: What is judged; not clamped here.
        target: What it should be, on the same scale.
        data_range: The distance between black and white: 1 for images in [0, 1].

    Returns:
        One value per image, in the images' precision, at least float32; 1 where the two are equal.

    Raises:
        ValueError: A side of the image is shorter than the window's 11 px.
    """
    side = min(output.shape[-2:])
    scales = min(len(WEIGHTS), int(math.log2(side / _SIZE)) + 1) if side >= _SIZE else 0
    if scales == 0:
        raise ValueError(f"MS-SSIM needs images of at least {_SIZE} x {_SIZE} pixels, got a side of {side}")
    weights = [weight / math.fsum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales]]
    x, y = (image if image.dtype == torch.float64 else image.float() for image in (output, target))
    mean = y.detach().mean(dim=(2, 3), keepdim=True)
    x, y = x - mean, y - mean
    result = x.new_ones(x.shape[:2])
    for scale, weight in enumerate(weights, start=1):
        luminance, structure = _terms(x, y, mean, data_range)
        result = result * structure.clamp_min(_LEAST) ** weight
        if scale == scales:
            result = result * luminance.clamp_min(_LEAST) ** weight
        else:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return result.mean(dim=1)


def _terms(x: Tensor, y: Tensor, mean: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """The means of l and cs over every (h, w) plane; ``x`` and ``y`` are given less ``mean``."""
    moments = _blurred(torch.cat([x, y, x * x, y * y, x * y], dim=1))
    mu_x, mu_y, xx, yy, xy = moments.chunk(5, dim=1)
    C1, C2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    structure = (2 * (xy - mu_x * mu_y) + C2) / ((xx - mu_x * mu_x) + (yy - mu_y * mu_y) + C2)
    mu_x, mu_y = mu_x + mean, mu_y + mean
    luminance = (2 * mu_x * mu_y + C1) / (mu_x * mu_x + mu_y * mu_y + C1)
    return luminance.mean(dim=(2, 3)), structure.mean(dim=(2, 3))


def _blurred(planes: Tensor) -> Tensor:
    """Every plane's weighted mean under the window, where it lies inside."""
    t = torch.arange(_SIZE, dtype=planes.dtype, device=planes.device) - _SIZE // 2
    window = torch.exp(-(t**2) / (2 * _SIGMA**2))
    window = window / window.sum()
    b, c, h, w = planes.shape
    rows = F.conv2d(planes.reshape(b * c, 1, h, w), window.view(1, 1, 1, -1))
    return F.conv2d(rows, window.view(1, 1, -1, 1)).view(b, c, h - _SIZE + 1, w - _SIZE + 1)
