"""`anyrestore data`: the public data sets: what there are, whether a copy is right, how to get one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli import terminal
from anyrestore.errors import DataError, OutputError, UsageError
from anyrestore.tables import aligned

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers
    from anyrestore.data.catalog import DataSet
    from anyrestore.data.check import Report

SHOWN = 20  # so many names of a kind are printed; --json has all
EPILOG = """\
DIR is one folder that holds the data sets, each in its own folder under one of its usual names.
docs/data.md shows the layouts. `check` ends with 0 if every set is the right copy, 1 if some are not,
3 if none is there; `check all` looks at what is there.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "data",
        help="list, check and prepare data sets",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the data sets; with names, all about these")
    listing.add_argument("names", nargs="*", metavar="NAME", help="a data set")
    listing.add_argument("--json", action="store_true", help="print a list of objects for programs")
    listing.add_argument("--layout", action="store_true", help="print where the pictures of each belong")
    check = actions.add_parser("check", help="say whether copies are complete and the right ones")
    check.add_argument("names", nargs="+", metavar="NAME", help="a data set, cdd11/haze for a subset, or all")
    check.add_argument("--root", required=True, type=Path, metavar="DIR", help="the folder with the sets")
    check.add_argument("--split", metavar="S", help="only this part: train, test, ... (default: all there)")
    check.add_argument("--json", type=Path, metavar="FILE", help="also write the reports as JSON")
    prepare = actions.add_parser("prepare", help="download, cut or explain a data set")
    prepare.add_argument("name", metavar="NAME", help="a data set")
    prepare.add_argument("--root", required=True, type=Path, metavar="DIR", help="the folder for the sets")
    return parser


def run(args: argparse.Namespace) -> int:
    """List, check or prepare."""
    return {"list": _list, "check": _check, "prepare": _prepare}[args.action](args)


# --------------------------------------------------------------------------------------------
# list


def _list(args: argparse.Namespace) -> int:
    from anyrestore.data.prepare import explain  # noqa: PLC0415

    entries = _entries(args.names)
    if args.json:
        terminal.say(json.dumps([_as_object(entry) for entry in entries], indent=2))
    elif args.layout:
        for line in layout_table(entries):
            terminal.say(line)
    elif args.names:
        for entry in entries:
            for line in explain(entry):
                terminal.say(line)
    else:
        for line in table(entries):
            terminal.say(line)
    return terminal.OK


def table(entries: list[DataSet]) -> list[str]:
    """The data sets as lines of one table."""
    rows = [("name", "task", "pictures", "access", "licence", "page")]
    for entry in entries:
        counts = ", ".join(f"{name} {split.count or '?'}" for name, split in entry.splits.items())
        rows.append((entry.name, entry.task, counts, entry.access, entry.licence, entry.page))
    return aligned(rows, left=range(len(rows[0])))


def layout_table(entries: list[DataSet]) -> list[str]:
    """Where the pictures of each set belong, as lines of one table."""
    from anyrestore.data.prepare import layouts  # noqa: PLC0415

    rows = [("name", "split, folders under the root")]
    rows.extend((entry.name, line) for entry in entries for line in layouts(entry))
    return aligned(rows, left=range(len(rows[0])))


def _entries(names: list[str]) -> list[DataSet]:
    from anyrestore.data.catalog import CATALOG  # noqa: PLC0415

    for name in names:
        if name.lower() not in CATALOG:
            raise UsageError(f"Expected a data set among {', '.join(CATALOG)}, got {name!r}.")
    return [CATALOG[name.lower()] for name in names] or list(CATALOG.values())


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise UsageError(f"Expected a folder at {root}, and there is none; give the data sets' folder.")


def _as_object(entry: DataSet) -> dict[str, Any]:
    from anyrestore.data.prepare import layouts  # noqa: PLC0415

    keys = ("name", "title", "task", "pairing", "page", "licence", "access", "how", "doubts")
    return {
        **{key: getattr(entry, key) for key in keys},
        "splits": {name: split.count for name, split in entry.splits.items()},
        "subsets": list(entry.subsets),
        "layout": layouts(entry),
    }


# --------------------------------------------------------------------------------------------
# check


def _check(args: argparse.Namespace) -> int:
    from anyrestore.data.catalog import CATALOG  # noqa: PLC0415

    _check_root(args.root)
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise OutputError(
            f"Expected the folder of {args.json} to exist, and it does not; make it first.",
            code="output_unwritable",
        )
    everything = "all" in args.names
    names = list(CATALOG) if everything else list(dict.fromkeys(args.names))
    if everything and args.split is not None:
        names = [name for name in names if args.split in CATALOG[name].splits]
    reports, absent = list[Any](), list[str]()
    for name in names:
        found, problem = _reports(name, args.root, args.split)
        if everything:  # any pictures in the root itself could be a set's; those that are not are no news
            found = [r for r in found if r.verdict != "not this set" or Path(r.folder) != args.root]
        for report in found:
            for line in describe(report):
                terminal.say(terminal.escape(line))
        reports.extend(found)
        if not found and not everything:
            absent.append(name)
            terminal.complain(problem, about=name)
    if not reports and everything:
        terminal.complain(f"none of the data sets is in {args.root}; see `anyrestore data list --layout`")
    if args.json is not None:
        _store(args.json, {"reports": [report.to_json() for report in reports], "absent": absent})
    if not reports:
        return terminal.ALL_FAILED
    right = all(report.verdict == "the right copy" for report in reports)
    return terminal.OK if right and not absent else terminal.SOME_FAILED


def _reports(name: str, root: Path, split: str | None) -> tuple[list[Report], str]:
    """Check the parts of a set that are there; also says why one was not found."""
    from anyrestore.data.check import check_set  # noqa: PLC0415
    from anyrestore.data.readers import find_set  # noqa: PLC0415

    splits = [split] if split is not None else list(find_set(name).splits)
    reports, problem = list[Any](), ""
    for wanted in splits:
        try:
            report = check_set(name, root, wanted)
        except DataError as error:
            problem = problem or str(error)
            continue
        except UsageError:  # a subset that only other parts of the set have
            if split is not None:
                raise
            continue
        reports.append(report)
    return reports, problem


def describe(report: Report) -> list[str]:
    """A report as lines for a person."""
    of = f" of {report.expected}" if report.expected else ""
    lines = [f"{report.name} ({report.split}): {report.verdict}; {report.found}{of} in {report.folder}"]
    for measured in report.measured:
        expected = "" if measured.expected is None else f", should be {_figure(measured.expected)}"
        over = "" if measured.pictures == measured.of else f" (over {measured.pictures} of {measured.of})"
        digits = 4 if measured.what != "input" else 2
        lines.append(f"  PSNR of the {measured.what}: {measured.psnr:.{digits}f} dB{expected}{over}")
    renamed = tuple(f"{came} is {right}" for came, right in report.renamed)
    kinds = {
        "missing": report.missing,
        "renamed": renamed,
        "altered": report.altered,
        "unexpected": report.unexpected,
    }
    for kind, names in kinds.items():
        if names:
            more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"  {kind} ({len(names)}): {', '.join(names[:SHOWN])}{more}")
    lines.extend(f"  {note}" for note in report.notes)
    return lines


def _figure(value: float) -> str:
    return f"{value:.4f}" if round(value, 2) != value else f"{value:.2f}"


def _store(path: Path, content: object) -> None:
    from anyrestore.storage import store_bytes  # noqa: PLC0415

    store_bytes(f"{json.dumps(content, indent=2)}\n".encode(), path, overwrite=True)


# --------------------------------------------------------------------------------------------
# prepare


def _prepare(args: argparse.Namespace) -> int:
    import sys  # noqa: PLC0415

    from anyrestore.data.prepare import explain, prepare  # noqa: PLC0415

    (entry,) = _entries([args.name])
    _check_root(args.root)
    done = prepare(entry.name, args.root, progress=sys.stderr.isatty())
    if done is None:
        for line in explain(entry):
            terminal.say(line)
        terminal.say(f"  then: anyrestore data check {entry.name} --root {args.root}")
        return terminal.SOME_FAILED
    terminal.say(f"{entry.name}: {done.made} new files, {done.kept} were there, in {done.folder}")
    return terminal.OK
