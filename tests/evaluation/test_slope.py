"""What more crops are worth: the line, its interval, and what may not stand in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore.errors import DataError, UsageError
from anyrestore.evaluation.comparison import compare
from anyrestore.evaluation.results import read_results
from anyrestore.evaluation.slope import slopes, table, weights_of
from command_runs import Command, runner
from stored_results import content_of, entries_from, write

FIRST = [25.0 + i / 4 for i in range(20)]
CROPS = (100_000, 200_000, 400_000)


def risen(by: float) -> list[float]:
    """Higher, by a little more in some images than in others."""
    return [value + by * (1 + (i % 5 - 2) / 10) for i, value in enumerate(FIRST)]


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Results after 100, 200 and 400 thousand crops: +0.5 dB, +0.3 (x); the same (y); partly exact (z)."""
    return [
        write(
            tmp_path / str(crops),
            content_of(
                entries_from({"g-x": risen(by), "g-y": FIRST, "z": [None, *FIRST[1:]]}),
                crops={"64": crops - 1, "128": 1},
            ),
        )
        for crops, by in zip(CROPS, (0.0, 0.5, 0.8), strict=True)
    ]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    return runner(capfd)


@pytest.mark.parametrize("crops", [(1, 2), (3, 5, 90), (189_144, 222_744, 246_744, 266_744)])
def test_weighted_scores_are_the_least_squares_line(crops: Sequence[int]) -> None:
    scores = np.random.default_rng(len(crops)).normal(25, 2, len(crops))
    assert weights_of(crops) @ scores == pytest.approx(np.polyfit(np.log2(crops), scores, 1)[0])


def test_the_slope_of_an_entry_and_of_the_last_two(three: list[Path]) -> None:
    runs = [read_results(path) for path in three]
    found = slopes(runs, resamples=500)
    assert [point.crops for point in found.points] == list(CROPS)
    x, y, z = found.lines
    assert x.scores == pytest.approx([np.mean(FIRST) + by for by in (0.0, 0.5, 0.8)])
    assert (x.slope, x.last) == (pytest.approx(0.4), pytest.approx(0.3))
    assert (y.slope, y.low, y.high, y.last) == pytest.approx((0, 0, 0, 0), abs=1e-12)
    assert (z.n, z.left_out) == (19, 1)
    (mean,) = found.means
    assert (mean.name, mean.slope) == ("mean of 2 g", pytest.approx(0.2))


def test_between_two_points_it_is_the_comparison_of_both(three: list[Path]) -> None:
    """Per doubling; with the same draws, so with the same interval."""
    a, b = (read_results(path) for path in three[1:])
    found = slopes([a, b], resamples=700, seed=5)
    compared = compare([a], [b], resamples=700, seed=5)
    for ours, theirs in ((found.lines[0], compared.lines[0]), (found.means[0], compared.means[0])):
        assert theirs.paired is not None
        assert ours.slope == pytest.approx(theirs.paired.difference)
        assert (ours.low, ours.high) == (pytest.approx(theirs.paired.low), pytest.approx(theirs.paired.high))
        assert (ours.last, ours.last_low, ours.last_high) == (ours.slope, ours.low, ours.high)


def test_results_come_in_any_order_and_crops_may_be_said(three: list[Path]) -> None:
    runs = [read_results(path) for path in three]
    turned = slopes(list(reversed(runs)), resamples=50)
    assert turned.lines == slopes(runs, resamples=50).lines
    assert turned.points == slopes(runs, resamples=50).points
    said = slopes(runs, crops=[16, 1, 4], resamples=50)
    assert [point.crops for point in said.points] == [1, 4, 16]
    assert said.lines[0].scores[0] == pytest.approx(np.mean(risen(0.5)))
    assert said.lines[0].last == pytest.approx((0.0 - 0.8) / 2)


def test_an_entry_that_is_exact_has_no_slope(tmp_path: Path) -> None:
    for i in (1, 2):
        write(tmp_path / str(i), content_of(entries_from({"x": [None, None]}), crops={"64": i}))
    found = slopes([read_results(tmp_path / "1"), read_results(tmp_path / "2")], resamples=10)
    assert (found.lines[0].slope, found.lines[0].n) == (None, 0)
    assert "exact" in table(found)


def test_the_command_prints_and_stores_it(command: Command, three: list[Path], tmp_path: Path) -> None:
    done = command("compare", "--slope", *three, "--resamples", 100, "--json", tmp_path / "s.json")
    assert (done.code, done.err) == (0, "")
    rows = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert "100,000 crops" in done.out
    assert "+0.40" in rows["g-x"]
    assert "+0.30" in rows["g-x"]
    stored = json.loads((tmp_path / "s.json").read_text())
    assert (stored["kind"], stored["points"][2]["crops"]) == ("slope", 400_000)
    assert stored["lines"][0]["slope"] == pytest.approx(0.4)
    again = command("compare", "--slope", *three, "--crops", "100_000,200000,400000", "--resamples", 100)
    assert again.out == done.out


def test_what_has_no_slope_is_refused(command: Command, three: list[Path], tmp_path: Path) -> None:
    unknown = write(tmp_path / "old", content_of(entries_from({"g-x": FIRST})))
    wrong: list[tuple[list[Any], str]] = [
        ([three[0]], "at least two results of one model"),
        ([three[0], three[0]], "after different numbers of crops, got 100,000, 100,000"),
        ([three[0], unknown], "does not; give --crops"),
        ([*three, "--crops", "1,2"], "a number for each of the 3 results, got 2"),
        ([*three, "--crops", "1,x,3"], "expected whole numbers above 0"),
        ([*three, "--crops", "1,0,3"], "expected whole numbers above 0"),
        ([*three, "--summary"], "the runs of one model after --slope, and nothing else"),
        ([], "the runs of one model after --slope"),
    ]
    for words, sentence in wrong:
        done = command("compare", "--slope", *words)
        assert (done.code, done.out) == (2, ""), words
        assert sentence in done.err
    assert "--crops needs --slope" in command("compare", *three[:2], "--crops", "1,2").err


def test_crops_that_are_no_counts_are_refused(tmp_path: Path) -> None:
    for crops in ({"64": -1}, {"side": 3}, {"64": "3"}, [3]):
        path = write(tmp_path / "r.json", content_of(entries_from({"x": FIRST}), crops=crops))
        with pytest.raises(DataError, match="crops"):
            read_results(path)


def test_usage_errors_are_the_librarys_too(three: list[Path]) -> None:
    with pytest.raises(UsageError):
        slopes([read_results(three[0])])
