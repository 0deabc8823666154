"""Peak memory in a process of its own. Every figure costs the start of Python and torch."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anyrestore.benchmark import memory
from anyrestore.benchmark.memory import Load, fresh_peak, load
from anyrestore.zoo import create_model


def test_more_pixels_need_more_memory_and_less_than_the_planner_expects() -> None:
    small, large = (fresh_peak("nafnet-tiny", Load(size=side, threads=1)) for side in (32, 512))
    model = create_model("nafnet-tiny")
    assert small is not None
    assert large is not None
    pixels = 512**2 - 32**2
    # At the top level two feature maps of 16 channels are alive at once, 4 bytes each.
    assert 2 * 16 * 4 * pixels < large - small < model.bytes_per_pixel * pixels


@pytest.mark.parametrize(
    ("code", "stderr"), [(-9, ""), (1, "...\nMemoryError"), (1, "x: can't allocate memory")]
)
def test_a_process_without_memory_has_no_figure(
    monkeypatch: pytest.MonkeyPatch, code: int, stderr: str
) -> None:
    ended(monkeypatch, code, stderr)
    assert fresh_peak("tiny", Load(size=32)) is None


def test_a_process_that_fails_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(monkeypatch, 1, "Traceback\nValueError: not so")
    with pytest.raises(RuntimeError, match="tiny ended with 1: ValueError: not so"):
        fresh_peak("tiny", Load(size=32))


def ended(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str) -> None:
    def run(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(returncode=code, stderr=stderr, stdout="")

    monkeypatch.setattr(subprocess, "run", run)


def test_random_weights_and_pictures_follow_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = load("tiny", 1), load("tiny", 1), load("tiny", 2)
    assert torch.equal(torch.get_rng_state(), before)
    weights = [next(model.parameters()) for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(Load(size=8, seed=3).image(), Load(size=8, seed=3).image())
    assert not torch.equal(Load(size=8, seed=3).image(), Load(size=8, seed=4).image())


def test_models_with_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = create_model("tiny")
    monkeypatch.setattr(memory.zoo, "load_model", lambda name: shipped if name == "cea-t" else None)
    assert load("cea-t") is shipped


def test_channels_last_and_precision_reach_the_pass() -> None:
    what = Load(size=8, batch=2, precision="bfloat16", channels_last=True)
    image = what.image()
    assert image.shape == (2, 3, 8, 8)
    assert image.is_contiguous(memory_format=torch.channels_last)
    model = load("tiny", channels_last=True)
    convolution = next(
        m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)
    )
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), what.cast(torch.device("cpu")):
        assert convolution(image).dtype == torch.bfloat16
    with torch.inference_mode(), Load(size=8).cast(torch.device("cpu")):
        assert convolution(image).dtype == torch.float32
