"""Streams: restoring what an iterator gives, one result for each item, in order, read ahead by a thread.

The thread takes items from the iterator and decodes paths; the model runs where results are asked for. Both
let go of Python's lock while they work, so that decoding hides behind the model.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyrestore import image
from anyrestore.errors import AnyRestoreError, UsageError

ERRORS = ("raise", "yield")
AHEAD = 2
"""Items that wait for the model."""
FAILURES = (AnyRestoreError, OSError, MemoryError, RuntimeError)
"""What one item may fail with, the others being fine; RuntimeError is what torch raises for anything."""
_PATIENCE = 5.0
"""Seconds to wait, at the end, for an iterator that has not given its next item."""


@dataclass(frozen=True)
class _Item:
    """What the thread hands over: a thing to restore, why it cannot be, or the end and how it came."""

    value: Any = None
    failure: Exception | None = None
    ended: bool = False
    broken: BaseException | None = None


def stream(
    restore: Callable[[Any], Any], sources: Iterable[Any], *, ahead: int = AHEAD, errors: str = "raise"
) -> Iterator[Any]:
    """See :meth:`anyrestore.Restorer.map`.

    Raises:
        UsageError: an option is out of its range; at once, not with the first result.
    """
    if ahead < 1:
        raise UsageError(f"ahead: expected at least 1 item, got {ahead}")
    if errors not in ERRORS:
        raise UsageError(f"errors: expected one of {', '.join(ERRORS)}, got {errors!r}")
    return _stream(restore, iter(sources), ahead, keep_going=errors == "yield")


def _stream(
    restore: Callable[[Any], Any], sources: Iterator[Any], ahead: int, *, keep_going: bool
) -> Iterator[Any]:
    waiting = queue.SimpleQueue[_Item]()
    room, stopped = threading.Semaphore(ahead), threading.Event()
    thread = threading.Thread(
        target=_read, args=(sources, waiting, room, stopped), name="anyrestore-reader", daemon=True
    )
    thread.start()
    try:
        while not (item := waiting.get()).ended:
            room.release()
            result = item.failure
            if result is None:
                try:
                    result = restore(item.value)
                except FAILURES as error:
                    result = error.with_traceback(None)  # its frames hold the picture
                    result.__context__ = None
                    if not keep_going:
                        raise
            elif not keep_going:
                raise result
            del item  # what was restored is free while the caller works with the result
            yield result
            del result
        if item.broken is not None:
            raise item.broken
    finally:
        stopped.set()
        room.release()
        thread.join(_PATIENCE)


def _read(
    sources: Iterator[Any],
    waiting: queue.SimpleQueue[_Item],
    room: threading.Semaphore,
    stopped: threading.Event,
) -> None:
    """Fill the queue with at most as many items as there is room for, until the end or until stopped."""
    try:
        while True:
            room.acquire()
            if stopped.is_set():
                return
            try:
                source = next(sources)
            except StopIteration:
                break
            waiting.put(_decoded(source))
            del source
    except BaseException as error:  # noqa: BLE001 (of the caller's iterator; it is raised where results are asked for)
        waiting.put(_Item(ended=True, broken=error))
    else:
        waiting.put(_Item(ended=True))


def _decoded(source: object) -> _Item:
    if not isinstance(source, (str, Path)):
        return _Item(source)
    try:
        return _Item(image.read(Path(source)))
    except FAILURES as error:
        return _Item(failure=error.with_traceback(None))
