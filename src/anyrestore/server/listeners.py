"""Which open pages listen to what becomes of their events: a bounded number, each for a bounded time.

A page posts an event and then opens a stream that tells what becomes of it, under a name that the page has
made up, its session. Whoever posts and does not listen would have pictures restored for nobody, and leave
behind what Gradio keeps of a session: so orders ask here whether anybody is there, and a session that nobody
listens to is forgotten.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from anyrestore.errors import ServiceError

PATIENCE = 5.0
"""Seconds after which nobody is thought to come, or to come back."""
SESSIONS = 256
"""That are known at once."""

_NAME = re.compile(r"[A-Za-z0-9]{1,32}")


@dataclass(kw_only=True)
class _Session:
    """Attributes: how many streams are open; since when there is none; events since one was opened."""

    streams: int = 0
    alone_since: float
    events: int = 0


class Listeners:
    """The sessions; every call in the event loop's thread.

    Args:
        forget: told the name of every session that is dropped.
        sessions: that are known at once; None for `SESSIONS`.
        streams: that are open at once.
        events: of one session, between two streams.
        patience: seconds that a session is known while nobody listens; None for `PATIENCE`.
    """

    def __init__(
        self,
        forget: Callable[[str], Awaitable[None]],
        *,
        sessions: int | None = None,
        streams: int = 128,
        events: int = 32,
        patience: float | None = None,
    ) -> None:
        self._forget = forget
        self._most = SESSIONS if sessions is None else sessions
        self._most_streams = streams
        self._most_events = events
        self._patience = PATIENCE if patience is None else patience
        self._known: dict[str, _Session] = {}  # who posted last is last

    def __len__(self) -> int:
        """How many sessions are known."""
        return len(self._known)

    def is_there(self, name: str) -> bool:
        """Whether somebody listens."""
        return name in self._known and self._known[name].streams > 0

    def has_left(self, name: str) -> bool:
        """Whether nobody has listened for so long that nobody is thought to come."""
        session = self._known.get(name)
        return session is None or self._is_left(session)

    async def post(self, name: str) -> None:
        """Note that a session posts an event.

        Raises:
            ServiceError: ``busy``: it has posted too many, or too many others are listened to.
        """
        await self._make_room(name)
        session = self._known.pop(name, None) or _Session(alone_since=time.monotonic())
        self._known[name] = session
        session.alone_since = time.monotonic()  # from now on it is waited for
        session.events += 1
        if session.events > self._most_events:
            raise _busy()

    @contextmanager
    def listening(self, name: str) -> Generator[None]:
        """While a stream of a session that has posted is open.

        Raises:
            KeyError: it has not.
            ServiceError: ``busy``: too many streams are open.
        """
        session = self._known[name]
        if sum(one.streams for one in self._known.values()) >= self._most_streams:
            raise _busy()
        session.streams += 1
        session.events = 0
        try:
            yield
        finally:
            session.streams -= 1
            session.alone_since = time.monotonic()

    async def _make_room(self, name: str) -> None:
        """Drop sessions that were left, and the oldest that nobody listens to if there are too many."""
        alone = [
            (one, session) for one, session in self._known.items() if not session.streams and one != name
        ]
        left = [one for one, session in alone if self._is_left(session)]
        if name not in self._known and len(self._known) - len(left) >= self._most:
            others = [one for one, _ in alone if one not in left]
            if not others:
                raise _busy()
            left.append(others[0])
        for one in left:
            del self._known[one]
        for one in left:
            await self._forget(one)

    def _is_left(self, session: _Session) -> bool:
        return not session.streams and time.monotonic() - session.alone_since > self._patience


def is_name(text: object) -> bool:
    """Whether it can be the name of a session."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def _busy() -> ServiceError:
    return ServiceError(
        "too much is asked for at this moment; try again in a few seconds", code="busy", retry_after=5
    )
