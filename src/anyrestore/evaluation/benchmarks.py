"""The benchmarks, as one literal table: what each is called, which set it reads, how its inputs are made.

Where a set lies and how its halves find each other is the data room's knowledge (`anyrestore.data`): an entry
here only names the set, and the subset where there are some. `docs/protocols.md` has the table for people.

Inputs of pairs are read. Others are made from clean pictures, always from the centre crop that is measured:

- `*-sigma15`, `-sigma25`, `-sigma50`: NumPy's generator seeded with 0 for each sigma, then image by image in
  sorted order, as PromptIR's test code does it. The sum is cut to [0, 255] and *truncated* to 8 bits, which
  darkens by half a level. The mean input PSNR over CBSD68 must come out as 24.8330, 20.5383 and 15.0042;
  the tests check it.
- `clean`: the input is the target. A restorer must leave a good photograph alone.
- `synthetic-*` and `mixture-*`: `anyrestore.degradations`, with a seed that depends on the recipe and
  the file's name only, rounded to 8 bits as a stored photograph would be. Every fourth image of CBSD68.
- `strengths-*`: the same, or noise as above, of every 17th image. The seed depends on the kind and the file's
  name, so that a stronger haze is the same haze, and lies over the same scene.
- clean photographs of one's own (`photograph_benchmarks`): the same recipes, over whole pictures.

Unusual: CDD-11 is measured whole. Its tables are the only ones whose images are not cropped first.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anyrestore.data.catalog import CATALOG
from anyrestore.data.images import decode_picture
from anyrestore.data.readers import Listing, Pair, find_split, read_set
from anyrestore.degradations.compose import degrade, parse_recipe
from anyrestore.errors import DataError, UsageError
from anyrestore.image import to_tensor

__all__ = [
    "BENCHMARKS",
    "COLLECTIONS",
    "DEFAULT",
    "Benchmark",
    "Sample",
    "centre_crop",
    "check_present",
    "folder_benchmark",
    "middle",
    "photograph_benchmarks",
    "select",
]

#: What folders of one's own may call their halves, in any case.
LOW = (
    "input",
    "degraded",
    "lq",
    "low",
    "hazy",
    "haze",
    "rainy",
    "rain",
    "snow",
    "blur",
    "noisy",
    "raw",
    "in",
)
HIGH = ("target", "gt", "hq", "high", "clean", "clear", "sharp", "reference", "norain")


#: SSIM has windows of up to 11 pixels.
_SMALLEST = 16


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One test picture: `degraded` goes in, `target` should come out, both (1, 3, h, w) in [0, 1].

    Attributes:
        measured: The side in pixels of the square in the middle that is measured; None for all of it.
    """

    name: str
    degraded: Tensor
    target: Tensor
    measured: int | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One line of a results table.

    Attributes:
        name: Its id, as in `cbsd68-sigma25`.
        group: What `--benchmark` also selects it by; the mean of a group averages lines, not images.
        source: The set that it needs, as `anyrestore.data.readers.read_set` takes it.
        split: The part of the set.
        inputs: Where the degraded halves come from: "pairs", "noise", "clean" or "recipe".
        sigma: Standard deviation of the noise (0-255), for "noise".
        recipe: How the input is made from the clean image, for "recipe".
        seed: What the recipe's randomness depends on, beside the image's name; None for the recipe itself.
        every: Only the first of so many images of the set is taken, the first of the next so many, and so on.
        whole: Whether images are measured uncropped, whatever the protocol says.
        folder: A folder of one's own that stands in place of ROOT.
        centre: The side in pixels of the square in the middle that is measured; None for all of it.
        alone: Whether that square is all that the model gets to see.
        faults: What is wrong with the inputs, for models that have to be told
            (`anyrestore.text.sentences`); empty where nobody knows.
    """

    name: str
    group: str
    source: str
    split: str = "test"
    inputs: str = "pairs"
    sigma: float = 0.0
    recipe: str | None = None
    seed: str | None = None
    every: int = 1
    whole: bool = False
    folder: Path | None = None
    centre: int | None = None
    alone: bool = False
    faults: tuple[str, ...] = ()

    def pairs(self, root: Path) -> tuple[Pair, ...]:
        """What will be measured, in sorted order.

        Raises:
            DataError: The set is missing, or a picture has no partner.
        """
        listing = self.listing(root)
        if listing.alone:
            some = "; ".join(listing.alone[:3]) + (" and others" if len(listing.alone) > 3 else "")
            raise DataError(
                f"Expected every picture of {self.name} in {listing.folder} to have a partner; "
                f"missing: {some}."
            )
        return listing.pairs[:: self.every]

    def listing(self, root: Path) -> Listing:
        """The whole set as it lies there.

        Raises:
            DataError: It is missing.
        """
        return read_set(self.source, self.folder or root, split=self.split)

    def expected(self) -> int:
        """How many pictures the whole set has; 0 where nobody says."""
        if self.folder is not None:
            return 0
        _, subset, part = find_split(self.source, self.split)
        count = part.each if subset else part.count
        return -(-count // self.every)

    def samples(self, root: Path, *, crop_multiple: int, limit: int | None = None) -> Iterator[Sample]:
        """The first `limit` samples, or all, in sorted order.

        The sample of an image does not depend on how many of the others are asked for.

        Args:
            root: The folder that holds the test sets.
            crop_multiple: Both halves are centre-cropped to multiples of this many pixels.
            limit: How many.

        Raises:
            DataError: The set is missing, or a picture has no partner, or one of another size.
            InputError: A picture cannot be read.
        """
        generator = np.random.RandomState(0)
        subset = self.source.partition("/")[2]
        for pair in islice(self.pairs(root), limit):
            name = pair.name.removeprefix(f"{subset}/") if subset else pair.name
            target = _load(pair.target, 1 if self.whole else crop_multiple)
            degraded = self._degraded(pair, name, target, crop_multiple, generator)
            if self.centre is not None and min(target.shape[-2:]) < self.centre:
                raise DataError(f"Expected {pair.target} to have {self.centre} pixels a side; it has fewer.")
            if self.centre is not None and self.alone:
                degraded, target = (middle(half, self.centre).contiguous() for half in (degraded, target))
            yield Sample(name=name, degraded=degraded, target=target, measured=self.centre)

    def _degraded(
        self, pair: Pair, name: str, target: Tensor, crop_multiple: int, generator: np.random.RandomState
    ) -> Tensor:
        if self.inputs == "clean":
            return target
        if self.inputs == "noise":
            return _noisy(target, self.sigma, generator)
        if self.recipe is not None:
            seed = zlib.crc32(f"{self.seed or self.recipe} {name}".encode())
            degraded = degrade(target, self.recipe, torch.Generator().manual_seed(seed))
            return degraded.clamp(0.0, 1.0).mul(255.0).round().div(255.0)
        if pair.degraded is None:
            raise DataError(f"Expected {self.name} to be pairs; {self.source} has clean pictures only.")
        degraded = _load(pair.degraded, 1 if self.whole else crop_multiple)
        if degraded.shape != target.shape:
            raise DataError(f"Expected {pair.degraded} and {pair.target} to be of one size; they are not.")
        return degraded


def centre_crop(image: Tensor, multiple: int) -> Tensor:
    """The largest centred part of (..., h, w) whose sides are multiples of `multiple` pixels."""
    h, w = image.shape[-2:]
    top, left = h % multiple // 2, w % multiple // 2
    return image[..., top : top + h // multiple * multiple, left : left + w // multiple * multiple]


def middle(image: Tensor, side: int) -> Tensor:
    """The square of `side` pixels in the middle of (..., h, w)."""
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def _load(path: Path, crop_multiple: int) -> Tensor:
    picture = decode_picture(path)
    image = centre_crop(
        picture[None].float().div(255.0) if picture.dtype == torch.uint8 else picture[None], crop_multiple
    )
    if image.numel() == 0:
        raise DataError(f"Expected {path} to have at least {crop_multiple} pixels a side; it has fewer.")
    return image.contiguous()


def _noisy(target: Tensor, sigma: float, generator: np.random.RandomState) -> Tensor:
    levels = (target[0] * 255.0).round().permute(1, 2, 0).numpy()  # h, w, 3: the order of the draws
    noisy = np.clip(levels + generator.randn(*levels.shape) * sigma, 0, 255).astype(np.uint8)
    return to_tensor(noisy)


# --------------------------------------------------------------------------------------------
# The table


def _pairs(
    name: str, *faults: str, group: str = "", source: str = "", split: str = "test", whole: bool = False
) -> Benchmark:
    return Benchmark(
        name=name, group=group or name, source=source or name, split=split, whole=whole, faults=faults
    )


def _noise(source: str) -> tuple[Benchmark, ...]:
    return tuple(
        Benchmark(
            name=f"{source}-sigma{sigma}",
            group=source,
            source=source,
            inputs="noise",
            sigma=sigma,
            faults=("noise",),
        )
        for sigma in (15, 25, 50)
    )


def _ours(group: str, recipe: str) -> Benchmark:
    kinds = tuple(part.split(":")[0] for part in recipe.split("+"))
    return Benchmark(
        name=f"{group}-{'+'.join(kinds)}",
        group=group,
        source="cbsd68",
        inputs="recipe",
        recipe=recipe,
        every=4,
        faults=kinds,
    )


def _strengths() -> tuple[Benchmark, ...]:
    noise = tuple(
        Benchmark(
            name=f"strengths-noise-{sigma}",
            group="strengths-noise",
            source="cbsd68",
            inputs="noise",
            sigma=sigma,
            every=17,
            faults=("noise",),
        )
        for sigma in (5, 15, 25, 35, 50, 75, 100)
    )
    others = tuple(
        Benchmark(
            name=f"strengths-{kind}-{strength}",
            group=f"strengths-{kind}",
            source="cbsd68",
            inputs="recipe",
            recipe=f"{kind}:{strength}",
            seed=kind,
            every=17,
            faults=(kind,),
        )
        for kind in ("haze", "rain", "snow", "low_light", "jpeg")
        for strength in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    )
    clean = Benchmark(
        name="strengths-clean",
        group="strengths-clean",
        source="cbsd68",
        inputs="clean",
        every=17,
        faults=("noise",),
    )
    return (clean, *noise, *others)


def _cdd11(kinds: str) -> Benchmark:
    faults = ("low_light" if kind == "low" else kind for kind in kinds.split("_"))
    return _pairs(f"cdd11-{kinds}", *faults, group="cdd11", source=f"cdd11/{kinds}", whole=True)


_SINGLE = ("low", "haze", "rain", "snow")
_DOUBLE = ("low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow")
_TRIPLE = ("low_haze_rain", "low_haze_snow")

#: Every benchmark by name, in the order of the table.
BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        *_noise("cbsd68"),
        _pairs("rain100l", "rain"),
        _pairs("lolv1", "low_light"),
        # Nothing is wrong with these; of all requests, that for less noise should change the least.
        Benchmark(name="clean", group="clean", source="cbsd68", inputs="clean", faults=("noise",)),
        # One degradation of each kind, ours also where a public set above shows it.
        _ours("synthetic", "haze:0.6"),
        _ours("synthetic", "snow:0.6"),
        _ours("synthetic", "motion_blur:0.5"),
        _ours("synthetic", "defocus_blur:0.5"),
        _ours("synthetic", "jpeg:0.6"),
        _ours("synthetic", "low_light:0.6"),
        _ours("synthetic", "rain:0.6"),
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
        # From hardly visible to beyond what a model was trained with.
        *_strengths(),
        # The public sets that come from their own pages.
        _pairs("sots", "haze"),
        _pairs("gopro", "motion_blur"),
        _pairs("rain100h", "rain"),
        *_noise("urban100"),
        *_noise("kodak24"),
        *map(_cdd11, (*_SINGLE, *_DOUBLE, *_TRIPLE)),
        _pairs("snow100k-s", "snow", group="allweather", source="snow100k/S"),
        _pairs("snow100k-l", "snow", group="allweather", source="snow100k/L"),
        _pairs("outdoor-rain", "rain", "haze", group="allweather"),
        _pairs("raindrop", "raindrops", group="allweather"),
        *(
            _pairs(f"weatherbench-{weather}", weather, group="weatherbench", source=f"weatherbench/{weather}")
            for weather in ("haze", "rain", "snow")
        ),
        _pairs("csd", "snow"),
        _pairs(
            "uieb", "colours", split="train"
        ),  # the set has no parts; the zero-shot tables measure pairs of it
        _pairs("amir-mri", "low_resolution", group="amir", source="ixi"),
        _pairs("amir-ct", "noise", group="amir", source="aapm"),
        _pairs("amir-pet", "noise", group="amir", source="pet"),
    )
}

#: What `all` stands for: what CBSD68, Rain100L and LOL v1 are enough for.
DEFAULT = tuple(
    b.name
    for b in BENCHMARKS.values()
    if b.group in ("cbsd68", "rain100l", "lolv1", "clean", "synthetic", "mixture")
)

_OURS_SINGLE = tuple(f"synthetic-{kind}" for kind in ("low_light", "haze", "rain", "snow"))
_OURS_DOUBLE = tuple(
    f"mixture-{kinds}"
    for kinds in ("low_light+haze", "low_light+rain", "low_light+snow", "haze+rain", "haze+snow")
)
_OURS_TRIPLE = ("mixture-low_light+haze+rain", "mixture-low_light+haze+snow")

#: The tables of the papers, and the means that they print: names of benchmarks, in the tables' order. Then
#: what stands in for CDD-11 where it cannot be had, category by category, and the strengths.
COLLECTIONS: dict[str, tuple[str, ...]] = {
    "aio3": ("sots", "rain100l", "cbsd68-sigma15", "cbsd68-sigma25", "cbsd68-sigma50"),
    "aio5": ("sots", "rain100l", "cbsd68-sigma25", "gopro", "lolv1"),
    "cdd11-single": tuple(f"cdd11-{kinds}" for kinds in _SINGLE),
    "cdd11-double": tuple(f"cdd11-{kinds}" for kinds in _DOUBLE),
    "cdd11-triple": tuple(f"cdd11-{kinds}" for kinds in _TRIPLE),
    "cdd11": tuple(f"cdd11-{kinds}" for kinds in (*_SINGLE, *_DOUBLE, *_TRIPLE)),
    "allweather": ("snow100k-s", "snow100k-l", "outdoor-rain", "raindrop"),
    "weatherbench": ("weatherbench-haze", "weatherbench-rain", "weatherbench-snow"),
    "amir": ("amir-mri", "amir-ct", "amir-pet"),
    "cdd11-like-single": _OURS_SINGLE,
    "cdd11-like-double": _OURS_DOUBLE,
    "cdd11-like-triple": _OURS_TRIPLE,
    "cdd11-like": (*_OURS_SINGLE, *_OURS_DOUBLE, *_OURS_TRIPLE),
    "strengths": tuple(b.name for b in BENCHMARKS.values() if b.group.startswith("strengths-")),
}


def select(
    names: Iterable[str], *, recipes: Sequence[str] = (), centre: int | None = None
) -> list[Benchmark]:
    """The benchmarks that the names stand for, in table order.

    Args:
        names: `all`, a collection, a group or one benchmark each, or a folder with two folders of
            pictures in it, one of them called `input`, the other `target`, or what else is usual.
        recipes: If there are some, a folder is one of clean photographs, which are degraded by each.
        centre: As for `photograph_benchmarks`.

    Raises:
        UsageError: A name is none of these, a recipe is none, or there are recipes and no folder for them.
        DataError: A folder does not hold two such folders; or does, and there are recipes.
    """
    wanted: set[str] = set()
    own: dict[str, Benchmark] = {}
    groups = list(dict.fromkeys((*(b.group for b in BENCHMARKS.values()), *COLLECTIONS)))
    for name in names:
        if not name:
            raise UsageError("Expected names of benchmarks between commas, got an empty one.")
        found = COLLECTIONS.get(name) or [
            b.name
            for b in BENCHMARKS.values()
            if name in (b.group, b.name) or (name == "all" and b.name in DEFAULT)
        ]
        if not found and Path(name).is_dir():
            for benchmark in _of_folder(Path(name), recipes, centre):
                if benchmark.name in BENCHMARKS or own.get(benchmark.name, benchmark) != benchmark:
                    raise UsageError(
                        f"Expected folders of different names, got {benchmark.name} twice; rename one."
                    )
                own[benchmark.name] = benchmark
        elif not found:
            raise UsageError(
                f"Expected a benchmark, got {name!r}; choose from all, {', '.join(groups)}, "
                "one line of them (docs/protocols.md), or a folder that holds two folders of pictures, "
                "input and target."
            )
        wanted.update(found)
    if recipes and not own:
        raise UsageError("Expected --benchmark FOLDER with clean photographs beside --degrade, got none.")
    return [benchmark for benchmark in BENCHMARKS.values() if benchmark.name in wanted] + list(own.values())


def _of_folder(folder: Path, recipes: Sequence[str], centre: int | None) -> tuple[Benchmark, ...]:
    if recipes:
        return photograph_benchmarks(folder, recipes, centre=centre)
    return (folder_benchmark(folder),)


def folder_benchmark(folder: Path) -> Benchmark:
    """The benchmark of a folder of one's own, whose two halves are matched by name.

    Raises:
        DataError: There are not exactly two folders with names that say which half they are.
    """
    names, low, high = _halves(folder)
    if len(low) != 1 or len(high) != 1:
        raise DataError(
            f"Expected one folder of degraded pictures ({', '.join(LOW)}) and one of clean ones "
            f"({', '.join(HIGH)}) in {folder}, found {', '.join(names) or 'no folders'}; rename them, or "
            "say with --degrade what is to be done to clean photographs."
        )
    name = folder.resolve().name
    return Benchmark(name=name, group=name, source=f"pairs:{low[0]}|{high[0]}", folder=folder)


def photograph_benchmarks(
    folder: Path, recipes: Sequence[str], *, centre: int | None = None
) -> tuple[Benchmark, ...]:
    """Benchmarks of a folder of clean photographs of one's own, one for each recipe.

    Args:
        folder: With pictures in it, or in folders below it.
        recipes: What is done to the whole pictures, as `anyrestore.degradations` writes it.
        centre: The side of the square in the middle that is measured, in pixels. Each recipe has two
            benchmarks then, with the same pixels: `-in-whole` gives the model the whole picture,
            `-alone` only the square.

    Raises:
        UsageError: A recipe is none, or the square is too small to be measured.
        DataError: The folder holds the halves of pairs.
    """
    if centre is not None and centre < _SMALLEST:
        raise UsageError(f"Expected at least {_SMALLEST} pixels in the middle to measure, got {centre}.")
    _, low, high = _halves(folder)
    if low and high:
        raise DataError(
            f"Expected {folder} to hold clean photographs, as --degrade is given, and it holds {low[0]} and "
            f"{high[0]}; leave --degrade out, or name {folder / high[0]}."
        )
    name = folder.resolve().name
    found: list[Benchmark] = []
    for recipe in recipes:
        steps = parse_recipe(recipe)
        benchmark = Benchmark(
            name=f"{name}-{'+'.join(f'{step.kind}{step.severity:g}' for step in steps)}",
            group=name,
            source="clean:.",
            inputs="recipe",
            recipe="+".join(f"{step.kind}:{step.severity:g}" for step in steps),
            folder=folder,
            faults=tuple(step.kind for step in steps),
        )
        found += [benchmark] if centre is None else _centres(benchmark, centre)
    return tuple(found)


def _centres(benchmark: Benchmark, side: int) -> list[Benchmark]:
    in_whole = replace(benchmark, name=f"{benchmark.name}-in-whole", centre=side)
    return [in_whole, replace(in_whole, name=f"{benchmark.name}-alone", alone=True)]


def _halves(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Names of folders in a folder: all, those that say degraded, those that say clean."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    low = [name for name in names if name.lower() in LOW]
    return names, low, [name for name in names if name.lower() in HIGH]


def check_present(benchmarks: Sequence[Benchmark], root: Path) -> list[str]:
    """Find out before the first hour of computing whether the last set is there.

    Returns:
        A sentence for each set that has fewer or more pictures than the whole set.

    Raises:
        DataError: Some of the sets are missing; the sentence names all of them, and how to get them.
    """
    if not root.is_dir() and not all(benchmark.folder for benchmark in benchmarks):
        raise DataError(f"Expected the folder of the test sets at {root}, and there is none; check --root.")
    missing: dict[str, list[str]] = {}  # sets, and subsets of them
    partial: dict[tuple[str, int, int], list[str]] = {}
    for benchmark in benchmarks:
        if benchmark.folder is not None:
            benchmark.pairs(root)
            continue
        entry, subset, _ = find_split(benchmark.source, benchmark.split)
        try:
            benchmark.listing(root)
        except DataError:
            missing.setdefault(entry.name, []).extend([subset] if subset else [])
            continue
        found, expected = len(benchmark.pairs(root)), benchmark.expected()
        if expected not in (0, found):
            partial.setdefault((entry.name, found, expected), []).append(subset or "")
    if missing:
        raise DataError(_absent(benchmarks, missing, root))
    return [
        " ".join((name, *dict.fromkeys(filter(None, subsets))))
        + f" has {found} of {expected} pictures here: these are not the numbers of the whole set"
        for (name, found, expected), subsets in partial.items()
    ]


def _absent(benchmarks: Sequence[Benchmark], missing: Mapping[str, Sequence[str]], root: Path) -> str:
    titles = [
        CATALOG[name].title + (f" ({', '.join(dict.fromkeys(subsets))})" if subsets else "")
        for name, subsets in missing.items()
    ]
    there = {b.group for b in benchmarks if b.folder or find_split(b.source, b.split)[0].name not in missing}
    own = "; AMIR's own .bin and .nii files cannot be read here: save every slice as .npy first"
    return (
        f"Expected {' and '.join(titles)} in {root}, and they are not there; `anyrestore data list "
        f"{' '.join(missing)}` says how to get them and where they belong"
        + (own if any(b.group == "amir" for b in benchmarks) else "")
        + (f"; without them, choose --benchmark {','.join(sorted(there))}." if there else ".")
    )
