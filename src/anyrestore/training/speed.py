"""How many crops a second a recipe's training step does, what each switch brings, and what the machine could.

The step is the trainer's own (:class:`anyrestore.training.stepping.Stepper`), at the recipe's main phase. Its
crops are random, so that the network's part is seen alone; with data, a last row has the real feed. Every row
keeps the switches of the rows before it. All rows are timed in one interleaved run
(:mod:`anyrestore.benchmark.timing`), and with them the machine: a matrix product in each precision and a copy
of memory. So a share compares medians of the same minutes.

Unusual: a window ends when the device has finished all of its steps, so on a GPU it holds several; otherwise
the wait at its end would hide what is gained by not waiting within it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anyrestore.benchmark.step_cost import StepCost, count_step
from anyrestore.benchmark.survey import REFERENCES
from anyrestore.benchmark.timing import Timing, interleave
from anyrestore.data.loading import RawBatch, load_batches
from anyrestore.data.samples import MixtureData
from anyrestore.errors import UsageError
from anyrestore.inference.memory import is_out_of_memory, keep_freed_memory
from anyrestore.training.assembly import make_accelerator
from anyrestore.training.instructions import InstructionPool
from anyrestore.training.plan import Plan
from anyrestore.training.run import Phase, Precision, Run
from anyrestore.training.stepping import Stepper

__all__ = ["Ladder", "Machine", "Rung", "Switches", "main_phase", "steps_within"]

_WINDOW = {"cpu": 0.3, "cuda": 1.0}  # seconds that a window takes, about
_FEWEST_STEPS = {"cpu": 1, "cuda": 10}  # of a window
_ENDLESS = 10**9  # steps
_PRODUCT: Mapping[Precision, str] = {"fp32": "product fp32", "bf16": "product bf16"}  # names in the run
_COPY = "copy"


@dataclass(frozen=True, kw_only=True)
class Switches:
    """How a step is computed."""

    precision: Precision = "fp32"
    channels_last: bool = False
    compiled: bool = False
    fused: bool = False  # the optimiser in one kernel
    ahead: bool = False  # the host does not wait for a step; see training.stepping

    def words(self) -> list[str]:
        """The options of `anyrestore train` for it; a training run is fused and ahead where it can be."""
        words = ["--set", f"precision={self.precision}"]
        words += ["--channels-last"] if self.channels_last else []
        return words + (["--compile"] if self.compiled else [])


@dataclass(kw_only=True)
class Rung:
    """One row.

    Attributes:
        name: what it adds to the row before.
        switches: all of them.
        fed: whether the crops are the mixture's, from the data sets.
        crops: of a window.
        peak: bytes of weights, moments, average and all that a step holds beside them, at most at once; on a
            CPU without what operators need inside. None where it was not measured.
        cost: of a step, counted; None where that is not possible (compiled: torch's operators are not seen).
        waits: times that the host waited for the GPU in a step; None on a CPU.
        timing: seconds of every window.
        note: why there are no times, or what is to be known of them.
    """

    name: str
    switches: Switches
    fed: bool = False
    crops: int = 0
    peak: int | None = None
    cost: StepCost | None = None
    waits: int | None = None
    timing: Timing = field(default_factory=Timing)
    note: str | None = None

    @property
    def rate(self) -> float:
        """Crops a second in the median window; NaN without times."""
        return self.crops / self.timing.median


@dataclass(kw_only=True)
class Machine:
    """What the machine itself reached in the same run.

    Attributes:
        side: of the square matrices whose product was made.
        copied: bytes of the block that was copied: read once, written once.
        product: seconds of the products, by precision.
        copy: seconds of the copies.
    """

    side: int
    copied: int
    product: dict[Precision, Timing]
    copy: Timing

    def flops(self, precision: Precision) -> float:
        """Of the median product, per second."""
        return 2 * self.side**3 / self.product[precision].median

    @property
    def copy_rate(self) -> float:
        """Bytes read and written per second in the median copy."""
        return 2 * self.copied / self.copy.median


class Ladder:
    """Measures a run's step, switch by switch.

    Args:
        run: whose step; the precision is the rows' own.
        data: the folder that holds the data sets, for the row with the feed; None leaves it out.
        device: "auto", "cpu" or "cuda".
        workers: loader processes of the feed.
        cache_bytes: of decoded pictures that the feed keeps.
        compiled: whether to measure torch.compile too, which first takes minutes.
        seconds: for the windows of each row, about; at least 5 are made.
        say: is told what goes on.

    Raises:
        DataError: the data sets are not there.
        ModelError: no such weights to start from, or no sentence encoder for a network that needs it.
        UsageError: no such device or network; ``seconds`` is not above 0.

    Attributes:
        run: of the main phase alone, without end.
        rungs: the rows; filled as the measurement goes on, so whoever interrupts it keeps what is done.
        machine: beside them.
        flops: floating-point operations of one crop: forward, backward and optimiser.
    """

    def __init__(
        self,
        run: Run,
        data: Path | None = None,
        *,
        device: str = "auto",
        workers: int = 0,
        cache_bytes: int = 4 << 30,
        compiled: bool = True,
        seconds: float = 6.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        if not 0 < seconds < math.inf:
            raise UsageError(f"expected more than 0 seconds for each row, got {seconds:g}")
        if not run.model.known:
            raise UsageError(
                f"this version has no network {run.model.name}; --set model.name=cea-s measures another with "
                "this recipe"
            )
        phase = dataclasses.replace(main_phase(run), until=1.0)
        self.run = dataclasses.replace(run, phases=(phase,), epochs=None, steps=_ENDLESS)
        self.seconds, self._compiled, self._workers, self._say = seconds, compiled, workers, say
        self.device: torch.device = make_accelerator(device, "fp32").device
        kind = self.device.type if self.device.type in REFERENCES else "cpu"
        side, copied = REFERENCES[kind]
        self.machine = Machine(
            side=side, copied=copied, product={name: Timing() for name in _PRODUCT}, copy=Timing()
        )
        self.rungs = list[Rung]()
        self.flops = math.nan
        if self.device.type == "cpu":
            keep_freed_memory()
        self._data = None if data is None else self._open(data, cache_bytes)
        self._instructions: InstructionPool | None = None
        if run.model.takes_instructions:
            self._instructions = InstructionPool(dataclasses.replace(run, instructions=1))
            self._instructions.encode(self.device)

    def measure(self) -> None:
        """Prepare every row, then time them all, side by side."""
        windows = dict[str, Callable[[], object]]()
        timings = dict[str, Timing]()
        for name, switches, fed in self._plan():
            rung = Rung(name=name, switches=switches, fed=fed)
            self.rungs.append(rung)
            window = self._prepared(rung)
            if window is not None:
                windows[name], timings[name] = window, rung.timing
        if not windows:
            return
        windows |= self._machine_runs()
        timings |= {_PRODUCT[name]: timing for name, timing in self.machine.product.items()}
        timings[_COPY] = self.machine.copy
        interleave(
            windows,
            timings,
            warmup=1,
            repeats=1000,
            seconds=self.seconds,
            generator=torch.Generator().manual_seed(self.run.seed),
            progress=lambda done, of: self._say(f"{done} of {of} windows"),
        )

    def _plan(self) -> Iterator[tuple[str, Switches, bool]]:
        """Name, switches, and whether it is fed, of every row; each keeps what worked of the one before."""
        now = Switches()
        yield "fp32", now, False
        now = dataclasses.replace(now, precision="bf16")
        yield "bf16", now, False
        now = dataclasses.replace(now, channels_last=True)
        yield "+ channels_last", now, False
        tried = dataclasses.replace(now, compiled=True)
        yield "+ compile", tried, False
        now = now if self.rungs[-1].note else tried
        now = dataclasses.replace(now, fused=True)
        yield "+ fused optimiser", now, False
        if self.device.type == "cuda":
            now = dataclasses.replace(now, ahead=True)
            yield "+ host ahead", now, False
        if self._data is not None:
            yield "+ feed", now, True

    # ------------------------------------------------------------------------------------- one row

    def _prepared(self, rung: Rung) -> Callable[[], object] | None:
        """The row's window, its first steps made; None, and a note, where it cannot be run."""
        self._say(f"{rung.name}: the first steps")
        if rung.switches.compiled and (reason := self._no_compiler()):
            rung.note = reason
            return None
        try:
            stepper = self._stepper(rung.switches)
            feed = self._feed() if rung.fed else itertools.cycle(self._random_batches())
            stepper.advance(next(feed))  # makes the moments, picks kernels, compiles
            self._finish(stepper)
            self._look_at(rung, stepper, feed)
            steps = self._steps_of_a_window(stepper, feed)
        except (RuntimeError, OSError) as error:
            if not (rung.switches.compiled or is_out_of_memory(error)):
                raise
            reason = "memory ran out" if is_out_of_memory(error) else _first_line(error)
            rung.note = f"not measured: {reason}"
            return None
        rung.crops = steps * self.run.phases[0].batch

        def window() -> None:
            for _ in range(steps):
                stepper.advance(next(feed))
            self._finish(stepper)
            if stepper.skipped:
                rung.note = f"{stepper.skipped} steps were not finite, and skipped"

        return window

    def _no_compiler(self) -> str | None:
        if not self._compiled:
            return "left out"
        if self.device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
            return "not measured: torch.compile needs a C++ compiler, and there is none; install g++"
        return None

    def _stepper(self, switches: Switches) -> Stepper:
        run = dataclasses.replace(self.run, precision=switches.precision)
        stepper = Stepper(
            run,
            make_accelerator("cpu" if self.device.type == "cpu" else "auto", switches.precision),
            Plan(run, run.mixture.epoch or 10_000),
            tuple(dict.fromkeys(part.task for part in run.mixture.parts)),
            instructions=self._instructions,
            channels_last=switches.channels_last,
            compiled=switches.compiled,
            fused=switches.fused,
        )
        stepper.ahead &= switches.ahead
        return stepper

    def _look_at(self, rung: Rung, stepper: Stepper, feed: Iterator[RawBatch]) -> None:
        """Count a step's cost, its peak memory and the host's waits."""
        held: int | None = None
        if not rung.switches.compiled:
            rung.cost = count_step(lambda: self._single(stepper, feed))
            held = rung.cost.held
        if math.isnan(self.flops) and rung.cost is not None:
            self.flops = rung.cost.flops / self.run.phases[0].batch
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            self._single(stepper, feed)
            held = torch.cuda.max_memory_allocated(self.device) - before
            rung.waits = _waits(lambda: stepper.advance(next(feed)))
            self._finish(stepper)
        rung.peak = None if held is None else held + _lasting(stepper)

    def _steps_of_a_window(self, stepper: Stepper, feed: Iterator[RawBatch]) -> int:
        began = time.perf_counter()
        self._single(stepper, feed)
        took = time.perf_counter() - began
        kind = "cuda" if self.device.type == "cuda" else "cpu"
        return max(_FEWEST_STEPS[kind], math.ceil(_WINDOW[kind] / took))

    def _single(self, stepper: Stepper, feed: Iterator[RawBatch]) -> None:
        stepper.advance(next(feed))
        self._finish(stepper)

    def _finish(self, stepper: Stepper) -> None:
        """Wait until everything is done."""
        stepper.settle()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # ------------------------------------------------------------------------------------ what it eats

    def _open(self, folder: Path, cache_bytes: int) -> MixtureData:
        return MixtureData(
            self.run.mixture,
            folder,
            held_out=self.run.validation.held_out,
            seed=self.run.seed,
            cache_bytes=cache_bytes,
        )

    def _feed(self) -> Iterator[RawBatch]:
        assert self._data is not None
        plan = Plan(self.run, self._data.epoch)
        return load_batches(self._data, plan.requests(0), workers=self._workers)

    def _random_batches(self) -> Sequence[RawBatch]:
        """Two batches of noise, already degraded: pictures that nothing else is done to."""
        phase, generator = self.run.phases[0], torch.Generator().manual_seed(self.run.seed)
        parts = list(itertools.islice(itertools.cycle(self.run.mixture.parts), phase.batch))

        def picture() -> Tensor:
            shape = (phase.batch, 3, phase.crop, phase.crop)
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

        batches = [
            RawBatch(
                target=picture(),
                degraded=picture(),
                tasks=tuple(part.task for part in parts),
                seeds=tuple(range(phase.batch)),
                recipes=((),) * phase.batch,
                layers={},
                weights=(1.0,) * phase.batch,
                instructions=tuple(part.instruction for part in parts),
                bad=(),
                eight_bits="round",
            )
            for _ in range(2)
        ]
        return [batch.pin_memory() for batch in batches] if self.device.type == "cuda" else batches

    def _machine_runs(self) -> dict[str, Callable[[], object]]:
        side, copied = self.machine.side, self.machine.copied
        source, target = (torch.ones(copied, dtype=torch.uint8, device=self.device) for _ in range(2))

        def product(precision: Precision) -> Callable[[], object]:
            dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
            a, b, c = (torch.ones(side, side, device=self.device, dtype=dtype) for _ in range(3))
            return lambda: self._timed(lambda: torch.mm(a, b, out=c))

        runs = {_PRODUCT[name]: product(name) for name in self.machine.product}
        return runs | {_COPY: lambda: self._timed(lambda: target.copy_(source))}

    def _timed(self, work: Callable[[], object]) -> None:
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def main_phase(run: Run) -> Phase:
    """The phase that most of a run's crops belong to."""
    spans = _spans(run)
    if run.steps is not None:  # shares of the steps; where epochs count, they are of the crops already
        spans = [span * phase.batch for span, phase in zip(spans, run.phases, strict=True)]
    return run.phases[spans.index(max(spans))]


def steps_within(run: Run, seconds: float, rate: float) -> tuple[int, int]:
    """How many steps and crops of a whole run fit into a time; validation and checkpoints come on top.

    Args:
        run: with all of its phases, taken as shares of the steps.
        seconds: that there are.
        rate: crops a second of its main phase; a crop of another size is taken to cost by its pixels.
    """
    main = main_phase(run)
    spans = _spans(run)
    crops = sum(span * phase.batch for span, phase in zip(spans, run.phases, strict=True))
    work = sum(
        span * phase.batch * (phase.crop / main.crop) ** 2
        for span, phase in zip(spans, run.phases, strict=True)
    )
    steps = math.floor(seconds * rate / work)
    return steps, math.floor(steps * crops)


def _spans(run: Run) -> list[float]:
    """The share of a run that each of its phases has."""
    ends = [0.0, *(phase.until for phase in run.phases)]
    return [end - start for start, end in itertools.pairwise(ends)]


def _waits(step: Callable[[], object]) -> int:
    """How often the host waits for the GPU, by torch's own eyes."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("synchroniz" in str(one.message) for one in told)


def _lasting(stepper: Stepper) -> int:
    """Bytes that stay from step to step: weights, moments, average."""
    moments: Any = stepper.optimizer.state.values()
    tensors: list[Tensor] = [
        *stepper.network.parameters(),
        *(value for state in moments for value in state.values()),
        *(stepper.average or {}).values(),
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
