"""Restormer: the public parameter counts, the blocks and their wiring by other means, shared tiles."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anyrestore.architectures.restormer import PRESETS, Config, Restormer

TINY = PRESETS["restormer-tiny"]


def tiny(**changes: Any) -> Restormer:
    """With norms and temperatures away from their starts, so that every parameter shows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Restormer(dataclasses.replace(TINY, **changes)).eval()
        with torch.no_grad():
            for p in model.parameters():
                if p.ndim in (1, 3):
                    p.add_(0.2 * torch.randn_like(p))
    return model


def image(height: int = 32, width: int = 48, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("norm", "count"), [("with_bias", 26_126_644), ("bias_free", 26_111_668)])
def test_parameter_counts_are_the_public_ones(norm: Any, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Restormer(Config(norm=norm)).parameters()) == count


def test_the_top_decoder_level_runs_at_twice_the_width() -> None:
    with torch.device("meta"):
        unet = Restormer(Config()).unet
    widths = [stage[0].norm_attention.weight.numel() for stage in unet.stages]
    assert widths == [48, 96, 192, 384, 192, 96, 96, 96]
    assert [len(stage) for stage in unet.stages] == [4, 6, 6, 8, 6, 6, 4, 4]
    assert [sum(p.numel() for p in fuse.parameters()) for fuse in unet.fuse] == [384 * 192, 192 * 96, 0]


def norm(weights: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    """Over channels, by the library's own layer_norm or by the definition of the bias-free form."""
    if f"{name}.bias" in weights:
        args = (x.shape[1:2], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)
        return F.layer_norm(x.movedim(1, -1), *args).movedim(-1, 1)
    deviation = torch.sqrt(x.var(dim=1, keepdim=True, unbiased=False) + 1e-5)
    return x / deviation * weights[f"{name}.weight"].view(1, -1, 1, 1)


def block(weights: dict[str, torch.Tensor], name: str, x: torch.Tensor, heads: int) -> torch.Tensor:
    """A transformer block, head by head, from the paper's equations."""

    def conv(kind: str, value: torch.Tensor, groups: int = 1) -> torch.Tensor:
        weight = weights[f"{name}.{kind}.weight"]
        return F.conv2d(value, weight, padding=weight.shape[-1] // 2, groups=groups)

    c, (h, w) = x.shape[1], x.shape[-2:]
    projected = conv("attention.to_qkv", norm(weights, f"{name}.norm_attention", x))
    q, k, v = conv("attention.depthwise", projected, 3 * c).split(c, dim=1)
    mixed, size = torch.empty_like(v), c // heads
    for image_index in range(x.shape[0]):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            qs, ks, vs = (t[image_index, part].reshape(size, h * w) for t in (q, k, v))
            cosine = (qs / qs.norm(dim=1, keepdim=True)) @ (ks / ks.norm(dim=1, keepdim=True)).T
            attention = (cosine * weights[f"{name}.attention.temperature"][head]).softmax(dim=1)
            mixed[image_index, part] = (attention @ vs).view(size, h, w)
    x = x + conv("attention.to_out", mixed)
    both = conv("feedforward.to_branches", norm(weights, f"{name}.norm_feedforward", x))
    hidden = both.shape[1] // 2
    both = conv("feedforward.depthwise", both, 2 * hidden)
    return x + conv("feedforward.to_out", F.gelu(both[:, :hidden]) * both[:, hidden:])


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"norm": "bias_free"}], ids=str)
def test_the_network_is_the_papers(changes: dict[str, Any]) -> None:
    model, x = tiny(**changes), image(batch=2)
    w = model.state_dict()

    def conv(name: str, value: torch.Tensor) -> torch.Tensor:
        return F.conv2d(value, w[f"unet.{name}.weight"], padding=w[f"unet.{name}.weight"].shape[-1] // 2)

    y, skips = conv("stem.conv", x), []
    for level in range(3):
        skips.append(block(w, f"unet.encoder.{level}.0", y, 2**level))
        y = F.pixel_unshuffle(conv(f"down.{level}.0", skips[-1]), 2)
    y = block(w, "unet.encoder.3.0", y, 8)
    for i, level in enumerate((2, 1, 0)):
        y = torch.cat([F.pixel_shuffle(conv(f"up.{i}.0", y), 2), skips[level]], dim=1)
        y = block(w, f"unet.decoder.{i}.0", y if level == 0 else conv(f"fuse.{i}", y), 2**level)
    expected = x + conv("head.conv", block(w, "unet.refinement.0", y, 1))
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"norm": "bias_free"}], ids=str)
def test_every_parameter_learns(changes: dict[str, Any]) -> None:
    model, x = tiny(**changes), image(batch=2)
    (model(x) - x).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    "changes", [{"norm": "bias_free"}, {"expansion": 2.0}, {"heads": (2, 2, 2, 2)}], ids=str
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
    for bad in ({"width": 0}, {"width": 10**9}, {"latent": 0}, {"heads": (0, 1, 2, 4)}, {"stem_scale": 3}):
        with pytest.raises(ValueError, match="expected"):
            Config(**bad)


def test_the_shared_condition_of_one_tile_is_the_tiles_own() -> None:
    model, x = tiny(), image()
    torch.testing.assert_close(model(x, model.share([x])), model(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_tiles_that_share_are_nearer_to_the_whole() -> None:
    model = tiny()
    whole = image(128, 128) * torch.linspace(0.1, 1, 128)
    tiles = [whole[..., top : top + 64, left : left + 64] for top in (0, 64) for left in (0, 64)]
    inside = model(whole)[..., 16:48, 80:112]  # of the second tile, away from its borders

    def distance(condition: Any) -> float:
        return (model(tiles[1], condition)[..., 16:48, 16:48] - inside).abs().mean().item()

    assert max(distance(model.share(tiles, rounds)) for rounds in (1, 2)) < 0.5 * distance(None)
