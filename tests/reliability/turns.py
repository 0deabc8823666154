"""Tests whose figures are times or memory run without others beside them, in a run that counts promises.

pytest-xdist has no such thing. Every test holds a lock that many may hold, one that is marked `alone` holds
it for itself; who waits for that keeps the next ones out, so it need not wait for the end of everything.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Files that are there anyway, and are not changed by this.
_DOOR, _ROOM = Path(__file__), Path(__file__).with_name("scoreboard.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test run when it is its turn."""
    kind = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with _held(_DOOR, fcntl.LOCK_EX):
        room = _ROOM.open("rb")
        fcntl.flock(room, kind)
    with room:
        return (yield)


@contextmanager
def _held(path: Path, kind: int) -> Iterator[None]:
    with path.open("rb") as file:
        fcntl.flock(file, kind)
        yield
