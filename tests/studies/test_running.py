"""A study in miniature: trained, killed and gone on with, scored, printed; in children side by side too."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from anyrestore.cli.main import main
from anyrestore.evaluation.results import read_results
from anyrestore.studies import running, toys

# Training under the checks of shapes is tested in tests/training.
pytestmark = pytest.mark.usefixtures("unchecked")

TINY = ["steps=2", "phases.crop=16", "phases.batch=2", "model.width=8", "checkpoints.every=1", "log_every=1"]
TINY += ["validation.count=2", "validation.crop=16", "validation.held_out=2"]


def arguments(study: str, data: Path, out: Path, *more: str) -> list[str]:
    settings = [word for setting in TINY for word in ("--set", setting)]
    return ["study", study, "--data", str(data), "--out", str(out), "--jobs", "1", *settings, *more]


def scores(out: Path) -> dict[str, Any]:
    """Everything that is measured, without times."""
    found = {}
    for path in sorted(out.rglob("results.json")):
        results = read_results(path.parent)
        found[str(path.parent.relative_to(out))] = {
            entry.name: (entry.data_sha256, entry.values("psnr").tolist(), entry.values("ssim").tolist())
            for entry in results.entries
        }
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was trained, in order."""
    done: list[str] = []
    work = running._work

    def noted(job: running.Job, **options: Any) -> int | None:
        done.append(job.title)
        return work(job, **options)

    monkeypatch.setattr(running, "_work", noted)
    return done


def test_end_to_end(
    training_root: Path, tmp_path: Path, quick: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    command = arguments("cea-generator", training_root, tmp_path, "--seeds", "2", "--device", "cpu")
    assert main(command) == 0
    assert quick == ["queries, seed 0", "pooled, seed 0", "queries, seed 1", "pooled, seed 1"]
    printed = capfd.readouterr().out
    assert printed == (tmp_path / "cea-generator/table.txt").read_text()
    assert "not the paper's budget" in printed
    assert re.search(r"29\.14/\.882 +-0\.65", printed)  # the paper's
    assert "Values of images are means over 2 seeds" in printed
    content = json.loads((tmp_path / "cea-generator/study.json").read_text())
    queries, pooled, degraded = content["rows"]
    assert queries["seeds"] == pooled["seeds"] == 2
    assert pooled["differences"]["psnr"]["difference"] == pytest.approx(
        pooled["means"]["psnr"] - queries["means"]["psnr"]
    )
    assert pooled["parameters"] != queries["parameters"] > 0
    assert list(queries["groups"]) == ["single", "double", "triple"]
    assert len(degraded["entries"]) == 11
    # Every seed on the same pictures.
    found = scores(tmp_path / "cea-generator")
    assert list(found) == ["pooled/seed0", "pooled/seed1", "queries/seed0", "queries/seed1"]
    for entry in found["queries/seed0"]:
        assert len({one[entry][0] for one in found.values()}) == 1
        assert found["queries/seed0"][entry][1] != found["queries/seed1"][entry][1]

    # Stored as `evaluate` stores them.
    stored = read_results(tmp_path / "cea-generator/pooled/seed1")
    assert set(stored.machine) >= {"cpu", "cores"}
    assert set(stored.versions) == {"anyrestore", "torch", "numpy", "python"}
    begin = "anyrestore study cea-generator --budget small --data DATA --out OUT --seeds 2 --set steps=2 "
    assert stored.command.startswith(begin)
    assert stored.command.endswith(" --device cpu")
    assert len(stored.weights_sha256 or "") == 64

    # Again: nothing is trained, the same is printed.
    quick.clear()
    assert main(command) == 0
    assert quick == []
    assert capfd.readouterr().out == printed

    # Only what is not there is made again, and it is the same.
    (tmp_path / "cea-generator/pooled/seed1/results.json").unlink()
    assert main(command) == 0
    assert quick == ["pooled, seed 1"]
    assert scores(tmp_path / "cea-generator") == found

    # Other settings in the same folder are refused.
    assert main([*command, "--set", "optimizer.lr=0.1"]) == 2


def test_forced_experts(
    training_root: Path, tmp_path: Path, quick: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    command = arguments("moce-experts", training_root, tmp_path, "--set", "model.width=16")
    assert main([*command, "--device", "cpu"]) == 0
    assert quick == ["learned, seed 0"]
    found = scores(tmp_path / "moce-experts")
    assert list(found) == [
        f"{name}/seed0" for name in ("expert1", "expert2", "expert3", "expert4", "learned")
    ]
    derained = [tuple(one["derain"][1]) for one in found.values()]
    assert len(set(derained[:4])) == 4  # every expert does something else
    assert "expert 4 forced" in capfd.readouterr().out


def test_toys(
    tmp_path: Path,
    quick: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sklearn")
    few = {toy: (degraded[:2], clean[:2]) for toy, (degraded, clean) in toys.held_out().items()}
    monkeypatch.setattr(toys, "held_out", lambda: few)
    command = ["study", "exda-toys", "--out", str(tmp_path), "--set", "steps=1", "--jobs", "1"]
    assert main(command) == 0
    assert len(quick) == 6
    printed = capfd.readouterr().out
    assert "functions" in printed
    assert "digits" in printed
    assert "dpaper" not in printed  # no row of a toy was published
    assert max(map(len, printed.splitlines())) <= 110
    assert main(command) == 0
    assert len(quick) == 6


def test_killed_and_side_by_side(training_root: Path, tmp_path: Path) -> None:
    """Two children, all killed on the way; the same command goes on and ends as if nothing had happened."""
    more = ("--jobs", "2", "--quiet", "--set", "steps=24", "--set", "checkpoints.every=2", "--device", "cpu")
    out = tmp_path / "killed"
    command = arguments("cea-ranknorm", training_root, out, *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "anyrestore", *command],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    stored = out / "cea-ranknorm/with/seed0/checkpoints"
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and process.poll() is None and not any(stored.glob("*")):
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert any(stored.glob("*"))
    assert not (out / "cea-ranknorm/study.json").exists()
    assert main(command) == 0
    assert main(arguments("cea-ranknorm", training_root, tmp_path / "whole", *more[3:])) == 0
    assert scores(out) == scores(tmp_path / "whole")


def test_a_variant_that_cannot_be_trained_is_told(
    training_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("--jobs", "2", "--set", "optimizer.lr=1e30", "--set", "patience=1", "--set", "steps=30")
    assert main(arguments("cea-ranknorm", training_root, tmp_path, *more, "--device", "cpu")) == 3
    assert "gave no finite gradient" in capfd.readouterr().err


def test_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--list"]) == 0
    assert "cea-factors       4" in capfd.readouterr().out
    assert main(["study", "cea-rank", "--show", "--budget", "paper"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert [run["model"]["options"]["rank"] for run in shown.values()] == [8, 4, 16]
    assert main(["study", "exda-toys", "--show", "--set", "steps=3"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["linear"] == {"steps": 3, "options": {"value": "linear", "whole": False}}
    assert main(["study", "cea-rank", "--show", "--photographs", "a,"]) == 2
    assert main(["study"]) == 2
    assert main(["study", "cea-rank", "--out", str(tmp_path)]) == 2
    assert main(["study", "cea-rank", "--show", "--budget", "paper", "--photographs", "x"]) == 2
    assert main(["study", "exda-toys", "--out", str(tmp_path), "--set", "rank=3"]) == 2
    assert main(["study", "exda-toys", "--out", str(tmp_path), "--budget", "paper"]) == 2
    assert main(["study", "cea-rank", "--data", str(tmp_path), "--out", str(tmp_path), "--jobs", "1"]) == 3
    assert "Expected pictures in" in capfd.readouterr().err


def test_too_few_pictures_are_told_before_training(
    training_root: Path, tmp_path: Path, quick: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(next(training_root.rglob("*.png")), tmp_path / "data")
    assert main(arguments("cea-ranknorm", tmp_path / "data", tmp_path / "out")) == 3
    assert quick == []
    assert "expected at least two pictures" in capfd.readouterr().err


def test_a_stop_while_scoring_is_quiet(training_root: Path, tmp_path: Path) -> None:
    """The parent ends its children, which by then do not listen to the engine any more."""
    more = ("--jobs", "2", "--quiet", "--device", "cpu", "--set", "validation.count=200")
    command = arguments("cea-ranknorm", training_root, tmp_path, *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "anyrestore", *command],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    weights = tmp_path / "cea-ranknorm/with/seed0/weights.safetensors"
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None and not weights.exists():
        time.sleep(0.05)
    assert weights.exists()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"leaked" not in told
    assert b"Traceback" not in told
