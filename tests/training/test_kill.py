"""A run that is killed (-9) at random moments and goes on ends as if nothing had happened, to the bit.

The suite kills twice, with ANYRESTORE_FULL=1 five times. More, from a shell:
``python tests/training/test_kill.py --kills 50``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

KILLS = 5 if os.environ.get("ANYRESTORE_FULL") else 2
RUN = ["steps=60", "phases.crop=16", "phases.batch=2", "validation.every=20", "validation.count=1"]
RUN += ["validation.crop=16", "validation.held_out=1", "checkpoints.every=4", "log_every=3", "ema=0.9"]


def train(description: str, data: str, out: str) -> None:
    """In a child: a quiet run, or what is left of it."""
    import torch

    torch.set_num_threads(1)  # sums are bit for bit the same only with the same number of threads
    from anyrestore.training.configuration import from_json
    from anyrestore.training.loop import Options, Trainer

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    options = Options(device="cpu", progress=False, tensorboard=False)
    Trainer(from_json(json.loads(description)), Path(data), Path(out), options).train()


def contents(folder: Path) -> dict[str, bytes]:
    names = ["log.jsonl", "scores.jsonl", "weights.safetensors", "best.safetensors", "run.json"]
    files = [folder / name for name in names] + sorted((folder / "checkpoints").iterdir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def survive(description: str, data: Path, folder: Path, kills: int, seed: int = 0) -> list[float]:
    """Run once undisturbed and once killed ``kills`` times; compare. The moments of the kills, in seconds."""
    from children import CONTEXT

    def start(out: Path) -> Any:
        child = CONTEXT.Process(target=train, args=(description, str(data), str(out)))
        child.start()
        return child

    server = CONTEXT.Process()  # pays for the imports
    server.start()
    server.join()
    began = time.monotonic()
    whole = start(folder / "whole")
    whole.join()
    length = time.monotonic() - began
    assert whole.exitcode == 0

    chance, moments, out = random.Random(seed), list[float](), folder / "killed"
    for _ in range(kills):
        child = start(out)
        # Anywhere in what the next child would do: start, train, save, end.
        moments.append(chance.uniform(0, length))
        child.join(moments[-1])
        child.kill()
        child.join()
        if child.exitcode == 0:  # it came to its end before its moment; the next kills need a run to kill
            assert contents(out) == contents(folder / "whole")
            out = folder / f"killed-{len(moments)}"
        else:
            assert child.exitcode == -signal.SIGKILL
    last = start(out)
    last.join()
    assert last.exitcode == 0
    assert contents(out) == contents(folder / "whole")
    left = [path for path in out.rglob("*") if path.name.endswith(".tmp")]
    assert not left
    return moments


def description() -> str:
    from anyrestore.training.configuration import change
    from anyrestore.training.recipes import RECIPES

    run = change(RECIPES["cea-t@composite"](), ["model.name=tiny", *RUN])
    return json.dumps(run.to_json())


def test_kills(training_root: Path, tmp_path: Path) -> None:
    assert len(survive(description(), training_root, tmp_path, kills=KILLS)) == KILLS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import training_pictures

    with tempfile.TemporaryDirectory() as folder:
        data = training_pictures.write_training_root(Path(folder) / "data")
        moments = survive(description(), data, Path(folder), options.kills, options.seed)
    sys.stdout.write(f"{len(moments)} kills survived, the run is the same to the bit\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
else:
    pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
