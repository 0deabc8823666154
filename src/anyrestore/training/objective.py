"""What training minimises: a weighted sum of differences, per image, and how unequal images are balanced.

With x the restored and y the clean image, in [0, 1], means over all values of an image:

    l1           mean |x - y|
    charbonnier  mean sqrt((x - y)^2 + eps^2)                      (Lai et al. 2017; eps 1e-3)
    fourier      mean |stack(Re, Im of rfft2(x)) - stack(Re, Im of rfft2(y))|, transform un-normalised
    ms_ssim      1 - MS-SSIM(x, y)                                 (see anyrestore.metrics.ms_ssim)

The Fourier term is MoCE-IR's (arXiv 2411.18466), which CEA-IR (arXiv 2605.06127, equations 10 and 11) takes
over, weight 0.1. Terms of a model's own (``Loss.auxiliary``) are added by the loop, which runs the model.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.metrics.ms_ssim import ms_ssim
from anyrestore.training.run import Loss
from anyrestore.types import Image

PerImage = Float[Tensor, "b"]


def l1(restored: Image, clean: Image) -> PerImage:
    """Mean absolute difference of every image of the batch."""
    return (restored - clean).abs().mean(dim=(1, 2, 3))


def charbonnier(restored: Image, clean: Image, eps: float = 1e-3) -> PerImage:
    """Mean of sqrt(difference^2 + eps^2) of every image: L1 with a rounded tip; ``eps`` at equal images."""
    return torch.sqrt((restored - clean).square() + eps**2).mean(dim=(1, 2, 3))


def fourier_l1(restored: Image, clean: Image) -> PerImage:
    """Mean absolute difference of real and imaginary parts of rfft2, un-normalised, per image."""
    # The transform is linear: one of the difference is the difference of two. torch's stub leaves it untyped.
    spectrum = cast("Tensor", torch.fft.rfft2(restored - clean))  # pyright: ignore[reportUnknownMemberType]
    difference = torch.view_as_real(spectrum)
    return difference.abs().mean(dim=(1, 2, 3, 4))


def image_losses(restored: Image, clean: Image, loss: Loss) -> PerImage:
    """The weighted sum of the image terms of ``loss``, per image; terms of weight 0 are not computed.

    Args:
        restored: the network's output, not clamped; half precision is computed in float32.
        clean: what it should be.
        loss: the weights; its auxiliary and balancing parts are not used here.
    """
    restored, clean = (
        image if image.dtype == torch.float64 else image.float() for image in (restored, clean)
    )
    total = restored.new_zeros(len(restored))
    if loss.l1:
        total = total + loss.l1 * l1(restored, clean)
    if loss.charbonnier:
        total = total + loss.charbonnier * charbonnier(restored, clean, loss.charbonnier_eps)
    if loss.fourier:
        total = total + loss.fourier * fourier_l1(restored, clean)
    if loss.ms_ssim:
        total = total + loss.ms_ssim * (1 - ms_ssim(restored, clean))
    return total


def balance(
    losses: PerImage,
    how: Literal["none", "log"] = "none",
    *,
    weights: PerImage | None = None,
    floor: float = 0.1,
) -> Float[Tensor, ""]:
    """One number from the losses of a batch of mixed degradations.

    Args:
        losses: per image.
        how: "none" is the mean, the papers' rule. "log" is the mean of ``log(loss + floor)``: every image's
            gradient is divided by its own loss, so that a dark image (whose error is ten times that of a
            noisy one) does not set the direction of the whole batch.
        weights: of every image, by its task; None is 1 for all.
        floor: keeps the gradient of an image that is already restored bounded.
    """
    balanced = losses if how == "none" else torch.log(losses + floor)
    return balanced.mean() if weights is None else (weights * balanced).mean()
