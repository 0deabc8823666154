"""CEA-IR: published parameter counts, every controlled variant, routing maps, shared factors."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from anyrestore.architectures.cea import CEA, PRESETS, CEABlock, Config

TINY = PRESETS["tiny"]

COUNTS = [
    ("the backbone alone", Config(targets="none"), 9_361_926),
    ("rank 4", Config(rank=4), 9_708_198),
    ("CEA-IR-S", PRESETS["cea-s"], 9_711_526),
    ("rank 16", Config(rank=16), 9_718_182),
    ("CEA-IR", PRESETS["cea"], 21_630_134),
]

VARIANTS: list[dict[str, Any]] = [
    {},
    {"factors": "static"},
    {"routing": "top2"},
    {"generator": "pooled"},
    {"rank_norm": False},
    {"learnable_scale": True},
    {"rank": 8},
    {"placement": "all", "decoder": (2, 2, 2)},
    {"stem_scale": 2},
    {"adapter_stride": 2},
    *({"targets": targets} for targets in ("none", "q", "k", "v", "qkv", "ffn")),
]


def tiny(**changes: Any) -> CEA:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CEA(dataclasses.replace(TINY, **changes)).eval()


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("config", "count"), [c[1:] for c in COUNTS], ids=[c[0] for c in COUNTS])
def test_parameter_counts_are_the_published_ones(config: Config, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CEA(config).parameters()) == count


def test_adapters_stand_on_alternate_decoder_blocks() -> None:
    with torch.device("meta"):
        model = CEA(PRESETS["cea-s"])
    assert [[isinstance(b, CEABlock) for b in stage] for stage in model.unet.decoder] == [
        [True, False, True, False],
        [True, False, True, False],
        [True, False],
    ]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_variant_restores_and_trains(changes: dict[str, Any]) -> None:
    model, x = tiny(**changes), image(batch=2)
    restored = model(x)
    assert restored.shape == x.shape
    (restored - x).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("changes", [v for v in VARIANTS if v and "learnable_scale" not in v], ids=str)
def test_every_variant_is_another_function(changes: dict[str, Any]) -> None:
    """A field that is read changes the result even with the same random numbers behind it."""
    x = image()
    assert not torch.allclose(tiny(**changes)(x), tiny()(x))


def test_a_batch_equals_its_images_one_by_one() -> None:
    model, x = tiny(), image(batch=3)
    torch.testing.assert_close(
        model(x), torch.cat([model(x[i : i + 1]) for i in range(3)]), rtol=1e-4, atol=1e-5
    )


def test_a_size_that_does_not_fit_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="multiples of 8, came 20 x 24"):
        tiny()(image(20, 24))


@pytest.mark.parametrize("bad", [{"width": 0}, {"width": 10**9}, {"rank": 0}, {"stem_scale": 3}])
def test_configs_that_no_network_can_be_built_from_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Config(**bad)


def test_routing_maps_are_the_affinities_and_leave_the_model_alone() -> None:
    model, x = tiny(decoder=(1, 1, 2)), image(batch=2)
    before = model(x)
    maps = model.routing_maps(x)
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        f"decoder.{stage}.0.{target}": (2, 4, 32 // scale, 48 // scale)
        for stage, scale in enumerate((4, 2, 1))
        for target in "qk"
    }
    assert all((m < 0).any() and (m > 0).any() for m in maps.values())  # signed, dense
    assert torch.equal(model(x), before)
    assert all(not module._forward_hooks for module in model.modules())
    # The map at full resolution again, from the block's own input.
    block, seen = model.unet.decoder[2][0], list[torch.Tensor]()
    handle = block.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(x)
    handle.remove()
    normed = block.norm_attention(seen[0])
    bases = block.normalise(block.adapter(normed)["q"][0])
    torch.testing.assert_close(maps["decoder.2.0.q"], torch.einsum("brc,bchw->brhw", bases, normed))


@pytest.mark.parametrize("changes", [v for v in VARIANTS if v.get("targets") != "none"], ids=str)
def test_the_shared_condition_of_one_tile_is_the_tiles_own(changes: dict[str, Any]) -> None:
    model, x = tiny(**changes), image()
    torch.testing.assert_close(model(x, model.share([x])), model(x), rtol=1e-4, atol=1e-5)


def test_the_shared_condition_of_two_tiles_is_neither_tiles_own() -> None:
    model, left, right = tiny(), image(seed=1), image(seed=2) * 0.2
    both = model.share([left, right])
    assert not torch.allclose(model(left, both), model(left))
    # It does not matter in which order the tiles come.
    torch.testing.assert_close(
        model(left, both), model(left, model.share([right, left])), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("targets", ["none", "qk"])
def test_tiles_that_share_are_nearer_to_the_whole_with_every_round(targets: str) -> None:
    model = tiny(targets=targets)
    whole = image(128, 128) * torch.linspace(0.1, 1, 128)
    tiles = [whole[..., top : top + 64, left : left + 64] for top in (0, 64) for left in (0, 64)]
    inside = model(whole)[..., 16:48, 80:112]  # of the second tile, away from its borders

    def distance(condition: Any) -> float:
        return (model(tiles[1], condition)[..., 16:48, 16:48] - inside).abs().mean().item()

    alone, once, twice = distance(None), distance(model.share(tiles, 1)), distance(model.share(tiles, 2))
    assert once < 0.5 * alone
    assert twice < once


def test_sharing_hears_only_its_own_thread() -> None:
    model, tile = tiny(), image()
    expected = model.share([tile])

    def interfere(*_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            with ThreadPoolExecutor(1) as other:
                other.submit(model, image(seed=5)).result()

    hook = model.unet.stem.register_forward_hook(interfere)
    shared = model.share([tile])
    hook.remove()
    torch.testing.assert_close(model(tile, shared), model(tile, expected))
