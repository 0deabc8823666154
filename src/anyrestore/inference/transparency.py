"""Colours under fully transparent pixels: kept from bleeding into what is seen.

The colour of a pixel with alpha 0 is never shown and is often arbitrary (black, a matte, left-overs), but a
network sees it and would carry it across the edge. It is replaced before the model by the surrounding visible
colour, found by pull-push interpolation (Gortler et al., "The Lumigraph", 1996, section 3.3.2): average the
visible pixels at ever coarser levels, then fill every level's holes from the next coarser one.

Unusual: the finest levels are made band by band, twice, and only the rest of the whole picture, so that no
more than a few rows exist in float32. The result is the same: a pixel of a level comes from 2 x 2 of the one
below.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore import image
from anyrestore.image import Pixels

_LEVELS = 6
"""Levels, below the picture itself, that are made band by band."""


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
    bands = [slice(top, top + (1 << _LEVELS)) for top in range(0, len(pixels), 1 << _LEVELS)]

    def levels(rows: slice) -> list[tuple[Tensor, Tensor]]:
        """Colours and where they are visible, from the band itself to its one row of the coarsest level."""
        visible = torch.as_tensor(~hidden[rows])[None, None].to(torch.float32)
        found = [(image.to_tensor(pixels[rows]), visible)]
        for _ in range(_LEVELS):
            found.append(_pull(*found[-1]))
        return found

    colours, visibles = zip(*(levels(rows)[-1] for rows in bands), strict=True)
    coarsest = fill(torch.cat(colours, dim=2), torch.cat(visibles, dim=2))
    filled = pixels.copy()
    for i, rows in enumerate(bands):
        if not hidden[rows].any():
            continue
        coarse = coarsest[:, :, i : i + 1]
        for colour, visible in levels(rows)[-2::-1]:
            coarse = _push(colour, visible, coarse)
        filled[rows][hidden[rows]] = image.from_tensor(coarse, pixels[rows])[hidden[rows]]
    return filled


def fill(colour: Float[Tensor, "b c h w"], visible: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
    """Fill the holes of `colour`, where `visible` is 0, by pull-push interpolation; it is 1 elsewhere."""
    if bool(visible.all()) or max(colour.shape[-2:]) == 1:
        return colour
    return _push(colour, visible, fill(*_pull(colour, visible)))


def _pull(colour: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over the visible ones of each 2 x 2 pixels; what lies beyond the border is not visible."""
    pad = (0, colour.shape[-1] % 2, 0, colour.shape[-2] % 2)
    weight = F.avg_pool2d(F.pad(visible, pad), 2)
    total = F.avg_pool2d(F.pad(colour * visible, pad), 2)
    return total / weight.clamp_min(1 / 4), (weight > 0).to(colour.dtype)


def _push(colour: Tensor, visible: Tensor, coarse: Tensor) -> Tensor:
    """The holes take the coarser level's colour."""
    finer = F.interpolate(coarse, scale_factor=2, mode="nearest")[..., : colour.shape[-2], : colour.shape[-1]]
    return torch.where(visible > 0, colour, finer)
