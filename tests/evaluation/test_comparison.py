import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore.errors import DataError, UsageError
from anyrestore.evaluation.comparison import (
    METRICS,
    as_dict,
    compare,
    comparison_table,
    estimates,
    summarise,
    summary_table,
)
from anyrestore.evaluation.results import Results, read_results
from anyrestore.evaluation.statistics import paired, stratified_paired
from stored_results import content_of, entries_from, entry_of, image_of, write

N = 20
BASE = [25.0 + i / 4 for i in range(N)]
BETTER = [value + 0.5 + (i % 5) / 10 for i, value in enumerate(BASE)]
MIXED = [value + (1.0 if i % 2 else -1.0) for i, value in enumerate(BASE)]


@pytest.fixture
def results(tmp_path: Path) -> Any:
    count = iter(range(100))

    def make(entries: Sequence[dict[str, Any]], **more: Any) -> Results:
        return read_results(write(tmp_path / f"r{next(count)}.json", content_of(entries, **more)))

    return make


def test_each_entry_is_paired_image_by_image(results: Any) -> None:
    a = results(entries_from({"x": BASE, "y": BASE, "z": BASE[:9]}))
    b = results(entries_from({"x": BETTER, "y": MIXED, "z": BETTER[:9]}))
    found = compare([a], [b], resamples=500)
    x, y, z = found.lines
    assert x.paired is not None
    assert x.paired.difference == pytest.approx(0.7)
    assert (x.n, x.paired.probability, x.verdict) == (20, 0.0, "B is better")
    assert y.verdict == "no difference shown"
    assert z.verdict == "too few images"
    assert compare([b], [a], resamples=500).lines[0].verdict == "A is better"
    assert found.means == ()


def test_the_draws_of_an_entry_do_not_depend_on_its_neighbours_but_on_the_seed(results: Any) -> None:
    a, b = results(entries_from({"x": BASE, "y": BASE})), results(entries_from({"x": BETTER, "y": MIXED}))
    both = compare([a], [b], resamples=200)
    alone = compare([a], [b], benchmarks=["y"], resamples=200)
    assert alone.lines == both.lines[1:]
    assert compare([a], [b], benchmarks=["y"], resamples=200, seed=1).lines != alone.lines


def test_the_mean_of_a_group_draws_within_each_entry(results: Any) -> None:
    def named(name: str, prefix: str, values: Sequence[float]) -> dict[str, Any]:
        return entry_of(name, [image_of(f"{prefix}{i}", value) for i, value in enumerate(values)])

    a = results([named("g-1", "p", BASE), named("g-2", "q", BASE[:15])])
    b = results([named("g-1", "p", MIXED), named("g-2", "q", BETTER[:15])])
    (mean,) = compare([a], [b], resamples=300).means
    assert (mean.name, mean.entries, mean.n) == ("mean of 2 g", ("g-1", "g-2"), 35)
    seed = np.random.default_rng([0, zlib.crc32(b"mean of 2 g")])
    assert mean.paired == stratified_paired(
        [BASE, BASE[:15]], [MIXED, BETTER[:15]], resamples=300, generator=seed
    )


def test_entries_that_show_the_same_photographs_are_drawn_together(results: Any) -> None:
    # What the one entry gains on a photograph the other loses: their mean is the same in every resample.
    other = [value - (change - value) + 0.4 for value, change in zip(BASE, MIXED, strict=True)]
    a = results(entries_from({"g-1": BASE, "g-2": BASE}))
    b = results(entries_from({"g-1": MIXED, "g-2": other}))
    (mean,) = compare([a], [b], resamples=100).means
    assert mean.paired is not None
    assert (mean.paired.low, mean.paired.high) == pytest.approx((0.2, 0.2))


def test_a_set_across_groups_has_a_mean_only_when_it_is_whole(results: Any) -> None:
    groups = [{"group": "aio", "entries": ["x", "g-1"]}]
    whole = results(entries_from({"x": BASE, "g-1": BASE, "g-2": BASE}), groups=groups)
    part = results(entries_from({"x": BASE, "g-2": BASE}))
    named = [line.name for line in compare([whole], [whole], resamples=10).means]
    assert named == ["mean of 2 g", "mean of 2 aio"]
    found = compare([whole], [part], resamples=10)
    assert found.means == ()
    assert found.notes == ("Not in all of the results: g-1.",)
    chosen = compare([whole], [whole], benchmarks=["aio", "g-2"], resamples=10)
    assert [line.name for line in chosen.means][-1] == "mean of these 3"


def test_exact_copies_are_left_out_on_both_sides_and_told(results: Any) -> None:
    a = results(entries_from({"x": [None, *BASE], "exact": [None, None]}))
    b = results(entries_from({"x": [40.0, None, *BETTER[1:]], "exact": [50.0, None]}))
    found = compare([a], [b], benchmarks=["x", "exact"], resamples=100)
    x, exact = found.lines
    assert (x.n, x.left_out) == (19, 2)
    assert x.a == (pytest.approx(np.mean(BASE[1:])),)
    assert (exact.n, exact.left_out, exact.paired, exact.verdict) == (0, 2, None, "exact")
    assert found.means[0].verdict == "exact"
    assert "x: 2 of 21 images left out" in found.notes[0]
    assert "1 in A, 1 in B" in found.notes[0]
    assert "exact" in comparison_table(found)
    content = json.loads(json.dumps(as_dict(found), allow_nan=False))
    assert content["lines"][1]["a"] == [None]
    assert [line.left_out for line in compare([a], [b], metric="ssim", resamples=10).lines] == [0, 0]


def test_lpips_is_better_when_it_is_lower(results: Any) -> None:
    def with_lpips(value: float) -> list[dict[str, Any]]:
        return [entry_of("x", [image_of(str(i), 30.0, lpips=value + i / 1000) for i in range(N)])]

    found = compare([results(with_lpips(0.2))], [results(with_lpips(0.1))], metric="lpips", resamples=50)
    (line,) = found.lines
    assert line.paired is not None
    assert (line.verdict, line.paired.probability) == ("B is better", 0.0)
    assert "lower is better" in comparison_table(found)
    with pytest.raises(DataError, match="lpips"):
        compare([results(entries_from({"x": BASE}))], [results(with_lpips(0.1))], metric="lpips")


def test_runs_of_a_side_are_averaged_image_by_image(results: Any) -> None:
    a = [results(entries_from({"x": [v + shift for v in BASE]})) for shift in (-0.1, 0.0, 0.4)]
    b = [results(entries_from({"x": BETTER}))]
    found = compare(a, b, resamples=200)
    (line,) = found.lines
    assert line.a == pytest.approx([np.mean(BASE) + shift for shift in (-0.1, 0.0, 0.4)])
    mean = [v + 0.1 for v in BASE]
    seed = np.random.default_rng([0, zlib.crc32(b"x")])
    expected = paired(mean, BETTER, resamples=200, generator=seed)
    assert line.paired is not None
    assert (line.paired.low, line.paired.high) == pytest.approx((expected.low, expected.high))
    table = comparison_table(found)
    assert " ± 0.26 " in table  # the standard deviation of -0.1, 0, 0.4 with divisor 2
    assert "not of other runs" in table


def test_a_summary_has_mean_and_sd_over_runs(results: Any) -> None:
    runs = [results(entries_from({"x": [v + s for v in BASE]}), model=f"m{s}") for s in (0.0, 1.0, 2.0)]
    found = summarise(runs, resamples=100)
    (line,) = found.lines
    assert (line.mean, line.sd) == pytest.approx((np.mean(BASE) + 1.0, 1.0))
    assert line.low is not None
    assert line.high is not None
    assert line.low < line.mean < line.high
    assert "m2.0" in summary_table(found)
    assert as_dict(found)["kind"] == "summary"
    assert summarise(runs[:1], resamples=10).lines[0].sd is None


def test_what_differs_is_told_in_one_sentence(results: Any) -> None:
    entries = entries_from({"x": BASE})
    first = results(entries)
    other_data = [entry_of("x", entries[0]["images"], data_sha256="e" * 64)]
    cases = {
        "The protocols differ: promptir in .*r0.json', moce in": results(entries, protocol="moce"),
        "The limits differ: none in .*, 20 in": results(entries, limit=20),
        "The data of x differ: dddddddddddd… in .*, eeeeeeeeeeee… in": results(other_data),
        "The images of x differ": results(entries_from({"x": BASE[:-1]})),
        "No entry is in all": results(entries_from({"y": BASE})),
    }
    for sentence, other in cases.items():
        with pytest.raises(UsageError, match=sentence) as caught:
            compare([first], [first, other], resamples=10)
        assert caught.value.code == "results_differ"
    with pytest.raises(UsageError, match="psnr, ssim, lpips"):
        compare([first], [first], metric="niqe")
    with pytest.raises(UsageError, match=r"got 'y'.*they hold x"):
        compare([first], [first], benchmarks=["y"])


def test_estimates_leave_out_what_has_no_value(results: Any) -> None:
    run = results(entries_from({"g-1": [None, *BASE], "g-2": [None]}))
    found = estimates(run, ["g-1", "g-2"], lambda image: image.psnr, resamples=50)
    assert found["g-1"].mean == pytest.approx(np.mean(BASE))
    assert found["g-1"].low < np.mean(BASE) < found["g-1"].high
    assert (found["g-2"].mean, found["mean of 2 g"].mean) == (None, None)


def test_numbers_are_written_plainly() -> None:
    psnr = METRICS["psnr"]
    assert psnr.show(-0.5, sign=True) == "−0.50"
    assert psnr.show(0.5, sign=True) == "+0.50"
    assert psnr.show(-0.001, sign=True) == "0.00"
    assert psnr.show(math.inf) == "exact"
