"""Blur: camera or object motion, defocus, Gaussian, and any given kernel.

All of them are y = k * x (convolution, not correlation: a point becomes the kernel as it is drawn),
k >= 0 with sum 1. Borders are mirrored; where the image is smaller than the kernel's reach, and so
cannot be mirrored, its edge is repeated. Sources: the uniform line of linear motion and the uniform
disk of a defocused circular aperture are the textbook kernels (Gonzalez and Woods, "Digital Image
Processing", chapter 5). What is unusual: line and disk are one shape here, a round-capped stroke with
antialiased rim, so that length and radius act continuously; rain streaks and snowflakes use it too.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.parameters import keep_clean, per_sample
from anyrestore.errors import UsageError

__all__ = [
    "convolve",
    "defocus_blur",
    "gaussian_blur",
    "kernel_blur",
    "motion_blur",
    "stroke",
    "stroke_reach",
]


def stroke(
    length: Float[Tensor, " b"],
    angle: Float[Tensor, " b"],
    radius: Float[Tensor, " b"],
    *,
    taper: float = 0.0,
) -> Float[Tensor, "b k l"]:
    """A round-capped line through the centre, one for each item, antialiased, its peak at most 1.

    With d the distance of a pixel's centre to the line segment, and a in [-length / 2, length / 2] how
    far along the segment its nearest point lies::

        w = clip(radius + 1/2 - d, 0, 1) (1 - taper (2 a / length)^2)

    Args:
        length: Of the segment, in pixels; 0 is a disk.
        angle: In degrees, counterclockwise from the x-axis: 90 is vertical.
        radius: Half the line's thickness, in pixels.
        taper: How much fainter the ends are than the middle, in [0, 1].

    Returns:
        (b, k, l), odd sizes, just large enough for the largest of the batch.
    """
    half = length / 2
    dx, dy = torch.cos(torch.deg2rad(angle)), -torch.sin(torch.deg2rad(angle))  # y points down
    reaches = stroke_reach(length, angle, radius)
    reach_y, reach_x = max(y for y, _ in reaches), max(x for _, x in reaches)
    x = torch.arange(-reach_x, reach_x + 1, device=length.device, dtype=length.dtype).view(1, 1, -1)
    y = torch.arange(-reach_y, reach_y + 1, device=length.device, dtype=length.dtype).view(1, -1, 1)
    half, dx, dy, radius = (v.view(-1, 1, 1) for v in (half, dx, dy, radius))
    a = torch.minimum(torch.maximum(x * dx + y * dy, -half), half)
    d = torch.hypot(x - a * dx, y - a * dy)
    # A segment of length 0 has a = 0 everywhere; the floor keeps it from dividing.
    w = (radius + 0.5 - d).clamp(0, 1) * (1 - taper * (a / half.clamp(min=1e-6)) ** 2)
    if len(set(reaches)) == 1:
        return w
    # What an item would be cut off at alone, it is cut off at in company.
    own = length.new_tensor(reaches).view(-1, 2, 1, 1)
    return w * ((y.abs() <= own[:, 0]) & (x.abs() <= own[:, 1]))


def stroke_reach(
    length: Float[Tensor, " b"], angle: Float[Tensor, " b"], radius: Float[Tensor, " b"]
) -> list[tuple[int, int]]:
    """How many pixels above (and below) and left (and right) of its centre every stroke extends.

    Computed item by item: an item's reach must not hang on the last bit of a batched cosine.
    """
    reaches = list[tuple[int, int]]()
    for item in torch.stack([length, angle, radius], dim=1).cpu():
        long, turn, thick = (float(number) for number in item)
        # A pixel counts while d < radius + 1/2; the small number keeps a reach of exactly 1 from becoming 2.
        rim = thick + 0.5 - 1e-4
        x = long / 2 * abs(math.cos(math.radians(turn)))
        y = long / 2 * abs(math.sin(math.radians(turn)))
        reaches.append((math.floor(y + rim), math.floor(x + rim)))
    return reaches


def convolve(
    image: Float[Tensor, "b c h w"], kernels: Float[Tensor, "b k l"]
) -> Float[Tensor, "b c h_valid w_valid"]:
    """Convolve every image with its own kernel where the kernel fits wholly (no padding)."""
    b, c, h, w = image.shape
    weight = kernels.flip(1, 2).repeat_interleave(c, dim=0).unsqueeze(1)
    out = F.conv2d(image.reshape(1, b * c, h, w), weight, groups=b * c)
    return out.view(b, c, out.shape[-2], out.shape[-1])


def kernel_blur(
    image: Float[Tensor, "b 3 h w"], kernels: Float[Tensor, "k l"] | Float[Tensor, "n k l"]
) -> Float[Tensor, "b 3 h w"]:
    """Blur with given kernels (measured camera shake, say): y = k * x, k divided by its sum first.

    Args:
        image: RGB in [0, 1].
        kernels: One kernel (k, l) for all or one for each image (b, k, l); odd sizes, not negative.

    Returns:
        The blurred image, same size.

    Raises:
        UsageError: A size is even, the number of kernels is not the batch's, or a kernel sums to 0.
    """
    if kernels.ndim == 2:
        kernels = kernels.expand(image.shape[0], -1, -1)
    _, k, l = kernels.shape  # noqa: E741 - the letter of the shape
    if k % 2 == 0 or l % 2 == 0 or kernels.shape[0] != image.shape[0]:
        raise UsageError(
            f"kernels must have odd sizes and be one, or one for each of the {image.shape[0]} images; "
            f"got shape {tuple(kernels.shape)}."
        )
    total = kernels.sum(dim=(1, 2), keepdim=True)
    if bool((kernels < 0).any()) or not bool((total > 0).all()):
        raise UsageError(
            "kernels must not be negative and must not sum to 0; give one weight above 0 at least."
        )
    padded = _pad_axis(_pad_axis(image, k // 2, vertical=True), l // 2, vertical=False)
    # Sums of weights may exceed 1 by a rounding error, and so may white.
    return convolve(padded, kernels / total).clamp(0, 1)


def motion_blur(
    image: Float[Tensor, "b 3 h w"],
    length: float | Float[Tensor, " b"],
    angle: float | Float[Tensor, " b"],
) -> Float[Tensor, "b 3 h w"]:
    """Blur by uniform linear motion during the exposure.

    Args:
        image: RGB in [0, 1].
        length: The path in pixels, at least 1; 1 is no motion and the image itself, bit for bit.
        angle: Of the path in degrees, counterclockwise from the x-axis; 0 is horizontal.

    Returns:
        The blurred image, same size.

    Raises:
        UsageError: `length` is below 1, or a parameter has the wrong length.
    """
    length = per_sample(length, image, name="length", low=1.0)
    angle = per_sample(angle, image, name="angle", low=-float("inf"))
    kernels = stroke(length - 1, angle, torch.full_like(length, 0.5))
    return keep_clean(image, kernel_blur(image, kernels), length - 1)


def defocus_blur(
    image: Float[Tensor, "b 3 h w"], radius: float | Float[Tensor, " b"]
) -> Float[Tensor, "b 3 h w"]:
    """Blur by a lens out of focus: a uniform disk with an antialiased rim.

    Args:
        image: RGB in [0, 1].
        radius: In pixels, not negative; 0 is the image itself, bit for bit, up to 1/2 there is no blur.

    Returns:
        The blurred image, same size.

    Raises:
        UsageError: `radius` is negative or has the wrong length.
    """
    radius = per_sample(radius, image, name="radius")
    zero = torch.zeros_like(radius)
    return keep_clean(image, kernel_blur(image, stroke(zero, zero, radius)), radius)


def gaussian_blur(
    image: Float[Tensor, "b 3 h w"], sigma: float | Float[Tensor, " b"]
) -> Float[Tensor, "b 3 h w"]:
    """Gaussian blur, k(x, y) proportional to exp(-(x^2 + y^2) / (2 sigma^2)) for |x|, |y| <= ceil(3 sigma).

    Args:
        image: RGB in [0, 1].
        sigma: In pixels, not negative; 0 is the image itself, bit for bit.

    Returns:
        The blurred image, same size.

    Raises:
        UsageError: `sigma` is negative or has the wrong length.
    """
    sigma = per_sample(sigma, image, name="sigma")
    reach = torch.ceil(3 * sigma)  # each image's own, so that a batch equals its items one by one
    widest = int(reach.max())
    x = torch.arange(-widest, widest + 1, device=image.device, dtype=image.dtype)
    k = torch.exp(-(x**2) / (2 * sigma.clamp(min=1e-3).view(-1, 1) ** 2)) * (x.abs() <= reach.view(-1, 1))
    blurred = kernel_blur(kernel_blur(image, k.unsqueeze(1)), k.unsqueeze(2))  # separable: rows, then columns
    return keep_clean(image, blurred, sigma)


def _pad_axis(image: Tensor, reach: int, *, vertical: bool) -> Tensor:
    size = image.shape[-2 if vertical else -1]
    pad = (0, 0, reach, reach) if vertical else (reach, reach, 0, 0)
    return F.pad(image, pad, mode="reflect" if reach < size else "replicate")
