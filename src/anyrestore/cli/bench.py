"""`anyrestore bench`: measurements of the software itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.cli.options import positive

if TYPE_CHECKING:
    from anyrestore.benchmark.feeding import Feeding
    from anyrestore.cli.options import Subparsers

_TILES = "tiles against the whole picture"
_DATA = "crops per second that a training mixture gives, and where the time goes"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("bench", help="measure the software itself", description=__doc__)
    whats = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    _add_tiles(whats)
    _add_data(whats)
    return parser


def _add_tiles(whats: Subparsers) -> None:
    tiles = whats.add_parser("tiles", help=_TILES, description=_TILES)
    tiles.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="pictures larger than the tiles")
    tiles.add_argument(
        "--model", metavar="NAME", help="a model or a .safetensors file (default: the default)"
    )
    tiles.add_argument(
        "--side", type=positive, action="append", metavar="N", help="a tile's longest side; repeatable (256)"
    )
    tiles.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_data(whats: Subparsers) -> None:
    data = whats.add_parser("data", help=_DATA, description=_DATA)
    data.add_argument("mixture", metavar="MIXTURE", help="a training mixture, such as composite")
    data.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="the folder that holds its data sets"
    )
    data.add_argument(
        "--workers", type=int, default=0, metavar="N", help="measure N worker processes as well (0)"
    )
    data.add_argument("--crop", type=positive, default=128, metavar="PX", help="side of the crops (128)")
    data.add_argument("--batch", type=positive, default=32, metavar="N", help="crops a batch (32)")
    data.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="length of every measurement (10)"
    )
    data.add_argument(
        "--cache-gb", type=float, default=4.0, metavar="G", help="memory for decoded pictures (4)"
    )
    data.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to degrade (cpu)")
    data.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Measure and print a table."""
    return _run_data(args) if args.what == "data" else _run_tiles(args)


def _run_tiles(args: argparse.Namespace) -> int:
    from anyrestore import image, zoo  # noqa: PLC0415
    from anyrestore.benchmark.tiles import compare_tiles  # noqa: PLC0415

    model = zoo.default_model() if args.model is None else args.model
    pictures = (image.to_tensor(image.read(path).pixels) for path in args.inputs)
    terminal.say(f"{model}, {len(args.inputs)} pictures: tiles against the whole picture")
    terminal.say("side  tiles     PSNR to whole   largest difference   time / whole")
    for row in compare_tiles(model, pictures, args.side or [256]):
        tiles = "shared" if row.share else "own"
        terminal.say(
            f"{row.side:4}  {tiles:7} {row.psnr_to_whole:12.2f} dB {row.largest:14.1f} / 255"
            f" {row.seconds:14.2f}"
        )
    return terminal.OK


def _run_data(args: argparse.Namespace) -> int:
    from anyrestore.benchmark.feeding import measure_feeding  # noqa: PLC0415
    from anyrestore.data.cache import capacity_of  # noqa: PLC0415
    from anyrestore.data.mixtures import MIXTURES  # noqa: PLC0415
    from anyrestore.data.samples import MixtureData  # noqa: PLC0415
    from anyrestore.errors import UsageError  # noqa: PLC0415

    if args.mixture not in MIXTURES:
        raise UsageError(f"expected a mixture among {', '.join(MIXTURES)}; got {args.mixture!r}")
    if args.workers < 0 or not args.seconds > 0:
        raise UsageError("expected a number of workers that is not negative, and more than 0 seconds")
    capacity = capacity_of(args.cache_gb)

    def make(cached: bool) -> MixtureData:  # noqa: FBT001 - the benchmark's own callback
        return MixtureData(MIXTURES[args.mixture], args.data, cache_bytes=capacity if cached else 0)

    # Missing names are told once, and the files counted.
    data = MixtureData(MIXTURES[args.mixture], args.data, warn=terminal.complain)
    terminal.say(
        f"{args.mixture}, {data.pictures:,} files, crops of {args.crop} px, batches of {args.batch}; "
        "milliseconds a crop and core, shares of them"
    )
    terminal.say(
        "pictures  processes  crops/s  per core         decode            cut        collate        degrade"
    )
    rows = measure_feeding(
        make,
        crop=args.crop,
        batch=args.batch,
        seconds=args.seconds,
        workers=args.workers,
        device=args.device,
    )
    for row in rows:
        terminal.say(_line(row))
    return terminal.OK


def _line(row: Feeding) -> str:
    state, processes = "warm" if row.warm else "cold", "this one" if not row.workers else f"{row.workers}"
    line = f"{state:8}  {processes:9} {row.crops_per_second:8,.0f} {row.per_core:9,.0f}"
    if row.parts is None:
        return f"{line}  (first batches after {row.start:.1f} s)"
    parts = (row.parts.read, row.parts.cut, row.parts.collate, row.parts.degrade)
    return line + "".join(f"  {part:7.3f} ({part / sum(parts):4.0%})" for part in parts)
