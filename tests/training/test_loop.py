"""The loop on a miniature: it learns, resumes to the bit, watches every task, refuses a foreign folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anyrestore.cli.main import main
from anyrestore.cli.train import change
from anyrestore.data.synthetic import TASKS
from anyrestore.errors import DataError, UsageError
from anyrestore.training.loop import Trainer
from anyrestore.training.recipes import RECIPES
from anyrestore.training.run import Phase, Run
from anyrestore.zoo import load_weights

RUN = Run(
    name="miniature",
    model="tiny",
    steps=6,
    learning_rate=2e-3,
    warmup=2,
    phases=(
        Phase(until=0.5, crop=16, batch=3, shares={"noise": 1.0}),
        Phase(until=1.0, crop=24, batch=2, shares={"noise": 0.5, "mixture": 0.5}),
    ),
)


def trainer(root: Path, out: Path, run: Run = RUN, **options: object) -> Trainer:
    return Trainer(run, root, out, progress=False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(training_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    trainer(training_root, out).train()
    return out


def test_a_run_leaves_weights_scores_of_every_task_and_its_own_description(finished: Path) -> None:
    assert load_weights(finished / "weights.safetensors").config.width == 8
    scores = json.loads((finished / "scores.jsonl").read_text().splitlines()[-1])
    assert scores.pop("step") == 6
    assert set(scores) == set(TASKS)
    described = json.loads((finished / "run.json").read_text())
    assert set(described) == {f.name for f in dataclasses.fields(Run)}
    assert described["phases"][1]["crop"] == 24


def test_an_interrupted_run_ends_with_the_same_weights(
    finished: Path, training_root: Path, tmp_path: Path
) -> None:
    first = trainer(training_root, tmp_path)
    for _ in range(4):  # into the second phase
        assert first._update(first._batch(first.step)) is not None
        first.step += 1
    first.save()
    second = trainer(training_root, tmp_path)
    assert second.step == 4
    second.train()
    whole, resumed = (load_file(out / "checkpoint.safetensors") for out in (finished, tmp_path))
    assert whole.keys() == resumed.keys()
    assert {k for k in whole if not torch.equal(whole[k], resumed[k])} == set()


def test_training_lowers_the_loss(training_root: Path, tmp_path: Path) -> None:
    run = dataclasses.replace(
        RUN, steps=60, balance="none", phases=(Phase(until=1.0, crop=16, batch=4, shares={"low_light": 1.0}),)
    )
    one = trainer(training_root, tmp_path, run)
    losses = list[float]()
    for _ in range(60):
        losses += one._update(one._batch(one.step)) or []
        one.step += 1
    assert sum(losses[-80:]) < 0.8 * sum(losses[:80])


def test_parts_side_by_side_give_the_gradient_of_the_whole(training_root: Path, tmp_path: Path) -> None:
    one, two = (trainer(training_root, tmp_path / str(n), workers=n) for n in (1, 2))
    for t in (one, two):
        t._update(t._batch(0))
    for (name, a), (_, b) in zip(one.model.named_parameters(), two.model.named_parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_every_field_of_a_run_is_read(training_root: Path, tmp_path: Path, finished: Path) -> None:
    """Changing any number changes the weights after two steps of the run's own phase."""

    def weights(run: Run, name: str) -> torch.Tensor:
        t = trainer(training_root, tmp_path / name, run)
        for _ in range(2):
            t._update(t._batch(t.step))
            t.step += 1
        averaged = t.average if name == "average_decay" else t.model.state_dict()
        return torch.cat([v.flatten() for v in averaged.values()])

    base = dataclasses.replace(RUN, clip=0.05, average_decay=0.2)
    changes: dict[str, object] = {
        "learning_rate": 1e-3,
        "warmup": 1,
        "steps": 3,
        "betas": (0.5, 0.9),
        "clip": 1e-8,  # Adam forgets a common factor; only its eps shows so small a gradient
        "fourier_weight": 0.0,
        "balance": "none",
        "floor": 1.0,
        "weights": {"noise": 1e-7},
        "seed": 1,
        "start": str(finished / "weights.safetensors"),
    }
    reference = weights(base, "reference")
    assert torch.equal(weights(base, "again"), reference)
    for name, value in changes.items():
        run = dataclasses.replace(base, **{name: value, **({"warmup": 1} if name == "steps" else {})})  # type: ignore[arg-type]
        assert not torch.equal(weights(run, name), reference), name
    averaged = weights(dataclasses.replace(base, average_decay=0.0), "average_decay")
    assert torch.equal(averaged, reference)  # no memory: the average is the weights themselves


def test_a_folder_of_another_run_is_left_alone(finished: Path, training_root: Path) -> None:
    before = (finished / "checkpoint.safetensors").read_bytes()
    with pytest.raises(DataError, match="learning_rate"):
        trainer(training_root, finished, dataclasses.replace(RUN, learning_rate=1.0))
    assert (finished / "checkpoint.safetensors").read_bytes() == before


def test_a_run_stopped_before_its_first_step_goes_on(training_root: Path, tmp_path: Path) -> None:
    trainer(training_root, tmp_path).train(seconds=0)
    again = trainer(training_root, tmp_path)
    assert again.step == 0
    assert again._update(again._batch(0)) is not None


def test_a_damaged_checkpoint_is_no_silent_restart(
    finished: Path, training_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    assert trainer(training_root, tmp_path).step == 6
    data = (tmp_path / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="damaged"):
        trainer(training_root, tmp_path)


def test_steps_without_a_finite_loss_are_skipped_and_end_the_run(training_root: Path, tmp_path: Path) -> None:
    broken = trainer(training_root, tmp_path)
    with torch.no_grad():
        broken.model.unet.head.conv.weight.fill_(float("nan"))  # type: ignore[union-attr,operator]
    kept = broken.model.unet.stem.conv.weight.detach().clone()  # type: ignore[union-attr,operator]
    with pytest.raises(DataError, match="no finite loss"):
        broken.train()
    assert torch.equal(broken.model.unet.stem.conv.weight, kept)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_whole(name: str) -> None:
    run = RECIPES[name]()
    assert run.name == name
    assert run.phases[-1].until == 1.0
    assert all(sum(p.shares.values()) == pytest.approx(1.0) for p in run.phases)
    assert set(run.weights) <= set(TASKS)


def test_settings_change_a_run_or_are_refused() -> None:
    assert change(RUN, ["steps=9", "learning_rate=1", "start=x.safetensors"]) == dataclasses.replace(
        RUN, steps=9, learning_rate=1.0, start="x.safetensors"
    )
    for bad in ("lr=1", "steps=many", "steps", "phases=[]"):
        with pytest.raises(UsageError, match="expected"):
            change(RUN, [bad])


def test_the_command_lists_refuses_and_trains(
    training_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", "--list"]) == 0
    assert "cea-t-composite" in capfd.readouterr().out
    assert main(["train", "nonsense"]) == 2
    assert main(["train", "cea-t-composite"]) == 2
    monkeypatch.setitem(RECIPES, "miniature", lambda: RUN)
    arguments = [
        "train",
        "miniature",
        "--data",
        str(training_root),
        "--out",
        str(tmp_path),
        "--set",
        "steps=2",
    ]
    assert main(arguments) == 0
    assert "after 2 of 2 steps" in capfd.readouterr().out
    assert (tmp_path / "weights.safetensors").exists()
