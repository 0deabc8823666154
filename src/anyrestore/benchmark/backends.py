"""What the backends are worth: start, first pass, steady time and memory, side by side.

Start and memory come from fresh child processes: one with an empty cache folder, then, with what that one
left there, one for each size. "Start" is what comes between a loaded network and its first result. Times of
later passes are measured in one interleaved run of all backends (`benchmark/timing.py`).

`python -m anyrestore.benchmark.backends JSON` is that child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore import backends
from anyrestore.benchmark.memory import Load, forget_peak, load
from anyrestore.benchmark.timing import Timing, interleave
from anyrestore.errors import AnyRestoreError
from anyrestore.inference.memory import keep_freed_memory, occupied
from anyrestore.tables import aligned

__all__ = ["BackendRow", "as_table", "measure_backends"]

_HEAD = (
    *("model", "backend", "size", "start s", "again s", "peak MB", "median ms", "quartiles ms", "of torch"),
    "difference",
)
_CPU = torch.device("cpu")


@dataclass(kw_only=True)
class BackendRow:
    """One backend at one size.

    Attributes:
        model: a name of the zoo.
        backend: one of :data:`anyrestore.backends.BACKENDS`.
        size: side of the square picture in pixels.
        start: seconds from a loaded network to its first result with an empty cache, at the first size only.
        again: the same with what an earlier process left in the cache.
        peak: bytes, at most, over the process before the network was loaded; with that cache.
        timing: of later passes.
        difference: the largest one to torch's result.
        note: why there are no numbers, if there are none.
    """

    model: str
    backend: str
    size: int
    start: float | None = None
    again: float | None = None
    peak: int | None = None
    timing: Timing = field(default_factory=Timing)
    difference: float | None = None
    note: str | None = None


def measure_backends(
    models: Sequence[str],
    names: Sequence[str],
    sizes: Sequence[int],
    *,
    threads: int | None = None,
    repeats: int = 100,
    seconds: float = 6.0,
    say: Callable[[str], None] = lambda _: None,
) -> list[BackendRow]:
    """Measure every model with every backend at every size, on the CPU.

    Args:
        models: names of the zoo, or paths of weights files.
        names: backends; those that cannot be used get a note.
        sizes: sides in pixels, rounded up to what a model takes.
        threads: of torch and of the other engines; None for torch's default.
        repeats: the most passes of each.
        seconds: for the passes of each, about.
        say: is told what goes on.

    Raises:
        ModelError: a model is not known.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    rows: list[BackendRow] = []
    with tempfile.TemporaryDirectory() as folder, _cache_in(folder):
        for model in models:
            network = load(model)
            multiple = int(getattr(network, "size_multiple", 1))
            sides = list(dict.fromkeys(-(-size // multiple) * multiple for size in sizes))
            ready = dict[str, nn.Module]()
            for name in names:
                new = [BackendRow(model=model, backend=name, size=side) for side in sides]
                rows += new
                try:
                    say(f"{model}, {name}: start with an empty cache")
                    new[0].start, _ = _fresh(model, name, sides[0], threads)
                    for row in new:
                        say(f"{model}, {name}: start again at {row.size}")
                        row.again, row.peak = _fresh(model, name, row.size, threads)
                    ready[name] = backends.prepare(network, name, _CPU)
                except AnyRestoreError as error:
                    for row in new:
                        row.note = str(error)
            for side in sides:
                say(f"{model}: passes at {side}")
                here = {row.backend: row for row in rows if (row.model, row.size) == (model, side)}
                _time({name: here[name] for name in ready}, ready, network, repeats, seconds)
    return rows


def as_table(rows: Sequence[BackendRow]) -> str:
    """Plain text; ratios are of medians, to torch at the same size."""
    torches = {(row.model, row.size): row.timing.median for row in rows if row.backend == "torch"}
    lines = aligned([_HEAD, *(_cells(row, torches.get((row.model, row.size))) for row in rows)], left=(0, 1))
    notes = dict.fromkeys(f"{row.backend}, {row.model}: {row.note}" for row in rows if row.note)
    return "\n".join([*lines, *notes])


def _cells(row: BackendRow, reference: float | None) -> tuple[str, ...]:
    low, high = row.timing.quartiles
    timed = row.timing.runs > 0
    return (
        *(row.model, row.backend, str(row.size)),
        "-" if row.start is None else f"{row.start:.1f}",
        "-" if row.again is None else f"{row.again:.1f}",
        "-" if row.peak is None else f"{row.peak / 1e6:.0f}",
        f"{1e3 * row.timing.median:.0f}" if timed else "-",
        f"{1e3 * low:.0f} to {1e3 * high:.0f}" if timed else "-",
        f"{row.timing.median / reference:.2f}" if timed and reference else "-",
        "-" if row.difference is None else f"{row.difference:.1e}",
    )


def _time(
    rows: dict[str, BackendRow], ready: dict[str, nn.Module], network: nn.Module, repeats: int, seconds: float
) -> None:
    """Fill in differences and steady times at one size."""
    if not rows:
        return
    image = Load(size=next(iter(rows.values())).size).image()

    def passing(module: nn.Module) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.inference_mode():
                return module(image)

        return run

    runs = {name: passing(ready[name]) for name in rows}
    expected = passing(network)()
    for name, row in rows.items():
        row.difference = float((runs[name]() - expected).abs().max())
    interleave(
        runs,
        {name: row.timing for name, row in rows.items()},
        warmup=1,
        repeats=repeats,
        seconds=seconds,
        generator=torch.Generator().manual_seed(0),
    )


def _fresh(model: str, name: str, size: int, threads: int | None) -> tuple[float, int]:
    """Seconds to the first result and peak bytes, in a process of its own.

    Raises:
        AnyRestoreError: it ended with one.
    """
    order = json.dumps([model, name, size, threads])
    command = [sys.executable, "-m", "anyrestore.benchmark.backends", order]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this program)
    if done.returncode:
        raise AnyRestoreError((done.stderr.strip().splitlines() or ["no message"])[-1])
    began, peak = json.loads(done.stdout.splitlines()[-1])
    return float(began), int(peak)


def _measure(model: str, name: str, size: int, threads: int | None) -> tuple[float, int]:
    """Of this process, which must have done nothing else."""
    if threads is not None:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        F.conv2d(torch.zeros(1, 8, 32, 32), torch.zeros(8, 8, 3, 3))
        before = occupied("VmRSS")
        forget_peak()
        network = load(model)
        keep_freed_memory()
        image = Load(size=size).image()
        began = time.perf_counter()
        backends.prepare(network, name, _CPU)(image)
        took = time.perf_counter() - began
    return took, occupied("VmHWM") - before


@contextmanager
def _cache_in(folder: str) -> Generator[None]:
    """Let this process and its children keep what they compile there, and find nothing else."""
    names = ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ["XDG_CACHE_HOME"] = folder
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
            if (value := before[name]) is not None:
                os.environ[name] = value


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{json.dumps(_measure(*json.loads(sys.argv[1])))}\n")
    except AnyRestoreError as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(1)
