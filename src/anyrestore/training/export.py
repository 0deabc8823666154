"""What a run has come to, in a few small files: for a machine from which only such can be brought home.

The averaged weights as float16 shards, last and, where they are others, best, beside the logs of scores and
of speed. ``run.json`` is inside the indexes (``metadata.run``): for a network of ten million parameters it is
eight files of at most 15 MiB. Every command takes the folder, or an index in it, as a model.
"""

from __future__ import annotations

import json
from pathlib import Path

from anyrestore.storage import make_folder, store_bytes
from anyrestore.training.monitor import SCORES, SPEED
from anyrestore.zoo import shard_weights, shards

__all__ = ["BEST", "LAST", "export_run"]

LAST, BEST = "weights", "best"
"""Weights of a run, as their files are called in its folder and here."""


def export_run(run: Path, to: Path, *, most: int) -> list[Path]:
    """Write the weights and logs of a run's folder to another one; what it held of an earlier export goes.

    Args:
        run: the run's folder, with ``weights.safetensors``.
        to: where to; made if need be.
        most: bytes of a file of weights.

    Returns:
        The files that were written.

    Raises:
        ModelError: weights are damaged, or have values that float16 cannot hold; the run itself is whole.
        OutputError: the folder cannot be written to, or a tensor alone is larger than ``most``.
    """
    make_folder(to)
    metadata = {"run": json.loads((run / "run.json").read_text(encoding="utf-8"))}
    written = list[Path]()
    last = run / f"{LAST}.safetensors"
    for name in (LAST, BEST):
        weights = run / f"{name}.safetensors"
        if name == LAST or (weights.exists() and weights.read_bytes() != last.read_bytes()):
            written += shard_weights(weights, to, name, most=most, metadata=metadata)
        else:
            shards.remove(to, name)
    for name in (SCORES, SPEED):
        log = run / f"{name}.jsonl"
        if log.exists():
            store_bytes(log.read_bytes(), to / log.name, overwrite=True)
            written.append(to / log.name)
    return written
