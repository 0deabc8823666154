"""Several threads that share the rows of a map, each computing with one thread of its own.

Unusual: torch's own threads meet after every operator. A strip's operators take some 50 microseconds, which
is what such a meeting costs, and far more when another program holds one of the cores. Here every thread goes
its own way through its share of the rows, and they meet once a sweep. torch lets go of Python's lock while it
computes.

Unusual: how many threads a product of matrices takes (MKL) is one number for the whole process. While a crew
is at work it is 1, also for other threads of the process; afterwards it is what it was. And a thread that
uses torch for the first time takes over the number that was set last: meanwhile that is 1. So that a second
crew beside the first does not shrink to one thread, :func:`count_threads` knows what it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from types import TracebackType
from typing import TypeVar

import torch

T = TypeVar("T")

_lock = threading.Lock()
_at_work: list[int] = []
"""For every crew at work in this process, the threads that torch is to have again behind it."""


def count_threads() -> int:
    """How many threads torch computes with when no crew is at work."""
    with _lock:
        return _at_work[0] if _at_work else torch.get_num_threads()


class _EndedError(Exception):
    """The calling thread has given up, and nobody wants this one's share."""


class Crew:
    """Threads for a `with` block.

    Args:
        size: how many, at least 1; 1 is the calling thread alone, with whatever torch computes with there.
        watch: called every few milliseconds in the calling thread while the crew works; what it raises ends
            the work of all. None where nobody watches.
    """

    def __init__(self, size: int, watch: Callable[[], None] | None = None) -> None:
        self.size = size
        self.watched = watch is not None
        self._watch = watch
        self._caller = threading.get_ident()
        self._ended = False
        self._before = 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Crew:  # noqa: PYI034 (beartype, in the tests, does not know Self here)
        """Start the others; the calling thread is one of the crew."""
        if self.size > 1:
            self._before = count_threads()
            with _lock:
                _at_work.append(self._before)
            ready = threading.Barrier(self.size)

            def begin() -> None:
                torch.set_num_threads(1)
                ready.wait()

            self._pool = ThreadPoolExecutor(self.size - 1, "anyrestore-rows", initializer=begin)
            try:
                for _ in range(self.size - 1):
                    self._pool.submit(int)
                begin()
            except BaseException:
                ready.abort()  # who waits there would wait for ever
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the threads to end."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            torch.set_num_threads(self._before)
            with _lock:
                _at_work.remove(self._before)

    def share(self, height: int, work: Callable[[int, int], T], multiple: int = 1) -> list[T]:
        """Divide rows among the threads, and wait for all of them.

        Args:
            height: rows, from 0.
            work: called with a first row and a last one + 1, within inference mode.
            multiple: of which every first row is one.

        Returns:
            What each call returned, from the top to the bottom.
        """
        sections = self.sections(height, multiple)

        def inside(first: int, last: int) -> T:
            with torch.inference_mode():
                return work(first, last)

        own, *others = sections
        if self._pool is None:
            return [inside(first, last) for first, last in sections]
        waiting = [self._pool.submit(inside, first, last) for first, last in others]
        try:
            done = [inside(*own)]
        finally:
            wait(waiting)  # nobody may still be at work on the map when an error goes up
        # An error knows this frame. If a name in it knew the error, that circle would keep the maps alive.
        while waiting:
            done.append(waiting.pop(0).result())
        return done

    def pause(self) -> None:
        """Let somebody watch; to be called between pieces of work, from every thread."""
        if self._watch is None:
            return
        if threading.get_ident() != self._caller:
            if self._ended:
                raise _EndedError
            return
        try:
            self._watch()
        except BaseException:
            self._ended = True
            raise

    def sections(self, height: int, multiple: int = 1) -> list[tuple[int, int]]:
        """The rows of every thread: at most one section each, none empty."""
        blocks = -(-height // multiple)
        count = min(self.size, blocks)
        bounds = [min(blocks * i // count * multiple, height) for i in range(count + 1)]
        return list(pairwise(bounds))
