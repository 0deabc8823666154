"""Which file becomes which: settled before any work.

Nothing is computed before it is known that no two results would meet, none would overwrite an input, and the
place for them can be written to.

What is unusual: symbolic links inside a folder are judged after everything else was found. One that leads
to a file that is there anyway, out of the folder, or nowhere, is refused by name, so each file is restored
once and no loop is ever entered. A folder with a manifest (`.anyrestore*.jsonl`) holds results, and results
are not read as inputs.
"""

from __future__ import annotations

import os
import stat
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from anyrestore import image
from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.storage import shown

COMPARE_SUFFIX = ".compare.png"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file to restore: where from, where to, and where its before/after sheet goes, if anywhere.

    `name` is the result's name from the output folder on, with "/" between folders; empty where the result is
    no file of a folder.
    """

    source: Path
    target: Path
    sheet: Path | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An entry of a folder that is not restored, and why; `failed` if pictures may be missing for it."""

    source: Path
    error: InputError
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        jobs: in the order of the inputs, those of a folder in the order of their names.
        refused: what was found in folders and will not be restored.
        folder: where the results go; None if the only one goes to a file by name.
        many: whether a folder or several files came in.
    """

    jobs: tuple[Job, ...]
    refused: tuple[Refusal, ...] = ()
    folder: Path | None = None
    many: bool = False


@dataclass(frozen=True)
class _Found:
    source: Path
    name: str


def plan(
    inputs: Sequence[Path], output: str | Path | None, *, compare: bool = False, recursive: bool = False
) -> Plan:
    """Settle which file each input becomes.

    Args:
        inputs: files and folders; of a folder its pictures directly within, in the order of their names.
        output: a file (for a single input file) or a folder, which need not exist; a text that ends in a
            slash is a folder; None writes NAME.restored.EXT beside a single input file.
        compare: whether each result gets a before/after sheet, NAME.compare.png beside it.
        recursive: whether pictures in folders of a folder count too; their results keep the tree.

    Raises:
        UsageError: the names do not work out; the sentence says which and why.
        InputError: a folder that was named cannot be read (code `permission`).
    """
    where = None if output is None else os.path.realpath(output)
    found, refused, all_files = _sources(inputs, recursive=recursive, output=where)
    folder: Path | None = None
    if output is None:
        if not all_files or len(found) != 1:
            raise UsageError("several pictures need a folder to go to: name it with -o FOLDER")
        source = found[0].source
        targets = [source.with_name(f"{source.stem}.restored{source.suffix}")]
    elif all_files and len(found) == 1 and not _is_folder(output):
        targets = [_target_file(Path(output))]
    else:
        folder = Path(output)
        if folder.suffix.lower() in image.SUFFIXES and not _is_folder(output):
            raise UsageError(f"several pictures need a folder to go to, but -o names the file {folder}")
        targets = [folder.joinpath(*one.name.split("/")) for one in found]
    jobs = tuple(
        Job(
            source=one.source,
            target=target,
            sheet=target.with_name(target.stem + COMPARE_SUFFIX) if compare else None,
            name="" if folder is None else one.name,
        )
        for one, target in zip(found, targets, strict=True)
    )
    _check_collisions(jobs)
    return Plan(jobs=jobs, refused=tuple(refused), folder=folder, many=not all_files or len(found) > 1)


def plan_jobs(
    inputs: Sequence[Path], output: str | Path | None, *, compare: bool = False, recursive: bool = False
) -> list[Job]:
    """The jobs of :func:`plan`, for whom what was refused is of no interest."""
    return list(plan(inputs, output, compare=compare, recursive=recursive).jobs)


def check_places(jobs: Sequence[Job]) -> None:
    """Make sure, before any work, that results can be stored where they are to go.

    A folder that does not exist yet is not made here; its nearest existing ancestor is tried instead.

    Raises:
        OutputError: a result's folder cannot be written to.
        UsageError: the file system there takes the names of two results for one (`A.png` and `a.png`, or an
            accent spelled in two ways).
    """
    for existing in dict.fromkeys(_existing(folder) for folder in {job.target.parent: None for job in jobs}):
        if not existing.is_dir():
            raise OutputError(
                f"{existing} is not a folder, so nothing can be stored in it", code="output_unwritable"
            )
        try:
            # Permission bits do not tell of read-only file systems, nor do they bind root: try it.
            with tempfile.TemporaryFile(dir=existing, prefix=".anyrestore.", suffix=".tmp"):
                pass
        except OSError as error:
            raise OutputError(
                f"cannot write to the folder {existing}: {error.strerror or error}", code="output_unwritable"
            ) from None
    _check_twins(jobs)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest of its ancestors that is there."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder


def _sources(
    inputs: Sequence[Path], *, recursive: bool, output: str | None
) -> tuple[list[_Found], list[Refusal], bool]:
    """The files to restore, each once; what was refused; whether all were named themselves (no folder)."""
    found, refused = list[_Found](), list[Refusal]()
    all_files = True
    for path in inputs:
        is_folder = os.path.isdir(path)  # noqa: PTH112 (Path.is_dir may raise)
        pictures, others = _pictures_in(path, recursive=recursive, output=output) if is_folder else ([], [])
        # A folder named like a picture that holds none was meant as a picture: reading it says what it is.
        if not is_folder or (not pictures and _is_named_like_a_picture(path.name)):
            found.append(_Found(path, path.name))
            continue
        all_files = False
        if not pictures:
            hint = "" if recursive else "; --recursive looks into its folders too"
            raise UsageError(
                f"no pictures in the folder {path}; expected files ending in "
                f"{', '.join(image.SUFFIXES)}{hint}"
            )
        found.extend(pictures)
        refused.extend(others)
    once: dict[Path, _Found] = {}
    for one in found:
        once.setdefault(one.source.absolute(), one)
    return list(once.values()), refused, all_files


def _is_named_like_a_picture(name: str) -> bool:
    # Names that begin with "._" are what macOS leaves beside a file on foreign disks.
    return Path(name).suffix.lower() in image.SUFFIXES and not name.startswith("._")


def _pictures_in(root: Path, *, recursive: bool, output: str | None) -> tuple[list[_Found], list[Refusal]]:
    """The pictures of a folder, in the order of their names, and what is named like one but is none.

    Args:
        root: the folder.
        recursive: whether to look into its folders.
        output: where results go (a real path): not looked into.
    """
    real = os.path.realpath(root)
    found, links, refused = list[_Found](), list[_Found](), list[Refusal]()
    folders = [_Found(root, "")]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder.source) as opened:
                entries = list(opened)
        except OSError as error:
            refusal = _refused(folder.source, "permission", f"cannot be read: {error.strerror}", failed=True)
            if not folder.name:
                raise refusal.error from None
            refused.append(refusal)
            continue
        if folder.name and any(_is_manifest(entry.name) for entry in entries):
            refused.append(
                _refused(folder.source, "output_folder", "holds results; they are not restored again")
            )
            continue
        for entry in entries:
            one = _Found(folder.source / entry.name, f"{folder.name}{entry.name}")
            if entry.is_symlink():
                links.append(one)
            elif entry.is_dir(follow_symlinks=False):
                if recursive and os.path.join(real, one.name) != output:  # noqa: PTH118 (compared as text)
                    folders.append(_Found(one.source, f"{one.name}/"))
                elif not recursive and _is_named_like_a_picture(entry.name):
                    refused.append(_refused(one.source, "not_a_regular_file", "is a folder"))
            elif _is_named_like_a_picture(entry.name):
                if entry.is_file(follow_symlinks=False):
                    found.append(one)
                else:
                    refused.append(_refused(one.source, "not_a_regular_file", "is a pipe, socket or device"))
    _judge_links(links, real, found, refused, output if recursive else None)
    found.sort(key=_order)
    refused.sort(key=lambda refusal: str(refusal.source))
    return found, refused


def _order(found: _Found) -> list[str]:
    return found.name.split("/")


def _is_manifest(name: str) -> bool:
    return name.startswith(".anyrestore") and name.endswith(".jsonl")


def _judge_links(
    links: list[_Found], real: str, found: list[_Found], refused: list[Refusal], output: str | None
) -> None:
    """Sort symbolic links among what was found and what was refused.

    Args:
        links: all that are in the folder.
        real: the folder, a path without links.
        found: regular files so far; links to files of the folder that are not among them join them.
        refused: the other links join these, if they are named like pictures or lead to folders.
        output: where results go, in it nothing is an input.
    """
    taken = {os.path.join(real, *one.name.split("/")) for one in found}  # noqa: PTH118
    for link in sorted(links, key=_order):
        named_so = _is_named_like_a_picture(link.source.name)
        try:
            mode = os.stat(link.source).st_mode  # noqa: PTH116
        except OSError as error:
            if named_so:
                refused.append(_refused(link.source, "link_broken", f"leads nowhere: {error.strerror}"))
            continue
        where = os.path.realpath(link.source)
        if not (named_so or stat.S_ISDIR(mode)) or (output and _is_within(where, output)):
            continue
        if not _is_within(where, real):
            reason = "leads out of the folder; name what it leads to as an input of its own"
            refused.append(_refused(link.source, "link_outside", reason))
        elif where in taken or stat.S_ISDIR(mode):
            refused.append(_refused(link.source, "duplicate", "leads to what is in the folder by itself"))
        elif not stat.S_ISREG(mode):
            reason = "leads to a pipe, socket or device"
            refused.append(_refused(link.source, "not_a_regular_file", reason))
        else:
            taken.add(where)
            found.append(link)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _refused(path: Path, code: str, why: str, *, failed: bool = False) -> Refusal:
    return Refusal(source=path, error=InputError(f"{shown(path)} {why}.", code=code), failed=failed)


def _is_folder(output: str | Path) -> bool:
    path = Path(output)
    return str(output).endswith(("/", os.sep)) or path.is_dir() or (not path.suffix and not path.exists())


def _target_file(path: Path) -> Path:
    if path.suffix.lower() not in image.SUFFIXES:
        raise UsageError(
            f"{path} ends in {path.suffix!r}, no known format; expected one of {', '.join(image.SUFFIXES)}"
        )
    if not path.parent.exists():
        raise OutputError(f"the folder {path.parent} does not exist; make it first", code="output_unwritable")
    return path


def _targets(jobs: Iterable[Job]) -> list[tuple[Job, Path]]:
    return [(job, target) for job in jobs for target in (job.target, job.sheet) if target is not None]


def _check_collisions(jobs: Sequence[Job]) -> None:
    """Refuse results that would meet each other, an input, or a folder for other results."""
    sources = {_identity(job.source): job.source for job in jobs}
    owners: dict[object, Path] = {}
    for job, target in _targets(jobs):
        identity = _identity(target)
        if identity in sources:
            raise UsageError(
                f"{target} is an input too ({sources[identity]}) and stays; choose another place with -o"
            )
        if identity in owners:
            raise UsageError(
                f"{owners[identity]} and {job.source} would both become {target}; restore them separately"
            )
        owners[identity] = job.source
    files = {target: job.source for job, target in _targets(jobs)}
    for job in jobs:
        for folder in job.target.parents:
            if folder in files:
                raise UsageError(
                    f"{files[folder]} would become the file {folder}, which {job.source} needs as a folder; "
                    "restore them separately"
                )


def _check_twins(jobs: Sequence[Job]) -> None:
    """Refuse names that differ for us but not for the file system they are to be stored on."""
    alike: dict[str, list[tuple[Job, Path]]] = {}
    for job, target in _targets(jobs):
        alike.setdefault(unicodedata.normalize("NFC", str(target)).casefold(), []).append((job, target))
    for group in alike.values():
        for (first, one), (second, other) in combinations(group, 2):
            if _are_one(one, other):
                raise UsageError(
                    f"{shown(first.source)} and {shown(second.source)} would both become {shown(one)}, since "
                    "file names there do not tell upper from lower case, or one spelling of an accent from "
                    "the other; restore them separately"
                )


def _are_one(first: Path, second: Path) -> bool:
    """Whether the file system takes two names, the same but for case and spelling, for one: it is tried."""
    existing = _existing(first.parent)
    for one, other in zip(first.parts, second.parts, strict=False):
        if one == other:
            continue
        try:
            with tempfile.NamedTemporaryFile(dir=existing, prefix=f".{one}.", suffix=".tmp") as file:
                name = Path(file.name).name
                if not os.path.lexists(existing / name.replace(one, other, 1)):
                    return False
        except OSError:  # a name of 250 bytes cannot be tried, and so is not trusted
            return True
    return True


def _identity(path: Path) -> object:
    """The same for two names of one file (links too); of a file that is not there yet, its full path."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return path.parent.resolve() / path.name
    return status.st_dev, status.st_ino
