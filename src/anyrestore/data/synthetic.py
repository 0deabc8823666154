"""The composite mixture: batches of degraded and clean crops, every sample with its own trouble.

Unusual: randomness is seeded by the batch's index, so batch i of a run is the same whether the run was
interrupted or not. Crops are cut on the CPU; degradations run on the device, one call for all samples of a
kind.

Order inside a mixture: what happens in the scene (low light, rain or snow, haze: CDD-11's order), then what
the lens does (blur), the sensor (noise) and the file (JPEG).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anyrestore.data.crops import draw, random_crop, random_scaled_crop, random_symmetry, shuffled
from anyrestore.data.images import list_pictures, load_pictures
from anyrestore.degradations.blur import defocus_blur, gaussian_blur, kernel_blur, motion_blur
from anyrestore.degradations.haze import haze
from anyrestore.degradations.jpeg import jpeg
from anyrestore.degradations.low_light import low_light
from anyrestore.degradations.noise import gaussian_noise, poisson_gaussian_noise, quantise8
from anyrestore.degradations.rain import rain
from anyrestore.degradations.snow import snow
from anyrestore.errors import DataError
from anyrestore.types import Image

#: What a sample can be. "pair" is a real pair of degraded and clean; "mixture" is two or three of the others.
TASKS = ("clean", "noise", "rain", "haze", "snow", "low_light", "blur", "jpeg", "mixture", "pair")
_SCENE = ("low_light", "rain", "snow", "haze")
_CAMERA = ("blur", "noise", "jpeg")
# How readily a kind gets into a mixture: what changes the whole picture is the hardest to see in company.
_MIXTURE = {
    "low_light": 2.0,
    "haze": 2.0,
    "rain": 1.5,
    "snow": 1.5,
    "noise": 1.5,
    "blur": 1.0,
    "jpeg": 1.0,
}

Strength = Float[Tensor, "b"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the pictures are, relative to one root."""

    clean: tuple[str, ...] = ("BSDS500-365", "photos-1792", "SunHays80")
    pairs: tuple[tuple[str, str], ...] = (("LOLv1-our485-288/low", "LOLv1-our485-288/high"),)
    streaks: str | None = "rain-streaks"
    snow_masks: str | None = "snow-masks"
    kernels: str | None = "blur-kernels.npz"
    held_out: int = 20  # the last of every folder's shuffled pictures are kept for validation


@dataclass(frozen=True)
class Batch:
    """Degraded and clean crops, (b 3 s s) in [0, 1], and each sample's task."""

    degraded: Image
    clean: Image
    tasks: tuple[str, ...]


@dataclass
class CompositeSource:
    """Pictures in memory, and batches from them.

    Args:
        root: folder with everything the layout names.
        layout: names under ``root``.
        part: "train", or "validation" for the pictures that training never sees.
        device: where crops are degraded.
        limit: at most this many pictures of a folder (to try things out).
    """

    root: Path
    layout: Layout = field(default_factory=Layout)
    part: str = "train"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    limit: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        """Decode everything.

        Raises:
            DataError: a folder is missing or empty, or the halves of a pair do not match.
        """
        self.clean = [p for name in self.layout.clean for p in self._load(name)]
        self.pairs = list[tuple[Tensor, Tensor]]()
        for low, high in self.layout.pairs:
            names = [{p.stem for p in list_pictures(self.root / half)} for half in (low, high)]
            if names[0] != names[1]:
                odd = sorted(names[0] ^ names[1])[:5]
                raise DataError(
                    f"expected a picture of the same name in {low} and {high}, found {odd} in one only"
                )
            self.pairs += zip(self._load(low), self._load(high), strict=True)
        self.streaks = self._load(self.layout.streaks, grey=True) if self.layout.streaks else []
        self.snow_masks = (
            self._load(self.layout.snow_masks, grey=True, split=False) if self.layout.snow_masks else []
        )
        self.kernels = self._load_kernels()

    def _load(self, folder: str, *, grey: bool = False, split: bool = True) -> list[Tensor]:
        paths = list_pictures(self.root / folder)
        if split:
            # Shuffled by a fixed seed, so that the held-out pictures are no neighbours in the alphabet.
            order = shuffled(len(paths), torch.Generator().manual_seed(0))
            held_out = min(self.layout.held_out, max(1, len(paths) // 10))
            chosen = order[-held_out:] if self.part == "validation" else order[:-held_out]
            paths = [paths[i] for i in sorted(chosen)]
        return load_pictures(paths[: self.limit], grey=grey, progress=self.progress)

    def _load_kernels(self) -> list[Tensor]:
        if not self.layout.kernels:
            return []
        path = self.root / self.layout.kernels
        if not path.is_file():
            raise DataError(f"expected blur kernels at {path}, found no file; check the data directory")
        with np.load(path, allow_pickle=False) as stored:
            kernels = [torch.as_tensor(stored[name], dtype=torch.float32) for name in sorted(stored.files)]
        # Negative lobes: a resampling filter, not a blur.
        kernels = [k for k in kernels if bool((k >= 0).all())]
        if not kernels:
            raise DataError(f"expected blur kernels without negative values in {path}, found none")
        size = max(max(k.shape) for k in kernels) | 1
        return [_centre_pad(k / k.sum(), size) for k in kernels]

    def batch(self, size: int, tasks: Sequence[str], generator: torch.Generator) -> Batch:
        """One batch: sample i is a crop of ``size`` px, degraded as ``tasks[i]`` says.

        Args:
            size: side of the crops in pixels.
            tasks: one of :data:`TASKS` per sample.
            generator: a CPU generator; the device's own generator is seeded from it.
        """
        clean, degraded = list[Tensor](), list[Tensor]()
        for task in tasks:
            if task == "pair":
                low, high = self.pairs[draw(0, len(self.pairs), generator)]
                crops = random_crop([low, high], size, generator)
            else:
                crops = [random_scaled_crop(self.clean[draw(0, len(self.clean), generator)], size, generator)]
            crops = random_symmetry(crops, generator)
            degraded.append(crops[0])
            clean.append(crops[-1])
        target = torch.stack(clean).to(self.device).float() / 255
        image = torch.stack(degraded).to(self.device).float() / 255
        on_device = torch.Generator(self.device).manual_seed(draw(0, 2**31, generator))
        recipes = [_draw_recipe(task, generator) for task in tasks]
        for kind in (*_SCENE, *_CAMERA):
            chosen = [i for i, recipe in enumerate(recipes) if kind in recipe]
            if chosen:
                index = torch.tensor(chosen, device=self.device)
                # In mixtures every part is milder, as in CDD-11: two full-strength troubles leave no picture.
                most = torch.tensor(
                    [1.0 if len(recipes[i]) == 1 else 0.7 for i in chosen], device=self.device
                )
                draws = torch.rand(len(chosen), generator=on_device, device=self.device)
                strength = most * (0.1 + 0.9 * draws)
                image[index] = self._kinds[kind](self, image[index], strength, on_device, generator)
        # What is stored in a file has 8 bits; pairs and clean crops have them already.
        return Batch(quantise8(image), target, tuple(tasks))

    def _noise(self, x: Image, strength: Strength, g: torch.Generator, cpu: torch.Generator) -> Image:
        if draw(0, 6, cpu) == 0:
            return poisson_gaussian_noise(x, 0.03 * strength, 15 * strength, g)
        return gaussian_noise(x, 55 * strength, g)

    def _rain(self, x: Image, strength: Strength, g: torch.Generator, cpu: torch.Generator) -> Image:
        if not self.streaks or draw(0, 2, cpu) == 0:
            return rain(x, strength, g)
        layers = self._crops(self.streaks, x, cpu)
        return rain(x, strength, g, streaks=layers)

    def _snow(self, x: Image, strength: Strength, g: torch.Generator, cpu: torch.Generator) -> Image:
        if not self.snow_masks or draw(0, 3, cpu) > 0:
            return snow(x, strength, g)
        return snow(x, strength, g, mask=self._crops(self.snow_masks, x, cpu))

    def _haze(self, x: Image, strength: Strength, g: torch.Generator, _cpu: torch.Generator) -> Image:
        beta = 0.2 + 2.3 * strength
        airlight = 0.65 + 0.35 * torch.rand(x.shape[0], generator=g, device=x.device)
        return haze(x, beta, airlight, generator=g)

    def _low_light(self, x: Image, strength: Strength, g: torch.Generator, _cpu: torch.Generator) -> Image:
        return low_light(x, strength, g)

    def _blur(self, x: Image, strength: Strength, g: torch.Generator, cpu: torch.Generator) -> Image:
        kind = draw(0, 4, cpu)
        if kind == 0:
            return motion_blur(
                x, 1 + 14 * strength, 360 * torch.rand(x.shape[0], generator=g, device=x.device)
            )
        if kind == 1:
            return defocus_blur(x, 4 * strength)
        if kind == 2 or not self.kernels:
            return gaussian_blur(x, 0.3 + 2.5 * strength)
        kernels = torch.stack([self.kernels[draw(0, len(self.kernels), cpu)] for _ in range(x.shape[0])])
        return kernel_blur(x, kernels.to(x.device))

    def _jpeg(self, x: Image, strength: Strength, _g: torch.Generator, _cpu: torch.Generator) -> Image:
        return jpeg(x, (95 - 85 * strength).round())

    _kinds: ClassVar = {
        "low_light": _low_light,
        "rain": _rain,
        "snow": _snow,
        "haze": _haze,
        "blur": _blur,
        "noise": _noise,
        "jpeg": _jpeg,
    }

    def _crops(
        self, layers: Sequence[Tensor], like: Image, generator: torch.Generator
    ) -> Float[Tensor, "b 1 h w"]:
        size = like.shape[-1]
        drawn = [random_crop([layers[draw(0, len(layers), generator)]], size, generator)[0] for _ in like]
        return torch.stack(drawn).to(like.device).float() / 255


def draw_tasks(shares: Mapping[str, float], count: int, generator: torch.Generator) -> tuple[str, ...]:
    """``count`` tasks with the given shares, spread as evenly as the count allows (systematic sampling).

    Raises:
        DataError: a share's name is not one of :data:`TASKS`.
    """
    if unknown := set(shares) - set(TASKS):
        raise DataError(f"expected tasks among {', '.join(TASKS)}, came {', '.join(sorted(unknown))}")
    names = list(shares)
    edges = torch.tensor([shares[name] for name in names]).cumsum(0)
    points = (torch.arange(count) + torch.rand((), generator=generator)) / count * edges[-1]
    index = torch.searchsorted(edges, points, right=True).clamp_max(len(names) - 1)
    return tuple(names[int(i)] for i in index)


def _draw_recipe(task: str, generator: torch.Generator) -> tuple[str, ...]:
    """The kinds of degradation of one sample, in no particular order."""
    if task in ("clean", "pair"):
        return ()
    if task != "mixture":
        return (task,)
    count = 2 + draw(0, 2, generator)
    kinds, shares = list(_MIXTURE), torch.tensor(list(_MIXTURE.values()))
    order = torch.multinomial(shares, len(kinds), generator=generator)
    chosen = [kinds[int(i)] for i in order]
    if "snow" in chosen[:count] and "rain" in chosen[:count]:  # CDD-11 never has both
        chosen.remove("snow")
    return tuple(chosen[:count])


def _centre_pad(kernel: Tensor, size: int) -> Tensor:
    """Zeros around a kernel (k l) up to (size size)."""
    missing = [size - kernel.shape[0], size - kernel.shape[1]]
    top, left = (m // 2 for m in missing)
    return F.pad(kernel, (left, missing[1] - left, top, missing[0] - top))
