"""Parameters, multiply-accumulate operations (MACs) and traffic, counted rather than estimated.

A copy of the model on torch's meta device is run once and its operators are looked at: shapes only, no
arithmetic, so a 100 GMAC model is counted in a second and no memory. As in the papers, one MAC is two
floating-point operations, and only convolutions and matrix products (linear layers and attention among them)
count; norms, activations, additions and Fourier transforms do not.

Unusual: on the meta device no data can choose a MoCE-IR's expert; the costliest stands for all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Traffic", "count_macs", "count_parameters", "count_traffic"]


def count_parameters(model: nn.Module) -> int:
    """The number of trainable and frozen scalars, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, height: int = 224, width: int = 224) -> int:
    """MACs of one RGB image of height x width pixels.

    Args:
        model: From (1, 3, height, width) to anything. It is neither run nor changed.
        height: In pixels; 224 is what the tables of the field use.
        width: In pixels.

    Raises:
        ValueError: A side is not a multiple of the model's `size_multiple`: the padding would count.
    """
    counter = FlopCounterMode(display=False)
    _run_on_meta(model, height, width, counter)
    return int(counter.get_total_flops()) // 2


def count_traffic(model: nn.Module, height: int = 224, width: int = 224) -> int:
    """Bytes that the operators of one pass over one RGB image read and write, in float32.

    Every operator's inputs (weights among them) and outputs once each; views move nothing. It is what goes
    through memory if no operator finds its input in a cache and none is fused with the next: on a CPU with
    a large cache, less reaches the memory itself.

    Args:
        model: As in :func:`count_macs`.
        height: In pixels.
        width: In pixels.

    Raises:
        ValueError: As :func:`count_macs`.
    """
    traffic = Traffic()
    _run_on_meta(model, height, width, traffic)
    return traffic.bytes


#: A view whose schema does not say so, and tensors that are made and not written.
_MOVES_NOTHING = ("_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")


class Traffic(TorchDispatchMode):
    """Adds up what the operators below torch's dispatcher read and write: ``bytes``."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] (torch leaves its parameter untyped)
        self.bytes = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in _MOVES_NOTHING:
            leaves = pytree.tree_leaves(((args, kwargs), out))
            self.bytes += sum(_moved(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        return out


def _moved(tensor: Tensor) -> int:
    """Bytes behind a tensor; what is expanded (stride 0) is there once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else min(size, 1)
    return count * tensor.element_size()


def _run_on_meta(model: nn.Module, height: int, width: int, mode: AbstractContextManager[object]) -> None:
    """Run a copy of the model under `mode`, without data."""
    multiple = int(getattr(model, "size_multiple", 1))
    if height % multiple or width % multiple:
        raise ValueError(
            f"Expected height and width to be multiples of {multiple}, got {height} x {width}; "
            "round them up to what the model would be padded to."
        )
    skeleton = copy.deepcopy(model).to("meta").eval().requires_grad_(requires_grad=False)
    image = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), mode:
        skeleton(image)
