"""`anyrestore compare`: is B better than A, and how sure is that? Image by image, on stored results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli import terminal
from anyrestore.cli.options import positive
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers
    from anyrestore.evaluation.results import Results

EPILOG = """\
Results are what `anyrestore evaluate` stored: the file of --json, or the folder of --out. A folder that holds
several of them stands for all of them, as training runs with different seeds.

  anyrestore compare A B                          one run each
  anyrestore compare --a A1 A2 A3 --b B1 B2 B3    several runs each, paired on the images' means over runs
  anyrestore compare --summary A1 A2 A3           mean and standard deviation over the runs of one model
  anyrestore compare --slope A B C                one model after more and more crops: dB per doubling

docs/comparing.md defines every number.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "compare",
        help="is one model better than another, and how sure is that",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS", help="A and B: files or folders")
    parser.add_argument("--a", nargs="+", type=Path, metavar="RESULTS", help="the runs of A")
    parser.add_argument("--b", nargs="+", type=Path, metavar="RESULTS", help="the runs of B")
    parser.add_argument("--summary", action="store_true", help="sum up the runs of one model instead")
    parser.add_argument(
        "--slope", action="store_true", help="score against the crops that the weights have seen, instead"
    )
    parser.add_argument(
        "--crops",
        type=_crops,
        default=(),
        metavar="N,N",
        help="with --slope: crops seen, in the order of the results (default: as the results say)",
    )
    parser.add_argument(
        "--benchmark",
        action="append",
        metavar="NAME[,NAME]",
        help="only these entries or groups, and their mean; repeatable",
    )
    parser.add_argument(
        "--metric", default="psnr", metavar="NAME", help="psnr (default), ssim, lpips or colour_shift"
    )
    parser.add_argument(
        "--resamples", type=positive, default=10_000, metavar="N", help="of the bootstrap (default: 10000)"
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the resamples (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all of it as JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Compare, print the table, write the file that was asked for."""
    from anyrestore.evaluation import comparison, slope  # noqa: PLC0415
    from anyrestore.evaluation.results import find_results  # noqa: PLC0415
    from anyrestore.storage import check_target, store_bytes  # noqa: PLC0415

    sides = _sides(args)
    chosen: list[str] = args.benchmark or []
    if args.json is not None:
        check_target(args.json, overwrite=True)
    how: dict[str, Any] = {
        "metric": args.metric,
        "benchmarks": [name for names in chosen for name in names.split(",")],
        "resamples": args.resamples,
        "seed": args.seed,
    }
    read: list[list[Results]] = [[run for path in side for run in find_results(path)] for side in sides]
    if args.slope:
        steep = slope.slopes(read[0], crops=args.crops, **how)
        text, stored = slope.table(steep), slope.as_dict(steep)
    elif len(read) == 1:
        found = comparison.summarise(read[0], **how)
        text, stored = comparison.summary_table(found), comparison.as_dict(found)
    else:
        found = comparison.compare(read[0], read[1], **how)
        text, stored = comparison.comparison_table(found), comparison.as_dict(found)
    for line in text.splitlines():
        terminal.say(terminal.escape(line))
    if args.json is not None:
        content = json.dumps(stored, indent=2, allow_nan=False) + "\n"
        store_bytes(content.encode(), args.json, overwrite=True)
    return terminal.OK


def _sides(args: argparse.Namespace) -> list[list[Path]]:
    """The runs of A and of B, or of the one model that is to be summed up, or followed."""
    if args.crops and not args.slope:
        raise UsageError("--crops needs --slope, which is drawn against them.")
    if args.summary or args.slope:
        if not args.results or args.a or args.b or (args.summary and args.slope):
            word = "--slope" if args.slope else "--summary"
            raise UsageError(f"Expected the runs of one model after {word}, and nothing else; see --help.")
        return [args.results]
    if args.a and args.b and not args.results:
        return [args.a, args.b]
    if len(args.results) == 2 and not (args.a or args.b):
        return [[path] for path in args.results]
    raise UsageError(
        "Expected two results, A and B, or --a RESULTS... and --b RESULTS...; "
        "to sum up the runs of one model give --summary RESULTS..., to follow one --slope RESULTS..."
    )


def _crops(text: str) -> tuple[int, ...]:
    numbers = text.replace("_", "").split(",")
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"expected whole numbers above 0 like 189144,222744, got {text!r}")
    return tuple(map(int, numbers))


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number that is not negative, got {text!r}")
    return int(text)
