"""The stream of samples: what an index decides, and what an epoch holds."""

from __future__ import annotations

from collections import Counter

import pytest

from anyrestore.data.mixtures import Mixture, Part
from anyrestore.data.sampling import Choice, Stream, hashed
from anyrestore.errors import DataError, UsageError


def mixture(*repeats: float, order: str = "epoch", epoch: int | None = None) -> Mixture:
    parts = tuple(Part(task=f"t{i}", sets=(f"clean:{i}",), repeat=r) for i, r in enumerate(repeats))
    return Mixture(name="test", parts=parts, order=order, epoch=epoch)


def drawn(**shares: float) -> Mixture:
    parts = tuple(Part(task=task, sets=("clean:x",), share=share) for task, share in shares.items())
    return Mixture(name="test", parts=parts, order="draw", epoch=50)


def pictures(stream: Stream, indexes: range) -> Counter[tuple[int, int]]:
    return Counter((c.part, c.picture) for c in map(stream.choose, indexes))


def test_every_picture_comes_as_often_as_its_repeat_says() -> None:
    stream = Stream(mixture(3, 1), [5, 7])
    assert stream.epoch == 22
    for epoch in range(3):
        found = pictures(stream, range(22 * epoch, 22 * epoch + 22))
        assert found == Counter({(0, i): 3 for i in range(5)} | {(1, i): 1 for i in range(7)})


def test_the_fraction_of_a_repeat_is_another_subset_every_epoch() -> None:
    stream = Stream(mixture(0.5, 2.25), [10, 8])
    assert stream.epoch == 5 + 18
    epochs = [pictures(stream, range(23 * e, 23 * e + 23)) for e in range(4)]
    for found in epochs:
        assert sum(n for (part, _), n in found.items() if part == 0) == 5
        assert {n for (part, _), n in found.items() if part == 0} == {1}
        assert sorted(n for (part, _), n in found.items() if part == 1) == [2] * 6 + [3] * 2
    assert len({frozenset(found) for found in epochs}) == 4


@pytest.mark.parametrize("machines", [1, 2, 3])
def test_machines_share_an_epoch_without_overlap(machines: int) -> None:
    whole = pictures(Stream(mixture(2, 1.5), [6, 9]), range(26))
    shares = [
        pictures(Stream(mixture(2, 1.5), [6, 9]), range(26)[rank::machines]) for rank in range(machines)
    ]
    assert sum(shares, Counter()) == whole
    seeds = {Stream(mixture(2, 1.5), [6, 9]).choose(i).seed for i in range(26)}
    assert len(seeds) == 26


def test_the_order_differs_between_epochs_and_seeds_and_not_between_visits() -> None:
    def order(seed: int, epoch: int) -> list[Choice]:
        stream = Stream(mixture(1), [30], seed)
        return [stream.choose(30 * epoch + i) for i in range(30)]

    assert order(0, 0) == order(0, 0)
    orders = [[c.picture for c in order(s, e)] for s, e in ((0, 0), (0, 1), (1, 0))]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    # Backwards through the epochs: nothing depends on what was asked before.
    stream = Stream(mixture(1), [30])
    assert [stream.choose(i) for i in reversed(range(90))] == [
        c for e in (2, 1, 0) for c in reversed(order(0, e))
    ]


def test_shares_are_kept_in_every_stretch_of_samples() -> None:
    stream = Stream(drawn(a=0.5, b=0.3, c=0.2), [4, 4, 4])
    for begin in range(0, 2000, 20):
        found = Counter(stream.choose(i).part for i in range(begin, begin + 20))
        assert [found[k] for k in range(3)] == pytest.approx([10, 6, 4], abs=2)
    found = Counter(stream.choose(i).part for i in range(2000))
    assert [found[k] / 2000 for k in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.01)
    pictures_of_a = Counter(c.picture for c in map(stream.choose, range(2000)) if c.part == 0)
    assert min(pictures_of_a.values()) > 180


def test_a_phase_changes_the_shares_and_not_the_seeds() -> None:
    stream = Stream(drawn(a=0.5, b=0.3, c=0.2), [4, 4, 4])
    only = [stream.choose(i, {"b": 1.0, "a": 0.0}) for i in range(100)]
    assert {c.part for c in only} == {1}
    assert [c.seed for c in only] == [stream.choose(i).seed for i in range(100)]


def test_a_phase_can_ask_for_a_task_that_the_mixture_leaves_out() -> None:
    parts = tuple(Part(task=t, sets=("clean:x",), share=s) for t, s in (("a", 1.0), ("b", 0.0), ("b", 0.0)))
    stream = Stream(Mixture(name="test", parts=parts, order="draw", epoch=50), [4, 4, 4])
    assert {stream.choose(i).part for i in range(100)} == {0}
    assert {stream.choose(i, {"a": 1.0}).part for i in range(100)} == {0}
    found = Counter(stream.choose(i, {"b": 1.0}).part for i in range(100))
    assert [found[k] for k in range(3)] == pytest.approx([0, 50, 50], abs=2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="got fog"):
        Stream(drawn(a=1.0), [4]).choose(0, {"fog": 1.0})
    with pytest.raises(UsageError, match="not all 0"):
        Stream(drawn(a=1.0, b=1.0), [4, 4]).choose(0, {"a": 0.0})
    with pytest.raises(UsageError, match="order is 'draw'"):
        Stream(mixture(1), [4]).choose(0, {"t0": 1.0})
    with pytest.raises(UsageError, match="add up to, got 7"):
        Stream(mixture(1, epoch=7), [4])
    with pytest.raises(DataError, match="'t1' in clean:1, found none"):
        Stream(mixture(1, 1), [4, 0])
    with pytest.raises(DataError, match="at least one sample"):
        Stream(mixture(0.1), [4])


def test_the_hash_tells_words_apart_and_stays_what_it_is() -> None:
    assert len({hashed("a", "b"), hashed("ab"), hashed("b", "a"), hashed(1), hashed("1")}) == 5
    # Written down: a run that is resumed by a later release must find the same samples.
    assert hashed("sample", 0, 3, 14) == 7039223724091033686
