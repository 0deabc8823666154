"""`anyrestore evaluate`: scores of a model on the field's test sets, as a table, JSON and CSV."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.cli.options import positive
from anyrestore.errors import OutputError, UsageError

if TYPE_CHECKING:
    import torch

    from anyrestore.cli.options import Subparsers

DEVICES = ("cpu", "cuda", "mps")
IDENTITY = "identity"
EPILOG = """\
ROOT holds CBSD68/, Rain100L/{input,target}/ and LOLv1-eval15/{low,high}/, as far as the benchmarks need
them. `--model identity` measures the degraded inputs themselves. docs/protocols.md says what each
benchmark and each protocol is.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on test sets",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="a model, a .safetensors file, or identity"
    )
    parser.add_argument(
        "--benchmark",
        action="append",
        metavar="NAME[,NAME]",
        help="all (default), cbsd68, rain100l, lolv1, clean, synthetic, mixture, or one line; repeatable",
    )
    parser.add_argument("--root", required=True, type=Path, help="the folder that holds the test sets")
    parser.add_argument(
        "--protocol", default="promptir", metavar="NAME", help="promptir (default), moce, instructir"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N images of each benchmark"
    )
    parser.add_argument("--device", default="cpu", choices=DEVICES, help="where to compute (default: cpu)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the scores as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write every image's scores as CSV")
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, write the files that were asked for."""
    from anyrestore.evaluation import benchmarks, protocols, report, runner  # noqa: PLC0415
    from anyrestore.zoo import load_model  # noqa: PLC0415

    if args.protocol not in protocols.PROTOCOLS:
        raise UsageError(
            f"Expected a protocol among {', '.join(protocols.PROTOCOLS)}, got {args.protocol!r}."
        )
    wanted = benchmarks.select(name for names in args.benchmark or ["all"] for name in names.split(","))
    for path in (args.json, args.csv):  # found out now, not after an hour of computing
        if path is not None and not path.absolute().parent.is_dir():
            raise OutputError(
                f"Expected the folder of {path} to exist, and it does not; make it first.",
                code="output_unwritable",
            )
    device = _device(args.device)
    model = runner.identity if args.model == IDENTITY else load_model(args.model).to(device)
    scores = runner.evaluate(
        model,
        wanted,
        args.root,
        protocols.PROTOCOLS[args.protocol],
        limit=args.limit,
        device=device,
        progress=sys.stderr.isatty(),
    )
    terminal.say(f"model {args.model}" + (f", at most {args.limit} images of each" if args.limit else ""))
    terminal.say(report.as_table(scores))
    if args.json is not None:
        sha256 = None if args.model == IDENTITY else _weights_sha256(args.model)
        _store(args.json, report.as_json(scores, model=args.model, weights_sha256=sha256))
    if args.csv is not None:
        _store(args.csv, report.as_csv(scores))
    return terminal.OK


def _device(name: str) -> torch.device:
    import torch  # noqa: PLC0415

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[name]:
        raise UsageError(f"Expected a device that this machine has, got {name}; use --device cpu.")
    return torch.device(name)


def _weights_sha256(name: str) -> str | None:
    """Of the weights' file: the catalogue's, which was checked on loading, or computed."""
    from anyrestore.zoo import CATALOG  # noqa: PLC0415

    if name in CATALOG:
        return CATALOG[name].sha256
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def _store(path: Path, text: str) -> None:
    from anyrestore.storage import store_bytes  # noqa: PLC0415

    store_bytes(text.encode(), path, overwrite=True)
