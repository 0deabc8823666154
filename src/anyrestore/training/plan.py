"""Where a run stands: step, phase, position in the endless stream of samples, epoch. All functions of the
step.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

from anyrestore.data.loading import Request
from anyrestore.training.run import Phase, Run

__all__ = ["Plan"]


class Plan:
    """The steps of a run, laid out over its phases.

    A phase that began lasts whole steps; where the length is in epochs, its end is the first step at or after
    its share of the samples.

    Args:
        run: says its length in epochs or steps.
        epoch: samples an epoch.
    """

    def __init__(self, run: Run, epoch: int) -> None:
        self._epoch, self._phases = epoch, run.phases
        self._steps, self._samples = [0], [0]  # at which each phase begins, and the last one ends
        for phase in run.phases:
            if run.steps is not None:
                steps = round(phase.until * run.steps) - self._steps[-1]
            else:
                end = phase.until * (run.epochs or 0.0) * epoch
                steps = math.ceil(max(0.0, end - self._samples[-1]) / phase.batch)
            self._steps.append(self._steps[-1] + steps)
            self._samples.append(self._samples[-1] + steps * phase.batch)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self._steps[-1]

    @property
    def samples(self) -> int:
        """Of the whole run."""
        return self._samples[-1]

    @property
    def epochs(self) -> float:
        """Of the whole run."""
        return self.samples / self._epoch

    def phase(self, step: int) -> Phase:
        """The phase that ``step`` (from 0) belongs to."""
        return self._phases[self._index(step)]

    def position(self, step: int) -> int:
        """Samples seen before ``step``: the index of its first one."""
        index = self._index(step)
        return self._samples[index] + (step - self._steps[index]) * self._phases[index].batch

    def crops(self, step: int) -> dict[int, int]:
        """Samples seen before ``step``, by the side of the crops in pixels."""
        seen = dict[int, int]()
        for phase, begin, end in zip(self._phases, self._steps, self._steps[1:], strict=False):
            if step > begin:
                seen[phase.crop] = seen.get(phase.crop, 0) + (min(step, end) - begin) * phase.batch
        return seen

    def epoch(self, step: int) -> float:
        """Epochs seen before ``step``."""
        return self.position(step) / self._epoch

    def requests(self, first: int, process: int = 0, processes: int = 1) -> Iterator[Request]:
        """One process's share of every batch from step ``first`` on, to be loaded."""
        for step in range(first, self.steps):
            phase, position = self.phase(step), self.position(step)
            share = phase.batch // processes
            mine = range(position + process * share, position + (process + 1) * share)
            yield Request(indexes=tuple(mine), crop=phase.crop, shares=phase.shares or None)

    def _index(self, step: int) -> int:
        return min(bisect.bisect_right(self._steps, step), len(self._phases)) - 1
