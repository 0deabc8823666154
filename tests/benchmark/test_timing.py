"""Quartiles, and rounds in which everything takes part."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from anyrestore.benchmark.timing import FEWEST, Timing, interleave, plan_turns


class Clock:
    """Stands still but for what the runs take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, seconds: float) -> Callable[[], None]:
        def take_time() -> None:
            self.ran.append(name)
            self.now += seconds

        return take_time


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_quantiles_are_those_of_numpy(count: int) -> None:
    seconds = np.random.default_rng(count).random(count).tolist()
    timing = Timing(seconds)
    assert timing.median == pytest.approx(np.median(seconds))
    assert timing.quartiles == pytest.approx(tuple(np.quantile(seconds, [0.25, 0.75])))
    assert timing.seconds == seconds


def test_no_runs_have_no_median() -> None:
    assert math.isnan(Timing().median)


def test_turns_fit_in_the_time_but_are_enough_for_quartiles() -> None:
    last = {"fast": 0.01, "slow": 1.0, "slowest": 60.0}
    assert plan_turns(last, 100, 7.5) == {"fast": 100, "slow": 7, "slowest": FEWEST}
    assert plan_turns(last, 100, None) == dict.fromkeys(last, 100)
    assert plan_turns(last, 3, 7.5) == dict.fromkeys(last, 3)


def measure(clock: Clock, costs: dict[str, float], *, seed: int = 0, seconds: float | None = None) -> dict:
    timings = {name: Timing() for name in costs}
    runs = {name: clock.run(name, cost) for name, cost in costs.items()}
    interleave(
        runs,
        timings,
        warmup=2,
        repeats=20,
        seconds=seconds,
        generator=generator(seed),
        clock=clock,
    )
    return timings


def test_warm_up_is_not_counted_and_every_round_has_every_model() -> None:
    clock = Clock()
    timings = measure(clock, {"a": 1.0, "b": 2.0, "c": 4.0})
    rounds = [clock.ran[i : i + 3] for i in range(0, len(clock.ran), 3)]
    assert len(rounds) == 22
    assert all(sorted(of_round) == ["a", "b", "c"] for of_round in rounds)
    assert {name: set(timing.seconds) for name, timing in timings.items()} == {
        "a": {1.0},
        "b": {2.0},
        "c": {4.0},
    }
    assert [timing.runs for timing in timings.values()] == [20] * 3


def test_the_order_is_drawn_for_each_round_from_the_generator() -> None:
    orders: list[list[str]] = []
    for seed in (0, 0, 1):
        clock = Clock()
        measure(clock, {"a": 1.0, "b": 1.0, "c": 1.0}, seed=seed)
        orders.append(clock.ran)
    assert orders[0] == orders[1] != orders[2]
    assert len({tuple(orders[0][i : i + 3]) for i in range(0, 66, 3)}) > 3


def test_what_is_slow_has_its_turns_spread_over_all_rounds() -> None:
    clock = Clock()
    timings = measure(clock, {"fast": 1.0, "slow": 4.0}, seconds=20.0)
    assert (timings["fast"].runs, timings["slow"].runs) == (20, 5)
    counted = clock.ran[4:]
    before = [counted[:i].count("fast") for i, name in enumerate(counted) if name == "slow"]
    # One in each block of four rounds: in its last, before or after the fast one's turn.
    assert [(place - 3) // 4 for place in before] == [0, 1, 2, 3, 4]


def test_an_interruption_keeps_what_was_timed() -> None:
    clock, timings = Clock(), {"a": Timing(), "b": Timing()}
    told: list[tuple[int, int]] = []

    def stop(done: int, of: int) -> None:
        told.append((done, of))
        if done == 5:
            raise KeyboardInterrupt

    runs = {name: clock.run(name, 1.0) for name in timings}
    with pytest.raises(KeyboardInterrupt):
        interleave(
            runs,
            timings,
            warmup=1,
            repeats=10,
            seconds=None,
            generator=generator(),
            clock=clock,
            progress=stop,
        )
    assert sum(timing.runs for timing in timings.values()) == 5
    assert told[-1] == (5, 20)
