"""How a degradation takes its numbers: one for the whole batch, or one for each image of it.

Training degrades a batch whose images all differ in strength, so every parameter may be a float or
a (b,) tensor. What is unusual: an image whose severity is 0 comes back bit for bit, also when its
neighbours in the batch do not; :func:`keep_clean` selects it instead of trusting the arithmetic.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.degradations.draws import Randomness, rand
from anyrestore.errors import UsageError

__all__ = ["as_map", "keep_clean", "per_sample", "uniform"]


def per_sample(
    value: float | Float[Tensor, " n"],
    image: Float[Tensor, "b c h w"],
    *,
    name: str,
    low: float = 0.0,
    high: float = float("inf"),
) -> Float[Tensor, " b"]:
    """One number for each image of the batch, checked.

    Args:
        value: A number, or a (b,) tensor.
        image: The batch, for its size, device and dtype.
        name: What the number is called in the error.
        low: The smallest value that makes sense.
        high: The largest.

    Returns:
        (b,) tensor on the image's device.

    Raises:
        UsageError: The tensor's length is not the batch's, or a value is outside [low, high].
    """
    numbers = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    if numbers.shape not in {(), (image.shape[0],)}:
        raise UsageError(
            f"{name} must be one number, or one for each of the {image.shape[0]} images of the batch; "
            f"got a tensor of shape {tuple(numbers.shape)}."
        )
    # Written so that NaN, which compares false with everything, is refused too.
    if not bool(((numbers >= low) & (numbers <= high)).all()):
        got = ", ".join(f"{float(number):g}" for number in numbers.flatten())
        raise UsageError(f"{name} must be between {low:g} and {high:g}; got {got}.")
    return numbers.expand(image.shape[0])


def as_map(numbers: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    """(b,) to (b, 1, 1, 1), to be multiplied with images."""
    return numbers.view(-1, 1, 1, 1)


def keep_clean(
    image: Float[Tensor, "b c h w"],
    degraded: Float[Tensor, "b c h w"],
    strength: Float[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """`degraded` where the image's strength is above 0, the untouched image where it is 0."""
    return torch.where(as_map(strength) > 0, degraded, image)


def uniform(
    image: Float[Tensor, "b c h w"], low: float, high: float, generator: Randomness
) -> Float[Tensor, " b"]:
    """One uniform draw in [low, high) for each image of the batch."""
    return low + (high - low) * rand((image.shape[0],), generator, image)
