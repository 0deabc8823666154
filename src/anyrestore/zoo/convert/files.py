"""From a public file of tensors to one of our models: which of its state dicts is meant, and of what.

A checkpoint (``.pt``, ``.pth``, ``.ckpt``) is read by :mod:`anyrestore.zoo.convert.checkpoint`, a
``.safetensors`` file by its library. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from anyrestore import tensorfile
from anyrestore.errors import ModelError
from anyrestore.zoo.catalog import build
from anyrestore.zoo.convert import CONVERTERS
from anyrestore.zoo.convert.checkpoint import Stored, open_checkpoint

#: How checkpoints' names end.
CHECKPOINTS = (".pt", ".pth", ".ckpt")
#: What state dicts are called inside checkpoints, averages first.
NESTED = (
    *("params_ema", "params-ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema"),
    *("params", "state_dict", "model_state_dict", "model_state", "model", "net", "network"),
    *("generator", "net_g", "weights"),
)
#: What a network is called inside its trainer or wrapper, averages first.
PREFIXES = (
    *("ema_model.", "model_ema.", "net_ema.", "ema."),
    *("module.", "_orig_mod.", "net.", "model.", "network.", "generator.", "net_g.", "netG."),
)
#: Shape, and the type where it is none of floating-point numbers.
Kind = tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors, open: :attr:`candidates` are its state dicts, the likeliest first.

    Attributes:
        path: the file.
        candidates: by name, shapes without numbers; see :func:`state_dicts`.
        read: the tensors of a candidate, on the CPU, in the file's types; ``ModelError`` where they are not
            whole.
        sha256: of the file's bytes.
    """

    path: Path
    candidates: list[dict[str, Any]]
    read: Callable[[Mapping[str, Any]], dict[str, Tensor]]
    sha256: str

    def unknown(self, expected: str) -> ModelError:
        """The error for a file that holds something else than ``expected``."""
        first = sorted(self.candidates[0]) if self.candidates else []
        more = ", ..." if len(first) > 3 else ""
        came = f"tensors: {len(first)} ({', '.join(first[:3])}{more})" if first else "no state dict"
        return ModelError(f"expected in {self.path} {expected}, came {came}", code="bad_weights")


def convert_file(path: Path, architecture: str | None = None) -> nn.Module:
    """The model that a public checkpoint (``.pt``, ``.pth``, ``.ckpt``) holds, in eval mode, float32.

    Nothing in the file is run, see :mod:`anyrestore.zoo.convert.checkpoint`.

    Args:
        path: the file.
        architecture: one of :data:`anyrestore.zoo.convert.CONVERTERS`; None for the one that fits.

    Raises:
        ModelError: ``unsafe_format`` if the file holds more than tensors and plain values, ``bad_weights``
            if it is missing, damaged or no network that is known, ``unknown_model`` if no such architecture
            is.
    """
    if architecture is not None and architecture not in CONVERTERS:
        raise ModelError(
            f"expected an architecture among {', '.join(CONVERTERS)}, came {architecture!r}",
            code="unknown_model",
        )
    with open_tensors(path) as file:
        model = convert_tensors(file, architecture)
        if model is None:
            known = ", ".join(CONVERTERS) if architecture is None else architecture
            raise file.unknown(f"the weights of one of {known}")
    return model


@contextmanager
def open_tensors(path: Path) -> Generator[TensorFile]:
    """Open a public file of tensors, whatever its name; nothing in it is run.

    Raises:
        ModelError: ``unsafe_format`` if it holds more than tensors and plain values, ``bad_weights`` if it is
            missing, damaged or no such file.
    """
    try:
        with tensorfile.opened(path) as file:
            if tensorfile.read_header(file) is not None:
                data = tensorfile.read_whole(file)
                found = list(_without_prefixes(_whole(data, path), 3))
                yield TensorFile(path, found, dict, hashlib.sha256(data).hexdigest())
                return
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            with _named(path):
                checkpoint = open_checkpoint(file)
            limit = 4 * file.seek(0, 2) + (1 << 20)

            def read(candidate: Mapping[str, Stored]) -> dict[str, Tensor]:
                if sum(stored.bytes for stored in candidate.values()) > limit:
                    raise ModelError(
                        f"the tensors in {path} repeat their storage too often", code="unsafe_format"
                    )
                with _named(path):
                    return {name: checkpoint.load(stored) for name, stored in candidate.items()}

            yield TensorFile(path, list(state_dicts(checkpoint.content)), read, digest)
    except OSError as error:
        raise ModelError(
            f"expected a checkpoint at {path}, but it cannot be read: {error.strerror or error}",
            code="bad_weights",
        ) from error


def _whole(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        return tensorfile.parse(data)[1]
    except ValueError as error:
        raise ModelError(
            f"the weights in {path} are damaged ({error}); fetch the file again", code="bad_weights"
        ) from error


def convert_tensors(file: TensorFile, architecture: str | None = None) -> nn.Module | None:
    """The first state dict that a converter knows as our model, eval mode, float32; None if none is known.

    Args:
        file: as :func:`open_tensors` gives it.
        architecture: one of :data:`anyrestore.zoo.convert.CONVERTERS`; None for the one that fits.

    Raises:
        ModelError: ``bad_weights`` if the names are known and the shapes or numbers are not possible.
    """
    wanted = CONVERTERS if architecture is None else {architecture: CONVERTERS[architecture]}
    names_only = torch.empty(0)
    for candidate in file.candidates:
        for converter in wanted.values():
            if not converter.recognises(dict.fromkeys(candidate, names_only)):
                continue
            tensors = file.read(candidate)
            try:
                with _named(file.path):
                    name, config, state = converter.convert(tensors)
            except (ValueError, IndexError, ArithmeticError, RuntimeError) as error:
                raise ModelError(
                    f"the shapes in {file.path} are those of no network that is known ({error})",
                    code="bad_weights",
                ) from error
            return fill(name, config, state, file.path)
    return None


def fill(architecture: str, config: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """A network of ours with these weights, in eval mode, float32.

    Unusual: it is built without numbers first, so that nothing is allocated before the shapes fit.

    Args:
        architecture: one of :data:`anyrestore.zoo.catalog.ARCHITECTURES`.
        config: fields of its Config.
        state: its tensors.
        path: the file they came from, for sentences.

    Raises:
        ModelError: ``bad_weights`` if the tensors do not fit or are not all finite floats; as
            :func:`anyrestore.zoo.catalog.build`.
    """
    came = {
        key: (tuple(value.shape), "" if value.is_floating_point() else str(value.dtype))
        for key, value in state.items()
    }
    check_fit(architecture, config, came, path)
    model = build(architecture, config)
    model.load_state_dict(finite_floats(state, path))
    return model.eval().requires_grad_(requires_grad=False)


def check_fit(architecture: str, config: Mapping[str, Any], came: Mapping[str, Kind], path: Path) -> None:
    """See that these are the tensors of such a network, without any numbers.

    Raises:
        ModelError: as :func:`fill`; the first five differences are named.
    """
    with _named(path), torch.device("meta"):
        network = build(architecture, config)
    expected = {key: (tuple(value.shape), "") for key, value in network.state_dict().items()}
    if odd := sorted(k for k in expected.keys() | came.keys() if expected.get(k) != came.get(k)):
        listed = "; ".join(
            f"{k!s:.100}: expected {_words(expected.get(k))}, came {_words(came.get(k))}" for k in odd[:5]
        )
        raise ModelError(
            f"the weights in {path} do not fit the network that they are of ({architecture}; differences: "
            f"{len(odd)}: {listed})",
            code="bad_weights",
        )


def _words(kind: Kind | None) -> str:
    if kind is None:
        return "none"
    return f"{kind[0]!s:.60}" + (f" of {kind[1]:.20}" if kind[1] else "")


def is_float(kind: str) -> bool:
    """Whether safetensors' word for a type is one of floating-point numbers."""
    return kind.startswith(("F", "BF"))


def finite_floats(state: Mapping[str, Tensor], path: Path, *, integers: bool = False) -> dict[str, Tensor]:
    """The weights as float32.

    Args:
        state: tensors by name.
        path: the file they came from, for sentences.
        integers: leave tensors of integers as they are.

    Raises:
        ModelError: ``bad_weights`` if there are others, or values that are not finite.
    """
    found = {
        key: value.float() if value.is_floating_point() or not integers else value
        for key, value in state.items()
    }
    broken = [
        key
        for key, value in state.items()
        if not (integers or value.is_floating_point()) or not bool(found[key].isfinite().all())
    ]
    if broken:
        raise ModelError(
            f"the weights in {path} hold values that are not finite floating-point numbers, in "
            f"{', '.join(broken[:5])}",
            code="bad_weights",
        )
    return found


def state_dicts(content: Any, depth: int = 4) -> Iterator[dict[str, Stored]]:
    """Every state dict that may be meant, the likeliest first.

    Averages come before plain weights, inner dicts before outer ones, and each without the prefixes that
    trainers and wrappers add ("net.", "module.", ...) before it comes with them.
    """
    return _nested(content, depth, set())


def _nested(content: Any, depth: int, seen: set[int]) -> Iterator[dict[str, Stored]]:
    """``seen`` keeps a dict that holds itself under many names from multiplying."""
    if not isinstance(content, dict) or depth == 0 or id(cast("object", content)) in seen:
        return
    found = cast("dict[Any, Any]", content)
    seen.add(id(found))
    for key in NESTED:
        if key in found:
            yield from _nested(found[key], depth - 1, seen)
    if plain := {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Stored)}:
        yield from _without_prefixes(plain, 3)


def _without_prefixes(state: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    for prefix in PREFIXES if depth else ():
        if inner := {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}:
            yield from _without_prefixes(inner, depth - 1)
    yield state


@contextmanager
def _named(path: Path) -> Generator[None]:
    """Put the file's name before what its reader or a converter says of it."""
    try:
        yield
    except ModelError as error:
        code = "bad_weights" if error.code == ModelError.default_code else error.code
        raise ModelError(f"{path}: {error}", code=code) from error
