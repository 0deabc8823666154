"""The instruction condition block against plain loops."""

from __future__ import annotations

import math

import torch
from torch import nn

from anyrestore.conditioning.instruction_block import InstructionBlock


def block() -> InstructionBlock:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = InstructionBlock(4, 5, nn.Conv2d(4, 4, 3, padding=1)).eval()
        with torch.no_grad():
            made.scale.normal_()
            made.shift.normal_()
    return made


@torch.no_grad()
def test_channels_are_scaled_shifted_and_masked_before_the_inner_block() -> None:
    made = block()
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 4, 3, 3, generator=generator)
    words = torch.randn(2, 5, generator=generator)
    routed = torch.empty_like(x)
    for b in range(2):
        for c in range(4):
            logit = sum(float(words[b, d] * made.to_mask.weight[c, d]) for d in range(5))
            open_by = 1 / (1 + math.exp(-logit - float(made.to_mask.bias[c])))
            for i in range(3):
                for j in range(3):
                    value = float(x[b, c, i, j] * made.scale[0, c, 0, 0] + made.shift[0, c, 0, 0])
                    routed[b, c, i, j] = value * open_by
    torch.testing.assert_close(made(x, words), x + made.block(routed))


@torch.no_grad()
def test_one_instruction_may_serve_the_whole_batch() -> None:
    made = block()
    generator = torch.Generator().manual_seed(2)
    x, words = torch.rand(3, 4, 5, 5, generator=generator), torch.randn(1, 5, generator=generator)
    torch.testing.assert_close(made(x, words), made(x, words.expand(3, -1)))
    assert made.mask(words).shape == (1, 4)
    assert not torch.allclose(made(x, words), made(x, -words))


def test_everything_gets_a_gradient() -> None:
    made = block()
    made(torch.rand(1, 4, 5, 5), torch.randn(1, 5)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in made.parameters())
