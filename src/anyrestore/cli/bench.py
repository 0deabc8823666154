"""`anyrestore bench`: measurements of the software itself."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import terminal
from anyrestore.cli.options import memory_size, positive

if TYPE_CHECKING:
    from anyrestore.benchmark.feeding import Feeding
    from anyrestore.benchmark.survey import Survey
    from anyrestore.cli.options import Subparsers

_TILES = "tiles against the whole picture"
_COST = "parameters, MACs, peak memory and latency of models, side by side"
_COST_MORE = """\
Models are timed in rounds, one pass of each in an order drawn anew, and a float32 matrix product and a memory
copy with them; docs/cost.md says what each column is. Ctrl-C ends it and prints what was measured.
"""
_BACKENDS = "torch, torch.compile, OpenVINO and ONNX Runtime: start, time, memory"
_WHOLE = "whole pictures, from file to file: the way each goes, seconds, peak memory against the limit"
_FOLDER = "a folder's run, in which reading, model and writing overlap, against a loop of single calls"
_FLICKER = "what smoothing the hyper-adapter's factors does to a still, noisy scene"
_TRAIN = "crops per second of a recipe's training step, switch by switch, against the machine"
_TRAIN_MORE = """\
Rows: fp32, bf16, + channels_last, + compile, + fused optimiser, on a GPU + host ahead, with --data + feed;
each keeps the switches before it. Without --data crops are random. All rows are timed in one run, in an
order drawn anew each round, and a matrix product and a memory copy with them; docs/training.md says what
each column is. Ctrl-C ends it and prints what was measured.
"""
_DATA = "crops per second that a training mixture gives, and where the time goes"


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("bench", help="measure the software itself", description=__doc__)
    whats = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    _add_tiles(whats)
    _add_data(whats)
    _add_cost(whats)
    _add_backends(whats)
    _add_whole(whats)
    _add_folder(whats)
    _add_flicker(whats)
    _add_train(whats)
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


def _add_cost(whats: Subparsers) -> None:
    cost = whats.add_parser(
        "cost",
        help=_COST,
        description=f"{_COST}.",
        epilog=_COST_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cost.add_argument(
        "models", nargs="*", metavar="MODEL", help="models or .safetensors files (default: all of full size)"
    )
    cost.add_argument(
        "--size", type=_sizes, default=[256], metavar="PX[,PX]", help="sides of the square pictures (256)"
    )
    cost.add_argument("--batch", type=positive, default=1, metavar="N", help="pictures in a pass (1)")
    cost.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where (auto)")
    cost.add_argument("--threads", type=positive, metavar="N", help="CPU threads (torch's default)")
    cost.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="of the passes; the lower ones by autocast (float32)",
    )
    cost.add_argument("--channels-last", action="store_true", help="memory layout NHWC")
    cost.add_argument(
        "--warmup", type=positive, metavar="N", help="rounds before any is counted (GPU 100, CPU 1)"
    )
    cost.add_argument(
        "--repeats", type=positive, metavar="N", help="the most passes of a model (GPU 1000, CPU 100)"
    )
    cost.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="for the passes of a model at a size, about; at least 5 are made (GPU no limit, CPU 6)",
    )
    cost.add_argument(
        "--memory-gb",
        type=float,
        metavar="G",
        help="what a pass may take by the planner's estimate (a share of the free memory)",
    )
    cost.add_argument("--no-peak", action="store_true", help="do not measure peak memory")
    cost.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of random weights, picture and order (0)"
    )
    cost.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    cost.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="also write the tables as Markdown, into the marked place of a file that has one",
    )
    cost.add_argument(
        "--plot", type=Path, metavar="FILE", help="also plot latency against resolution (.svg or .png)"
    )
    cost.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_backends(whats: Subparsers) -> None:
    backends = whats.add_parser("backends", help=_BACKENDS, description=f"{_BACKENDS}; on the CPU.")
    backends.add_argument("models", nargs="*", metavar="MODEL", help="models (default: the default)")
    backends.add_argument(
        "--backend",
        default="torch,openvino,onnxruntime",
        metavar="NAME[,NAME]",
        help="which; compile takes minutes to start (default: torch,openvino,onnxruntime)",
    )
    backends.add_argument(
        "--size", type=_sizes, default=[256], metavar="PX[,PX]", help="sides of the square pictures (256)"
    )
    backends.add_argument("--threads", type=positive, metavar="N", help="CPU threads (torch's default)")
    backends.add_argument(
        "--seconds", type=float, default=6.0, metavar="S", help="for the passes of each at a size, about (6)"
    )
    backends.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_whole(whats: Subparsers) -> None:
    whole = whats.add_parser("whole", help=_WHOLE, description=f"{_WHOLE}; on the CPU.")
    whole.add_argument("inputs", nargs="*", type=Path, metavar="IN", help="pictures")
    whole.add_argument(
        "--model", action="append", metavar="NAME", help="a model; repeatable (default: the default)"
    )
    whole.add_argument(
        "--megapixels",
        type=_megapixels,
        default=[],
        metavar="MP[,MP]",
        help="make pictures of these sizes (default, without IN: 0.5,3)",
    )
    whole.add_argument(
        "--limit",
        type=_limits,
        default=[None],
        metavar="SIZE[,SIZE]",
        help="what the process may occupy, e.g. 600M,4G, or none (default: none)",
    )
    whole.add_argument(
        "--scratch", default="auto", metavar="DIR|off", help="where maps may lie that do not fit (auto)"
    )
    whole.add_argument("--threads", type=positive, metavar="N", help="CPU threads (torch's default)")
    whole.add_argument(
        "--plain", action="store_true", help="also by the plain forward: seconds, memory, difference"
    )
    whole.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _megapixels(text: str) -> list[float]:
    """Positive numbers, separated by commas."""
    try:
        sizes = [float(size) for size in text.split(",")]
    except ValueError:
        sizes = [0.0]
    if not all(0 < size <= 1000 for size in sizes):
        raise argparse.ArgumentTypeError(f"expected numbers above 0, 1000 at the most, got {text!r}")
    return sizes


def _limits(text: str) -> list[int | None]:
    """Sizes of memory, or "none", separated by commas."""
    return [None if one == "none" else memory_size(one) for one in text.split(",")]


def _add_folder(whats: Subparsers) -> None:
    folder = whats.add_parser("folder", help=_FOLDER, description=_FOLDER)
    folder.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="pictures, or folders of them")
    folder.add_argument("--model", metavar="NAME", help="a model or a weights file (default: the default)")
    folder.add_argument("--threads", type=positive, metavar="N", help="CPU threads (torch's default)")
    folder.add_argument("--writers", type=positive, default=1, metavar="N", help="threads that encode (1)")
    folder.add_argument("--repeats", type=positive, default=3, metavar="N", help="rounds (3)")
    folder.add_argument("--isolate", action="store_true", help="decode in a process of its own")
    folder.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_flicker(whats: Subparsers) -> None:
    flicker = whats.add_parser("flicker", help=_FLICKER, description=f"{_FLICKER}; docs/video.md")
    flicker.add_argument("photograph", type=Path, metavar="IN", help="a clean picture")
    flicker.add_argument("--model", metavar="NAME", help="a model with hyper-adapters (default: the default)")
    flicker.add_argument("--frames", type=positive, default=24, metavar="N", help="how many (24)")
    flicker.add_argument("--side", type=positive, default=256, metavar="PX", help="of the part taken (256)")
    flicker.add_argument(
        "--exposure", type=float, default=1.0, metavar="X", help="below 1 for low light (default: 1)"
    )
    flicker.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _add_train(whats: Subparsers) -> None:
    train = whats.add_parser(
        "train",
        help=_TRAIN,
        description=f"{_TRAIN}.",
        epilog=_TRAIN_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("recipe", metavar="RECIPE", help="whose step (train --list), or a run's run.json")
    train.add_argument("--data", type=Path, metavar="DIR", help="the folder that holds the data sets")
    train.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where (auto)")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the run; repeatable",
    )
    train.add_argument("--workers", type=int, default=0, metavar="N", help="processes of the feed (0)")
    train.add_argument(
        "--cache-gb", type=float, default=4.0, metavar="G", help="memory for the feed's pictures (4)"
    )
    train.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out, which takes minutes"
    )
    train.add_argument(
        "--seconds", type=float, default=6.0, metavar="S", help="for the windows of each row, about (6)"
    )
    train.add_argument("--minutes", type=float, metavar="M", help="say what fits into so long")
    train.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    train.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _sizes(text: str) -> list[int]:
    """Whole numbers of at least 1, separated by commas."""
    return [positive(size) for size in text.split(",")]


def run(args: argparse.Namespace) -> int:
    """Measure and print a table."""
    runs = {
        "tiles": _run_tiles,
        "data": _run_data,
        "cost": _run_cost,
        "backends": _run_backends,
        "whole": _run_whole,
        "folder": _run_folder,
        "flicker": _run_flicker,
        "train": _run_train,
    }
    return runs[args.what](args)


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


def _run_cost(args: argparse.Namespace) -> int:
    from anyrestore.benchmark import cost_plot, cost_report  # noqa: PLC0415
    from anyrestore.benchmark.survey import FULL_SIZE, Plan, Survey  # noqa: PLC0415
    from anyrestore.errors import UsageError  # noqa: PLC0415
    from anyrestore.storage import check_storable  # noqa: PLC0415

    if args.memory_gb is not None and not 0 < args.memory_gb < 1e6:
        raise UsageError(f"--memory-gb: expected more than 0, got {args.memory_gb}")
    plan = Plan(
        models=args.models or FULL_SIZE,
        sizes=args.size,
        batch=args.batch,
        device=args.device,
        precision=args.precision,
        channels_last=args.channels_last,
        threads=args.threads,
        warmup=args.warmup,
        repeats=args.repeats,
        seconds=args.seconds,
        budget=None if args.memory_gb is None else int(args.memory_gb * 1e9),
        peak=not args.no_peak,
        seed=args.seed,
    )
    # Found out now, not after minutes of measuring.
    for path in (args.json, args.markdown, args.plot):
        if path is not None:
            check_storable(path, overwrite=True)
    if args.plot is not None:
        cost_plot.check_plot(args.plot)
    if args.markdown is not None and args.markdown.exists():
        cost_report.into(args.markdown.read_text("utf-8"), "")
    survey = Survey(plan, say=_progress)
    try:
        survey.run()
    finally:  # Ctrl-C too: what was measured is printed
        _progress("")
        if survey.rows:
            _report_cost(survey, args)
    return terminal.OK


def _run_backends(args: argparse.Namespace) -> int:
    from anyrestore import zoo  # noqa: PLC0415
    from anyrestore.backends import BACKENDS  # noqa: PLC0415
    from anyrestore.benchmark.backends import as_table, measure_backends  # noqa: PLC0415
    from anyrestore.errors import UsageError  # noqa: PLC0415

    names = args.backend.split(",")
    if not set(names) <= set(BACKENDS) or len(set(names)) < len(names):
        raise UsageError(f"--backend: expected some of {', '.join(BACKENDS)}, each once, got {args.backend}")
    if not args.seconds > 0:
        raise UsageError(f"--seconds: expected more than 0, got {args.seconds}")
    rows = measure_backends(
        args.models or [zoo.default_model()],
        names,
        args.size,
        threads=args.threads,
        seconds=args.seconds,
        say=_progress,
    )
    _progress("")
    _table(as_table(rows))
    return terminal.OK


def _run_whole(args: argparse.Namespace) -> int:
    from anyrestore import zoo  # noqa: PLC0415
    from anyrestore.benchmark.whole import as_table, measure_whole  # noqa: PLC0415

    rows = measure_whole(
        args.model or [zoo.default_model()],
        args.inputs,
        args.megapixels or ([] if args.inputs else [0.5, 3.0]),
        args.limit,
        scratch=args.scratch,
        threads=args.threads,
        plain=args.plain,
        say=_progress,
    )
    _progress("")
    _table(as_table(rows))
    return terminal.OK if all(row.kept and row.way != "failed" for row in rows) else terminal.SOME_FAILED


def _run_folder(args: argparse.Namespace) -> int:
    import torch  # noqa: PLC0415

    from anyrestore.batch.decoding import Decoder, Isolated  # noqa: PLC0415
    from anyrestore.batch.jobs import plan_jobs  # noqa: PLC0415
    from anyrestore.benchmark.folder import as_table, measure_folder  # noqa: PLC0415
    from anyrestore.inference.restorer import Restorer  # noqa: PLC0415

    # (names of results that are never made: any folder will do)
    paths = [job.source for job in plan_jobs(args.inputs, Path(".anyrestore-bench") / "results")]
    restorer = Restorer(args.model, threads=args.threads)
    times = measure_folder(
        paths,
        restorer,
        repeats=args.repeats,
        writers=args.writers,
        decoder=(lambda: Isolated(seconds=60)) if args.isolate else Decoder,
        say=_progress,
    )
    _progress("")
    terminal.say(
        f"{times.pictures} pictures, {times.pixels / 1e6:.1f} MP, {args.repeats} rounds, "
        f"{torch.get_num_threads()} threads"
    )
    _table(as_table(times))
    terminal.say(f"gain {times.gain:.3f}, of {times.possible:.3f} possible")
    return terminal.OK


def _run_flicker(args: argparse.Namespace) -> int:
    from anyrestore.benchmark.flicker import as_table, measure_flicker  # noqa: PLC0415
    from anyrestore.errors import UsageError  # noqa: PLC0415

    if args.frames < 2 or not 0 < args.exposure <= 1:
        raise UsageError("expected at least 2 frames, and an exposure above 0 that is at most 1")
    rows = measure_flicker(
        args.photograph, model=args.model, frames=args.frames, side=args.side, exposure=args.exposure
    )
    _table(as_table(list(rows)))
    return terminal.OK


def _run_train(args: argparse.Namespace) -> int:
    from anyrestore.cli.train import extra_needed, read_run  # noqa: PLC0415
    from anyrestore.data.cache import capacity_of  # noqa: PLC0415
    from anyrestore.errors import UsageError  # noqa: PLC0415
    from anyrestore.storage import check_storable, store_bytes  # noqa: PLC0415

    if args.workers < 0:
        raise UsageError(f"--workers: expected a number that is not negative, got {args.workers}")
    if args.minutes is not None and not 0 < args.minutes < 1e6:
        raise UsageError(f"--minutes: expected more than 0, got {args.minutes:g}")
    if args.json is not None:  # found out now, not after minutes of measuring
        check_storable(args.json, overwrite=True)
    chosen = read_run(args.recipe, args.set)
    with extra_needed():
        from anyrestore.training import speed, speed_report  # noqa: PLC0415
    ladder = speed.Ladder(
        chosen,
        args.data,
        device=args.device,
        workers=args.workers,
        cache_bytes=capacity_of(args.cache_gb),
        compiled=not args.no_compile,
        seconds=args.seconds,
        say=_progress,
    )
    try:
        ladder.measure()
    finally:  # Ctrl-C too: what was measured is printed
        _progress("")
        if ladder.rungs:
            _table(speed_report.as_table(ladder))
            if args.json is not None:
                text = speed_report.as_json(ladder, shlex.join(_train_words(args)))
                store_bytes(text.encode(), args.json, overwrite=True)
    if args.minutes is not None and (line := speed_report.schedule_line(ladder, chosen, args.minutes)):
        terminal.say(line)
    return terminal.OK


def _train_words(args: argparse.Namespace) -> list[str]:
    """The command by which it can be done again, files left as they were named."""
    words = ["anyrestore", "bench", "train", args.recipe]
    for change in args.set:
        words += ["--set", change]
    defaults = (("device", "auto"), ("workers", 0), ("cache_gb", 4.0), ("seconds", 6.0))
    for name, default in (("data", None), *defaults, ("minutes", None), ("json", None)):
        value = getattr(args, name)
        words += [] if value == default else [f"--{name.replace('_', '-')}", str(value)]
    return words + (["--no-compile"] if args.no_compile else [])


def _table(text: str) -> None:
    for line in text.splitlines():
        terminal.say(line)


def _progress(line: str) -> None:
    """One line on stderr that replaces the one before, where stderr is a terminal."""
    if not sys.stderr.isatty():
        return
    print(f"\r{line[:78]:<78}", end="" if line else "\r", file=sys.stderr, flush=True)


def _report_cost(survey: Survey, args: argparse.Namespace) -> None:
    from anyrestore.benchmark import cost_plot, cost_report  # noqa: PLC0415
    from anyrestore.storage import store_bytes  # noqa: PLC0415

    _table(cost_report.as_table(survey))
    command = shlex.join(_words(args))
    if args.json is not None:
        store_bytes(cost_report.as_json(survey, command).encode(), args.json, overwrite=True)
    if args.markdown is not None:
        before = args.markdown.read_text("utf-8") if args.markdown.exists() else None
        text = cost_report.into(before, cost_report.as_markdown(survey, command))
        store_bytes(text.encode(), args.markdown, overwrite=True)
    if args.plot is not None:
        if any(row.timing.runs for row in survey.rows):
            store_bytes(cost_plot.plot(survey, args.plot.suffix), args.plot, overwrite=True)
        else:
            terminal.complain("nothing was timed, so there is no plot", about=args.plot)


def _words(args: argparse.Namespace) -> list[str]:
    """The command by which it can be done again, from what was understood, files left as they were named."""
    words = ["anyrestore", "bench", "cost", *args.models, "--size", ",".join(map(str, args.size))]
    for name, default in (("batch", 1), ("device", "auto"), ("precision", "float32"), ("seed", 0)):
        value = getattr(args, name)
        words += [] if value == default else [f"--{name}", str(value)]
    for name in ("threads", "warmup", "repeats", "seconds", "memory_gb", "json", "markdown", "plot"):
        value = getattr(args, name)
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    words += [f"--{name.replace('_', '-')}" for name in ("channels_last", "no_peak") if getattr(args, name)]
    return words


def _line(row: Feeding) -> str:
    state, processes = "warm" if row.warm else "cold", "this one" if not row.workers else f"{row.workers}"
    line = f"{state:8}  {processes:9} {row.crops_per_second:8,.0f} {row.per_core:9,.0f}"
    if row.parts is None:
        return f"{line}  (first batches after {row.start:.1f} s)"
    parts = (row.parts.read, row.parts.cut, row.parts.collate, row.parts.degrade)
    return line + "".join(f"  {part:7.3f} ({part / sum(parts):4.0%})" for part in parts)
