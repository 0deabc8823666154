"""What a step with gradients costs, counted while it runs: arithmetic, traffic, tensors alive at once.

`benchmark/cost.py` looks at a forward pass on the meta device; a training step has a backward pass, an
optimiser and a loss, and is simply run once under the same eyes.

Unusual: torch's own count of a convolution's backward pass takes no notice of groups (2.13), which makes a
depthwise one dearer by its number of channels. Here each of its gradients costs what the forward pass does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from anyrestore.benchmark.cost import Traffic

__all__ = ["StepCost", "count_step"]


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Of one run of a function."""

    flops: int  # floating-point operations of convolutions and matrix products, two for each MAC
    moved: int  # bytes that its operators read and write, see benchmark.cost.count_traffic
    held: int  # bytes of the tensors that it made, at most at once; what operators need inside is not seen


def count_step(step: Callable[[], object]) -> StepCost:
    """Run ``step`` once and count; it must not be compiled, as only torch's operators are seen."""
    flops = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward_flops}
    )
    traffic, alive = Traffic(), _Alive()
    with flops, traffic, alive:
        step()
    return StepCost(flops=int(flops.get_total_flops()), moved=traffic.bytes, held=alive.peak)


def _backward_flops(
    gradient: Sequence[int], image: Sequence[int], weight: Sequence[int], *rest: Any, **_: object
) -> int:
    """Of a convolution, from the shapes; ``rest``: bias, stride, padding, dilation, transposed, and so on."""
    transposed, wanted = bool(rest[4]), cast("Sequence[bool]", rest[7])
    forward = conv_flop_count(list(image), list(weight), list(gradient), transposed=transposed)
    return forward * sum(wanted[:2])  # for the image and for the weight; the bias is left out, as forward


class _Alive(TorchDispatchMode):
    """Follows the memory behind the tensors that operators make, from when it is made until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] (torch leaves its parameter untyped)
        self.now = self.peak = 0
        self._known = set[int]()

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {_address(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in pytree.tree_leaves(out):
            if isinstance(leaf, Tensor) and _address(leaf) not in given | self._known:
                self._follow(leaf.untyped_storage())
        return out

    def _follow(self, memory: torch.UntypedStorage) -> None:
        address, size = memory._cdata, memory.nbytes()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]
        self._known.add(cast("int", address))
        self.now += size
        self.peak = max(self.peak, self.now)

        def forget() -> None:
            self._known.discard(cast("int", address))
            self.now -= size

        weakref.finalize(memory, forget)


def _address(tensor: Tensor) -> int:
    return cast("Any", tensor.untyped_storage())._cdata  # noqa: SLF001 (what MemTracker tells storages apart by)
