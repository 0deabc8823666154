"""A survey of costs as a table for people, Markdown for the docs and JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import torch

from anyrestore.benchmark.published import PUBLISHED, PublishedCost
from anyrestore.benchmark.survey import Reference, Row, Survey
from anyrestore.errors import UsageError
from anyrestore.provenance import machine, versions
from anyrestore.tables import aligned

__all__ = ["BEGIN", "END", "as_json", "as_markdown", "as_table", "into"]

BEGIN, END = "<!-- bench cost: written by the command below -->", "<!-- bench cost: end -->"
"""Between these lines of a Markdown file the report is put; the rest of the file stays."""

WIDTH = 110
"""Of lines of Markdown that are no table."""

_HEAD = (
    *("model", "size", "params M", "GMAC", "peak MB", "median ms", "quartiles ms", "runs"),
    *("GFLOP/s", "of product", "GB/s", "of copy"),
)
_PUBLISHED_HEAD = ("model", "system", "params M", "GMAC", "memory MB", "ms", "source")


def as_table(survey: Survey) -> str:
    """Plain text: settings, the rows of each size, what the machine itself reached, published figures."""
    rows = [_cells(row, survey.references.get(row.size)) for row in survey.rows]
    parts = [settings(survey), *aligned([_HEAD, *rows])]
    parts += [f"{row.model} at {row.size}: {row.note}" for row in survey.rows if row.note]
    parts += [_describe(reference) for reference in survey.references.values() if reference.product.runs]
    if any(row.experts for row in survey.rows):
        parts.append(_experts(survey))
    if published := _published(survey):
        parts += ["", f"Published, on another machine ({published[0].machine}):"]
        parts += aligned([_PUBLISHED_HEAD, *map(_published_cells, published)], left=(0, 1))
    return "\n".join(parts)


def as_markdown(survey: Survey, command: str) -> str:
    """The same as Markdown, with the command by which it can be done again."""
    rows = [_cells(row, survey.references.get(row.size)) for row in survey.rows]
    found, packages = machine(), versions()
    where = f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB, GPU {found['gpu'] or 'none'}"
    parts = [
        "```",
        command,
        "```",
        "",
        *textwrap.wrap(
            f"{where}; torch {packages['torch']}, anyrestore {packages['anyrestore']}. {settings(survey)}",
            WIDTH,
        ),
        "",
        *_piped(_HEAD, rows),
        "",
    ]
    lines = [f"{row.model} at {row.size}: {row.note}." for row in survey.rows if row.note]
    lines += [f"{_describe(r)}." for r in survey.references.values() if r.product.runs]
    if any(row.experts for row in survey.rows):
        lines.append(f"{_experts(survey)}.")
    for line in lines:
        parts += textwrap.wrap(line, WIDTH, initial_indent="- ", subsequent_indent="  ")
    if published := _published(survey):
        parts += ["", f"Published, on another machine ({published[0].machine}):", ""]
        parts += _piped(_PUBLISHED_HEAD, [_published_cells(cost) for cost in published])
    return "\n".join(parts) + "\n"


def as_json(survey: Survey, command: str) -> str:
    """Everything, with every pass's time, as JSON; what was not measured is null."""
    content = {
        "format": 1,
        "command": command,
        "versions": versions(),
        "machine": machine(),
        "settings": {
            **{key: getattr(survey.plan, key) for key in ("batch", "precision", "channels_last", "seed")},
            "device": str(survey.device),
            "threads": survey.plan.threads or torch.get_num_threads(),
            **{key: getattr(survey, key) for key in ("warmup", "repeats", "seconds")},
        },
        "rows": [_row_dict(row, survey.references.get(row.size)) for row in survey.rows],
        "references": [
            {
                "size": r.size,
                "product_side": r.side,
                "product_flops": _finite(r.flops),
                "product_seconds": r.product.seconds,
                "copy_bytes": r.copied,
                "copy_bytes_per_second": _finite(r.copy_rate),
                "copy_seconds": r.copy.seconds,
            }
            for r in survey.references.values()
        ],
        "published": [
            {**dataclasses.asdict(cost), "parameters": cost.parameters, "gmac": cost.gmac}
            for cost in _published(survey)
        ],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def into(text: str | None, report: str) -> str:
    """A Markdown file's text with the report in it.

    Args:
        text: what the file holds now; None if there is no file.
        report: from :func:`as_markdown`.

    Returns:
        The text with what stands between `BEGIN` and `END` replaced; the report alone, between them, for a
        file that is new.

    Raises:
        UsageError: the file holds something else.
    """
    block = f"{BEGIN}\n\n{report}\n{END}\n"
    if text is None:
        return block
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not begin or not end:
        raise UsageError(f"expected a Markdown file with the lines {BEGIN!r} and {END!r}; give a new file")
    return before + block + after


def settings(survey: Survey) -> str:
    """How was measured, in a sentence."""
    plan = survey.plan
    threads = plan.threads or torch.get_num_threads()
    where = (
        f"{survey.device}, {threads} thread{'s' * (threads > 1)}"
        if survey.device.type == "cpu"
        else str(survey.device)
    )
    layout = ", channels last" if plan.channels_last else ""
    limit = "" if survey.seconds is None else f" or about {survey.seconds:g} s of them"
    return (
        f"{where}, batch {plan.batch}, {plan.precision}{layout}; warm-up rounds {survey.warmup}, at most "
        f"{survey.repeats} runs{limit}, all models in one run, in an order drawn anew each round."
    )


def _cells(row: Row, reference: Reference | None) -> tuple[str, ...]:
    known = (
        row.model,
        f"{row.size}" if row.side == row.size else f"{row.size} (run at {row.side})",
        f"{row.parameters / 1e6:.2f}",
        f"{row.macs / 1e9:.2f}",
        "-" if row.peak is None else f"{row.peak / 1e6:.0f}",
    )
    if not row.timing.runs or reference is None:
        return (*known, *("-",) * (len(_HEAD) - len(known)))
    low, high = (1e3 * bound for bound in row.timing.quartiles)
    return (
        *known,
        _milliseconds(1e3 * row.timing.median),
        f"{_milliseconds(low)} to {_milliseconds(high)}",
        f"{row.timing.runs}",
        f"{row.flops / 1e9:.1f}",
        _percent(row.flops / reference.flops),
        f"{row.traffic_rate / 1e9:.2f}",
        _percent(row.traffic_rate / reference.copy_rate),
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "-"


def _milliseconds(value: float) -> str:
    """Three digits, all of those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _describe(reference: Reference) -> str:
    product, copy = reference.product, reference.copy
    rates = [2 * reference.side**3 / bound / 1e9 for bound in reversed(product.quartiles)]
    line = (
        f"The machine in the run at {reference.size}: float32 product of {reference.side} x "
        f"{reference.side} matrices {reference.flops / 1e9:.1f} GFLOP/s "
        f"({rates[0]:.1f} to {rates[1]:.1f}, {product.runs} runs)"
    )
    if copy.runs:
        rates = [2 * reference.copied / bound / 1e9 for bound in reversed(copy.quartiles)]
        line += (
            f", copy of {reference.copied / 2**20:.0f} MiB {reference.copy_rate / 1e9:.2f} GB/s "
            f"({rates[0]:.2f} to {rates[1]:.2f}, {copy.runs} runs)"
        )
    return line


def _experts(survey: Survey) -> str:
    ran = [
        f"{row.model} at {row.size} "
        + ", ".join(f"{blocks} x expert {expert}" for expert, blocks in row.experts.items())
        for row in survey.rows
        if row.experts
    ]
    return (
        "GMAC and traffic of a MoCE-IR are those with its costliest expert in every block; the timed passes "
        f"ran what its routers chose for the random picture (1 is the cheapest): {'; '.join(ran)}"
    )


def _published(survey: Survey) -> list[PublishedCost]:
    measured = {row.model for row in survey.rows}
    return [cost for cost in PUBLISHED if cost.model in measured]


def _published_cells(cost: PublishedCost) -> tuple[str, ...]:
    return (
        cost.model,
        cost.system,
        f"{cost.parameters / 1e6:.2f}",
        f"{cost.gmac:g}",
        f"{cost.megabytes}",
        f"{cost.milliseconds:.2f} ± {cost.spread:.2f}",
        cost.source,
    )


def _piped(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _row_dict(row: Row, reference: Reference | None) -> dict[str, Any]:
    low, high = row.timing.quartiles
    return {
        **{
            key: getattr(row, key)
            for key in (
                *("model", "size", "side", "batch", "parameters", "macs", "traffic", "estimate", "peak"),
                "note",
            )
        },
        "experts": {str(expert): blocks for expert, blocks in row.experts.items()},
        "milliseconds": {
            "median": _finite(1e3 * row.timing.median),
            "lower_quartile": _finite(1e3 * low),
            "upper_quartile": _finite(1e3 * high),
        },
        "runs": row.timing.runs,
        "flops": _finite(row.flops),
        "traffic_rate": _finite(row.traffic_rate),
        "share_of_product": _finite(row.flops / reference.flops) if reference else None,
        "share_of_copy": _finite(row.traffic_rate / reference.copy_rate) if reference else None,
        "seconds": row.timing.seconds,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
