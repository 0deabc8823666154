"""`anyrestore completion SHELL`: a script that lets the shell complete verbs, options, models and files.

bash: eval "$(anyrestore completion bash)" in ~/.bashrc
zsh:  anyrestore completion zsh > FOLDER/_anyrestore, a folder of $fpath
fish: anyrestore completion fish > ~/.config/fish/completions/anyrestore.fish
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from anyrestore.cli import terminal

if TYPE_CHECKING:
    from anyrestore.cli.options import Subparsers

SHELLS = ("bash", "zsh", "fish")
#: What stands for a file or a folder in the usage of a verb.
_FILES = {"FILE", "IN", "OUT", "CHECKPOINT", "IMAGE", "RECIPE"}
_FOLDERS = {"FOLDER", "DIR", "RESULTS", "RUN", "SOURCE", "TARGET"}
#: What stands for models, and where else than by `--model`.
_MODELS = {"model", "models"}


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Declare the verb's options."""
    parser = subparsers.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from anyrestore.zoo.catalog import CATALOG  # noqa: PLC0415

    shtab: Any = importlib.import_module("shtab")  # it has no annotations
    parser: argparse.ArgumentParser = args.command
    models = _models(tuple(CATALOG))
    for action in _actions(parser):
        if action.choices is not None or action.nargs == 0:
            continue
        if (found := _kind(action, models)) is not None:
            action.complete = found  # type: ignore[attr-defined]  # where shtab looks for it
    terminal.say(shtab.complete(parser, shell=args.shell))
    return terminal.OK


def _kind(action: argparse.Action, models: dict[str, Any]) -> Any:
    """How an option's value is completed, in shtab's words; None for not at all."""
    word = action.metavar.split("|")[0] if isinstance(action.metavar, str) else ""
    if action.dest in _MODELS:
        return models
    if word in _FOLDERS:
        return "directory"
    return "file" if word in _FILES or action.type is Path else None


def _models(names: tuple[str, ...]) -> dict[str, Any]:
    """Names of models, and files: a value for shtab's attribute `complete`."""
    listed, function = " ".join(names), "_anyrestore_models_or_files"
    return {
        "bash": function,
        "zsh": function,
        "fish": f"({function})",
        "preamble": {
            "bash": f'{function}() {{\n  compgen -W "{listed}" -- "$1"\n  compgen -f -- "$1"\n}}\n',
            "zsh": f"{function}() {{\n  _alternative 'models:model:({listed})' 'files:file:_files'\n}}\n",
            "fish": (
                f"function {function}\n  printf '%s\\n' {listed}\n"
                "  __fish_complete_path (commandline -ct)\nend\n"
            ),
        },
    }


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option of a parser and of the verbs below it."""
    for action in parser._actions:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] (argparse has no other list)
        yield action
        choices: Any = action.choices
        for verb in cast("dict[str, object]", choices).values() if isinstance(choices, dict) else ():
            if isinstance(verb, argparse.ArgumentParser):
                yield from _actions(verb)
