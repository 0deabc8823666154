"""ExDA: published counts, its attention by plain loops, every ablation, shared statistics."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anyrestore.architectures.exda import PRESETS, Config, ExDA, NonlinearValue, TokenAttention
from anyrestore.benchmark.cost import count_macs, count_parameters

# Preset, parameters, M published, G published.
COUNTS = [
    ("exda-t", 5_834_340, 5.83, 27),
    ("exda-s", 10_046_462, 10.05, 47),
    ("exda-b", 22_420_752, 22.42, 109),
]

VARIANTS: list[dict[str, Any]] = [
    {},
    {"value": "in_place"},
    {"value": "linear"},
    {"value_activation": "sigmoid"},
    {"value": "in_place", "value_activation": "sigmoid"},
    {"value_learnable": False},
    {"value_placement": "encoder"},
    {"value_placement": "decoder"},
    {"value_expansion": 1.0},
    {"tokens": 0},
    {"tokens": 2},
    {"token_stride": 1},
    {"token_stride": 4},
]


def tiny(**changes: Any) -> ExDA:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ExDA(dataclasses.replace(PRESETS["exda-tiny"], **changes)).eval()


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "parameters", "published", "gmac"), COUNTS)
def test_counts_are_the_published_ones(name: str, parameters: int, published: float, gmac: int) -> None:
    with torch.device("meta"):
        model = ExDA(PRESETS[name])
    assert count_parameters(model) == parameters
    assert round(parameters / 1e6, 2) == published
    assert round(count_macs(model) / 1e9) == gmac


@pytest.mark.parametrize("tokens", [1, 2])
def test_attention_against_plain_loops(tokens: int) -> None:
    torch.manual_seed(0)
    attention = TokenAttention(8, 2, NonlinearValue(8), tokens)
    torch.nn.init.uniform_(attention.temperature, 0.5, 2.0)
    x = torch.randn(2, 8, 4, 6)
    q, k, v = attention.depthwise(attention.to_qkv(x)).split(8, dim=1)
    first, depthwise, _, last = attention.value.transform
    v = v + last(F.gelu(depthwise(first(v))))
    maps = attention.tokens(x)
    rows = torch.zeros(2, 8, 24)
    for b in range(2):
        for head in range(2):
            mine = slice(4 * head, 4 * head + 4)
            q_all, k_all, v_all = (torch.cat([part[b, mine].flatten(1), maps[b, head]]) for part in (q, k, v))
            mixed = []
            for query in q_all:
                scores = torch.stack(
                    [
                        query @ key / (query.norm() * key.norm()) * attention.temperature[head, 0, 0]
                        for key in k_all
                    ]
                )
                weights = scores.exp() / scores.exp().sum()
                mixed.append(sum(w * value for w, value in zip(weights, v_all, strict=True)))
            received = torch.stack(mixed[4:]).mean(dim=0)
            for i in range(4):
                rows[b, 4 * head + i] = mixed[i] + 0.1 * received
    expected = attention.to_out(rows.unflatten(-1, (4, 6)))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_variant_restores_and_trains(changes: dict[str, Any]) -> None:
    model, x = tiny(**changes), image(batch=2)
    restored = model(x)
    assert restored.shape == x.shape
    (restored - x).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("changes", VARIANTS[1:], ids=str)
def test_every_variant_is_another_function(changes: dict[str, Any]) -> None:
    """With the same weights wherever both have them."""
    model, other, x = tiny(), tiny(**changes), image()
    shapes = {name: p.shape for name, p in other.state_dict().items()}
    other.load_state_dict(
        {name: p for name, p in model.state_dict().items() if shapes.get(name) == p.shape}, strict=False
    )
    assert (other(x) - model(x)).abs().max() > 1e-5


def test_values_are_nonlinear_where_they_are_placed() -> None:
    model = tiny(value_placement="decoder")
    nonlinear = [[isinstance(b.attention.value, NonlinearValue) for b in s.blocks] for s in model.unet.stages]
    assert nonlinear == [[False]] * 4 + [[True]] * 4


def test_a_batch_equals_its_images_one_by_one() -> None:
    model, x = tiny(), image(batch=3)
    torch.testing.assert_close(
        model(x), torch.cat([model(x[i : i + 1]) for i in range(3)]), rtol=1e-4, atol=1e-5
    )


def test_the_smallest_picture_goes_through() -> None:
    assert torch.isfinite(tiny()(image(8, 8))).all()


def test_a_size_that_does_not_fit_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="multiples of 8, came 20 x 24"):
        tiny()(image(20, 24))


@pytest.mark.parametrize("bad", [{"width": 0}, {"tokens": -1}, {"token_stride": 0}, {"value_expansion": 0.0}])
def test_configs_that_no_network_can_be_built_from_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Config(**bad)


@pytest.mark.parametrize("changes", [{}, {"tokens": 0}, {"tokens": 2}], ids=str)
def test_the_shared_condition_of_one_tile_is_the_tiles_own(changes: dict[str, Any]) -> None:
    model, x = tiny(**changes), image()
    torch.testing.assert_close(model(x, model.share([x])), model(x), rtol=1e-4, atol=1e-5)


def test_tiles_that_share_are_nearer_to_the_whole() -> None:
    model = tiny()
    whole = image(128, 128) * torch.linspace(0.1, 1, 128)
    tiles = [whole[..., top : top + 64, left : left + 64] for top in (0, 64) for left in (0, 64)]
    inside = model(whole)[..., 16:48, 80:112]  # of the second tile, away from its borders

    def distance(condition: Any) -> float:
        return (model(tiles[1], condition)[..., 16:48, 16:48] - inside).abs().mean().item()

    assert distance(model.share(tiles)) < 0.5 * distance(None)
