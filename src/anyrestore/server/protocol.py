"""One connection: uvicorn's HTTP/1.1 protocol, with deadlines for what a client sends and reads.

uvicorn waits for ever for headers and bodies, and for a client that does not read. Here a request's headers,
its body, and the reading of its answer have absolute limits, looked at a few times a second; a byte now and
then wins no time. What h11 lets pass and a proxy in front could read in another way is refused (a length
beside chunks, RFC 9112 section 6.3), and so is a body cut into so many pieces that taking them apart is the
attack.

A connection that is ended while its client still sends is half closed first: at once, the client would see a
reset in place of the answer. One whose client has not taken all of its answer is half closed too, and reset
when its time is over: closed, what is left of the answer, megabytes perhaps, would stay with the system for
as long as the client likes to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import uuid
from typing import Any, ClassVar, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from anyrestore.errors import AnyRestoreError, RequestError, ServiceError
from anyrestore.server.problems import problem_of
from anyrestore.server.settings import Settings

if sys.platform == "linux":
    import fcntl
    import termios

PROTECTION: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
"""Headers of every answer, beside its policy of content."""

POLICY = b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
"""The policy of content (CSP) of every answer but the page's."""

LEAVE_BODY = "leave_body"
"""Set in a request's state: what is left of its body is not read, not even to throw it away."""

_READ = 2**15  # bytes that are taken from the socket at once
_READ_MORE = 2**18  # ...of a body that is wanted, or thrown away
_SMALL_PIECES = 1000  # that a body may come in, beside...
_PIECE = 256  # ...one for so many bytes
_LINGER_SECONDS = 2.0  # that a client may go on sending behind an answer that refuses it
_DISCARD_AFTER_SECONDS = 0.1  # most clients have read it by then: work that need not be done in a crowd
_LINGER_UNREAD_SECONDS = 0.5  # ...where nothing of that is read
_TCP_CLOSE = 7  # Linux's number for the state of a connection that is no more
_LOOKS = 4  # at a connection, in the shortest of its limits


class _StrictConnection(h11.Connection):
    """h11, and what it leaves to its user."""

    def __init__(self, max_incomplete_event_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self._pieces = 0
        self.size = 0
        """Bytes of the body of the request that is being received."""

    def next_event(self) -> Any:  # (h11's sentinels are types that beartype cannot check)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self.size = 0
            names = {name for name, _ in event.headers}
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("another version", error_status_hint=400)
            if b"transfer-encoding" in names and (b"content-length" in names or event.http_version == b"1.0"):
                raise h11.RemoteProtocolError("a length beside chunks", error_status_hint=400)
        elif isinstance(event, h11.Data):
            self._pieces += 1
            self.size += len(event.data)
            if self._pieces > _SMALL_PIECES + self.size // _PIECE:
                raise h11.RemoteProtocolError("too many pieces", error_status_hint=413)
        return event


class _Leaving:
    """A transport of which `close` is the protocol's; everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, protocol: DeadlineProtocol) -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._protocol.leave()

    def is_closing(self) -> bool:
        return self._protocol.left or self._transport.is_closing()


class DeadlineProtocol(H11Protocol):
    """A connection with limits of time and number; make a class of it with :func:`limited`."""

    settings: ClassVar[Settings] = Settings()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limits = self.settings
        self.conn: _StrictConnection = _StrictConnection(config.h11_max_incomplete_event_size or 2**14)
        self.left = False
        """Whether it is being ended."""
        self._socket: asyncio.Transport
        self._discarded = 0  # bytes that came behind a refusal
        self._timers = list[asyncio.TimerHandle]()
        self._state: Any = h11.IDLE
        self._since = self.loop.time()  # it has waited for the client in that state
        self._unread_since: float | None = None  # there is something that the client has not taken
        self._close_after = 0.0  # once it is being ended, and all that was said is taken
        shortest = min(limits.header_seconds, limits.body_seconds, limits.send_seconds)
        self._look_seconds = min(shortest / _LOOKS, 0.5)

    # ------------------------------------------------------------------ what asyncio and uvicorn call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin to count, or refuse the connection where there are too many."""
        self._socket = transport
        self._take_at_once(_READ)
        super().connection_made(cast("asyncio.Transport", _Leaving(transport, self)))
        self._look()
        if len(self.connections) > self.settings.connections:
            self._refuse(ServiceError("too many connections are open; try again in a while", retry_after=5))

    def data_received(self, data: bytes) -> None:
        """Take a client's bytes, or throw them away where it has been answered for good."""
        if self.left:
            self._discarded += len(data)
            if self._discarded > self.settings.max_bytes:
                self._socket.close()
            return
        if self.timeout_keep_alive_task is not None:  # a new request begins
            self._since = self.loop.time()
        super().data_received(data)
        if not self.left:
            self._follow()
            # Who is let in comes faster; before that, little is taken of what may be refused.
            self._take_at_once(_READ_MORE if self.conn.size > 2 * _READ else _READ)

    def on_response_complete(self) -> None:
        """What uvicorn does, and the next request's time begins."""
        self._since = self.loop.time()
        super().on_response_complete()
        self._follow()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's)
        """Answer what is no HTTP, or breaks its rules."""
        # uvicorn says what is wrong only by the exception that it is handling.
        hint = getattr(sys.exception(), "error_status_hint", 400)
        if hint == 413:
            self._refuse(RequestError("the body comes in too many small pieces", code="too_large"))
        elif hint == 431:
            self._refuse(RequestError("the headers are too large; expected less than 16 KiB"))
        else:
            self._refuse(RequestError("this is not a request that HTTP allows"))

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's says nothing, which is the same as False
        """The client has sent all it will; whether the connection stays until it has taken its answer."""
        if not self._unread():
            return False
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:  # what asyncio's end of it would bring about
            cycle.disconnected = True
            cycle.message_event.set()
        self.leave()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; nothing is counted any more."""
        self.left = True
        for timer in self._timers:
            timer.cancel()
        super().connection_lost(exc)

    # ------------------------------------------------------------------------------- the limits

    def leave(self) -> None:
        """End the connection once its answer is sent; a client that still sends gets a moment to read it."""
        if self.left:
            return
        self.left = True
        if self._socket.is_closing():
            return
        sends = self.conn.their_state in (h11.SEND_BODY, h11.ERROR)
        if not sends and not self._unread():
            self._socket.close()
            return
        with contextlib.suppress(OSError):  # the client has closed it
            self._socket.write_eof()
        if not sends:
            return  # `_look` closes it, if the client does not
        read = self._cycle is None or not self._cycle.scope.get("state", {}).get(LEAVE_BODY)
        self._socket.pause_reading()
        if read:
            self._timers.append(self.loop.call_later(_DISCARD_AFTER_SECONDS, self._discard))
        seconds = _LINGER_SECONDS if read else _LINGER_UNREAD_SECONDS
        self._close_after = self.loop.time() + seconds

    def _discard(self) -> None:
        """Throw away what a client goes on sending that does not read while it sends."""
        if not self._socket.is_closing():
            self._take_at_once(_READ_MORE)
            self._socket.resume_reading()

    def _take_at_once(self, size: int) -> None:
        # (asyncio has no option for it)
        setattr(self._socket, "max_size", size)  # noqa: B010

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """The last request; uvicorn's own annotation hides that there may be none."""
        return cast("RequestResponseCycle | None", self.cycle)

    def _follow(self) -> None:
        """Note since when the client has been owing what it owes."""
        if self.conn.their_state is not self._state:
            self._state, self._since = self.conn.their_state, self.loop.time()

    def _look(self) -> None:
        """Whether the client is late; and look again in a moment."""
        now = self.loop.time()
        if not self._unread():
            self._unread_since = None
            if self.left and now > self._close_after:
                self._socket.close()
                return
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > self.settings.send_seconds:
            self._cut()
            return
        if not self.left:
            self._follow()
            owed = self._owed_seconds()
            if owed is not None and now - self._since > owed:
                self._give_up()
        self._timers[:1] = [self.loop.call_later(self._look_seconds, self._look)]

    def _unread(self) -> bool:
        """Whether the client's system has not yet taken everything that was said."""
        return (
            self._socket.get_write_buffer_size() > 0 or _on_its_way(self._socket.get_extra_info("socket")) > 0
        )

    def _owed_seconds(self) -> float | None:
        """In which the client must have sent what comes next; None if it is the service's turn."""
        if self._state is h11.SEND_BODY:
            return self.settings.body_seconds
        if self._state is h11.IDLE and self.timeout_keep_alive_task is None:
            return self.settings.header_seconds
        return None

    def _give_up(self) -> None:
        """Wait no longer; who has said nothing at all is told nothing."""
        if self._state is h11.IDLE and not self.conn.trailing_data[0]:
            self.leave()
        else:
            self._refuse(RequestError("the request did not arrive in time", code="too_slow"))

    def _cut(self) -> None:
        """End the connection in the midst of an answer.

        By a reset: closed, it would stay with the system, and its megabytes, until the client has read them.
        """
        bare: Any = self._socket.get_extra_info("socket")
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.abort()

    def _refuse(self, error: AnyRestoreError) -> None:
        """Answer with an error, if nothing is answered yet, and end the connection."""
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # who works on it learns that nobody waits
            cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._cut()
            return
        problem = problem_of(error, uuid.uuid4().hex)
        headers = [*problem.headers, *PROTECTION, (b"content-security-policy", POLICY)]
        headers += [(b"content-length", str(len(problem.body)).encode()), (b"connection", b"close")]
        reason = STATUS_PHRASES[problem.status]
        for event in (
            h11.Response(status_code=problem.status, headers=headers, reason=reason),
            h11.Data(data=problem.body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _on_its_way(bare: Any) -> int:
    """Bytes that the system still has, as the client has not taken them; 0 where it does not tell."""
    if sys.platform != "linux":
        return 0
    try:
        # After a reset the bytes count on, though there is nobody to take them.
        if bare.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
            return 0
        return struct.unpack("i", fcntl.ioctl(bare.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    except OSError:  # closed
        return 0


def limited(settings: Settings) -> type[DeadlineProtocol]:
    """The protocol with the limits of `settings`, for uvicorn's option `http`."""
    return type("LimitedProtocol", (DeadlineProtocol,), {"settings": settings})
