"""What of Gradio can be reached, and what leaves it: a filter around its whole application.

Gradio answers on some sixty routes: files by path, uploads, proxies to other hosts, streams, editors. The
page needs six of them, and events whose data are words and numbers. Everything else is told to be not there,
before Gradio sees it, so that neither a path nor a URL of a client reaches code that would open one
(CVE-2023-51449, CVE-2024-1561, CVE-2024-4325 are of that kind).

The page itself leaves Gradio with tags for other hosts, for link previews, and with inline scripts. Both are
taken out; what the scripts say of the page becomes data, which `static/boot.js` puts where Gradio looks for
it. So the page needs no inline script, and its policy allows none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, cast

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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

_EXACT = frozenset({"/", "/theme.css", "/gradio_api/queue/data", "/gradio_api/app_id"})
_FILE = re.compile(r"/(assets|static)(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+")
_FIELDS = frozenset({"event_data", "fn_index", "trigger_id", "session_hash"})
_HEARTBEAT = "/gradio_api/heartbeat/"

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
    """

    def __init__(self, app: ASGIApp, head: Callable[[], str]) -> None:
        self._app = app
        self._head = head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise `HTTPException`, which the application around answers."""
        if scope["type"] != "http":
            raise HTTPException(404)
        method, path = cast("str", scope["method"]), _path_below(scope)
        if method == "POST" and path == EVENT:
            receive = await _checked(receive)
        elif method in ("GET", "HEAD") and path.startswith(_HEARTBEAT):
            # It would stay open for ever, and hold up the end of the service; 204 asks not to come again.
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        elif method not in ("GET", "HEAD") or not (path in _EXACT or _FILE.fullmatch(path)):
            raise HTTPException(404)
        if path == "/":
            send = self._mended(scope, send)
        await self._app(scope, receive, send)

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


async def _checked(receive: Receive) -> Receive:
    """The body of an event, read and looked at, to be received once more."""
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
    if not _plain(bytes(body)):
        raise HTTPException(422)
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return again


def _plain(body: bytes) -> bool:
    """Whether an event's data are words and numbers: no files, no lists, nothing with a path."""
    try:
        event: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(event, dict):
        return False
    fields = cast("dict[str, Any]", event)
    data: Any = fields.pop("data", None)
    if not isinstance(data, list) or not fields.keys() <= _FIELDS:
        return False
    values = [*cast("list[Any]", data), *fields.values()]
    return not any(isinstance(value, dict | list) for value in values)
