"""`anyrestore bench`: the tables it prints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anyrestore.benchmark import cost_report, survey
from anyrestore.cli.main import build_parser
from anyrestore.image import Picture, write
from anyrestore.training import speed


def test_data_prints_crops_per_second_and_shares(command: Any, training_root: Path) -> None:
    options = ("--seconds", 0.1, "--crop", 16, "--batch", 4, "--cache-gb", 0.02)
    done = command("bench", "data", "composite", "--data", training_root, *options)
    assert (done.code, done.err) == (0, "")
    about, head, cold, warm = done.out.splitlines()
    assert about.startswith("composite, 28 files, crops of 16 px, batches of 4;")
    assert head.split() == [
        "pictures",
        "processes",
        "crops/s",
        "per",
        "core",
        *("decode", "cut", "collate", "degrade"),
    ]
    for line, state in ((cold, "cold"), (warm, "warm")):
        assert line.startswith(f"{state}      this one")
        assert line.count("%") == 4
        shares = [int(part.split("%")[0]) for part in line.split("(")[1:]]
        assert sum(shares) == pytest.approx(100, abs=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fog", "--data", "."), "expected a mixture among promptir-aio3"),
        (("composite", "--data", ".", "--workers", "-1"), "not negative"),
        (("composite", "--data", ".", "--cache-gb", "inf"), "this machine's memory"),
        (("composite", "--data", ".", "--seconds", "nan"), "more than 0 seconds"),
    ],
)
def test_wrong_options_are_told(command: Any, arguments: tuple[str, ...], says: str) -> None:
    done = command("bench", "data", *arguments)
    assert done.code == 2
    assert says in done.err


def test_data_that_is_not_there_is_told(command: Any, tmp_path: Path) -> None:
    done = command("bench", "data", "composite", "--data", tmp_path)
    assert done.code != 0
    assert "BSDS500-365" in done.err


def test_tiles_are_compared(command: Any, tmp_path: Path) -> None:
    write(Picture(pixels=np.full((40, 40, 3), 50, np.uint8)), tmp_path / "in.png")
    done = command("bench", "tiles", tmp_path / "in.png", "--side", 24, "--side", 32)
    assert done.code == 0
    assert [line.split()[:2] for line in done.out.splitlines()[2:]] == [
        [side, tiles] for side in ("24", "32") for tiles in ("own", "shared")
    ]


def test_a_folder_is_compared_with_single_calls(command: Any, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write(Picture(pixels=np.full((20, 30, 3), 50, np.uint8)), tmp_path / name)
    done = command("bench", "folder", tmp_path, "--model", "tiny", "--repeats", 1)
    assert (done.code, done.err) == (0, "")
    about, _, *rows, gain = done.out.splitlines()
    assert about.startswith("2 pictures, 0.0 MP, 1 rounds, ")
    assert [row.rsplit(maxsplit=3)[0].strip() for row in rows] == ["loop", "model alone", "folder"]
    assert float(rows[2].split()[-1]) == pytest.approx(float(gain.split()[1].strip(",")), abs=0.002)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_debug_is_understood_before_and_after_what_is_measured() -> None:
    parse = build_parser().parse_args
    assert parse(["bench", "tiles", "a.png", "--debug"]).debug
    assert parse(["bench", "--debug", "tiles", "a.png"]).debug
    assert not parse(["bench", "tiles", "a.png"]).debug


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(survey.REFERENCES, "cpu", (16, 4096))


COST = ("bench", "cost", "nafnet-tiny", "--device", "cpu", "--no-peak", "--repeats", 5)


def test_cost_prints_a_table_and_writes_files(small_machine: None, command: Any, tmp_path: Path) -> None:
    page = tmp_path / "cost.md"
    page.write_text(f"# Cost\n{cost_report.BEGIN}\n\n{cost_report.END}\n")
    files = ("--json", tmp_path / "cost.json", "--markdown", page)
    done = command(*COST, "--size", "16,32", *files, "--seconds", 0.01)
    assert (done.code, done.err) == (0, "")
    _, head, first, second, *machine = done.out.splitlines()
    assert head.split()[0] == "model"
    assert [line.split()[:2] for line in (first, second)] == [["nafnet-tiny", "16"], ["nafnet-tiny", "32"]]
    assert len(machine) == 2
    stored = json.loads((tmp_path / "cost.json").read_text())
    assert [row["runs"] for row in stored["rows"]] == [5, 5]
    assert stored["command"].startswith(
        "anyrestore bench cost nafnet-tiny --size 16,32 --device cpu --repeats 5 --seconds 0.01 --json "
    )
    assert stored["command"].endswith(" --no-peak")
    assert f"\n{stored['command']}\n" in page.read_text()
    assert page.read_text().startswith("# Cost\n")


def test_the_command_that_is_written_means_the_same(
    small_machine: None, command: Any, tmp_path: Path
) -> None:
    options = ["--batch", "2", "--precision", "bfloat16", "--channels-last", "--seed", "3", "--threads", "1"]
    file = tmp_path / "a name.json"
    command(*COST, "--size", "16", "--memory-gb", "1.5", "--warmup", "2", "--json", file, *options)
    import shlex

    words = shlex.split(json.loads(file.read_text())["command"])
    arguments = [str(word) for word in COST] + ["--size", "16", "--memory-gb", "1.5", "--warmup", "2"]
    parse = build_parser().parse_args
    assert parse(words[1:]) == parse([*arguments, "--json", str(file), *options])


def test_ctrl_c_prints_what_is_finished(
    small_machine: None, command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    passes: list[int] = []
    product = torch.mm

    def interrupted(*arguments: Any, **more: Any) -> torch.Tensor:
        passes.append(1)
        if len(passes) == 6:  # warm-up and three rounds at 16, then warm-up and a half round at 32
            raise KeyboardInterrupt
        return product(*arguments, **more)

    monkeypatch.setattr(torch, "mm", interrupted)
    file = tmp_path / "cost.json"
    done = command(*COST[:-1], 3, "--size", "16,32", "--json", file)
    assert done.code == 130
    assert "nafnet-tiny    16" in done.out
    first, second = (row["runs"] for row in json.loads(file.read_text())["rows"])
    assert first == 3
    assert second < 3
    assert len(passes) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tiny", "tiny"), "each once"),
        (("tiny", "--size", "32,x"), "whole number of at least 1"),
        (("tiny", "--seconds", "0"), "more than 0 seconds"),
        (("tiny", "--memory-gb", "nan"), "--memory-gb: expected more than 0"),
        (("tiny", "--plot", "plot.jpg"), ".svg or .png"),
    ],
)
def test_costs_that_cannot_be_measured_are_told(
    command: Any, arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("bench", "cost", *arguments)
    assert done.code == 2
    assert says in done.err
    assert done.out == ""


def test_files_that_could_not_be_written_are_told_before_measuring(command: Any, tmp_path: Path) -> None:
    done = command(*COST, "--json", tmp_path / "no" / "cost.json")
    assert (done.code, done.out) == (4, "")
    foreign = tmp_path / "page.md"
    foreign.write_text("mine")
    done = command(*COST, "--markdown", foreign)
    assert (done.code, done.out) == (2, "")
    assert foreign.read_text() == "mine"


def test_train_prints_a_table_writes_json_and_says_what_fits(
    small_machine: None, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(speed._WINDOW, "cpu", 1e-6)  # a step a window
    file = tmp_path / "a.json"
    changes = ("--set", "model.name=tiny", "--set", "model.start=none", "--set", "phases.crop=16")
    options = ("--device", "cpu", "--no-compile", "--seconds", 0.001, "--minutes", 1, "--json", file)
    done = command("bench", "train", "cea-t-continued", *changes, *options)
    assert (done.code, done.err) == (0, "")
    about, head, *rows = done.out.splitlines()
    assert about.startswith("cea-t-continued: 4 crops of 16 px a step on cpu")
    assert head.split()[:2] == ["row", "crops/s"]
    assert rows[0].startswith("fp32 ")
    assert "--set steps=" in rows[-1]
    stored = json.loads(file.read_text())
    assert stored["rows"][0]["crops_per_second"] > 0
    assert stored["rows"][3]["crops_per_second"] is None
    assert stored["flops_a_crop"] > 1e6
    assert "--set model.name=tiny" in stored["command"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("nothing",), "expected a recipe"),
        (("cea-t-continued", "--minutes", "0"), "--minutes: expected more than 0"),
        (("cea-t-continued", "--workers", "-1"), "--workers"),
        (("cea-t-continued", "--set", "batch=3"), "no such field"),
    ],
)
def test_wrong_options_of_train_are_told(command: Any, options: tuple[str, ...], says: str) -> None:
    done = command("bench", "train", *options, "--device", "cpu")
    assert done.code == 2
    assert says in done.err
