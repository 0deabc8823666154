"""Maps laid over the picture that they were read from: which of them is strongest where, in colours.

Plain arithmetic on tensors, for those who have no matplotlib at hand; the sheets of `figures.py` say more.
Every map has a colour; a pixel has that of the map that is strongest there, the fuller the further it is
ahead of the next. Brightness is the picture's own, so that one sees where one is.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore.inspection.looking import Findings
from anyrestore.inspection.views import Maps
from anyrestore.types import Image

#: RGB in [0, 1]: the colour-blind safe palette of Okabe and Ito, violet for its black; CEA-IR has eight maps.
PALETTE = (
    (0.00, 0.45, 0.70),
    (0.90, 0.62, 0.00),
    (0.00, 0.62, 0.45),
    (0.84, 0.37, 0.00),
    (0.34, 0.71, 0.91),
    (0.80, 0.47, 0.65),
    (0.94, 0.89, 0.26),
    (0.45, 0.30, 0.85),
)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def finest_maps(findings: Findings) -> Maps | None:
    """Of several maps the last that has the most pixels; None where there are none to choose from."""
    found = [view for view in findings.views if isinstance(view, Maps) and len(view.labels) > 1]
    largest = max((view.values[0].numel() for view in found), default=0)
    return next((view for view in reversed(found) if view.values[0].numel() == largest), None)


def paint(maps: Maps, picture: Image) -> Float[Tensor, "1 3 h w"]:
    """The picture in grey, coloured by the map that is strongest at each pixel.

    Args:
        maps: two or more over the whole picture, at any resolution.
        picture: (1 3 h w), RGB in [0, 1], on the CPU.

    Returns:
        RGB in [0, 1], of the picture's size.
    """
    strength = maps.values.abs() if maps.signed else maps.values
    # What a map has everywhere says nothing of places.
    strength = strength / strength.mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    size = (picture.shape[-2], picture.shape[-1])
    strength = F.interpolate(strength[None], size=size, mode="bilinear")[0]
    ranked = strength.topk(2, dim=0)
    lead = ranked.values[0] - ranked.values[1]
    full = torch.quantile(lead.flatten()[:: max(lead.numel() // 10_000, 1)], 0.9).clamp_min(1e-12)
    share = (0.2 + 0.8 * (lead / full).clamp(0, 1))[None, None]
    colours = torch.tensor(PALETTE)[ranked.indices[0] % len(PALETTE)].permute(2, 0, 1)[None]
    grey = (picture * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True).clamp(0, 1)
    tinted = (0.25 + 0.75 * grey) * colours * 1.25
    return (share * tinted + (1 - share) * grey).clamp(0, 1)
