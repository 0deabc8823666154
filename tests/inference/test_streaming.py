"""`Restorer.map` and `anyrestore.restore`: streams of pictures, and one picture."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import anyrestore
from anyrestore import Picture, Restorer, image
from anyrestore.errors import InputError, UsageError
from anyrestore.inference import single
from anyrestore.zoo import save_weights
from tiny_models import make


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer(make("tiny"), device="cpu")


def arrays(count: int) -> list[Any]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (9 + i, 12, 3), np.uint8) for i in range(count)]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "anyrestore-reader"]


def wait_for(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_results_come_in_order_and_are_those_of_single_calls(restorer: Restorer, tmp_path: Path) -> None:
    given = arrays(3)
    image.write(Picture(pixels=given[0]), tmp_path / "a.png")
    mixed: list[Any] = [given[1], tmp_path / "a.png", image.read(tmp_path / "a.png"), torch.rand(3, 8, 9)]
    results = list(restorer.map(iter(mixed)))
    assert [type(result) for result in results] == [np.ndarray, Picture, Picture, torch.Tensor]
    for source, result in zip(mixed, results, strict=True):
        expected = restorer(source)
        if isinstance(expected, Picture):
            assert np.array_equal(result.pixels, expected.pixels)
        else:
            assert np.array_equal(result, expected)
    assert readers() == []
    assert list(restorer.map([])) == []


def test_it_reads_ahead_but_no_further_than_told(restorer: Restorer) -> None:
    taken = list[int]()

    def endless() -> Iterator[Any]:
        while True:
            taken.append(len(taken))
            yield arrays(1)[0]

    stream = restorer.map(endless(), ahead=2)
    assert taken == []  # nothing happens before the first result is asked for
    for count in (1, 2, 3):
        next(stream)
        wait_for(lambda count=count: len(taken) == count + 2)
        time.sleep(0.02)
        assert len(taken) == count + 2
    stream.close()
    assert readers() == []


def test_decoding_goes_on_while_the_model_works(tmp_path: Path) -> None:
    """The model waits until the next picture is decoded, which only another thread can do meanwhile."""
    decoded = threading.Semaphore(0)

    class Waiting(torch.nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            assert decoded.acquire(timeout=60)
            return picture

    def sources() -> Iterator[Any]:
        for i, array in enumerate(arrays(4)):
            if i:
                decoded.release()
            yield array
        decoded.release()

    assert len(list(Restorer(Waiting(), device="cpu").map(sources()))) == 4


def test_a_long_stream_holds_no_more_than_a_few_pictures(restorer: Restorer) -> None:
    alive = weakref.WeakSet[Any]()
    most = 0

    class Counted(np.ndarray):
        """A plain array cannot be referred to weakly in a set: it has no hash."""

        __hash__ = object.__hash__

    def sources() -> Iterator[Any]:
        for array in arrays(1) * 20:
            counted = array.copy().view(Counted)
            alive.add(counted)
            yield counted
            del counted

    for _ in restorer.map(sources(), ahead=2):
        gc.collect()
        most = max(most, len(alive))
    assert 0 < most <= 4  # two that wait, one in the reader's hand, one in the generator


def test_by_default_a_bad_item_ends_the_stream_in_its_place(restorer: Restorer, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    stream = restorer.map([arrays(1)[0], tmp_path / "bad.png", arrays(1)[0]])
    next(stream)
    with pytest.raises(InputError) as raised:
        next(stream)
    assert raised.value.code == "empty_file"
    assert list(stream) == []
    assert readers() == []


def test_errors_can_come_in_the_place_of_results(restorer: Restorer, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    good = arrays(1)[0]
    found = list(
        restorer.map([good, tmp_path / "bad.png", np.zeros((2, 2, 9)), good, "no.png"], errors="yield")
    )
    assert [getattr(result, "code", None) for result in found] == [
        None,
        "empty_file",
        "bad_array",
        None,
        "not_found",
    ]
    assert np.array_equal(found[0], found[3])


@pytest.mark.parametrize("errors", ["raise", "yield"])
def test_what_the_source_raises_is_raised_after_what_came_before(restorer: Restorer, errors: str) -> None:
    def broken() -> Iterator[Any]:
        yield arrays(1)[0]
        raise KeyError("camera")

    stream = restorer.map(broken(), errors=errors)
    next(stream)
    with pytest.raises(KeyError, match="camera"):
        next(stream)
    with pytest.raises(TypeError, match="expected a path"):
        list(restorer.map([3], errors=errors))
    assert readers() == []


def test_options_are_checked_at_once(restorer: Restorer) -> None:
    with pytest.raises(UsageError, match="ahead"):
        restorer.map([], ahead=0)
    with pytest.raises(UsageError, match="errors"):
        restorer.map([], errors="ignore")


# One picture ------------------------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that restorers were made with."""
    made = list[Any]()

    class Counting(Restorer):
        def __init__(self, model: Any = None, **options: Any) -> None:
            made.append(model)
            super().__init__(model, **options)

    monkeypatch.setattr(single, "Restorer", Counting)
    monkeypatch.setattr(single, "_kept", type(single._kept)())
    return made


def test_a_model_stays_loaded(built: list[Any], tmp_path: Path) -> None:
    path, array = tmp_path / "w.safetensors", arrays(1)[0]
    save_weights(make("tiny"), path)
    first = anyrestore.restore(array, path, device="cpu")
    assert np.array_equal(anyrestore.restore(array, path, device="cpu"), first)
    assert np.array_equal(Restorer(path, device="cpu")(array), first)
    assert len(built) == 1
    anyrestore.restore(array, path, device="cpu", share="off")
    assert len(built) == 2
    save_weights(make("nafnet-tiny"), path)
    assert not np.array_equal(anyrestore.restore(array, path, device="cpu"), first)
    assert len(built) == 3
    assert len(single._kept) == single.KEPT


def test_a_module_is_not_kept(built: list[Any]) -> None:
    network = make("tiny")
    tensor = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(anyrestore.restore(tensor, network), Restorer(network)(tensor))
    assert len(single._kept) == 0
    with pytest.raises(TypeError, match="no_such"):
        anyrestore.restore(tensor, no_such=1)
    with pytest.raises(UsageError):
        anyrestore.restore(tensor, tile=0)
    assert len(single._kept) == 0
