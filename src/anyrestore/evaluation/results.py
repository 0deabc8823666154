"""Reads back what `anyrestore evaluate` stored: a results file, or the folder that holds `results.json`.

Strict about what a comparison stands on: format, protocol, data hash, image names, finite values, and means
that agree with the images. Lenient about what it does not know: further keys are ignored, and every further
number of an image (`lpips`, say) is a metric.

JSON has no infinity: the PSNR of an exact copy is `null` in the file and `math.inf` here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from anyrestore.errors import DataError
from anyrestore.storage import shown

__all__ = ["FORMAT", "RESULTS", "Entry", "Group", "ImageResult", "Results", "find_results", "read_results"]

FORMAT = 2
"""The format of the file that this reads. Format 1 (no such key) held no per-image values."""

RESULTS = "results.json"
"""The results file's name in a results folder."""

_DECIBELS = ("psnr", "input_psnr")
_NOT_METRICS = ("name", "height", "width")


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One image of an entry.

    Attributes:
        name: Its name, unique in the entry.
        height: In pixels, as measured.
        width: In pixels, as measured.
        values: By metric: `psnr` and `input_psnr` in dB (infinite for an exact copy), `ssim`, `input_ssim`,
            `seconds`, and whatever else was measured.
    """

    name: str
    height: int
    width: int
    values: Mapping[str, float]

    @property
    def gain(self) -> float | None:
        """How many dB the output is better than the input; None where the input is exact or not measured."""
        before = self.values.get("input_psnr", math.inf)
        return self.values["psnr"] - before if math.isfinite(before) else None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a results table: a test set, as it was measured.

    Attributes:
        name: As in `cbsd68-sigma25`.
        group: What it belongs to.
        data_sha256: Over every input and target that was measured.
        images: In the order in which they were measured.
    """

    name: str
    group: str
    data_sha256: str
    images: tuple[ImageResult, ...]

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.images)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured of every image."""
        return tuple(key for key in self.images[0].values if all(key in i.values for i in self.images))

    def values(self, metric: str) -> npt.NDArray[np.float64]:
        """(n,) a metric of every image.

        Raises:
            DataError: `bad_results`; it was not measured.
        """
        if metric not in self.metrics:
            raise DataError(
                f"Expected {metric} of every image of {self.name}, and it was not measured; "
                f"choose from {', '.join(self.metrics)}.",
                code="bad_results",
            )
        return np.array([image.values[metric] for image in self.images])

    def mean(self, metric: str) -> float:
        """The plain mean of a metric over the images; infinite as soon as one image is exact."""
        return _mean(self.values(metric).tolist())


@dataclass(frozen=True, kw_only=True)
class Group:
    """Entries whose plain mean is a line of the table too, such as CDD-11's double degradations."""

    name: str
    entries: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Results:
    """One run of `evaluate`.

    Attributes:
        path: What was asked for: a file or a folder.
        folder: Where its pictures are, if they were saved: the folder of `results.json`.
        model: The name or path that was evaluated.
        weights_sha256: Of the weights' file; None if there is none.
        protocol: The protocol's id.
        limit: At most so many images of each entry; None for all.
        command: How it was made; empty if unknown.
        versions: Of what computed it.
        machine: Where it was computed.
        entries: In table order.
        groups: Of more than one entry.
    """

    path: Path
    folder: Path | None
    model: str
    weights_sha256: str | None
    protocol: str
    limit: int | None
    command: str
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    entries: tuple[Entry, ...]
    groups: tuple[Group, ...]

    def entry(self, name: str) -> Entry:
        """The entry of that name; KeyError if there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)


def read_results(path: Path) -> Results:
    """Read a results file, or `results.json` in a results folder.

    Raises:
        DataError: `bad_results`; it is not there, not of this format, or not consistent with itself.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            f"Expected results in {shown(path)}, and there is no file {shown(file)}; "
            "make it with anyrestore evaluate --out DIR or --json FILE.",
            code="bad_results",
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{shown(file)} could not be read as results: {error}.", code="bad_results"
        ) from error
    reader = _Reader(shown(file))
    try:
        content = json.loads(text, parse_constant=reader.constant)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"Expected {shown(file)} to be JSON, and it is not: {error}.", code="bad_results"
        ) from error
    return reader.results(content, path=path, folder=file.parent if file.name == RESULTS else None)


def find_results(path: Path) -> tuple[Results, ...]:
    """The results at `path`; if it is a folder of several, all of them: the runs of one model.

    A folder without `results.json` of its own is looked through one level deep: for folders that have one,
    or, if there are none, for files that end in `.json`.

    Raises:
        DataError: `bad_results`, as :func:`read_results`.
    """
    if not path.is_dir() or (path / RESULTS).exists():
        return (read_results(path),)
    inside = sorted(folder.parent for folder in path.glob(f"*/{RESULTS}")) or sorted(path.glob("*.json"))
    return tuple(read_results(found) for found in inside) or (read_results(path),)


class _Reader:
    """Turns parsed JSON into values, or says in one sentence what is wrong with it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, sentence: str) -> NoReturn:
        raise DataError(
            f"{self.name} is not a results file that can be used: {sentence}.", code="bad_results"
        )

    def constant(self, text: str) -> NoReturn:
        self.fail(f"it holds {text}, which is no JSON number")

    def results(self, content: Any, *, path: Path, folder: Path | None) -> Results:
        top = self.mapping(content, "the file")
        listed = self.sequence(top, "entries", "the file")
        if top.get("format") != FORMAT or not all(
            isinstance(entry, dict) and "images" in entry for entry in listed
        ):
            old = "an older anyrestore wrote it, without per-image values" if "format" not in top else ""
            self.fail(
                (old or f"expected format {FORMAT} with per-image values, got {top.get('format')!r}")
                + "; evaluate again"
            )
        entries = tuple(self.entry(entry) for entry in listed)
        if not entries:
            self.fail("it has no entries")
        self.unique([entry.name for entry in entries], "entry")
        sha256, limit = top.get("weights_sha256"), top.get("limit")
        if not (sha256 is None or isinstance(sha256, str)):
            self.fail("weights_sha256 is neither text nor null")
        if not (limit is None or (isinstance(limit, int) and limit >= 1)):
            self.fail("limit is neither a number nor null")
        return Results(
            path=path,
            folder=folder,
            model=self.text(top, "model", "the file"),
            weights_sha256=sha256,
            protocol=self.text(top, "protocol", "the file"),
            limit=limit,
            command=str(top.get("command") or ""),
            versions=self.labels(top.get("versions")),
            machine=self.labels(top.get("machine")),
            entries=entries,
            groups=self.groups(top.get("groups"), entries),
        )

    def entry(self, content: Any) -> Entry:
        given = self.mapping(content, "an entry")
        name = self.text(given, "name", "an entry")
        images = tuple(self.image(image, name) for image in self.sequence(given, "images", name))
        if not images:
            self.fail(f"{name} has no images")
        if given.get("n", len(images)) != len(images):
            self.fail(f"{name} says n = {given['n']} and lists {len(images)} images")
        self.unique([image.name for image in images], f"image of {name}")
        for metric in ("psnr", "ssim"):
            mean = _mean([image.values[metric] for image in images])
            told = given.get(metric, mean)
            if isinstance(told, (int, float)) and not math.isclose(told, mean, rel_tol=1e-9, abs_tol=1e-9):
                self.fail(f"{name} says {metric} = {told}, and the mean of its images is {mean}")
        group = given.get("group")
        return Entry(
            name=name,
            group=group if isinstance(group, str) else name,
            data_sha256=self.text(given, "data_sha256", name),
            images=images,
        )

    def image(self, content: Any, entry: str) -> ImageResult:
        given = self.mapping(content, f"an image of {entry}")
        name = self.text(given, "name", f"an image of {entry}")
        values: dict[str, float] = {}
        for key, value in given.items():
            if key in _NOT_METRICS or isinstance(value, (bool, str, list, dict)):
                continue
            if value is None and key not in _DECIBELS:
                continue  # not measured
            values[key] = math.inf if value is None else float(value)
        missing = [metric for metric in ("psnr", "ssim") if metric not in values]
        if missing:
            self.fail(f"{name} of {entry} has no {' and no '.join(missing)}")
        sides = [given.get(key) for key in ("height", "width")]
        height, width = (side if isinstance(side, int) and side > 0 else 0 for side in sides)
        if not height or not width:
            self.fail(f"{name} of {entry} has no height and width in pixels")
        return ImageResult(name=name, height=height, width=width, values=values)

    def groups(self, content: Any, entries: Sequence[Entry]) -> tuple[Group, ...]:
        """The file's groups; the entries of one are those it lists, or those that say they belong to it."""
        names = {entry.name for entry in entries}
        members: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys(entry.group for entry in entries):
            members[name] = tuple(entry.name for entry in entries if entry.group == name)
        for item in self.items(content):
            group, listed = item.get("group"), [e for e in self.items_of(item.get("entries")) if e in names]
            if isinstance(group, str) and listed:
                members[group] = tuple(listed)
        return tuple(Group(name=name, entries=of) for name, of in members.items() if len(of) > 1)

    def items(self, content: Any) -> list[dict[str, Any]]:
        found = cast("list[Any]", content) if isinstance(content, list) else []
        return [cast("dict[str, Any]", item) for item in found if isinstance(item, dict)]

    def items_of(self, content: Any) -> list[str]:
        found = cast("list[Any]", content) if isinstance(content, list) else []
        return [item for item in found if isinstance(item, str)]

    def labels(self, content: Any) -> dict[str, str]:
        """What is only shown: versions, the machine."""
        given = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
        return {str(key): str(value) for key, value in given.items() if value is not None}

    def mapping(self, content: Any, where: str) -> dict[str, Any]:
        if not isinstance(content, dict):
            self.fail(f"{where} is not an object")
        return cast("dict[str, Any]", content)

    def sequence(self, given: Mapping[str, Any], key: str, where: str) -> list[Any]:
        value = given.get(key)
        if not isinstance(value, list):
            self.fail(f"{where} has no list called {key}")
        return cast("list[Any]", value)

    def text(self, given: Mapping[str, Any], key: str, where: str) -> str:
        value = given.get(key)
        if not isinstance(value, str) or not value:
            self.fail(f"{where} has no {key}")
        return value

    def unique(self, names: Sequence[str], what: str) -> None:
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            self.fail(f"the {what} {twice[0]!r} is there more than once")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
