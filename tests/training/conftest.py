"""A run in miniature, for the tests of the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def miniature() -> Any:
    """Nine steps of four tasks over two phases, with validation and checkpoints on the way."""
    from anyrestore.data.mixtures import MIXTURES
    from anyrestore.training.run import (
        Checkpoints,
        Loss,
        Model,
        Optimizer,
        Phase,
        Run,
        Schedule,
        Validation,
    )

    composite = MIXTURES["composite"]
    tasks = {"noise", "low_light", "mixture", "pair"}  # all ten are in test_published.py
    parts = tuple(part for part in composite.parts if part.task in tasks)
    return Run(
        name="miniature",
        model=Model(name="tiny"),
        mixture=dataclasses.replace(composite, parts=parts, epoch=12),
        steps=9,
        phases=(
            Phase(until=0.5, crop=16, batch=4, shares={"noise": 1.0}),
            Phase(until=1.0, crop=24, batch=2, shares={"noise": 0.5, "mixture": 0.5}),
        ),
        optimizer=Optimizer(lr=2e-3, clip=1.0, weight_decay=0.01),
        schedule=Schedule(warmup=0.5, floor=0.1),
        loss=Loss(fourier=0.1, balance="log"),
        ema=0.9,
        log_every=2,
        validation=Validation(every=3, held_out=1, count=1, crop=16),
        checkpoints=Checkpoints(every=2),
    )


@pytest.fixture
def stand_in_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instructions are heard without the extra "text"."""
    from anyrestore.text import instructions
    from sentences import HashedSentences

    monkeypatch.setattr(instructions, "load_encoder", HashedSentences)


@pytest.fixture
def make_trainer(training_root: Path) -> Callable[..., Any]:
    """A trainer of a run in a folder, without bar and TensorBoard unless asked for."""
    from anyrestore.training.loop import Options, Trainer

    def make(run: Any, out: Path, **options: Any) -> Trainer:
        quiet: dict[str, Any] = {"device": "cpu", "progress": False, "tensorboard": False}
        return Trainer(run, training_root, out, Options(**(quiet | options)))

    return make
