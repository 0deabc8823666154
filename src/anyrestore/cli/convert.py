"""`anyrestore convert`: weights of a public repository as a file that `--model` takes; none of it is run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.cli.options import check_weights_output
from anyrestore.errors import ModelError

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("convert", help="read weights of a public repository", description=__doc__)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="a .pt, .pth, .ckpt or .safetensors file"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="the .safetensors file to write"
    )
    parser.add_argument(
        "--architecture", metavar="NAME", help="what the weights are of (default: what their names tell)"
    )
    parser.add_argument("--half", action="store_true", help="store float16, half the size (default: float32)")
    parser.add_argument("--overwrite", action="store_true", help="replace a result that exists")
    return parser


def run(args: argparse.Namespace) -> int:
    """Convert one file and say what it was."""
    import torch  # noqa: PLC0415

    from anyrestore.benchmark.cost import count_parameters  # noqa: PLC0415
    from anyrestore.zoo.convert.files import convert_file  # noqa: PLC0415
    from anyrestore.zoo.weights import save_weights  # noqa: PLC0415

    check_weights_output(args.output, overwrite=args.overwrite)
    try:
        model = convert_file(args.checkpoint, args.architecture)
    except ModelError as error:
        if (other := _runs_as(args.checkpoint, error)) is None:
            raise
        raise ModelError(
            f"{error}; they are of {other} and need no conversion: use anyrestore restore --weights "
            f"{args.checkpoint}",
            code=error.code,
        ) from error
    dtype = torch.float16 if args.half else torch.float32
    save_weights(model, args.output, dtype=dtype, notes=f"converted from {args.checkpoint.name}")
    terminal.say(
        f"{terminal.escape(args.output)}: {type(model).__name__}, {count_parameters(model):,} parameters; "
        "the licence of the weights is the one they came with"
    )
    return terminal.OK


def _runs_as(path: Path, error: ModelError) -> str | None:
    """What a file that no converter knows holds, if `restore` takes it as it is."""
    from anyrestore.zoo import Foreign, load_model  # noqa: PLC0415

    if error.code != "bad_weights":
        return None
    try:
        model = load_model(path)
    except ModelError:
        return None
    return model.architecture if isinstance(model, Foreign) else type(model).__name__
