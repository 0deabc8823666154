"""Weights as safetensors files whose header says which network they belong to.

Files that anyrestore did not write go to :mod:`anyrestore.zoo.foreign`; nothing is unpickled. safetensors has
no checksum of its own. Here the header has one, of all that the file says and holds (see
:mod:`anyrestore.tensorfile`), and the weights that ship are checked against the SHA-256 in the catalogue.
Both are taken over the very bytes that are then used. Shapes are compared before the numbers are read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anyrestore import tensorfile
from anyrestore.errors import ModelError, UsageError
from anyrestore.provenance import versions
from anyrestore.storage import store_bytes
from anyrestore.tensorfile import Header
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG
from anyrestore.zoo.convert.checkpoint import is_checkpoint
from anyrestore.zoo.convert.files import CHECKPOINTS, check_fit, fill, is_float
from anyrestore.zoo.foreign import read_public

#: Version of the header's layout; a file with a newer one needs a newer anyrestore.
FORMAT = 1
#: What it may say; a word that is not known is a damaged one.
FIELDS = {"format", "version", "architecture", "config", "notes", "sha256"}

#: Types that weights are stored in.
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save_weights(model: nn.Module, path: Path, *, dtype: torch.dtype = torch.float16, notes: str = "") -> str:
    """Store a model's weights and configuration; an existing file is replaced in one step.

    Returns:
        The SHA-256 of the file.

    Raises:
        ModelError: the model is not one of the zoo's architectures, or has values that ``dtype`` cannot hold.
        UsageError: ``dtype`` is none of `DTYPES`.
        OutputError: the file cannot be stored.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype: expected one of {', '.join(map(str, DTYPES))}, got {dtype}")
    name = name_architecture(model)
    config: Any = model.config
    about = {
        "format": FORMAT,
        "version": versions()["anyrestore"],
        "architecture": name,
        "config": dataclasses.asdict(config),
        "notes": notes,
    }
    state = model.state_dict()
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state.items()}
    if large := [
        key for key, value in state.items() if value.isfinite().sum() != tensors[key].isfinite().sum()
    ]:
        raise ModelError(
            f"expected weights that {dtype} can hold, came larger ones in {', '.join(large[:5])}; "
            "store float32"
        )
    data = tensorfile.pack(tensors, about)
    store_bytes(data, path, overwrite=True)
    return hashlib.sha256(data).hexdigest()


def name_architecture(model: nn.Module) -> str:
    """The name, in the catalogue, of a network's architecture.

    Raises:
        ModelError: it is not one of the zoo's.
    """
    for name, made_by in ARCHITECTURES.items():
        if isinstance(model, made_by.model):
            return name
    raise ModelError(f"expected a model of the zoo, came {type(model).__name__}; it cannot be stored")


def load_weights(path: Path, *, sha256: str | None = None) -> nn.Module:
    """A model in eval mode, float32, from a file written by :func:`save_weights`.

    Args:
        path: a .safetensors file.
        sha256: refuse any other content.

    Raises:
        ModelError: ``bad_weights`` if the file is missing, is no such file, is damaged, or does not fit the
            network it names; as :func:`anyrestore.zoo.catalog.build`.
    """
    return _load(path, sha256)[0]


def load_file(path: Path) -> tuple[nn.Module, str]:
    """A model from any weights file, as :func:`load_model`, and the SHA-256 of the bytes that it came from.

    Raises:
        ModelError: as :func:`load_model`.
    """
    return read_public(path) if is_public(path) else _load(path, None)


def _load(path: Path, sha256: str | None) -> tuple[nn.Module, str]:
    try:
        with tensorfile.opened(path) as file:
            try:
                _check_header(file, path)
            except ModelError as error:
                raise (error if sha256 is None else _other(path)) from error
            data = tensorfile.read_whole(file)
    except OSError as error:
        raise ModelError(
            f"expected weights at {path}, but they cannot be read: {error.strerror}", code="bad_weights"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, digest):
        raise _other(path)
    try:
        header, tensors = tensorfile.parse(data)
    except ValueError as error:
        raise ModelError(
            f"the weights in {path} are damaged ({error}); fetch the file again", code="bad_weights"
        ) from error
    about = _read_about(header, path)
    return fill(about["architecture"], about["config"], tensors, path), digest


def _other(path: Path) -> ModelError:
    return ModelError(
        f"the weights in {path} are not the ones that were released under this name (their SHA-256 differs); "
        "reinstall anyrestore, or fetch them again",
        code="bad_weights",
    )


def _check_header(file: tensorfile.ByteFile, path: Path) -> None:
    """Refuse, before any number is read, what cannot be the weights of a network of ours."""
    header = tensorfile.read_header(file)
    if header is None and is_checkpoint(file):
        raise ModelError(
            f"expected anyrestore weights (.safetensors) in {path}, found a checkpoint, perhaps with "
            "programs; nothing of it was run; read it with anyrestore convert",
            code="unsafe_format",
        )
    about = _read_about(header, path)
    entries = header.tensors.items() if header else ()
    came = {name: (shape, "" if is_float(kind) else kind) for name, (kind, shape, _) in entries}
    check_fit(about["architecture"], about["config"], came, path)


def is_file(name: str | Path) -> bool:
    """Whether what stands for a model is a file, not a name of the catalogue."""
    return isinstance(name, Path) or name.lower().endswith((".safetensors", *CHECKPOINTS))


def is_public(path: Path) -> bool:
    """Whether a file is a checkpoint, or a safetensors file that anyrestore did not write.

    Its first bytes decide; where they are of neither, its name does.
    """
    try:
        with tensorfile.opened(path) as file:
            if (found := tensorfile.read_header(file)) is not None:
                return tensorfile.WORD not in found.words
            if is_checkpoint(file):
                return True
    except OSError:
        pass
    return path.suffix.lower() in CHECKPOINTS


def load_model(name: str | Path) -> nn.Module:
    """A model with trained weights: a name of the catalogue, or the path of a file.

    A .safetensors file that anyrestore wrote says what it is. In any other .safetensors, .pt, .pth or .ckpt
    file the network is found by its tensors' names, see :func:`anyrestore.zoo.foreign.load_public`.

    Raises:
        ModelError: no such model, no weights for it, or a bad file.
    """
    if is_file(name):
        return load_file(Path(name))[0]
    entry = CATALOG.get(str(name))
    if entry is None:
        raise ModelError(
            f"expected a model among {', '.join(CATALOG)}, or a .safetensors or .pth file, came "
            f"{str(name)!r:.200}",
            code="unknown_model",
        )
    if entry.weights is None:
        shipped = ", ".join(e.name for e in CATALOG.values() if e.weights)
        raise ModelError(
            f"no weights ship for {name}; use one of {shipped}, or give the path of a .safetensors or .pth "
            "file",
            code="no_weights",
        )
    with resources.as_file(resources.files("anyrestore.zoo") / "files" / entry.weights) as path:
        return load_weights(path, sha256=entry.sha256)


def _read_about(header: Header | None, path: Path) -> dict[str, Any]:
    """What the header of a safetensors file of ours says, checked."""
    bad = ModelError(
        f"expected anyrestore weights (.safetensors) in {path}, found something else", code="bad_weights"
    )
    about = dict[str, Any]()
    try:
        about |= json.loads(header.words[tensorfile.WORD]) if header and len(header.words) == 1 else {}
        found, architecture, config = about["format"], about["architecture"], about["config"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise bad from error
    if type(found) is not int or not isinstance(architecture, str) or not isinstance(config, dict):
        raise bad
    if found > FORMAT:
        raise needs_newer(path, about.get("version"))
    if found < 1 or not FIELDS.issuperset(about):
        raise bad
    return about


def needs_newer(path: Path, version: object) -> ModelError:
    """The error for a file of a newer format; ``version`` is the anyrestore that wrote it, if it says so."""
    known = isinstance(version, str) and re.fullmatch(r"\d[\w.+-]{0,39}", version)
    needed = f"anyrestore >= {version}" if known else "a newer anyrestore"
    return ModelError(
        f"{path} is of a newer format and needs {needed}, this is {versions()['anyrestore']}; "
        "pip install --upgrade anyrestore",
        code="bad_weights",
    )
