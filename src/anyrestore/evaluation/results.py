"""The results file: what `anyrestore evaluate` and the studies store, written and read back here only.

Reading is strict about what a comparison stands on: format, protocol, data hash, image names, finite values,
and means that agree with the images. Further keys are ignored. What was written is read back to the last bit.

JSON has no infinity: the PSNR of an exact copy is `null` in the file and `math.inf` here. LPIPS, colour shift
and what a model was told have their keys only where there are some.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from anyrestore import provenance
from anyrestore.errors import DataError
from anyrestore.evaluation.scores import ImageScore, Score, group_means, protocol_of
from anyrestore.storage import shown

__all__ = [
    "FORMAT",
    "RESULTS",
    "Group",
    "Results",
    "as_dict",
    "as_json",
    "find_results",
    "image_as_dict",
    "image_from_dict",
    "read_results",
]

FORMAT = 2
"""Of the file. Format 1 (no such key) had no per-image values and no machine."""

RESULTS = "results.json"
"""The results file's name in a results folder."""

_DECIBELS = ("psnr", "input_psnr")
_NEEDED = ("psnr", "ssim", "input_psnr", "input_ssim", "seconds")
_OPTIONAL = ("lpips", "input_lpips", "colour_shift", "input_colour_shift")


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
        weights_sha256: Of the weights' file, or the index of shards; None if there is none.
        crops: How many crops the weights have been trained on, by their side in pixels; empty: not known.
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
    crops: Mapping[int, int]
    protocol: str
    limit: int | None
    command: str
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    entries: tuple[Score, ...]
    groups: tuple[Group, ...]

    def entry(self, name: str) -> Score:
        """The entry of that name; KeyError if there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)


# --------------------------------------------------------------------------------------------
# Writing


def as_dict(
    scores: Sequence[Score],
    *,
    model: str,
    weights_sha256: str | None,
    limit: int | None = None,
    command: str = "",
    device: str = "cpu",
    tile: int | str = "auto",
    crops: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Everything about a run that JSON can hold, at full precision.

    Args:
        scores: Of one protocol.
        model: The name or path that was asked for.
        weights_sha256: Of the weights' file; None if there is none.
        limit: At most so many images of each benchmark; None for all.
        command: By which it can be done again.
        device: Where the model ran.
        tile: What was asked for; each entry's `tiles` says which images were tiled, and how.
        crops: How many crops the weights have been trained on, by their side in pixels; None: not known.

    Raises:
        UsageError: The scores were measured under more than one protocol.
    """
    return {
        "format": FORMAT,
        "model": model,
        "weights_sha256": weights_sha256,
        **({} if crops is None else {"crops": {str(side): count for side, count in crops.items()}}),
        "protocol": protocol_of(scores),
        "limit": limit,
        "command": command,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "device": device,
        "tile": tile,
        "entries": [_entry_as_dict(score) for score in scores],
        "groups": [
            {key: _finite(value) for key, value in dataclasses.asdict(mean).items()}
            for mean in group_means(scores)
        ],
    }


def as_json(scores: Sequence[Score], **about: Any) -> str:
    """`as_dict` as text; takes what `as_dict` takes."""
    return json.dumps(as_dict(scores, **about), indent=2, allow_nan=False) + "\n"


def image_as_dict(image: ImageScore) -> dict[str, Any]:
    """An image's values, without those that were not measured."""
    values = dataclasses.asdict(image)
    return {key: _finite(value) for key, value in values.items() if value is not None}


def _entry_as_dict(s: Score) -> dict[str, Any]:
    told = {} if s.instruction is None else {"instruction": s.instruction}
    measured = {key: s.mean(key) for key in _OPTIONAL if key in s.metrics}
    images = [image_as_dict(image) for image in s.images]
    return {
        "name": s.name,
        "group": s.group,
        **told,
        "n": s.n,
        "psnr": _finite(s.psnr),
        "ssim": s.ssim,
        "input_psnr": _finite(s.input_psnr),
        "input_ssim": s.input_ssim,
        **measured,
        "gain": None if s.gain is None else _finite(s.gain),
        "seconds": s.seconds,
        "data_sha256": s.data_sha256,
        "tiles": {image["name"]: image.pop("tile") for image in images if "tile" in image},
        "images": images,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --------------------------------------------------------------------------------------------
# Reading


def image_from_dict(given: Mapping[str, Any]) -> ImageScore:
    """What `image_as_dict` made; keys that it does not know are ignored.

    Raises:
        ValueError: Something is missing or is no number; the message ends a sentence that begins with the
            image's name.
    """
    values: dict[str, float] = {}
    for key in (*_NEEDED, *_OPTIONAL):
        value = given.get(key)
        if value is None and key in _DECIBELS and key in given:
            values[key] = math.inf
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            values[key] = float(value)
        elif value is not None or key in _NEEDED:
            raise ValueError(f"has no {key}")
    height, width, tile = (given.get(key) for key in ("height", "width", "tile"))
    if not all(_is_side(side) for side in (height, width)):
        raise ValueError("has no height and width in pixels")
    if tile is not None and not _is_side(tile):
        raise ValueError("has tiles of no size")
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("has no name")
    return ImageScore(
        name=name,
        height=cast("int", height),
        width=cast("int", width),
        tile=tile,
        psnr=values["psnr"],
        ssim=values["ssim"],
        input_psnr=values["input_psnr"],
        input_ssim=values["input_ssim"],
        seconds=values["seconds"],
        **{key: values.get(key) for key in _OPTIONAL},
    )


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


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
        protocol = self.text(top, "protocol", "the file")
        entries = tuple(self.entry(entry, protocol) for entry in listed)
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
            crops=self.crops(top.get("crops")),
            protocol=protocol,
            limit=limit,
            command=str(top.get("command") or ""),
            versions=self.labels(top.get("versions")),
            machine=self.labels(top.get("machine")),
            entries=entries,
            groups=self.groups(top.get("groups"), entries),
        )

    def crops(self, content: Any) -> dict[int, int]:
        """Counts by side; results of before they were stored have none."""
        if content is None:
            return {}
        given = self.mapping(content, "crops")
        if not all(side.isdecimal() and _is_side(count) for side, count in given.items()):
            self.fail("crops are not numbers by side")
        return {int(side): count for side, count in given.items()}

    def entry(self, content: Any, protocol: str) -> Score:
        given = self.mapping(content, "an entry")
        name = self.text(given, "name", "an entry")
        tiles = given.get("tiles")
        side_of = cast("dict[str, Any]", tiles) if isinstance(tiles, dict) else {}
        images = tuple(self.image(image, name, side_of) for image in self.sequence(given, "images", name))
        if not images:
            self.fail(f"{name} has no images")
        if given.get("n", len(images)) != len(images):
            self.fail(f"{name} says n = {given['n']} and lists {len(images)} images")
        self.unique([image.name for image in images], f"image of {name}")
        group, instruction = given.get("group"), given.get("instruction")
        if not (instruction is None or isinstance(instruction, str)):
            self.fail(f"the instruction of {name} is no text")
        score = Score(
            name=name,
            group=group if isinstance(group, str) else name,
            protocol=protocol,
            data_sha256=self.text(given, "data_sha256", name),
            images=images,
            instruction=instruction,
        )
        for metric in ("psnr", "ssim"):
            mean = score.mean(metric)
            told = given.get(metric, mean)
            if isinstance(told, (int, float)) and not math.isclose(told, mean, rel_tol=1e-9, abs_tol=1e-9):
                self.fail(f"{name} says {metric} = {told}, and the mean of its images is {mean}")
        return score

    def image(self, content: Any, entry: str, side_of: Mapping[str, Any]) -> ImageScore:
        given = self.mapping(content, f"an image of {entry}")
        name = self.text(given, "name", f"an image of {entry}")
        try:
            return image_from_dict({**given, "tile": side_of.get(name)})
        except ValueError as error:
            self.fail(f"{name} of {entry} {error}")

    def groups(self, content: Any, entries: Sequence[Score]) -> tuple[Group, ...]:
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
