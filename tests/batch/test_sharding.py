"""Shards are disjoint, complete, and the same on every machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyrestore.batch.sharding import Shard
from anyrestore.errors import UsageError


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), unique=True), st.integers(1, 40))
def test_every_name_is_in_exactly_one_shard(names: list[str], count: int) -> None:
    shards = [Shard(i, count) for i in range(1, count + 1)]
    assert all(sum(shard.holds(name) for shard in shards) == 1 for name in names)


def test_shards_are_of_about_one_size() -> None:
    shards = [Shard(i, 4) for i in range(1, 5)]
    sizes = [sum(shard.holds(f"{j // 100}/{j}.png") for j in range(2000)) for shard in shards]
    assert sum(sizes) == 2000
    assert max(sizes) < 1.15 * min(sizes)


def test_a_name_never_changes_its_shard() -> None:
    # Other machines, and other releases, go on where this one stopped: these must not change.
    names = ["a.png", "b/c.jpg", "ä.png", "lone \udcff.png"]
    assert [next(i for i in range(1, 101) if Shard(i, 100).holds(name)) for name in names] == [
        *(73, 12, 98, 66),
    ]


def test_the_text_of_a_shard() -> None:
    assert Shard.parse("3/8") == Shard(3, 8)
    assert (Shard.parse("3/8").suffix, Shard.parse("1/1").suffix) == ("-3-of-8", "")


@pytest.mark.parametrize("text", ["0/8", "9/8", "0/0", "3", "3/", "a/b", "-1/8", "3/8/2", "³/8", ""])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="i/n"):
        Shard.parse(text)
