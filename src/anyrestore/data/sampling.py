"""Which picture the i-th sample of an endless stream is, and its seed: a function of i, kept nowhere.

A sample is found from its index alone, so nothing about workers, machines, batches or an interruption can
change it, and several machines share an epoch by taking different indexes. Seeds are hashes (BLAKE2b) of the
run's seed, the epoch and the position in it: neighbouring samples have nothing in common.

In the order "epoch" each picture comes exactly as often as its part's ``repeat`` says, in a fresh random
order every epoch; of a fractional repeat, the fraction is a fresh random subset every epoch. In the order
"draw" a sample draws its part by share and then a picture of it. What is unusual: the parts are not drawn
independently but by a golden-ratio (Kronecker) sequence with a random start for every epoch, so that any
stretch of samples has them very nearly in the given shares, as a batch should.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from anyrestore.data.mixtures import Mixture
from anyrestore.errors import DataError, UsageError

__all__ = ["Choice", "Stream", "hashed"]

# The golden ratio's fraction in 64 bits: whole numbers, so that nothing is lost however long the stream.
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 2**64


def hashed(*words: int | str) -> int:
    """A number in [0, 2^63) that depends on every word and on nothing else, for use as a seed."""
    text = "\0".join(f"{type(word).__name__}:{word}" for word in words)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Choice:
    """What a sample is made of."""

    part: int  # number of the mixture's part
    picture: int  # number of the picture within the part
    seed: int  # of everything else that is random about the sample, in [0, 2^63)


@dataclass
class Stream:
    """The endless stream of samples of a mixture.

    Args:
        mixture: the parts, their order and the length of an epoch.
        counts: number of pictures of every part.
        seed: the run's.

    Raises:
        DataError: a part without pictures, or an epoch without samples.
    """

    mixture: Mixture
    counts: Sequence[int]
    seed: int = 0
    # The orders of the last two epochs: batches around an epoch's end reach into both.
    _orders: dict[tuple[int, int], Tensor] = field(
        init=False, repr=False, default_factory=dict[tuple[int, int], Tensor]
    )

    def __post_init__(self) -> None:
        for part, count in zip(self.mixture.parts, self.counts, strict=True):
            if count < 1:
                raise DataError(
                    f"expected pictures for {part.task!r} in {', '.join(part.sets)}, found none to train on; "
                    "check the data"
                )
        sizes = [
            round(count * part.repeat) for part, count in zip(self.mixture.parts, self.counts, strict=True)
        ]
        # Entries of an epoch: those of part p begin at _starts[p].
        self._starts = [0, *itertools.accumulate(sizes)]
        self.epoch = self._starts[-1] if self.mixture.epoch is None else self.mixture.epoch
        if self.epoch < 1:
            raise DataError(f"expected at least one sample an epoch of {self.mixture.name}, found none")
        if self.mixture.order == "epoch" and self.epoch != self._starts[-1]:
            raise UsageError(
                f"mixture {self.mixture.name}: an epoch of the order 'epoch' has the {self._starts[-1]} "
                f"samples that its parts add up to, got {self.epoch}; leave it out or use the order 'draw'"
            )

    def choose(self, index: int, shares: Mapping[str, float] | None = None) -> Choice:
        """Sample ``index`` of the stream.

        Args:
            index: from 0; index // epoch is the epoch.
            shares: of the tasks, instead of the parts' own; a task that is not named gets none.

        Raises:
            UsageError: shares in the order "epoch", or of unknown tasks, or without a positive sum.
        """
        epoch, position = divmod(index, self.epoch)
        seed = hashed("sample", self.seed, epoch, position)
        if self.mixture.order == "epoch":
            if shares:
                raise UsageError(
                    f"shares of tasks need a mixture whose order is 'draw'; {self.mixture.name} has 'epoch'"
                )
            return Choice(*self._entry(epoch, position), seed)
        part = self._drawn_part(epoch, position, shares)
        return Choice(part, hashed("picture", seed) % self.counts[part], seed)

    def _entry(self, epoch: int, position: int) -> tuple[int, int]:
        entry = int(self._order(epoch, -1, self._starts[-1])[position])
        part = bisect.bisect_right(self._starts, entry) - 1
        entry -= self._starts[part]
        rounds, left = divmod(entry, self.counts[part])
        size = self._starts[part + 1] - self._starts[part]
        if (rounds + 1) * self.counts[part] <= size:
            return part, left
        # The last round is not a whole one: a random subset, another one in every epoch.
        return part, int(self._order(epoch, part, self.counts[part])[left])

    def _order(self, epoch: int, part: int, count: int) -> Tensor:
        if (epoch, part) not in self._orders:
            for old in [key for key in self._orders if abs(key[0] - epoch) > 1]:
                del self._orders[old]
            generator = torch.Generator().manual_seed(hashed("order", self.seed, epoch, part))
            self._orders[epoch, part] = torch.randperm(count, generator=generator, dtype=torch.int32)
        return self._orders[epoch, part]

    def _drawn_part(self, epoch: int, position: int, shares: Mapping[str, float] | None) -> int:
        parts = self.mixture.parts
        if shares:
            if unknown := sorted(set(shares) - {part.task for part in parts}):
                tasks = ", ".join(dict.fromkeys(part.task for part in parts))
                raise UsageError(f"expected shares of tasks among {tasks}; got {', '.join(unknown)}")
            # Parts of one task keep their proportions among themselves; without shares they are equal.
            own, alike = dict[str, float](), Counter(part.task for part in parts)
            for part in parts:
                own[part.task] = own.get(part.task, 0.0) + part.share
            weights = [
                shares.get(p.task, 0.0) * (p.share / own[p.task] if own[p.task] else 1 / alike[p.task])
                for p in parts
            ]
        else:
            weights = [part.share for part in parts]
        edges = list(itertools.accumulate(weights))
        if min(weights) < 0 or not edges[-1] > 0:
            raise UsageError(f"expected shares that are not negative and not all 0; got {weights}")
        start = 2 * hashed("start", self.seed, epoch)
        point = (start + position * _GOLDEN) % _WORD / _WORD * edges[-1]
        # Rounding may put the point on the last edge itself; a part of share 0 there must not get it.
        last = max(i for i, weight in enumerate(weights) if weight > 0)
        return min(bisect.bisect_right(edges, point), last)
