"""torch.compile takes every architecture whole and changes nothing (``fullgraph``: graph breaks are errors).

In a process of its own: here jaxtyping wraps every function, which users never see and Dynamo cannot always
trace. The backends are those that generate no code. Inductor's takes minutes for each of these models on two
cores, and what would fail there is inductor, not the model.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

import pytest
import torch
from torch import nn

from tiny_models import SMALLEST, image, make_smallest, moved


@pytest.fixture(scope="module")
def outside() -> Iterator[Executor]:
    """A fresh Python process, one for all models."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (1,)) as pool:
        yield pool


def compiled(model: nn.Module, backend: str) -> nn.Module:
    torch.compiler.reset()
    return torch.compile(model, fullgraph=True, backend=backend)


@torch.no_grad()
def restored(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Compiled, and not."""
    model, x = moved(make_smallest(name)), image(32, 48, batch=2)
    return compiled(model, "aot_eager")(x), model(x)


def learnt(name: str) -> list[tuple[str, torch.Tensor | None, torch.Tensor | None]]:
    """Every parameter's gradient in training mode, compiled and not."""
    model, x = moved(make_smallest(name)).train(), image(32, 48, batch=2)
    gradients = list[dict[str, torch.Tensor | None]]()
    for network in (compiled(model, "eager"), model):
        model.zero_grad()
        torch.manual_seed(1)  # of the noise in a router's logits
        network(x).square().mean().backward()
        gradients.append({n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()})
    return [(parameter, gradient, gradients[1][parameter]) for parameter, gradient in gradients[0].items()]


@pytest.mark.parametrize("name", SMALLEST)
def test_the_whole_network_is_one_graph_with_the_same_result(name: str, outside: Executor) -> None:
    result, expected = outside.submit(restored, name).result()
    assert result.shape == (2, 3, 32, 48)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_compiled_network_learns_the_same(name: str, outside: Executor) -> None:
    for parameter, gradient, expected in outside.submit(learnt, name).result():
        assert (gradient is None) == (expected is None), parameter
        if gradient is not None and expected is not None:
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5, msg=parameter)
