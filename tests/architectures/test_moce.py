"""MoCE-IR: the public code's parameter counts, its operations by plain loops, routing, losses, tiles."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from anyrestore.architectures.moce import PRESETS, Config, MoCE
from anyrestore.conditioning.complexity_experts import (
    ComplexityExpert,
    ComplexityExperts,
    HighPass,
    Routing,
    WindowConvolution,
    importance_loss,
    load_loss,
)

TINY = PRESETS["moce-tiny"]
COUNTS = {"moce-s": 11_477_752, "moce": 25_353_796, "moce-tiny": 247_416}  # the first two: the public code's

VARIANTS: list[dict[str, Any]] = [
    {"depths": (1, 2, 3)},
    {"rank": 2},
    {"top_k": 2},
    {"windows": (8, 8, 8)},
    {"windows": (4, 8), "depths": (1, 1)},
    {"heads": (2, 2, 2, 2)},
]


def tiny(**changes: Any) -> MoCE:
    """With routers that tell images apart, and attention sharp enough for experts to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MoCE(dataclasses.replace(TINY, **changes)).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "router" in name:
                    parameter.mul_(20)
                if "temperature" in name:
                    parameter.mul_(20)
    return model


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def varied(batch: int = 4) -> torch.Tensor:
    """Images so unlike each other that they are not all routed alike."""
    return image(batch=batch) * torch.logspace(-2, 0.5, batch)[:, None, None, None]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_public_codes(name: str) -> None:
    with torch.device("meta"):
        model = MoCE(PRESETS[name])
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_variant_restores_and_is_another_function(changes: dict[str, Any]) -> None:
    x = image()
    restored = tiny(**changes)(x)
    assert restored.shape == x.shape
    assert not torch.allclose(restored, tiny()(x))


# The operations, by plain loops --------------------------------------------------------------------------


def test_windows_are_convolved_circularly() -> None:
    layer = WindowConvolution(2, 4)
    q, k = image(6, 7)[:, :2], image(6, 7, seed=1)[:, :2]
    expected = torch.zeros(2, 6, 7)
    padded = [torch.nn.functional.pad(x[0], (0, 1, 0, 2)) for x in (q, k)]
    for c in range(2):
        for y in range(6):
            for x in range(7):
                top, left = y // 4 * 4, x // 4 * 4
                for i in range(4):
                    for j in range(4):
                        a = padded[0][c, top + i, left + j]
                        b = padded[1][c, top + (y - top - i) % 4, left + (x - left - j) % 4]
                        expected[c, y, x] += a * b
    torch.testing.assert_close(layer.convolve(q, k)[0], expected)


def test_an_expert_is_its_formula() -> None:
    expert = ComplexityExpert(8, 2, 4, depth=3)
    x, shared = torch.randn(1, 8, 5, 6), torch.randn(1, 8, 5, 6)

    def mix(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], value)

    expected = x
    for _ in range(3):
        gate = mix(expert.gate.weight, shared)
        inner = expert.attention(mix(expert.down.weight, expected)) * gate / (1 + torch.exp(-gate))
        expected = expected + mix(expert.up.weight, inner)
    torch.testing.assert_close(expert(x, shared), expected)


def test_the_high_pass_is_eight_times_a_pixel_minus_its_neighbours() -> None:
    x = image(5, 5)
    y = HighPass(3)(x)
    assert y[0, 1, 2, 2] == pytest.approx(float(9 * x[0, 1, 2, 2] - x[0, 1, 1:4, 1:4].sum()), abs=1e-5)


def test_every_image_gets_its_own_experts_weighted_by_their_gates() -> None:
    experts = ComplexityExperts(8, (1, 2, 4, 8), (4, 8, 16, 32), (1, 1, 1, 1))
    x, shared = torch.randn(3, 8, 8, 8), torch.randn(3, 8, 8, 8)
    gates = torch.tensor([[0, 0.5, 0, 0], [0.25, 0, 0, 0.5], [0, 0.75, 0, 0]])
    parts = [
        sum(
            gates[b, e] * experts.experts[e](x[b : b + 1], shared[b : b + 1]) for e in range(4) if gates[b, e]
        )
        for b in range(3)
    ]
    torch.testing.assert_close(
        experts(x, shared, Routing(gates, gates, gates)), experts.to_out(torch.cat(parts))
    )


def test_losses_are_squared_coefficients_of_variation() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    noisy = logits + 0.25 * torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    complexity = torch.tensor([0.1, 0.2, 0.4, 1.0])

    def variation(values: list[float]) -> float:
        mean = sum(values) / 4
        return sum((v - mean) ** 2 for v in values) / 3 / mean**2

    chances, importance = [0.0] * 4, [0.0] * 4
    for row, drawn in zip(logits.tolist(), noisy.tolist(), strict=True):
        total = sum(math.exp(v) for v in row)
        for e in range(4):
            importance[e] += math.exp(row[e]) / total
            chances[e] += 0.5 * (1 + math.erf((row[e] - sorted(drawn)[-2]) / 0.25 / 2**0.5))
    weighted = [a * b for a, b in zip(importance, complexity.tolist(), strict=True)]
    assert importance_loss(logits, None).item() == pytest.approx(variation(importance), rel=1e-4)
    assert importance_loss(logits, complexity).item() == pytest.approx(variation(weighted), rel=1e-4)
    assert load_loss(Routing(logits, noisy, noisy), 2, 0.25).item() == pytest.approx(
        variation(chances), rel=1e-4
    )


def test_complexity_is_the_share_of_the_largest_experts_parameters() -> None:
    with torch.device("meta"):
        model = MoCE(PRESETS["moce-s"])
    block = model.unet.decoder[0][0]
    sizes = [sum(p.numel() for p in expert.parameters()) for expert in block.experts.experts]
    assert [expert.down.out_channels for expert in block.experts.experts] == [16, 32, 64, 128]
    torch.testing.assert_close(block.experts.complexity, torch.tensor(sizes) / sizes[-1])


# Routing --------------------------------------------------------------------------------------------------


def test_inference_is_deterministic_and_a_batch_is_its_images() -> None:
    model, x = tiny(), varied()
    with torch.no_grad():
        restored, singles = model(x), [model(x[i : i + 1]) for i in range(len(x))]
    chosen = torch.stack([gates.argmax(dim=1) for gates in model.gates(x).values()])
    assert (chosen != chosen[:, :1]).any()  # they are not all routed alike
    assert torch.equal(model(x), restored)
    torch.testing.assert_close(restored, torch.cat(singles), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(x, model.force(0)), restored)


def test_training_is_noisy_and_inference_leaves_the_generator_alone() -> None:
    model, x = tiny(), varied()
    state = torch.get_rng_state()
    model(x)
    assert torch.equal(torch.get_rng_state(), state)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(model(x), model(x))


def test_gates_are_the_best_probabilities() -> None:
    gates = tiny(top_k=2).gates(varied())
    assert list(gates) == ["decoder.0.0", "decoder.1.0", "decoder.2.0"]
    for found in gates.values():
        assert found.shape == (4, 3)
        assert ((found > 0).sum(dim=1) == 2).all()
        assert (found.sum(dim=1) <= 1 + 1e-6).all()


def test_a_forced_expert_keeps_the_best_ones_weight() -> None:
    model, x = tiny(), image()
    own = model._restore(x, None)[1][0].gates
    outputs = list[torch.Tensor]()
    for expert in range(3):
        restored, routings = model._restore(x, model.force(expert))
        assert all(routing.gates.argmax() == expert for routing in routings)
        assert routings[0].gates.sum() == own.max()
        outputs.append(restored)
    assert not any(torch.equal(outputs[0], other) for other in outputs[1:])
    with pytest.raises(ValueError, match=r"an expert in 0\.\.2"):
        model.force(4)


def test_a_compiled_graph_is_the_same_function_without_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a graph is recorded all experts run; the masked sum is what the chosen ones give."""
    model, x = tiny(), varied()
    expected = model(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


# Training -------------------------------------------------------------------------------------------------


def test_every_parameter_but_the_frozen_filter_gets_a_gradient() -> None:
    """In a batch large enough for the noise to try every expert of every block."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MoCE(TINY).train()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.mul_(0.1 if "router" in name else 1)
        restored, losses = model.forward_with_losses(image(8, 8, batch=64))
    assert list(losses) == ["importance", "load"]
    assert all(loss.ndim == 0 and loss > 0 for loss in losses.values())
    (restored.square().mean() + sum(losses.values())).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == ["frequency.high_pass.weight"]


def test_an_expert_that_was_not_chosen_has_a_gradient_of_zero() -> None:
    model = tiny().train()
    model.forward_with_losses(image())[0].sum().backward()
    expected = {"frequency.high_pass.weight"}
    assert {name for name, p in model.named_parameters() if p.grad is None} == expected
    idle = {name for name, p in model.named_parameters() if p.grad is not None and not p.grad.any()}
    assert idle
    assert all(".experts.experts." in name or ".router." in name for name in idle)


def test_the_bias_prefers_cheap_experts() -> None:
    """Minimising importance alone moves the probabilities to the cheap experts."""
    logits = torch.zeros(1, 4, requires_grad=True)
    complexity = torch.tensor([0.1, 0.2, 0.4, 1.0])
    optimizer = torch.optim.SGD([logits], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        importance_loss(logits, complexity).backward()
        optimizer.step()
    found = logits.softmax(dim=-1)[0]
    assert (found.diff() < 0).all()


# Tiles ----------------------------------------------------------------------------------------------------


def test_the_shared_condition_of_one_tile_is_the_tiles_own() -> None:
    model, x = tiny(), image()
    torch.testing.assert_close(model(x, model.share([x])), model(x), rtol=1e-4, atol=1e-5)
    assert all(not module._forward_hooks for module in model.modules())


def test_tiles_share_their_experts() -> None:
    model = tiny()
    tiles = [image(seed=1), image(24, 32, seed=2) * 0.02]
    own = [[int(g.argmax()) for g in model.gates(tile).values()] for tile in tiles]
    assert own[0] != own[1]
    condition = model.share(tiles)
    shared = []
    for tile in tiles:
        _, routings = model._restore(tile, condition)
        shared.append([int(routing.gates.argmax()) for routing in routings])
    assert shared[0] == shared[1]
    backwards = model.share(tiles[::-1])
    torch.testing.assert_close(model(tiles[0], condition), model(tiles[0], backwards), rtol=1e-4, atol=1e-5)


# The public code's faults ----------------------------------------------------------------------------------


def test_quirks_make_inference_random_and_train_the_filter() -> None:
    model, x = tiny(paper_quirks=True), varied()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        outputs = [model(x) for _ in range(4)]
    assert any(not torch.equal(outputs[0], other) for other in outputs[1:])
    assert model.frequency.high_pass.weight.requires_grad
    assert not tiny().frequency.high_pass.weight.requires_grad


def test_quirks_add_up_the_experts_of_a_batch() -> None:
    experts = ComplexityExperts(8, (1, 2), (4, 8), (1, 1), paper_quirks=True).eval()
    x, shared = torch.randn(3, 8, 8, 8), torch.randn(3, 8, 8, 8)
    gates = torch.tensor([[0, 0.6], [0.7, 0], [0, 0.8]])
    first, second = (expert(x, shared) for expert in experts.experts)
    expected = gates.amax(dim=1)[:, None, None, None] * (first + 2 * second)
    torch.testing.assert_close(experts(x, shared, Routing(gates, gates, gates)), experts.to_out(expected))
    torch.testing.assert_close(
        experts(x[:1], shared[:1], Routing(gates[:1], gates[:1], gates[:1])),
        experts.to_out(0.6 * second[:1]),
    )


def test_quirks_ignore_depth_and_complexity() -> None:
    deep = tiny(paper_quirks=True, depths=(1, 2, 3))
    assert {expert.depth for block in deep._blocks() for b in block for expert in b.experts.experts} == {1}


def test_quirks_leave_out_the_bias_to_cheap_experts() -> None:
    def importance(**changes: Any) -> torch.Tensor:
        model = tiny(**changes)
        for block in (block for stage in model._blocks() for block in stage):
            block.router.noise = 1e-9
        return model.forward_with_losses(image())[1]["importance"]

    assert importance(paper_quirks=True) == importance(complexity_bias=False) != importance()


# What cannot be built --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"width": 0},
        {"width": 4},
        {"depths": (1, 1)},
        {"top_k": 5},
        {"windows": (0, 8, 16, 32)},
        {"rank": 0},
        {"latent": 0},
    ],
    ids=str,
)
def test_configs_that_no_network_can_be_built_from_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Config(**bad)


def test_a_size_that_does_not_fit_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="multiples of 8, came 20 x 24"):
        tiny()(image(20, 24))
