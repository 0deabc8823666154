"""AnyIR: published counts, its block written out, every ablation, shared statistics."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from anyrestore.architectures.anyir import PRESETS, AnyIR, AnyIRBlock, Config
from anyrestore.benchmark.cost import count_macs, count_parameters

# Preset, parameters, those of the authors' code, M published, G published.
COUNTS = [
    ("anyir-t", 5_735_759, 5_736_376, 5.74, 26),
    ("anyir-s", 8_512_600, 8_513_436, 8.51, 39),
]
TEXT: dict[str, Any] = {"gating": "concatenated", "activation": "gelu", "shares": (1 / 4, 1 / 4, 1 / 2)}

VARIANTS: list[dict[str, Any]] = [
    {},
    {"split": "half"},
    {"gated": False},
    {"fusion": "none"},
    {"fusion": "spatial"},
    {"fusion": "frequency"},
    {"fusion": "fixed"},
    {"repeat": "tile"},
    {"kernel": 3},
    {"activation": "gelu"},
    {"gate_norm": "affine"},
    {"shares": (1 / 4, 3 / 8, 0.0)},
    TEXT,
    TEXT | {"shares": (0.0, 1 / 2, 1 / 2)},
    TEXT | {"shares": (1 / 2, 0.0, 1 / 2)},
    TEXT | {"shares": (1 / 2, 1 / 2, 0.0)},
]


def tiny(**changes: Any) -> AnyIR:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AnyIR(dataclasses.replace(PRESETS["anyir-tiny"], **changes)).eval()


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "parameters", "public", "published", "gmac"), COUNTS)
def test_counts_are_the_published_ones(
    name: str, parameters: int, public: int, published: float, gmac: int
) -> None:
    with torch.device("meta"):
        model = AnyIR(PRESETS[name])
    assert count_parameters(model) == parameters
    assert round(parameters / 1e6, 2) == published
    assert round(count_macs(model) / 1e9) == gmac
    # The code has a temperature for every channel of the gated half, read or not.
    blocks = [block for block in model.modules() if isinstance(block, AnyIRBlock)]
    assert parameters + sum(len(b.gate.project.weight) - len(b.gate.tau) for b in blocks) == public


@pytest.mark.parametrize(
    ("changes", "tolerance"), [({}, 0.01), ({"gate_expansion": 3.0, "kernel": 5}, 0.0021)]
)
def test_counts_of_the_text_s_reading_are_near(changes: dict[str, Any], tolerance: float) -> None:
    for name, _, _, published, gmac in COUNTS:
        with torch.device("meta"):
            model = AnyIR(dataclasses.replace(PRESETS[name], **TEXT, **changes))
        assert count_parameters(model) / 1e6 == pytest.approx(published, rel=tolerance)
        assert count_macs(model) / 1e9 == pytest.approx(gmac, rel=0.01)


@pytest.mark.parametrize("split", ["skip", "half"])
def test_a_block_written_out(split: Any) -> None:
    torch.manual_seed(0)
    block = AnyIRBlock(8, 2, Config(width=8, split=split))
    torch.nn.init.constant_(block.fusion.weight, 0.3)
    x = torch.randn(2, 8, 4, 6)
    normed = block.norm_mixing(x)
    first = [0, 2, 4, 6] if split == "skip" else [0, 1, 2, 3]
    second = [i for i in range(8) if i not in first]
    attended, gated = block.attention(normed[:, first]), block.gate(normed[:, second])
    spatial = torch.cat([attended + gated.sigmoid(), gated + attended.sigmoid()], dim=1)
    spectra = torch.fft.rfft2(attended) + torch.fft.rfft2(gated)
    frequency = torch.fft.irfft2(spectra, s=(4, 6)).repeat_interleave(2, dim=1)
    y = x + block.to_out(0.3 * spatial + 0.7 * frequency)
    expected = y + block.feedforward(block.norm_feedforward(y))
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


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
    for block in model.modules():
        if isinstance(block, AnyIRBlock):  # away from what is fixed
            torch.nn.init.constant_(block.fusion.weight, 0.7)
    shapes = {name: p.shape for name, p in other.state_dict().items()}
    other.load_state_dict(
        {name: p for name, p in model.state_dict().items() if shapes.get(name) == p.shape}, strict=False
    )
    assert (other(x) - model(x)).abs().max() > 1e-5


def test_a_batch_equals_its_images_one_by_one() -> None:
    model, x = tiny(), image(batch=3)
    torch.testing.assert_close(
        model(x), torch.cat([model(x[i : i + 1]) for i in range(3)]), rtol=1e-4, atol=1e-5
    )


def test_a_size_that_does_not_fit_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="multiples of 8, came 20 x 24"):
        tiny()(image(20, 24))


@pytest.mark.parametrize(
    "bad", [{"width": 0}, {"width": 7}, {"kernel": 4}, {"gate_expansion": 0.0}, {"shares": (1.5, 0.0, 0.0)}]
)
def test_configs_that_no_network_can_be_built_from_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Config(**bad)


@pytest.mark.parametrize("changes", [{}, {"gated": False}, TEXT | {"shares": (0.0, 1 / 2, 1 / 2)}], ids=str)
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
