"""`anyrestore report`: stored results as one HTML page, with tables, plots and pictures to slide over."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers

EPILOG = """\
RUN is what `anyrestore evaluate` stored: the folder of --out (with --save it holds pictures), or the file of
--json. Of several runs the others are compared with the first. The page needs no other file and no network.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "report",
        help="write stored results as one HTML page",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="results: folders or files")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the page, as in report.html"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Read the results, write the page."""
    from anyrestore.evaluation.page import page  # noqa: PLC0415
    from anyrestore.evaluation.results import find_results  # noqa: PLC0415
    from anyrestore.storage import check_target, store_bytes  # noqa: PLC0415

    check_target(args.output, overwrite=True)
    runs = [run for path in args.runs for run in find_results(path)]
    # Names of files may be bytes that are no UTF-8.
    text = page(runs).encode("utf-8", "backslashreplace")
    store_bytes(text, args.output, overwrite=True)
    terminal.say(f"{terminal.escape(args.output)}: {len(text) / 1e6:.1f} MB, {len(runs)} runs")
    return terminal.OK
