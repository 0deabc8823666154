"""Bring a data set into its canonical layout, as far as a program may.

A set with plain addresses and known hashes is downloaded; Restormer's crops are cut from GoPro's frames; each
other set is explained: its page, its licence, how to get it, how to lay it out. Nothing is scraped, no drive
link is followed and no form is filled in: those pages ask a person to agree to something.

Restormer's crops (Zamir et al., CVPR 2022, training on GoPro): windows of 512 x 512 px every 256 px and one
at the far edge, row by row, numbered from 1; 8 of a frame of 1280 x 720, 16,824 of the 2,103 frames.
"""

from __future__ import annotations

import json
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy.typing as npt
from tqdm import tqdm

from anyrestore.data.catalog import CATALOG, DataSet
from anyrestore.data.download import download
from anyrestore.data.readers import read_set
from anyrestore.errors import DataError, UsageError
from anyrestore.image import Picture, read, read_header, write

__all__ = ["Prepared", "crop_positions", "explain", "layouts", "prepare", "unpack"]

CROP, STEP = 512, 256
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_MOST_FILES = 1_000_000
_MOST_BYTES = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What was done: the set's folder, how many files are new, how many were there."""

    folder: Path
    made: int
    kept: int


def prepare(
    name: str,
    root: Path,
    *,
    fetch: Callable[..., None] = download,
    progress: bool = False,
) -> Prepared | None:
    """Make a data set ready under `root`; what is there already is kept, so that it can be interrupted.

    Args:
        name: A set of the catalogue.
        root: The folder that holds the sets.
        fetch: As `download.download`.
        progress: Show a bar.

    Returns:
        What was done; None for a set that only a person can get: `explain` says how.

    Raises:
        UsageError: There is no such set.
        DataError: Something that is needed is not there, or not what it should be.
        OutputError: A file could not be stored.
    """
    entry = CATALOG.get(name.lower())
    if entry is None:
        raise UsageError(f"Expected a data set among {', '.join(CATALOG)}, got {name!r}.")
    if entry.name == "gopro-crops":
        return _cut_gopro(root, progress=progress)
    if entry.download:
        return _download_set(entry, root, fetch, progress=progress)
    return None


def explain(entry: DataSet) -> list[str]:
    """How to get a set and how to lay it out, line by line."""
    lines = [
        f"{entry.title} ({entry.name}): {entry.task}",
        f"  page     {entry.page}",
        f"  licence  {entry.licence}",
        f"  access   {entry.access}: {entry.how}",
        f"  pairs    {entry.pairing}",
        *(f"  {line}" for line in layouts(entry)),
    ]
    if entry.subsets:
        lines.append(f"  subsets  {', '.join(f'{entry.name}/{name}' for name in entry.subsets)}")
    if entry.doubts:
        lines.append(f"  not verified: {entry.doubts}")
    return lines


def layouts(entry: DataSet) -> list[str]:
    """The canonical place of every split, one line each."""
    lines = list[str]()
    for name, split in entry.splits.items():
        place = split.places[0]
        halves = [half for half in (place.degraded, place.target) if half is not None]
        paths = [_first(f"{place.folders[0]}/{half}") for half in halves]
        lines.append(f"{name:<10} {' with '.join(f'{path}/' for path in paths)}")
    return lines


def _first(pattern: str) -> str:
    """A pattern of the catalogue with its first alternatives."""
    parts = [component.split("|")[0] for component in pattern.split("/")]
    return "/".join(part.replace("{subset}", "SUBSET") for part in parts if part != ".")


# --------------------------------------------------------------------------------------------
# Plain addresses


def load_hashes(name: str) -> dict[str, str]:
    """The files of a set that has plain addresses, and the SHA-256 of each."""
    table = json.loads(Path(__file__).with_name("fingerprints.json").read_text(encoding="utf-8"))
    return table["sha256"].get(name, {})


def _download_set(entry: DataSet, root: Path, fetch: Callable[..., None], *, progress: bool) -> Prepared:
    hashes = load_hashes(entry.name)
    folder = root / next(iter(entry.splits.values())).places[0].folders[0]
    folder.mkdir(parents=True, exist_ok=True)
    made = kept = 0
    for file, sha256 in tqdm(hashes.items(), desc=entry.title, disable=not progress):
        path = folder / file
        there = path.exists()
        fetch(entry.download.format(file=file), path, sha256=sha256)
        made, kept = made + (not there), kept + there
        unpacked = path.with_name(f".{file}.unpacked")  # unpacking may have been interrupted
        if file.endswith(ARCHIVES) and not unpacked.exists():
            unpack(path, folder)
            unpacked.touch()
    return Prepared(folder=folder, made=made, kept=kept)


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip or tar file into a folder.

    Members are regular files with relative names; links, devices, absolute names and names with ".." make the
    whole archive refused, before anything is written. Files are unpacked beside the folder's content first.

    Returns:
        How many files there were.

    Raises:
        DataError: It is damaged, or has members that do not belong into a data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as temporary:
            names = list[PurePosixPath]()
            for name, file in _members(archive):
                place = Path(temporary, *name.parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with file, place.open("xb") as out:
                    shutil.copyfileobj(file, out, 1 << 20)
                names.append(name)
            for name in names:
                target = folder.joinpath(*name.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(temporary, *name.parts).replace(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{archive} is damaged ({error}); delete it and get it again.") from error
    return len(names)


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Names and contents of the regular files of an archive, all of which were found harmless first."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            files = [info for info in zipped.infolist() if not info.is_dir()]
            for info in files:
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG):
                    raise DataError(
                        f"{archive} holds {info.filename!r}, which is no regular file; not unpacked."
                    )
            _check_amount(archive, len(files), sum(info.file_size for info in files))
            names = [_harmless(info.filename, archive) for info in files]
            for name, info in zip(names, files, strict=True):
                yield name, zipped.open(info)
        return
    with tarfile.open(archive) as tarred:
        members = [member for member in tarred.getmembers() if not member.isdir()]
        for member in members:
            if not member.isreg():
                raise DataError(f"{archive} holds {member.name!r}, which is no regular file; not unpacked.")
        _check_amount(archive, len(members), sum(member.size for member in members))
        names = [_harmless(member.name, archive) for member in members]
        for name, member in zip(names, members, strict=True):
            content = tarred.extractfile(member)
            assert content is not None
            yield name, content


def _harmless(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
        raise DataError(f"{archive} holds {name!r}, which leads out of the folder; it was not unpacked.")
    return path


def _check_amount(archive: Path, files: int, size: int) -> None:
    if files > _MOST_FILES or size > _MOST_BYTES:
        raise DataError(f"{archive} holds {files:,} files of {size:,} bytes; no data set does. Not unpacked.")


# --------------------------------------------------------------------------------------------
# Restormer's crops


def crop_positions(side: int, crop: int = CROP, step: int = STEP) -> list[int]:
    """Where the windows of a side of so many pixels begin: every `step`, and one at the far edge.

    >>> crop_positions(720), crop_positions(1280)
    ([0, 208], [0, 256, 512, 768])
    """
    return [*range(0, side - crop, step), side - crop]


class _Frame:
    """A picture file that is decoded when its pixels are first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pixels: npt.NDArray[Any] | None = None

    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        header = read_header(self._path)
        return header.height, header.width

    def pixels(self) -> npt.NDArray[Any]:
        """(h w 3) or (h w)."""
        if self._pixels is None:
            self._pixels = read(self._path).pixels
        return self._pixels


def _cut_gopro(root: Path, *, progress: bool) -> Prepared:
    folder = root / "GoPro-crops"
    halves = folder / "input_crops", folder / "target_crops"
    listing = read_set("gopro", root, split="train")
    for half in halves:
        half.mkdir(parents=True, exist_ok=True)
    there = [{path.name for path in half.iterdir()} for half in halves]
    made = kept = 0
    for pair in tqdm(listing.pairs, desc="cutting GoPro", disable=not progress):
        assert pair.degraded is not None
        sources = _Frame(pair.degraded), _Frame(pair.target)
        height, width = sources[0].sides()
        if sources[1].sides() != (height, width):
            raise DataError(f"{pair.degraded} and {pair.target} differ in size; get the set again.")
        if min(height, width) < CROP:
            raise DataError(f"{pair.degraded} is {height} x {width} pixels; expected 720 x 1280.")
        corners = [(top, left) for top in crop_positions(height) for left in crop_positions(width)]
        for number, (top, left) in enumerate(corners, start=1):
            name = f"{pair.name.replace('/', '-')}-{number}.png"
            for source, half, names in zip(sources, halves, there, strict=True):
                if name in names:  # files are written in one step: what is there is whole
                    kept += 1
                    continue
                pixels = source.pixels()[top : top + CROP, left : left + CROP]
                write(Picture(pixels=pixels), half / name)
                made += 1
    return Prepared(folder=folder, made=made, kept=kept)
