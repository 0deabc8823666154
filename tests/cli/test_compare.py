import json
from pathlib import Path
from typing import Any

import pytest

from stored_results import content_of, entries_from, write

BASE = [25.0 + i / 4 for i in range(20)]
BETTER = [value + 0.5 + (i % 3) / 10 for i, value in enumerate(BASE)]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    a = write(tmp_path / "a", content_of(entries_from({"x": BASE, "y": BASE}), model="first"))
    return a, write(tmp_path / "b.json", content_of(entries_from({"x": BETTER, "y": BASE}), model="second"))


def test_a_table_and_a_file(command: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = pair
    done = command("compare", a, b, "--resamples", 200, "--json", tmp_path / "c.json", "--seed", 3)
    assert (done.code, done.err) == (0, "")
    rows = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert rows["x"].endswith("B is better")
    assert rows["y"].endswith("no difference shown")
    assert "+0.59" in rows["x"]
    stored = json.loads((tmp_path / "c.json").read_text())
    assert (stored["kind"], stored["seed"], stored["resamples"]) == ("comparison", 3, 200)
    assert stored["lines"][0]["paired"]["difference"] == pytest.approx(0.595)


def test_entries_and_metric_can_be_chosen(command: Any, pair: tuple[Path, Path]) -> None:
    done = command("compare", *pair, "--benchmark", "y,x", "--metric", "ssim", "--resamples", 20)
    assert done.code == 0
    assert "mean of these 2" in done.out
    assert "SSIM, higher is better" in done.out


def test_several_runs_on_a_side_and_their_summary(command: Any, tmp_path: Path) -> None:
    for side, values in (("a", BASE), ("b", BETTER)):
        for seed in (1, 2):
            shifted = [value + seed / 10 for value in values]
            write(tmp_path / side / f"seed{seed}", content_of(entries_from({"x": shifted})))
    runs = [tmp_path / "b" / "seed1", tmp_path / "b" / "seed2"]
    for words in ((tmp_path / "a", tmp_path / "b"), ("--a", tmp_path / "a", "--b", *runs)):
        done = command("compare", *words, "--resamples", 50)
        assert done.code == 0
        assert " ± 0.07" in done.out
    done = command("compare", "--summary", *runs, "--resamples", 50)
    assert (done.code, done.out[:6]) == (0, "2 runs")
    assert "sd over runs" in done.out


def test_what_differs_is_refused(command: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = write(tmp_path / "o.json", content_of(entries_from({"x": BASE}), protocol="moce"))
    done = command("compare", pair[0], other)
    assert (done.code, done.out) == (2, "")
    assert "The protocols differ" in done.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["A"], "Expected two results"),
        (["A", "B", "--a", "A", "--b", "B"], "Expected two results"),
        (["--a", "A"], "Expected two results"),
        (["--summary"], "the runs of one model"),
        (["A", "B", "--metric", "niqe"], "Expected a metric"),
        (["A", "B", "--seed", "-1"], "--seed"),
    ],
)
def test_options_that_are_not_right(
    command: Any, pair: tuple[Path, Path], words: list[str], sentence: str
) -> None:
    paths = {"A": str(pair[0]), "B": str(pair[1])}
    done = command("compare", *(paths.get(word, word) for word in words))
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_a_file_that_is_no_results_is_told(command: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = command("compare", pair[0], tmp_path / "none.json")
    assert done.code == 3
    assert "there is no file" in done.err


def test_control_characters_of_a_file_do_not_reach_the_terminal(command: Any, tmp_path: Path) -> None:
    entries = entries_from({"x\x1b[31m": BASE})
    a = write(tmp_path / "a.json", content_of(entries, model="m\x1b]0;owned\x07"))
    done = command("compare", a, a, "--resamples", 10)
    assert done.code == 0
    assert "\x1b" not in done.out
