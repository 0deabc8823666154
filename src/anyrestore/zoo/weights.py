"""Weights as safetensors files whose header says which network they belong to.

Files that anyrestore did not write go to :mod:`anyrestore.zoo.foreign`; nothing is unpickled. safetensors has
no checksum of its own, so the weights that ship are checked against the SHA-256 in the catalogue, over the
very bytes that are then used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from anyrestore.errors import ModelError
from anyrestore.storage import store_bytes
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG, build
from anyrestore.zoo.convert.files import CHECKPOINTS, metadata
from anyrestore.zoo.foreign import load_public

#: Version of the header's layout; a file with a newer one needs a newer anyrestore.
FORMAT = 1
_HEADER_LIMIT = 1 << 20


def save_weights(model: nn.Module, path: Path, *, dtype: torch.dtype = torch.float16, notes: str = "") -> str:
    """Store a model's weights and configuration; an existing file is replaced in one step.

    Returns:
        The SHA-256 of the file.

    Raises:
        ModelError: the model is not one of the zoo's architectures.
        OutputError: the file cannot be stored.
    """
    name = next((key for key, made_by in ARCHITECTURES.items() if isinstance(model, made_by.model)), None)
    if name is None:
        raise ModelError(f"expected a model of the zoo, came {type(model).__name__}; it cannot be stored")
    config: Any = model.config
    header = {"format": FORMAT, "architecture": name, "config": dataclasses.asdict(config), "notes": notes}
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in model.state_dict().items()}
    data = save(tensors, metadata={"anyrestore": json.dumps(header)})
    store_bytes(data, path, overwrite=True)
    return hashlib.sha256(data).hexdigest()


def load_weights(path: Path, *, sha256: str | None = None) -> nn.Module:
    """A model in eval mode, float32, from a file written by :func:`save_weights`.

    Args:
        path: a .safetensors file.
        sha256: refuse any other content.

    Raises:
        ModelError: the file is missing, is no such file, is damaged, or does not fit the network it names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"expected weights at {path}, but they cannot be read: {error.strerror}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(
            f"the weights in {path} are not the ones this version was released with; reinstall anyrestore"
        )
    header = _read_header(data, path)
    model = build(header["architecture"], header["config"])
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"the weights in {path} are damaged ({error}); fetch the file again") from error
    _fill(model, tensors, path)
    return model.eval().requires_grad_(requires_grad=False)


def is_file(name: str | Path) -> bool:
    """Whether what stands for a model is a file, not a name of the catalogue."""
    return isinstance(name, Path) or name.lower().endswith((".safetensors", *CHECKPOINTS))


def is_public(path: Path) -> bool:
    """Whether a file is a checkpoint, or a safetensors file that anyrestore did not write."""
    try:
        with path.open("rb") as file:
            found = metadata(file)
    except OSError:
        found = None
    return path.suffix.lower() in CHECKPOINTS if found is None else "anyrestore" not in found


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
            f"no weights ship for {name}; use one of {shipped}, or give the path of a .safetensors file",
            code="no_weights",
        )
    with resources.as_file(resources.files("anyrestore.zoo") / "files" / entry.weights) as path:
        return load_weights(path, sha256=entry.sha256)


def _read_header(data: bytes, path: Path) -> dict[str, Any]:
    """The anyrestore header of a safetensors file, checked."""
    bad = ModelError(f"expected anyrestore weights (.safetensors) in {path}, found something else")
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(_HEADER_LIMIT, len(data) - 8):
        raise bad
    try:
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["anyrestore"])
        found, architecture, config = header["format"], header["architecture"], header["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise bad from error
    if not isinstance(found, int) or not isinstance(architecture, str) or not isinstance(config, dict):
        raise bad
    if found > FORMAT:
        raise ModelError(
            f"the weights in {path} have format {found}; this anyrestore reads up to {FORMAT}: update it"
        )
    return header


def _fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load strictly, and say what differs."""
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    came = {key: tuple(value.shape) for key, value in tensors.items()}
    odd = sorted(k for k in expected.keys() | came.keys() if expected.get(k) != came.get(k))
    if odd:
        listed = "; ".join(f"{k}: expected {expected.get(k)}, came {came.get(k)}" for k in odd[:5])
        raise ModelError(
            f"the weights in {path} do not fit the network they name ({len(odd)} differences: {listed})"
        )
    if broken := [
        k for k, v in tensors.items() if not v.is_floating_point() or not bool(torch.isfinite(v).all())
    ]:
        raise ModelError(
            f"the weights in {path} hold values that are not finite numbers, in {', '.join(broken[:5])}"
        )
    model.load_state_dict({key: value.float() for key, value in tensors.items()})
