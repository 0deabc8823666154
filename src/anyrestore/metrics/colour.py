"""Colour shift: how far the mean colour of a picture has moved, apart from all detail.

Source: CIEDE2000, in the form of Sharma, Wu and Dalal, "The CIEDE2000 Color-Difference Formula:
Implementation Notes, Supplementary Test Data, and Mathematical Observations", Color Research and
Application 2005, with k_L = k_C = k_H = 1; sRGB (IEC 61966-2-1) to CIELAB under D65.

Unusual: it is the difference of two *mean colours*, one of each picture, and not the mean over pixels of
their differences. Noise, blur and lost detail hardly move a mean; a tint or another brightness does. The mean
is taken of sRGB values as they are stored, where noise and blur of the benchmarks work, and turned into
CIELAB then: a mean of L* would be moved by noise in the dark.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["ciede2000", "colour_shift", "srgb_to_lab"]

# Linear RGB to XYZ; white is (1, 1, 1) through it, so that grey has no colour at all.
_TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_EDGE = 6.0 / 29.0
_25_TO_THE_7 = 25.0**7


def colour_shift(output: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float64[Tensor, " b"]:
    """CIEDE2000 between the mean colours of output and target, for each image of a batch.

    Args:
        output: What is judged, sRGB in [0, 1].
        target: What it should be.

    Returns:
        One value per image: 0 for the same mean colour; about 1 is where a trained eye begins to see a
        difference between two patches; black and white are 100 apart.
    """
    means = [image.mean(dim=(2, 3), dtype=torch.float64).clamp(0.0, 1.0) for image in (output, target)]
    return ciede2000(*map(srgb_to_lab, means))


def srgb_to_lab(colours: Float64[Tensor, "n 3"]) -> Float64[Tensor, "n 3"]:
    """CIELAB under D65 of sRGB colours in [0, 1]: L* in [0, 100], a* and b* about -110 to 110."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    matrix = colours.new_tensor(_TO_XYZ)
    xyz = linear @ (matrix / matrix.sum(dim=1, keepdim=True)).T
    f = torch.where(xyz > _EDGE**3, xyz ** (1 / 3), xyz / (3 * _EDGE**2) + 4 / 29)
    x, y, z = f.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def ciede2000(first: Float64[Tensor, "n 3"], second: Float64[Tensor, "n 3"]) -> Float64[Tensor, " n"]:
    """The difference of CIELAB colours, with the names of Sharma's equations.

    Args:
        first: L*, a*, b*.
        second: The same; the difference is symmetric.
    """
    (L1, a1, b1), (L2, a2, b2) = first.unbind(dim=1), second.unbind(dim=1)
    G = 0.5 * (1 - _saturation((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2))
    a1, a2 = (1 + G) * a1, (1 + G) * a2
    C1, C2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = _hue(a1, b1), _hue(a2, b2)
    grey = C1 * C2 == 0  # has no hue, so the other's counts alone
    turn = (h2 - h1 + 180) % 360 - 180
    dL, dC = L2 - L1, C2 - C1
    dH = 2 * torch.sqrt(C1 * C2) * torch.sin(torch.deg2rad(turn) / 2)
    L_mean, C_mean = (L1 + L2) / 2, (C1 + C2) / 2
    h = torch.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    T = 1 - 0.17 * _cos(h - 30) + 0.24 * _cos(2 * h) + 0.32 * _cos(3 * h + 6) - 0.20 * _cos(4 * h - 63)
    S_L = 1 + 0.015 * (L_mean - 50) ** 2 / torch.sqrt(20 + (L_mean - 50) ** 2)
    S_C = 1 + 0.045 * C_mean
    S_H = 1 + 0.015 * C_mean * T
    rotation = 60 * torch.exp(-(((h - 275) / 25) ** 2))  # twice delta theta
    R_T = -torch.sin(torch.deg2rad(rotation)) * 2 * _saturation(C_mean)
    L, C, H = dL / S_L, dC / S_C, dH / S_H
    return torch.sqrt((L * L + C * C + H * H + R_T * C * H).clamp_min(0.0))


def _saturation(chroma: Tensor) -> Tensor:
    return torch.sqrt(chroma**7 / (chroma**7 + _25_TO_THE_7))


def _hue(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg(torch.atan2(b, a)) % 360


def _cos(degrees: Tensor) -> Tensor:
    return torch.cos(torch.deg2rad(degrees))
