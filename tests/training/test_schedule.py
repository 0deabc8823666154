"""The learning rate against torch's schedulers, and against the public code's numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from anyrestore.errors import UsageError
from anyrestore.training.run import Schedule
from anyrestore.training.schedule import factor


@pytest.mark.parametrize("epochs", [1, 7, 120])
def test_cosine_once_an_epoch_is_torchs(epochs: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=0.1)
    ours = Schedule(every="epoch", floor=0.1)
    for epoch in range(epochs + 1):
        rate = optimizer.param_groups[0]["lr"]
        for within in (0.0, 0.5, 0.999):  # the same all through the epoch
            assert factor(ours, epoch + within, epochs=epochs) == pytest.approx(rate, abs=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 0.0),
        (1, 1 / 14),
        (7, 0.5),
        (13, 13 / 14),
        (14, 1.0),
        (15, 1.0),
        (16, 0.5 * (1 + math.cos(math.pi / 135))),
        (60, 0.75),  # a third of the way: cos(60 degrees) = 1/2
        (82.5, 0.5 * (1 + math.cos(math.pi * 67 / 135))),
        (105, 0.25),
        (119, 0.5 * (1 + math.cos(math.pi * 104 / 135))),  # PromptIR's last epoch
        (150, 0.0),
        (180, 0.0),  # stays there
    ],
)
def test_warm_up_of_the_public_code(epoch: float, expected: float) -> None:
    promptir = Schedule(warmup=15, horizon=150, every="epoch")
    assert factor(promptir, epoch, epochs=120) == pytest.approx(expected, abs=1e-12)


def test_step_by_step_it_rises_falls_and_ends_at_the_floor() -> None:
    schedule = Schedule(warmup=2, start=0.2, floor=0.1)
    factors = [factor(schedule, i / 10, epochs=10) for i in range(121)]
    assert factors[0] == 0.2
    assert factors[10] == pytest.approx(0.6)
    assert factors[20] == 1.0
    assert factors[60] == pytest.approx(0.55)
    assert factors[100:] == [0.1] * 21
    assert all(a < b for a, b in pairwise(factors[:21]))
    assert all(a > b for a, b in pairwise(factors[20:101]))


def test_a_horizon_is_where_the_cosine_ends_whatever_the_runs_length() -> None:
    early, late = Schedule(horizon=4), Schedule(horizon=20)
    assert factor(early, 4, epochs=10) == 0.0
    assert factor(late, 10, epochs=10) == pytest.approx(0.5)


def test_constant_and_the_shortest_warm_ups() -> None:
    assert factor(Schedule(name="constant"), 5, epochs=10) == 1.0
    assert factor(Schedule(name="constant", warmup=2), 1, epochs=10) == 0.5
    one = Schedule(warmup=1, start=0.3, every="epoch")  # a single epoch has nothing to rise through
    assert factor(one, 0.9, epochs=10) == 0.3
    assert factor(one, 1, epochs=10) == 1.0
    assert factor(Schedule(), 10, epochs=10) == 0.0
    assert factor(Schedule(warmup=3), 5, epochs=2) == 0.0  # a run that ended before its warm-up


def test_a_constant_rate_falls_in_a_line_over_its_last_share() -> None:
    schedule = Schedule(name="constant", warmup=1, decay=0.4, floor=0.1)
    factors = [factor(schedule, epoch, epochs=10) for epoch in (0, 0.5, 1, 5, 6, 8, 9, 10, 12)]
    assert factors == pytest.approx([0, 0.5, 1, 1, 1, 0.55, 0.325, 0.1, 0.1])


def test_only_a_constant_rate_has_a_decay() -> None:
    with pytest.raises(UsageError, match="decay: expected 0, as a cosine falls all the time"):
        Schedule(decay=0.2)


def test_an_epoch_begins_where_rounding_says_it_nearly_does() -> None:
    nearly = sum([0.1] * 10)  # 0.9999999999999999
    assert nearly < 1
    staircase = Schedule(every="epoch")
    assert factor(staircase, nearly, epochs=10) == factor(staircase, 1, epochs=10)
