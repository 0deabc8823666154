"""What training minimises: L1 plus a Fourier L1, per image, and how unequal images are balanced.

The Fourier term is MoCE-IR's (arXiv 2411.18466), which CEA-IR (arXiv 2605.06127, equations 10 and 11) takes
over: mean absolute difference of the real and imaginary parts of an un-normalised rfft2, weight 0.1.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.types import Image

PerImage = Float[Tensor, "b"]
Balance = Literal["none", "log"]


def l1(restored: Image, clean: Image) -> PerImage:
    """Mean absolute difference of every image of the batch."""
    return (restored - clean).abs().mean(dim=(1, 2, 3))


def fourier_l1(restored: Image, clean: Image) -> PerImage:
    """Mean absolute difference of real and imaginary parts of rfft2, un-normalised, per image."""
    # The transform is linear: one of the difference is the difference of two. torch's stub leaves it untyped.
    spectrum = cast("Tensor", torch.fft.rfft2(restored - clean))  # pyright: ignore[reportUnknownMemberType]
    difference = torch.view_as_real(spectrum)
    return difference.abs().mean(dim=(1, 2, 3, 4))


def reconstruction(restored: Image, clean: Image, fourier_weight: float = 0.1) -> PerImage:
    """``l1 + fourier_weight * fourier_l1``, per image."""
    loss = l1(restored, clean)
    return loss + fourier_weight * fourier_l1(restored, clean) if fourier_weight else loss


def balance(
    losses: PerImage, how: Balance = "none", *, weights: PerImage | None = None, floor: float = 0.1
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
