"""Random numbers of a batch: from one generator, or from one generator for each image.

With one generator the whole batch is one draw, and an image depends on its neighbours. With one for each
image, image i gets the numbers that it would get alone, from its own generator, whatever its neighbours
are; only the drawing goes image by image, all arithmetic stays batched. What is unusual:
:func:`rand_around` draws fields that are larger than the picture by a margin that differs from image to
image, and lays them centred on zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyrestore.errors import UsageError

__all__ = ["Randomness", "poisson", "rand", "rand_around", "randn"]

#: One generator for the batch, or one for each of its images; all on the images' device.
Randomness: TypeAlias = torch.Generator | Sequence[torch.Generator]


def rand(shape: Sequence[int], generator: Randomness, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) of the shape (b, ...), with the device and dtype of ``like``.

    Raises:
        UsageError: the number of generators is not b.
    """
    return _draw(torch.rand, shape, generator, like)


def randn(shape: Sequence[int], generator: Randomness, like: Tensor) -> Tensor:
    """Standard normal numbers of the shape (b, ...), with the device and dtype of ``like``.

    Raises:
        UsageError: the number of generators is not b.
    """
    return _draw(torch.randn, shape, generator, like)


def poisson(rates: Float[Tensor, "b c h w"], generator: Randomness) -> Float[Tensor, "b c h w"]:
    """Poisson numbers with the given rates.

    Raises:
        UsageError: the number of generators is not b.
    """
    if isinstance(generator, torch.Generator):
        return torch.poisson(rates, generator=generator)
    _check(generator, rates.shape[0])
    return torch.stack([torch.poisson(r, generator=g) for r, g in zip(rates, generator, strict=True)])


def rand_around(
    size: tuple[int, int],
    margins: Sequence[tuple[int, int]],
    generator: Randomness,
    like: Tensor,
) -> Float[Tensor, "b 1 h w"]:
    """Uniform numbers over a picture and a margin around it, which each image has of its own.

    Args:
        size: (h, w) of the picture.
        margins: Rows above and below, columns left and right, for each image.
        generator: Source of randomness.
        like: For the device and dtype.

    Returns:
        (b, 1, h + 2 m, w + 2 n) with the largest margins (m, n) of the batch. With one generator for each
        image, 1 lies outside an image's own margins, which a comparison "less than" leaves out.

    Raises:
        UsageError: the number of generators is not the number of margins.
    """
    h, w = size
    most_y, most_x = max(m for m, _ in margins), max(n for _, n in margins)
    if isinstance(generator, torch.Generator):
        return rand((len(margins), 1, h + 2 * most_y, w + 2 * most_x), generator, like)
    _check(generator, len(margins))
    fields = list[Tensor]()
    for (m, n), g in zip(margins, generator, strict=True):
        field = torch.rand((1, h + 2 * m, w + 2 * n), generator=g, device=like.device, dtype=like.dtype)
        around = (most_x - n, most_x - n, most_y - m, most_y - m)
        fields.append(F.pad(field, around, value=1.0) if any(around) else field)
    return torch.stack(fields)


def _draw(draw: Callable[..., Tensor], shape: Sequence[int], generator: Randomness, like: Tensor) -> Tensor:
    if isinstance(generator, torch.Generator):
        return draw(tuple(shape), generator=generator, device=like.device, dtype=like.dtype)
    _check(generator, shape[0])
    one = tuple(shape[1:])
    return torch.stack([draw(one, generator=g, device=like.device, dtype=like.dtype) for g in generator])


def _check(generators: Sequence[torch.Generator], images: int) -> None:
    if len(generators) != images:
        raise UsageError(
            f"there must be one generator for the batch, or one for each of its {images} images; "
            f"got {len(generators)}."
        )
