"""Degradations by name and severity, and mixtures of them.

A *severity* in [0, 1] is the one scale shared by all kinds: 0 is the image itself, bit for bit, and more
is worse. :data:`KINDS` is the table; what a severity means is written beside each kind:

=============== =======================================================================================
kind            severity s
=============== =======================================================================================
noise           Gaussian, sigma = 50 s on the 0-255 scale (0.5 is the sigma 25 of the benchmarks)
poisson_noise   Poisson-Gaussian, gain = 0.05 s, read-out sigma = 5 s
motion_blur     a path of 1 + 20 s pixels in a random direction
defocus_blur    a disk of radius 0.5 + 5 s pixels
gaussian_blur   sigma = 3 s pixels
rain            see rain.py; 0.5 is about Rain100L
haze            beta = 2.5 s times a factor in [0.8, 1.2], over a depth of 0 to 1; airlight in [0.7, 0.95]
snow            see snow.py
low_light       see low_light.py; 1 is about LOL
jpeg            quality = 95 - 85 s, rounded
=============== =======================================================================================

A *recipe* is a list of steps, written ``"haze:0.5+rain:0.7"``; steps are applied from left to right.
The composite categories and their fixed physical order (light, then what falls, then the air) are those
of CDD-11: Guo et al., "OneRestore: A Universal Restoration Framework for Composite Degradation", ECCV
2024.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.blur import defocus_blur, gaussian_blur, kernel_blur, motion_blur
from anyrestore.degradations.draws import Randomness
from anyrestore.degradations.haze import haze, pseudo_depth
from anyrestore.degradations.jpeg import jpeg
from anyrestore.degradations.low_light import low_light
from anyrestore.degradations.noise import gaussian_noise, poisson_gaussian_noise
from anyrestore.degradations.parameters import as_map, keep_clean, per_sample, uniform
from anyrestore.degradations.rain import rain
from anyrestore.degradations.snow import snow
from anyrestore.errors import UsageError

__all__ = [
    "CDD11_CATEGORIES",
    "CDD11_ORDER",
    "KINDS",
    "Degradation",
    "Step",
    "cdd11",
    "degrade",
    "parse_recipe",
]

# (image, severity, generator) -> degraded image; the severity is one number or one for each image.
Degradation = Callable[[Tensor, "float | Tensor", Randomness], Tensor]


def _noise(image: Tensor, severity: float | Tensor, generator: Randomness) -> Tensor:
    return gaussian_noise(image, 50 * _severity(severity, image), generator)


def _poisson_noise(image: Tensor, severity: float | Tensor, generator: Randomness) -> Tensor:
    s = _severity(severity, image)
    return poisson_gaussian_noise(image, 0.05 * s, 5 * s, generator)


def _motion_blur(
    image: Tensor,
    severity: float | Tensor,
    generator: Randomness,
    *,
    kernels: Tensor | None = None,
) -> Tensor:
    s = _severity(severity, image)
    angle = uniform(image, 0, 180, generator)
    if kernels is None:
        return motion_blur(image, 1 + 20 * s, angle)
    # A measured kernel has no length to be scaled: severity blends its blur in.
    return keep_clean(image, torch.lerp(image, kernel_blur(image, kernels), as_map(s)), s)


def _defocus_blur(image: Tensor, severity: float | Tensor, generator: Randomness) -> Tensor:
    del generator  # a disk has nothing random
    s = _severity(severity, image)
    # Below a radius of 1/2 a disk lies within one pixel: no severity is spent on that.
    return keep_clean(image, defocus_blur(image, 0.5 + 5 * s), s)


def _gaussian_blur(image: Tensor, severity: float | Tensor, generator: Randomness) -> Tensor:
    del generator  # nothing random
    return gaussian_blur(image, 3 * _severity(severity, image))


def _haze(
    image: Tensor,
    severity: float | Tensor,
    generator: Randomness,
    *,
    depth: Tensor | None = None,
    scene: Tensor | None = None,
) -> Tensor:
    """`scene` is what a pseudo-depth is made from, where `image` no longer shows it well."""
    s = _severity(severity, image)
    beta = 2.5 * s * uniform(image, 0.8, 1.2, generator)
    grey = uniform(image, 0.72, 0.93, generator)
    # Slightly warm or cold, never beyond [0.7, 0.95].
    tint = uniform(image, -0.02, 0.02, generator)
    airlight = torch.stack([grey + tint, grey, grey - tint], dim=1)
    if depth is None:
        depth = pseudo_depth(image if scene is None else scene, generator)
    return keep_clean(image, haze(image, beta, airlight, depth), s)


def _jpeg(image: Tensor, severity: float | Tensor, generator: Randomness) -> Tensor:
    del generator  # nothing random
    s = _severity(severity, image)
    return keep_clean(image, jpeg(image, 95 - 85 * s), s)


def _severity(severity: float | Tensor, image: Tensor) -> Tensor:
    return per_sample(severity, image, name="severity", high=1.0)


KINDS: Mapping[str, Degradation] = {
    "noise": _noise,
    "poisson_noise": _poisson_noise,
    "motion_blur": _motion_blur,
    "defocus_blur": _defocus_blur,
    "gaussian_blur": _gaussian_blur,
    "rain": rain,
    "haze": _haze,
    "snow": snow,
    "low_light": low_light,
    "jpeg": _jpeg,
}

CDD11_CATEGORIES = ("L", "H", "R", "S", "L+H", "L+R", "L+S", "H+R", "H+S", "L+H+R", "L+H+S")

# The light is on the scene, rain and snow fall before it, the haze hangs between them and the camera.
CDD11_ORDER = ("low_light", "rain", "snow", "haze")

_CDD11_LETTERS = {"L": "low_light", "R": "rain", "S": "snow", "H": "haze"}


@dataclass(frozen=True)
class Step:
    """One degradation of a recipe.

    Attributes:
        kind: A key of :data:`KINDS`.
        severity: In [0, 1].

    Raises:
        UsageError: The kind is unknown or the severity out of range.
    """

    kind: str
    severity: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown degradation {self.kind!r}; choose from {', '.join(KINDS)}.")
        if not 0 <= self.severity <= 1:
            raise UsageError(f"the severity of {self.kind} must be between 0 and 1; got {self.severity}.")


def parse_recipe(text: str) -> tuple[Step, ...]:
    """Read a recipe such as ``"haze:0.5+rain:0.7"``.

    Args:
        text: Steps joined by ``+``, each ``kind:severity``; spaces do not matter.

    Returns:
        The steps in the order written, which is the order they are applied in.

    Raises:
        UsageError: The text is not a recipe.
    """
    return tuple(_parse_step(part.strip(), text) for part in text.split("+"))


def _parse_step(part: str, text: str) -> Step:
    kind, colon, number = part.partition(":")
    if not colon:
        raise UsageError(
            f"a recipe is kind:severity joined by +, such as haze:0.5+rain:0.7; got {part!r} in {text!r}."
        )
    try:
        severity = float(number)
    except ValueError:
        raise UsageError(
            f"the severity of {kind.strip()} must be a number between 0 and 1; "
            f"got {number.strip()!r} in {text!r}."
        ) from None
    return Step(kind.strip(), severity)


def degrade(
    image: Tensor,
    recipe: str | Sequence[Step],
    generator: Randomness,
    *,
    streaks: Float[Tensor, "b 1 h w"] | None = None,
    depth: Float[Tensor, "b 1 h w"] | None = None,
    snow_masks: Float[Tensor, "b 1 h w"] | None = None,
    kernels: Float[Tensor, "b k l"] | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """Apply the steps of a recipe, one after another.

    Args:
        image: (b, 3, h, w) float, RGB in [0, 1].
        recipe: Steps, or their text (:func:`parse_recipe`); none is the image itself.
        generator: Source of randomness, on the image's device.
        streaks: Streak layers for the ``rain`` steps, instead of rendered ones.
        depth: Depth maps for the ``haze`` steps, about 0 to 1, instead of a pseudo-depth.
        snow_masks: Masks for the ``snow`` steps, instead of rendered ones.
        kernels: Kernels for the ``motion_blur`` steps, instead of straight lines.

    Returns:
        The degraded image in [0, 1]; a new tensor unless nothing was done.

    Raises:
        UsageError: The recipe is none, or the image is not (b, 3, h, w).
    """
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise UsageError(
            "degrade needs a float tensor of shape (b, 3, h, w) in [0, 1]; "
            f"got {image.dtype} of shape {tuple(image.shape)}."
        )
    kinds: dict[str, Degradation] = {
        **KINDS,
        "rain": partial(rain, streaks=streaks),
        # The depth is the scene's: rain or darkness in front of it must not change it.
        "haze": partial(_haze, depth=depth, scene=image),
        "snow": partial(snow, mask=snow_masks),
        "motion_blur": partial(_motion_blur, kernels=kernels),
    }
    steps = parse_recipe(recipe) if isinstance(recipe, str) else recipe
    degraded = image
    for step in steps:
        degraded = kinds[step.kind](degraded, step.severity, generator)
    return degraded


def cdd11(
    image: Float[Tensor, "b 3 h w"],
    category: str,
    generator: Randomness,
    severity: float = 0.5,
    *,
    streaks: Float[Tensor, "b 1 h w"] | None = None,
    depth: Float[Tensor, "b 1 h w"] | None = None,
    snow_masks: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, "b 3 h w"]:
    """A composite degradation of a CDD-11 category, in :data:`CDD11_ORDER` however it is written.

    Args:
        image: RGB in [0, 1].
        category: One of :data:`CDD11_CATEGORIES`; ``"R+H+L"`` is understood as ``"L+H+R"``.
        generator: Source of randomness, on the image's device.
        severity: Of every step, in [0, 1].
        streaks: Streak layers instead of rendered ones.
        depth: Depth maps instead of a pseudo-depth.
        snow_masks: Snow masks instead of rendered ones.

    Returns:
        The degraded image.

    Raises:
        UsageError: The category is not one of CDD-11's, or the severity is out of range.
    """
    letters = [part.strip() for part in category.split("+")]
    if sorted(letters) not in [sorted(known.split("+")) for known in CDD11_CATEGORIES]:
        raise UsageError(f"unknown CDD-11 category {category!r}; choose from {', '.join(CDD11_CATEGORIES)}.")
    kinds = {_CDD11_LETTERS[letter] for letter in letters}
    steps = [Step(kind, severity) for kind in CDD11_ORDER if kind in kinds]
    return degrade(image, steps, generator, streaks=streaks, depth=depth, snow_masks=snow_masks)
