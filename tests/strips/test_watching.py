"""Somebody may watch a pass, and end it within a block; the result is the same."""

import threading

import pytest
import torch

from anyrestore import strips
from tiny_models import image, make


def rows_of(picture: torch.Tensor) -> strips.network.Read:
    return lambda first, last: picture[:, :, first:last]


def test_who_watches_changes_nothing_and_may_end_it() -> None:
    model, picture = make("tiny"), image(96, 40)
    plain, watched = torch.empty_like(picture), torch.empty_like(picture)

    def into(result: torch.Tensor) -> strips.network.Write:
        def write(top: int, band: torch.Tensor) -> None:
            result[:, :, top : top + band.shape[2]] = band

        return write

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    calls, threads = 0, set[int]()

    def watch() -> None:
        nonlocal calls
        calls += 1
        threads.add(threading.get_ident())

    def end() -> None:
        watch()
        raise InterruptedError

    try:
        strips.restore(model, 96, 40, rows_of(picture), into(plain))
        strips.restore(model, 96, 40, rows_of(picture), into(watched), watch=watch)
        assert torch.allclose(plain, watched, atol=1e-6)
        assert calls > strips.count_steps(model)
        assert threads == {threading.get_ident()}
        calls = 0
        with pytest.raises(InterruptedError):
            strips.restore(model, 96, 40, rows_of(picture), into(watched), watch=end)
        assert calls == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
