"""`anyrestore models`: the models that there are, what they cost and score; with a NAME, one in full.

With a file of anyrestore's weights, or a folder of shards: what it says of itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrestore.cli import terminal
from anyrestore.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anyrestore.cli.options import Subparsers
    from anyrestore.zoo.catalog import Entry, Paper

KEYS = (
    *("name", "architecture", "parameters", "gmac", "weights", "license", "trained_on", "scores"),
    *("published_parameters", "published_gmac", "public_parameters"),
)
#: What must come back unchanged is no measure of restoring.
UNCHANGED = "clean"
_OURS = ("synthetic-", "mixture-")  # what lines that we made ourselves begin with
WIDTH = 80
"""Columns."""

_HEADS = (
    "                    parameters, M            GMAC at 224",
    "                    here  paper  differ     here   paper",
)


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser("models", help="list the models", description=__doc__)
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this model, or weights file, in full")
    parser.add_argument("--json", action="store_true", help="print objects for programs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the catalogue, or one model of it."""
    from anyrestore.zoo import crops_seen, is_file  # noqa: PLC0415
    from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG  # noqa: PLC0415

    if args.name is not None and is_file(args.name):
        _show_file(args.name, as_json=args.json)
        return terminal.OK
    if args.name is not None and args.name not in CATALOG:
        raise ModelError(
            f"expected a model among {', '.join(CATALOG)}, came {args.name!r}", code="unknown_model"
        )
    papers = {key: made_by.paper for key, made_by in ARCHITECTURES.items()}
    if args.name is not None:
        entry = CATALOG[args.name]
        config = dataclasses.asdict(ARCHITECTURES[entry.architecture].presets[entry.name])
        if args.json:
            terminal.say(json.dumps(_facts(entry, papers) | {"config": config}, indent=2))
        else:
            for line in _page(entry, papers[entry.architecture], config, crops_seen(entry.name)):
                terminal.say(line)
    elif args.json:
        terminal.say(json.dumps([_facts(entry, papers) for entry in CATALOG.values()], indent=2))
    else:
        for line in _table(list(CATALOG.values()), papers):
            terminal.say(line)
    return terminal.OK


def _facts(entry: Entry, papers: dict[str, Paper]) -> dict[str, Any]:
    """What programs get."""
    return {key: getattr(entry, key) for key in KEYS} | {
        "paper": dataclasses.asdict(papers[entry.architecture])
    }


def _table(entries: list[Entry], papers: dict[str, Paper]) -> Iterator[str]:
    """A block for each paper; what exists only for quick tests is one paragraph at the end."""
    small = [entry for entry in entries if _is_tiny(entry)]
    yield from _HEADS
    for architecture, paper in papers.items():
        yield ""
        yield f"{paper.name} ({_source(paper)})"
        for entry in entries:
            if entry.architecture == architecture and entry not in small:
                yield _row(entry)
                if entry.weights:
                    yield f"    with weights ({entry.license}){_best(entry)}"
    yield ""
    least, most = (pick(entry.parameters for entry in small) / 1e6 for pick in (min, max))
    names = ", ".join(entry.name for entry in small)
    line = f"For quick tests, {least:.2f} M to {most:.2f} M: {names}"
    yield from textwrap.wrap(line, WIDTH, break_on_hyphens=False)
    yield "anyrestore models NAME shows one in full."


def _row(entry: Entry) -> str:
    published = entry.published_parameters
    return (
        f"  {entry.name:<15}"
        f"{entry.parameters / 1e6:>7.2f}"
        f"{_millions(published):>7}"
        f"{_difference(entry.parameters, published):>8}"
        f"{entry.gmac:>9.2f}"
        f"{_short(entry.published_gmac):>8}"
    )


def _show_file(name: str, *, as_json: bool) -> None:
    from anyrestore.zoo import crops_seen, describe_weights  # noqa: PLC0415

    about = describe_weights(Path(name))
    if as_json:
        terminal.say(json.dumps(about, indent=2))
        return
    lines = [f"{name}: weights of {about['architecture']}", "", *_crop_lines(crops_seen(name))]
    lines += [f"  {key:<14}  {about[key]}" for key in ("version", "notes") if about.get(key)]
    lines += ["", "  configuration", *_settings(about["config"])]
    for line in lines:
        terminal.say(terminal.escape(line))


def _crop_lines(crops: Mapping[int, int] | None) -> list[str]:
    if not crops:
        return []
    by_side = ", ".join(f"{count:,} of {side} px" for side, count in sorted(crops.items()))
    line = f"  crops seen      {sum(crops.values()):,} ({by_side})"
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * 18)


def _settings(config: Mapping[str, Any]) -> list[str]:
    return [f"    {key:<24}  {value}" for key, value in config.items()]


def _page(
    entry: Entry, paper: Paper, config: dict[str, Any], crops: Mapping[int, int] | None
) -> Iterator[str]:
    """Everything that is known of one model."""
    yield f"{entry.name}: {paper.name} ({_source(paper)})"
    yield from textwrap.wrap(paper.title, WIDTH)
    yield ""
    yield f"  parameters      {entry.parameters:,}"
    if entry.published_parameters is not None:
        differ = _difference(entry.parameters, entry.published_parameters)
        yield f"    published     {_millions(entry.published_parameters)} M ({differ})"
    if entry.public_parameters is not None:
        yield f"    public code   {entry.public_parameters:,}"
    yield f"  GMAC at 224     {entry.gmac:.3f}"
    if entry.published_gmac is not None:
        differ = _difference(entry.gmac, entry.published_gmac)
        yield f"    published     {_short(entry.published_gmac)} ({differ})"
    yield f"  weights         {entry.weights or 'none ship'}"
    if entry.weights:
        yield f"    licence       {entry.license}"
        yield from textwrap.wrap(f"    trained on    {entry.trained_on}", WIDTH, subsequent_indent=" " * 18)
        yield f"    SHA-256       {entry.sha256}"
        yield from _crop_lines(crops)
    yield ""
    yield "  configuration"
    yield from _settings(config)
    if entry.scores:
        yield ""
        yield "  PSNR in dB, protocol promptir"
        for key, score in entry.scores.items():
            yield f"    {key:<30}{score:>6.2f}"


def _is_tiny(entry: Entry) -> bool:
    """Whether a preset exists only for quick tests."""
    return entry.name.split("-")[-1] == "tiny"


def _source(paper: Paper) -> str:
    return f"{paper.year}, arXiv {paper.arxiv}" if paper.arxiv else str(paper.year)


def _millions(count: int | None) -> str:
    """In millions, with the digits that are known."""
    return _short(None if count is None else count / 1e6)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _difference(here: float, published: float | None) -> str:
    """In percent of what was published."""
    return "-" if published is None else f"{100 * (here / published - 1):+.2f} %".replace("-0.00", "+0.00")


def _best(entry: Entry) -> str:
    """The highest score on a set of the field, and on which."""
    scores = {k: v for k, v in entry.scores.items() if k != UNCHANGED and not k.startswith(_OURS)}
    if not scores:
        return ""
    best = max(scores, key=scores.__getitem__)
    return f", best on {best}: {scores[best]:.2f} dB"
