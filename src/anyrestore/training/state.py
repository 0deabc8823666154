"""A run's tensors by the network's own names: weights, their average, the optimiser's moments.

Gathered whole where FSDP has split them, and split again when they come back, so that a checkpoint does not
depend on how many processes wrote it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

State = dict[str, Tensor]


def collect(network: nn.Module, average: State | None, optimizer: Any) -> State:
    """Everything, whole, on every process; all processes must call it."""
    tensors = {f"model.{k}": whole(v) for k, v in _state(network).items()}
    if average is not None:
        tensors |= {f"average.{k}": whole(v) for k, v in average.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = whole(value)
    return tensors


@torch.no_grad()
def restore(tensors: Mapping[str, Tensor], network: nn.Module, average: State | None, optimizer: Any) -> None:
    """Put everything back in place.

    Raises:
        KeyError: a tensor is missing, or one too many is there.
        RuntimeError: one has another shape.
    """
    left = set(tensors)
    for prefix, state in (("model.", _state(network)), ("average.", average or {})):
        for key, value in state.items():
            value.copy_(placed(tensors[prefix + key], value))
            left.remove(prefix + key)
    # None before the first step; in one order on all processes, as placing is something they do together.
    moments = sorted({k.split(".", 2)[1] for k in left if k.startswith("optimizer.")})
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad or not moments:
            continue
        state = dict[str, Tensor]()
        for key in moments:
            value = tensors[f"optimizer.{key}.{name}"]
            # The count of steps is a plain tensor even where the parameter is split.
            state[key] = value.to(parameter.device) if key == "step" else placed(value, parameter)
            left.remove(f"optimizer.{key}.{name}")
        optimizer.state[parameter] = state
    if left:
        raise KeyError(f"not expected: {', '.join(sorted(left)[:5])}")


def copy_of(network: nn.Module) -> State:
    """The weights as they are now, split as the network's are."""
    return {k: v.detach().clone() for k, v in _state(network).items()}


def average_in(average: State, network: nn.Module, decay: float) -> None:
    """One step of the running average: ``average = decay * average + (1 - decay) * weights``."""
    own = _state(network)
    update = cast("Any", get_ema_multi_avg_fn(decay))
    update(list(average.values()), [own[key].detach() for key in average], 0)


@contextmanager
def weights_of(state: State | None, network: nn.Module) -> Generator[None]:
    """Other weights in a network for the length of a ``with``; None leaves its own."""
    if state is None:
        yield
        return
    kept = copy_of(network)
    try:
        _copy(state, network)
        yield
    finally:
        _copy(kept, network)


def whole(tensor: Tensor) -> Tensor:
    """A tensor, gathered from all processes where FSDP has split it."""
    tensor = tensor.detach()
    return cast("Any", tensor).full_tensor() if isinstance(tensor, DTensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, split as ``like`` is, on its device."""
    tensor = tensor.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(tensor, like.device_mesh, like.placements)
    return tensor


def _state(network: nn.Module) -> State:
    return network.state_dict()


@torch.no_grad()
def _copy(state: Mapping[str, Tensor], network: nn.Module) -> None:
    for key, value in _state(network).items():
        value.copy_(state[key])
