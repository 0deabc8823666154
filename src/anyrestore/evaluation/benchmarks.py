"""The test sets, as one literal table: what each is called, where it lies, how its inputs are made.

Layout under ROOT (lossless files; any format that anyrestore reads):

    ROOT/CBSD68/*                   68 clean photographs
    ROOT/Rain100L/{input,target}/*  100 pairs, by name
    ROOT/LOLv1-eval15/{low,high}/*  15 pairs, by name

Three sets of inputs are made from CBSD68, always from the centre crop that is measured:

- `cbsd68-sigma15`, `-sigma25`, `-sigma50`: NumPy's generator seeded with 0 for each sigma, then image
  by image in sorted order, as PromptIR's test code does it. The sum is cut to [0, 255] and *truncated*
  to 8 bits, which darkens by half a level. The mean input PSNR must come out as 24.8330, 20.5383 and
  15.0042; the tests check it.
- `clean`: the input is the target. A restorer must leave a good photograph alone.
- `synthetic-*` and `mixture-*`: `anyrestore.degradations`, with a seed that depends on the recipe and
  the file's name only, rounded to 8 bits as a stored photograph would be. Every fourth image.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anyrestore.degradations.compose import degrade
from anyrestore.errors import DataError, UsageError
from anyrestore.image import SUFFIXES, read, to_tensor

__all__ = ["BENCHMARKS", "Benchmark", "Sample", "centre_crop", "check_present", "select"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One test picture: `degraded` goes in, `target` should come out, both (1, 3, h, w) in [0, 1]."""

    name: str
    degraded: Tensor
    target: Tensor


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One line of a results table.

    Attributes:
        name: Its id, as in `cbsd68-sigma25`.
        group: What `--benchmark` also selects it by; group means average lines, not images.
        folder: The folder under ROOT that it needs.
        load: (ROOT, crop multiple) -> the samples, one after another, in sorted order. The sample of
            an image does not depend on how many of the others are asked for.
        recipe: How the input is made from the clean image, for the two groups of our own.
    """

    name: str
    group: str
    folder: str
    load: Callable[[Path, int], Iterator[Sample]]
    recipe: str | None = None

    def samples(self, root: Path, *, crop_multiple: int, limit: int | None = None) -> Iterator[Sample]:
        """The first `limit` samples, or all.

        Raises:
            DataError: The folder is missing or empty, or a picture has no partner.
        """
        return islice(self.load(root, crop_multiple), limit)


def centre_crop(image: Tensor, multiple: int) -> Tensor:
    """The largest centred part of (..., h, w) whose sides are multiples of `multiple` pixels."""
    h, w = image.shape[-2:]
    top, left = h % multiple // 2, w % multiple // 2
    return image[..., top : top + h // multiple * multiple, left : left + w // multiple * multiple]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(
            f"Expected the folder {folder}, and it is not there; check the root of the test sets."
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"Expected pictures in {folder}, found none; check that the set was unpacked there.")
    return files


def _load(path: Path, crop_multiple: int) -> Tensor:
    image = centre_crop(to_tensor(read(path).pixels), crop_multiple)
    if image.numel() == 0:
        raise DataError(f"Expected {path} to have at least {crop_multiple} pixels a side; it has fewer.")
    return image.contiguous()


def _pairs(root: Path, crop_multiple: int, *, folder: str, degraded: str, target: str) -> Iterator[Sample]:
    partners = {path.stem: path for path in _files(root / folder / target)}
    for path in _files(root / folder / degraded):
        if path.stem not in partners:
            raise DataError(
                f"Expected a picture called {path.stem} in {root / folder / target}; there is none."
            )
        pair = _load(path, crop_multiple), _load(partners[path.stem], crop_multiple)
        if pair[0].shape != pair[1].shape:
            raise DataError(f"Expected {path} and {partners[path.stem]} to be of one size; they are not.")
        yield Sample(name=path.stem, degraded=pair[0], target=pair[1])


def _noise(root: Path, crop_multiple: int, *, sigma: float) -> Iterator[Sample]:
    generator = np.random.RandomState(0)
    for path in _files(root / "CBSD68"):
        target = _load(path, crop_multiple)
        levels = (target[0] * 255.0).round().permute(1, 2, 0).numpy()  # h, w, 3: the order of the draws
        noisy = np.clip(levels + generator.randn(*levels.shape) * sigma, 0, 255).astype(np.uint8)
        yield Sample(name=path.stem, degraded=to_tensor(noisy), target=target)


def _clean(root: Path, crop_multiple: int) -> Iterator[Sample]:
    for path in _files(root / "CBSD68"):
        target = _load(path, crop_multiple)
        yield Sample(name=path.stem, degraded=target, target=target)


def _degraded(root: Path, crop_multiple: int, *, recipe: str) -> Iterator[Sample]:
    for path in _files(root / "CBSD68")[::4]:
        target = _load(path, crop_multiple)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{recipe} {path.stem}".encode()))
        degraded = degrade(target, recipe, generator).clamp(0.0, 1.0).mul(255.0).round().div(255.0)
        yield Sample(name=path.stem, degraded=degraded, target=target)


def _sigma(sigma: int) -> Benchmark:
    load = partial(_noise, sigma=float(sigma))
    return Benchmark(name=f"cbsd68-sigma{sigma}", group="cbsd68", folder="CBSD68", load=load)


def _ours(group: str, recipe: str) -> Benchmark:
    kinds = "+".join(part.split(":")[0] for part in recipe.split("+"))
    load = partial(_degraded, recipe=recipe)
    return Benchmark(name=f"{group}-{kinds}", group=group, folder="CBSD68", load=load, recipe=recipe)


#: Every benchmark by name, in the order of the table.
BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        _sigma(15),
        _sigma(25),
        _sigma(50),
        Benchmark(
            name="rain100l",
            group="rain100l",
            folder="Rain100L",
            load=partial(_pairs, folder="Rain100L", degraded="input", target="target"),
        ),
        Benchmark(
            name="lolv1",
            group="lolv1",
            folder="LOLv1-eval15",
            load=partial(_pairs, folder="LOLv1-eval15", degraded="low", target="high"),
        ),
        Benchmark(name="clean", group="clean", folder="CBSD68", load=_clean),
        # One degradation of each kind that the public sets above do not show.
        _ours("synthetic", "haze:0.6"),
        _ours("synthetic", "snow:0.6"),
        _ours("synthetic", "motion_blur:0.5"),
        _ours("synthetic", "defocus_blur:0.5"),
        _ours("synthetic", "jpeg:0.6"),
        # The two and three at a time of CDD-11, ...
        _ours("mixture", "low_light:0.5+haze:0.5"),
        _ours("mixture", "low_light:0.5+rain:0.6"),
        _ours("mixture", "low_light:0.5+snow:0.6"),
        _ours("mixture", "haze:0.5+rain:0.6"),
        _ours("mixture", "haze:0.5+snow:0.6"),
        _ours("mixture", "low_light:0.5+haze:0.5+rain:0.6"),
        _ours("mixture", "low_light:0.5+haze:0.5+snow:0.6"),
        # ... and what cameras and files do together.
        _ours("mixture", "low_light:0.5+noise:0.5"),
        _ours("mixture", "gaussian_blur:0.4+noise:0.5"),
        _ours("mixture", "noise:0.5+jpeg:0.5"),
        _ours("mixture", "rain:0.6+noise:0.4+jpeg:0.4"),
    )
}


def select(names: Iterable[str]) -> list[Benchmark]:
    """The benchmarks that the names stand for: `all`, a group or one benchmark each, in table order.

    Raises:
        UsageError: A name is none of these.
    """
    wanted: set[str] = set()
    groups = list(dict.fromkeys(benchmark.group for benchmark in BENCHMARKS.values()))
    for name in names:
        found = [b.name for b in BENCHMARKS.values() if name in ("all", b.group, b.name)]
        if not found:
            raise UsageError(
                f"Expected a benchmark, got {name!r}; choose from all, {', '.join(groups)}, "
                f"or one line of them: {', '.join(sorted(set(BENCHMARKS) - set(groups)))}."
            )
        wanted.update(found)
    return [benchmark for benchmark in BENCHMARKS.values() if benchmark.name in wanted]


def check_present(benchmarks: Sequence[Benchmark], root: Path) -> None:
    """Find out before the first hour of computing whether the last set is there.

    Raises:
        DataError: Some of the folders are missing; the sentence names all of them.
    """
    missing = sorted({b.folder for b in benchmarks if not (root / b.folder).is_dir()})
    if missing:
        without = sorted({b.group for b in benchmarks if b.folder not in missing})
        advice = f"; without them, choose --benchmark {','.join(without)}" if without else ""
        raise DataError(f"Expected {' and '.join(missing)} in {root}, and they are not there{advice}.")
