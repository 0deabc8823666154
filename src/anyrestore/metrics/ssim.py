"""Structural similarity, in the three forms that the restoration literature mixes.

Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to
Structural Similarity", IEEE TIP 2004. With the local mean mu, variance s^2 and covariance s_xy
of two images x and y under a sliding window,

    SSIM = (2 mu_x mu_y + C1) (2 s_xy + C2) / ((mu_x^2 + mu_y^2 + C1) (s_x^2 + s_y^2 + C2)),
    C1 = (0.01 L)^2, C2 = (0.03 L)^2, L = data range,

averaged over all positions where the window lies inside the image, then over the channels.

| function | window | covariance | who reports it |
|---|---|---|---|
| `ssim_uniform` | flat 7 x 7 | sample, n / (n - 1) | scikit-image's default: AirNet, PromptIR, AdaIR |
| `ssim_gaussian` | Gaussian sigma 1.5, 11 x 11 | sample, n / (n - 1) with n = 121 | MoCE-IR |
| `ssim_wang` | Gaussian sigma 1.5, 11 x 11 | population | the 2004 paper, pytorch-msssim: InstructIR |

The unusual part is the second row: scikit-image scales a *weighted* covariance by n / (n - 1) as
if the weights were equal. It is no estimator of anything, but it is what was published.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["ssim_gaussian", "ssim_uniform", "ssim_wang"]

K1, K2 = 0.01, 0.03


def ssim_uniform(
    output: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], *, data_range: float = 1.0
) -> Float64[Tensor, " b"]:
    """SSIM under a flat 7 x 7 window with sample covariance, for each image of a batch.

    The same as scikit-image's `structural_similarity(x, y, channel_axis=..., data_range=L)`.

    Args:
        output: What is judged; not clamped here.
        target: What it should be, on the same scale.
        data_range: L, the distance between black and white.

    Returns:
        One value per image, in float64; 1 where the two are equal.

    Raises:
        ValueError: A side of the image is shorter than the window.
    """
    return _ssim(output, target, _uniform_window(7), sample_covariance=True, data_range=data_range)


def ssim_gaussian(
    output: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], *, data_range: float = 1.0
) -> Float64[Tensor, " b"]:
    """SSIM under an 11 x 11 Gaussian window with scikit-image's sample covariance.

    The same as `structural_similarity(x, y, gaussian_weights=True, sigma=1.5, channel_axis=...,
    data_range=L)`, whose `use_sample_covariance` is true unless it is switched off.

    Args:
        output: What is judged; not clamped here.
        target: What it should be, on the same scale.
        data_range: L, the distance between black and white.

    Returns:
        One value per image, in float64; 1 where the two are equal.

    Raises:
        ValueError: A side of the image is shorter than the window.
    """
    return _ssim(output, target, _gaussian_window(5, 1.5), sample_covariance=True, data_range=data_range)


def ssim_wang(
    output: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], *, data_range: float = 1.0
) -> Float64[Tensor, " b"]:
    """SSIM under an 11 x 11 Gaussian window with population covariance, as the 2004 paper has it.

    Args:
        output: What is judged; not clamped here.
        target: What it should be, on the same scale.
        data_range: L, the distance between black and white.

    Returns:
        One value per image, in float64; 1 where the two are equal.

    Raises:
        ValueError: A side of the image is shorter than the window.
    """
    return _ssim(output, target, _gaussian_window(5, 1.5), sample_covariance=False, data_range=data_range)


def _uniform_window(size: int) -> list[float]:
    return [1.0 / size] * size


def _gaussian_window(radius: int, sigma: float) -> list[float]:
    weights = [math.exp(-(t**2) / (2.0 * sigma**2)) for t in range(-radius, radius + 1)]
    return [weight / math.fsum(weights) for weight in weights]


def _ssim(x: Tensor, y: Tensor, window: list[float], *, sample_covariance: bool, data_range: float) -> Tensor:
    size = len(window)
    h, w = x.shape[-2:]
    if min(h, w) < size:
        raise ValueError(
            f"SSIM needs images of at least {size} x {size} pixels, got {h} x {w}; measure PSNR instead."
        )
    n = size * size
    scale = n / (n - 1) if sample_covariance else 1.0
    # Plane by plane, because one plane and its moments stay in the processor's cache.
    planes = zip(x.flatten(0, 1), y.flatten(0, 1), strict=True)
    values = [_ssim_of_plane(a, b, window, scale, data_range) for a, b in planes]
    return torch.stack(values).view(x.shape[0], x.shape[1]).mean(dim=1)


def _ssim_of_plane(x: Tensor, y: Tensor, window: list[float], scale: float, data_range: float) -> Tensor:
    # float64: s^2 is a difference of two nearly equal numbers in flat regions.
    x, y = x.to(torch.float64), y.to(torch.float64)
    mu_x, mu_y = _local_mean(x, window), _local_mean(y, window)
    var_x = scale * (_local_mean(x * x, window) - mu_x * mu_x)
    var_y = scale * (_local_mean(y * y, window) - mu_y * mu_y)
    cov = scale * (_local_mean(x * y, window) - mu_x * mu_y)

    C1, C2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    numerator = (2.0 * mu_x * mu_y + C1) * (2.0 * cov + C2)
    denominator = (mu_x * mu_x + mu_y * mu_y + C1) * (var_x + var_y + C2)
    return (numerator / denominator).mean()


def _local_mean(plane: Tensor, window: list[float]) -> Tensor:
    """The weighted mean under the window, row by column, where it lies inside the (h, w) plane.

    Adding shifted copies took 21 ms where a float64 conv2d took 384 ms (15 planes of 480 x 320, one core).
    """
    for dim in (1, 0):
        length = plane.shape[dim] - len(window) + 1
        total = plane.narrow(dim, 0, length) * window[0]
        for k, weight in enumerate(window[1:], start=1):
            total.add_(plane.narrow(dim, k, length), alpha=weight)
        plane = total
    return plane
