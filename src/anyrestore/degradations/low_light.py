"""Low light: too little light on the scene, and the noise of a sensor that had to make do with it.

Source: the Retinex form that CDD-11 uses (Guo et al., "OneRestore", ECCV 2024): a picture J is
reflectance times light, J = (J / L) L, and a dark one has its light map L scaled like a gamma curve::

    I = J / L * L^gamma * k + noise = J L^(gamma - 1) k + noise

Here L is the brightest channel, smoothed within its edges (as in Guo, Li and Ling, "LIME", IEEE TIP
2017), k a smooth exposure map below 1 with a slight colour cast. The noise is signal-dependent
(Foi et al. 2008, see noise.py), in its normal approximation, and correlated between neighbours as
demosaicing leaves it. What is unusual: L is not sharpened by optimisation but by one guided filter.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.draws import Randomness, rand, randn
from anyrestore.degradations.fields import guided_smooth, smooth_noise
from anyrestore.degradations.parameters import as_map, keep_clean, per_sample, uniform

__all__ = ["low_light"]

# At severity 1, on the [0, 1] scale: variance of the noise = _SHOT * value + _READ^2.
_SHOT = 0.0006
_READ = 0.004


def low_light(
    image: Float[Tensor, "b 3 h w"],
    severity: float | Float[Tensor, " b"],
    generator: Randomness,
) -> Float[Tensor, "b 3 h w"]:
    """Take light away and add noise: I = J L^(gamma - 1) k + noise; see the file's docstring.

    At severity s, for each image: gamma = 1 + s g with g in [0.5, 1.3]; k = e^s, with the exposure e
    in [0.2, 0.4], varied by up to a third over the picture and by up to a fifth between the channels. At
    severity 1 a picture keeps about 0.05 to 0.2 of its brightness, as in LOL.

    Args:
        image: J, RGB in [0, 1].
        severity: s in [0, 1]; 0 is the image itself, bit for bit.
        generator: Source of randomness, on the image's device.

    Returns:
        The dark image I, not quantised: rounding to 8 bits matters in the dark, so a pipeline whose
        pictures are stored applies :func:`~anyrestore.degradations.noise.quantise8` at its end.

    Raises:
        UsageError: `severity` is outside [0, 1] or has the wrong length.
    """
    s = per_sample(severity, image, name="severity", high=1.0)
    b, _, h, w = image.shape
    # Everything random is drawn first and independent of the severity, which only scales it.
    g = as_map(uniform(image, 0.5, 1.3, generator))
    e = as_map(uniform(image, 0.2, 0.4, generator))
    uneven = 1 - 0.33 * smooth_noise(image, 2, generator)
    cast = 1 - 0.2 * rand((b, 3, 1, 1), generator, image)
    n = randn(image.shape, generator, image)
    correlation = as_map(uniform(image, 0, 0.7, generator))

    light = guided_smooth(image.amax(dim=1, keepdim=True), radius=max(1, min(h, w) // 16), eps=0.01)
    s = as_map(s)
    # Below 1/50 a light map is noise itself, and its power would crush what is left to black.
    k = (e * uneven * cast) ** s
    dark = image * light.clamp(min=0.02) ** (s * g) * k
    noise = _correlate(n, correlation)
    noisy = dark + s * torch.sqrt(_SHOT * dark + _READ**2) * noise
    return keep_clean(image, noisy.clamp(0, 1), s.flatten())


def _correlate(n: Tensor, c: Tensor) -> Tensor:
    """White noise with c of it, in [0, 1], replaced by 3 x 3 means; the variance stays but at the border."""
    blurred = 3 * F.avg_pool2d(n, 3, stride=1, padding=1)  # the mean of 9 has 1/9 of the variance
    # n and its mean share one ninth of their terms, so their covariance is 3 / 9.
    return torch.lerp(n, blurred, c) / torch.sqrt((1 - c) ** 2 + c**2 + 2 * c * (1 - c) / 3)
