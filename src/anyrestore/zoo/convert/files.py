"""From a public file of tensors to one of our models: which of its state dicts is meant, and of what.

A checkpoint (``.pt``, ``.pth``, ``.ckpt``) is read by :mod:`anyrestore.zoo.convert.checkpoint`, a
``.safetensors`` file by its library. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from anyrestore.errors import ModelError
from anyrestore.zoo.catalog import build
from anyrestore.zoo.convert import CONVERTERS
from anyrestore.zoo.convert.checkpoint import ByteFile, Stored, open_checkpoint

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
_HEADER_LIMIT = 64 << 20


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors, open: :attr:`candidates` are its state dicts, the likeliest first.

    Attributes:
        path: the file.
        candidates: by name, shapes without numbers; see :func:`state_dicts`.
        read: the tensors of a candidate, on the CPU, in the file's types; ``ModelError`` where they are not
            whole.
    """

    path: Path
    candidates: list[dict[str, Any]]
    read: Callable[[Mapping[str, Any]], dict[str, Tensor]]

    def unknown(self, expected: str) -> ModelError:
        """The error for a file that holds something else than ``expected``."""
        first = self.candidates[0] if self.candidates else {}
        names = ", ".join(sorted(first)[:3])
        came = f"{len(first)} tensors ({names}, ...)" if first else "no state dict"
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
        with path.open("rb") as file:
            if metadata(file) is not None:
                found = list(_without_prefixes(load(file.read()), 3))
                yield TensorFile(path, found, dict)
                return
            checkpoint = open_checkpoint(file)
            limit = 4 * file.seek(0, 2) + (1 << 20)

            def read(candidate: Mapping[str, Stored]) -> dict[str, Tensor]:
                if sum(stored.bytes for stored in candidate.values()) > limit:
                    raise ModelError(
                        f"the tensors in {path} repeat their storage too often", code="unsafe_format"
                    )
                return {name: checkpoint.load(stored) for name, stored in candidate.items()}

            yield TensorFile(path, list(state_dicts(checkpoint.content)), read)
    except OSError as error:
        raise ModelError(
            f"expected a checkpoint at {path}, but it cannot be read: {error.strerror or error}",
            code="bad_weights",
        ) from error
    except SafetensorError as error:
        raise ModelError(
            f"the weights in {path} are damaged ({error}); fetch the file again", code="bad_weights"
        ) from error


def metadata(file: ByteFile) -> dict[str, Any] | None:
    """The words in a safetensors file's header, none perhaps; None for another kind of file."""
    length = file.seek(0, 2)
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    header = file.read(size) if 2 <= size <= min(_HEADER_LIMIT, length - 8) else b""
    file.seek(0)
    if not header.startswith(b"{"):
        return None
    try:
        found = json.loads(header)
    except (ValueError, RecursionError):
        return None
    words = found.get("__metadata__")
    return cast("dict[str, Any]", words) if isinstance(words, dict) else {}


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
                name, config, state = converter.convert(tensors)
            except (ValueError, IndexError, ArithmeticError, RuntimeError) as error:
                raise ModelError(
                    f"the shapes in {file.path} are those of no network that is known ({error})",
                    code="bad_weights",
                ) from error
            with torch.device("meta"):
                _compare(build(name, config), state, file.path)  # nothing is allocated before the shapes fit
            model = build(name, config)
            model.load_state_dict({key: value.float() for key, value in state.items()})
            return model.eval().requires_grad_(requires_grad=False)
    return None


def state_dicts(content: Any, depth: int = 4) -> Iterator[dict[str, Stored]]:
    """Every state dict that may be meant, the likeliest first.

    Averages come before plain weights, inner dicts before outer ones, and each without the prefixes that
    trainers and wrappers add ("net.", "module.", ...) before it comes with them.
    """
    if not isinstance(content, dict) or depth == 0:
        return
    found = cast("dict[Any, Any]", content)
    for key in NESTED:
        if key in found:
            yield from state_dicts(found[key], depth - 1)
    if plain := {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Stored)}:
        yield from _without_prefixes(plain, 3)


def _without_prefixes(state: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    for prefix in PREFIXES if depth else ():
        if inner := {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}:
            yield from _without_prefixes(inner, depth - 1)
    yield state


def _compare(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a state dict that does not fit, or whose values are not finite."""
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    came = {key: tuple(value.shape) for key, value in state.items()}
    if odd := sorted(k for k in expected.keys() | came.keys() if expected.get(k) != came.get(k)):
        listed = "; ".join(f"{k}: expected {expected.get(k)}, came {came.get(k)}" for k in odd[:5])
        raise ModelError(
            f"the tensors in {path} do not fit together ({len(odd)} differences: {listed})",
            code="bad_weights",
        )
    if broken := [k for k, v in state.items() if not bool(v.isfinite().all())]:
        raise ModelError(
            f"the weights in {path} hold values that are not finite numbers, in {', '.join(broken[:5])}",
            code="bad_weights",
        )
