"""What of Gradio can be reached, and what leaves it: a filter around its whole application.

Gradio answers on some sixty routes: files by path, uploads, proxies to other hosts, streams, editors. The
page needs six of them, and events whose data are words and numbers. Everything else is told to be not there,
before Gradio sees it, so that neither a path nor a URL of a client reaches code that would open one
(CVE-2023-51449, CVE-2024-1561, CVE-2024-4325 are of that kind).

The page itself leaves Gradio with tags for other hosts, for link previews, and with inline scripts. Both are
taken out; what the scripts say of the page becomes data, which `static/boot.js` puts where Gradio looks for
it. So the page needs no inline script, and its policy allows none.

Events are bounded too, in their kind, their number and the time that somebody may listen; see `listeners.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anyrestore.server.listeners import Listeners, is_name

CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
"""The policy of content of the page. Gradio sets styles of single elements, hence 'unsafe-inline' for styles;
pictures are shown from memory, hence blob:."""

EVENT = "/gradio_api/queue/join"
"""Where the page's events come in..."""
EVENT_BYTES = 16 * 1024
"""...and how large one is at most: an instruction is a few words."""

STREAM_SECONDS = 900.0
"""How long somebody may listen, at most; a page that still waits then says that it was cut off."""

_STREAM = "/gradio_api/queue/data"
_EXACT = frozenset({"/", "/theme.css", "/gradio_api/app_id"})
_FILE = re.compile(r"/(assets|static)(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
_FIELDS = frozenset({"event_data", "fn_index", "trigger_id", "session_hash"})
_HEARTBEAT = "/gradio_api/heartbeat/"
# What says where the service is, for Gradio; nobody between is asked (the page finds its own address).
_HEARSAY = re.compile(rb"x-forwarded-.*|forwarded|x-gradio-.*")
_SESSION = re.compile(rb"session_hash=([A-Za-z0-9]{1,32})")

_INLINE = re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_DATA = re.compile(r"\s*window\.(gradio_\w+) = (.*);\s*", re.DOTALL)
_FOREIGN = re.compile(
    r"<(?:meta|link)\b[^>]*?(?:\bproperty=\"og:|\bname=\"twitter:|https?://|\bmanifest\b)[^>]*>"
    r"|<script\b[^>]*https?://[^>]*>\s*</script>"
)


class Gate:
    """Lets through to Gradio what the page needs.

    Args:
        app: Gradio's application.
        head: gives what is put at the end of the page's <head>, as HTML.
        listeners: who has posted events, and listens.
        events: how many data each of the page's events has.
    """

    def __init__(
        self, app: ASGIApp, head: Callable[[], str], listeners: Listeners, events: Sequence[int]
    ) -> None:
        self._app = app
        self._head = head
        self._listeners = listeners
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise `HTTPException`, which the application around answers."""
        if scope["type"] != "http":
            raise HTTPException(404)
        method, path = cast("str", scope["method"]), _path_below(scope)
        if method == "GET" and path == _STREAM:
            await self._tell(scope, receive, send)
            return
        if method == "POST" and path == EVENT:
            receive = await self._checked(receive)
        elif method in ("GET", "HEAD") and path.startswith(_HEARTBEAT):
            # It would stay open for ever, and hold up the end of the service; 204 asks not to come again.
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        elif method not in ("GET", "HEAD") or not (path in _EXACT or _FILE.fullmatch(path)):
            raise HTTPException(404)
        if path == "/":
            send = self._mended(scope, send)
        await self._app(_without_hearsay(scope, query=b""), receive, send)

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a session hear what becomes of its events, for some time."""
        found = _SESSION.fullmatch(scope["query_string"])
        if found is None:
            raise HTTPException(404)
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            with self._listeners.listening(found[1].decode()):
                async with asyncio.timeout(STREAM_SECONDS):
                    await self._app(_without_hearsay(scope, query=found[0]), receive, note)
        except KeyError:
            raise HTTPException(404) from None
        except TimeoutError:
            if not begun:
                raise
            await send({"type": "http.response.body", "body": b""})

    async def _checked(self, receive: Receive) -> Receive:
        """The body of an event, read and looked at, to be received once more."""
        body = await _read(receive)
        session = _session_of(body, self._events)
        if session is None:
            raise HTTPException(422)
        await self._listeners.post(session)
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again

    def _mended(self, scope: Scope, send: Send) -> Send:
        """`send` for the page: gathered, mended, sent."""
        start: Message = {}
        gathered = bytearray()

        async def gather(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            gathered.extend(message.get("body", b""))
            if message.get("more_body", False):
                return
            page = mended(gathered.decode(), self._head()).encode()
            body = b"" if scope["method"] == "HEAD" else page
            headers = MutableHeaders(raw=start["headers"])
            headers["content-length"] = str(len(page))
            headers["content-security-policy"] = CSP
            headers["cache-control"] = "no-store"
            await send(start)
            await send({"type": "http.response.body", "body": body})

        return gather


def mended(page: str, head: str) -> str:
    """Gradio's page, without what belongs to other hosts and without inline scripts, with `head`.

    Raises:
        HTTPException: it holds no configuration; then it is not one of Gradio's pages.
    """
    said = {found[1]: found[2] for script in _INLINE.findall(page) if (found := _DATA.fullmatch(script))}
    if "gradio_config" not in said:
        raise HTTPException(500)
    page = _FOREIGN.sub("", _INLINE.sub("", page))
    # (Gradio has escaped every < in it; what is data is not run)
    data = "".join(
        f'<script type="application/json" data-name="{name}">{value}</script>' for name, value in said.items()
    )
    at = page.index("<script")
    page = f'{page[:at]}{data}<script src="page/boot.js"></script>{page[at:]}'
    return page.replace("</head>", f"{head}</head>", 1)


def _path_below(scope: Scope) -> str:
    root = cast("str", scope.get("root_path", ""))
    return cast("str", scope["path"]).removeprefix(root)


def _without_hearsay(scope: Scope, *, query: bytes) -> Scope:
    """A request as Gradio gets it: with nothing that it would follow, no word of where it came from."""
    headers = [(name, value) for name, value in scope["headers"] if not _HEARSAY.fullmatch(name.lower())]
    return {**scope, "headers": headers, "query_string": query}


async def _read(receive: Receive) -> bytes:
    """The body of an event."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400)
        body.extend(message.get("body", b""))
        if len(body) > EVENT_BYTES:
            raise HTTPException(413)
        more = message.get("more_body", False)
    return bytes(body)


def _session_of(body: bytes, events: Sequence[int]) -> str | None:
    """Whose event it is; None if its data are not words, as many as that event has: no files, no paths."""
    try:
        event: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    fields = cast("dict[str, Any]", event)
    data, number, session = fields.pop("data", None), fields.get("fn_index"), fields.get("session_hash")
    if not fields.keys() <= _FIELDS or not isinstance(data, list) or not is_name(session):
        return None
    if type(number) is not int or not 0 <= number < len(events):
        return None
    words = cast("list[Any]", data)
    if len(words) != events[number] or not all(isinstance(word, str) for word in words):
        return None
    if not isinstance(fields.get("event_data"), str | None):
        return None
    if not isinstance(fields.get("trigger_id"), int | None):
        return None
    return session
