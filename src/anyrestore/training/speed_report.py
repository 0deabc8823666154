"""What :mod:`anyrestore.training.speed` measured, as a table for people and JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from typing import Any

import torch

from anyrestore.provenance import machine, versions
from anyrestore.tables import aligned
from anyrestore.training.run import Run
from anyrestore.training.speed import Ladder, Rung, steps_within

__all__ = ["as_json", "as_table", "schedule_line"]

_HEAD = ("row", "crops/s", "quartiles", "ratio", "peak MB", "of product", "of copy", "waits", "windows")


def as_table(ladder: Ladder) -> str:
    """Settings, the rows, what the machine itself reached, and why a row has no times."""
    phase = ladder.run.phases[0]
    threads = torch.get_num_threads()
    where = f"cpu, {threads} thread{'s' * (threads > 1)}" if ladder.device.type == "cpu" else _gpu(ladder)
    counted = "" if math.isnan(ladder.flops) else f", {ladder.flops / 1e9:.2f} GFLOP a crop, there and back"
    lines = [f"{ladder.run.name}: {phase.batch} crops of {phase.crop} px a step on {where}{counted}"]
    lines += aligned([_HEAD, *(_cells(rung, ladder) for rung in ladder.rungs)])
    if ladder.machine.copy.runs:
        products = [
            f"{name} {ladder.machine.flops(name) / 1e9:,.1f} GFLOP/s" for name in ladder.machine.product
        ]
        lines.append(
            f"The machine in the same run: product of {ladder.machine.side} x {ladder.machine.side} matrices "
            f"{', '.join(products)}; copy of {ladder.machine.copied >> 20} MiB "
            f"{ladder.machine.copy_rate / 1e9:.2f} GB/s"
        )
    return "\n".join([*lines, *(f"{rung.name}: {rung.note}" for rung in ladder.rungs if rung.note)])


def schedule_line(ladder: Ladder, run: Run, minutes: float) -> str | None:
    """What fits into a time at the best row's speed, as options of `anyrestore train`; None without times.

    Where the feed was measured, the seconds that it adds to a crop are added to those of the best row.

    Args:
        ladder: measured.
        run: all of it.
        minutes: that there are.
    """
    timed = [rung for rung in ladder.rungs if rung.timing.runs and not rung.fed]
    if not timed:
        return None
    best = max(timed, key=lambda rung: rung.rate)
    seconds = 1 / best.rate
    fed = next((rung for rung in ladder.rungs if rung.fed and rung.timing.runs), None)
    if fed is not None:
        seconds += max(0.0, 1 / fed.rate - 1 / timed[-1].rate)
    steps, crops = steps_within(run, 60 * minutes, 1 / seconds)
    if steps < 1:
        return f"{minutes:g} minutes are too short for a step"
    words = ["--set", f"steps={steps}", *best.switches.words()]
    if run.epochs is not None:
        words = ["--set", "epochs=none", *words]
    return (
        f"{minutes:g} minutes at {1 / seconds:,.1f} crops/s ({best.name}{' and the feed' * bool(fed)}), "
        f"without validation and checkpoints: {crops:,} crops, {steps:,} steps: {shlex.join(words)}"
    )


def as_json(ladder: Ladder, command: str) -> str:
    """Everything, with every window's time, as JSON; what was not measured is null."""
    content = {
        "format": 1,
        "command": command,
        "versions": versions(),
        "machine": machine(),
        "settings": {
            "run": ladder.run.name,
            "device": str(ladder.device),
            "threads": torch.get_num_threads(),
            "crop": ladder.run.phases[0].crop,
            "batch": ladder.run.phases[0].batch,
            "seconds": ladder.seconds,
        },
        "flops_a_crop": _finite(ladder.flops),
        "rows": [_row(rung, ladder) for rung in ladder.rungs],
        "product": {
            name: {
                "side": ladder.machine.side,
                "flops": _finite(ladder.machine.flops(name)),
                "seconds": timing.seconds,
            }
            for name, timing in ladder.machine.product.items()
        },
        "copy": {
            "bytes": ladder.machine.copied,
            "bytes_per_second": _finite(ladder.machine.copy_rate),
            "seconds": ladder.machine.copy.seconds,
        },
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _row(rung: Rung, ladder: Ladder) -> dict[str, Any]:
    return {
        "name": rung.name,
        "switches": dataclasses.asdict(rung.switches),
        "fed": rung.fed,
        "crops_per_second": _finite(rung.rate),
        "crops_a_window": rung.crops,
        "peak": rung.peak,
        "moved_a_step": None if rung.cost is None else rung.cost.moved,
        "share_of_product": _finite(_of_product(rung, ladder)),
        "share_of_copy": _finite(_of_copy(rung, ladder)),
        "waits_a_step": rung.waits,
        "note": rung.note,
        "seconds": rung.timing.seconds,
    }


def _of_product(rung: Rung, ladder: Ladder) -> float:
    """The share of the product's arithmetic that the row's steps do; they can be no faster than 1."""
    return rung.rate * ladder.flops / ladder.machine.flops(rung.switches.precision)


def _of_copy(rung: Rung, ladder: Ladder) -> float:
    """The share of the copy's bytes that the row's operators move; above 1 where caches or fusion help."""
    if rung.cost is None:
        return math.nan
    return rung.rate * rung.cost.moved / ladder.run.phases[0].batch / ladder.machine.copy_rate


def _cells(rung: Rung, ladder: Ladder) -> tuple[str, ...]:
    peak = "-" if rung.peak is None else f"{rung.peak / 1e6:,.0f}"
    waits = "-" if rung.waits is None else f"{rung.waits}"
    if not rung.timing.runs:
        return (rung.name, *("-",) * (len(_HEAD) - 1))
    slow, fast = (rung.crops / bound for bound in reversed(rung.timing.quartiles))
    return (
        rung.name,
        f"{rung.rate:,.2f}",
        f"{slow:,.2f} to {fast:,.2f}",
        f"{rung.rate / ladder.rungs[0].rate:.2f}",
        peak,
        _percent(_of_product(rung, ladder)),
        _percent(_of_copy(rung, ladder)),
        waits,
        f"{rung.timing.runs}",
    )


def _gpu(ladder: Ladder) -> str:
    return torch.cuda.get_device_name(ladder.device) if ladder.device.type == "cuda" else str(ladder.device)


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "-"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
