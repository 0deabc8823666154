"""From a public checkpoint file to one of our models: which of its state dicts is meant, and of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from anyrestore.errors import ModelError
from anyrestore.zoo.catalog import build
from anyrestore.zoo.convert import CONVERTERS, Converted
from anyrestore.zoo.convert.checkpoint import ByteFile, Stored, open_checkpoint

#: What state dicts are called inside checkpoints, averages first.
NESTED = (
    *("params_ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema"),
    *("params", "state_dict", "model_state_dict", "model_state", "model", "net", "network"),
    *("generator", "net_g", "weights"),
)
#: What a network is called inside its trainer or wrapper, averages first.
PREFIXES = (
    *("ema_model.", "model_ema.", "net_ema.", "ema."),
    *("module.", "_orig_mod.", "net.", "model.", "network.", "generator.", "net_g."),
)


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
    try:
        with path.open("rb") as file:
            name, config, state = _read(file, path, architecture)
            with torch.device("meta"):
                _compare(build(name, config), state, path)  # nothing is allocated before the shapes fit
            model = build(name, config)
            model.load_state_dict({key: value.float() for key, value in state.items()})
    except OSError as error:
        raise ModelError(
            f"expected a checkpoint at {path}, but it cannot be read: {error.strerror or error}",
            code="bad_weights",
        ) from error
    return model.eval().requires_grad_(requires_grad=False)


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


def _without_prefixes(state: dict[str, Stored], depth: int) -> Iterator[dict[str, Stored]]:
    for prefix in PREFIXES if depth else ():
        if inner := {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}:
            yield from _without_prefixes(inner, depth - 1)
    yield state


def _read(file: ByteFile, path: Path, architecture: str | None) -> Converted:
    """The first state dict that a converter knows, converted."""
    checkpoint = open_checkpoint(file)
    wanted = CONVERTERS if architecture is None else {architecture: CONVERTERS[architecture]}
    candidates = list(state_dicts(checkpoint.content))
    names_only = torch.empty(0)
    for candidate in candidates:
        for converter in wanted.values():
            if not converter.recognises(dict.fromkeys(candidate, names_only)):
                continue
            if sum(stored.bytes for stored in candidate.values()) > 4 * file.seek(0, 2) + (1 << 20):
                raise ModelError(
                    f"the tensors in {path} repeat their storage too often", code="unsafe_format"
                )
            state = {name: checkpoint.load(stored) for name, stored in candidate.items()}
            try:
                return converter.convert(state)
            except (ValueError, IndexError, ArithmeticError, RuntimeError) as error:
                raise ModelError(
                    f"the shapes in {path} are those of no network that is known ({error})",
                    code="bad_weights",
                ) from error
    names = sorted(candidates[0])[:3] if candidates else []
    raise ModelError(
        f"expected in {path} the weights of one of {', '.join(wanted)}, came "
        + (f"{len(candidates[0])} tensors ({', '.join(names)}, ...)" if names else "no state dict"),
        code="bad_weights",
    )


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
