"""Weights as safetensors files whose header says which network they belong to.

Files that anyrestore did not write go to :mod:`anyrestore.zoo.foreign`; nothing is unpickled. safetensors has
no checksum of its own, so the weights that ship are checked against the SHA-256 in the catalogue, over the
very bytes that are then used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from anyrestore.errors import ModelError
from anyrestore.storage import store_bytes
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG
from anyrestore.zoo.convert.checkpoint import is_checkpoint
from anyrestore.zoo.convert.files import CHECKPOINTS, fill, metadata
from anyrestore.zoo.foreign import load_public

#: Version of the header's layout; a file with a newer one needs a newer anyrestore.
FORMAT = 1


def save_weights(model: nn.Module, path: Path, *, dtype: torch.dtype = torch.float16, notes: str = "") -> str:
    """Store a model's weights and configuration; an existing file is replaced in one step.

    Returns:
        The SHA-256 of the file.

    Raises:
        ModelError: the model is not one of the zoo's architectures, or has values that ``dtype`` cannot hold.
        OutputError: the file cannot be stored.
    """
    name = next((key for key, made_by in ARCHITECTURES.items() if isinstance(model, made_by.model)), None)
    if name is None:
        raise ModelError(f"expected a model of the zoo, came {type(model).__name__}; it cannot be stored")
    config: Any = model.config
    header = {"format": FORMAT, "architecture": name, "config": dataclasses.asdict(config), "notes": notes}
    state = model.state_dict()
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state.items()}
    if large := [
        key for key, value in state.items() if value.isfinite().sum() != tensors[key].isfinite().sum()
    ]:
        raise ModelError(
            f"expected weights that {dtype} can hold, came larger ones in {', '.join(large[:5])}; "
            "store float32"
        )
    data = save(tensors, metadata={"anyrestore": json.dumps(header)})
    store_bytes(data, path, overwrite=True)
    return hashlib.sha256(data).hexdigest()


def load_weights(path: Path, *, sha256: str | None = None) -> nn.Module:
    """A model in eval mode, float32, from a file written by :func:`save_weights`.

    Args:
        path: a .safetensors file.
        sha256: refuse any other content.

    Raises:
        ModelError: ``bad_weights`` if the file is missing, is no such file, is damaged, or does not fit the
            network it names; as :func:`anyrestore.zoo.catalog.build`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"expected weights at {path}, but they cannot be read: {error.strerror}", code="bad_weights"
        ) from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(
            f"the weights in {path} are not the ones this version was released with; reinstall anyrestore",
            code="bad_weights",
        )
    header = _read_header(data, path)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(
            f"the weights in {path} are damaged ({error}); fetch the file again", code="bad_weights"
        ) from error
    return fill(header["architecture"], header["config"], tensors, path)


def is_file(name: str | Path) -> bool:
    """Whether what stands for a model is a file, not a name of the catalogue."""
    return isinstance(name, Path) or name.lower().endswith((".safetensors", *CHECKPOINTS))


def is_public(path: Path) -> bool:
    """Whether a file is a checkpoint, or a safetensors file that anyrestore did not write.

    Its first bytes decide; where they are of neither, its name does.
    """
    try:
        with path.open("rb") as file:
            if (found := metadata(file)) is not None:
                return "anyrestore" not in found
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
        path = Path(name)
        return load_public(path) if is_public(path) else load_weights(path)
    entry = CATALOG.get(str(name))
    if entry is None:
        raise ModelError(
            f"expected a model among {', '.join(CATALOG)}, or a .safetensors or .pth file, came {name!r}",
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


def _read_header(data: bytes, path: Path) -> dict[str, Any]:
    """The anyrestore header of a safetensors file, checked."""
    bad = ModelError(
        f"expected anyrestore weights (.safetensors) in {path}, found something else", code="bad_weights"
    )
    try:
        header = json.loads((metadata(io.BytesIO(data)) or {})["anyrestore"])
        found, architecture, config = header["format"], header["architecture"], header["config"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise bad from error
    if not isinstance(found, int) or not isinstance(architecture, str) or not isinstance(config, dict):
        raise bad
    if found > FORMAT:
        raise ModelError(
            f"the weights in {path} have format {found}; this anyrestore reads up to {FORMAT}: update it",
            code="bad_weights",
        )
    return header
