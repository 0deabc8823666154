"""Two processes are one run: the loss curve of one process with the whole batch, no sample twice."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from anyrestore.training import loop
from anyrestore.training.run import Loss, Phase, Run


@pytest.fixture
def run(miniature: Run) -> Run:
    """Batches of 8; Adam's eps large enough that a gradient near 0 does not turn float noise into steps."""
    return dataclasses.replace(
        miniature,
        steps=8,
        phases=(Phase(crop=16, batch=8),),
        loss=Loss(fourier=0.1),
        optimizer=dataclasses.replace(miniature.optimizer, eps=1e-4),
        log_every=1,
    )


def torchrun(folder: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(loop.__file__).parents[2])
    done = subprocess.run(
        [*command, "-m", "anyrestore", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_twice_4_is_once_8(
    run: Run, training_root: Path, make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(run.to_json()))
    two = tmp_path / "two"
    torchrun(
        tmp_path,
        ["train", "run.json", "--data", str(training_root), "--out", str(two), "--device", "cpu", "--quiet"],
    )
    make_trainer(run, tmp_path / "one").train()

    curves = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "one", two)
    ]
    assert len(curves[0]) == len(curves[1]) == 8
    for one, other in zip(*curves, strict=True):
        assert one["losses"].keys() == other["losses"].keys()  # the same samples
        assert other["loss"] == pytest.approx(one["loss"], rel=2e-5)
        assert other["norm"] == pytest.approx(one["norm"], rel=1e-3)
    states = [load_file(f / "checkpoints" / "step-000000008.safetensors") for f in (tmp_path / "one", two)]
    for name, value in states[0].items():
        if name.startswith(("model.", "average.")):
            torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
    # Twice the processes, twice the random states; everything else is the same set.
    assert states[1].keys() - states[0].keys() == {"random.torch.1"}

    # What two processes stored one can go on from, and the other way round.
    again = make_trainer(dataclasses.replace(run), two)
    assert again.step == 8


def test_processes_share_an_epoch_without_overlap(
    run: Run, make_trainer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(run, tmp_path)
    monkeypatch.setattr(loop, "load_batches", lambda data, requests, **_: iter(list(requests)))
    taken = list[int]()
    for rank in range(4):
        trainer.accelerator = SimpleNamespace(process_index=rank, num_processes=4)
        requests = list(trainer._batches())
        assert all(len(request.indexes) == 2 for request in requests)
        taken += [index for request in requests for index in request.indexes]
    assert sorted(taken) == list(range(8 * 8))
