"""`anyrestore train`: train a recipe on a folder of pictures; the same command goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli.options import positive
from anyrestore.cli.terminal import say
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers
    from anyrestore.training.run import Run


# What JSON has for the types of a run's fields; a field that is None takes text.
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "tuple": (list,),
    "dict": (dict,),
}


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("train", help="train a model", description=__doc__)
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="what to train; --list shows them")
    parser.add_argument("--list", action="store_true", help="list the recipes and leave")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the folder that holds the training pictures"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's folder: weights, logs, checkpoint")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the run, e.g. steps=2000 or start=cea-t; repeatable",
    )
    parser.add_argument(
        "--device", default="cpu", choices=("cpu", "cuda"), help="where to train (default: cpu)"
    )
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="parts of a batch side by side"
    )
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where that is safe")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="stop after so long")
    parser.add_argument("--limit", type=positive, metavar="N", help="use at most N pictures of each folder")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, or list the recipes."""
    from anyrestore.training.loop import Trainer  # noqa: PLC0415
    from anyrestore.training.recipes import RECIPES  # noqa: PLC0415

    if args.list:
        for name, recipe in RECIPES.items():
            say(f"{name:20} {(recipe.__doc__ or '').splitlines()[0]}")
        return 0
    if args.recipe not in RECIPES:
        raise UsageError(
            f"expected a recipe among {', '.join(RECIPES)}, came {args.recipe!r}; see train --list"
        )
    if args.data is None or args.out is None:
        raise UsageError("expected --data DIR and --out DIR beside the recipe; give both")
    trainer = Trainer(
        change(RECIPES[args.recipe](), args.set),
        args.data,
        args.out,
        device=args.device,
        workers=args.workers,
        bf16=args.bf16,
        limit=args.limit,
    )
    ended_by = trainer.train(seconds=args.minutes * 60)
    say(f"{args.out / 'weights.safetensors'}  after {trainer.step} of {trainer.run.steps} steps")
    return 0 if ended_by is None else 128 + ended_by


def change(run: Run, settings: list[str]) -> Run:
    """The run with ``field=value`` settings applied; values are JSON, or else plain text.

    Raises:
        UsageError: no such field, or a value of another type than the field's.
    """
    import dataclasses  # noqa: PLC0415

    plain = {
        f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.name not in ("phases", "layout")
    }
    changes = dict[str, Any]()
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in plain:
            raise UsageError(f"expected FIELD=VALUE with a field among {', '.join(plain)}, came {setting!r}")
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = text
        wanted = _JSON_TYPES.get(type(plain[name]).__name__, (str,))
        if not isinstance(value, wanted):
            raise UsageError(f"expected a {wanted[0].__name__} for {name}, came {text!r}")
        changes[name] = tuple(value) if wanted == (list,) else value
    return dataclasses.replace(run, **changes)
