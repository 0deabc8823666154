"""Coverage by simulation, SciPy on the same resamples, and a case small enough to count by hand."""

import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import pytest
from scipy import stats

from anyrestore.evaluation.statistics import interval, paired, stratified_interval, stratified_paired

RNG = np.random.default_rng


def gaps(generator: np.random.Generator, n: int) -> np.ndarray:
    """Differences in dB as they are between two models: mostly small, a few large; mean 0.3."""
    return generator.gamma(4.0, 0.1, n) - 0.1


class Script(np.random.Generator):
    """A generator that draws the index rows it is given: every resample of a tiny sample, once each."""

    def __new__(cls, n: int) -> Self:
        return super().__new__(cls, np.random.PCG64(0))

    def __init__(self, n: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.rows = np.array(list(itertools.product(range(n), repeat=n)))

    def integers(self, low: int, high: int, size: tuple[int, int]) -> np.ndarray:  # type: ignore[override]  # of one form
        assert (low, high, size) == (0, self.rows.shape[1], self.rows.shape)
        return self.rows


@pytest.mark.parametrize(
    "draw", [lambda g, n: g.normal(0.3, 1.5, n), gaps], ids=["normal", "skewed, as gains are"]
)
def test_a_95_percent_interval_covers_the_mean_in_95_percent_of_simulations(
    draw: Callable[[np.random.Generator, int], np.ndarray],
) -> None:
    # 100 images, as Rain100L has: with much fewer the percentile interval is known to be too narrow. 500
    # resamples instead of 10,000 make it quick; they move an end by a few percent of the width, either way.
    generator = RNG(1)
    covered = 0
    for _ in range(1000):
        low, high = interval(draw(generator, 100), resamples=500, generator=generator)
        covered += low <= 0.3 <= high
    assert 930 <= covered <= 970


def test_the_mean_of_entries_is_covered_too() -> None:
    generator = RNG(2)
    covered = 0
    for _ in range(1000):
        a = [generator.normal(30.0, 3.0, n) for n in (60, 40)]
        b = [
            values + offset + gaps(generator, len(values))
            for values, offset in zip(a, (0.1, -0.3), strict=True)
        ]
        found = stratified_paired(a, b, resamples=500, generator=generator)
        covered += found.low <= 0.2 <= found.high
    assert 930 <= covered <= 970


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_scipy_gives_the_same_interval_on_the_same_resamples(level: float) -> None:
    # Both draw (resamples, n) indexes from the same generator, row by row.
    values = gaps(RNG(0), 37)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=999, confidence_level=level, method="percentile", rng=RNG(5)
    ).confidence_interval
    ours = interval(values, resamples=999, level=level, generator=RNG(5))
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), rtol=1e-13)


def test_scipy_gives_the_same_paired_interval_and_probability_on_the_same_resamples() -> None:
    a = RNG(0).normal(30.0, 3.0, 25)
    b = a + RNG(1).normal(0.1, 0.5, 25)

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return y.mean(axis=axis) - x.mean(axis=axis)

    theirs = stats.bootstrap(
        (a, b), difference, paired=True, n_resamples=2000, method="percentile", rng=RNG(7)
    )
    ours = paired(a, b, resamples=2000, generator=RNG(7))
    limits = theirs.confidence_interval
    np.testing.assert_allclose((ours.low, ours.high), (limits.low, limits.high), rtol=1e-11)
    assert ours.probability == np.mean(theirs.bootstrap_distribution <= 0.0)
    assert 0.0 < ours.probability < 1.0
    assert ours.difference == pytest.approx(np.mean(b) - np.mean(a))


def test_all_resamples_of_three_images_counted_by_hand() -> None:
    # d = -1, 0, 2. Of the 27 resamples, 7 have a sum below 0 (of -1 and 0 only, but not 0 0 0) and 4 are ties
    # (0 0 0 and the three orders of -1 -1 2); 16 are above 0.
    a, b = [10.0, 20.0, 30.0], [9.0, 20.0, 32.0]
    found = paired(a, b, resamples=27, level=1 - 2 / 26, generator=Script(3))
    assert found.probability == 11 / 27
    assert (found.a, found.b) == (20.0, 61 / 3)
    # Sorted, the second smallest of the 27 means is -2/3, the second largest 4/3.
    assert (found.low, found.high) == pytest.approx((-2 / 3, 4 / 3))
    # Where lower is better, a tie is still not better.
    lower = paired(a, b, resamples=27, higher_is_better=False, generator=Script(3))
    assert lower.probability == 20 / 27


def test_equal_models_are_not_better() -> None:
    found = paired([1.0, 2.0], [1.0, 2.0], resamples=50, generator=RNG(0))
    assert (found.difference, found.low, found.high, found.probability) == (0.0, 0.0, 0.0, 1.0)


def test_entries_weigh_the_same_however_many_images_they_have() -> None:
    a, b = [[0.0] * 100, [0.0]], [[1.0] * 100, [3.0]]
    found = stratified_paired(a, b, resamples=10, generator=RNG(0))
    assert (found.b, found.low, found.high, found.probability) == (2.0, 2.0, 2.0, 0.0)


def test_images_are_drawn_within_their_entry() -> None:
    # Were they drawn from both entries together, the mean would move; within each it cannot.
    assert stratified_interval([[1.0, 1.0], [5.0, 5.0]], resamples=100, generator=RNG(0)) == (3.0, 3.0)


def test_many_images_need_little_memory_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = gaps(RNG(0), 20_000)
    tracemalloc.start()
    whole = interval(values, resamples=500, generator=RNG(3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # the indexes alone would be 80 MB for 500 resamples, 1.6 GB for 10,000
    monkeypatch.setattr("anyrestore.evaluation.statistics._CHUNK", 20_000 * 7)
    np.testing.assert_allclose(interval(values, resamples=500, generator=RNG(3)), whole, rtol=1e-13)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_values_that_have_no_mean_are_refused(values: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        interval(values, generator=RNG(0))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="two values for every image"):
        paired([1.0], [1.0, 2.0], generator=RNG(0))
    with pytest.raises(ValueError, match="at least one entry"):
        stratified_interval([], generator=RNG(0))
    for wrong in ({"resamples": 0}, {"level": 1.0}):
        with pytest.raises(ValueError, match="resample"):
            interval([1.0], generator=RNG(0), **wrong)


def test_entries_with_the_same_photographs_can_be_drawn_together() -> None:
    values = gaps(RNG(0), 30)
    together = np.stack([values, 1.0 - values])
    assert stratified_interval([together], resamples=50, generator=RNG(0)) == pytest.approx((0.5, 0.5))
    # Beside another entry each of the rows counts as one: (v + (1 - v) + 2) / 3.
    assert stratified_interval([together, [2.0]], resamples=50, generator=RNG(0)) == pytest.approx((1.0, 1.0))
