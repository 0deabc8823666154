"""Scores as a table for people, JSON for programs and CSV for plots.

JSON has no infinity: a PSNR of an exact copy is `null` there, and "exact" in the table.
"""

import csv
import dataclasses
import io
import json
import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anyrestore.errors import UsageError
from anyrestore.evaluation.runner import ImageScore, Score

__all__ = ["GroupMean", "as_csv", "as_dict", "as_json", "as_table", "group_means", "versions"]


@dataclass(frozen=True, kw_only=True)
class GroupMean:
    """The mean over the benchmarks of a group: it averages lines, not images."""

    group: str
    lines: int
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float
    gain: float


def group_means(scores: Sequence[Score]) -> list[GroupMean]:
    """Means over groups of which more than one line was measured."""
    means: list[GroupMean] = []
    for group in dict.fromkeys(score.group for score in scores):
        lines = [score for score in scores if score.group == group]
        if len(lines) > 1:
            means.append(
                GroupMean(
                    group=group,
                    lines=len(lines),
                    psnr=math.fsum(s.psnr for s in lines) / len(lines),
                    ssim=math.fsum(s.ssim for s in lines) / len(lines),
                    input_psnr=math.fsum(s.input_psnr for s in lines) / len(lines),
                    input_ssim=math.fsum(s.input_ssim for s in lines) / len(lines),
                    gain=math.fsum(s.psnr - s.input_psnr for s in lines) / len(lines),
                )
            )
    return means


def as_table(scores: Sequence[Score]) -> str:
    """A plain text table: one line for each benchmark, then the means of the groups.

    Raises:
        UsageError: The scores were measured under more than one protocol.
    """
    protocol = _protocol(scores)
    head = ("benchmark", "images", "input dB", "output dB", "gain dB", "input SSIM", "output SSIM", "s/image")
    rows = [
        (
            s.name,
            str(s.n),
            _db(s.input_psnr),
            _db(s.psnr),
            "" if s.gain is None else f"{s.gain:+.2f}",
            f"{s.input_ssim:.4f}",
            f"{s.ssim:.4f}",
            f"{s.seconds / s.n:.2f}",
        )
        for s in scores
    ]
    means = [
        (
            f"mean of {m.lines} {m.group}",
            "",
            _db(m.input_psnr),
            _db(m.psnr),
            f"{m.gain:+.2f}",
            f"{m.input_ssim:.4f}",
            f"{m.ssim:.4f}",
            "",
        )
        for m in group_means(scores)
    ]
    widths = [max(len(row[i]) for row in (head, *rows, *means)) for i in range(len(head))]
    rule = "  ".join("-" * width for width in widths)
    lines = [_line(head, widths), rule, *(_line(row, widths) for row in rows)]
    if means:
        lines += [rule, *(_line(row, widths) for row in means)]
    return "\n".join([f"protocol {protocol}", *lines])


def as_dict(scores: Sequence[Score], *, model: str, weights_sha256: str | None) -> dict[str, Any]:
    """Everything about a run that JSON can hold, at full precision.

    Args:
        scores: Of one protocol.
        model: The name or path that was asked for.
        weights_sha256: Of the weights' file; None if there is none.

    Raises:
        UsageError: The scores were measured under more than one protocol.
    """
    return {
        "model": model,
        "weights_sha256": weights_sha256,
        "protocol": _protocol(scores),
        "versions": versions(),
        "entries": [
            {
                "name": s.name,
                "group": s.group,
                "n": s.n,
                "psnr": _finite(s.psnr),
                "ssim": s.ssim,
                "input_psnr": _finite(s.input_psnr),
                "input_ssim": s.input_ssim,
                "gain": None if s.gain is None else _finite(s.gain),
                "seconds": s.seconds,
                "data_sha256": s.data_sha256,
            }
            for s in scores
        ],
        "groups": [
            {key: _finite(value) for key, value in dataclasses.asdict(mean).items()}
            for mean in group_means(scores)
        ],
    }


def as_json(scores: Sequence[Score], *, model: str, weights_sha256: str | None) -> str:
    """`as_dict` as text."""
    content = as_dict(scores, model=model, weights_sha256=weights_sha256)
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_csv(scores: Iterable[Score]) -> str:
    """One line for each image of each benchmark."""
    fields = [field.name for field in dataclasses.fields(ImageScore)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["benchmark", "protocol", *fields])
    for score in scores:
        for image in score.images:
            writer.writerow([score.name, score.protocol, *(getattr(image, field) for field in fields)])
    return text.getvalue()


def versions() -> dict[str, str]:
    """What computed the scores."""
    packages = {}
    for package in ("anyrestore", "torch", "numpy"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            packages[package] = "unknown"
    return {**packages, "python": platform.python_version()}


def _protocol(scores: Sequence[Score]) -> str:
    protocols = sorted({score.protocol for score in scores})
    if len(protocols) != 1:
        raise UsageError(
            f"Expected scores of one protocol, got {', '.join(protocols) or 'no scores'}; their numbers "
            "cannot be compared, so make one table for each."
        )
    return protocols[0]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _db(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "exact"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
