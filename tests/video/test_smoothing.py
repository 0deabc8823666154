"""Factors smoothed over time: what is mixed, where it begins anew, and that less flickers."""

from __future__ import annotations

from pathlib import Path

import clips
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tiny_models
from anyrestore import Restorer, video
from anyrestore.conditioning.hyper_adapter import Factors, HyperAdapter
from anyrestore.errors import UsageError
from anyrestore.video.smoothing import Smoothing


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return tiny_models.moved(tiny_models.make("tiny"))


def noisy(count: int, seed: int = 0, side: int = 32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    still = torch.rand(1, 3, side, side, generator=generator)
    return [still + 0.1 * torch.randn(still.shape, generator=generator) for _ in range(count)]


def used(model: nn.Module, images: list[Tensor], smoothing: Smoothing | None) -> list[Factors]:
    """The factors that the first hyper-adapter hands on for every frame, in strips."""
    adapter = next(module for module in model.modules() if isinstance(module, HyperAdapter))
    found: list[Factors] = []
    restorer = Restorer(model, device="cpu")
    for image in images:
        if smoothing is None:
            handle = adapter.decoded.register_forward_hook(lambda *args: found.append(args[2]))
            restorer(image)
        else:
            with smoothing.frame(image):
                handle = adapter.decoded.register_forward_hook(lambda *args: found.append(args[2]))
                restorer(image)
        handle.remove()
    return found


def test_factors_are_mixed_with_those_before(model: nn.Module) -> None:
    images = noisy(3)
    own = used(model, images, None)
    mixed = used(model, images, Smoothing(model, 0.75))
    expected = own[0]["q"][0]
    for i in (0, 1, 2):
        expected = own[i]["q"][0] if i == 0 else 0.75 * expected + 0.25 * own[i]["q"][0]
        assert torch.allclose(mixed[i]["q"][0], expected, atol=1e-5)
    assert not torch.allclose(own[2]["q"][0], mixed[2]["q"][0], atol=1e-4)


def test_it_begins_anew_at_a_cut(model: nn.Module) -> None:
    images = [*noisy(2), *(image * 0.2 for image in noisy(1, seed=1))]
    own, mixed = used(model, images, None), used(model, images, Smoothing(model, 0.9))
    assert not torch.equal(own[1]["q"][0], mixed[1]["q"][0])
    assert torch.allclose(own[2]["q"][0], mixed[2]["q"][0], atol=1e-5)


def test_what_it_knows_can_be_stored(model: nn.Module) -> None:
    images = noisy(3)
    first, second = Smoothing(model, 0.9), Smoothing(model, 0.9)
    used(model, images[:2], first)
    second.restore(first.state())
    one, other = used(model, images[2:], first), used(model, images[2:], second)
    assert torch.equal(one[0]["k"][1], other[0]["k"][1])


def test_the_model_is_left_as_it_was(model: nn.Module) -> None:
    before = Restorer(model, device="cpu")(noisy(1)[0])
    with pytest.raises(RuntimeError), Smoothing(model, 0.9).frame(noisy(1)[0]):
        raise RuntimeError
    assert all(not module._forward_hooks for module in model.modules())
    assert torch.equal(Restorer(model, device="cpu")(noisy(1)[0]), before)


def test_tiles_and_other_models_are_refused(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hyper-adapter"):
        Smoothing(nn.Identity(), 0.5)
    source = clips.write(tmp_path / "a.mp4", size=(160, 96))
    tiles = Restorer(model, device="cpu", tile=64)
    with pytest.raises(UsageError, match="in tiles"):
        video.restore(source, tmp_path / "b.mp4", tiles, video.Options(smooth=0.5))


def test_brightness_flickers_less() -> None:
    """cea-t's own weights, two still scenes, dark, fresh noise in every frame."""
    restorer = Restorer("cea-t", device="cpu")
    flicker = {0.0: 0.0, 0.9: 0.0}
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        # Scenes with large areas: in small or wild ones other parts of the network flicker more.
        still = F.interpolate(torch.rand(1, 3, 6, 6, generator=generator), (160, 160), mode="bicubic") / 4
        images = [still + 0.1 * torch.randn(still.shape, generator=generator) for _ in range(6)]
        for strength in flicker:
            smoothing = Smoothing(restorer.model, strength)
            restored: list[Tensor] = []
            for image in images:
                with smoothing.frame(image):
                    restored.append(restorer(image.clamp(0, 1)))
            flicker[strength] += float(torch.cat(restored).mean(dim=(1, 2, 3)).std())
    assert flicker[0.9] < 0.7 * flicker[0.0]
