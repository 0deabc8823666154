"""How far a mean over test images can be trusted: the percentile bootstrap, plain, paired and stratified.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6, 13 and 16. A resample draws
as many images as there are, with replacement, and takes the mean again; the interval is what lies between the
percentiles of many such means (linear interpolation between order statistics, as NumPy and SciPy have it).

What is unusual: resamples are made in chunks, so that 10,000 of 20,000 images need 70 MB and not 3 GB. The
generator draws the same numbers whatever the chunk, and in the order in which `scipy.stats.bootstrap` draws
them, so that both give the same interval from the same seed.

What it does not say: the images are the sample, so an interval tells how the mean would move with other
images of the same kind, not with another training run, and not with images of another kind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Paired",
    "interval",
    "paired",
    "stratified_interval",
    "stratified_paired",
]

RESAMPLES = 10_000
"""How many resamples, unless told."""

LEVEL = 0.95
"""How much of the resampled means an interval holds, unless told."""

_CHUNK = 2**22
"""Most image indexes (8 bytes each) that are drawn at a time."""

Values = Sequence[float] | Sequence[Sequence[float]] | npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two models on the same images.

    Attributes:
        a: Mean of the first.
        b: Mean of the second.
        difference: b - a.
        low: Lower end of the difference's interval.
        high: Upper end of it.
        probability: Share of the resamples in which b is not better than a, a tie counted as not better.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    probability: float


def interval(
    values: Values,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Args:
        values: (n,) one finite value for each image, n >= 1.
        resamples: How often the images are drawn again.
        level: Share of the resampled means inside, in (0, 1).
        generator: Draws (resamples, n) indexes, row by row.

    Returns:
        The (1 - level) / 2 and (1 + level) / 2 quantiles of the resampled means. For n = 1 both are the
        value: one image says nothing about others.

    Raises:
        ValueError: No values, a value that is not finite, or `resamples` or `level` out of range.
    """
    return stratified_interval([values], resamples=resamples, level=level, generator=generator)


def stratified_interval(
    strata: Sequence[Values],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the plain mean of several entries' means.

    AIO-5's overall is the mean of its five entries, CDD-11's that of its eleven categories. Images are drawn
    again within each entry, so that every resample has as many of each as the benchmark has. Entries that
    show the same photographs (CBSD68 at three noise levels, the categories of CDD-11) are no independent
    samples: given as one array of several rows, they are drawn together, the same photographs in each.

    Args:
        strata: For each entry, (n,) one finite value for each image; or, for k entries that show the same
            photographs, (k, n). Every row counts as one entry.
        resamples: As in :func:`interval`.
        level: As in :func:`interval`.
        generator: Draws the indexes of all resamples of the first entry, then those of the second, and so on.

    Returns:
        As :func:`interval`.

    Raises:
        ValueError: As :func:`interval`, or no entries.
    """
    _check(resamples, level)
    return _percentiles(_resampled([_array(values) for values in strata], resamples, generator), level)


def paired(
    a: Values,
    b: Values,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    higher_is_better: bool = True,
    generator: np.random.Generator,
) -> Paired:
    """The difference of two means over the same images, its interval, and the one-sided probability.

    With d_i = b_i - a_i, a resample draws n images with replacement, the same for both models, and takes the
    mean of their d. The interval is that of :func:`interval` over d. `probability` is

        #{resamples whose mean d <= 0} / resamples      (>= 0 where lower values are better),

    the share of resamples in which b is *not better* than a. A tie counts as not better, so two equal models
    get 1. It is 0 when no resample says so, which means less than about 1 / resamples, not impossible.

    Args:
        a: (n,) the first model's value for each image.
        b: (n,) the second's, image by image in the same order.
        resamples: As in :func:`interval`.
        level: As in :func:`interval`.
        higher_is_better: True for PSNR and SSIM, False for LPIPS. It changes `probability` only.
        generator: As in :func:`interval`.

    Raises:
        ValueError: As :func:`interval`, or the lengths differ.
    """
    return stratified_paired(
        [a],
        [b],
        resamples=resamples,
        level=level,
        higher_is_better=higher_is_better,
        generator=generator,
    )


def stratified_paired(
    a: Sequence[Values],
    b: Sequence[Values],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    higher_is_better: bool = True,
    generator: np.random.Generator,
) -> Paired:
    """:func:`paired` for the plain mean of several entries' means; images are drawn within each entry.

    Args:
        a: The first model's values, as in :func:`stratified_interval`.
        b: The second's, entry by entry and image by image in the same order.
        resamples: As in :func:`interval`.
        level: As in :func:`interval`.
        higher_is_better: As in :func:`paired`.
        generator: As in :func:`stratified_interval`.

    Raises:
        ValueError: As :func:`interval`, or the numbers of entries or images differ.
    """
    _check(resamples, level)
    of_a, of_b = [_array(values) for values in a], [_array(values) for values in b]
    if [values.shape for values in of_a] != [values.shape for values in of_b]:
        raise ValueError("expected two values for every image, one of each model")
    means = _resampled([y - x for x, y in zip(of_a, of_b, strict=True)], resamples, generator)
    low, high = _percentiles(means, level)
    mean_a, mean_b = _mean_of_means(of_a), _mean_of_means(of_b)
    not_better = means <= 0.0 if higher_is_better else means >= 0.0
    return Paired(
        a=mean_a,
        b=mean_b,
        difference=mean_b - mean_a,
        low=low,
        high=high,
        probability=float(np.count_nonzero(not_better)) / resamples,
    )


def _check(resamples: int, level: float) -> None:
    if resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(
            f"expected at least one resample and a level between 0 and 1, got {resamples}, {level}"
        )


def _array(values: Values) -> npt.NDArray[np.float64]:
    """(k, n): k entries over the same n images."""
    array = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError("expected at least one value, all of them finite")
    return array


def _mean_of_means(strata: Sequence[npt.NDArray[np.float64]]) -> float:
    # fsum, as the runner's means: the same number that the tables print.
    means = [math.fsum(row) / len(row) for values in strata for row in values]
    return math.fsum(means) / len(means)


def _resampled(
    strata: Sequence[npt.NDArray[np.float64]], resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(resamples,) means over entries of the means of images drawn with replacement within each stratum."""
    if not strata:
        raise ValueError("expected at least one entry")
    total = np.zeros(resamples)
    for of_entries in strata:
        values = of_entries.sum(axis=0)
        n = len(values)
        rows = max(1, _CHUNK // n)
        for start in range(0, resamples, rows):
            stop = min(start + rows, resamples)
            total[start:stop] += values[generator.integers(0, n, (stop - start, n))].mean(axis=1)
    return total / sum(len(of_entries) for of_entries in strata)


def _percentiles(means: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
