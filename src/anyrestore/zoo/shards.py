"""Weights cut into shards: a few safetensors files and an index, in Hugging Face's layout.

``NAME-00001-of-00002.safetensors``, ... and ``NAME.safetensors.index.json``, which says in ``weight_map`` in
which file a tensor is, and in ``metadata.total_size`` how many bytes all of them have; huggingface_hub and
transformers write and read the same. For weights that must travel where one file may not be large.

Two things are ours. The index also holds the SHA-256 of every shard, so that shards of two exports never pass
for one network; and every shard says in its own header what the index says of the network. The index is
written last and removed first: while it is there, what it names is whole. Cutting is a loop of ten lines, so
that huggingface_hub stays an extra.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from anyrestore import tensorfile
from anyrestore.errors import ModelError, OutputError
from anyrestore.storage import shown, store_bytes

__all__ = ["INDEX", "PART", "Sharded", "find_index", "read_index", "remove", "stands_for", "store"]

INDEX = ".safetensors.index.json"
"""How an index's name ends."""
BEST = "best"
"""What a folder of several indexes stands for, if there is one of this name."""
PART = "shard"
"""The key under which a shard's header says which of how many it is."""
_SHARDS = "shards"
_FILE = re.compile(r"[^/\\\0]{1,200}\.safetensors")


@dataclass(frozen=True)
class Sharded:
    """What an index says, checked for its form only.

    Attributes:
        about: what the weights are, as the header of a weights file says it.
        files: SHA-256 of every shard, by its name, in order.
        places: the shard of every tensor.
        sha256: of the index's bytes: as the shards' are in it, of everything.
    """

    about: dict[str, Any]
    files: dict[str, str]
    places: dict[str, str]
    sha256: str


def stands_for(name: str | Path) -> bool:
    """Whether a path is an index, or a folder that holds one."""
    return str(name).lower().endswith(INDEX) or bool(_inside(name))


def find_index(path: str | Path) -> Path | None:
    """The index that a path stands for: itself, or that of a folder; None where it is something else.

    Raises:
        ModelError: the folder holds several, and none of them is called "best".
    """
    if str(path).lower().endswith(INDEX):
        return Path(path)
    found = {index.name: index for index in _inside(path)}
    if len(found) > 1 and BEST + INDEX not in found:
        raise ModelError(
            f"expected a folder with the shards of one network, {shown(path)} holds those of "
            f"{', '.join(found)}; name one of these files",
            code="bad_weights",
        )
    return found.get(BEST + INDEX) or next(iter(found.values()), None)


def _inside(folder: str | Path) -> list[Path]:
    if str(folder) == "" or not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises for long names)
        return []
    return sorted(Path(folder).glob("*" + INDEX))


def store(
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    folder: Path,
    name: str,
    *,
    most: int,
    metadata: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write tensors in files of at most ``most`` bytes, and their index; files of an earlier time go.

    Args:
        tensors: by name, contiguous, on the CPU.
        about: what they are, as the header of a weights file says it.
        folder: where to; it must be there.
        name: what the files' names begin with.
        most: bytes of a file.
        metadata: said in the index too; nothing depends on it.

    Returns:
        The files, the index last.

    Raises:
        OutputError: they cannot be stored; or ``output_unsupported``: a tensor alone is larger.
    """
    tensors = dict(sorted(tensors.items()))  # equal contents, equal files
    parts = _split(tensors, most - len(json.dumps(about)) - 1024)
    packed = [
        tensorfile.pack({key: tensors[key] for key in keys}, {**about, PART: [i, len(parts)]})
        for i, keys in enumerate(parts, 1)
    ]
    if largest := max((len(data) for data in packed if len(data) > most), default=0):
        raise OutputError(
            f"expected shards of at most {most:,} bytes, but one of {name} would have {largest:,}, as its "
            "tensors are not cut; allow larger ones",
            code="output_unsupported",
        )
    paths = [folder / f"{name}-{i:05}-of-{len(parts):05}.safetensors" for i in range(1, len(parts) + 1)]
    hashes = {path.name: hashlib.sha256(data).hexdigest() for path, data in zip(paths, packed, strict=True)}
    places = {key: path.name for path, keys in zip(paths, parts, strict=True) for key in keys}
    content = {
        "metadata": {
            "total_size": sum(_bytes(tensor) for tensor in tensors.values()),
            tensorfile.WORD: {**about, _SHARDS: hashes},
            **(metadata or {}),
        },
        "weight_map": places,
    }
    remove(folder, name)
    for path, data in zip(paths, packed, strict=True):
        store_bytes(data, path, overwrite=True)
    index = folder / (name + INDEX)
    store_bytes((json.dumps(content, indent=1) + "\n").encode(), index, overwrite=True)
    return [*paths, index]


def remove(folder: Path, name: str) -> None:
    """Remove the index of this name, and then its shards.

    Raises:
        OutputError: they cannot be removed.
    """
    ours = re.compile(re.escape(name) + r"-\d{5}-of-\d{5}\.safetensors")
    try:
        (folder / (name + INDEX)).unlink(missing_ok=True)
        for path in folder.iterdir():
            if ours.fullmatch(path.name):
                path.unlink()
    except OSError as error:
        raise OutputError(
            f"expected to replace the shards of {name} in {shown(folder)}: {error.strerror or error}",
            code="output_unwritable",
        ) from error


def read_index(path: Path) -> Sharded:
    """What an index says.

    Raises:
        ModelError: ``bad_weights`` if it is missing or is none of ours.
    """
    try:
        with tensorfile.opened(path) as file:
            data = tensorfile.read_whole(file, tensorfile.HEADER_LIMIT)
    except OSError as error:
        raise ModelError(
            f"expected the index of weights at {path}, but it cannot be read: {error.strerror}",
            code="bad_weights",
        ) from error
    try:
        content = json.loads(data)
        about, places = dict(content["metadata"][tensorfile.WORD]), dict(content["weight_map"])
        files = dict(about.pop(_SHARDS))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _bad(path) from error
    texts = [*files, *files.values(), *places.values()]
    if not all(isinstance(text, str) for text in cast("list[object]", texts)) or not files:
        raise _bad(path)
    # A name that leads out of the folder is no shard's.
    if not all(_FILE.fullmatch(file) for file in files) or not files.keys() >= set(places.values()):
        raise _bad(path)
    return Sharded(about, files, places, hashlib.sha256(data).hexdigest())


def _bad(path: Path) -> ModelError:
    return ModelError(
        f"expected the index of anyrestore's shards in {path}, found something else", code="bad_weights"
    )


def _split(tensors: Mapping[str, Tensor], room: int) -> list[list[str]]:
    """Names in their order, cut where a file would be full; one that is too large stands alone."""
    parts, left = list[list[str]](), -math.inf
    for name, tensor in tensors.items():
        size = _bytes(tensor) + len(name) + 160  # its entry in the header
        if size > left:
            parts.append([])
            left = room
        parts[-1].append(name)
        left -= size
    return parts


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
