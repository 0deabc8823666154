"""`anyrestore gallery`: photographs damaged on purpose and restored, as pages for the docs."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers
    from anyrestore.evaluation.exhibits import Exhibit

EPILOG = """\
IN is a list of exhibits (a .toml file, as docs/gallery.toml), or clean photographs, files or folders, each
of which is shown under every --recipe. Under DIR are then gallery.md (before and after, of the first model),
gallery-compare.html (sliders, all models; needs no network) and the pictures of both, images/gallery/*.jpg.
They replace those of an earlier run. A photograph that cannot be read ends it, and no page is written.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "gallery",
        help="write pages with photographs before and after",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", nargs="+", type=Path, metavar="IN", help="a list, or photographs")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="where the pages go")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="a model, or a file of weights; repeatable, the first is the one of gallery.md (default: cea-t)",
    )
    parser.add_argument(
        "--recipe",
        action="append",
        metavar="RECIPE",
        help='what is done to photographs: "rain:0.7"; "" for nothing (default); repeatable',
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of what is random in that (default: 0)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Read, damage, restore, write."""
    from anyrestore.backends import load_model  # noqa: PLC0415
    from anyrestore.evaluation.exhibits import teller  # noqa: PLC0415
    from anyrestore.evaluation.showcase import COMPARISON, PICTURES, Showcase  # noqa: PLC0415
    from anyrestore.storage import make_folder, store_bytes  # noqa: PLC0415

    exhibits = _exhibits(args)
    names: list[str] = args.model or ["cea-t"]
    labels = [Path(name).stem if Path(name).suffix else name for name in names]
    if len({*labels, "input", "original"}) < len(labels) + 2:
        raise UsageError(
            f"--model: expected models of different names, came {', '.join(labels)}; rename a file"
        )
    make_folder(args.output / PICTURES)
    models = {label: teller(load_model(name)) for label, name in zip(labels, names, strict=True)}
    showcase = Showcase(exhibits, models, command=_command(args))
    written = {f"{PICTURES}/{name}": data for name, data in showcase.pictures().items()}
    written["gallery.md"] = showcase.markdown().encode()
    written[COMPARISON] = showcase.comparison().encode()
    for name, data in written.items():
        store_bytes(data, args.output / name, overwrite=True)
    total = sum(map(len, written.values()))
    terminal.say(f"{terminal.escape(args.output)}: {len(exhibits)} photographs, {total / 1e6:.2f} MB")
    return terminal.OK


def _exhibits(args: argparse.Namespace) -> list[Exhibit]:
    from anyrestore.evaluation.exhibits import from_pictures, read_list  # noqa: PLC0415

    if not any(path.suffix == ".toml" for path in args.input):
        return from_pictures(args.input, args.recipe or [""], args.seed or 0)
    if len(args.input) > 1 or args.recipe or args.seed is not None:
        raise UsageError(
            "gallery: expected one list, alone, which has the recipes and seeds of its own, came more; "
            "give the list only, or photographs with --recipe and --seed"
        )
    return read_list(args.input[0])


def _command(args: argparse.Namespace) -> str:
    names: list[str] = args.model or []
    recipes: list[str] = args.recipe or []
    words = ["anyrestore", "gallery", *map(str, args.input)]
    words += [word for name in names for word in ("--model", name)]
    words += [word for recipe in recipes for word in ("--recipe", recipe)]
    words += ["--seed", str(args.seed)] if args.seed is not None else []
    return shlex.join([*words, "-o", str(args.output)])
