"""`anyrestore evaluate`: scores of a model on the field's test sets, as a table, JSON and CSV."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli import terminal
from anyrestore.cli.options import positive, tile_side
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    import torch

    from anyrestore.cli.options import Subparsers
    from anyrestore.evaluation.benchmarks import Benchmark
    from anyrestore.evaluation.protocols import Protocol
    from anyrestore.evaluation.results import Results
    from anyrestore.evaluation.scores import Score

DEVICES = ("cpu", "cuda", "mps")
IDENTITY = "identity"
_NOT_THIS_FOLDER = ("run_differs", "data_differs")  # the same command would end in the same way
EPILOG = """\
ROOT holds the test sets, each in its own folder, as far as the benchmarks need them; `anyrestore data list`
says how to get one, docs/protocols.md what each benchmark and each protocol is. `all` is what CBSD68,
Rain100L and LOL v1 are enough for. aio3, aio5, cdd11, allweather and weatherbench are the papers' tables:
their published rows are printed above ours. cdd11-like is CDD-11's eleven categories made from CBSD68,
strengths each degradation from weak to strong. A folder with pictures in `input` and `target` is one too, and
so is a folder of clean photographs with --degrade, which takes them whole.

`--model identity` measures the degraded inputs themselves. With --out, a run that was stopped goes on where
it was; results of another model, protocol or other images are never mixed in.
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
        help="all (default), cdd11-like, strengths, aio3, aio5, cdd11, allweather, weatherbench, cbsd68, "
        "rain100l, lolv1, ..., one line of a table, or a folder; repeatable",
    )
    parser.add_argument(
        "--degrade",
        action="append",
        default=[],
        metavar="RECIPE[,RECIPE]",
        help="what is done to the photographs of a folder, as `anyrestore degrade` has it; repeatable",
    )
    parser.add_argument(
        "--centre",
        type=positive,
        metavar="N",
        help="with --degrade: measure the N x N pixels in the middle only, once restored with the whole "
        "picture, once alone",
    )
    parser.add_argument(
        "--root", type=Path, help="the folder that holds the test sets; folders of one's own need none"
    )
    parser.add_argument(
        "--protocol",
        default="promptir",
        metavar="NAME",
        help="promptir (default), moce, instructir, instructir-y, onerestore, restormer-y, lol-gtmean",
    )
    parser.add_argument(
        "--instruction",
        metavar="WORDS",
        help="what to tell a model that takes instructions (default: a fixed sentence for each benchmark)",
    )
    parser.add_argument(
        "--instruction-head",
        metavar="FILE",
        type=Path,
        help="the text head that the model was trained with (default: the one that ships)",
    )
    parser.add_argument("--lpips", action="store_true", help="measure LPIPS too (the extra lpips)")
    parser.add_argument(
        "--colour-shift", action="store_true", help="print it too (it is measured and stored anyway)"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N images of each benchmark"
    )
    parser.add_argument("--device", default="cpu", choices=DEVICES, help="where to compute (default: cpu)")
    parser.add_argument(
        "--tile",
        type=tile_side,
        default="auto",
        metavar="auto|off|N",
        help="tiles where an image fits in memory in no exact way (default), never, or of N pixels a side",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="keep everything in this folder, and go on in it"
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="with --out: also restored images, and sheets that show the errors",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the scores as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write every image's scores as CSV")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="with --out: also write a page with intervals of the means",
    )
    parser.add_argument("--title", metavar="WORDS", help="the heading of that page (default: Results)")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        type=Path,
        metavar="RESULTS",
        help="stored results that come first on that page; repeatable",
    )
    parser.add_argument(
        "--published",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="print the papers' rows above ours where there are some (default)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the files that were asked for."""
    from anyrestore.evaluation import benchmarks, protocols, report  # noqa: PLC0415

    if args.protocol not in protocols.PROTOCOLS:
        raise UsageError(
            f"Expected a protocol among {', '.join(protocols.PROTOCOLS)}, got {args.protocol!r}."
        )
    if args.centre is not None and not args.degrade:
        raise UsageError("--centre needs --degrade: it measures parts of clean photographs of one's own.")
    wanted = benchmarks.select(
        _split(args.benchmark or ["all"]), recipes=_split(args.degrade), centre=args.centre
    )
    _check_outputs(args)
    if args.root is None and any(benchmark.folder is None for benchmark in wanted):
        raise UsageError("Expected --root, the folder that holds the test sets, got none.")
    root = Path() if args.root is None else args.root
    beside = _read_beside(args.beside)
    for note in benchmarks.check_present(wanted, root):
        terminal.complain(note)
    scores: list[Score] = []
    try:
        about = _evaluate(args, wanted, root, protocols.PROTOCOLS[args.protocol], scores)
    except BaseException:
        if scores:  # not written as results, which would pass for whole ones
            terminal.say(report.as_table(scores, colour=args.colour_shift))
        raise
    try:
        _write(args, scores, about, beside)
    finally:  # first the files: whoever reads the tables may have stopped reading
        _print(args, scores)
    return terminal.OK


def _split(given: Sequence[str]) -> list[str]:
    return [name for names in given for name in names.split(",")]


def _print(args: argparse.Namespace, scores: Sequence[Score]) -> None:
    from anyrestore.evaluation import report  # noqa: PLC0415
    from anyrestore.evaluation.scores import told  # noqa: PLC0415

    terminal.say(f"model {args.model}" + (f", at most {args.limit} images of each" if args.limit else ""))
    terminal.say(report.as_table(scores, colour=args.colour_shift))
    if harm := report.as_harm(scores):
        terminal.say(terminal.escape(harm))
    for sentence, names in told(scores).items():
        terminal.say(terminal.escape(f'told "{sentence}": {", ".join(names)}'))
    for collection in report.collections_in(scores) if args.published else ():
        terminal.say("\n" + report.as_published_table(collection, scores, model=args.model))


def _evaluate(
    args: argparse.Namespace,
    wanted: Sequence[Benchmark],
    root: Path,
    protocol: Protocol,
    scores: list[Score],
) -> dict[str, Any]:
    """Fill `scores`; returns what else the results say about the run."""
    from anyrestore import provenance  # noqa: PLC0415
    from anyrestore.backends import load_model  # noqa: PLC0415
    from anyrestore.evaluation import journal, runner, sheets  # noqa: PLC0415
    from anyrestore.evaluation.instruction import instructor_for  # noqa: PLC0415
    from anyrestore.metrics import load_lpips  # noqa: PLC0415
    from anyrestore.zoo import crops_seen  # noqa: PLC0415

    device = _device(args.device)
    lpips = load_lpips() if args.lpips else None
    nothing = args.model == IDENTITY
    model = runner.identity if nothing else load_model(args.model).to(device)
    instructor = instructor_for(model, wanted, args.instruction, args.instruction_head)
    sha256 = None if nothing else _weights_sha256(args.model)
    head: Path | None = args.instruction_head
    settings: dict[str, Any] = {
        "weights": args.model if sha256 is None else sha256,  # a file may move
        "protocol": args.protocol,
        "lpips": args.lpips,
        "tile": args.tile,
        "device": args.device,
        "versions": provenance.versions(),
        "instruction_head": None if head is None else hashlib.sha256(head.read_bytes()).hexdigest(),
    }
    out: Path | None = args.out
    log = None if out is None else journal.Journal(out, settings)
    if log is not None and len(log):
        terminal.say(f"{len(log)} images are in {out} already", to=sys.stderr)
    try:
        for score in runner.iterate(
            model,
            wanted,
            root,
            protocol,
            limit=args.limit,
            device=device,
            tile=args.tile,
            lpips=lpips,
            journal=log,
            sheets=sheets.Sheets(out) if args.save and out is not None else None,
            instructor=instructor,
            progress=sys.stderr.isatty(),
        ):
            scores.append(score)  # noqa: PERF402 (what is finished stays when the next one fails)
    except BaseException as error:
        if log is not None and len(log) and getattr(error, "code", "") not in _NOT_THIS_FOLDER:
            terminal.say(f"{len(log)} images are kept in {out}; the same command goes on", to=sys.stderr)
        raise
    finally:
        if log is not None:
            log.close()
    return {
        "model": args.model,
        "weights_sha256": sha256,
        "crops": None if nothing else crops_seen(args.model),
        "limit": args.limit,
        "command": _command(args),
        "device": args.device,
        "tile": args.tile,
    }


def _write(
    args: argparse.Namespace, scores: Sequence[Score], about: dict[str, Any], beside: Sequence[Results]
) -> None:
    from anyrestore.evaluation import markdown, report, results  # noqa: PLC0415

    as_json, as_csv = results.as_json(scores, **about), report.as_csv(scores)
    out: Path | None = args.out
    if out is not None:
        _store(out / results.RESULTS, as_json)
        _store(out / "images.csv", as_csv)
    if args.json is not None:
        _store(args.json, as_json)
    if args.csv is not None:
        _store(args.csv, as_csv)
    if args.markdown is not None and out is not None:
        every = [*beside, results.read_results(out)]
        _store(
            args.markdown,
            markdown.as_markdown(every, target=str(args.markdown), title=args.title or "Results"),
        )


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out now, not after an hour of computing."""
    from anyrestore.storage import check_target, make_folder  # noqa: PLC0415

    for option, needed in (("--save", args.save), ("--markdown", args.markdown)):
        if needed and args.out is None:
            raise UsageError(f"{option} needs --out, the folder in which results are kept.")
    if args.title is not None and args.markdown is None:
        raise UsageError("--title needs --markdown, the page whose heading it is.")
    if args.beside and args.markdown is None:
        raise UsageError("--beside needs --markdown, the page on which the results stand beside each other.")
    for path in (args.json, args.csv, args.markdown):
        if path is not None:
            check_target(path, overwrite=True)
    if args.out is not None:
        make_folder(args.out.absolute().parent)


def _read_beside(paths: Sequence[Path]) -> list[Results]:
    from anyrestore.evaluation.results import read_results  # noqa: PLC0415

    return [read_results(path) for path in paths]


def _command(args: argparse.Namespace) -> str:
    """By which the scores can be measured again; where the sets lie is everyone's own business."""
    words = [
        "anyrestore",
        "evaluate",
        "--model",
        args.model,
        "--benchmark",
        ",".join(args.benchmark or ["all"]),
    ]
    words += ["--degrade", ",".join(args.degrade)] if args.degrade else []
    words += ["--centre", str(args.centre)] if args.centre is not None else []
    words += ["--root", "ROOT", "--protocol", args.protocol]
    words += ["--lpips"] if args.lpips else []
    words += [] if args.instruction is None else ["--instruction", args.instruction]
    words += [] if args.instruction_head is None else ["--instruction-head", str(args.instruction_head)]
    words += ["--limit", str(args.limit)] if args.limit else []
    words += ["--tile", str(args.tile)] if args.tile != "auto" else []
    words += ["--device", args.device] if args.device != "cpu" else []
    return shlex.join(words)


def _device(name: str) -> torch.device:
    import torch  # noqa: PLC0415

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[name]:
        raise UsageError(f"Expected a device that this machine has, got {name}; use --device cpu.")
    return torch.device(name)


def _weights_sha256(name: str) -> str | None:
    """Of the weights' file: the catalogue's, which was checked on loading, or computed."""
    from anyrestore.zoo import CATALOG, deciding_file  # noqa: PLC0415

    if name in CATALOG:
        return CATALOG[name].sha256
    return hashlib.sha256(deciding_file(Path(name)).read_bytes()).hexdigest()


def _store(path: Path, text: str) -> None:
    from anyrestore.storage import store_bytes  # noqa: PLC0415

    store_bytes(text.encode(), path, overwrite=True)
