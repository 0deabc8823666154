"""What a step with gradients costs: operations and bytes that can be told by hand."""

from __future__ import annotations

import torch
from torch import nn

from anyrestore.benchmark.step_cost import count_step


def test_arithmetic_of_both_ways_through_plain_and_grouped_convolutions() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    )
    image = torch.randn(2, 3, 16, 16)
    cost = count_step(lambda: network(image).sum().backward())
    first, second = 2 * 2 * 256 * 9 * 24, 2 * 2 * 256 * 9 * 8
    # There, and back to the weights; back to the picture nobody asked for.
    assert cost.flops == 2 * first + 3 * second


def test_bytes_that_are_alive_at_once() -> None:
    def step() -> None:
        a = torch.zeros(1000)
        b = a + 1  # 8,000 bytes
        b.mul_(2)  # in place
        b[10:].view(-1)  # a view
        del a
        _ = b * 2  # in the place of the first

    cost = count_step(step)
    assert cost.held == 8000
    assert cost.flops == 0
    assert cost.moved >= 4000 * 5


def test_a_matrix_product_counts_both_ways() -> None:
    weight = torch.randn(4, 5, requires_grad=True)
    assert count_step(lambda: (torch.ones(3, 4) @ weight).sum().backward()).flops == 2 * (2 * 3 * 4 * 5)
