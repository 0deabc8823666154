"""`anyrestore batch`: restore all pictures below a place, on one machine or many; resumes by itself."""

from __future__ import annotations

import argparse
import os
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from anyrestore.cli import terminal
from anyrestore.cli.options import memory_size, positive, quality, tile_side
from anyrestore.cli.restore import BACKENDS, DEVICES
from anyrestore.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from anyrestore.batch.lines import LineFile
    from anyrestore.batch.settings import Settings
    from anyrestore.batch.sharding import Shard
    from anyrestore.batch.staging import Row
    from anyrestore.batch.stores import Stamp, Store
    from anyrestore.cli.options import Subparsers

_STORING = (
    *("disk_full", "output_storage", "output_unwritable"),
    *("output_exists", "output_unsupported", "output_encoding"),
)
"""Codes of `OutputError`: rows have no class."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "batch", help="restore everything below a folder or URL, on many machines", description=__doc__
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder, or a URL such as s3://bucket/scans")
    parser.add_argument(
        "target", metavar="TARGET", help="a folder or URL of its own; what an earlier run stored stays"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="this process, or the workers of a Ray cluster (extra scale; default: local)",
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="do part I of N only, from 1/N to N/N; the parts never meet"
    )
    parser.add_argument(
        "--workers", metavar="N", type=positive, help="of Ray (default: one per GPU, else one per core)"
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=positive,
        default=2,
        help="with Ray: how often a picture is tried again whose worker died (default: 2)",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="a JSON line for each picture; with --shard 3/8 its name gets -3-of-8",
    )
    parser.add_argument("--model", metavar="NAME", help="a model's name, or a weights file")
    parser.add_argument("--instruction", metavar="WORDS", help="what to do, for a model that is told")
    parser.add_argument("--tile", metavar="auto|off|N", type=tile_side, default="auto", help="as for restore")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="as for restore")
    parser.add_argument("--backend", choices=BACKENDS, default="torch", help="as for restore")
    parser.add_argument("--threads", metavar="N", type=positive, help="CPU threads of each worker")
    parser.add_argument("--memory", metavar="SIZE", type=memory_size, help="of each worker, as for restore")
    parser.add_argument("--scratch", metavar="DIR|off", default="auto", help="as for restore")
    parser.add_argument("--quality", metavar="Q", type=quality, help="of lossy formats, 1 to 100")
    parser.add_argument("--keep-gps", action="store_true", help="keep the place where a picture was taken")
    parser.add_argument("--max-pixels", metavar="N", type=positive, help="refuse larger pictures")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results of other settings, and files that no batch made",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what is not done yet; a line per picture on stdout, one sentence per failure on stderr."""
    from anyrestore.batch import stores  # noqa: PLC0415
    from anyrestore.batch.records import Records  # noqa: PLC0415
    from anyrestore.batch.sharding import Shard  # noqa: PLC0415
    from anyrestore.batch.staging import failed, row_of  # noqa: PLC0415

    if args.engine != "ray" and args.workers is not None:
        raise UsageError("--workers is for --engine ray; here, run several shards, or use --threads")
    shard = Shard() if args.shard is None else Shard.parse(args.shard)
    stores.check_target(args.target)
    source, target = stores.open_store(args.source), stores.open_store(args.target)
    stores.check_apart(source, target)
    planned, bad = _plan(source, target, shard)
    settings = _settings(args)
    refused = UsageError("its name leads out of its folder; rename it")
    changing = settings.that_change_results()
    with (
        closing(Records(target, shard, changing, planned, overwrite=args.overwrite)) as records,
        closing(_Following(args.report, shard, len(planned) + len(bad))) as following,
    ):
        for name in bad:
            following.take(failed(source, target, name, refused))
        for name, stored in records.done.items():
            following.take(
                row_of(source, target, name, status="skipped", size=stored.size, sha256=stored.sha256)
            )
        left = [name for name in planned if name not in records.done]
        if left:
            with _rows(left, source, target, settings, args) as rows:
                for row in rows:
                    if row["status"] == "done":
                        records.add(row["name"], stores.Stored(row["size"], row["sha256"]))
                    following.take(row)
    return following.exit_code()


def _plan(source: Store, target: Store, shard: Shard) -> tuple[dict[str, Stamp], list[str]]:
    """The shard's pictures, and names that cannot be stored under themselves."""
    from anyrestore.batch import stores  # noqa: PLC0415

    results = stores.inside(target, source)
    found = {
        name: stamp
        for name, stamp in source.listing().items()
        if results is None or not name.startswith(results)
    }
    if not found:
        raise UsageError(f"no pictures below {source.place}; expected names such as .png and .jpg in it")
    mine = [name for name in found if shard.holds(name)]
    return (
        {name: found[name] for name in mine if stores.is_safe(name)},
        [name for name in mine if not stores.is_safe(name)],
    )


def _settings(args: argparse.Namespace) -> Settings:
    from anyrestore import zoo  # noqa: PLC0415
    from anyrestore.batch.settings import Settings  # noqa: PLC0415

    # One name for all machines, whatever they have: no two models in one target.
    model = args.model or zoo.default_model("cuda" if args.device == "cuda" else "cpu")
    return Settings(
        # Workers of Ray have a working directory of their own.
        model=os.path.abspath(model) if zoo.is_file(model) else model,  # noqa: PTH100 (a name or a path)
        device=args.device,
        tile=args.tile,
        backend=args.backend,
        instruction=args.instruction,
        quality=args.quality,
        keep_gps=args.keep_gps,
        max_pixels=args.max_pixels,
        threads=args.threads,
        memory_limit=args.memory,
        scratch=None if args.scratch == "off" else args.scratch,
    )


@contextmanager
def _rows(
    names: Sequence[str], source: Store, target: Store, settings: Settings, args: argparse.Namespace
) -> Generator[Iterator[Row]]:
    """What the engine makes of names, as it comes; leaving the block stops the engine."""
    if args.engine == "ray":
        from anyrestore.batch.ray_engine import restore_with_ray  # noqa: PLC0415

        places = [os.path.abspath(one.place) if one.is_local else one.place for one in (source, target)]  # noqa: PTH100
        rows = restore_with_ray(
            names, places[0], places[1], settings, workers=args.workers, retries=args.retries
        )
    else:
        from anyrestore.batch.staging import restore_names  # noqa: PLC0415

        restorer = settings.restorer()
        if restorer.takes_instruction and settings.instruction is None:
            raise UsageError('this model does what it is told; say it, for example: --instruction "too dark"')
        rows = restore_names(names, source, target, restorer, settings, scratch=restorer.scratch)
    with closing(rows):
        yield rows


class _Following:
    """What the user sees of the rows: a bar, lines, the report, the exit code."""

    def __init__(self, report: Path | None, shard: Shard, expected: int) -> None:
        self._expected = expected
        self._codes = list[str | None]()
        self._bar = tqdm(total=expected, delay=1, unit="picture", leave=False, disable=None)
        self._report: LineFile | None = None
        if report is not None:
            from anyrestore.batch.report import open_report  # noqa: PLC0415

            self._report = open_report(report.with_name(f"{report.stem}{shard.suffix}{report.suffix}"))

    def close(self) -> None:
        """Close the report."""
        self._bar.close()
        if self._report is not None:
            self._report.close()

    def take(self, row: Row) -> None:
        """Tell of one picture."""
        self._codes.append(row["code"])
        if self._report is not None:
            self._report.add(row)
        with tqdm.external_write_mode():  # lines go above a bar, not through it
            _say(row)
        self._bar.update()

    def exit_code(self) -> int:
        """As for restore: a storage that failed, all failed, some, or none."""
        bad = [code for code in self._codes if code is not None]
        if len(self._codes) < self._expected:
            left = self._expected - len(self._codes)
            terminal.complain(f"stopped because the disk is full; not tried: {left} pictures")
        if any(code in _STORING for code in bad):
            return terminal.OUTPUT_FAILED
        if len(bad) < self._expected:
            return terminal.SOME_FAILED if bad else terminal.OK
        return terminal.ALL_FAILED if bad else terminal.OK


def _say(row: Row) -> None:
    name = row["name"]
    for warning in row["warnings"]:
        terminal.complain(f"warning: {warning}", about=name)
    if row["status"] == "failed":
        terminal.complain(row["message"], about=name)
    elif row["status"] == "done":
        size = f"{row['width']}x{row['height']}"
        terminal.say(
            f"{terminal.escape(name)} -> {terminal.escape(row['output'])}  {size}  {row['seconds']:.1f} s"
        )
