"""How much memory is free, and the largest piece of a picture that a model may take at once.

Free memory is the least of what the machine has left (`MemAvailable`), what the control groups of this
process still allow (versions 1 and 2, page cache that can be dropped counted as free) and what RLIMIT_AS
leaves; on a GPU it is what CUDA reports. The need of a model is its `bytes_per_pixel`: peak activation bytes
per input pixel in float32, stated by the model.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from pathlib import Path

import torch
from torch import nn

MIB = 1 << 20
DEFAULT_BYTES_PER_PIXEL = 16384.0
"""For a model that does not state its own: above what a 48-channel Restorer-shaped network needs."""
CPU_BUDGET = 4096 * MIB
"""The most that activations may take in main memory, however much is free: other programs run there too."""
LARGEST_TILE = 1024
SMALLEST_TILE = 64
_FALLBACK_FREE = 2048 * MIB


def free_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that can still be allocated on `device` without swapping or being killed.

    Args:
        device: where the model runs.
        root: the file system in which to look for `proc` and `sys` (another one in tests).
    """
    if device.type == "cuda":
        # Blocks that torch keeps for reuse are free to us, although CUDA counts them as taken.
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    known = [
        limit for limit in (_machine(root), *_control_groups(root), _address_space(root)) if limit is not None
    ]
    return max(min(known, default=_FALLBACK_FREE), 0)


def default_budget(device: torch.device) -> int:
    """Bytes that activations may take: a share of the free memory, on a CPU never above `CPU_BUDGET`."""
    free = free_memory(device)
    return int(free * 0.8) if device.type == "cuda" else min(int(free * 0.6), CPU_BUDGET)


def choose_tile(
    height: int, width: int, model: nn.Module, device: torch.device, budget: int | None = None
) -> int | None:
    """The tile side for a picture of height x width, or None where the whole picture fits.

    Args:
        height: rows of the picture.
        width: columns of the picture.
        model: states `bytes_per_pixel`, peak activation bytes per input pixel in float32, and `square` if it
            pads pictures to squares.
        device: where the model runs.
        budget: bytes that activations may take; None for `default_budget`.
    """
    budget = default_budget(device) if budget is None else budget
    pixels = budget / float(getattr(model, "bytes_per_pixel", DEFAULT_BYTES_PER_PIXEL))
    if (max(height, width) ** 2 if getattr(model, "square", False) else height * width) <= pixels:
        return None
    return min(max(math.isqrt(int(pixels)), SMALLEST_TILE), LARGEST_TILE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out; torch has no class of its own for it on a CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        phrase in str(error)
        for phrase in (
            "can't allocate memory",
            "out of memory",
            "bad allocation",
            "bad_alloc",
            "could not create a primitive",  # oneDNN: no room for its code, or for what it works with
        )
    )


def keep_freed_memory() -> bool:
    """Make the C library keep freed blocks for reuse; True where it does.

    By default glibc maps every large activation afresh and unmaps it after use, so that each layer pays a
    page fault for every 4 KiB it writes. Serving large blocks from the heap and never trimming it avoids
    that. The setting holds for the whole process; it is harmless to call again, and does nothing without
    glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 256 * MIB))
    accepted = [mallopt(parameter, value) for parameter, value in settings]
    return all(accepted)


def resident() -> int:
    """Bytes of main memory that the process occupies; what the C library only keeps is given back first."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
    return occupied("VmRSS")


def occupied(which: str) -> int:
    """Bytes of this process in main memory, now (VmRSS) or at most (VmHWM); beside Linux always at most."""
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) * 1024
    try:
        import resource  # noqa: PLC0415 (POSIX only)
    except ImportError:
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _machine(root: Path) -> int | None:
    """MemAvailable of Linux; elsewhere half of the physical memory, where the system tells it."""
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _control_groups(root: Path) -> list[int]:
    """What is left in each control group around this process that limits memory."""
    left: list[int] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.lstrip("/")
        # Inside a container the path may be the host's, with only the group itself mounted at the base.
        for folder in (group, *group.parents) if group.is_dir() else (base,):
            limit, usage = _read(folder / names[0]).strip(), _read(folder / names[1]).strip()
            if limit.isdigit() and usage.isdigit():
                left.append(int(limit) - int(usage) + _statistic(folder / "memory.stat", names[2]))
            if folder == base:
                break
    return left


def _address_space(root: Path) -> int | None:
    """What RLIMIT_AS leaves, None where it does not limit."""
    try:
        import resource  # noqa: PLC0415 (POSIX only)
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = _read(root / "proc/self/statm").split()
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0]) * resource.getpagesize()


def _statistic(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _read(path: Path) -> str:
    """The file's text, empty where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
