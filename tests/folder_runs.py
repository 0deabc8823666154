"""Runs over folders for tests: pictures, a model without weights, the command here or in a child."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from children import CONTEXT

FULL = os.environ.get("ANYRESTORE_FULL") == "1"
"""Whether the long counts are asked for."""


class Halve(nn.Module):
    """A network that takes no time."""

    def forward(self, picture: Tensor) -> Tensor:
        return picture / 2


def pictures(folder: Path, names: list[str], side: int = 24) -> Path:
    """A folder of small, different pictures."""
    from anyrestore import image

    chance = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.write(image.Picture(pixels=chance.integers(0, 256, (side, side + 8, 3), np.uint8)), path)
    return folder


def weights(folder: Path) -> Path:
    """The file of a small network, the same every time."""
    import tiny_models
    from anyrestore import zoo

    path = folder / "tiny.safetensors"
    zoo.save_weights(tiny_models.make("tiny"), path)
    return path


def hashes(folder: Path) -> dict[str, str]:
    """All files below a folder but its manifest, by their content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".anyrestore.jsonl"
    }


def lines(path: Path) -> list[dict[str, Any]]:
    """A report, or a manifest."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def start(*arguments: object, out: int | None = None, err: Path | None = None, go: Path | None = None) -> Any:
    """Start the command in a child.

    Args:
        arguments: of the command.
        out: a descriptor for its stdout; nothing reads it by default.
        err: a file for its stderr.
        go: a file for whose appearance it waits.
    """
    given = [str(argument) for argument in arguments]
    pipe = None if out is None else multiprocessing.reduction.DupFd(out)
    child = CONTEXT.Process(target=_command, args=(given, pipe, err, go))
    child.start()
    return child


def _command(arguments: list[str], out: Any, err: Path | None, go: Path | None) -> None:
    import time

    import torch

    from anyrestore.cli.main import main

    torch.set_num_threads(1)  # the same sums every time
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere if out is None else out.detach(), 1)
    os.dup2(nowhere if err is None else os.open(err, os.O_WRONLY | os.O_CREAT), 2)
    while go is not None and not go.exists():
        time.sleep(0.005)
    sys.exit(main(arguments))
