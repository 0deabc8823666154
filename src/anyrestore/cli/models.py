"""`anyrestore models`: the models that there are, what they cost and what they score."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from anyrestore.cli import terminal

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers

KEYS = ("name", "architecture", "parameters", "gmac", "weights", "license", "trained_on", "scores")


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("models", help="list the models", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a list of objects for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    from anyrestore import zoo  # noqa: PLC0415

    listed = [{key: getattr(entry, key) for key in KEYS} for entry in zoo.CATALOG.values()]
    if args.json:
        terminal.say(json.dumps(listed, indent=2))
        return terminal.OK
    rows = [("name", "architecture", "parameters", "GMAC", "weights", "license"), *map(_row, listed)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if index in (2, 3) else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        terminal.say("  ".join(cells).rstrip())
    return terminal.OK


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        entry["name"],
        entry["architecture"],
        f"{entry['parameters']:,}",
        f"{entry['gmac']:.2f}",
        entry["weights"] or "-",
        entry["license"] or "-",
    )
