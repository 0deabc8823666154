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
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from anyrestore import tensorfile
from anyrestore.errors import ModelError, UsageError
from anyrestore.provenance import versions
from anyrestore.storage import store_bytes
from anyrestore.tensorfile import Header
from anyrestore.zoo import shards
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG
from anyrestore.zoo.convert.checkpoint import is_checkpoint
from anyrestore.zoo.convert.files import CHECKPOINTS, check_fit, fill, is_float
from anyrestore.zoo.foreign import read_public

#: Version of the header's layout; a file with a newer one needs a newer anyrestore.
FORMAT = 1
#: What it may say; a word that is not known is a damaged one.
FIELDS = {"format", "version", "architecture", "config", "notes", "crops", "sha256"}

#: Types that weights are stored in.
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save_weights(
    model: nn.Module,
    path: Path,
    *,
    dtype: torch.dtype = torch.float16,
    notes: str = "",
    crops: Mapping[int, int] | None = None,
) -> str:
    """Store a model's weights and configuration; an existing file is replaced in one step.

    Args:
        model: of one of the zoo's architectures.
        path: where to.
        dtype: of the stored numbers.
        notes: said in the header.
        crops: how many crops the weights have been trained on, by their side in pixels; None: not known.

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
        **({} if crops is None else {"crops": {str(side): count for side, count in sorted(crops.items())}}),
    }
    data = tensorfile.pack(_of_type(model.state_dict(), dtype, "store float32"), about)
    store_bytes(data, path, overwrite=True)
    return hashlib.sha256(data).hexdigest()


def shard_weights(
    path: Path, folder: Path, name: str, *, most: int, metadata: Mapping[str, Any] | None = None
) -> list[Path]:
    """Store a weights file of ours again, as float16 shards; see :mod:`anyrestore.zoo.shards`.

    Args:
        path: the file.
        folder: where to; it must be there.
        name: what the shards' names begin with.
        most: bytes of a shard.
        metadata: said in the index too.

    Returns:
        The files that were written, the index last.

    Raises:
        ModelError: as :func:`load_weights`, or there are values that float16 cannot hold.
        OutputError: they cannot be stored, or a tensor alone is larger than a shard.
    """
    about, tensors, _ = _read_ours(path, None)
    held = _of_type(tensors, torch.float16, f"lower optimizer.lr, and train on from weights before {path}")
    return shards.store(held, about, folder, name, most=most, metadata=metadata)


def _of_type(state: Mapping[str, Tensor], dtype: torch.dtype, advice: str) -> dict[str, Tensor]:
    """The tensors on the CPU in another type; ``ModelError`` where it cannot hold them."""
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state.items()}
    if large := [
        key for key, value in state.items() if value.isfinite().sum() != tensors[key].isfinite().sum()
    ]:
        raise ModelError(
            f"expected weights that {dtype} can hold, came larger ones in {', '.join(large[:5])}; {advice}"
        )
    return tensors


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

    Of shards it is the SHA-256 of their index, which holds theirs.

    Raises:
        ModelError: as :func:`load_model`.
    """
    if (index := shards.find_index(path)) is not None:
        return _load_shards(index)
    return read_public(path) if is_public(path) else _load(path, None)


def deciding_file(path: Path) -> Path:
    """The file whose SHA-256 tells weights apart: the index of shards, else the weights file itself.

    Raises:
        ModelError: a folder holds several indexes.
    """
    return shards.find_index(path) or path


def crops_seen(name: str | Path) -> dict[int, int] | None:
    """How many crops weights have been trained on, by their side in pixels; None where nothing says it.

    Args:
        name: as of :func:`load_model`.
    """
    if not is_file(name):
        entry = CATALOG.get(str(name))
        if entry is None or entry.weights is None:
            return None
        with resources.as_file(resources.files("anyrestore.zoo") / "files" / entry.weights) as path:
            return crops_seen(path)
    try:
        said = describe_weights(Path(name)).get("crops")
    except ModelError:  # not there, damaged, or other people's
        return None
    return None if said is None else {int(side): count for side, count in said.items()}


def describe_weights(path: Path) -> dict[str, Any]:
    """What a weights file of ours says of itself: architecture, config, version, notes, crops by side.

    Only a header or an index is read: whoever needs sound weights loads them.

    Raises:
        ModelError: ``bad_weights`` if it is missing or no such file.
    """
    if (index := shards.find_index(path)) is not None:
        return _check_about(shards.read_index(index).about, index)
    try:
        with tensorfile.opened(path) as file:
            return _read_about(tensorfile.read_header(file), path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _load(path: Path, sha256: str | None) -> tuple[nn.Module, str]:
    about, tensors, digest = _read_ours(path, sha256)
    return fill(about["architecture"], about["config"], tensors, path), digest


def _load_shards(index: Path) -> tuple[nn.Module, str]:
    """As :func:`_load`, from shards: form and shapes of all of them before the numbers of one."""
    found = shards.read_index(index)
    about = _check_about(found.about, index)
    tensors = dict[str, Tensor]()
    with ExitStack() as stack:
        try:
            files = {
                name: stack.enter_context(tensorfile.opened(index.parent / name)) for name in found.files
            }
            headers = {name: tensorfile.read_header(file) for name, file in files.items()}
            _check_shards(found, headers, index)
            came = {
                name: (shape, "" if is_float(kind) else kind)
                for header in headers.values()
                for name, (kind, shape, _) in (header.tensors.items() if header else ())
            }
            check_fit(about["architecture"], about["config"], came, index)
            left = tensorfile.FILE_LIMIT
            for name, file in files.items():
                data = tensorfile.read_whole(file, left)
                left -= len(data)
                if hashlib.sha256(data).hexdigest() != found.files[name]:
                    raise _not_the_indexs(index, name)
                tensors |= tensorfile.parse(data)[1]
        except OSError as error:
            raise ModelError(
                f"expected the shards that {index} names beside it, but one cannot be read: "
                f"{error.strerror}; fetch them all again",
                code="bad_weights",
            ) from error
        except ValueError as error:
            raise ModelError(
                f"the shards of {index} are damaged ({error}); fetch them again", code="bad_weights"
            ) from error
    return fill(about["architecture"], about["config"], tensors, index), found.sha256


def _check_shards(found: shards.Sharded, headers: Mapping[str, Header | None], index: Path) -> None:
    """See that each shard is of this network, and holds the tensors that the index places in it."""
    for place, (name, header) in enumerate(headers.items(), 1):
        held = [tensor for tensor, file in found.places.items() if file == name]
        said = {**found.about, shards.PART: [place, len(headers)]}
        if header is None or sorted(header.tensors) != sorted(held) or _words(header) != said:
            raise _not_the_indexs(index, name)


def _words(header: Header) -> dict[str, Any] | None:
    """What anyrestore says in a header, but for its checksum."""
    try:
        said: Any = json.loads(header.words[tensorfile.WORD])
    except (ValueError, KeyError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    return {key: value for key, value in cast("dict[str, Any]", said).items() if key != "sha256"}


def _not_the_indexs(index: Path, name: str) -> ModelError:
    return ModelError(
        f"{index.parent / name} is not the shard that {index.name} names, or it is damaged; fetch all of "
        "them again",
        code="bad_weights",
    )


def _read_ours(path: Path, sha256: str | None) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """What a file of ours says, its tensors, and the SHA-256 of its bytes."""
    try:
        with tensorfile.opened(path) as file:
            try:
                _check_header(file, path)
            except ModelError as error:
                raise (error if sha256 is None else _other(path)) from error
            data = tensorfile.read_whole(file)
    except OSError as error:
        raise _unreadable(path, error) from error
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
    about.pop("sha256", None)  # of this file; who stores the tensors again has another
    return about, tensors, digest


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(
        f"expected weights at {path}, but they cannot be read: {error.strerror}", code="bad_weights"
    )


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
    """Whether what stands for a model is a file, or a folder of shards, not a name of the catalogue."""
    if isinstance(name, Path) or name.lower().endswith((".safetensors", *CHECKPOINTS)):
        return True
    return name not in CATALOG and shards.stands_for(name)


def called(name: str | Path) -> str:
    """What to call a model for short: its name in the catalogue, or its file's without ending."""
    return Path(str(name).removesuffix(".index.json")).stem if is_file(name) else str(name)


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
    """A model with trained weights: a name of the catalogue, or the path of a file, or of a folder of shards.

    A .safetensors file that anyrestore wrote says what it is; shards have an index, see
    :mod:`anyrestore.zoo.shards`. In any other .safetensors, .pt, .pth or .ckpt
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
    bad = _bad(path)
    about = dict[str, Any]()
    try:
        about |= json.loads(header.words[tensorfile.WORD]) if header and len(header.words) == 1 else {}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise bad from error
    if shards.PART in about:
        raise ModelError(
            f"{path} is one of several shards; give their index (NAME{shards.INDEX}) or their folder",
            code="bad_weights",
        )
    return _check_about(about, path)


def _check_about(about: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a header or an index says of weights, if it has the form."""
    bad = _bad(path)
    try:
        found, architecture, config = about["format"], about["architecture"], about["config"]
    except KeyError as error:
        raise bad from error
    if type(found) is not int or not isinstance(architecture, str) or not isinstance(config, dict):
        raise bad
    if found > FORMAT:
        raise needs_newer(path, about.get("version"))
    if found < 1 or not FIELDS.issuperset(about) or not _are_crops(about.get("crops", {})):
        raise bad
    return about


def _bad(path: Path) -> ModelError:
    return ModelError(
        f"expected anyrestore weights (.safetensors) in {path}, found something else", code="bad_weights"
    )


def _are_crops(said: object) -> bool:
    """Whether these are counts, by sides."""
    if not isinstance(said, dict):
        return False
    given = cast("dict[str, object]", said)
    return all(
        re.fullmatch(r"[1-9]\d{0,5}", side) and type(count) is int and count >= 0
        for side, count in given.items()
    )


def needs_newer(path: Path, version: object) -> ModelError:
    """The error for a file of a newer format; ``version`` is the anyrestore that wrote it, if it says so."""
    known = isinstance(version, str) and re.fullmatch(r"\d[\w.+-]{0,39}", version)
    needed = f"anyrestore >= {version}" if known else "a newer anyrestore"
    return ModelError(
        f"{path} is of a newer format and needs {needed}, this is {versions()['anyrestore']}; "
        "pip install --upgrade anyrestore",
        code="bad_weights",
    )
