"""`anyrestore restore`: restore pictures with a model of the zoo."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyrestore.cli import video
from anyrestore.cli.options import memory_size, positive, quality, tile_side
from anyrestore.cli.terminal import complain
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from anyrestore.batch.jobs import Job, Plan
    from anyrestore.batch.manifest import Manifest
    from anyrestore.batch.running import Result
    from anyrestore.cli.follow import Follower
    from anyrestore.cli.options import Subparsers
    from anyrestore.inference.restorer import Restorer

DEVICES = ("auto", "cpu", "cuda", "mps")
BACKENDS = ("torch", "compile", "openvino", "onnxruntime")

_NOT_SETTINGS = {
    *("verb", "run", "command", "debug", "inputs", "output"),
    *("recursive", "resume", "skip_existing", "overwrite"),
    *("report", "compare", "max_pixels", "model", "weights", "device", "threads", "memory", "scratch"),
    "isolate",
}
"""What may differ between a run and its resumption; of all other options, new ones too, it is assumed that
they change pixels. (The model and the device are named by what they are in the end. A picture that ran out of
memory may be given more, or a scratch folder.)"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("restore", help="restore pictures", description=__doc__)
    parser.add_argument("inputs", metavar="IN", nargs="+", help="a picture, a folder of pictures, or a video")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file or a folder (default, for one picture: NAME.restored.EXT)",
    )
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="folders in a folder too; results keep the tree"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was stopped: skip what it has done"
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="skip results that exist, whoever made them"
    )
    parser.add_argument(
        "--report", metavar="FILE", help="a line of JSON for every input; - for stdout, without other lines"
    )
    parser.add_argument("--model", metavar="NAME", help="a model's name, or a file as for --weights")
    parser.add_argument(
        "--instruction",
        metavar="WORDS",
        help='what to do, for a model that takes instructions: "it is too dark and there is rain on it"',
    )
    parser.add_argument(
        "--instruction-head",
        metavar="FILE",
        type=Path,
        help="the text head that the model was trained with (default: the one that ships)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        type=Path,
        help="a .safetensors, .pth, .pt or .ckpt file, or an .onnx file of anyrestore export; other people's "
        "networks need the extra foreign",
    )
    parser.add_argument(
        "--tile",
        metavar="auto|off|N",
        type=tile_side,
        default="auto",
        help="tiles only if nothing exact fits in memory, never, or of at most N pixels (default: auto)",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default: auto)")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="torch",
        help="who computes (default: torch); openvino and onnxruntime need the extra openvino or onnx",
    )
    parser.add_argument("--threads", metavar="N", type=positive, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        type=memory_size,
        help="the most that the process may occupy, e.g. 4G (default: a share of what is free)",
    )
    parser.add_argument(
        "--scratch",
        metavar="DIR|off",
        default="auto",
        help="a folder of a disk for what does not fit in memory (default: the system's for large files)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")
    parser.add_argument(
        "--compare", action="store_true", help="also write NAME.compare.png: before and after"
    )
    parser.add_argument(
        "--keep-gps",
        "--keep-metadata",
        action="store_true",
        help="keep all metadata, the place where a picture was taken too",
    )
    parser.add_argument(
        "--strip-metadata", action="store_true", help="drop EXIF, XMP, IPTC and text; colour profiles stay"
    )
    parser.add_argument(
        "--allow-truncated", action="store_true", help="take files that are cut short, with a warning"
    )
    parser.add_argument(
        "--fix-nonfinite", action="store_true", help="replace NaN and infinity in float pictures"
    )
    parser.add_argument("--quality", metavar="Q", type=quality, help="of lossy formats, 1 to 100")
    parser.add_argument(
        "--isolate",
        metavar="SECONDS",
        type=positive,
        nargs="?",
        const=60,
        help="decode in a process of its own, which may crash, or is ended after so many seconds (60)",
    )
    parser.add_argument("--max-pixels", metavar="N", type=positive, help="refuse larger pictures")
    video.add_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Restore; one line per picture on stdout, one sentence per failure on stderr."""
    from anyrestore.batch.jobs import check_places, plan  # noqa: PLC0415
    from anyrestore.batch.report import Report  # noqa: PLC0415
    from anyrestore.cli.follow import Follower  # noqa: PLC0415

    if args.keep_gps and args.strip_metadata:
        raise UsageError("--keep-metadata and --strip-metadata cannot both be meant; leave one out")
    if video.are_videos(args.inputs):
        return video.restore_videos(args, _restorer(args))
    planned = plan(
        [Path(name) for name in args.inputs], args.output, compare=args.compare, recursive=args.recursive
    )
    if args.resume and planned.folder is None:
        raise UsageError("--resume: only a folder of results can be gone on with; name it with -o FOLDER/")
    check_places(planned.jobs)
    restorer = _restorer(args)
    with contextlib.ExitStack() as stack:
        manifest = _manifest(args, planned, restorer.device.type)
        if manifest is not None:
            stack.callback(manifest.close)
        report = None if args.report is None else stack.enter_context(contextlib.closing(Report(args.report)))
        follower = Follower(debug=args.debug, report=report, quiet=args.report == "-")
        follower.refused(planned.refused)
        return _restore(args, planned.jobs, restorer, manifest, follower)


def _restorer(args: argparse.Namespace) -> Restorer:
    """The model, and how it is to be run."""
    from anyrestore.inference.restorer import Restorer  # noqa: PLC0415

    restorer = Restorer(
        _model(args.model, args.weights, args.tile),
        device=args.device,
        tile=args.tile,
        threads=args.threads,
        instruction=args.instruction,
        instruction_head=args.instruction_head,
        backend=args.backend,
        memory_limit=args.memory,
        scratch=None if args.scratch == "off" else args.scratch,
        progress=None,
    )
    if restorer.takes_instruction and args.instruction is None:
        raise UsageError('this model does what it is told; say it, for example: --instruction "too dark"')
    if restorer.understood:
        heard = ", ".join(f"{task} {share:.0%}" for task, share in restorer.understood.items() if share > 0.1)
        complain(f"understood: {heard}")
    return restorer


def _manifest(args: argparse.Namespace, planned: Plan, device: str) -> Manifest | None:
    """The list of what is done, for several pictures or where it is asked for."""
    from anyrestore import zoo  # noqa: PLC0415
    from anyrestore.batch.manifest import Manifest, describe_settings  # noqa: PLC0415

    if planned.folder is None or not (planned.many or args.resume):
        return None
    options = {key: value for key, value in vars(args).items() if key not in _NOT_SETTINGS}
    model = args.weights or args.model or zoo.default_model(device)
    settings = describe_settings(model, {"command": "restore", "device": device, **options})
    return Manifest(planned.folder, settings, restart=args.overwrite)


def _restore(
    args: argparse.Namespace,
    jobs: Sequence[Job],
    restorer: Restorer,
    manifest: Manifest | None,
    follower: Follower,
) -> int:
    """Do what is left to do of the jobs; the exit code."""
    from anyrestore import image  # noqa: PLC0415
    from anyrestore.batch.decoding import Decoder, Isolated  # noqa: PLC0415
    from anyrestore.batch.running import run_jobs  # noqa: PLC0415

    options = image.ReadOptions(
        allow_truncated=args.allow_truncated,
        fix_nonfinite=args.fix_nonfinite,
        strip_metadata=args.strip_metadata,
    )

    def decoder() -> Decoder:
        return Decoder(options) if args.isolate is None else Isolated(options, seconds=args.isolate)

    def run(some: Sequence[Job], *, overwrite: bool) -> Iterator[Result]:
        return run_jobs(
            some,
            restorer,
            overwrite=overwrite,
            keep_gps=args.keep_gps,
            quality=args.quality,
            max_pixels=args.max_pixels,
            scratch=restorer.scratch,
            memory_limit=args.memory,
            decoder=decoder,
        )

    if args.skip_existing:
        there = {job: None for job in jobs if os.path.lexists(job.target)}
        follower.skipped([*there.items()], code="output_exists", message="the results exist")
        jobs = [job for job in jobs if job not in there]
    if manifest is None:
        return follower.follow(run(jobs, overwrite=args.overwrite), jobs)
    pending = manifest.sort(jobs, resume=args.resume, overwrite=args.overwrite)
    follower.skipped(pending.done, code="already_done", message="done before, by the same settings")
    return follower.follow(manifest.run(pending, run), (*pending.new, *pending.redo))


def _model(name: str | None, weights: Path | None, tile: int | str) -> str | Path | nn.Module | None:
    """What the two options ask for: a name, a file's network, or nothing in particular."""
    from anyrestore import backends, zoo  # noqa: PLC0415
    from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG  # noqa: PLC0415

    if weights is not None and backends.is_graph(weights):
        if name is not None:
            raise UsageError(f"--weights: {weights} holds its network too; leave out --model")
        return weights
    if weights is None and (name is None or not zoo.is_file(name)):
        return name
    path = Path(name or "") if weights is None else weights
    model = zoo.load_model(path)
    if weights is not None and name is not None:
        if name not in CATALOG:
            raise UsageError(f"--model: expected one of {', '.join(CATALOG)} beside --weights, came {name!r}")
        architecture = CATALOG[name].architecture
        if not isinstance(model, ARCHITECTURES[architecture].model):
            raise UsageError(f"--weights: expected those of {architecture}, {weights} holds others")
    if isinstance(model, zoo.Foreign):
        complain(model.summary)
        if model.whole and isinstance(tile, int):
            complain(f"{model.architecture} works better without tiles; --tile auto cuts only to fit memory")
    elif zoo.is_public(path):
        complain(f"{type(model).__name__} weights, run by anyrestore's own network; licence as they came")
    return model
