"""Timing several things side by side, so that noise hits all alike.

A machine is not equally fast from minute to minute: clocks change, other programs come and go. So nothing is
timed in a row of its own. Everything takes part in one run of rounds, in each round in a new random order;
what is too slow for a turn in every round has its turns spread evenly over all of them.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch

__all__ = ["FEWEST", "Timing", "interleave", "plan_turns"]

FEWEST = 5
"""Turns that everything has, however little time there is: below, quartiles mean nothing."""


@dataclass
class Timing:
    """How long the turns of one thing took, in seconds, in the order in which they were run."""

    seconds: list[float] = field(default_factory=list[float])

    @property
    def runs(self) -> int:
        """How many there were."""
        return len(self.seconds)

    @property
    def median(self) -> float:
        """The middle one; NaN if there is none."""
        return self.quantile(0.5)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the turns was faster than the first, a quarter slower than the second."""
        return self.quantile(0.25), self.quantile(0.75)

    def quantile(self, share: float) -> float:
        """Of the turns' times, linear between neighbours; NaN if there are none."""
        if not self.seconds:
            return math.nan
        ordered = sorted(self.seconds)
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def plan_turns(last: Mapping[str, float], repeats: int, seconds: float | None) -> dict[str, int]:
    """How many turns each has.

    Args:
        last: seconds of each one's last warm-up.
        repeats: the most turns.
        seconds: that the turns of one may take together, about; None for no limit.

    Returns:
        By name: ``repeats``, or as many as fit in ``seconds``, but at least `FEWEST` of them.
    """
    if seconds is None:
        return dict.fromkeys(last, repeats)
    return {name: min(repeats, max(FEWEST, int(seconds / max(took, 1e-9)))) for name, took in last.items()}


def interleave(
    runs: Mapping[str, Callable[[], object]],
    into: Mapping[str, Timing],
    *,
    warmup: int,
    repeats: int,
    seconds: float | None,
    generator: torch.Generator,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> None:
    """Warm up and time everything in ``runs``, in rounds.

    The first rounds are the warm-up: every one once in each, not stored. Then come as many rounds as the most
    turns that one of them has; n turns of R rounds are spread evenly over the R. The order in each round is
    drawn from ``generator``. Python's garbage collector rests meanwhile.

    Args:
        runs: by name what to time; each must wait for its own work (on a GPU: synchronise).
        into: by name where to store the seconds of each turn, at once: whoever interrupts keeps them.
        warmup: rounds of warm-up, at least 1.
        repeats: the most turns of each.
        seconds: for the turns of each, about; None for no limit. See :func:`plan_turns`.
        generator: draws the orders.
        clock: in seconds.
        progress: is told how many turns are done, and of how many.
    """
    names = list(runs)
    last = dict.fromkeys(names, 0.0)
    with _no_collection():
        for _ in range(max(warmup, 1)):
            for name in _shuffled(names, generator):
                began = clock()
                runs[name]()
                last[name] = clock() - began
        turns = plan_turns(last, repeats, seconds)
        rounds, total, done = max(turns.values(), default=0), sum(turns.values()), 0
        for i in range(rounds):
            here = [n for n in names if (i + 1) * turns[n] // rounds > i * turns[n] // rounds]
            for name in _shuffled(here, generator):
                began = clock()
                runs[name]()
                into[name].seconds.append(clock() - began)
                done += 1
                progress(done, total)


def _shuffled(names: Sequence[str], generator: torch.Generator) -> list[str]:
    # torch's stub leaves the numbers untyped.
    order = cast("list[int]", cast("Any", torch.randperm(len(names), generator=generator)).tolist())
    return [names[i] for i in order]


@contextmanager
def _no_collection() -> Generator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
