"""Is this copy of a data set the right one? Counts, names, pixels and the PSNR of the inputs.

Three sets come with a fingerprint of every picture: 64 bits of BLAKE2 over its size and its 8-bit RGB pixels.
A lossless copy in another format has the same ones, so that a picture under another name is recognised, and
one that was changed is seen. Elsewhere the catalogue's counts, names and picture sizes decide. Mean input
PSNRs are compared with those of PROTOCOLS (docs/protocols.md): RGB, centre crops whose sides are multiples of
16, plain mean over the pictures. For sets of clean pictures the input is made as the tables' code makes it:
for each sigma NumPy's generator seeded with 0 runs through the pictures in sorted order; the sum is cut to
[0, 255] and truncated to 8 bits. Of large sets a seeded sample is decoded, and the report says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anyrestore.data.catalog import DataSet, Split
from anyrestore.data.images import decode_picture, list_pictures
from anyrestore.data.readers import Listing, Pair, find_set, find_split, plain_name, read_set
from anyrestore.errors import DataError, InputError

__all__ = [
    "Measured",
    "Report",
    "Verdict",
    "check_set",
    "fingerprint",
    "fingerprint_set",
    "load_fingerprints",
]

Verdict = Literal["the right copy", "incomplete", "not this set", "unconfirmed"]
Half = Literal["degraded", "target"]
Fingerprints = Mapping[str, Mapping[str, str]]  # half -> name -> fingerprint

SAMPLE = 200
"""Of larger sets, so many pictures are decoded."""

_TOLERANCE = 0.02  # dB; the references have two or four decimals
_FAR = 1.0  # dB: not what another codec would do


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A mean input PSNR in dB, over `pictures` of the `of` that are there; `expected` is None without one."""

    what: str
    psnr: float
    expected: float | None
    pictures: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found. Names are relative to the set's folder.

    Attributes:
        name: The set, as it was asked for.
        split: Its part.
        folder: Where it was found.
        verdict: "the right copy"; "incomplete": pictures are missing or were changed; "not this set";
            "unconfirmed": nothing contradicts, but the source publishes nothing to compare with.
        found: Pairs (clean pictures) found.
        expected: How many there should be; 0 where that is not known.
        missing: Pictures that are absent.
        renamed: Pictures under another name: what it is called, what it should be called.
        unexpected: Pictures that do not belong there.
        altered: Pictures whose pixels are not those of the set, or that cannot be read.
        measured: Input PSNRs.
        notes: What else there is to say, one sentence each.
    """

    name: str
    split: str
    folder: str
    verdict: Verdict
    found: int
    expected: int
    missing: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    unexpected: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    measured: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as an object for programs."""
        return asdict(self)


def check_set(
    name: str,
    root: Path,
    split: str | None = None,
    *,
    fingerprints: Fingerprints | None = None,
    sample: int = SAMPLE,
) -> Report:
    """Check one part of a data set.

    Args:
        name: A set of the catalogue, or a subset of one ("cdd11/haze").
        root: The folder that holds the sets, or the set's own.
        split: The part; None for the first that is there.
        fingerprints: Of every picture, by half ("degraded", "target") and name; None for those that come with
            the package.
        sample: Of larger sets without fingerprints, so many pairs are decoded.

    Raises:
        UsageError: There is no such set or split.
        DataError: It is not there.
    """
    if split is None:
        return _first_present(name, root, fingerprints, sample)
    entry, subset, part = find_split(name, split)
    listing = read_set(name, root, split=split)
    if fingerprints is None:
        fingerprints = load_fingerprints().get(entry.name, {}).get(split, {})
    if subset is not None:
        part = replace(part, count=part.each, names=())
    check = _Check(name=name, split=split, entry=entry, part=part, listing=listing, sample=sample)
    return check.by_fingerprints(fingerprints) if fingerprints and subset is None else check.by_names()


def _first_present(name: str, root: Path, fingerprints: Fingerprints | None, sample: int) -> Report:
    entry = find_set(name)
    problem: DataError | None = None
    for split in entry.splits:
        try:
            return check_set(name, root, split, fingerprints=fingerprints, sample=sample)
        except DataError as error:
            problem = problem or error
    assert problem is not None
    raise problem


# --------------------------------------------------------------------------------------------
# Fingerprints


def fingerprint(picture: Tensor) -> str:
    """16 hexadecimal digits of an 8-bit picture, uint8 (3 h w)."""
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    size = np.array(pixels.shape[:2], "<u4")
    return hashlib.blake2b(size.tobytes() + pixels.tobytes(), digest_size=8).hexdigest()


def fingerprint_set(name: str, root: Path, split: str) -> dict[str, dict[str, str]]:
    """The fingerprints of a copy that is known to be right, for `check_set`: half -> name -> fingerprint."""
    pairs = read_set(name, root, split=split).pairs
    found = {"target": {pair.target.stem: fingerprint(decode_picture(pair.target)) for pair in pairs}}
    degraded = {
        pair.degraded.stem: fingerprint(decode_picture(pair.degraded)) for pair in pairs if pair.degraded
    }
    return {"degraded": degraded, **found} if degraded else found


def load_fingerprints() -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """The fingerprints that come with the package: set -> split -> half -> name -> fingerprint."""
    path = Path(__file__).with_name("fingerprints.json")
    return json.loads(path.read_text(encoding="utf-8"))["pixels"]


# --------------------------------------------------------------------------------------------
# The two ways of checking


class _Check:
    def __init__(
        self, *, name: str, split: str, entry: DataSet, part: Split, listing: Listing, sample: int
    ) -> None:
        self.name, self.split, self.entry, self.part = name, split, entry, part
        self.listing, self.sample = listing, sample
        self.notes = list[str]()
        self.altered = list[str]()
        self.decoded = dict[Path, Tensor | None]()

    def _report(self, verdict: Verdict, **found: Any) -> Report:
        return Report(
            name=self.name,
            split=self.split,
            folder=str(self.listing.folder),
            verdict=verdict,
            found=len(self.listing.pairs),
            expected=self.part.count,
            altered=tuple(self.altered),
            notes=tuple(self.notes),
            **found,
        )

    # -- by the pixels

    def by_fingerprints(self, known: Fingerprints) -> Report:
        """Every picture is decoded and looked up."""
        halves: dict[Half, set[Path]] = {
            "degraded": {pair.degraded.parent for pair in self.listing.pairs if pair.degraded},
            "target": {pair.target.parent for pair in self.listing.pairs},
        }
        missing, unexpected = list[str](), list[str]()
        renamed = list[tuple[str, str]]()
        right_names = dict[Path, str]()  # a recognised picture -> what it should be called
        recognised = 0
        for half, folders in halves.items():
            names = known.get(half, {})
            files = [file for folder in sorted(folders) for file in list_pictures(folder)]
            # Decoded once: these sets are small, 100 MB at most.
            self.decoded.update((file, _decoded(file)) for file in files)
            plain = partial(plain_name, prefixes=self.entry.prefixes)
            result = _recognise({file: self.decoded[file] for file in files}, names, plain)
            where = "" if not files else f"{self._shown(files[0].parent)}/".removeprefix("./")
            recognised += len(result.right)
            right_names.update(result.right)
            missing.extend(where + name for name in result.missing)
            unexpected.extend(self._shown(file) for file in result.unexpected)
            self.altered.extend(self._shown(file) for file in result.altered)
            renamed.extend((self._shown(file), where + right) for file, right in result.renamed)
            if result.other_names:
                self.notes.append(
                    f"The {half} pictures have other names than usual, but they are the same pictures."
                )
        total = sum(len(names) for names in known.values())
        # In the order of their right names: the noise of a picture depends on those before it.
        pairs = sorted(self.listing.pairs, key=lambda pair: right_names.get(pair.target, f"~{pair.name}"))
        complete = recognised == total and len(pairs) >= len(known["target"])
        measured = self._measure(pairs)
        if 2 * recognised < total:
            verdict: Verdict = "not this set"
            self.notes.append(f"Only {recognised} of {total} pictures are pixel by pixel those of the set.")
        else:
            verdict = "the right copy" if complete and not self.altered and _near(measured) else "incomplete"
        if renamed and not complete and recognised == total:
            self.notes.append("All pictures are there; pairs with a renamed half are not found.")
        return self._report(
            verdict,
            missing=tuple(missing),
            renamed=tuple(renamed),
            unexpected=tuple(unexpected),
            measured=measured,
        )

    # -- by names, counts and sizes

    def by_names(self) -> Report:
        """Counts and names of all pictures, sizes and PSNR of a sample."""
        pairs, missing = self.listing.pairs, self.listing.missing
        chosen = _sample(pairs, self.sample)
        if len(chosen) < len(pairs):
            self.notes.append(f"Sizes and PSNR are of a seeded sample of {len(chosen)} pictures.")
        expected = self.part.count
        extra = [name for name in self.listing.unexpected if self.part.names]
        complete = not missing and len(pairs) >= expected
        measured = self._measure(chosen)
        strange = self._sizes_differ(chosen)
        too_many = bool(expected) and len(pairs) - len(extra) > expected
        if too_many:
            self.notes.append(f"There are {len(pairs) - len(extra) - expected} more than there should be.")
        nothing_known = bool(self.part.names) and len(missing) >= len(self.part.names)
        if strange or too_many or nothing_known or _far(measured):
            verdict: Verdict = "not this set"
        elif not complete or self.altered:
            verdict = "incomplete"
        elif not expected:
            verdict = "unconfirmed"
            self.notes.append("The source gives no number of pictures to compare with.")
        else:
            verdict = "the right copy" if _near(measured) else "not this set"
        if self.entry.doubts:
            self.notes.append(f"Not verified: {self.entry.doubts}.")
        return self._report(verdict, missing=missing, unexpected=self.listing.unexpected, measured=measured)

    def _sizes_differ(self, pairs: Sequence[Pair]) -> bool:
        if self.part.sides is None:
            return False
        wanted = self.part.sides
        for pair in pairs:
            picture = self._decode(pair.target)
            if picture is not None and tuple(sorted(picture.shape[-2:])) != wanted:
                height, width = picture.shape[-2:]
                self.notes.append(
                    f"{self._shown(pair.target)} is {height} x {width} pixels; the set's are "
                    f"{wanted[0]} x {wanted[1]}, or upright."
                )
                return True
        return False

    # -- measuring

    def _measure(self, pairs: Sequence[Pair]) -> tuple[Measured, ...]:
        """Mean input PSNRs, beside those of the whole set."""
        if pairs[0].degraded is None:
            return self._measure_noise(pairs)
        values = list[float]()
        for pair in pairs:
            degraded, target = self._decode(pair.degraded), self._decode(pair.target)
            if degraded is None or target is None:
                continue
            if degraded.shape != target.shape or degraded.dtype != target.dtype:
                self.altered.append(f"{pair.name} (its size or depth is not its partner's)")
                continue
            values.append(_psnr(_crop(degraded), _crop(target)))
        if not values:
            return ()
        references = self.part.references
        expected = references[0].psnr if references else None
        mean = float(np.mean(values))
        return (Measured(what="input", psnr=mean, expected=expected, pictures=len(values), of=self._there()),)

    def _measure_noise(self, pairs: Sequence[Pair]) -> tuple[Measured, ...]:
        # Every level starts from the same seed, so the same draws serve all of them.
        levels = [(reference.sigma, reference.psnr) for reference in self.part.references]
        generator = np.random.RandomState(0)
        values: list[list[float]] = [[] for _ in levels]
        for pair in pairs if levels else ():
            picture = self._decode(pair.target)
            if picture is None:
                continue
            clean = _crop(picture)
            noise: npt.NDArray[np.float64] = generator.randn(*clean.shape)
            for (sigma, _), of_level in zip(levels, values, strict=True):
                noisy = np.clip(clean + noise * (sigma or 0), 0, 255).astype(np.uint8)
                of_level.append(_psnr(noisy, clean))
        return tuple(
            Measured(
                what=f"noise of sigma {sigma}",
                psnr=float(np.mean(of_level)),
                expected=expected,
                pictures=len(of_level),
                of=self._there(),
            )
            for (sigma, expected), of_level in zip(levels, values, strict=True)
            if of_level
        )

    def _there(self) -> int:
        return len(self.listing.pairs)

    def _decode(self, path: Path | None) -> Tensor | None:
        if path is None:
            return None
        picture = self.decoded[path] if path in self.decoded else _decoded(path)
        line = f"{self._shown(path)} (cannot be read)"
        if picture is None and line not in self.altered and self._shown(path) not in self.altered:
            self.altered.append(line)
        return picture

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.listing.folder).as_posix()


@dataclass(frozen=True)
class _Recognised:
    right: dict[Path, str]
    renamed: list[tuple[Path, str]]
    missing: list[str]
    altered: list[Path]
    unexpected: list[Path]
    other_names: bool


def _recognise(
    files: Mapping[Path, Tensor | None], names: Mapping[str, str], plain: Callable[[str], str]
) -> _Recognised:
    """Give every file the name under which its pixels are known."""
    of_pixels = dict[str, list[str]]()
    for name, pixels in names.items():
        of_pixels.setdefault(pixels, []).append(name)
    of_plain = {plain(name): name for name in names}
    right, renamed = dict[Path, str](), list[tuple[Path, str]]()
    strange, seconds = list[Path](), list[tuple[Path, str]]()
    for file, picture in files.items():
        pixels = "" if picture is None or picture.dtype != torch.uint8 else fingerprint(picture)
        called = of_plain.get(plain(file.stem))
        if pixels and called is not None and names[called] == pixels and called not in right.values():
            right[file] = called
        elif pixels in of_pixels:
            seconds.append((file, pixels))
        else:
            strange.append(file)
    taken, unexpected = set(right.values()), list[Path]()
    for file, pixels in seconds:
        free = next((name for name in of_pixels[pixels] if name not in taken), None)
        if free is None:
            unexpected.append(file)  # a second copy
        else:
            taken.add(free)
            right[file] = free
            renamed.append((file, free))
    altered = list[Path]()
    for file in strange:
        called = of_plain.get(plain(file.stem))
        if called is None or called in taken:
            unexpected.append(file)
        else:
            taken.add(called)
            altered.append(file)
    other_names = 2 * len(renamed) > len(right)
    missing = [name for name in names if name not in taken]
    return _Recognised(right, [] if other_names else renamed, missing, altered, unexpected, other_names)


def _sample(pairs: Sequence[Pair], count: int) -> Sequence[Pair]:
    if len(pairs) <= count:
        return pairs
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:count]
    return [pairs[int(i)] for i in order.sort().values]


def _decoded(path: Path) -> Tensor | None:
    try:
        return decode_picture(path)
    except InputError:
        return None


def _crop(picture: Tensor) -> npt.NDArray[Any]:
    """(h w 3): the largest centred part whose sides are multiples of 16, if there is one."""
    height, width = (side // 16 * 16 or side for side in picture.shape[-2:])
    top, left = (picture.shape[-2] - height) // 2, (picture.shape[-1] - width) // 2
    return picture[:, top : top + height, left : left + width].permute(1, 2, 0).numpy()


def _psnr(image: npt.NDArray[Any], target: npt.NDArray[Any]) -> float:
    """Of two pictures, both 0-255 or both 0-1; equal pictures count as 100 dB."""
    eight = target.dtype == np.uint8
    difference = image.astype(np.int32 if eight else np.float64) - target
    mse = float(np.mean(difference * difference))
    return 100.0 if mse == 0 else float(10 * np.log10((255.0 if eight else 1.0) ** 2 / mse))


def _difference(measured: Measured) -> float:
    return 0.0 if measured.expected is None else abs(measured.psnr - measured.expected)


def _near(measured: Iterable[Measured]) -> bool:
    # A sample's mean wanders; how far, a whole set's does not.
    return all(_difference(m) <= (_TOLERANCE if m.pictures == m.of else _FAR) for m in measured)


def _far(measured: Iterable[Measured]) -> bool:
    return any(_difference(m) > _FAR for m in measured)
