"""`anyrestore degrade`: degrade pictures on purpose, by a recipe and a seed."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers
    from anyrestore.image import Picture


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("degrade", help="degrade pictures", description=__doc__)
    parser.add_argument("input", metavar="IN", help="a picture, or a folder of pictures")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="a file or a folder")
    parser.add_argument(
        "--recipe",
        required=True,
        help='degradations with severities in [0, 1], in order: "haze:0.5+rain:0.7"',
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="of all that is random, for each picture (default: 0)",
    )
    parser.add_argument(
        "--streaks", type=Path, metavar="DIR", help="rain from a folder of grey streak layers, not rendered"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")
    return parser


def run(args: argparse.Namespace) -> int:
    """Degrade; the results keep size, bit depth, alpha and metadata."""
    import torch  # noqa: PLC0415

    from anyrestore import image  # noqa: PLC0415
    from anyrestore.batch.jobs import check_places, plan  # noqa: PLC0415
    from anyrestore.batch.running import run_jobs  # noqa: PLC0415
    from anyrestore.cli.follow import Follower  # noqa: PLC0415
    from anyrestore.data.crops import covering_crop, draw  # noqa: PLC0415
    from anyrestore.data.images import list_pictures, load_pictures  # noqa: PLC0415
    from anyrestore.degradations import compose  # noqa: PLC0415

    recipe = compose.parse_recipe(args.recipe)
    layers = list_pictures(args.streaks) if args.streaks is not None else []

    def degrade(picture: Picture) -> Picture:
        generator = torch.Generator().manual_seed(args.seed)
        with torch.inference_mode():
            clean = image.to_tensor(picture.pixels)
            streaks = None
            if layers:
                (layer,) = load_pictures([layers[draw(0, len(layers), generator)]], grey=True, progress=False)
                height, width = clean.shape[-2:]
                streaks = covering_crop(layer, height, width, generator).float()[None] / 255
            degraded = compose.degrade(clean, recipe, generator, streaks=streaks)
        return dataclasses.replace(picture, pixels=image.from_tensor(degraded, like=picture.pixels))

    planned = plan([Path(args.input)], args.output)
    check_places(planned.jobs)
    follower = Follower(debug=args.debug)
    follower.refused(planned.refused)
    return follower.follow(run_jobs(planned.jobs, degrade, overwrite=args.overwrite), planned.jobs)
