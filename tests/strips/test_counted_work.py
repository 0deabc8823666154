"""How much work a pass is, counted and not timed: it may become less, and must not become more unseen.

The numbers are of one 128 x 128 picture. After a change that brings more, the change or the number is wrong.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from anyrestore import strips
from anyrestore.benchmark.cost import count_macs, count_traffic
from anyrestore.strips import kernels, sweeps
from anyrestore.zoo import create_model

SIDE = 128
MB = 10**6


class Counter(TorchDispatchMode):
    """Operators that compute, and bytes of tensors that they make."""

    def __init__(self) -> None:
        super().__init__()
        self.operators, self.made = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {
            t.untyped_storage().data_ptr()
            for t in pytree.tree_leaves((args, kwargs))
            if isinstance(t, Tensor)
        }
        fresh = [
            t
            for t in pytree.tree_leaves(out)
            if isinstance(t, Tensor) and t.untyped_storage().data_ptr() not in given
        ]
        self.operators += 0 if func.is_view else 1
        self.made += sum(t.numel() * t.element_size() for t in fresh)
        return out


def product_added(_into: Any, a: Any, b: Any, **_: Any) -> int:
    """Of the product that is added in place, which torch's counter does not know."""
    return 2 * a[0] * a[1] * b[1]


def in_strips(name: str, mode: Any) -> None:
    torch.manual_seed(0)
    model, picture = create_model(name).eval().requires_grad_(False), torch.rand(1, 3, SIDE, SIDE)
    with mode:
        strips.restore(model, SIDE, SIDE, lambda a, b: picture[:, :, a:b], lambda *_: None)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modes see the thread that they are in, and nothing inside of TorchScript."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(kernels, "fast_begin", sweeps.begin)
    monkeypatch.setattr(kernels, "fast_sweep", sweeps.sweep)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["cea-t", "restormer-tiny"])
def test_strips_compute_no_more_than_the_network(name: str) -> None:
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: product_added})
    in_strips(name, counter)
    assert counter.get_total_flops() // 2 < 1.03 * count_macs(create_model(name), SIDE, SIDE)


@pytest.mark.parametrize(("name", "operators", "made"), [("cea-t", 1_600, 88), ("cea-s", 6_700, 715)])
def test_operators_and_bytes_of_a_pass_in_strips(name: str, operators: int, made: int) -> None:
    counter = Counter()
    in_strips(name, counter)
    assert counter.operators <= operators
    assert counter.made <= made * MB


@pytest.mark.parametrize(
    ("name", "traffic"), [("cea-t", 257), ("cea-s", 2_880), ("moce-s", 4_090), ("nafnet", 980)]
)
def test_bytes_that_the_plain_forward_moves(name: str, traffic: int) -> None:
    assert count_traffic(create_model(name), SIDE, SIDE) <= traffic * MB
