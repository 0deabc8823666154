"""PromptIR: the public parameter count and what it holds, the prompts by plain loops, shared tiles."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anyrestore.architectures.promptir import PRESETS, Config, PromptedStage, PromptIR
from anyrestore.conditioning.prompt_pool import PromptPool
from anyrestore.layers.sharing import GlobalMean, merge_means

TINY = PRESETS["promptir-tiny"]


def tiny(**changes: Any) -> PromptIR:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PromptIR(dataclasses.replace(TINY, **changes)).eval()
        with torch.no_grad():
            for p in model.parameters():
                if p.ndim in (1, 3):
                    p.add_(0.2 * torch.randn_like(p))
    return model


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def count(config: Config) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in PromptIR(config).parameters())


def test_the_parameter_count_is_the_public_one_with_the_layers_that_nothing_runs() -> None:
    assert count(Config(unused_layers=True)) == 35_592_263
    unused = 64 * 64 + 128 * 128 + 320 * 256 + (48 + 64) * 48 + (96 + 128) * 96 + (192 + 256) * 192
    assert count(Config()) == 35_592_263 - unused == 35_376_967


def test_unused_layers_do_nothing() -> None:
    model, x = tiny(unused_layers=True), image()
    lean = tiny()
    lean.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("unused.")})
    assert torch.equal(model(x), lean(x))


def test_prompts_stand_after_the_latent_stage_and_the_two_lower_decoder_stages() -> None:
    with torch.device("meta"):
        stages = PromptIR(Config()).unet.stages
    assert [isinstance(stage, PromptedStage) for stage in stages] == [False] * 3 + [True] * 3 + [False] * 2
    prompted = [stage for stage in stages if isinstance(stage, PromptedStage)]
    assert [tuple(s.pool.components.shape) for s in prompted] == [
        (5, 320, 16, 16),
        (5, 128, 32, 32),
        (5, 64, 64, 64),
    ]
    assert [tuple(s.reduce.weight.shape[:2]) for s in prompted] == [(192, 704), (192, 320), (96, 160)]
    assert [s.mixing.attention.heads for s in prompted] == [4, 4, 4]


@torch.no_grad()
def test_a_prompt_is_the_weighted_sum_of_the_components() -> None:
    torch.manual_seed(0)
    pool, x = PromptPool(6, 4, 3, length=5), torch.randn(2, 6, 7, 9)
    expected = torch.zeros(2, 4, 3, 3)
    for i in range(2):
        mean = torch.stack([x[i, c].sum() / 63 for c in range(6)])
        scores = (pool.to_weights.weight @ mean + pool.to_weights.bias).exp()
        for n in range(5):
            expected[i] += scores[n] / scores.sum() * pool.components[n]
    expected = F.conv2d(F.interpolate(expected, (7, 9), mode="bilinear"), pool.conv.weight, padding=1)
    torch.testing.assert_close(pool(x), expected, rtol=1e-4, atol=1e-5)


def test_means_of_parts_merge_into_the_mean_of_the_whole() -> None:
    x = torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    whole = GlobalMean()(x)
    parts = merge_means(GlobalMean()(part) for part in (x[..., :7], x[..., 7:]))
    torch.testing.assert_close(parts.value, whole.value)
    assert parts.pixels == whole.pixels == 80


@torch.no_grad()
def test_a_prompted_stage_is_blocks_then_prompt_then_mixing() -> None:
    stage = tiny().unet.encoder[3]
    x = torch.randn(2, 64, 4, 6, generator=torch.Generator().manual_seed(0))
    after = stage.stage[0](x)
    joined = stage.mixing(torch.cat([after, stage.pool(after)], dim=1))
    expected = torch.einsum("oc,bchw->bohw", stage.reduce.weight[:, :, 0, 0], joined)
    torch.testing.assert_close(stage(x), expected, rtol=1e-4, atol=1e-5)
    assert expected.shape[1] == 32


@pytest.mark.parametrize("changes", [{}, {"norm": "bias_free"}], ids=str)
def test_every_parameter_learns(changes: dict[str, Any]) -> None:
    model, x = tiny(**changes), image(batch=2)
    (model(x) - x).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "bias_free"},
        {"prompt_length": 3},
        {"prompt_heads": 2},
        {"prompt_sizes": (8, 8, 8)},
        {"prompt_widths": (32, 16, 8)},
    ],
    ids=str,
)
def test_every_variant_is_another_function(changes: dict[str, Any]) -> None:
    assert not torch.allclose(tiny(**changes)(image()), tiny()(image()))


def test_a_batch_equals_its_images_one_by_one() -> None:
    model, x = tiny(), image(batch=3)
    one_by_one = torch.cat([model(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(model(x), one_by_one, rtol=1e-4, atol=1e-5)


def test_sizes_and_configs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8, came 20 x 24"):
        tiny()(image(20, 24))
    for bad in ({"width": 0}, {"prompt_length": 0}, {"prompt_sizes": (1, 1, 10**6)}, {"prompt_heads": 257}):
        with pytest.raises(ValueError, match="expected"):
            Config(**bad)


def test_the_shared_condition_of_one_tile_is_the_tiles_own() -> None:
    model, x = tiny(), image()
    torch.testing.assert_close(model(x, model.share([x])), model(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_tiles_that_share_choose_the_whole_pictures_prompt() -> None:
    model = tiny()
    tiles = [image(seed=1), image(seed=2) * 0.2]
    shared = model.share(tiles, 1)
    stage, seen = model.unet.encoder[3], list[Any]()
    handle = stage.pool.mean.register_forward_hook(lambda _m, _x, out: seen.append(out))
    for tile in tiles:
        model(tile)
    handle.remove()
    expected = (seen[0].value + seen[1].value) / 2
    torch.testing.assert_close(shared[3].mean.value, expected)
    assert not torch.allclose(model(tiles[0], shared), model(tiles[0]))
