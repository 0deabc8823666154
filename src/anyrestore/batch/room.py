"""Room for pictures on their way: so many bytes, and so many pictures, between reader and disk."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Room:
    """What may be held at once, counted in bytes that a picture will take at most, from its header.

    Args:
        size: bytes, at least 1.
        places: pictures, at least 1.
    """

    def __init__(self, size: int, places: int) -> None:
        self.size = size
        self._places = places
        self._used = self._held = self._inside = self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, weight: int, *, full: Callable[[], None]) -> bool:
        """Wait until there is room, and take it; a weight above `size` has the room for itself.

        Args:
            weight: bytes.
            full: called once if it has to wait: who holds back what is in the room must let go of it.

        Returns:
            False if the room was closed.
        """
        with self._changed:
            if not self._has_room(weight):
                full()
            self._waiting += 1
            self._changed.wait_for(lambda: self._closed or self._has_room(weight))
            self._waiting -= 1
            if self._closed:
                return False
            self._used += weight
            self._inside += 1
            return True

    def is_awaited(self) -> bool:
        """Whether somebody waits to enter."""
        with self._changed:
            return self._waiting > 0

    def hold(self, size: int) -> None:
        """Bytes of what was announced are taken now."""
        with self._changed:
            self._held += size

    def leave(self, weight: int, held: int) -> None:
        """Give room back."""
        with self._changed:
            self._used -= weight
            self._held -= held
            self._inside -= 1
            self._changed.notify_all()

    def growth(self) -> int:
        """Bytes that what is in the room, or will be, may take beyond what it holds now."""
        with self._changed:
            return max(max(self.size, self._used) - self._held, 0)

    def close(self) -> None:
        """Nobody enters any more; who waits is sent away."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, weight: int) -> bool:
        if not self._inside:
            return True
        return self._inside < self._places and self._used + weight <= self.size
