"""Rain streaks: a streak layer added to the image.

Sources: the additive model O = clip(B + R) of Rain100L (Yang et al., "Deep Joint Rain Detection and
Removal from a Single Image", CVPR 2017), whose streaks have one main direction, are thin, bright,
grey and fade towards their ends; layers of several depths after Garg and Nayar, "Photorealistic
Rendering of Rain Streaks", SIGGRAPH 2006 (near drops are longer, wider, brighter and fewer). What is
unusual: streaks are not pasted one by one but grow from seeds, sparse random pixels that are convolved
with a stroke, so that a batch of layers is two convolutions; a higher density keeps the seeds of a
lower one, which makes more rain always worse.
"""

from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.blur import convolve, stroke, stroke_reach
from anyrestore.degradations.draws import Randomness, rand_around
from anyrestore.degradations.parameters import as_map, keep_clean, per_sample, uniform

__all__ = ["rain", "render_streaks"]


def render_streaks(
    size: tuple[int, int],
    generator: Randomness,
    *,
    density: Float[Tensor, " b"],
    length: Float[Tensor, " b"],
    width: Float[Tensor, " b"],
    angle: Float[Tensor, " b"],
) -> Float[Tensor, "b 1 h w"]:
    """One layer of streaks for each item of the batch: R = clip(seeds * stroke, 0, 1).

    Args:
        size: (h, w) in pixels.
        generator: Source of randomness, on the device of the parameters.
        density: Streaks a pixel; 0.003 is moderate rain. A larger one keeps the streaks of a smaller one.
        length: Of a streak in pixels.
        width: Of a streak in pixels.
        angle: In degrees, counterclockwise from the x-axis: 90 falls straight, 60 leans to the right.

    Returns:
        (b, 1, h, w) in [0, 1]; 0 is no rain. Brightness varies from streak to streak in [0.3, 1].
    """
    reaches = stroke_reach(length, angle, width / 2)
    kernels = stroke(length, angle, width / 2, taper=0.8)
    # Seeds also lie outside the picture: streaks enter it from there.
    chance = rand_around(size, reaches, generator, density)
    brightness = 0.3 + 0.7 * rand_around(size, reaches, generator, density)
    seeds = brightness * (chance < as_map(density))
    return convolve(seeds, kernels).clamp(0, 1)


def rain(
    image: Float[Tensor, "b 3 h w"],
    severity: float | Float[Tensor, " b"],
    generator: Randomness,
    *,
    streaks: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Add rain: O = clip(B + R, 0, 1).

    Without `streaks`, R is rendered: one direction for each image (within 35 degrees of the vertical),
    near streaks of 16 to 40 px and far ones of half that size and brightness; density and brightness
    both grow with the severity. 0.5 is about as strong as Rain100L.

    Args:
        image: B, RGB in [0, 1].
        severity: In [0, 1]; 0 is the image itself, bit for bit.
        generator: Source of randomness, on the image's device.
        streaks: Streak layers to be used instead, in [0, 1]; then R = severity * streaks.

    Returns:
        The rainy image O.

    Raises:
        UsageError: `severity` is outside [0, 1] or has the wrong length.
    """
    severity = per_sample(severity, image, name="severity", high=1.0)
    r = _render(image, severity, generator) if streaks is None else as_map(severity) * streaks
    return keep_clean(image, (image + r).clamp(0, 1), severity)


def _render(image: Tensor, severity: Tensor, generator: Randomness) -> Tensor:
    # Everything random is drawn first and independent of the severity, which only scales it.
    angle = uniform(image, 55, 125, generator)
    length = uniform(image, 16, 40, generator)
    width = uniform(image, 0.8, 2.0, generator)
    density = uniform(image, 0.6, 1.4, generator) * severity
    brightness = uniform(image, 0.7, 1.1, generator) * (0.3 + 0.7 * severity)
    size = (image.shape[-2], image.shape[-1])
    near = render_streaks(size, generator, density=0.003 * density, length=length, width=width, angle=angle)
    far = render_streaks(
        size, generator, density=0.005 * density, length=length / 2, width=width / 2, angle=angle
    )
    return as_map(brightness) * (near + 0.5 * far)
