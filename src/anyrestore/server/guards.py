"""What stands before every route: one piece of ASGI, without a framework.

In this order: is the service called by its own name (against DNS rebinding); does a web page of somebody else
send it (against forged requests); is the token there; is the body of a size that is taken. All of it is known
from the headers, so nothing of a body is read for who is turned away. Every answer gets its headers, its
number and a line in the log, errors too, and a request cannot end without an answer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anyrestore.errors import RequestError
from anyrestore.server.measures import Measures
from anyrestore.server.problems import ClientGoneError, problem_of
from anyrestore.server.protocol import LEAVE_BODY, POLICY, PROTECTION
from anyrestore.server.settings import Settings

access = logging.getLogger("anyrestore.server.access")
log = logging.getLogger("anyrestore.server")

OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
FORM_BYTES = 2**16
"""That a form may have beside the picture."""

ROUTES = {
    "/v1/restore": "POST",
    "/v1/models": "GET",
    "/livez": "GET",
    "/readyz": "GET",
    "/metrics": "GET",
    "/openapi.json": "GET",
}
"""The routes of the API, each with its method."""
_OPEN_ROUTES = ("/livez", "/readyz")  # without a token: who asks whether it lives has none
_ONCE = (b"origin", b"authorization", b"content-type", b"content-encoding")
"""Headers that two readers would take two answers from, if a request had them twice."""
_SAFE = ("GET", "HEAD", "OPTIONS")
_METHODS = (*_SAFE, "POST", "PUT", "PATCH", "DELETE")
_EXPOSED = b"Content-Disposition, Retry-After, Server-Timing, Request-Id, Restored-Model, Restored-Warnings"


@dataclass
class _Exchange:
    """A request and what has become of it."""

    scope: Scope
    request_id: str
    headers: dict[bytes, bytes]
    path: str
    policy: bytes  # of content
    begun: float = field(default_factory=time.perf_counter)
    received: int = 0  # bytes of the body
    whole: bool = False  # the body has been received
    status: int = 0
    sent: int = 0  # bytes of the answer's body

    @property
    def has_body(self) -> bool:
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0"

    @property
    def route(self) -> str:
        return self.path if self.path in ROUTES else "/" if self.path == "/" else "other"

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")


class Guards:
    """The application behind its guards.

    A policy of content for pages is taken from ``app.state.page_policy``; the routes of the API have their
    own.

    Args:
        app: what answers.
        settings: names, origins, token and limits.
        measures: where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, measures: Measures) -> None:
        self._app = app
        self._settings = settings
        self._measures = measures
        self._names = {_host(name) for name in (*OWN_NAMES, *settings.hosts)}
        self._origins = {origin.rstrip("/").lower() for origin in settings.origins}
        self._largest = settings.max_bytes + FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; nothing but HTTP is spoken."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        # (What is mounted below puts its own words into the scope: read it now.)
        policy = _policy(scope)
        exchange = _Exchange(scope, uuid.uuid4().hex, dict(scope["headers"]), scope["path"], policy)
        scope.setdefault("state", {})["request_id"] = exchange.request_id

        async def hear() -> Message:
            return self._heard(exchange, await receive())

        async def tell(message: Message) -> None:
            await send(self._told(exchange, message))

        with self._measures.open.track_inprogress():
            await self._answer(exchange, hear, tell)
        self._note(exchange)

    async def _answer(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        try:
            self._check(exchange)
            if _is_preflight(exchange):
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._app(exchange.scope, receive, send)
        except (ClientGoneError, ClientDisconnect):
            self._measures.left()
        except Exception as error:  # noqa: BLE001 (this is where a request's last error ends)
            await self._fail(exchange, error, send)
        except asyncio.CancelledError:
            self._measures.left()
            raise

    async def _fail(self, exchange: _Exchange, error: Exception, send: Send) -> None:
        problem = problem_of(error, exchange.request_id)
        if problem.status == 500:
            log.error("request %s failed", exchange.request_id, exc_info=error)
        if exchange.status:  # half an answer is out: only the connection's end can say that it is none
            raise error
        self._measures.failed(problem.code)
        length = (b"content-length", str(len(problem.body)).encode())
        headers = [*problem.headers, length]
        if problem.code == "wrong_method":
            headers.append((b"allow", ROUTES[exchange.path].encode()))
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": problem.body})

    # ------------------------------------------------------------------------------- who may come in

    def _check(self, exchange: _Exchange) -> None:
        """Everything that the headers tell.

        Raises:
            RequestError: the request is turned away.
        """
        names = [name for name, _ in exchange.scope["headers"] if name in _ONCE]
        if len(set(names)) < len(names):
            raise RequestError("a header is there twice of which there may be one")
        self._check_host(exchange)
        self._check_origin(exchange)
        self._check_token(exchange)
        self._check_method(exchange)
        self._check_body(exchange)

    def _check_host(self, exchange: _Exchange) -> None:
        host = _host(exchange.header(b"host"))
        # The address that this connection came in by is the service's own, whichever of the machine's it is.
        server = exchange.scope.get("server") or ("",)
        if not host or (host not in self._names and host.strip("[]") != str(server[0]).lower()):
            raise RequestError(
                "the service is not known by this name; start it with --allow-host NAME if it should be",
                code="foreign_host",
            )

    def _check_origin(self, exchange: _Exchange) -> None:
        origin = exchange.header(b"origin").lower()
        method = exchange.scope["method"]
        asks = method == "OPTIONS" and b"access-control-request-method" in exchange.headers
        if not origin or origin in self._origins or (method in _SAFE and not asks):
            return
        try:
            own = urlsplit(origin).netloc == exchange.header(b"host").lower()
        except ValueError:
            own = False
        if not own:
            raise RequestError(
                "web pages of this origin may not use the service; start it with --cors-origin to let one",
                code="foreign_origin",
            )

    def _check_token(self, exchange: _Exchange) -> None:
        token = self._settings.token
        if token is None or exchange.path in _OPEN_ROUTES or _is_preflight(exchange):
            return
        if not hmac.compare_digest(_shown_token(exchange.header(b"authorization")), token.encode()):
            exchange.scope["state"][LEAVE_BODY] = True
            raise RequestError(
                "the token is missing or wrong; send it as Authorization: Bearer TOKEN", code="unauthorized"
            )

    def _check_method(self, exchange: _Exchange) -> None:
        """Here, since the page takes whatever the API's routes leave."""
        method = ROUTES.get(exchange.path, exchange.scope["method"])
        if exchange.scope["method"] != method and not _is_preflight(exchange):
            raise RequestError("this method is not for this address", code="wrong_method")

    def _check_body(self, exchange: _Exchange) -> None:
        length = exchange.header(b"content-length") or "0"
        if not re.fullmatch(r"[0-9]{1,20}", length):
            raise RequestError("Content-Length: expected a number")
        limit = self._largest if _has_form(exchange) else self._settings.max_bytes
        if int(length) > limit:
            exchange.scope["state"][LEAVE_BODY] = True
            raise _too_large(self._settings.max_bytes)
        if exchange.header(b"content-encoding").lower() not in ("", "identity"):
            raise RequestError("compressed bodies are not taken; send it as it is", code="unsupported_media")

    # ------------------------------------------------------------------------- what passes through

    def _heard(self, exchange: _Exchange, message: Message) -> Message:
        """Count what arrives, for routes that do not count themselves, too."""
        if message["type"] == "http.request":
            exchange.received += len(message.get("body", b""))
            exchange.whole = not message.get("more_body", False)
            if exchange.received > self._largest:
                exchange.scope["state"][LEAVE_BODY] = True
                raise _too_large(self._settings.max_bytes)
        return message

    def _told(self, exchange: _Exchange, message: Message) -> Message:
        """Give an answer its headers."""
        if message["type"] == "http.response.body":
            exchange.sent += len(message.get("body", b""))
        if message["type"] != "http.response.start":
            return message
        exchange.status = message["status"]
        ours = dict(PROTECTION)
        ours[b"content-security-policy"] = exchange.policy
        ours[b"request-id"] = exchange.request_id.encode()
        ours |= self._cross_origin(exchange)
        if exchange.has_body and not exchange.whole:
            ours[b"connection"] = b"close"  # what is still to come is not the next request
        others = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in ours]
        return {**message, "headers": [*others, *ours.items()]}

    def _cross_origin(self, exchange: _Exchange) -> dict[bytes, bytes]:
        """CORS: nothing, unless origins are listed, and then those alone; cookies never."""
        if not self._origins:
            return {}
        found = {b"vary": b"Origin"}
        origin = exchange.header(b"origin")
        if origin.lower() in self._origins:
            found |= {b"access-control-allow-origin": origin.encode("latin-1")}
            found |= {b"access-control-expose-headers": _EXPOSED}
            if _is_preflight(exchange):
                found |= {b"access-control-allow-methods": b"GET, POST", b"access-control-max-age": b"600"}
                found |= {b"access-control-allow-headers": b"Authorization, Content-Type"}
        return found

    def _note(self, exchange: _Exchange) -> None:
        """A line for the log: no query, no name that a client made up, no address."""
        method = exchange.scope["method"] if exchange.scope["method"] in _METHODS else "other"
        seconds = time.perf_counter() - exchange.begun
        self._measures.answered(exchange.route, method, exchange.status, seconds)
        access.info(
            "%s %s %d %d bytes in, %d out, %.0f ms %s",
            method,
            exchange.route,
            exchange.status,
            exchange.received,
            exchange.sent,
            1000 * seconds,
            exchange.request_id,
        )


def _policy(scope: Scope) -> bytes:
    if scope["path"] in ROUTES:
        return POLICY
    app: Any = scope.get("app")
    return getattr(getattr(app, "state", None), "page_policy", POLICY)


def _too_large(limit: int) -> RequestError:
    return RequestError(f"expected at most {limit} bytes; send a smaller file", code="too_large")


def _is_preflight(exchange: _Exchange) -> bool:
    """Whether a browser asks if a page of another origin may; only those of the list get this far."""
    return (
        exchange.scope["method"] == "OPTIONS"
        and b"origin" in exchange.headers
        and b"access-control-request-method" in exchange.headers
    )


def _has_form(exchange: _Exchange) -> bool:
    return exchange.header(b"content-type").lower().startswith("multipart/")


def _host(text: str) -> str:
    """The name in a Host header, without the port; empty for what is none."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?", text.strip())
    return match[1].lower().removesuffix(".") if match else ""


def _shown_token(authorization: str) -> bytes:
    """The token in an Authorization header: of a program, or as the password that a browser asks for.

    A program sends Bearer. A browser asks by itself (Basic), and sends the password with everything that the
    page needs; so the token stands neither in an address, where histories and logs keep it, nor in a cookie.
    """
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip().encode("latin-1")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
