"""`anyrestore bench`: measurements of the software itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.cli.options import positive

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("bench", help="measure the software itself", description=__doc__)
    parser.add_argument("what", choices=("tiles",), help="tiles: tiles against the whole picture")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="pictures larger than the tiles")
    parser.add_argument(
        "--model", metavar="NAME", help="a model or a .safetensors file (default: the default)"
    )
    parser.add_argument(
        "--side", type=positive, action="append", metavar="N", help="a tile's longest side; repeatable (256)"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure and print a table."""
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
