"""What a run is: a frozen value that says everything, and can be written to JSON and read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anyrestore.data.synthetic import Layout
from anyrestore.training.objective import Balance


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of a run with its own crops and mixture."""

    until: float  # the run's progress, in (0, 1], at which the next phase begins
    crop: int  # side of the crops in pixels
    batch: int
    shares: Mapping[str, float]  # of every task in the batch; see anyrestore.data.synthetic.TASKS


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that defines a training run."""

    name: str
    model: str  # a name of the zoo
    start: str | None = None  # weights to start from: a name of the zoo or a .safetensors file
    steps: int
    learning_rate: float  # at the peak
    warmup: int = 200  # steps
    final_rate: float = 0.02  # the learning rate at the end, in units of the peak
    betas: tuple[float, float] = (0.9, 0.999)  # Adam's
    clip: float = 1.0  # largest norm of the gradient
    fourier_weight: float = 0.1
    balance: Balance = "log"
    floor: float = 0.1  # of the log balance
    weights: Mapping[str, float] = field(
        default_factory=dict[str, float]
    )  # of a task's loss; 1 where not named
    average_decay: float = 0.999  # of the running average of the weights (EMA)
    seed: int = 0
    phases: tuple[Phase, ...]
    layout: Layout = field(default_factory=Layout)

    def phase(self, step: int) -> Phase:
        """The phase that ``step`` (from 0) belongs to."""
        return next((p for p in self.phases if step < p.until * self.steps), self.phases[-1])

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)
