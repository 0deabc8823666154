"""A run in pieces: it ends in time, goes home in small files, and is gone on with from them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anyrestore.errors import ModelError
from anyrestore.evaluation.results import read_results
from anyrestore.image import Picture, write
from anyrestore.training.configuration import change
from anyrestore.training.export import export_run
from anyrestore.training.pacing import Deadline
from anyrestore.training.plan import Plan
from anyrestore.training.recipes import RECIPES
from anyrestore.training.run import Phase, Run
from anyrestore.zoo import crops_seen, load_model, save_weights
from anyrestore.zoo.shards import INDEX
from command_runs import Command, runner
from tiny_models import make

# The engine under the checks of shapes is in test_ddp.py.
pytestmark = pytest.mark.usefixtures("unchecked")

TINY = (
    *("model.name=tiny", "steps=3", "phases.crop=16", "phases.batch=4", "precision=bf16", "log_every=2"),
    *("schedule.name=constant", "schedule.warmup=0.0001", "schedule.decay=0.4"),
    *("validation.every=2", "validation.count=1", "validation.crop=16", "validation.held_out=1"),
)
MIB = 0.17
"""Of a shard: hardly more than the largest tensor of the tiny network."""


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return runner(capfd)


def in_pieces(data: Path, out: Path, home: Path, *settings: str) -> list[object]:
    """The rehearsed command of docs/training-ledger.md, as a miniature."""
    words = [word for setting in (*TINY, *settings) for word in ("--set", setting)]
    return [
        *("train", "cea-s@composite", "--data", data, "--out", out, "--export", home, "--shard-mib", MIB),
        *("--minutes", 0, "--device", "cpu", "--channels-last", "--no-tensorboard", "--quiet", *words),
    ]


def test_the_rehearsed_command_in_two_loans(command: Command, training_root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = in_pieces(training_root, tmp_path / "first", home)
    for step in range(1, 4):
        done = command(*first)
        assert (done.code, f"after {step} of 3 steps" in done.out) == (0, True), done.err
        assert crops_seen(home / f"weights{INDEX}") == {16: 4 * step}
        files = sorted(home.iterdir())
        largest = max(file.stat().st_size for file in files)
        assert largest <= MIB * 2**20
        assert f"{len(files)} files, the largest of {largest:,} bytes" in done.out
    assert command(*first).code == 0  # of a finished run it only exports again
    assert {"scores.jsonl", "speed.jsonl"} <= {file.name for file in home.iterdir()}
    index = json.loads((home / f"weights{INDEX}").read_text())
    assert index["metadata"]["run"] == json.loads((tmp_path / "first" / "run.json").read_text())
    rates = [json.loads(line)["lr"] for line in (tmp_path / "first" / "log.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([5e-4, 5e-4 * (0.02 + 0.98 / 1.2)])

    shutil.rmtree(tmp_path / "first")
    second = ("model.start=" + str(home / f"weights{INDEX}"), "phases.0.shares={}")
    assert command(*in_pieces(training_root, tmp_path / "second", tmp_path / "again", *second)).code == 0
    assert crops_seen(tmp_path / "again") == {16: 16}
    shutil.rmtree(home)  # a run that goes on needs them no more, and does not forget what they had seen
    assert command(*in_pieces(training_root, tmp_path / "second", tmp_path / "again", *second)).code == 0
    assert crops_seen(tmp_path / "again" / f"weights{INDEX}") == {16: 20}

    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    for half in ("input", "target"):
        (tmp_path / "mine" / half).mkdir(parents=True)
        write(Picture(pixels=pixels), tmp_path / "mine" / half / "a.png")
    words = ("--benchmark", tmp_path / "mine", "--limit", 1, "--out", tmp_path / "results")
    done = command("evaluate", "--model", tmp_path / "again", *words)
    assert done.code == 0, done.err
    assert read_results(tmp_path / "results").crops == crops_seen(tmp_path / "again")


def test_weights_start_where_the_exported_ones_ended(
    miniature: Run, make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    make_trainer(dataclasses.replace(miniature, steps=2), tmp_path / "run").train()
    export_run(tmp_path / "run", tmp_path / "home", most=int(MIB * 2**20))
    start = tmp_path / "home" / f"weights{INDEX}"
    run = dataclasses.replace(miniature, model=dataclasses.replace(miniature.model, start=str(start)))
    trainer = make_trainer(run, tmp_path / "next")
    stored = load_model(tmp_path / "run" / "weights.safetensors").state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in trainer.network.state_dict().items())


def test_best_is_there_only_where_it_is_another(
    miniature: Run, make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    run, home, most = tmp_path / "run", tmp_path / "home", int(MIB * 2**20)
    make_trainer(dataclasses.replace(miniature, steps=3), run).train()
    shutil.copyfile(run / "weights.safetensors", run / "best.safetensors")
    export_run(run, home, most=most)
    assert not list(home.glob("best*"))
    save_weights(load_model("cea-t"), run / "best.safetensors")
    export_run(run, home, most=1 << 24)
    assert len(list(home.glob("best*"))) == 2
    assert load_model(home).config.width == load_model("cea-t").config.width  # a folder stands for its best
    (run / "best.safetensors").unlink()
    export_run(run, home, most=most)
    assert not list(home.glob("best*"))


def test_weights_that_float16_cannot_hold_stay_where_they_are(
    miniature: Run, make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    make_trainer(dataclasses.replace(miniature, steps=1), tmp_path / "run").train()
    model = load_model(tmp_path / "run" / "weights.safetensors")
    with torch.no_grad():
        next(model.parameters()).mul_(1e9)
    save_weights(model, tmp_path / "run" / "weights.safetensors", dtype=torch.float32)
    with pytest.raises(ModelError, match=r"torch\.float16 can hold, came larger ones"):
        export_run(tmp_path / "run", tmp_path / "home", most=1 << 24)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_counts_steps_by_the_last_and_the_rest_by_the_longest() -> None:
    clock = Clock()
    deadline = Deadline(100, clock)

    def do(work: Any, seconds: float) -> None:
        with deadline.doing(work):
            clock.now += seconds

    do("step", 30)  # compiles
    assert deadline.leaves("scores", "storing")
    assert not deadline.leaves("scores", "storing", "first step")
    do("step", 1)
    do("scores", 10)
    do("storing", 5)
    do("scores", 2)  # now at 148
    assert deadline.leaves("step", "first step", "scores", "storing", "storing")  # 1 + 30 + 10 + 5 + 5 < 52
    assert not deadline.leaves("step", "step", "first step", "scores", "storing", "storing")
    assert Deadline(clock=clock).leaves("scores")


def test_a_run_ends_in_time_with_its_scores_and_its_checkpoint(
    miniature: Run, make_trainer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps take 1 s, scores 20, storing 10: what is begun within 100 s must be over by then."""
    from anyrestore.training import loop

    clock, trainer = Clock(), make_trainer(dataclasses.replace(miniature, steps=40), tmp_path)
    monkeypatch.setattr(loop, "Deadline", lambda seconds: Deadline(seconds, clock))

    def slowly(name: str, seconds: float) -> None:
        real = getattr(trainer, name)

        def slow(*args: Any, **kwargs: Any) -> Any:
            clock.now += seconds
            return real(*args, **kwargs)

        monkeypatch.setattr(trainer, name, slow)

    for name, seconds in (("_advance", 1.0), ("_score", 20.0), ("save", 10.0)):
        slowly(name, seconds)
    assert trainer.train(seconds=100) is None
    assert 0 < trainer.step < 40
    assert trainer.store.steps()[0] == trainer.step
    assert clock.now - 100 <= 100 - 10  # the second "storing" is left for an export


def test_crops_of_several_sides_survive_a_stop(command: Command, training_root: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    save_weights(make("tiny"), start, crops={64: 5, 128: 7})
    home = tmp_path / "home"
    words = in_pieces(training_root, tmp_path / "run", home, f"model.start={start}", "phases.0.shares={}")
    for step in (1, 2):
        assert command(*words).code == 0
        assert crops_seen(home / f"weights{INDEX}") == {16: 4 * step, 64: 5, 128: 7}


def test_crops_are_counted_by_side(miniature: Run) -> None:
    phases = (
        Phase(until=0.5, crop=16, batch=4),
        Phase(until=0.8, crop=24, batch=2),
        Phase(until=1.0, crop=16, batch=1),
    )
    plan = Plan(dataclasses.replace(miniature, steps=10, phases=phases), 12)
    assert [plan.crops(step) for step in (0, 3, 5, 7, 10)] == [
        *({}, {16: 12}, {16: 20}, {16: 20, 24: 4}, {16: 22, 24: 6}),
    ]
    for before, after in pairwise(range(11)):
        assert sum(plan.crops(after).values()) - sum(plan.crops(before).values()) == plan.phase(before).batch


def test_the_ledgers_recipe_takes_the_ledgers_settings() -> None:
    run = change(RECIPES["cea-s@composite"](), [*TINY, "phases.0.shares={}", "model.start=none"])
    assert run.model.start is None
    assert run.phases[0].shares == {}
