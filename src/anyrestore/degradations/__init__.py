"""Synthetic degradations: functions of (image, parameters, generator) on batches of float tensors.

Images are float32 (b, 3, h, w), RGB in [0, 1], sRGB-encoded as stored, on any device. A parameter is a
number or a (b,) tensor. Randomness comes in as a `torch.Generator` on the image's device, or one for each
image of the batch (see draws.py); torch's global random state is neither read nor changed. Severity 0 is
the image itself, bit for bit.
"""

from anyrestore.degradations.blur import defocus_blur, gaussian_blur, kernel_blur, motion_blur
from anyrestore.degradations.compose import (
    CDD11_CATEGORIES,
    CDD11_ORDER,
    KINDS,
    Degradation,
    Step,
    cdd11,
    degrade,
    parse_recipe,
)
from anyrestore.degradations.draws import Randomness
from anyrestore.degradations.haze import haze, pseudo_depth
from anyrestore.degradations.jpeg import jpeg
from anyrestore.degradations.low_light import low_light
from anyrestore.degradations.noise import gaussian_noise, poisson_gaussian_noise, quantise8, truncate8
from anyrestore.degradations.rain import rain, render_streaks
from anyrestore.degradations.snow import render_flakes, snow

__all__ = [
    "CDD11_CATEGORIES",
    "CDD11_ORDER",
    "KINDS",
    "Degradation",
    "Randomness",
    "Step",
    "cdd11",
    "defocus_blur",
    "degrade",
    "gaussian_blur",
    "gaussian_noise",
    "haze",
    "jpeg",
    "kernel_blur",
    "low_light",
    "motion_blur",
    "parse_recipe",
    "poisson_gaussian_noise",
    "pseudo_depth",
    "quantise8",
    "rain",
    "render_flakes",
    "render_streaks",
    "snow",
    "truncate8",
]
