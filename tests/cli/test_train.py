"""`anyrestore train`: choosing a run, handing it to the engine, exit codes; the engine is tested apart."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from anyrestore.errors import DataError, OutputError
from anyrestore.training.configuration import change, from_json
from anyrestore.training.recipes import RECIPES
from anyrestore.training.run import Model, Run


class Engine:
    """In place of anyrestore.training.loop: notes what it was given."""

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []
        self.ended_by: int | None = None
        self.error: BaseException | None = None
        self.seconds: float | None = None

    def trainer(self, run: Run, data: Path, out: Path, options: SimpleNamespace) -> Any:
        self.calls.append(SimpleNamespace(run=run, data=data, out=out, options=options))

        def train(seconds: float) -> int | None:
            self.seconds = seconds
            if self.error is not None:
                raise self.error
            return self.ended_by

        return SimpleNamespace(train=train, step=7, plan=SimpleNamespace(steps=9))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine, module = Engine(), ModuleType("anyrestore.training.loop")
    vars(module).update(Options=SimpleNamespace, Trainer=engine.trainer)
    monkeypatch.setitem(sys.modules, "anyrestore.training.loop", module)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return engine


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe, exda-x@aio3, for a network of another version."""
    base = RECIPES["exda-t@aio3"]()
    run = dataclasses.replace(base, name="exda-x@aio3", model=Model(name="exda-x"))
    monkeypatch.setitem(RECIPES, "exda-x@aio3", lambda: run)


@pytest.mark.usefixtures("later")
def test_the_list_shows_every_recipe_and_marks_networks_to_come(command: Any) -> None:
    done = command("train", "--list")
    assert done.code == 0
    rows = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert set(RECIPES) <= set(rows)
    row = " ".join(rows["cea-s@cdd11"].split())
    assert row == "cea-s@cdd11 cdd11 200 epochs 64 x 128 px adam 0.0002 l1 + 0.1 fourier"
    moce = " ".join(rows["moce@aio5"].split())
    assert moce.startswith("moce@aio5 moce-aio5 120 epochs 32 x 128 px adamw 0.0002 l1 + 0.1 fourier + 0.005")
    missing = " ".join(rows["exda-x@aio3"].split())
    assert missing.startswith("exda-x@aio3 * promptir-aio3 130 epochs")
    ours = " ".join(rows["cea-t-composite"].split())
    assert "25000 steps 8 x 64 px, 4 x 128 px adam 0.001 l1 + 0.1 fourier, log balance" in ours
    assert "no such network" in done.out.splitlines()[-1]


def test_show_prints_a_run_that_can_be_read_again(command: Any, tmp_path: Path) -> None:
    done = command("train", "moce@aio3", "--show", "--set", "optimizer.lr=1e-4")
    assert done.code == 0
    wanted = change(RECIPES["moce@aio3"](), ["optimizer.lr=1e-4"])
    assert from_json(json.loads(done.out)) == wanted
    (tmp_path / "run.json").write_text(done.out)
    again = command("train", tmp_path / "run.json", "--show")
    assert again.out == done.out


def test_a_run_goes_to_the_engine(command: Any, engine: Engine, tmp_path: Path) -> None:
    done = command("train", "cea-s@cdd11", "--data", tmp_path, "--out", tmp_path / "x", "--set", "steps=9")
    assert done.code == 0
    assert done.out == f"{tmp_path / 'x' / 'weights.safetensors'}  after 7 of 9 steps\n"
    (call,) = engine.calls
    assert call.run == change(RECIPES["cea-s@cdd11"](), ["steps=9"])
    assert (call.data, call.out, engine.seconds) == (tmp_path, tmp_path / "x", float("inf"))
    assert vars(call.options) == {
        "device": "auto",
        "workers": 0,
        "cache_bytes": 4_000_000_000,
        "limit": None,
        "save_seconds": 600,
        "force": False,
        "progress": True,
        "tensorboard": True,
        "compile": False,
        "channels_last": False,
    }


def test_every_option_reaches_the_engine(command: Any, engine: Engine, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--workers", "3", "--cache-gb", "0.5", "--limit", "5", "--force", "--quiet")
    more = ("--minutes", "2", "--save-minutes", "0.5", "--no-tensorboard", "--compile", "--channels-last")
    arguments = ("--data", tmp_path, "--out", tmp_path, *options, *more)
    assert command("train", "cea-s@aio3", *arguments).code == 0
    assert engine.seconds == pytest.approx(120, abs=60)  # less what has passed since the start
    assert vars(engine.calls[0].options) == {
        "device": "cpu",
        "workers": 3,
        "cache_bytes": 500_000_000,
        "limit": 5,
        "save_seconds": 30,
        "force": True,
        "progress": False,
        "tensorboard": False,
        "compile": True,
        "channels_last": True,
    }


def test_a_written_run_is_a_recipe(command: Any, engine: Engine, tmp_path: Path) -> None:
    run = change(RECIPES["promptir@aio3"](), ["model.name=tiny", "epochs=20"])
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run.to_json()))
    done = command("train", path, "--data", tmp_path, "--out", tmp_path, "--set", "seed=3")
    assert done.code == 0
    assert engine.calls[0].run == change(run, ["seed=3"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_in_the_exit_code(
    command: Any, engine: Engine, tmp_path: Path, number: signal.Signals
) -> None:
    engine.ended_by = int(number)
    done = command("train", "cea-s@aio3", "--data", tmp_path, "--out", tmp_path)
    assert done.code == 128 + number
    assert "after 7 of 9 steps" in done.out


def test_weights_are_exported_however_the_run_ended(
    command: Any, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyrestore.training import export

    asked: list[tuple[Path, Path, int]] = []

    def export_run(run: Path, to: Path, *, most: int) -> list[Path]:
        asked.append((run, to, most))
        (to / "part").write_bytes(b"1234")
        return [to / "part"]

    monkeypatch.setattr(export, "export_run", export_run)
    out, home = tmp_path / "run", tmp_path / "home"
    words = ("train", "cea-s@aio3", "--data", tmp_path, "--out", out, "--export", home)
    assert command(*words).code == 0
    engine.ended_by = int(signal.SIGTERM)
    done = command(*words, "--shard-mib", "0.5")
    assert done.code == 143
    assert done.out.endswith(f"{home}  1 files, the largest of 4 bytes\n")
    assert asked == [(out, home, 15 << 20), (out, home, 1 << 19)]
    engine.error = DataError("no end")
    assert command(*words).code == 3
    assert len(asked) == 2


AIO3 = ["cea-s@aio3", "--data", "d", "--out", "o"]
WRONG: dict[str, tuple[list[str], str]] = {
    "no recipe": ([], "expected a recipe or a run's JSON file, came none"),
    "unknown": (["cea-s@aio4"], "did you mean cea-s@aio"),
    "no such file": (["nowhere/run.json"], "expected a recipe or a run's JSON file"),
    "no folders": (["cea-s@aio3"], "expected --data DIR and --out DIR"),
    "unknown field": (["cea-s@aio3", "--set", "optimizer.lrr=1"], "optimizer.lrr: no such field"),
    "no network": (
        ["exda-x@aio3", "--data", "d", "--out", "o"],
        "this version has no network exda-x; --set model.name=cea-s trains another",
    ),
    "workers": (
        ["cea-s@aio3", "--workers", "-1"],
        "--workers: expected a whole number of at least 0, got '-1'",
    ),
    "no data name": (["cea-s@aio3", "--data", ""], "--data: expected a folder, got ''"),
    "no out name": (["cea-s@aio3", "--out", ""], "--out: expected a folder, got ''"),
    "endless cache": (
        [*AIO3, "--cache-gb", "inf"],
        "this machine's memory, for decoded pictures (--cache-gb)",
    ),
    "vast cache": ([*AIO3, "--cache-gb", "1e9"], "came 1e+09; give less"),
    "crop": (
        [*AIO3, "--set", "phases.crop=33"],
        "phases.0.crop: expected a multiple of 8 for cea-s, came 33",
    ),
    "minutes": (["cea-s@aio3", "--minutes", "nan"], "--minutes"),
    "cache": (["cea-s@aio3", "--cache-gb", "lots"], "--cache-gb"),
    "shards": ([*AIO3, "--export", "e", "--shard-mib", "0"], "--shard-mib: expected a number above 0"),
}


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("case", WRONG)
def test_wrong_commands(command: Any, engine: Engine, case: str) -> None:
    arguments, sentence = WRONG[case]
    done = command("train", *arguments)
    assert (done.code, done.out, engine.calls) == (2, "", [])
    assert sentence in done.err


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', "\xff"])
def test_a_file_that_is_no_run(command: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="latin-1")
    done = command("train", path, "--show")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


def test_without_the_extra_it_says_what_to_install(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [n for n in sys.modules if n.startswith(("anyrestore.training.loop", "accelerate"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    done = command("train", "cea-s@aio3", "--data", tmp_path, "--out", tmp_path)
    assert done.code == 2
    assert done.err == "anyrestore: training needs more packages: pip install 'anyrestore[train]'\n"
    assert command("train", "--list").code == 0
    assert command("train", "cea-s@aio3", "--show").code == 0


def test_of_several_processes_the_first_one_speaks(
    command: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcomes = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        outcomes.append(command("train", "cea-s@aio3", "--data", tmp_path, "--out", tmp_path))
        outcomes.append(command("train", "nonsense"))
    assert [done.code for done in outcomes] == [0, 2, 0, 2]
    assert [bool(done.out) for done in outcomes] == [True, False, False, False]
    assert [bool(done.err) for done in outcomes] == [False, True, False, False]
    assert [call.options.progress for call in engine.calls] == [True, False]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_an_output_that_cannot_be_a_folder(command: Any, engine: Engine, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    done = command("train", "cea-s@aio3", "--data", tmp_path, "--out", tmp_path / "file" / below)
    assert (done.code, done.out, engine.calls) == (4, "", [])
    assert done.err.startswith("anyrestore: expected a folder for --out, but ")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_an_output_where_nothing_can_be_stored(command: Any, engine: Engine, tmp_path: Path) -> None:
    for out in ("/proc/x", "/proc"):
        done = command("train", "cea-s@aio3", "--data", tmp_path, "--out", out)
        assert (done.code, done.out, engine.calls) == (4, "", [])
        assert len(done.err.splitlines()) == 1


OUT_OF_MEMORY = {
    "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB"),
    "numpy": MemoryError("Unable to allocate 9.00 GiB"),
}


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_out_of_memory(
    command: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    engine.error = OUT_OF_MEMORY[kind]
    for rank in ("0", "1"):  # each has its own memory, so each says it
        monkeypatch.setenv("RANK", rank)
        done = command("train", "cea-s@aio3", "--data", tmp_path, "--out", tmp_path)
        assert done.code == 3
        advice = "memory ran out; lower phases.batch or phases.crop, or raise accumulate"
        assert done.err == f"anyrestore: {advice}\n"


def test_a_defect_is_not_hidden(
    command: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine.error = RuntimeError("shapes differ")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(RuntimeError, match="shapes differ"):
            command("train", "cea-s@aio3", "--data", tmp_path, "--out", tmp_path)


class DistBackendError(RuntimeError):
    """Named as one of torch.distributed's."""


FAILURES: dict[str, tuple[Exception, int, str]] = {
    "ours": (DataError("diverged", code="diverged"), 3, "diverged"),
    "stored": (OutputError("disk full"), 4, "disk full"),
    "system": (OSError(5, "Input/output error"), 3, "Input/output error"),
    "peer": (RuntimeError("[tcp] Connection closed by peer [::1]:9\nmore"), 3, "was lost ([tcp] Connection"),
    "class": (DistBackendError("unhandled system error"), 3, "(unhandled system error); start the same"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_of_several_processes_the_first_one_says_what_failed(
    command: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    engine.error, code, sentence = FAILURES[case]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        done = command("train", "cea-s@aio3", "--data", tmp_path, "--out", tmp_path)
        assert (done.code, done.out) == (code, "")
        assert len(done.err.splitlines()) == (rank == "0")
        assert (sentence in done.err) == (rank == "0")
