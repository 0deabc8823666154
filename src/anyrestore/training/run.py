"""What a run is: a frozen value that says everything, and can be written to JSON and read again.

Values are checked where they are made: a run that exists is one that can be trained, given the data.
Sentences begin with the field's name, so that a reader can put its path before it ("optimizer.lr: ...").
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch

from anyrestore.data.mixtures import Mixture
from anyrestore.errors import UsageError
from anyrestore.text.instructions import WIDTH
from anyrestore.text.prompts import TASKS
from anyrestore.training.reading import closest, fields_of, read
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG, create_model

Balance = Literal["none", "log"]
Precision = Literal["fp32", "bf16", "fp16"]

_LARGEST_SEED = 2**31 - 1  # engines derive further seeds from it, which must fit too
_MOST_SENTENCES = 1800  # a task: as many as the text head was trained on; the grammar holds hardly more
_ANY_NETWORK = 64  # no network of the zoo needs sides that are multiples of more


def _positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not 0 < number < math.inf:
            raise UsageError(f"{name}: expected a number above 0, came {number}")


def _at_least(least: int, **numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not least <= number < math.inf:
            raise UsageError(f"{name}: expected at least {least}, came {number}")


def _fraction(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 <= number <= 1:
            raise UsageError(f"{name}: expected a number from 0 to 1, came {number}")


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network.

    ``options`` may be given in part; they are completed to all fields of the architecture's Config, so that a
    written run does not depend on defaults. A name that is not in the zoo keeps them as they are: its recipe
    can be read, not trained.
    """

    name: str  # of the zoo
    start: str | None = None  # weights to start from: a name of the zoo or a .safetensors file
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])  # fields of the architecture's Config

    def __post_init__(self) -> None:
        """Complete the options.

        Raises:
            UsageError: an option that the architecture has not, or a value that it refuses.
        """
        if not self.known:
            return
        entry = CATALOG[self.name]
        architecture = ARCHITECTURES[entry.architecture]
        names = fields_of(architecture.config)
        for name in self.options:
            if name not in names:
                raise UsageError(
                    f"options.{name}: no such option of {self.name}; it has {', '.join(names)}"
                    f"{closest(name, names)}"
                )
        preset = dataclasses.asdict(architecture.presets[self.name])
        config = read(architecture.config, preset | dict(self.options), "options")
        object.__setattr__(self, "options", dataclasses.asdict(config))

    @property
    def known(self) -> bool:
        """Whether this version has the network."""
        return self.name in CATALOG

    @property
    def takes_instructions(self) -> bool:
        """Whether the network is told in words what to do."""
        return self.known and "instruction_width" in self.options


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How a gradient becomes a step."""

    name: Literal["adam", "adamw"] = "adam"
    lr: float = 2e-4  # at the peak
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = None  # largest l2 norm of the gradient; None: not clipped

    def __post_init__(self) -> None:
        """Refuse numbers that no optimiser takes."""
        _positive(lr=self.lr, eps=self.eps, clip=self.clip)
        _at_least(0, weight_decay=self.weight_decay)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"betas: expected two numbers from 0 to below 1, came {list(self.betas)}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over a run, in epochs; see training.schedule."""

    name: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.0  # epochs of linear rise from `start` to 1
    start: float = 0.0  # factor at the beginning of the rise
    floor: float = 0.0  # factor at the end of the cosine, or of the decay
    horizon: float | None = None  # epochs at which the cosine reaches its floor; None: the run's end
    decay: float = 0.0  # of a constant rate: the share of the run, at its end, over which it falls in a line
    every: Literal["step", "epoch"] = "step"  # when the rate changes

    def __post_init__(self) -> None:
        """Refuse a schedule that never reaches its peak or leaves [0, 1]."""
        _at_least(0, warmup=self.warmup)
        _fraction(start=self.start, floor=self.floor, decay=self.decay)
        _positive(horizon=self.horizon)
        if self.decay and self.name != "constant":
            raise UsageError(
                f"decay: expected 0, as a {self.name} falls all the time, came {self.decay:g}; it is for "
                "name=constant"
            )
        if self.horizon is not None and self.horizon <= self.warmup:
            raise UsageError(
                f"horizon: expected more epochs than the warm-up's {self.warmup:g}, came {self.horizon:g}"
            )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is minimised: a weighted sum, per image; see training.objective."""

    l1: float = 1.0
    charbonnier: float = 0.0
    charbonnier_eps: float = 1e-3
    fourier: float = 0.0
    ms_ssim: float = 0.0  # of 1 - MS-SSIM
    auxiliary: Mapping[str, float] = field(
        default_factory=dict[str, float]
    )  # the model's own losses, by name
    balance: Balance = "none"  # over the images of a batch
    floor: float = 0.1  # of the log balance

    def __post_init__(self) -> None:
        """Refuse negative weights, and a loss that does not look at the image."""
        terms = {name: getattr(self, name) for name in ("l1", "charbonnier", "fourier", "ms_ssim")}
        _at_least(0, **terms, **{f"auxiliary.{name}": weight for name, weight in self.auxiliary.items()})
        _positive(charbonnier_eps=self.charbonnier_eps, floor=self.floor)
        if not any(terms.values()):
            raise UsageError(
                f"l1: expected a weight above 0 for at least one of {', '.join(terms)}, came none"
            )


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of a run with its own crops."""

    until: float = 1.0  # share of the run's samples (of its steps, if it counts those) at which it ends
    crop: int = 128  # side of the crops in pixels
    batch: int = 32  # crops a step, over all processes together
    shares: Mapping[str, float] = field(
        default_factory=dict[str, float]
    )  # of tasks, for the mixture's ("draw")

    def __post_init__(self) -> None:
        """Refuse what no batch can be made from."""
        if not 0 < self.until <= 1:
            raise UsageError(f"until: expected a number above 0 and up to 1, came {self.until:g}")
        _at_least(1, crop=self.crop, batch=self.batch)
        _at_least(0, **{f"shares.{task}": share for task, share in self.shares.items()})
        if self.shares and not any(self.shares.values()):
            raise UsageError("shares: expected at least one share above 0, came none")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Scores on held-out training pictures, never on a test set."""

    every: int = 1000  # steps; 0: never
    held_out: int = 8  # scenes of every data set kept from training
    count: int = 8  # samples a task
    crop: int = 128  # pixels
    sheet: int = 1  # samples a task shown as input, output, target; 0: no sheets

    def __post_init__(self) -> None:
        """Refuse validation without pictures."""
        _at_least(0, every=self.every, held_out=self.held_out, sheet=self.sheet)
        _at_least(1, count=self.count, crop=self.crop)
        if self.every and not self.held_out:
            raise UsageError(
                "held_out: expected at least 1 scene to validate on, came 0; keep some, or give every=0 too"
            )
        if self.sheet > self.count:
            raise UsageError(f"sheet: expected at most count, which is {self.count}, came {self.sheet}")


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """When the whole state is stored."""

    every: int = 1000  # steps
    keep: int = 2  # the newest so many, at least 2, and the best

    def __post_init__(self) -> None:
        """Refuse to keep fewer than two: a damaged one needs one before it."""
        _at_least(1, every=self.every)
        _at_least(2, keep=self.keep)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that defines a training run; where it runs (device, processes) does not."""

    name: str
    model: Model
    mixture: Mixture
    epochs: float | None = None  # length of the run; exactly one of epochs and steps
    steps: int | None = None
    phases: tuple[Phase, ...] = (Phase(),)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    loss: Loss = field(default_factory=Loss)
    ema: float | None = None  # decay of the running average of the weights; None: the weights themselves
    precision: Precision = "fp32"
    accumulate: int = (
        1  # parts into which a process cuts its share of a batch, one after another, to save memory
    )
    instructions: int = 200  # sentences a task from which samples draw, where the network takes instructions
    patience: int = 5  # so many steps in a row without a finite gradient end the run
    log_every: int = 50  # steps
    seed: int = 0
    validation: Validation = field(default_factory=Validation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def __post_init__(self) -> None:
        """Refuse a run whose parts do not fit together."""
        if not self.name:
            raise UsageError("name: expected a name, came none")
        if (self.epochs is None) == (self.steps is None):
            came = "none" if self.epochs is None else "both"
            raise UsageError(f"epochs: expected exactly one of epochs and steps, came {came}")
        _positive(epochs=self.epochs)
        _at_least(1, steps=self.steps, accumulate=self.accumulate, patience=self.patience)
        _at_least(1, log_every=self.log_every, instructions=self.instructions)
        if self.instructions > _MOST_SENTENCES:
            raise UsageError(
                f"instructions: expected at most {_MOST_SENTENCES} sentences a task, came {self.instructions}"
            )
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise UsageError(f"seed: expected a whole number from 0 to {_LARGEST_SEED}, came {self.seed}")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise UsageError(f"ema: expected none or a number from 0 to below 1, came {self.ema:g}")
        self._check_phases()
        self._check_crops()
        self._check_instructions()

    def _check_phases(self) -> None:
        ends = [phase.until for phase in self.phases]
        if not ends or ends[-1] != 1 or any(a >= b for a, b in itertools.pairwise(ends)):
            raise UsageError(f"phases: expected ends (until) that rise and end at 1, came {ends}")
        tasks = {part.task: None for part in self.mixture.parts}
        for i, phase in enumerate(self.phases):
            if phase.shares and self.mixture.order != "draw":
                raise UsageError(
                    f"phases.{i}.shares: expected none, as the mixture {self.mixture.name} shows every "
                    'picture in each epoch; shares need a mixture with order "draw"'
                )
            for task in phase.shares:
                if task not in tasks:
                    raise UsageError(
                        f"phases.{i}.shares.{task}: no such task; the mixture {self.mixture.name} has "
                        f"{', '.join(tasks)}{closest(task, tasks)}"
                    )
            if self.loss.ms_ssim and phase.crop < 11:
                raise UsageError(
                    f"phases.{i}.crop: expected at least 11 px for the window of MS-SSIM, came {phase.crop}"
                )

    def _check_crops(self) -> None:
        """The network must take the crops; one of another version is not there to be asked."""
        crops = {f"phases.{i}.crop": phase.crop for i, phase in enumerate(self.phases)}
        if self.validation.every:
            crops["validation.crop"] = self.validation.crop
        for path, crop in crops.items():
            if self.model.known and crop % _ANY_NETWORK:
                multiple = _size_multiple(self.model.name, json.dumps(self.model.options))
                if crop % multiple:
                    raise UsageError(
                        f"{path}: expected a multiple of {multiple} for {self.model.name}, came {crop}"
                    )

    def _check_instructions(self) -> None:
        """Every part must name a task of the text head, where the network is to be told one."""
        for i, part in enumerate(self.mixture.parts):
            if part.instruction is not None and part.instruction not in TASKS:
                raise UsageError(
                    f"mixture.parts.{i}.instruction: no task {part.instruction!r}; the text head knows "
                    f"{', '.join(TASKS)}{closest(part.instruction, TASKS)}"
                )
        if not self.model.takes_instructions:
            return
        silent = dict.fromkeys(part.task for part in self.mixture.parts if part.instruction is None)
        if silent:
            raise UsageError(
                f"mixture.parts.{next(iter(silent))}.instruction: expected what {self.model.name} is to be "
                f"told, one of {', '.join(TASKS)}, came none for {', '.join(silent)}; give each part one"
            )
        width = self.model.options["instruction_width"]
        if width != WIDTH:
            raise UsageError(
                f"model.instruction_width: expected {WIDTH}, the length of the text head's vectors, came "
                f"{width}"
            )

    def to_json(self) -> dict[str, Any]:
        """As plain values (tuples, which JSON writes as lists, stay); configuration.from_json reads it."""
        return dataclasses.asdict(self)


@functools.lru_cache(maxsize=32)
def _size_multiple(name: str, options: str) -> int:
    """What the sides of a network's images must be multiples of; ``options`` is JSON."""
    with cast("Any", torch.random).fork_rng(devices=[]), torch.device("meta"):  # no memory, no work
        return int(getattr(create_model(name, **json.loads(options)), "size_multiple", 1))
