"""Children of tests: real processes, from one fork server that has imported torch and the engine once.

A start takes a tenth of a second instead of three, so a test may start dozens. What kills or interrupts them
would kill or interrupt the command.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "anyrestore.batch.manifest",
        "anyrestore.cli.follow",
        "anyrestore.inference",
        "anyrestore.training.loop",
    ]
)


def two_together(folder: Path, work: Callable[..., None], *arguments: object) -> None:
    """Do ``work`` in two processes that know of each other, as torchrun starts them; both must end well.

    Args:
        folder: for what they say on stderr.
        work: a function of a module.
        arguments: its own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = [folder / f"said-{rank}" for rank in range(2)]
    children = [
        CONTEXT.Process(target=_one_of_two, args=(rank, port, said[rank], work, arguments))
        for rank in range(2)
    ]
    for child in children:
        child.start()
    for child, path in zip(children, said, strict=True):
        child.join(300)
        assert child.exitcode == 0, path.read_text()[-4000:]


def _one_of_two(
    rank: int, port: int, said: Path, work: Callable[..., None], arguments: tuple[object]
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    work(*arguments)
