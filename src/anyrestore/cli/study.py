"""`anyrestore study`: train matched variants of a network and compare them image by image."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli.options import positive
from anyrestore.cli.terminal import OK, say
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyrestore.cli.options import Subparsers
    from anyrestore.studies.catalog import Study
    from anyrestore.studies.running import Job
    from anyrestore.training.run import Run

EPILOG = """\
OUT/STUDY/VARIANT/seedS is an ordinary run with its results.json; `compare` takes such folders, or VARIANT
for all of its seeds. OUT/STUDY/table.txt and study.json hold what is printed. The same command again goes on
where it stopped.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "study",
        help="train matched variants and compare them",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="STUDY", nargs="?", help="which study (--list shows them)")
    parser.add_argument("--list", action="store_true", help="list the studies and leave")
    parser.add_argument("--show", action="store_true", help="print every variant's run as JSON and leave")
    parser.add_argument(
        "--budget",
        choices=("small", "paper"),
        default="small",
        help="small (default): minutes on two cores; paper: the paper's recipe",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder that holds the data sets")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where runs, results and tables go")
    parser.add_argument(
        "--seeds", type=positive, default=1, metavar="N", help="train with seeds 0 to N - 1 (default: 1)"
    )
    parser.add_argument(
        "--photographs",
        metavar="FOLDER[,FOLDER]",
        help="small: folders of clean pictures in DIR (default: those of `composite`, or all of DIR)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of every variant's run, e.g. steps=100; repeatable",
    )
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="variants trained side by side (default: 2 on a CPU)"
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train (default: auto)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train what is not trained yet, and print the table; or list the studies, or show one."""
    from anyrestore.studies.catalog import find_study  # noqa: PLC0415

    if args.list:
        for line in _listing():
            say(line)
        return OK
    if not args.study:
        raise UsageError("expected a study, came none; see study --list")
    study = find_study(args.study)
    if args.show:
        say(json.dumps(_shown(study, args), indent=1))
        return OK
    if args.out is None or (args.data is None and study.recipe is not None):
        raise UsageError("expected --data DIR and --out DIR beside the study; give both")
    return _study(study, args)


def _shown(study: Study, args: argparse.Namespace) -> dict[str, Any]:
    """What every variant is trained with."""
    if study.recipe is None:
        steps = _toy_steps(study, args)
        return {variant.name: {"steps": steps, "options": dict(variant.options)} for variant in study.trained}
    return {name: one.to_json() for name, one in _runs(study, args, seed=0).items()}


def _study(study: Study, args: argparse.Namespace) -> int:
    from anyrestore.storage import store_bytes  # noqa: PLC0415
    from anyrestore.studies import table  # noqa: PLC0415
    from anyrestore.studies.running import pending, read_measured, run_jobs  # noqa: PLC0415

    jobs = [job for seed in range(args.seeds) for job in _jobs(study, args, seed)]
    left = pending(jobs)
    ended_by: int | None = None
    try:
        if left:
            at_once = args.jobs or _side_by_side(args.device)
            ended_by = run_jobs(left, at_once=at_once, progress=not args.quiet and sys.stderr.isatty())
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "accelerate":
            raise UsageError("training needs more packages: pip install 'anyrestore[train]'") from error
        raise
    if ended_by is not None:
        return 128 + ended_by
    rows = table.rows_of(study, [one for job in jobs for one in read_measured(job)])
    text = table.as_text(study, rows, args.budget)
    folder = args.out / study.name
    store_bytes(f"{text}\n".encode(), folder / "table.txt", overwrite=True)
    content = json.dumps(table.as_dict(study, rows, args.budget), indent=1)
    store_bytes(content.encode(), folder / "study.json", overwrite=True)
    for line in text.splitlines():
        say(line)
    return OK


def _jobs(study: Study, args: argparse.Namespace, seed: int) -> list[Job]:
    from anyrestore.studies.running import Job  # noqa: PLC0415

    forced = tuple(variant for variant in study.variants if variant.expert is not None)
    runs = _runs(study, args, seed) if study.recipe is not None else {}
    return [
        Job(
            study=study,
            variant=variant,
            seed=seed,
            run=runs.get(variant.name),
            steps=0 if runs else _toy_steps(study, args),
            data=args.data,
            out=args.out / study.name,
            device=args.device,
            forced=forced,
            command=_command(study, args, seed),
        )
        for variant in study.trained
    ]


def _command(study: Study, args: argparse.Namespace, seed: int) -> str:
    """By which this seed can be measured again; where the folders lie is everyone's own business."""
    words = ["anyrestore", "study", study.name, "--budget", args.budget]
    words += [] if study.recipe is None else ["--data", "DATA"]
    words += ["--out", "OUT", "--seeds", str(seed + 1)]
    words += [] if args.photographs is None else ["--photographs", args.photographs]
    words += [word for setting in args.set for word in ("--set", setting)]
    words += [] if args.device == "auto" else ["--device", args.device]
    return shlex.join(words)


def _runs(study: Study, args: argparse.Namespace, seed: int) -> dict[str, Run]:
    from anyrestore.studies.budgets import find_photographs, run_of  # noqa: PLC0415

    if args.photographs is not None and args.budget == "paper":
        raise UsageError("expected --photographs with --budget small only; the paper's recipe names its sets")
    photographs: Sequence[str] = (
        find_photographs(args.data) if args.photographs is None else args.photographs.split(",")
    )
    if not all(photographs):
        raise UsageError(f"expected folders separated by commas, came --photographs {args.photographs!r}")
    return {
        variant.name: run_of(
            study, variant, args.budget, seed=seed, photographs=photographs, settings=args.set
        )
        for variant in study.trained
    }


def _toy_steps(study: Study, args: argparse.Namespace) -> int:
    from anyrestore.studies.toys import STEPS  # noqa: PLC0415

    if args.budget == "paper":
        raise UsageError(f"{study.name}: the paper gives no recipe for its toys; use --budget small")
    steps = STEPS
    for setting in args.set:
        name, _, text = setting.partition("=")
        if name != "steps" or not text.isdecimal() or int(text) < 1:
            raise UsageError(f"{study.name}: expected --set steps=N alone, came {setting!r}")
        steps = int(text)
    return steps


def _side_by_side(device: str) -> int:
    import torch  # noqa: PLC0415

    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return 1
    return min(2, os.cpu_count() or 1)


def _listing() -> list[str]:
    """A table of the studies."""
    from anyrestore.studies.budgets import small_steps  # noqa: PLC0415
    from anyrestore.studies.catalog import STUDIES  # noqa: PLC0415
    from anyrestore.studies.toys import STEPS  # noqa: PLC0415
    from anyrestore.tables import aligned  # noqa: PLC0415

    rows = [("study", "variants", "small", "paper", "question")]
    rows += [
        (
            study.name,
            str(len(study.variants)),
            f"{STEPS if study.recipe is None else small_steps(study)} steps",
            study.recipe or "",
            study.question,
        )
        for study in STUDIES.values()
    ]
    return aligned(rows, left=range(len(rows[0])))
