"""What computed a number: the machine and the versions, as stored results name them."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["machine", "versions"]


def machine() -> dict[str, Any]:
    """The processor, the cores that this process may use, memory, the GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (AttributeError, OSError, ValueError):  # not POSIX
        memory = None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _processor(), "cores": cores, "memory_gb": memory, "gpu": gpu}


def versions() -> dict[str, str]:
    """Of this package, of what computes for it, and of Python."""
    packages: dict[str, str] = {}
    for package in ("anyrestore", "torch", "numpy"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            packages[package] = "unknown"
    return {**packages, "python": platform.python_version()}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
