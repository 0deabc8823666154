"""Degrading a batch of cut samples on the device, one call for all samples of a kind.

Order of what happens to one sample: what is in the scene (low light, rain or snow, haze: CDD-11's order),
then what the lens does (blur), the sensor (noise) and the file (JPEG). What is unusual: every image of a
batch has a generator of its own on the device, so it comes out the same whatever else is in the batch and
however the batch is spread over machines. The numbers of a CUDA generator are not those of a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from anyrestore.data.loading import RawBatch, collate
from anyrestore.data.samples import MixtureData, Sample
from anyrestore.data.sampling import Choice, hashed
from anyrestore.degradations.blur import defocus_blur, gaussian_blur, kernel_blur, motion_blur
from anyrestore.degradations.draws import Randomness, rand
from anyrestore.degradations.haze import haze
from anyrestore.degradations.jpeg import jpeg
from anyrestore.degradations.low_light import low_light
from anyrestore.degradations.noise import gaussian_noise, poisson_gaussian_noise, quantise8, truncate8
from anyrestore.degradations.rain import rain
from anyrestore.degradations.snow import snow
from anyrestore.types import Image


@dataclass(frozen=True)
class Batch:
    """Degraded and clean crops, (b 3 s s) float32 in [0, 1]."""

    degraded: Image
    clean: Image
    tasks: tuple[str, ...]  # of every sample
    weights: Float[Tensor, " b"]  # of every sample's loss
    bad: tuple[str, ...] = ()  # pictures that could not be read and were replaced
    instructions: tuple[str | None, ...] = ()  # of every sample's part
    condition: Float[Tensor, "b d"] | None = None  # what every sample's network is told, once it is known


def degrade_batch(raw: RawBatch, device: torch.device) -> Batch:
    """Follow every sample's recipe on the device, one call for all samples of a kind.

    Each sample draws from a generator of its own, so it comes out the same whatever its neighbours are, up
    to the last bits of batched arithmetic. What was degraded here is brought to 8 bits at the end, as a
    stored file is; what came degraded is left as it came.
    """
    clean = _to_unit(raw.target, device)
    recipes = [dict(recipe) for recipe in raw.recipes]
    generators = [torch.Generator(device).manual_seed(seed) for seed in raw.seeds]
    image = _to_unit(raw.degraded, device)
    for kind, apply in _APPLY.items():
        rows = [i for i, recipe in enumerate(recipes) if kind in recipe]
        if not rows:
            continue
        index = torch.tensor(rows, device=device)
        amounts = torch.tensor([recipes[i][kind] for i in rows], device=device)
        layer = None
        if kind in raw.layers:
            layer = raw.layers[kind][1].to(device, non_blocking=True)
        image[index] = apply(image[index], amounts, [generators[i] for i in rows], layer)
    if degraded := [i for i, recipe in enumerate(recipes) if recipe]:
        index = torch.tensor(degraded, device=device)
        image[index] = _EIGHT_BITS[raw.eight_bits](image[index])
    weights = torch.tensor(raw.weights, device=device)
    return Batch(image, clean, raw.tasks, weights, raw.bad, raw.instructions)


def validation_batches(data: MixtureData, count: int, crop: int) -> dict[str, Batch]:
    """``count`` samples of every task, on the CPU, the same every time; tasks without pictures are left out.

    Args:
        data: with the part "validation".
        count: samples a task. They are of different pictures where there are so many.
        crop: side of the windows in pixels.
    """
    found = dict[str, Batch]()
    for task in data.tasks:
        numbers = [i for i, part in enumerate(data.mixture.parts) if part.task == task and len(data.pairs[i])]
        samples = list[Sample]()
        for k in range(count if numbers else 0):
            part = numbers[k % len(numbers)]
            pictures = len(data.pairs[part])
            first = hashed("validation", data.seed, task, part) % pictures
            seed = hashed("validation", data.seed, task, part, k)
            samples.append(data.make(Choice(part, (first + k // len(numbers)) % pictures, seed), crop))
        if samples:
            found[task] = degrade_batch(collate(samples, data.mixture.eight_bits), torch.device("cpu"))
    return found


def _to_unit(values: Tensor, device: torch.device) -> Tensor:
    """On the device, in [0, 1], never the same memory."""
    moved = values.to(device, non_blocking=True)
    return moved.float() / 255 if moved.dtype == torch.uint8 else moved.clone()


Apply = Callable[[Tensor, Tensor, Sequence[torch.Generator], Tensor | None], Tensor]


def _sigma(x: Tensor, amount: Tensor, g: Randomness, _layer: Tensor | None) -> Tensor:
    return gaussian_noise(x, amount, g)


def _noise(x: Tensor, amount: Tensor, g: Randomness, _layer: Tensor | None) -> Tensor:
    return gaussian_noise(x, 55 * amount, g)


def _poisson_noise(x: Tensor, amount: Tensor, g: Randomness, _layer: Tensor | None) -> Tensor:
    return poisson_gaussian_noise(x, 0.03 * amount, 15 * amount, g)


def _low_light(x: Tensor, amount: Tensor, g: Randomness, _layer: Tensor | None) -> Tensor:
    return low_light(x, amount, g)


def _rain(x: Tensor, amount: Tensor, g: Randomness, layer: Tensor | None) -> Tensor:
    return rain(x, amount, g, streaks=None if layer is None else layer.float() / 255)


def _snow(x: Tensor, amount: Tensor, g: Randomness, layer: Tensor | None) -> Tensor:
    return snow(x, amount, g, mask=None if layer is None else layer.float() / 255)


def _haze(x: Tensor, amount: Tensor, g: Randomness, _layer: Tensor | None) -> Tensor:
    airlight = 0.65 + 0.35 * rand((x.shape[0],), g, x)
    return haze(x, 0.2 + 2.3 * amount, airlight, generator=g)


def _motion_blur(x: Tensor, amount: Tensor, g: Randomness, _layer: Tensor | None) -> Tensor:
    return motion_blur(x, 1 + 14 * amount, 360 * rand((x.shape[0],), g, x))


def _defocus_blur(x: Tensor, amount: Tensor, _g: Randomness, _layer: Tensor | None) -> Tensor:
    return defocus_blur(x, 4 * amount)


def _gaussian_blur(x: Tensor, amount: Tensor, _g: Randomness, _layer: Tensor | None) -> Tensor:
    return gaussian_blur(x, 0.3 + 2.5 * amount)


def _kernel_blur(x: Tensor, _amount: Tensor, _g: Randomness, layer: Tensor | None) -> Tensor:
    return x if layer is None else kernel_blur(x, layer)


def _jpeg(x: Tensor, amount: Tensor, _g: Randomness, _layer: Tensor | None) -> Tensor:
    return jpeg(x, (95 - 85 * amount).round())


#: In the order in which they happen: the scene, the lens, the sensor, the file.
_APPLY: Mapping[str, Apply] = {
    "low_light": _low_light,
    "rain": _rain,
    "rain_layer": _rain,
    "snow": _snow,
    "snow_layer": _snow,
    "haze": _haze,
    "motion_blur": _motion_blur,
    "defocus_blur": _defocus_blur,
    "gaussian_blur": _gaussian_blur,
    "kernel_blur": _kernel_blur,
    "sigma": _sigma,
    "noise": _noise,
    "poisson_noise": _poisson_noise,
    "jpeg": _jpeg,
}
_EIGHT_BITS = {"round": quantise8, "truncate": truncate8}
