"""LPIPS: the distance of two pictures in the features of a network that was trained to name objects.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
with VGG-16 and the paper's linear weights, as MoCE-IR's evaluation computes it: by torchmetrics (Apache-2.0),
which brings the linear weights and takes VGG-16 from torchvision (BSD).

Unusual: it is an extra (`anyrestore[lpips]`), and VGG-16's weights (528 MB) are fetched by torchvision on
first use, into torch's own cache (TORCH_HOME). Smaller is better.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anyrestore.errors import ModelError

__all__ = ["Lpips", "load_lpips"]

Lpips = Callable[[Tensor, Tensor], float]
"""(output, target), both (1, 3, h, w) RGB in [0, 1] -> the distance."""


def load_lpips() -> Lpips:
    """LPIPS with VGG-16, ready to be called.

    Raises:
        ModelError: what it needs is not installed, or VGG-16's weights cannot be fetched (code `no_lpips`).
    """
    try:
        # torchmetrics asks for torchvision only when the measure is made.
        importlib.import_module("torchvision")
        package: Any = importlib.import_module("torchmetrics.image.lpip")
    except (ImportError, RuntimeError) as error:  # a torchvision that was built for another torch
        raise ModelError(
            'LPIPS needs the extra "lpips", and a torchvision that fits the installed torch; install them '
            'with: pip install "anyrestore[lpips]"',
            code="no_lpips",
        ) from error
    try:
        measure = package.LearnedPerceptualImagePatchSimilarity(
            net_type="vgg", normalize=True, reduction="mean"
        )
    except (OSError, RuntimeError) as error:  # no network, or a file that is not the one expected
        raise ModelError(
            "the weights of VGG-16 for LPIPS cannot be fetched; put vgg16-397923af.pth into the folder "
            "checkpoints of torch's hub cache (TORCH_HOME), or leave LPIPS out",
            code="no_lpips",
        ) from error

    def distance(output: Tensor, target: Tensor) -> float:
        # `forward` gives the value of this pair alone, whatever was measured before.
        with torch.inference_mode():
            return float(measure(output.float().clamp(0.0, 1.0), target.float().clamp(0.0, 1.0)))

    return distance
