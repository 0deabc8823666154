"""Colours under fully transparent pixels: kept from bleeding into what is seen.

The colour of a pixel with alpha 0 is never shown and is often arbitrary (black, a matte, left-overs), but a
network sees it and would carry it across the edge. It is replaced before the model by the surrounding visible
colour, found by pull-push interpolation (Gortler et al., "The Lumigraph", 1996, section 3.3.2): average the
visible pixels at ever coarser levels, then fill every level's holes from the next coarser one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore import image
from anyrestore.image import Pixels


def conceal(pixels: Pixels, alpha: Pixels) -> Pixels:
    """`pixels` with the colour under alpha 0 replaced by the surrounding visible colour.

    Args:
        pixels: H x W x 3 or H x W; not changed.
        alpha: H x W.

    Returns:
        `pixels` itself where no pixel or every pixel is fully transparent, else a changed copy.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    visible = torch.as_tensor(~hidden)[None, None].to(torch.float32)
    filled = image.from_tensor(fill(image.to_tensor(pixels), visible), pixels)
    filled[~hidden] = pixels[~hidden]
    return filled


def fill(colour: Float[Tensor, "b c h w"], visible: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
    """Fill the holes of `colour`, where `visible` is 0, by pull-push interpolation; it is 1 elsewhere."""
    if bool(visible.all()) or max(colour.shape[-2:]) == 1:
        return colour
    # Pull: the mean over the visible ones of each 2 x 2 pixels; what lies beyond the border is not visible.
    pad = (0, colour.shape[-1] % 2, 0, colour.shape[-2] % 2)
    weight = F.avg_pool2d(F.pad(visible, pad), 2)
    total = F.avg_pool2d(F.pad(colour * visible, pad), 2)
    seen = (weight > 0).to(colour.dtype)
    coarse = fill(total / weight.clamp_min(1 / 4), seen)
    # Push: the holes take the coarser level's colour.
    finer = F.interpolate(coarse, scale_factor=2, mode="nearest")[..., : colour.shape[-2], : colour.shape[-1]]
    return torch.where(visible > 0, colour, finer)
