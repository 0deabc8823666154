"""InstructIR: the public parameter count, what instructions do, training."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from anyrestore.architectures.instructir import PRESETS, Condition, Config, InstructIR
from anyrestore.benchmark.cost import count_macs

TINY = PRESETS["instructir-tiny"]


def tiny(**changes: Any) -> InstructIR:
    """With norms and scales away from their starts: a new block is the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = InstructIR(dataclasses.replace(TINY, **changes)).eval()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.ndim == 1 or "scale" in name or "shift" in name:
                    p.add_(0.5 * torch.randn_like(p))
    return model


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def words(count: int = 1, seed: int = 0, width: int = 256) -> torch.Tensor:
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def test_the_parameter_count_is_the_public_codes() -> None:
    with torch.device("meta"):
        model = InstructIR(PRESETS["instructir"])
    assert sum(p.numel() for p in model.parameters()) == 15_843_363  # "15.8 M"
    assert round(count_macs(model) / 1e9, 3) == 12.378


def test_tiny_is_tiny() -> None:
    assert sum(p.numel() for p in tiny().parameters()) < 300_000


@torch.no_grad()
def test_instructions_change_the_result_and_none_is_the_zero_vector() -> None:
    model, x = tiny(), image()
    assert not torch.allclose(model(x, words(seed=1)), model(x, words(seed=2)), atol=1e-3)
    assert torch.equal(model(x), model(x, torch.zeros(1, 256)))


@torch.no_grad()
def test_a_batch_equals_its_images_each_with_its_own_instruction() -> None:
    model, x, said = tiny(), image(batch=3), words(3)
    one_by_one = torch.cat([model(x[i : i + 1], said[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(x, said), one_by_one, rtol=1e-4, atol=1e-5)
    together = torch.cat([model(x[i : i + 1], said[:1]) for i in range(3)])
    torch.testing.assert_close(model(x, said[:1]), together, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_shared_condition_carries_the_instruction() -> None:
    model, said = tiny(), words()
    left, right = image(seed=1), image(seed=2) * 0.2
    shared = model.share([left, right], instruction=said)
    assert torch.equal(model(left, model.share([left], instruction=said)), model(left, said))
    assert not torch.allclose(model(left, shared), model(left, said), rtol=0, atol=1e-4)
    # Without means of a whole picture it is the instruction alone; what is shared depends on what was said.
    assert torch.equal(model(left, Condition(said)), model(left, said))
    other = model.share([left, right], instruction=words(seed=1))
    assert not torch.allclose(other.means[0][-1].value, shared.means[0][-1].value)


def test_every_parameter_gets_a_gradient() -> None:
    model, x = tiny(), image(batch=2)
    (model(x, words(2)) - x).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("changes", [{"encoder": (1, 2), "decoder": (1, 1)}, {"middle": 2}, {"width": 4}])
def test_every_field_is_another_function(changes: dict[str, Any]) -> None:
    x, said = image(), words()
    assert not torch.allclose(tiny(**changes)(x, said), tiny()(x, said))


def test_the_width_of_the_instruction_is_a_field() -> None:
    model = tiny(instruction_width=16)
    assert model(image(), words(width=16)).shape == (1, 3, 32, 48)


@pytest.mark.parametrize("shape", [(1, 16), (3, 256)])
def test_an_instruction_that_does_not_fit_is_refused_with_a_sentence(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected an instruction of shape \(1, 256\) or one for each of 2"):
        tiny()(image(batch=2), torch.zeros(shape))


def test_a_size_that_does_not_fit_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="multiples of 8, came 20 x 24"):
        tiny()(image(20, 24))


@pytest.mark.parametrize(
    "bad", [{"width": 0}, {"encoder": (1, 1)}, {"middle": -1}, {"instruction_width": 0}, {"width": 10**9}]
)
def test_configs_that_no_network_can_be_built_from_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Config(**bad)
