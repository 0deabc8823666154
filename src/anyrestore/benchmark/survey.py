"""What a set of models costs, measured side by side in one run.

First every model is looked at alone: counts, the memory planner's estimate, peak memory. Then, size by size,
all that fit are timed in one interleaved run (`benchmark/timing.py`), and with them the machine itself: a
float32 matrix product and a memory copy. How much of these a model reaches is its *share*: it compares
medians of the same minutes, so a busy machine slows both sides.

Unusual: `Survey` fills `rows` and `references` as it goes, so that whoever interrupts it keeps what is done.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from anyrestore import zoo
from anyrestore.benchmark.cost import count_macs, count_parameters, count_traffic
from anyrestore.benchmark.memory import Load, cuda_peak, fresh_peak, load
from anyrestore.benchmark.timing import Timing, interleave
from anyrestore.errors import UsageError
from anyrestore.inference import memory
from anyrestore.inference.restorer import choose_device

__all__ = ["FULL_SIZE", "PRECISIONS", "REFERENCES", "Plan", "Reference", "Row", "Survey"]

PRECISIONS = ("float32", "bfloat16", "float16")
FULL_SIZE = tuple(name for name in zoo.CATALOG if not name.endswith("tiny"))
"""Every model of the zoo but those that exist for tests."""
REFERENCES = {"cpu": (2048, 128 << 20), "cuda": (8192, 1 << 30), "mps": (4096, 256 << 20)}
"""By kind of device: side of the matrices whose product is made, bytes that are copied."""
_PRODUCT, _COPY = "matrix product", "copy"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, and how.

    Attributes:
        models: names of the zoo, or paths of .safetensors files; no two alike.
        sizes: sides of the square pictures in pixels.
        batch: pictures in a pass.
        device: "auto", "cpu", "cuda" or "mps".
        precision: one of `PRECISIONS`; the lower ones by autocast.
        channels_last: whether weights and pictures lie in memory channel by channel of each pixel.
        threads: CPU threads of torch; None leaves them as they are.
        warmup: rounds of warm-up; None for 100 on a GPU and 1 on a CPU.
        repeats: the most runs of each model; None for 1,000 on a GPU and 100 on a CPU.
        seconds: for the runs of each model and size, about; None for no limit on a GPU and 6 on a CPU.
        budget: bytes that the activations of a pass may take; None for six tenths of a CPU's free memory and
            eight of a GPU's.
        peak: whether to measure peak memory.
        seed: of random weights, of the pictures and of the orders.
    """

    models: Sequence[str] = FULL_SIZE
    sizes: Sequence[int] = (256,)
    batch: int = 1
    device: str = "auto"
    precision: str = "float32"
    channels_last: bool = False
    threads: int | None = None
    warmup: int | None = None
    repeats: int | None = None
    seconds: float | None = None
    budget: int | None = None
    peak: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if not self.models or len(set(self.models)) != len(self.models):
            raise UsageError(f"expected models, each once, got {', '.join(self.models) or 'none'}")
        if not self.sizes or min(self.sizes) < 1 or len(set(self.sizes)) != len(self.sizes):
            raise UsageError(f"expected sizes of at least 1 pixel, each once, got {list(self.sizes)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        counts = (self.batch, self.threads, self.warmup, self.repeats)
        if any(count is not None and count < 1 for count in counts):
            got = ", ".join(str(count) for count in counts)
            raise UsageError(f"expected a batch, threads, warm-ups and repeats of at least 1, got {got}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise UsageError(f"expected more than 0 seconds for each model and size, got {self.seconds}")


@dataclass(kw_only=True)
class Row:
    """One model at one size.

    Attributes:
        model: as it was asked for.
        size: side of the picture that was asked for, in pixels.
        side: of the picture that was run: the size, rounded up to what the model takes.
        batch: pictures in a pass.
        parameters: see :func:`~anyrestore.benchmark.cost.count_parameters`.
        macs: of one picture; a MoCE-IR's with the costliest expert in every block.
        traffic: bytes of one picture, see :func:`~anyrestore.benchmark.cost.count_traffic`.
        estimate: bytes that the memory planner expects the activations of a pass to take.
        peak: bytes, see `benchmark/memory.py`; None where it was not measured.
        experts: how many of a MoCE-IR's blocks ran which expert (the first is 1, the cheapest) on the random
            picture; empty for other models.
        timing: seconds of every pass.
        note: why there are no times, if there are none.
    """

    model: str
    size: int
    side: int
    batch: int
    parameters: int
    macs: int
    traffic: int
    estimate: int
    peak: int | None = None
    experts: Mapping[int, int] = field(default_factory=dict[int, int])
    timing: Timing = field(default_factory=Timing)
    note: str | None = None

    @property
    def flops(self) -> float:
        """Floating-point operations per second of the median pass, two for each MAC; NaN without times."""
        return 2 * self.macs * self.batch / self.timing.median

    @property
    def traffic_rate(self) -> float:
        """Bytes per second that its operators read and write in the median pass; NaN without times."""
        return self.traffic * self.batch / self.timing.median


@dataclass(kw_only=True)
class Reference:
    """What the machine itself reached in the same run.

    Attributes:
        size: of the pictures of that run.
        side: of the square float32 matrices whose product was made.
        copied: bytes of the block that was copied: read once, written once.
        product: seconds of the products.
        copy: seconds of the copies.
    """

    size: int
    side: int
    copied: int
    product: Timing = field(default_factory=Timing)
    copy: Timing = field(default_factory=Timing)

    @property
    def flops(self) -> float:
        """Of the median product, per second: 2 n^3 for n x n matrices."""
        return 2 * self.side**3 / self.product.median

    @property
    def copy_rate(self) -> float:
        """Bytes read and written per second in the median copy."""
        return 2 * self.copied / self.copy.median


class Survey:
    """Measures what a `Plan` asks for.

    Args:
        plan: what to measure.
        say: is told what goes on.
        clock: in seconds.
        fresh_peak: measures peak memory on a CPU.

    Raises:
        UsageError: the device is not there.

    Attributes:
        device: where.
        warmup: rounds; likewise ``repeats`` and ``seconds``: the plan's, or the device's defaults.
        rows: size by size, in the order of the models; filled as the measurement goes on.
        references: by size.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
        fresh_peak: Callable[[str, Load], int | None] = fresh_peak,
    ) -> None:
        self.plan = plan
        self.device = choose_device(plan.device)
        on_cpu = self.device.type == "cpu"
        self.warmup = plan.warmup or (1 if on_cpu else 100)
        self.repeats = plan.repeats or (100 if on_cpu else 1000)
        self.seconds = plan.seconds or (6.0 if on_cpu else None)
        self.rows: list[Row] = []
        self.references: dict[int, Reference] = {}
        self._say, self._clock, self._fresh_peak = say, clock, fresh_peak
        self._models: dict[str, nn.Module] = {}

    def run(self) -> None:
        """Measure everything.

        Raises:
            ModelError: a model is not known or its weights cannot be used; nothing has been measured then.
        """
        if self.device.type == "cpu":
            memory.keep_freed_memory()
        with _threads(self.plan.threads):
            for name in self.plan.models:
                self._say(f"{name}: loading")
                self._models[name] = load(name, self.plan.seed, channels_last=self.plan.channels_last)
            for size in self.plan.sizes:
                self._measure(size)

    def _measure(self, size: int) -> None:
        """All models at one size."""
        rows = [self._look_at(name, size) for name in self.plan.models]
        runs: dict[str, Callable[[], object]] = {}
        timings: dict[str, Timing] = {}
        for row in rows:
            if row.note is None:
                self._prepare(row)
            if row.note is None:
                runs[row.model], timings[row.model] = self._pass(row), row.timing
        if not runs:
            return
        reference = self._reference(size)
        product, copy = self._machine(reference)
        # A model cannot have these names: the catalogue has none with a space, and paths end in .safetensors.
        runs |= {_PRODUCT: product, _COPY: copy}
        timings |= {_PRODUCT: reference.product, _COPY: reference.copy}
        interleave(
            runs,
            timings,
            warmup=self.warmup,
            repeats=self.repeats,
            seconds=self.seconds,
            generator=torch.Generator().manual_seed(self.plan.seed),
            clock=self._clock,
            progress=lambda done, of: self._say(f"{size} x {size}: {done} of {of} runs"),
        )

    def _look_at(self, name: str, size: int) -> Row:
        """What is known of a model before it is run; a note where it would not fit."""
        self._say(f"{name}: counting at {size} x {size}")
        model = self._models[name]
        multiple = int(getattr(model, "size_multiple", 1))
        side = -(-size // multiple) * multiple
        per_pixel = float(getattr(model, "bytes_per_pixel", memory.DEFAULT_BYTES_PER_PIXEL))
        row = Row(
            model=name,
            size=size,
            side=side,
            batch=self.plan.batch,
            parameters=count_parameters(model),
            macs=count_macs(model, side, side),
            traffic=count_traffic(model, side, side),
            estimate=round(per_pixel * side * side * self.plan.batch),
        )
        budget = self._budget()
        if memory.choose_tile(side * self.plan.batch, side, model, self.device, budget) is not None:
            expected, free = row.estimate / 1e9, budget / 1e9
            row.note = f"too large, the planner expects {expected:.3g} GB and may use {free:.3g} GB"
        self.rows.append(row)
        return row

    def _budget(self) -> int:
        """Bytes that activations may take. A CPU's has no cap here: who measures wants to see large sizes."""
        if self.plan.budget is not None:
            return self.plan.budget
        if self.device.type == "cuda":
            return memory.default_budget(self.device)
        return int(0.6 * memory.free_memory(self.device))

    def _prepare(self, row: Row) -> None:
        """Measure peak memory; see that a pass works, and which experts run; a note where it does not."""
        self._say(f"{row.model}: peak memory at {row.size} x {row.size}")
        what = self._load(row)
        try:
            if self.device.type == "cuda":
                peak = cuda_peak(self._models[row.model], what, self.device)
                row.peak = peak if self.plan.peak else None
            elif self.device.type == "cpu" and self.plan.peak:
                row.peak = self._fresh_peak(row.model, what)
                if row.peak is None:
                    row.note = "memory ran out"
                    return
            model = self._models[row.model].to(self.device)
            gates = getattr(model, "gates", None)
            with torch.inference_mode(), what.cast(self.device):
                if gates is None:
                    model(what.image().to(self.device))
                else:
                    row.experts = _experts(gates(what.image().to(self.device)))
        except (MemoryError, RuntimeError) as error:
            if not memory.is_out_of_memory(error):
                raise
            row.note = "memory ran out"
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _load(self, row: Row) -> Load:
        plan = self.plan
        return Load(
            size=row.side,
            batch=plan.batch,
            precision=plan.precision,
            channels_last=plan.channels_last,
            threads=plan.threads,
            seed=plan.seed,
        )

    def _pass(self, row: Row) -> Callable[[], object]:
        """One pass, from the start of the first operator to the end of the last."""
        what, model = self._load(row), self._models[row.model]
        image = what.image().to(self.device)

        def run() -> None:
            with torch.inference_mode(), what.cast(self.device):
                model(image)
            self._finish()

        return run

    def _reference(self, size: int) -> Reference:
        side, copied = REFERENCES[self.device.type]
        self.references[size] = Reference(size=size, side=side, copied=copied)
        return self.references[size]

    def _machine(self, reference: Reference) -> tuple[Callable[[], object], Callable[[], object]]:
        """One matrix product and one copy, into memory that is there already."""
        a, b, c = (torch.ones(reference.side, reference.side, device=self.device) for _ in range(3))
        source, target = (
            torch.ones(reference.copied, dtype=torch.uint8, device=self.device) for _ in range(2)
        )

        def product() -> None:
            torch.mm(a, b, out=c)
            self._finish()

        def copy() -> None:
            target.copy_(source)
            self._finish()

        return product, copy

    def _finish(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def _experts(gates: Mapping[str, Tensor]) -> dict[int, int]:
    """How many blocks (of all pictures) ran which expert, from 1 on; gates (b e) are 0 for the others."""
    ran: Counter[int] = Counter()
    for of_block in gates.values():
        indexes = cast("list[int]", cast("Any", of_block.nonzero()[:, 1]).tolist())
        ran.update(index + 1 for index in indexes)
    return dict(sorted(ran.items()))


@contextmanager
def _threads(count: int | None) -> Generator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
