"""The engine on a miniature: learns, resumes to the bit, guards itself, refuses what is not its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from anyrestore.cli.main import main
from anyrestore.data.mixtures import Mixture, Part
from anyrestore.errors import DataError, OutputError, UsageError
from anyrestore.image import Picture, write
from anyrestore.training import checkpoint, loop, monitor, stepping
from anyrestore.training.run import Loss, Model, Phase, Run
from anyrestore.zoo import load_weights
from training_runs import contents

Make = Callable[..., Any]

# The same run under the checks of shapes is in test_ddp.py.
pytestmark = pytest.mark.usefixtures("unchecked")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(
    unchecked: None, training_root: Path, miniature: Run, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("run")
    options = loop.Options(device="cpu", progress=False)
    loop.Trainer(miniature, training_root, out, options).train()
    return out


def test_a_run_leaves_weights_logs_sheets_and_its_own_description(finished: Path, miniature: Run) -> None:
    assert load_weights(finished / "weights.safetensors").config.width == 8
    log, scores = lines(finished / "log.jsonl"), lines(finished / "scores.jsonl")
    assert [line["step"] for line in log] == [2, 4, 6, 8, 9]
    assert [line["step"] for line in scores] == [3, 6, 9]
    assert set(scores[-1]["psnr"]) == {part.task for part in miniature.mixture.parts}
    assert set(log[0]["losses"]) == {"noise"}
    assert set(log[-2]["losses"]) <= {"noise", "mixture"}
    assert log[-1]["samples"] == 4 * 4 + 5 * 2
    speed = lines(finished / "speed.jsonl")[-1]
    assert speed["crops_per_second"] > 0
    assert speed["memory_mib"] > 50
    assert 0 <= speed["waiting_for_data"] <= 1
    assert json.loads((finished / "run.json").read_text())["phases"][1]["crop"] == 24
    assert len(list((finished / "sheets").glob("*.png"))) == 3
    assert list((finished / "tensorboard").iterdir())
    best = max(scores, key=lambda line: line["mean"])["step"]
    kept = sorted(int(p.stem[5:]) for p in (finished / "checkpoints").glob("*.json"))
    assert kept == sorted({8, 9, best})


def test_the_average_is_what_is_stored(finished: Path) -> None:
    state = load_file(finished / "checkpoints" / "step-000000009.safetensors")
    stored = load_file(finished / "weights.safetensors")
    for name, value in stored.items():
        assert torch.equal(value, state[f"average.{name}"].half()), name


def test_two_runs_of_one_seed_are_equal_to_the_byte(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    torch.rand(3)  # what a program drew before is not the run's business
    make_trainer(miniature, tmp_path).train()
    assert contents(tmp_path) == contents(finished)


def test_a_run_interrupted_after_every_step_is_the_same_run(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    for _ in range(miniature.steps or 0):
        assert make_trainer(miniature, tmp_path).train(seconds=0) is None
    assert contents(tmp_path) == contents(finished)


def _numpy_state() -> list[int]:
    return [int(word) for word in np.random.get_state()[1]]  # noqa: NPY002


def test_the_callers_random_states_are_left_alone(miniature: Run, make_trainer: Make, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), _numpy_state()
    make_trainer(miniature, tmp_path).train(seconds=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert _numpy_state() == before[1]


@pytest.mark.parametrize(
    "key", ["model.", "average.", "optimizer.step.", "optimizer.exp_avg.", "random.torch.0"]
)
def test_a_checkpoint_without_any_of_its_tensors_is_refused(
    key: str, finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    folder = rewritten(
        finished, tmp_path, lambda tensors, facts: tensors.pop(next(k for k in tensors if k.startswith(key)))
    )
    with pytest.raises(DataError) as caught:
        make_trainer(miniature, folder)
    assert caught.value.code == "checkpoint_foreign"


@pytest.mark.parametrize("key", sorted(loop._FACTS))
def test_a_checkpoint_without_any_of_its_facts_is_refused(
    key: str, finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    folder = rewritten(finished, tmp_path, lambda tensors, facts: facts.pop(key))
    with pytest.raises(DataError, match=key):
        make_trainer(miniature, folder)


def test_a_checkpoint_of_before_crops_were_counted_is_gone_on_with(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    folder = rewritten(finished, tmp_path, lambda tensors, facts: facts.pop("crops_before"))
    assert make_trainer(miniature, folder).crops_before == {}


def rewritten(finished: Path, folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Path:
    """A copy of a run whose last checkpoint was changed, and hashed again."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    store = checkpoint.CheckpointStore(folder / "checkpoints")
    found = store.load_newest(pytest.fail)
    assert found is not None
    change(found.tensors, found.facts)
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    store.save(found.step, found.tensors, found.facts)
    return folder


def test_what_a_checkpoint_holds_matters(
    miniature: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a network with dropout, changing any kind of state changes the weights two steps later."""
    monkeypatch.setattr(stepping, "Forward", WithDropout)
    run = dataclasses.replace(miniature, steps=6)
    first = make_trainer(run, tmp_path / "first")
    for _ in range(4):
        assert make_trainer(run, tmp_path / "first").train(seconds=0) is None
    del first

    def end(name: str, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> bytes:
        folder = rewritten(tmp_path / "first", tmp_path / name, change)
        make_trainer(run, folder).train()
        return b"".join(contents(folder).values())

    reference = end("same", lambda t, f: None)
    assert end("again", lambda t, f: None) == reference
    changes: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
        "model": lambda t, f: t["model.unet.head.conv.weight"].add_(1e-3),
        "average": lambda t, f: t["average.unet.head.conv.weight"].add_(1e-3),
        "moments": lambda t, f: t["optimizer.exp_avg_sq.unet.head.conv.weight"].mul_(2),
        "count": lambda t, f: t["optimizer.step.unet.head.conv.weight"].add_(1),
        "torch": lambda t, f: t["random.torch.0"].copy_(torch.Generator().manual_seed(99).get_state()),
        "sums": lambda t, f: f["sums"].update({"noise": [1.0, 1]}),
        "best": lambda t, f: f.update(best={"step": 3, "mean": 99.0}),
        "skipped": lambda t, f: f.update(skipped=3),
    }
    assert [name for name, change in changes.items() if end(name, change) == reference] == []


class WithDropout(stepping.Forward):
    def forward(self, image: Any, condition: Any = None) -> Any:
        return super().forward(torch.nn.functional.dropout(image, 0.1, training=self.training), condition)


def test_a_damaged_checkpoint_is_passed_over_and_the_run_ends_the_same(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoints" / "step-000000009.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    trainer = make_trainer(miniature, tmp_path)
    assert trainer.step == 8
    assert "step-000000009" in capfd.readouterr().err
    trainer.train()
    assert contents(tmp_path) == contents(finished)


def test_steps_that_are_not_finite_are_skipped_and_counted(
    miniature: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = stepping.image_losses, iter(range(100))

    def spoiled(*args: Any) -> torch.Tensor:
        return real(*args) * (float("nan") if next(calls) in (2, 3) else 1.0)

    monkeypatch.setattr(stepping, "image_losses", spoiled)
    trainer = make_trainer(miniature, tmp_path)
    trainer.train()
    assert trainer.skipped == 2
    assert lines(tmp_path / "log.jsonl")[-1]["skipped"] == 2
    assert all(bool(torch.isfinite(p).all()) for p in trainer.network.parameters())


def test_five_such_steps_in_a_row_end_the_run_with_the_batch_on_disk(
    miniature: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = stepping.image_losses, iter(range(100))
    monkeypatch.setattr(
        stepping, "image_losses", lambda *args: real(*args) * (float("inf") if next(calls) >= 3 else 1.0)
    )
    trainer = make_trainer(miniature, tmp_path)
    with pytest.raises(DataError, match="5 steps in a row") as caught:
        trainer.train()
    assert caught.value.code == "diverged"
    assert trainer.step == 7  # 3 good ones, 4 skipped, the fifth not counted
    (dump,) = tmp_path.glob("diverged-*.safetensors")
    assert load_file(dump)["degraded"].shape[1:] == (3, 24, 24)
    for path in (tmp_path / "checkpoints").glob("*.safetensors"):
        assert all(bool(torch.isfinite(v.float()).all()) for v in load_file(path).values())


def test_half_precision_goes_on_from_its_scaler_too(
    miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    run = dataclasses.replace(miniature, precision="bf16")
    make_trainer(run, tmp_path / "whole").train()
    for _ in range(9):
        make_trainer(run, tmp_path / "parts").train(seconds=0)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_training_lowers_the_loss(miniature: Run, make_trainer: Make, tmp_path: Path) -> None:
    run = dataclasses.replace(
        miniature,
        steps=60,
        log_every=20,
        phases=(Phase(crop=16, batch=4, shares={"low_light": 1.0}),),
        loss=Loss(),
        checkpoints=dataclasses.replace(miniature.checkpoints, every=1000),
        validation=dataclasses.replace(miniature.validation, every=1000),
    )
    make_trainer(run, tmp_path).train()
    log = lines(tmp_path / "log.jsonl")
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]


def test_accumulated_parts_give_the_gradient_of_the_whole(
    miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    ends = []
    for parts in (1, 2):
        run = dataclasses.replace(miniature, accumulate=parts)
        make_trainer(run, tmp_path / str(parts)).train()
        ends.append(load_file(tmp_path / str(parts) / "checkpoints" / "step-000000009.safetensors"))
    for name, value in ends[0].items():
        if name.startswith("model."):
            torch.testing.assert_close(value, ends[1][name], rtol=1e-2, atol=1e-4, msg=name)


#: Another value for every field of a run that training reads.
CHANGES: dict[str, Any] = {
    "model": lambda run: dataclasses.replace(run.model, name="tiny", options={"rank": 2}),
    "mixture": lambda run: dataclasses.replace(run.mixture, halve=False, epoch=11),
    "steps": 8,
    "phases": lambda run: (dataclasses.replace(run.phases[0], crop=24), run.phases[1]),
    "loss": lambda run: Loss(fourier=0.2),
    "ema": 0.2,
    "precision": "bf16",
    "accumulate": 2,
    "log_every": 3,
    "seed": 1,
    **{
        f"optimizer.{k}": v
        for k, v in {"name": "adamw", "lr": 1e-3, "betas": (0.5, 0.9), "eps": 1e-3}.items()
    },
    "optimizer.weight_decay": 0.1,
    "optimizer.clip": 1e-7,
    **{
        f"schedule.{k}": v for k, v in {"name": "constant", "warmup": 0.1, "start": 0.5, "floor": 0.5}.items()
    },
    "schedule.horizon": 1.0,
    "schedule.every": "epoch",
    **{f"loss.{k}": v for k, v in {"l1": 0.5, "charbonnier": 1.0, "fourier": 0.0, "ms_ssim": 0.5}.items()},
    **{f"loss.{k}": v for k, v in {"balance": "none", "floor": 1.0}.items()},
    **{f"validation.{k}": v for k, v in {"every": 2, "count": 2, "crop": 24, "sheet": 0}.items()},
    "checkpoints.every": 3,
    "checkpoints.keep": 3,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_of_a_run_is_read(
    name: str, finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    """Changing it alone changes what the run leaves: weights, logs, scores, sheets or checkpoints."""
    value = CHANGES[name]
    if callable(value):
        value = value(miniature)
    head, _, tail = name.partition(".")
    if tail:
        value = dataclasses.replace(getattr(miniature, head), **{tail: value})
    run = dataclasses.replace(miniature, **{head: value})
    # Weight decay is AdamW's, so to say; the smallest clip shows only where eps is not negligible.
    make_trainer(run, tmp_path).train()

    def traces(folder: Path) -> dict[str, Any]:
        found = {k: v for k, v in contents(folder).items() if k != "run.json"}
        return found | {p.name: p.read_bytes() for p in (folder / "sheets").glob("*")}

    assert traces(tmp_path) != traces(finished), name


def test_the_test_above_misses_no_field(miniature: Run) -> None:
    nested = {"optimizer", "schedule", "validation", "checkpoints"}
    fields = {f.name for f in dataclasses.fields(Run)} - nested
    for name in nested | {"loss"}:
        fields |= {f"{name}.{f.name}" for f in dataclasses.fields(getattr(miniature, name))}
    # A name is a name; scenes held out are the data's to test; instructions have a file of their own; decay
    # is in test_pieces.py; the others are tested below.
    elsewhere = {"name", "validation.held_out", "instructions", "epochs", "patience"}
    elsewhere |= {"loss.charbonnier_eps", "loss.auxiliary", "schedule.decay"}
    assert set(CHANGES) | elsewhere == fields


def test_the_rest_of_the_fields(miniature: Run, make_trainer: Make, tmp_path: Path) -> None:
    run = dataclasses.replace(miniature, steps=None, epochs=1.5)
    trainer = make_trainer(run, tmp_path / "epochs")
    assert trainer.plan.samples == 12 + 6  # 9 samples in batches of 4, the rest in batches of 2
    trainer.train()
    first, second = (
        make_trainer(
            dataclasses.replace(miniature, loss=Loss(charbonnier=1.0, charbonnier_eps=eps)),
            tmp_path / str(eps),
        )
        for eps in (1e-3, 1e-1)
    )
    for t in (first, second):
        t.train()
    assert (first.out / "log.jsonl").read_bytes() != (second.out / "log.jsonl").read_bytes()


def test_patience_is_kept(
    miniature: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stepping.image_losses
    monkeypatch.setattr(stepping, "image_losses", lambda *args: real(*args) * float("nan"))
    with pytest.raises(DataError, match="2 steps in a row"):
        make_trainer(dataclasses.replace(miniature, patience=2), tmp_path).train()


def test_a_models_own_losses_are_weighed_in(
    miniature: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyrestore.architectures.cea import CEA

    def forward_with_losses(self: Any, image: torch.Tensor) -> Any:
        return self(image), {"size": sum(p.square().sum() for p in self.parameters())}

    monkeypatch.setattr(CEA, "forward_with_losses", forward_with_losses, raising=False)
    ends = []
    for weight in (0.0, 1.0):
        run = dataclasses.replace(miniature, loss=Loss(auxiliary={"size": weight}))
        make_trainer(run, tmp_path / str(weight)).train()
        ends.append((tmp_path / str(weight) / "weights.safetensors").read_bytes())
    assert ends[0] != ends[1]


def test_a_folder_of_another_run_is_left_alone_unless_forced(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path)
    rate = dataclasses.replace(miniature.optimizer, lr=1.0)
    other = dataclasses.replace(miniature, optimizer=rate, steps=12)
    with pytest.raises(DataError, match=r"differs in optimizer\.lr, steps;") as caught:
        make_trainer(other, tmp_path)
    assert caught.value.code == "run_differs"
    assert contents(tmp_path) == before
    forced = make_trainer(other, tmp_path, force=True)
    assert forced.step == 9
    forced.train()
    assert forced.step == 12


def test_a_folder_of_a_run_that_did_not_know_a_field_yet_goes_on(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "run.json"
    old = json.loads(path.read_text())
    del old["instructions"]
    for part in old["mixture"]["parts"]:
        del part["instruction"]
    path.write_text(json.dumps(old))
    assert make_trainer(miniature, tmp_path).step == 9
    with pytest.raises(DataError, match=r"differs in instructions;"):
        make_trainer(dataclasses.replace(miniature, instructions=300), tmp_path)
    old["speed"] = 3  # of a version that knows more
    path.write_text(json.dumps(old))
    with pytest.raises(DataError, match=r"speed"):
        make_trainer(miniature, tmp_path)


def test_data_that_changed_is_named_unless_forced(
    finished: Path, miniature: Run, training_root: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(training_root, data)
    shutil.copytree(finished, out)
    shutil.copy(data / "SunHays80" / "1.png", data / "SunHays80" / "9.png")
    options = loop.Options(device="cpu", progress=False, tensorboard=False)
    with pytest.raises(DataError, match="SunHays80") as caught:
        loop.Trainer(miniature, data, out, options)
    assert caught.value.code == "data_differs"
    assert loop.Trainer(miniature, data, out, dataclasses.replace(options, force=True)).step == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stores_the_state_and_the_run_goes_on_to_the_same_end(
    number: signal.Signals, finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(miniature, tmp_path)
    advance = trainer._advance

    def signalled(*args: Any, **options: Any) -> Any:
        if trainer.step == 4:
            os.kill(os.getpid(), number)
        return advance(*args, **options)

    trainer._advance = signalled
    assert trainer.train() == number
    assert trainer.step in (5, 6)
    assert make_trainer(miniature, tmp_path).train() is None
    assert contents(tmp_path) == contents(finished)


def test_a_full_disk_on_the_way_stops_nothing_but_at_the_end_it_is_an_error(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.store_bytes

    def full(data: bytes, path: Path, *, overwrite: bool) -> None:
        if "step-000000004" in path.name or (always and "step-" in path.name):
            raise OutputError("there is no space left", code="disk_full")
        real(data, path, overwrite=overwrite)

    always = False
    monkeypatch.setattr(checkpoint, "store_bytes", full)
    make_trainer(miniature, tmp_path / "once").train()
    assert contents(tmp_path / "once") == contents(finished)
    always = True
    with pytest.raises(OutputError):
        make_trainer(miniature, tmp_path / "always").train()


def test_where_all_checkpoints_are_damaged_the_command_stops_with_2_and_names_them(
    finished: Path, training_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    damaged = sorted((tmp_path / "checkpoints").glob("*.safetensors"))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-9])
    again = ["train", str(tmp_path / "run.json"), "--data", str(training_root), "--out", str(tmp_path)]
    assert main([*again, "--device", "cpu", "--quiet"]) == 2
    told = capfd.readouterr().err
    assert all(path.with_suffix(".json").name in told for path in damaged)


def test_logs_that_cannot_be_written_stop_nothing(
    miniature: Run, make_trainer: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.jsonl").mkdir()  # no file can be opened there, by root either
    trainer = make_trainer(miniature, tmp_path)
    trainer.train()
    assert trainer.step == 9
    assert capfd.readouterr().err.count("cannot be written") == 1


@pytest.mark.parametrize("bad", [1, 3])
def test_one_bad_picture_in_200_is_replaced_and_three_stop_the_run(
    bad: int, miniature: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data" / "many"
    folder.mkdir(parents=True)
    for i in range(200):
        write(Picture(pixels=np.full((20, 24, 3), i, np.uint8)), folder / f"{i:03}.png")
    for i in range(bad):
        (folder / f"{7 * i:03}.png").write_bytes(b"\x89PNG\r\n\x1a\n, and then nothing")
    part = Part(task="noise", sets=("clean:many",), degrade="noise")
    run = dataclasses.replace(
        miniature,
        mixture=Mixture(name="many", parts=(part,)),
        steps=None,
        epochs=1.0,
        phases=(Phase(crop=16, batch=20),),
        validation=dataclasses.replace(miniature.validation, every=0, held_out=0),
    )
    options = loop.Options(device="cpu", progress=False, tensorboard=False)
    trainer = loop.Trainer(run, tmp_path / "data", tmp_path / "out", options)
    if bad == 1:
        trainer.train()
        assert trainer.step == 10
        assert len(trainer.bad_pictures) == 1
        assert "000.png" in capfd.readouterr().err
    else:
        with pytest.raises(DataError, match=r"3 of 200.*many") as caught:
            trainer.train()
        assert caught.value.code == "bad_pictures"


def test_a_batch_that_cannot_be_shared_evenly_is_refused(
    miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="batch"):
        make_trainer(dataclasses.replace(miniature, accumulate=3), tmp_path)


def test_loader_processes_change_nothing(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    make_trainer(miniature, tmp_path, workers=2).train()
    assert contents(tmp_path) == contents(finished)


def test_training_works_in_a_thread(miniature: Run, make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(miniature, tmp_path)
    thread = threading.Thread(target=trainer.train)
    thread.start()
    thread.join()
    assert trainer.step == 9


def test_a_network_that_gives_no_numbers_scores_nothing() -> None:
    clean = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert loop._psnr(torch.full((3, 8, 8), float("nan")), clean) == 0.0
    assert loop._psnr(clean, clean) == 60.0


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_trains(
    miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    first, second = make_trainer(miniature, tmp_path), make_trainer(miniature, tmp_path)
    with first._alone(), pytest.raises(DataError, match="another one is training"):
        second.train()
    assert second.train(seconds=0) is None


def test_a_start_that_failed_does_not_claim_the_folder(
    miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        make_trainer(dataclasses.replace(miniature, accumulate=3), tmp_path)
    make_trainer(miniature, tmp_path).train(seconds=0)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(DataError):
        make_trainer(
            dataclasses.replace(miniature, model=Model(name="tiny", options={"rank": 2})),
            tmp_path,
            force=True,
        )
    assert (tmp_path / "run.json").read_bytes() == before


def test_checkpoints_that_were_lost_are_no_silent_restart(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "checkpoints").glob("*.json"):
        path.unlink()
    with pytest.raises(DataError, match="there is none") as caught:
        make_trainer(miniature, tmp_path)
    assert caught.value.code == "checkpoints_damaged"
    assert list((tmp_path / "checkpoints").glob("*.safetensors"))


def test_a_run_goes_on_without_the_weights_it_started_from(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    start = tmp_path / "start.safetensors"
    shutil.copy(finished / "weights.safetensors", start)
    run = dataclasses.replace(miniature, model=dataclasses.replace(miniature.model, start=str(start)))
    make_trainer(run, tmp_path / "run").train(seconds=0)
    start.unlink()
    assert make_trainer(run, tmp_path / "run").step == 1


def test_a_run_that_is_longer_than_asked_for_is_not_cut(
    finished: Path, miniature: Run, make_trainer: Make, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    with pytest.raises(UsageError, match="9 steps"):
        make_trainer(dataclasses.replace(miniature, steps=4), tmp_path, force=True)


def test_event_files_that_cannot_be_written_stop_nothing(
    miniature: Run,
    make_trainer: Make,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(monitor, "_event_writer", lambda *_: Full())
    trainer = make_trainer(miniature, tmp_path, tensorboard=True)
    trainer.train()
    assert trainer.step == 9
    assert capfd.readouterr().err.count("no more TensorBoard") == 1


def test_a_repeated_signal_is_one_signal(miniature: Run, make_trainer: Make, tmp_path: Path) -> None:
    """Launchers send theirs to the process and to its group."""
    trainer = make_trainer(miniature, tmp_path)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        trainer._on_signal(number, None)
    assert trainer._stopped_by == signal.SIGTERM
    trainer._asked -= 2
    with pytest.raises(KeyboardInterrupt):
        trainer._on_signal(signal.SIGINT, None)


def test_names_of_losses_that_the_network_has_not_are_refused(
    miniature: Run, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyrestore.architectures.cea import CEA

    run = dataclasses.replace(miniature, loss=Loss(auxiliary={"load": 1.0}))
    with pytest.raises(UsageError, match="no losses of its own"):
        make_trainer(run, tmp_path)
    monkeypatch.setattr(
        CEA, "forward_with_losses", lambda self, x: (self(x), {"size": x.sum()}), raising=False
    )
    with pytest.raises(UsageError, match="expected names among size, came load"):
        make_trainer(run, tmp_path).train()
