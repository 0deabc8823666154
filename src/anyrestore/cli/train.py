"""`anyrestore train`: train a recipe on the data sets of a folder; the same command again goes on with it."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli.options import positive
from anyrestore.cli.terminal import exit_code, say
from anyrestore.errors import AnyRestoreError, OutputError, UsageError

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers
    from anyrestore.training.run import Loss, Run

_EXTRA = ("accelerate", "tensorboard")  # packages of the extra `train`


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("train", help="train a model", description=__doc__)
    parser.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help="what to train (--list shows them), or a run's run.json"
    )
    parser.add_argument("--list", action="store_true", help="list the recipes and leave")
    parser.add_argument("--show", action="store_true", help="print the whole run as JSON and leave")
    parser.add_argument("--data", type=_folder, metavar="DIR", help="the folder that holds the data sets")
    parser.add_argument(
        "--out", type=_folder, metavar="DIR", help="the run's folder: weights, logs, checkpoints"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the run, e.g. optimizer.lr=1e-4, model.rank=4 or mixture=cdd11; repeatable",
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train (default: auto)"
    )
    parser.add_argument(
        "--workers", type=_count, default=0, metavar="N", help="processes that load pictures (default: 0)"
    )
    parser.add_argument(
        "--cache-gb", type=_amount, default=4.0, metavar="G", help="memory for decoded pictures (default: 4)"
    )
    parser.add_argument(
        "--minutes",
        type=_amount,
        default=math.inf,
        metavar="M",
        help="end within so long, with a checkpoint; the same command goes on",
    )
    parser.add_argument(
        "--export",
        type=_folder,
        metavar="DIR",
        help="at the end also write the weights, in float16 shards, and scores and speeds to this folder",
    )
    parser.add_argument(
        "--shard-mib", type=_size, default=15.0, metavar="S", help="size of a shard at most (default: 15)"
    )
    parser.add_argument(
        "--save-minutes",
        type=_amount,
        default=10.0,
        metavar="M",
        help="store a checkpoint at least so often (default: 10)",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="use at most N pictures of each data set")
    parser.add_argument(
        "--force", action="store_true", help="go on although the run or its data differ from the folder's"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument(
        "--channels-last", action="store_true", help="keep images channels-last, as tensor cores like them"
    )
    parser.add_argument("--no-tensorboard", action="store_true", help="no event files for TensorBoard")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train; or list the recipes, or show one."""
    if args.list:
        for line in _listing():
            say(line)
        return 0
    first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun started
    begun = time.monotonic()
    try:
        return _train(args, first=first, begun=begun)
    except (AnyRestoreError, OSError, MemoryError, RuntimeError) as error:
        if _memory_ran_out(error):  # perhaps of this process alone, so whichever it is says it
            raise AnyRestoreError(
                "memory ran out; lower phases.batch or phases.crop, or raise accumulate", code="out_of_memory"
            ) from error
        lost = _connection_lost(error)
        if first and lost:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise AnyRestoreError(
                f"the connection to another process of the run was lost ({first_line}); start the same "
                "command again to go on",
                code="process_lost",
            ) from error
        if first or args.debug or not (lost or isinstance(error, (AnyRestoreError, OSError))):
            raise
        return exit_code(error)  # the first process says why


def _train(args: argparse.Namespace, *, first: bool, begun: float) -> int:
    chosen = _chosen(args)
    if args.show:
        if first:
            say(json.dumps(chosen.to_json(), indent=1))
        return 0
    trainer = _trainer(chosen, args, first=first)
    ended_by = trainer.train(seconds=args.minutes * 60 - (time.monotonic() - begun))
    if first:
        say(f"{args.out / 'weights.safetensors'}  after {trainer.step} of {trainer.plan.steps} steps")
        if args.export is not None:
            _export(args)
    return 0 if ended_by is None else 128 + ended_by


def _export(args: argparse.Namespace) -> None:
    from anyrestore.training.export import export_run  # noqa: PLC0415

    written = export_run(args.out, args.export, most=int(args.shard_mib * 2**20))
    largest = max(path.stat().st_size for path in written)
    say(f"{args.export}  {len(written)} files, the largest of {largest:,} bytes")


def _memory_ran_out(error: BaseException) -> bool:
    if not isinstance(error, (MemoryError, RuntimeError)):
        return False
    from anyrestore.inference.memory import is_out_of_memory  # noqa: PLC0415

    return is_out_of_memory(error)


def _connection_lost(error: BaseException) -> bool:
    """Whether torch.distributed says that another process is gone; most of it comes as a RuntimeError."""
    signs = ("Connection closed by peer", "Connection reset", "gloo", "Gloo", "NCCL")
    return isinstance(error, RuntimeError) and (
        "Dist" in type(error).__name__ or any(sign in str(error) for sign in signs)
    )


def read_run(recipe: str | None, changes: Sequence[str]) -> Run:
    """A recipe, or a run's JSON file, with ``--set`` fields changed; also for `anyrestore bench train`.

    Raises:
        UsageError: there is no such recipe, file or field, or a value does not fit.
    """
    from anyrestore.training.configuration import change, from_json  # noqa: PLC0415
    from anyrestore.training.recipes import RECIPES  # noqa: PLC0415

    name = recipe or ""
    if name in RECIPES:
        base = RECIPES[name]()
    elif name.endswith(".json") and Path(name).is_file():
        base = from_json(_json(Path(name)))
    else:
        from anyrestore.training.reading import closest  # noqa: PLC0415

        came = repr(name) if name else "none"
        raise UsageError(
            f"expected a recipe or a run's JSON file, came {came}; see train --list{closest(name, RECIPES)}"
        )
    return change(base, changes)


def _chosen(args: argparse.Namespace) -> Run:
    """The run that the command asks for, checked as far as it can be without the data."""
    chosen = read_run(args.recipe, args.set)
    if args.show:
        return chosen
    if args.data is None or args.out is None:
        raise UsageError("expected --data DIR and --out DIR beside the recipe; give both")
    if not chosen.model.known:
        raise UsageError(
            f"this version has no network {chosen.model.name}; --set model.name=cea-s trains another with "
            "this recipe"
        )
    return chosen


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(
            f"expected a run as JSON in {str(path)!r}, but it cannot be read: {error}"
        ) from error


def _trainer(chosen: Run, args: argparse.Namespace, *, first: bool) -> Any:
    from anyrestore.data.cache import capacity_of  # noqa: PLC0415

    with extra_needed():
        from anyrestore.training.loop import Options, Trainer  # noqa: PLC0415
    cache_bytes = capacity_of(args.cache_gb)
    _make_folder(args.out, "--out")
    if args.export is not None:
        _make_folder(args.export, "--export")
    options = Options(
        device=args.device,
        workers=args.workers,
        cache_bytes=cache_bytes,
        limit=args.limit,
        save_seconds=args.save_minutes * 60,
        force=args.force,
        progress=first and not args.quiet,
        tensorboard=not args.no_tensorboard,
        compile=args.compile,
        channels_last=args.channels_last,
    )
    return Trainer(chosen, args.data, args.out, options)


@contextmanager
def extra_needed() -> Generator[None]:
    """Say what to install, where an import finds the packages of the extra `train` missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in _EXTRA:
            raise UsageError("training needs more packages: pip install 'anyrestore[train]'") from error
        raise


def _make_folder(out: Path, option: str) -> None:
    """Make a folder and see that files can be stored in it, before any long work.

    Raises:
        OutputError: they cannot.
    """
    from anyrestore.storage import check_storable, shown  # noqa: PLC0415

    try:
        if out.exists() and not out.is_dir():
            raise OutputError(
                f"expected a folder for {option}, but {shown(out)} is a file; give another name",
                code="output_unwritable",
            )
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"expected a folder for {option}, but {shown(out)} cannot be made: {error.strerror or error}; "
            "give another",
            code="output_unwritable",
        ) from error
    check_storable(out / "run.json", overwrite=True)


def _listing() -> list[str]:
    """A table of the recipes: a header, a row each, and what the mark means."""
    from anyrestore.tables import aligned  # noqa: PLC0415
    from anyrestore.training.recipes import RECIPES  # noqa: PLC0415

    rows = [("recipe", "mixture", "length", "crops a step", "optimizer", "loss")]
    missing = False
    for name, recipe in RECIPES.items():
        one = recipe()
        missing |= not one.model.known
        length = f"{one.epochs:g} epochs" if one.epochs is not None else f"{one.steps} steps"
        crops = dict.fromkeys(f"{phase.batch} x {phase.crop} px" for phase in one.phases)
        rows.append(
            (
                name if one.model.known else f"{name} *",
                one.mixture.name,
                length,
                ", ".join(crops),
                f"{one.optimizer.name} {one.optimizer.lr:g}",
                _terms(one.loss),
            )
        )
    lines = aligned(rows, left=range(len(rows[0])))
    if missing:
        lines += ["", "* this version has no such network; --set model.name=cea-s trains another so"]
    return lines


def _terms(loss: Loss) -> str:
    """`l1 + 0.1 fourier`."""
    weights = {name: float(getattr(loss, name)) for name in ("l1", "charbonnier", "fourier", "ms_ssim")}
    terms = [
        f"{'' if w == 1 else f'{w:g} '}{name}" for name, w in (weights | dict(loss.auxiliary)).items() if w
    ]
    return " + ".join(terms) + ("" if loss.balance == "none" else f", {loss.balance} balance")


def _count(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def _folder(text: str) -> Path:
    """A folder's name; an empty one would be the present folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, got ''")
    return Path(text)


def _size(text: str) -> float:
    """A finite number above 0."""
    value = _amount(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _amount(text: str) -> float:
    """A number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return value
