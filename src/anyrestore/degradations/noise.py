"""Sensor noise: Gaussian, Poisson-Gaussian, and rounding to 8 bits.

Sources: y = x + n is the additive model of every denoising table (sigma on the 0-255 scale);
Foi, Trimeche, Katkovnik and Egiazarian, "Practical Poissonian-Gaussian Noise Modeling and Fitting
for Single-Image Raw-Data", IEEE TIP 2008, for photon plus read-out noise.
"""

from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.draws import Randomness, poisson, randn
from anyrestore.degradations.parameters import as_map, keep_clean, per_sample

__all__ = ["gaussian_noise", "poisson_gaussian_noise", "quantise8", "truncate8"]


def gaussian_noise(
    image: Float[Tensor, "b 3 h w"],
    sigma: float | Float[Tensor, " b"],
    generator: Randomness,
    *,
    clip: bool = True,
) -> Float[Tensor, "b 3 h w"]:
    """White Gaussian noise: y = x + (sigma / 255) n, n ~ N(0, 1).

    Args:
        image: RGB in [0, 1].
        sigma: Standard deviation on the 0-255 scale, not negative; a number or one for each image.
        generator: Source of randomness, on the image's device.
        clip: Clip the result to [0, 1], as a stored picture would be.

    Returns:
        The noisy image; with sigma 0 the image itself, bit for bit.

    Raises:
        UsageError: `sigma` is negative or has the wrong length.
    """
    sigma = per_sample(sigma, image, name="sigma")
    n = randn(image.shape, generator, image)
    y = image + as_map(sigma / 255) * n
    return keep_clean(image, y.clamp(0, 1) if clip else y, sigma)


def poisson_gaussian_noise(
    image: Float[Tensor, "b 3 h w"],
    gain: float | Float[Tensor, " b"],
    sigma: float | Float[Tensor, " b"],
    generator: Randomness,
    *,
    clip: bool = True,
) -> Float[Tensor, "b 3 h w"]:
    """Photon noise plus read-out noise: y = gain p + (sigma / 255) n, p ~ Poisson(x / gain), n ~ N(0, 1).

    Its variance is gain x + (sigma / 255)^2, its mean x.

    Args:
        image: RGB in [0, 1].
        gain: The value of one photon: 1 / gain photons make white. 0 means no photon noise.
        sigma: Standard deviation of the read-out noise on the 0-255 scale.
        generator: Source of randomness, on the image's device.
        clip: Clip the result to [0, 1].

    Returns:
        The noisy image; with gain and sigma 0 the image itself, bit for bit.

    Raises:
        UsageError: A parameter is negative or has the wrong length.
    """
    gain = per_sample(gain, image, name="gain")
    sigma = per_sample(sigma, image, name="sigma")
    # Drawn first: how much randomness Poisson uses up depends on the rates, and so on the gain.
    n = randn(image.shape, generator, image)
    # The floor only keeps a gain of 0 from dividing; such images are then taken as they are. From
    # 1e6 photons on, float32 counts are no longer exact, and the noise is below any picture's step.
    safe_gain = as_map(gain.clamp(min=1e-6))
    p = poisson(image.clamp(min=0) / safe_gain, generator)
    y = keep_clean(image, safe_gain * p, gain) + as_map(sigma / 255) * n
    return keep_clean(image, y.clamp(0, 1) if clip else y, gain + sigma)


def quantise8(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Round to the nearest of 256 levels, as an 8-bit file does: round(255 x) / 255, clipped to [0, 1]."""
    return (image * 255).round().clamp(0, 255) / 255


def truncate8(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Cut off to one of 256 levels, as casting to uint8 does: floor(255 x) / 255, clipped to [0, 1].

    The public training and test code of denoising tables makes its noisy pictures so; they are darker by
    half a level on average. A value on a level stays there, also where 255 x falls short of it by rounding.
    """
    return (image * 255 + 1e-3).floor().clamp(0, 255) / 255
