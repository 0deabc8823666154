"""Snow: falling flakes of several sizes in front of the scene, and a thin veil between them.

Source: the opacity model of Liu, Jaw, Huang and Hwang, "DesnowNet", IEEE TIP 2018, as CDD-11 uses it
(Guo et al., "OneRestore", ECCV 2024)::

    I = J (1 - z) + C z

with the mask z in [0, 1] (a flake's transparency included) and the snow's colour C, a cool near-white.
What is unusual: flakes grow from seeds like rain streaks do (see rain.py); their ragged form comes from
a fine random texture, and the nearer (larger) a flake is, the softer and more transparent.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.blur import convolve, stroke, stroke_reach
from anyrestore.degradations.draws import Randomness, rand, rand_around
from anyrestore.degradations.fields import smooth_noise
from anyrestore.degradations.parameters import as_map, keep_clean, per_sample, uniform

__all__ = ["render_flakes", "snow"]

# (radius in px, flakes a pixel at severity 1, opacity), from far to near.
_LAYERS = ((0.7, 0.03, 0.8), (1.5, 0.007, 1.0), (3.2, 0.0012, 0.85))
# C, sRGB.
_COLOUR = (0.94, 0.96, 0.98)


def render_flakes(
    size: tuple[int, int],
    generator: Randomness,
    *,
    density: Float[Tensor, " b"],
    radius: Float[Tensor, " b"],
    path: Float[Tensor, " b"],
    angle: Float[Tensor, " b"],
) -> Float[Tensor, "b 1 h w"]:
    """One layer of flakes of about one size for each item of the batch.

    Args:
        size: (h, w) in pixels.
        generator: Source of randomness, on the device of the parameters.
        density: Flakes a pixel. A larger one keeps the flakes of a smaller one.
        radius: Of a flake in pixels.
        path: How far a flake falls during the exposure, in pixels; 0 freezes it.
        angle: Of the path in degrees, counterclockwise from the x-axis; 90 is vertical.

    Returns:
        (b, 1, h, w) in [0, 1]; 0 is no snow.
    """
    kernels = stroke(path, angle, radius, taper=0.5)
    # Soft rims; a flake's peak stays what it was but for the smallest.
    soft = F.avg_pool2d(F.pad(kernels.unsqueeze(1), (2, 2, 2, 2)), 3, stride=1).squeeze(1)
    margins = [(y + 1, x + 1) for y, x in stroke_reach(path, angle, radius)]
    chance = rand_around(size, margins, generator, density)
    opacity = 0.4 + 0.6 * rand_around(size, margins, generator, density)
    layer = convolve(opacity * (chance < as_map(density)), soft)
    # The texture is 3 px wide, so it breaks the outline of large flakes and only dims small ones.
    texture = rand(layer.shape, generator, density)
    texture = F.avg_pool2d(texture, 3, stride=1, padding=1, count_include_pad=False)
    return (layer * (0.4 + 1.2 * texture)).clamp(0, 1)


def snow(
    image: Float[Tensor, "b 3 h w"],
    severity: float | Float[Tensor, " b"],
    generator: Randomness,
    *,
    mask: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Add snow: I = J (1 - z) + C z.

    Without `mask`, z is rendered: three layers of flakes (radius about 0.7, 1.5 and 3.2 px) that fall in
    one direction, faster on the picture the nearer they are, and an uneven veil of far snow of at most
    0.25. Their number and opacity grow with the severity.

    Args:
        image: J, RGB in [0, 1].
        severity: In [0, 1]; 0 is the image itself, bit for bit.
        generator: Source of randomness, on the image's device.
        mask: Snow masks to be used instead, in [0, 1]; then z = severity * mask.

    Returns:
        The snowy image I.

    Raises:
        UsageError: `severity` is outside [0, 1] or has the wrong length.
    """
    severity = per_sample(severity, image, name="severity", high=1.0)
    z = _render(image, severity, generator) if mask is None else as_map(severity) * mask
    c = image.new_tensor(_COLOUR).view(1, 3, 1, 1)
    return keep_clean(image, (image * (1 - z) + c * z).clamp(0, 1), severity)


def _render(image: Tensor, severity: Tensor, generator: Randomness) -> Tensor:
    # Everything random is drawn first and independent of the severity, which only scales it.
    angle = uniform(image, 40, 140, generator)
    scale = uniform(image, 0.7, 1.4, generator)
    speed = uniform(image, 0.3, 3.0, generator)
    amount = uniform(image, 0.6, 1.4, generator) * severity
    veil = uniform(image, 0.0, 0.25, generator) * severity
    size = (image.shape[-2], image.shape[-1])
    clear = 1 - as_map(veil) * smooth_noise(image, 3, generator)
    for radius, density, opacity in _LAYERS:
        flakes = render_flakes(
            size,
            generator,
            density=density * amount,
            radius=radius * scale,
            path=radius * scale * speed,
            angle=angle,
        )
        clear = clear * (1 - as_map(opacity * (0.5 + 0.5 * severity)) * flakes)
    return 1 - clear
