"""Full-reference image quality, as functions of two tensors.

Each function takes a batch and returns one value per image, so that a mean is always the
plain mean of per-image values, which is what the literature reports.

There is no function called `ssim` on purpose: three different measures stand under that name
in papers on restoration, and they differ in the third digit (see `anyrestore.metrics.ssim`).
"""

from anyrestore.metrics.colour import colour_shift
from anyrestore.metrics.lpips import Lpips, load_lpips
from anyrestore.metrics.luma import grey, luma
from anyrestore.metrics.ms_ssim import ms_ssim
from anyrestore.metrics.psnr import psnr
from anyrestore.metrics.ssim import ssim_gaussian, ssim_uniform, ssim_wang

__all__ = [
    "Lpips",
    "colour_shift",
    "grey",
    "load_lpips",
    "luma",
    "ms_ssim",
    "psnr",
    "ssim_gaussian",
    "ssim_uniform",
    "ssim_wang",
]
