"""The peak memory of one pass: weights, input, activations, and what the libraries need beside them.

On CUDA it is what torch has allocated at most (`torch.cuda.max_memory_allocated`) over what it had before the
model came; blocks that its cache keeps beyond that, and CUDA's own context (some hundred MB), are not in it.

On a CPU every figure comes from a fresh child process: the largest resident set of the process from the pass
on, over the resident set before the model was made. The child makes one small convolution and one matrix
product first, so that the libraries and their threads are on neither side's account. The C library keeps
freed blocks, as it does when `Restorer` runs (`inference/memory.py`), so what fragmentation costs is in.

Unusual: a child's ``ru_maxrss`` is useless on Linux, where it starts from the *parent's* peak; the kernel's
high-water mark of the process itself (``VmHWM``), set back before the pass, is read instead. Elsewhere
``ru_maxrss`` it is, from a child that made the model too, so its making is counted.

`python -m anyrestore.benchmark.memory JSON` is that child.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore import zoo
from anyrestore.inference.memory import is_out_of_memory, keep_freed_memory, occupied

__all__ = ["Load", "cuda_peak", "forget_peak", "fresh_peak", "load"]

_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a pass is given: everything that changes its cost, beside the machine.

    Attributes:
        size: side of the square pictures in pixels, a multiple of what the model asks for.
        batch: pictures in a pass.
        precision: "float32", or what autocast takes: "bfloat16" or "float16".
        channels_last: whether weights and pictures lie in memory channel by channel of each pixel.
        threads: CPU threads of torch; None leaves them as they are.
        seed: of random weights and of the picture.
    """

    size: int
    batch: int = 1
    precision: str = "float32"
    channels_last: bool = False
    threads: int | None = None
    seed: int = 0

    def image(self) -> Tensor:
        """The pictures (batch 3 size size), uniform random in [0, 1], on the CPU."""
        generator = torch.Generator().manual_seed(self.seed)
        picture = torch.rand(self.batch, 3, self.size, self.size, generator=generator)
        return picture.contiguous(memory_format=torch.channels_last) if self.channels_last else picture

    def cast(self, device: torch.device) -> AbstractContextManager[object]:
        """The autocast to run a pass in; nothing for float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, self.precision))


def load(name: str, seed: int = 0, *, channels_last: bool = False) -> nn.Module:
    """A model to measure, on the CPU: with its weights where there are some, else with seeded random ones.

    Args:
        name: a name of the zoo, or the path of a .safetensors file.
        seed: of random weights.
        channels_last: how the weights of convolutions are to lie in memory.

    Raises:
        ModelError: there is no such model.
    """
    entry = zoo.CATALOG.get(name)
    if entry is None or entry.weights is not None:
        model = zoo.load_model(name)
    else:
        with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType] (untyped parameters)
            torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
            model = zoo.create_model(name)
    model = model.eval()
    # torch's stub of `to` has no memory_format alone.
    return model.to(memory_format=torch.channels_last) if channels_last else model  # pyright: ignore[reportCallIssue, reportUnknownVariableType]


def cuda_peak(model: nn.Module, what: Load, device: torch.device) -> int:
    """Peak bytes of one pass on a GPU; the model is on the CPU before, and on the GPU after.

    Raises:
        torch.OutOfMemoryError: the GPU's memory ran out.
    """
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with torch.inference_mode(), what.cast(device):
        model.to(device)(what.image().to(device))
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def fresh_peak(name: str, what: Load) -> int | None:
    """Peak bytes of one pass on the CPU, measured in a process of its own.

    Returns:
        None where memory ran out (the system then kills the process).

    Raises:
        RuntimeError: the process ended in another way.
    """
    order = json.dumps({"name": name, "load": dataclasses.asdict(what)})
    command = [sys.executable, "-m", "anyrestore.benchmark.memory", order]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this program)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        if (
            done.returncode == -signal.SIGKILL
            or is_out_of_memory(RuntimeError(last))
            or "MemoryError" in last
        ):
            return None
        raise RuntimeError(f"measuring the peak memory of {name} ended with {done.returncode}: {last}")
    return int(done.stdout.splitlines()[-1])


def _measure(name: str, what: Load) -> int:
    """Peak bytes of one pass in this process, which must have done nothing else."""
    if what.threads is not None:
        torch.set_num_threads(what.threads)
    with torch.inference_mode(), what.cast(torch.device("cpu")):
        F.conv2d(torch.zeros(1, 8, 32, 32), torch.zeros(8, 8, 3, 3))
        _ = torch.zeros(256, 256) @ torch.zeros(256, 256)
        before = occupied("VmRSS")
        model = load(name, what.seed, channels_last=what.channels_last)
        # Only now: what loading has freed went back to the system and cannot hide a part of the pass.
        keep_freed_memory()
        forget_peak()
        model(what.image())
    return occupied("VmHWM") - before


def forget_peak() -> None:
    """Set the high-water mark of this process back to what it occupies now, where the kernel can."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.stdout.write(f"{_measure(given['name'], Load(**given['load']))}\n")
