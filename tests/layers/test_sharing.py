"""Statistics of tiles: merged as told, exact in the first layer, heard only from their own thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from anyrestore.layers.padding import check_multiple
from anyrestore.layers.sharing import Shared, share_statistics


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Centred(nn.Module):
    """Subtracts the mean twice, with a product between: the second mean depends on the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Mean(), Mean()

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.first(x)).square()
        return x - self.second(x)


def average(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).mean()


def test_the_second_round_makes_deeper_statistics_exact() -> None:
    model = Centred()
    tiles = [torch.tensor([0.0, 1.0]), torch.tensor([4.0, 7.0])]
    shared = [Shared(model.first, average), Shared(model.second, average)]
    first, second = share_statistics(model, shared, tiles, 1)
    assert (first, second) == (3.0, (0.25 + 2.25) / 2)
    first, second = share_statistics(model, shared, tiles, 2)
    whole = torch.cat(tiles)
    assert (first, second) == (whole.mean(), whole.var(unbiased=False))
    assert not any(module._forward_hooks for module in model.modules())


def test_another_thread_is_neither_heard_nor_changed() -> None:
    model, tile = Centred(), torch.tensor([0.0, 2.0])
    alone, others = share_statistics(model, [Shared(model.first, average)], [tile]), list[Tensor]()

    def run(part: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            others.append(pool.submit(model, torch.tensor([100.0, 102.0])).result())
        return model(part)

    caller = nn.Module()
    caller.forward = run
    assert share_statistics(caller, [Shared(model.first, average)], [tile]) == alone
    assert all(torch.equal(other, torch.zeros(2)) for other in others)


def test_check_multiple_names_both_sizes() -> None:
    check_multiple(torch.zeros(1, 3, 8, 16), 8)
    for size in ((8, 12), (12, 8)):
        with pytest.raises(ValueError, match=f"multiples of 8, came {size[0]} x {size[1]}"):
            check_multiple(torch.zeros(1, 3, *size), 8)
