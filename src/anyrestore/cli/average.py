"""`anyrestore average`: the mean of several weights of one network, as a file that `--model` takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.cli.options import check_weights_output, positive

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers

EPILOG = """\
Only weights that were trained from one start have a mean that is of use, such as a run and what it went on
from. Measure it (`anyrestore evaluate`) before you use it, and choose shares on other pictures than those of
the test.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "average",
        help="average the weights of training runs",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", metavar="WEIGHTS", nargs="+", help="models or files, two or more")
    parser.add_argument(
        "--shares", metavar="S,S", type=_numbers, default=(), help="of each in the mean (default: equal)"
    )
    parser.add_argument(
        "--crops",
        metavar="SIDE=N,...",
        type=_crops,
        help="how many crops of which side in pixels they have seen (default: as the longest trained says)",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the .safetensors file to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a result that exists")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the mean, as float16, and say its SHA-256."""
    from anyrestore.zoo import crops_seen, save_weights  # noqa: PLC0415
    from anyrestore.zoo.average import average  # noqa: PLC0415

    check_weights_output(args.output, overwrite=args.overwrite)
    network = average(args.weights, args.shares)
    known = [seen for name in args.weights if (seen := crops_seen(name)) is not None]
    crops = args.crops or max(known, key=lambda seen: sum(seen.values()), default=None)
    sha256 = save_weights(network, args.output, crops=crops)
    terminal.say(f"{terminal.escape(args.output)}: mean of {len(args.weights)}; SHA-256 {sha256}")
    return terminal.OK


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers between commas, got {text!r}") from error


def _crops(text: str) -> dict[int, int]:
    pairs = [word.partition("=") for word in text.split(",")]
    return {positive(side): positive(count) for side, _, count in pairs}
