"""Find the pictures of a data set on disk: names and pairs only, nothing is opened.

Copies of the public sets differ in the names of folders and files. Folders are found by the catalogue's
names, whatever the case and punctuation. The halves of a pair find each other in four steps, from strict to
tolerant: the same name; the same name without affixes (`norain-1` and `rain-1`, `0_clean` and `0_rain`,
leading zeros); the clean half of a name that carries parameters (`0001_0.8_0.2`, `im_0001_s80_a04`); both.
A tolerant step is taken only where it leaves one candidate.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from anyrestore.data.catalog import CATALOG, DataSet, Place, Split
from anyrestore.data.images import SUFFIXES
from anyrestore.errors import DataError, UsageError

__all__ = ["Listing", "Pair", "find_set", "find_split", "plain_name", "read_set"]

# Words that say which half of a pair a picture is, or what is wrong with it, and not which scene it shows.
_CLEAN = frozenset(
    ("norain", "high", "hq", "hr", "target", "gt", "clean", "clear", "normal", "sharp", "reference", "ref")
)
_AFFIXES = _CLEAN | frozenset(
    (
        *(
            "rain",
            "rainy",
            "haze",
            "hazy",
            "snow",
            "snowy",
            "blur",
            "blurry",
            "blurred",
            "noisy",
            "low",
            "full",
        ),
        *("lq", "lr", "input", "degraded", "synthetic", "raw"),
        "x2",  # Rain100L's authors: `norain-001x2`
    )
)
_WORDS = re.compile(r"[^a-z0-9.]+")
_GLUED = re.compile(r"^([a-z]+?)(\d+)(x2)?$")
_PARAMETERS = (
    re.compile(r"^(.+?)_\d+(?:\.\d+)?_\d*\.\d+$"),  # RESIDE: airlight, scattering coefficient
    re.compile(r"^(.+?)_s\d+_a\d+$"),  # Outdoor-Rain: streaks, airlight
)


@dataclass(frozen=True, slots=True)
class Pair:
    """One picture of a set.

    Attributes:
        name: Unique in the set and stable whatever the file format; relative, "/" between folders.
        target: The clean picture.
        degraded: The degraded one; None in sets of clean pictures.
        group: Equal for pairs that show the same scene, which validation must not split.
    """

    name: str
    target: Path
    degraded: Path | None
    group: str


@dataclass(frozen=True)
class Listing:
    """What was found of a set.

    Attributes:
        pairs: Sorted by name.
        missing: Expected and not there: known names, and halves whose partner is there.
        unexpected: There and not expected, relative to the set's folder.
        folder: The set's folder.
    """

    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    folder: Path

    @property
    def alone(self) -> tuple[str, ...]:
        """Those of `missing` whose partner is there: a folder with them is damaged, not only incomplete."""
        return tuple(name for name in self.missing if "(partner of " in name)


@dataclass(frozen=True, slots=True)
class _File:
    name: str  # with the names of varying folders before it, without suffix
    stem: str  # lower case
    shown: str  # relative to the set's folder, with suffix
    path: Path


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder that a pattern of the catalogue stands for, and the names of the parts that varied."""

    path: str
    varied: tuple[str, ...] = ()


def read_set(name: str, root: Path, *, split: str = "train") -> Listing:
    """List a data set's pictures.

    Args:
        name: A set of the catalogue ("rain100l"), a subset of one ("cdd11/haze_rain"), two folders under the
            root matched by name ("pairs:LOW|HIGH"), or a folder of clean pictures, with all that is below it
            ("clean:FOLDER").
        root: The folder that holds the sets, or the set's own folder.
        split: "train", "test", or what else the set has; without meaning for folders of one's own.

    Raises:
        UsageError: There is no such set, subset or split.
        DataError: It is not there, or there are no pictures.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == "clean":
        return _read_clean_folder(root, rest)
    if colon and kind == "pairs":
        low, bar, high = rest.partition("|")
        if not bar:
            raise UsageError(f"Expected pairs:LOW|HIGH, got {name!r}.")
        return _read_pair_folders(root, low, high)
    entry, subset, part = find_split(name, split)
    # Folders that have one of the set's names before a root that may be the set's own folder.
    named = [(place, base) for place in part.places for base in _bases(root, place)]
    own = [(place, str(root)) for place in part.places if not place.shared]
    for place, base in (*named, *own):
        listing = _read_place(base, place, entry, part, subset)
        if listing is not None:
            return listing
    raise DataError(_not_found(entry, part, root, split))


def find_set(name: str) -> DataSet:
    """The set that a name, also one of a subset, stands for.

    Raises:
        UsageError: There is none.
    """
    entry = CATALOG.get(name.partition("/")[0].lower())
    if entry is None:
        raise UsageError(
            f"Expected a data set among {', '.join(CATALOG)}, or pairs:LOW|HIGH, or clean:FOLDER, "
            f"got {name!r}."
        )
    return entry


def find_split(name: str, split: str) -> tuple[DataSet, str | None, Split]:
    """The set, the subset and the split that a name stands for.

    Raises:
        UsageError: There is none.
    """
    entry = find_set(name)
    subset = name.partition("/")[2]
    if split not in entry.splits:
        raise UsageError(
            f"Expected a part of {entry.title} among {', '.join(entry.splits)}, got {split!r}; "
            "pictures for measuring are kept out of training."
        )
    part = entry.splits[split]
    if not subset:
        return entry, None, part
    known = next((key for key in entry.subsets if _plain(key) == _plain(subset)), None)
    if known is None or not any("{subset}" in place.target + (place.degraded or "") for place in part.places):
        having = f"{split} has no subsets" if known else f"its subsets: {', '.join(entry.subsets) or 'none'}"
        raise UsageError(f"Expected a subset of {entry.title}, got {subset!r} ({having}).")
    return entry, known, part


def plain_name(name: str, prefixes: Sequence[str] = ()) -> str:
    """A picture's name without what differs between copies: case, affixes, leading zeros, punctuation.

    >>> plain_name("norain-007"), plain_name("7_clean"), plain_name("Rain-7")
    ('7', '7', '7')
    """
    words = list[str]()
    whole = [word for word in _WORDS.split(name.lower()) if word]
    for word in whole:
        if word in _AFFIXES:
            continue
        glued = _GLUED.match(word)
        if glued and (glued[1] in _AFFIXES or (len(whole) == 1 and glued[1] in prefixes)):
            words.append(glued[2])
        else:
            words.append(word.removesuffix("x2") if word[:1].isdigit() else word)
    return "_".join(word.lstrip("0") or "0" for word in words or whole)


# --------------------------------------------------------------------------------------------
# Folders


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9*]", "", name.lower())


def _children(folder: str) -> dict[str, str]:
    """Folders in a folder: the plain name of each, and its name."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith((".", "__MACOSX")) and entry.is_dir()
            )
    except OSError:
        return {}
    return {_plain(name): name for name in reversed(names)}


def _resolve(base: str, pattern: str) -> list[_Folder]:
    """The folders that a pattern of the catalogue stands for, under a folder."""
    found = [_Folder(base)]
    for component in pattern.split("/"):
        found = [deeper for folder in found for deeper in _step(folder, component)]
    return found


def _step(folder: _Folder, component: str) -> Iterator[_Folder]:
    children = _children(folder.path)
    if "&" in component or "*" in component:
        for wanted in component.split("&"):
            for plain, name in sorted(children.items()):
                if fnmatchcase(plain, _plain(wanted)):
                    yield _Folder(f"{folder.path}/{name}", (*folder.varied, name))
        return
    for wanted in component.split("|"):
        if wanted == ".":
            yield folder
            return
        if _plain(wanted) in children:
            yield _Folder(f"{folder.path}/{children[_plain(wanted)]}", folder.varied)
            return


def _bases(root: Path, place: Place) -> Iterator[str]:
    """Folders under the root, or the root itself, that have one of the names of the set's folder."""
    here = [_plain(part) for part in root.absolute().parts]
    for names in place.folders:
        for folder in _resolve(str(root), names):
            yield folder.path
        wanted = [_plain(name) for name in names.split("/")]
        if here[-len(wanted) :] == wanted:
            yield str(root)


# --------------------------------------------------------------------------------------------
# Pictures


def _pictures(folder: _Folder, base: str) -> list[_File]:
    """The pictures directly in a folder; hidden files and others are left alone."""
    before = "".join(f"{name}/" for name in folder.varied)
    shown = folder.path[len(base) :].strip("/")
    shown = f"{shown}/" if shown else ""
    files = list[_File]()
    with os.scandir(folder.path) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 (a path each would take seconds)
            if entry.name[0] != "." and suffix.lower() in SUFFIXES and entry.is_file():
                path = Path(folder.path, entry.name)
                files.append(_File(f"{before}{stem}", stem.lower(), f"{shown}{entry.name}", path))
    return sorted(files, key=lambda file: file.shown)


class _Index:
    """Clean pictures by name, strictly and tolerantly."""

    def __init__(self, files: Iterable[_File], plain: Callable[[str], str]) -> None:
        self._plain = plain
        self.exact = dict[str, _File]()
        self.loose = dict[str, _File | None]()
        self.extra = list[_File]()
        for file in files:
            if file.stem in self.exact:  # the same name in another format
                self.extra.append(file)
                continue
            self.exact[file.stem] = file
            key = plain(file.stem)
            self.loose[key] = None if key in self.loose else file

    def find(self, stem: str) -> _File | None:
        """The picture for a degraded one's name (lower case)."""
        found = self.exact.get(stem) or self.loose.get(self._plain(stem))
        if found is None:
            for pattern in _PARAMETERS:
                if match := pattern.match(stem):
                    return self.exact.get(match[1]) or self.loose.get(self._plain(match[1]))
        return found


def _read_place(base: str, place: Place, entry: DataSet, part: Split, subset: str | None) -> Listing | None:
    """The set as it lies in one place, or None if it does not."""
    if place.degraded is None:
        folders = _resolve(base, place.target)
        files = [file for folder in folders for file in _pictures(folder, base)]
        return _list_clean(base, files, entry, part, known_only=place.shared) if files else None
    patterns = place.target, place.degraded
    subsets = entry.subsets if any("{subset}" in pattern for pattern in patterns) else {"": ""}
    parts = list[Listing]()
    for name, folders in subsets.items():
        if subset in (None, name):
            target, degraded = (_resolve(base, p.replace("{subset}", folders)) for p in patterns)
            if target and degraded:
                own = "{subset}" in place.target  # else all subsets show the same scenes
                parts.append(_match(base, target, degraded, entry, part, subset=name, own_scenes=own))
            elif subset is None and name:
                parts.append(Listing((), (f"{name}/ (the whole subset)",), (), Path(base)))
    if not any(listing.pairs for listing in parts):
        return None
    pairs = sorted((pair for listing in parts for pair in listing.pairs), key=lambda pair: pair.name)
    missing = dict.fromkeys(name for listing in parts for name in listing.missing)
    unexpected = dict.fromkeys(name for listing in parts for name in listing.unexpected)
    return Listing(tuple(pairs), tuple(missing), tuple(unexpected), Path(base))


def _list_clean(
    base: str, files: Sequence[_File], entry: DataSet, part: Split, *, known_only: bool
) -> Listing | None:
    # Where sets lie together, WED's 02092 is not BSD400's 2092.
    plain = partial(_without, entry.prefixes) if known_only else partial(plain_name, prefixes=entry.prefixes)
    wanted = {plain(name): name for name in part.names}
    pairs = dict[str, Pair]()
    unexpected = list[str]()
    present = set[str]()
    for file in files:
        key = plain(file.stem)
        strange = bool(wanted) and (key not in wanted or key in present)
        if file.name in pairs or strange:
            unexpected.append(file.shown)
        if file.name not in pairs and not (strange and known_only):
            pairs[file.name] = Pair(file.name, file.path, None, file.name)
        present.add(key)
    if not pairs:
        return None
    missing = tuple(name for key, name in wanted.items() if key not in present)
    # In a folder that several sets share, what is not ours belongs to another.
    return Listing(_sorted(pairs.values()), missing, () if known_only else tuple(unexpected), Path(base))


def _without(prefixes: Sequence[str], name: str) -> str:
    prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
    return name.removeprefix(prefix)


def _match(
    base: str,
    target_folders: Sequence[_Folder],
    degraded_folders: Sequence[_Folder],
    entry: DataSet,
    part: Split,
    *,
    subset: str = "",
    own_scenes: bool = False,
) -> Listing:
    """Bring the halves of pairs together."""
    plain = partial(plain_name, prefixes=entry.prefixes)
    one_folder = [folder.path for folder in target_folders] == [folder.path for folder in degraded_folders]
    finder = _Finder(base, target_folders, plain, only_clean=one_folder)
    before = f"{subset}/" if subset else ""
    pairs = dict[str, Pair]()
    missing, unexpected = list[str](), list[str]()
    seen, used = set[str](), set[str]()  # plain names of degraded pictures; clean pictures with a partner
    for folder in degraded_folders:
        for file in _pictures(folder, base):
            if one_folder and _says_clean(file.stem):
                continue
            target = finder.find(folder, file.stem)
            if target is None:
                missing.append(f"{finder.where(folder)}/{_scene_of(file.stem)} (partner of {file.shown})")
                seen.add(plain(_scene_of(file.stem)))
                continue
            used.add(target.shown)
            name = f"{before}{file.name}"
            if name in pairs:
                unexpected.append(file.shown)
                continue
            group = (before if own_scenes else "") + _group(target.name, entry.scene)
            pairs[name] = Pair(name, target.path, file.path, group)
    if part.variants:
        missing.extend(_variants_absent(pairs, part.variants))
    wanted = {plain(name): name for name in part.names}
    first = degraded_folders[0]
    where = first.path[len(base) :].strip("/") if len(degraded_folders) == 1 else "the degraded half"
    for file in finder.files:
        key = plain(file.stem)
        seen.add(key)
        if file.shown not in used and not entry.spare_targets:
            missing.append(f"{where}/{file.stem} (partner of {file.shown})")
        if wanted and key not in wanted:
            unexpected.append(file.shown)
    missing.extend(name for key, name in wanted.items() if key not in seen)
    unexpected.extend(file.shown for file in finder.extra)
    return Listing(_sorted(pairs.values()), tuple(missing), tuple(unexpected), Path(base))


class _Finder:
    """Clean pictures of one or several folders, each searched for the degraded folder that goes with it."""

    def __init__(
        self, base: str, folders: Sequence[_Folder], plain: Callable[[str], str], *, only_clean: bool
    ) -> None:
        self._base = base
        self._folders = {folder.varied: folder for folder in folders}
        self._indexes = dict[tuple[str, ...], _Index]()
        for folder in folders:
            files = _pictures(folder, base)
            chosen = [file for file in files if _says_clean(file.stem)] if only_clean else files
            self._indexes[folder.varied] = _Index(chosen, plain)
        self.files = [file for index in self._indexes.values() for file in index.exact.values()]
        self.extra = [file for index in self._indexes.values() for file in index.extra]

    def _varied(self, folder: _Folder) -> tuple[str, ...]:
        return folder.varied if folder.varied in self._indexes else ()

    def find(self, folder: _Folder, stem: str) -> _File | None:
        """The clean picture for a degraded one of `folder`."""
        index = self._indexes.get(self._varied(folder))
        return None if index is None else index.find(stem)

    def where(self, folder: _Folder) -> str:
        """The folder of clean pictures that goes with `folder`, for a sentence."""
        clean = self._folders.get(self._varied(folder))
        return "the clean half" if clean is None else clean.path[len(self._base) :].strip("/") or "."


def _says_clean(stem: str) -> bool:
    words = _WORDS.split(stem.lower())
    return any(word in _CLEAN or ((glued := _GLUED.match(word)) and glued[1] in _CLEAN) for word in words)


def _scene_of(stem: str) -> str:
    return next((match[1] for pattern in _PARAMETERS if (match := pattern.match(stem))), stem)


def _group(name: str, scene: str) -> str:
    match = re.match(scene, name, re.IGNORECASE) if scene else None
    return match[1] if match else name


def _variants_absent(names: Iterable[str], variants: Sequence[str]) -> Iterator[str]:
    """Degraded pictures that scenes lack, where every scene has the same ones."""
    of_scene = dict[str, set[str]]()
    for name in names:
        scene = _scene_of(name)
        of_scene.setdefault(scene, set()).add(name[len(scene) :])
    for scene, present in sorted(of_scene.items()):
        if len(present) < len(variants):
            yield from (scene + variant for variant in variants if variant not in present)


def _sorted(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(sorted(pairs, key=lambda pair: pair.name))


# --------------------------------------------------------------------------------------------
# Folders of one's own


_OWN = DataSet(
    name="own",
    title="a folder of one's own",
    task="",
    splits={},
    pairing="same name",
    page="",
    licence="",
    access="request",
    how="",
)


def _read_clean_folder(root: Path, name: str) -> Listing:
    base = str(root / name)
    if not (root / name).is_dir():
        raise DataError(f"Expected a folder of pictures at {base}, found none; check the root of the data.")
    pairs = dict[str, Pair]()
    unexpected = list[str]()
    for folder, below, _ in os.walk(base):
        below[:] = sorted(entry for entry in below if not entry.startswith((".", "__MACOSX")))
        inside = Path(folder).relative_to(base).parts
        for file in _pictures(_Folder(folder, inside), base):
            if file.name in pairs:
                unexpected.append(file.shown)
            else:
                pairs[file.name] = Pair(file.name, file.path, None, file.name)
    if not pairs:
        raise DataError(f"Expected pictures in {base}, found none; check the root of the data.")
    return Listing(_sorted(pairs.values()), (), tuple(unexpected), root / name)


def _read_pair_folders(root: Path, low: str, high: str) -> Listing:
    for half in (low, high):
        if not (root / half).is_dir():
            raise DataError(f"Expected a folder of pictures at {root / half}, found none; check the root.")
    halves = [_Folder(str(root / half)) for half in (high, low)]
    listing = _match(str(root), halves[:1], halves[1:], _OWN, Split(count=0, places=()))
    if not listing.pairs:
        raise DataError(f"Expected pictures of the same names in {root / low} and {root / high}, found none.")
    return listing


def _not_found(entry: DataSet, part: Split, root: Path, split: str) -> str:
    names = dict.fromkeys(name for place in part.places for name in place.folders)
    first = part.places[0]
    inside = first.target if first.degraded is None else f"{first.degraded} and {first.target}"
    return (
        f"Expected {entry.title} ({split}) in {root}, and it is not there; looked for a folder called "
        f"{', '.join(names)} (in any case) with pictures in {inside}. "
        "`anyrestore data list` says how to get it."
    )
