"""The toys: what linear values cannot do, shown on the networks themselves; pairs; some training."""

from __future__ import annotations

import pytest
import torch

from anyrestore.studies import toys
from anyrestore.studies.scoring import measure


@pytest.mark.parametrize(("value", "linear"), [("linear", True), ("matched", True), ("nonlinear", False)])
def test_bare_attention_with_linear_values_is_a_linear_map(value: str, linear: bool) -> None:
    """The paper's argument: with the attention held fast, f(x + y) - f(x) - f(y) + f(0) is 0."""
    torch.manual_seed(0)
    network = toys.ToyNetwork(value=value, whole=False).double()
    maps: dict[int, torch.Tensor] = {}

    def hold(i: int):
        def hook(module: object, args: object, out: object) -> object:
            return maps.setdefault(i, out)  # the first picture's attention for all

        return hook

    for i, block in enumerate(network.blocks):
        block.attention.similarity.register_forward_hook(hold(i))
    x, y = torch.rand(2, 1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        network(x)
        apart = network(x + y) - network(x) - network(y) + network(torch.zeros_like(x))
    assert (apart.abs().max() < 1e-12) == linear


def test_a_whole_block_is_not_linear_with_linear_values_either() -> None:
    torch.manual_seed(0)
    network = toys.ToyNetwork(value="linear", whole=True).double()
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        apart = network(2 * x) - 2 * network(x) + network(torch.zeros_like(x))
    assert apart.abs().max() > 1e-3


def test_pairs_are_pictures_and_always_the_same() -> None:
    for make in toys.TOYS.values():
        clean, degraded = make()
        assert clean.shape == degraded.shape
        assert len(clean) > 1000
        for image in (clean, degraded):
            assert 0 <= image.min() < 0.05
            assert 0.95 < image.max() <= 1
        again = make.__wrapped__()  # type: ignore[attr-defined] # functools.cache
        assert torch.equal(again[1], degraded)
    degraded, clean = toys.held_out()["digits"]
    assert (degraded - clean).abs().mean() > 0.03


def test_training_is_the_seeds_and_makes_pictures_better() -> None:
    given, clean = toys.held_out()["functions"]
    pictures = {"functions": (given[:8], clean[:8])}
    options = {"value": "nonlinear", "whole": True}
    found = []
    for steps in (1, 40, 40):
        networks, parameters = toys.train(options, steps=steps, seed=0, only=("functions",))
        assert parameters > 4000
        found.append(measure(networks.__getitem__, pictures, str)[0].psnr)
    assert found[1] == found[2]
    assert found[1] > found[0] + 1
