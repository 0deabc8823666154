"""Ending in time: whether one more step, and all that must come after it, still fits.

A step counts as long as the last one, what is rarer (scores, checkpoints) as the longest so far. What was
never done yet counts as long as the longest step, which on a GPU is the one that compiled the network.

Unusual: it only ever decides when a run stops, which changes nothing of what it computes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal

Work = Literal["step", "first step", "scores", "storing"]

_LEAST = 2.0  # seconds; of what was never done yet


class Deadline:
    """The end of the time that a start of a run has.

    Args:
        seconds: from now on; infinite for none.
        clock: in seconds.
    """

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds
        self._last, self._longest = dict[Work, float](), dict[Work, float]()

    @contextmanager
    def doing(self, work: Work) -> Generator[None]:
        """Measure a piece of work."""
        begun = self._clock()
        yield
        took = self._clock() - begun
        self._last[work] = took
        self._longest[work] = max(took, self._longest.get(work, 0.0))

    def leaves(self, *works: Work) -> bool:
        """Whether there is time for all of this; a "first step" is one with crops of another size."""
        return self._clock() + sum(map(self._expected, works)) < self._end

    def _expected(self, work: Work) -> float:
        if work == "step":
            return self._last.get(work, 0.0)
        return self._longest.get(work) or max(_LEAST, self._longest.get("step", 0.0))
