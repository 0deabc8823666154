"""The data set of a mixture: sample i of its stream, cut on the CPU, with what the device is to do to it.

A sample is a window of a picture (the same one of both halves of a pair) in one of the square's eight
symmetries, and a recipe: which degradations, how strong, with which layers. All of it is drawn from the
sample's own generator, so it depends on its index alone. The degrading itself is left to a whole batch
(:mod:`anyrestore.data.synthetic`).

What is unusual: pictures for validation are held out by scene. All pictures of a group stay on one side,
also where several data sets show the same scene (the types of CDD-11, say): the choice is made by hashes of
the group's name. A picture that cannot be read is replaced by the next one of its part, and named.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from anyrestore.data.cache import PictureCache
from anyrestore.data.crops import draw, random_crop, random_scaled_crop, random_symmetry
from anyrestore.data.images import decode_picture, list_pictures
from anyrestore.data.mixtures import Mixture, Part
from anyrestore.data.readers import Listing, Pair, read_set
from anyrestore.data.sampling import Choice, Stream, hashed
from anyrestore.errors import DataError, InputError, UsageError

__all__ = ["MixtureData", "Sample", "Step", "check_degrade"]

#: Kinds that a sample of the composite mixture can have, and how readily each gets into company: what changes
#: the whole picture is the hardest to see there.
_KINDS = {
    "low_light": 2.0,
    "haze": 2.0,
    "rain": 1.5,
    "snow": 1.5,
    "noise": 1.5,
    "blur": 1.0,
    "jpeg": 1.0,
}
_LAYERS_HELD_OUT = 20  # of the rain streaks, at most
_TRIES = 100  # pictures of a part that may be unreadable one after another


class Step(NamedTuple):
    """One degradation of a sample.

    Kinds: "sigma" (Gaussian noise; the amount is sigma on the 0-255 scale), and with a strength in [0, 1]
    "low_light", "rain", "rain_layer", "snow", "snow_layer", "haze", "motion_blur", "defocus_blur",
    "gaussian_blur", "kernel_blur", "noise", "poisson_noise", "jpeg". Those named after a layer or kernel find
    it in the sample's layers under their own name.
    """

    kind: str
    amount: float


@dataclass(frozen=True)
class Sample:
    """A cut sample on the CPU."""

    target: Tensor  # (3 s s), uint8, or float32 in [0, 1]
    degraded: Tensor  # likewise; the target itself where a recipe is still to be followed
    task: str
    seed: int  # of what is random on the device
    recipe: tuple[Step, ...]  # in no particular order
    layers: Mapping[str, Tensor]  # kind -> (1 s s) uint8, or a kernel (k k) float32 with sum 1
    weight: float  # of its loss
    bad: tuple[str, ...]  # what was to be read and could not, with the reason
    instruction: str | None = None  # its part's


class MixtureData:
    """The samples of a mixture, made from the pictures under one root.

    It can be sent to another process, where it starts without a cache (see :meth:`share_cache`).

    Args:
        mixture: what to make.
        root: folder that holds all data sets of the mixture.
        part: "train", or "validation" for the pictures that training never sees.
        held_out: so many groups (scenes) of every data set are kept for validation, at most a tenth; at least
            one of a set that has two, unless this is 0.
        seed: of the stream of samples. It does not decide what is held out.
        limit: at most so many pairs of a data set (to try things out).
        cache_bytes: memory for decoded pictures; 0: every picture is decoded each time.
        warn: told once of the names that a data set misses.

    Attributes:
        mixture: as given.
        tasks: distinct task names in the order of the parts.
        pictures: number of distinct files.
        read_seconds: time spent getting pictures so far, decoded or from the cache.

    Raises:
        DataError: a data set is missing, or a part is left without pictures; there is no room for the cache.
        UsageError: the mixture says something that there is not.
    """

    def __init__(
        self,
        mixture: Mixture,
        root: Path,
        *,
        part: Literal["train", "validation"] = "train",
        held_out: int = 0,
        seed: int = 0,
        limit: int | None = None,
        cache_bytes: int = 0,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        for one in mixture.parts:
            check_degrade(one.degrade)
        self.mixture, self.root, self.seed = mixture, root, seed
        self.tasks = tuple(dict.fromkeys(one.task for one in mixture.parts))
        self.read_seconds = 0.0
        names = list(dict.fromkeys(name for one in mixture.parts for name in one.sets))
        self._listings = {name: read_set(name, root) for name in names}
        if warn is not None:
            _warn(self._listings, warn)
        kept_out = _held_out(self._listings, held_out)
        self._files = list[str]()
        numbers = dict[Path, int]()
        pairs = dict[str, npt.NDArray[np.int32]]()
        self._used = dict[str, list[Pair]]()
        for name, listing in self._listings.items():
            wanted = [
                pair
                for pair in listing.pairs
                if (pair.group in kept_out[_family(name)]) == (part == "validation")
            ][:limit]
            self._used[name] = wanted
            pairs[name] = np.array(
                [
                    (self._number(pair.target, numbers), self._number(pair.degraded, numbers))
                    for pair in wanted
                ],
                dtype=np.int32,
            ).reshape(-1, 2)
        #: (n, 2) per part: numbers of the target's and the degraded picture's file; -1: none.
        self.pairs = tuple(np.concatenate([pairs[name] for name in one.sets]) for one in mixture.parts)
        self._add_layers(part, limit, held_out=held_out > 0)
        self.pictures = len(self._files)
        self._capacity, self._cache = 0, None
        if cache_bytes >= PictureCache.smallest(self.pictures):
            self._capacity, self._cache = cache_bytes, PictureCache(self.pictures, cache_bytes)
        if part == "train":
            _ = self.stream  # an empty part is an error of now

    def _number(self, path: Path | None, numbers: dict[Path, int]) -> int:
        if path is None:
            return -1
        if path not in numbers:
            numbers[path] = len(self._files)
            self._files.append(str(path))
        return numbers[path]

    def _add_layers(self, part: str, limit: int | None, *, held_out: bool) -> None:
        layers = self.mixture.layers
        streaks = list_pictures(self.root / layers.streaks) if layers.streaks else []
        by_hash = sorted(streaks, key=lambda path: hashed("held out", str(layers.streaks), path.name))
        kept = min(_LAYERS_HELD_OUT, max(1, len(streaks) // 10)) if held_out and len(streaks) > 1 else 0
        chosen = [path for path in streaks if (path in by_hash[:kept]) == (part == "validation")]
        masks = list_pictures(self.root / layers.snow_masks) if layers.snow_masks else []
        self._first_layer = len(self._files)
        self._layers = dict[str, range]()  # kind -> numbers of its files
        for kind, paths in (("rain_layer", chosen), ("snow_layer", masks)):
            first = len(self._files)
            self._files += [str(path) for path in paths[:limit]]
            self._layers[kind] = range(first, len(self._files))
        self._kernels = _read_kernels(self.root / layers.kernels) if layers.kernels else None

    @cached_property
    def stream(self) -> Stream:
        """Which picture every sample is.

        Raises:
            DataError: a part has no pictures.
        """
        return Stream(self.mixture, [len(pairs) for pairs in self.pairs], self.seed)

    @property
    def epoch(self) -> int:
        """Samples an epoch."""
        return self.stream.epoch

    @cached_property
    def fingerprint(self) -> Mapping[str, str]:
        """What decides the samples beside the mixture: sha256 of names and file sizes.

        Of every data set under its name, what was held out or left out included, and under "NAME (in use)"
        of the pairs that are used; of layers and kernels under "layers.streaks" and so on, those in use.
        """
        found = dict[str, str]()
        for name, listing in self._listings.items():
            lines = {pair.name: _line(pair.name, pair.target, pair.degraded) for pair in listing.pairs}
            found[name] = _digest(lines.values())
            found[f"{name} (in use)"] = _digest(lines[pair.name] for pair in self._used[name])
        layers = self.mixture.layers
        for field, kind in (("streaks", "rain_layer"), ("snow_masks", "snow_layer")):
            if getattr(layers, field):
                paths = [Path(self._files[number]) for number in self._layers[kind]]
                found[f"layers.{field}"] = _digest(_line(path.name, path) for path in paths)
        if layers.kernels:
            found["layers.kernels"] = _digest([_line(layers.kernels, self.root / layers.kernels)])
        return found

    def sample(self, index: int, crop: int, shares: Mapping[str, float] | None = None) -> Sample:
        """Sample ``index`` of the endless stream; index // epoch is its epoch.

        Args:
            index: from 0.
            crop: side of the window in pixels.
            shares: of the tasks, instead of the mixture's; for the order "draw" only.

        Raises:
            DataError: no picture of a part can be read.
            UsageError: the shares do not suit the mixture.
        """
        return self.make(self.stream.choose(index, shares), crop)

    def make(self, choice: Choice, crop: int) -> Sample:
        """Cut a sample of a given picture.

        Raises:
            DataError: no picture of the part can be read.
        """
        part = self.mixture.parts[choice.part]
        pictures, bad = self._readable(choice)
        generator = torch.Generator().manual_seed(choice.seed)
        if len(pictures) == 1 and self.mixture.halve:
            windows = [random_scaled_crop(pictures[0], crop, generator)]
        else:
            windows = random_crop(pictures, crop, generator)
        # Copies: a window may be a part of the cache.
        windows = [w.contiguous().clone() for w in random_symmetry(windows, generator)]
        recipe, layers, bad_layers = self._recipe(part, crop, generator)
        return Sample(
            target=windows[0],
            degraded=windows[-1],
            task=part.task,
            seed=choice.seed,
            recipe=recipe,
            layers=layers,
            weight=part.weight,
            bad=bad + bad_layers,
            instruction=part.instruction,
        )

    def _readable(self, choice: Choice) -> tuple[list[Tensor], tuple[str, ...]]:
        """The halves of the chosen pair, or of the next one that can be read; and what could not."""
        pairs, bad = self.pairs[choice.part], list[str]()
        for offset in range(min(len(pairs), _TRIES)):
            target, degraded = (int(n) for n in pairs[(choice.picture + offset) % len(pairs)])
            try:
                pictures = [self._read(number) for number in (target, degraded) if number >= 0]
            except InputError as error:
                bad.append(str(error))
                continue
            sizes = [tuple(picture.shape) for picture in pictures]
            if len(set(sizes)) == 1:
                return pictures, tuple(bad)
            bad.append(
                f"expected pictures of one size, {self._files[target]} has (channels, height, width) "
                f"{sizes[0]} and {self._files[degraded]} has {sizes[1]}"
            )
        raise DataError(
            f"expected readable pictures for {self.mixture.parts[choice.part].task!r}, "
            f"{len(bad)} in a row were not; the first: {bad[0]}"
        )

    def _read(self, number: int) -> Tensor:
        began = time.perf_counter()
        path, grey = Path(self._files[number]), number >= self._first_layer
        if self._cache is None:
            picture = decode_picture(path, grey=grey)
        else:
            picture = self._cache.get(number, lambda: decode_picture(path, grey=grey))
        self.read_seconds += time.perf_counter() - began
        return picture

    def _recipe(
        self, part: Part, crop: int, generator: torch.Generator
    ) -> tuple[tuple[Step, ...], dict[str, Tensor], tuple[str, ...]]:
        kind, _, sigma = part.degrade.partition(":")
        if kind == "none":
            return (), {}, ()
        if sigma:
            return (Step("sigma", float(sigma)),), {}, ()
        kinds = _draw_company(generator) if kind == "mixture" else tuple(kind.split("+"))
        # In company each is milder, as in CDD-11: two full-strength troubles leave no picture.
        most = 1.0 if len(kinds) == 1 else 0.7
        steps, layers, bad = list[Step](), dict[str, Tensor](), list[str]()
        for kind in kinds:
            variant = self._variant(kind, generator)
            amount = most * (0.1 + 0.9 * float(torch.rand((), generator=generator)))
            steps.append(Step(variant, amount))
            if variant == "kernel_blur" and self._kernels is not None:
                layers[variant] = torch.as_tensor(self._kernels[draw(0, len(self._kernels), generator)])
            elif variant in self._layers:
                layers[variant] = self._layer(variant, crop, generator, bad)
        return tuple(steps), layers, tuple(bad)

    def _variant(self, kind: str, generator: torch.Generator) -> str:
        """In which way a kind is done: layers and kernels where there are any, for a part of the samples."""
        if kind == "rain" and self._layers["rain_layer"] and draw(0, 2, generator) == 1:
            return "rain_layer"
        if kind == "snow" and self._layers["snow_layer"] and draw(0, 3, generator) == 0:
            return "snow_layer"
        if kind == "noise" and draw(0, 6, generator) == 0:
            return "poisson_noise"
        if kind == "blur":
            variant = ("motion_blur", "defocus_blur", "gaussian_blur", "kernel_blur")[draw(0, 4, generator)]
            return variant if variant != "kernel_blur" or self._kernels is not None else "gaussian_blur"
        return kind

    def _layer(self, kind: str, crop: int, generator: torch.Generator, bad: list[str]) -> Tensor:
        """A window of a random layer, or of the next one that can be read; what could not goes to ``bad``."""
        numbers = self._layers[kind]
        first = draw(0, len(numbers), generator)
        for offset in range(min(len(numbers), _TRIES)):
            try:
                layer = self._read(numbers[(first + offset) % len(numbers)])
            except InputError as error:
                bad.append(str(error))
            else:
                return random_crop([layer], crop, generator)[0].contiguous().clone()
        raise DataError(f"expected readable layers for {kind}, {len(bad)} in a row were not: {bad[-1]}")

    @property
    def cache(self) -> PictureCache | None:
        """The cache of decoded pictures, if there is one."""
        return self._cache

    def share_cache(self, file: int) -> None:
        """In another process: take over the cache whose open file was inherited."""
        self._cache = PictureCache(self.pictures, self._capacity, file)

    def __getstate__(self) -> dict[str, Any]:
        # The listings are long and were only needed for the fingerprint, the stream is made again, and a
        # cache goes by its open file. No tensor is left: between processes torch passes those by reference.
        state: dict[str, Any] = {**vars(self), "_listings": None, "_used": None, "_cache": None}
        state.pop("stream", None)
        return state


def check_degrade(text: str) -> None:
    """See that a part's ``degrade`` says something that there is.

    Raises:
        UsageError: it does not.
    """
    kind, colon, sigma = text.partition(":")
    if not colon and (kind in ("none", "mixture") or _is_company(kind.split("+"))):
        return
    if kind == "noise" and sigma.replace(".", "", 1).isdecimal():
        return
    raise UsageError(
        f"expected degrade to be none, noise:SIGMA, mixture, or some of {', '.join(_KINDS)} joined by +; "
        f"got {text!r}"
    )


def _is_company(kinds: list[str]) -> bool:
    """Whether these are kinds that there are, each once."""
    return set(kinds) <= set(_KINDS) and len(set(kinds)) == len(kinds)


def _draw_company(generator: torch.Generator) -> tuple[str, ...]:
    """Two or three kinds of degradation for one sample."""
    count = 2 + draw(0, 2, generator)
    order = torch.multinomial(torch.tensor(list(_KINDS.values())), len(_KINDS), generator=generator)
    chosen = [list(_KINDS)[int(i)] for i in order]
    if "snow" in chosen[:count] and "rain" in chosen[:count]:  # CDD-11 never has both
        chosen.remove("snow")
    return tuple(chosen[:count])


def _line(name: str, *paths: Path | None) -> str:
    """A name and the sizes of its files, for a fingerprint."""
    return f"{name}\0{[path.stat().st_size for path in paths if path is not None]}\n"


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def _family(name: str) -> str:
    """What scenes are held out together: "cdd11" for "cdd11/haze"; any other folder is its own."""
    return name if ":" in name else name.partition("/")[0]


def _held_out(listings: Mapping[str, Listing], count: int) -> dict[str, set[str]]:
    """Family of data sets -> groups kept for validation."""
    found = {_family(name): set[str]() for name in listings}
    for name, listing in listings.items():
        family = _family(name)
        groups = sorted({p.group for p in listing.pairs}, key=lambda g: hashed("held out", family, g))
        if count > 0 and len(groups) > 1:
            found[family] |= set(groups[: min(count, max(1, len(groups) // 10))])
    return found


def _warn(listings: Mapping[str, Listing], warn: Callable[[str], None]) -> None:
    for name, listing in listings.items():
        if listing.missing:
            shown = ", ".join(listing.missing[:5]) + (", ..." if len(listing.missing) > 5 else "")
            warn(
                f"{name}: {len(listing.missing)} expected pictures are not there and are left out ({shown}); "
                f"{len(listing.pairs)} were found"
            )


def _read_kernels(path: Path) -> npt.NDArray[np.float32]:
    """Blur kernels (n k k) of one odd size, each with sum 1."""
    if not path.is_file():
        raise DataError(f"expected blur kernels at {path}, found no file; check the data directory")
    with np.load(path, allow_pickle=False) as stored:
        kernels = [torch.as_tensor(stored[name], dtype=torch.float32) for name in sorted(stored.files)]
    # Negative lobes: a resampling filter, not a blur.
    kernels = [k for k in kernels if bool((k >= 0).all())]
    if not kernels:
        raise DataError(f"expected blur kernels without negative values in {path}, found none")
    size = max(max(k.shape) for k in kernels) | 1
    return torch.stack([_centre_pad(k / k.sum(), size) for k in kernels]).numpy()


def _centre_pad(kernel: Tensor, size: int) -> Tensor:
    missing = [size - kernel.shape[0], size - kernel.shape[1]]
    top, left = (m // 2 for m in missing)
    return F.pad(kernel, (left, missing[1] - left, top, missing[0] - top))
