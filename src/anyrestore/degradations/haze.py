"""Haze: light scattered by the air between the camera and the scene.

Source: the atmospheric scattering model (Koschmieder 1924; Narasimhan and Nayar, "Vision and the
Atmosphere", IJCV 2002), the one behind RESIDE and CDD-11::

    I = J t + A (1 - t)        t = exp(-beta d)

What is unusual: most photographs come without a measured depth d. A seeded *pseudo-depth* stands in
then. It is no estimate of the scene's depth, only a map with the look of one: farther towards the top,
uneven, and following the picture's large edges.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.draws import Randomness
from anyrestore.degradations.fields import guided_smooth, smooth_noise
from anyrestore.degradations.parameters import as_map, per_sample, uniform
from anyrestore.errors import UsageError

__all__ = ["haze", "pseudo_depth"]

# ITU-R BT.601 luma.
_LUMA = (0.299, 0.587, 0.114)


def pseudo_depth(image: Float[Tensor, "b 3 h w"], generator: Randomness) -> Float[Tensor, "b 1 h w"]:
    """A smooth map in [0, 1] that stands in for depth; 1 is far. See the file's docstring.

    d = 0.55 ramp + 0.25 noise + 0.2 luma, where the ramp is 1 at the top row and 0 at the bottom, tilted
    and flattened at random; the noise has about 4 waves over the picture; the luma is smoothed within
    the picture's edges, for bright far skies are what haze hangs in.

    Args:
        image: RGB in [0, 1].
        generator: Source of randomness, on the image's device.

    Returns:
        (b, 1, h, w) in [0, 1].
    """
    _, _, h, w = image.shape
    y = torch.linspace(1, 0, h, device=image.device, dtype=image.dtype).view(1, 1, -1, 1)
    x = torch.linspace(-0.5, 0.5, w, device=image.device, dtype=image.dtype).view(1, 1, 1, -1)
    tilt = as_map(uniform(image, -0.4, 0.4, generator))
    # A crop of a picture spans only a part of its depth: the slope varies, and where it starts.
    slope = as_map(uniform(image, 0.3, 1, generator))
    start = as_map(uniform(image, 0, 1, generator)) * (1 - slope)
    ramp = (start + slope * (y + tilt * x)).clamp(0, 1)
    noise = smooth_noise(image, 4, generator)
    luma = (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    # The window grows with the picture: one made for a crop would leave a photograph its texture.
    smooth_luma = guided_smooth(luma.clamp(0, 1), radius=max(1, min(h, w) // 12), eps=0.02)
    return 0.55 * ramp + 0.25 * noise + 0.2 * smooth_luma


def haze(
    image: Float[Tensor, "b 3 h w"],
    beta: float | Float[Tensor, " b"],
    airlight: float | Float[Tensor, " n"] | Float[Tensor, "n c"],
    depth: Float[Tensor, "b 1 h w"] | None = None,
    *,
    generator: Randomness | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Add haze: I = J t + A (1 - t), t = exp(-beta d).

    Args:
        image: J, the clear scene, RGB in [0, 1].
        beta: Scattering coefficient, not negative, per unit of depth; 0 is the image itself, bit for bit.
        airlight: A in [0, 1]: one number, one for each image, or an RGB colour for each image.
        depth: d, not negative, in the unit of 1 / beta. Absent: :func:`pseudo_depth`, which needs
            `generator`.
        generator: Source of randomness, on the image's device.

    Returns:
        The hazy image I.

    Raises:
        UsageError: A parameter is out of range, or neither depth nor generator was given.
    """
    beta = per_sample(beta, image, name="beta")
    if depth is None:
        if generator is None:
            raise UsageError("haze needs a depth map, or a generator to draw a pseudo-depth; got neither.")
        depth = pseudo_depth(image, generator)
    t = torch.exp(-as_map(beta) * depth)
    a = _as_colour(airlight, image)
    # The same as J t + A (1 - t), but exactly J where t is 1.
    return (image + (a - image) * (1 - t)).clamp(0, 1)


def _as_colour(airlight: float | Tensor, image: Tensor) -> Tensor:
    if isinstance(airlight, Tensor) and airlight.ndim == 2:
        if airlight.shape != (image.shape[0], 3):
            raise UsageError(
                f"airlight colours must have the shape ({image.shape[0]}, 3); got {tuple(airlight.shape)}."
            )
        channels = [per_sample(airlight[:, c], image, name="airlight", high=1.0) for c in range(3)]
        return torch.stack(channels, dim=1).view(-1, 3, 1, 1)
    return as_map(per_sample(airlight, image, name="airlight", high=1.0))
