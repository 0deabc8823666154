"""Which way a picture goes through a model, so that it fits in the memory at hand.

In order of preference: the whole picture in strips (exact, and the least memory; for networks that
:mod:`anyrestore.strips` knows, on a CPU); the same with the largest maps in files (exact, as fast as the
disk); the whole picture at once (exact); tiles (not exact, for attention looks at the whole picture).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from anyrestore import scratch, strips
from anyrestore.errors import InputError
from anyrestore.inference import memory

SPARE_DISK = 1.1
"""Files of maps are made only where so many times their size is free."""
BAND_BYTES = 48
"""Of a pixel of the band of tiles that is being blended, and of the picture's rows under it."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be restored, and with what.

    Attributes:
        height: rows of the padded picture.
        width: columns of it.
        batch: pictures at once.
        tile: "auto", "off", or the longest side of a tile.
        budget: bytes that may be taken; None for :func:`memory.default_budget`, which tiles may exceed if
            nothing smaller is left.
        scratch: where files of maps may be made; None for nowhere.
    """

    height: int
    width: int
    batch: int = 1
    tile: int | str = "auto"
    budget: int | None = None
    scratch: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to go.

    Attributes:
        kind: "strips", "whole" or "tiles".
        bytes: the most that it takes.
        tile: the longest side of a tile; None without tiles.
        in_files: levels of the network whose maps are in files.
    """

    kind: Literal["strips", "whole", "tiles"]
    bytes: int
    tile: int | None = None
    in_files: tuple[int, ...] = ()


def plan_ways(model: nn.Module, request: Request, device: torch.device) -> list[Way]:
    """The ways that fit, the best first; the next is for when memory runs out all the same.

    Raises:
        InputError: none fits in the budget that was given (code `memory_limit`).
    """
    budget = memory.default_budget(device) if request.budget is None else request.budget
    if isinstance(request.tile, int):
        found = [_tiles(model, request, request.tile)]
        smallest = found[0].bytes
    else:
        exact = _exact(model, request, device, budget)
        tiled = [] if request.tile == "off" else [_tiles(model, request, _tile_side(model, request, budget))]
        found, smallest = [*exact, *tiled], min(way.bytes for way in (*exact, *tiled))
    fitting = [way for way in found if way.bytes <= budget]
    if request.budget is None:
        # Nobody named a limit: what does not fit the cautious default is tried last, not refused.
        return fitting or found[-1:]
    if not fitting:
        raise InputError(
            f"expected a memory limit that leaves {_mib(smallest)} for a picture of {request.width} x "
            f"{request.height}, this one leaves {_mib(max(budget, 0))}; raise it, or use a smaller model",
            code="memory_limit",
        )
    return fitting


def goes_at_once(model: nn.Module, request: Request, device: torch.device) -> bool:
    """Whether the pictures of a request go through the model together, in one pass."""
    budget = memory.default_budget(device) if request.budget is None else request.budget
    return (
        not isinstance(request.tile, int)
        and not runs_in_strips(model, device)
        and need(model, request) <= budget
    )


def need(model: nn.Module, request: Request) -> int:
    """Bytes that a pass over the whole pictures of a request takes."""
    return _need(model, request.height * request.batch, request.width)


def runs_in_strips(model: nn.Module, device: torch.device) -> bool:
    """Whether the model's pictures go in strips on this device."""
    if device.type != "cpu" or not strips.supports(model):
        return False
    return all(parameter.dtype == torch.float32 for parameter in model.parameters())


def default_scratch() -> Path | None:
    """A folder of a disk for large files that are gone soon; None where there is none, or no way to it.

    It is that of ``ANYRESTORE_SCRATCH``, else the system's; not one whose files are in memory.
    """
    if not scratch.SUPPORTED:
        return None
    named = os.environ.get("ANYRESTORE_SCRATCH")
    for folder in (named,) if named else ("/var/tmp", tempfile.gettempdir()):  # noqa: S108 (asked, not used)
        path = Path(folder)
        if path.is_dir() and os.access(path, os.W_OK) and not _is_in_memory(path):
            return path
    return None


def _exact(model: nn.Module, request: Request, device: torch.device, budget: int) -> list[Way]:
    if not runs_in_strips(model, device):
        return [Way(kind="whole", bytes=need(model, request))]
    footprint = strips.Footprint.of(model, request.height, request.width)
    threads = strips.count_threads()
    found = [Way(kind="strips", bytes=footprint.total(threads))]
    if request.scratch is not None:
        for count in range(1, len(footprint.levels) + 1):
            levels = tuple(range(count))
            size = footprint.maps() - footprint.maps(levels)
            total = footprint.total(threads, levels)
            if total <= budget or count == len(footprint.levels):
                if shutil.disk_usage(request.scratch).free > SPARE_DISK * size:
                    found.append(Way(kind="strips", bytes=total, in_files=levels))
                break
    return found


def _tile_side(model: nn.Module, request: Request, budget: int) -> int:
    """The side of tiles that fit, or of the smallest there are."""
    band = BAND_BYTES * request.width * request.batch
    side = memory.SMALLEST_TILE
    while side < memory.LARGEST_TILE:
        larger = side * 5 // 4
        if _need(model, larger * request.batch, larger) + band * larger > budget:
            break
        side = larger
    return min(side, memory.LARGEST_TILE)


def _tiles(model: nn.Module, request: Request, side: int) -> Way:
    rows, columns = min(side, request.height), min(side, request.width)
    band = BAND_BYTES * request.width * rows * request.batch
    return Way(kind="tiles", bytes=_need(model, rows * request.batch, columns) + band, tile=side)


def _need(model: nn.Module, height: int, width: int) -> int:
    pixels = max(height, width) ** 2 if getattr(model, "square", False) else height * width
    return int(pixels * float(getattr(model, "bytes_per_pixel", memory.DEFAULT_BYTES_PER_PIXEL)))


def _mib(size: int) -> str:
    return f"{size / memory.MIB:,.0f} MiB"


def _is_in_memory(path: Path) -> bool:
    """Whether files in this folder take memory; asked of Linux's table of mounts."""
    if not sys.platform.startswith("linux"):
        return False
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    real = str(path.resolve())
    for line in lines:
        _, place, of_kind, *_ = line.split(" ")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, of_kind
    return kind in {"tmpfs", "ramfs"}
