"""The page at /: Gradio Blocks, for somebody who never opened a terminal.

Gradio keeps the choices, the events and their progress. Pictures do not go through it: `static/page.js`
sends the file as it is to a route of our own, starts the event with the name that the file has on the shelf,
and fetches the result once, for the eye and for the download. So 16 bit stay 16 bit, nothing is written to a
disk, and no event holds a path or a URL (`gate.py` sees to it). What a browser cannot show itself, a TIFF
for example, comes with a small copy, made only after a worker has survived the file.

`static/page.js` sends an order as JSON in a hidden text box, and reads what becomes of it from another:

    {"picture": NAME, "wish": "restore" | "look", "views": true, "model": NAME, "instruction": TEXT}
    {"of": NAME, "progress": 0.4, "beat": 7}
    {"of": NAME, "result": NAME, "width": ..., ...} or {"of": NAME, "error": {"code": ..., "message": ...}}

It asks nothing of another host: system fonts, no analytics, no link previews; `CSP` forbids the rest.
"""

# Gradio's components get their events at run time, and its own types are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from anyrestore.errors import AnyRestoreError, ServiceError, UsageError
from anyrestore.image.preview import preview
from anyrestore.server.gate import CSP, Gate
from anyrestore.server.listeners import Listeners
from anyrestore.server.orders import MAX_INSTRUCTION, Answer, Engine, Offer, Order, Progress
from anyrestore.server.settings import Settings
from anyrestore.server.shelf import Kept, Shelf, too_large
from anyrestore.server.upload import Intake

__all__ = ["CSP", "mount"]

PICTURES = "/page/pictures"
VIEW_SIDE = 1600
"""Pixels of the longer side of the small copy of a picture that browsers cannot show."""

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
_FETCH_SECONDS = 5.0  # that a page has at the service's end to fetch what was done for it
_GLANCE = 0.05  # seconds between two looks at whether somebody has come
_PATIENCE = 1.0  # seconds after which an order's state is told again, though nothing has changed
_log = logging.getLogger(__name__)


def mount(app: FastAPI, settings: Settings, engine: Engine) -> FastAPI:
    """Put the page at /, behind every route that the application has so far: call it last.

    Args:
        app: the service; its handler answers `AnyRestoreError`, for what is said to `static/page.js`.
        settings: limits.
        engine: which does the work; its offers are asked for now.

    Returns:
        The service; ``app.state.handed_over()`` waits until what was done for the page is fetched, or a few
        seconds have passed: to be called when the engine has stopped, and before the address is given up.
    """
    # The API's, where there is one: uploads of both have the same places, and count together.
    intake: Intake = getattr(app.state, "intake", None) or Intake(settings, engine.check_room)
    shelf = Shelf(intake.budget)
    _add_pictures(app, settings, intake, shelf)
    _add_files(app, settings, engine)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    # It would sum up the times of the last events with pandas, after every event, for a page that is not
    # there.
    os.environ.update({"GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000", "GRADIO_ANALYTICS_MAX_EVENTS": "1"})
    _in_a_loop(lambda: _add_gradio(app, settings, engine, shelf))
    return app


def _add_gradio(app: FastAPI, settings: Settings, engine: Engine, shelf: Shelf) -> None:
    import gradio  # noqa: PLC0415 (seconds, and not there with --no-page)

    blocks: Any = None

    async def forget(session: str) -> None:
        await _forget(blocks, session)

    listeners = Listeners(forget)
    desk = _Desk(engine=engine, shelf=shelf, settings=settings, listeners=listeners)
    app.state.handed_over = desk.handed_over
    blocks = _blocks(gradio, engine, desk)
    # Gradio keeps a copy of the page for each; no event of this page needs it.
    blocks.state_session_capacity = 64
    _mount_gradio(gradio, app, blocks)
    events = [len(event.inputs) for _, event in sorted(blocks.fns.items())]
    for route in app.router.routes:
        if isinstance(route, Mount) and route.path == "":
            route.app = Gate(route.app, lambda: _head(_known(settings, engine.offers)), listeners, events)


async def _forget(blocks: Any, session: str) -> None:
    """Drop what Gradio keeps for a session that nobody listens to; by itself it keeps the events for ever."""
    queue = blocks._queue  # noqa: SLF001 (there is no other way to what it keeps)
    await queue.clean_events(session_hash=session)
    for number in queue.pending_event_ids_session.pop(session, ()):
        queue.event_ids_to_events.pop(number, None)
    queue.pending_messages_per_session.pop(session, None)


def _mount_gradio(gradio: Any, app: FastAPI, blocks: Any) -> None:
    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        blocked_paths=["/"],
        show_error=False,
        max_file_size=0,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(gradio),
    )


def _in_a_loop(make: Callable[[], None]) -> None:
    """Call it with a loop running: where there is none, Gradio makes four, and closes none of them."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:

        async def within() -> None:
            make()

        asyncio.run(within())
    else:
        make()


# ------------------------------------------------------------------------------------------- routes


def _add_files(app: FastAPI, settings: Settings, engine: Engine) -> None:
    """Routes of the page's own files, a fixed table, read once; and of what it must know of the service."""
    folder = files("anyrestore.server") / "static"
    table = {item.name: item.read_bytes() for item in folder.iterdir() if _suffix(item.name) in _MEDIA_TYPES}

    async def own_file(name: str) -> Response:
        if name not in table:
            raise HTTPException(404)
        return Response(
            table[name], media_type=_MEDIA_TYPES[_suffix(name)], headers={"cache-control": "no-cache"}
        )

    async def known() -> Response:
        return JSONResponse(_known(settings, engine.offers))

    app.add_api_route("/page/known", known, include_in_schema=False)
    app.add_api_route("/page/{name}", own_file, include_in_schema=False)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _add_pictures(app: FastAPI, settings: Settings, intake: Intake, shelf: Shelf) -> None:
    """Routes by which `static/page.js` sends a file and fetches a result."""

    async def receive(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > settings.max_bytes:
            raise too_large(settings.max_bytes)
        with intake.parcel() as parcel:
            name = await shelf.receive(parcel.follow(request.stream()), largest=settings.max_bytes)
        return JSONResponse({"picture": name}, status_code=201)

    async def fetch(name: str) -> Response:
        kept = shelf.take(name)
        if kept is None:
            raise HTTPException(404)
        headers = {"cache-control": "no-store", "content-disposition": "attachment"}
        return Response(kept.data, media_type=kept.media_type, headers=headers)

    app.add_api_route(PICTURES, receive, methods=["POST"], include_in_schema=False)
    app.add_api_route(PICTURES + "/{name}", fetch, methods=["GET"], include_in_schema=False)


# ------------------------------------------------------------------------------------------- orders


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What `static/page.js` says in the hidden text box.

    Attributes:
        picture: the name of the file on the shelf.
        wish: as of `Order`.
        views: whether the browser cannot show the file, and needs copies that it can.
        model: as of `Order`.
        instruction: as of `Order`.
    """

    picture: str
    wish: Literal["restore", "look"]
    views: bool
    model: str | None
    instruction: str | None


class _Desk:
    """Takes the page's orders to the engine, and tells what becomes of them."""

    def __init__(self, *, engine: Engine, shelf: Shelf, settings: Settings, listeners: Listeners) -> None:
        self._engine = engine
        self._listeners = listeners
        self._shelf = shelf
        self._settings = settings
        self._one_view = asyncio.Semaphore(1)  # a view takes memory here, not in a worker
        self._running: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def serve(self, order: str, session: str) -> AsyncIterator[str]:
        """Have an order done; yields JSON: its progress, then its end. To close this is to drop the order.

        It is begun when the session listens, and dropped when nobody has listened for some seconds.
        """
        wanted = _wanted(order)
        if wanted is None or wanted.picture in self._running:
            return
        shares = asyncio.Queue[float]()
        task = asyncio.create_task(self._done(wanted, session, shares.put_nowait))
        self._running[wanted.picture] = task
        try:
            share = 0.0
            for beat in itertools.count():
                if task.done():
                    break
                if self._listeners.has_left(session):
                    task.cancel()
                yield json.dumps({"of": wanted.picture, "progress": round(share, 3), "beat": beat})
                share = await _next_share(task, shares, share)
            yield json.dumps({"of": wanted.picture, **_ending(task)})
        finally:
            task.cancel()
            del self._running[wanted.picture]

    def cancel(self, order: str) -> None:
        """Drop an order that is being done."""
        wanted = _wanted(order)
        if wanted is not None and wanted.picture in self._running:
            self._running[wanted.picture].cancel()

    async def handed_over(self) -> None:
        """Come back when all orders are told of and all results fetched, or after a few seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FETCH_SECONDS):
                while self._running or self._shelf.has_results:
                    await asyncio.sleep(_GLANCE)

    async def _done(self, wanted: _Wanted, session: str, progress: Progress) -> dict[str, Any]:
        while not self._listeners.is_there(session):
            await asyncio.sleep(_GLANCE)
        kept = self._shelf.take(wanted.picture)
        if kept is None:
            raise UsageError("This picture is no longer here; choose it again.", code="usage")
        order = Order(data=kept.data, model=wanted.model, instruction=wanted.instruction, wish=wanted.wish)
        answer = await self._engine.do(order, progress=progress)
        told = self._put(answer)
        if wanted.views:
            told["before_view"] = await self._view(kept.data)
            told["result_view"] = await self._view(answer.data)
        return told

    def _put(self, answer: Answer) -> dict[str, Any]:
        name = self._shelf.put(Kept(data=answer.data, media_type=f"image/{answer.format}", result=True))
        return {
            "result": name,
            "format": answer.format,
            "width": answer.width,
            "height": answer.height,
            "bit_depth": answer.bit_depth,
            "model": answer.model,
            "seconds": round(answer.seconds, 2),
            "warnings": answer.warnings,
        }

    async def _view(self, data: bytes) -> str:
        async with self._one_view:
            small = await asyncio.to_thread(
                preview, data, side=VIEW_SIDE, max_pixels=self._settings.max_pixels
            )
        return self._shelf.put(Kept(data=small, media_type="image/webp", result=True))


def _wanted(order: str) -> _Wanted | None:
    """An order as `static/page.js` writes it; None for anything else."""
    try:
        said: Any = json.loads(order)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    fields = cast("dict[str, Any]", said)
    picture, wish = fields.get("picture"), fields.get("wish")
    if not isinstance(picture, str) or wish not in ("restore", "look"):
        return None
    model, instruction = fields.get("model"), fields.get("instruction")
    return _Wanted(
        picture=picture,
        wish=wish,
        views=fields.get("views") is True,
        model=model if isinstance(model, str) else None,
        instruction=(instruction.strip() or None) if isinstance(instruction, str) else None,
    )


async def _next_share(task: asyncio.Task[Any], shares: asyncio.Queue[float], before: float) -> float:
    """The newest progress, once there is a new one, the task is done, or it is time to tell it again."""
    waiting = asyncio.create_task(shares.get())
    await asyncio.wait({task, waiting}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        return before
    share = waiting.result()
    while not shares.empty():
        share = shares.get_nowait()
    return share


def _ending(task: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
    """What is told of a task that has ended; never a traceback."""
    if task.cancelled():
        return {"error": {"code": "cancelled", "message": "Cancelled. Nothing was kept of the picture."}}
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, AnyRestoreError):
        _log.error("an order of the page failed", exc_info=error)
        error = AnyRestoreError(
            "Something went wrong here that nobody foresaw; please try again.", code="internal"
        )
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, ServiceError) and error.retry_after is not None:
        told["retry_after"] = error.retry_after
    return {"error": told}


# ------------------------------------------------------------------------------------------- what is seen


def _blocks(gradio: Any, engine: Engine, desk: _Desk) -> Any:
    """The page: an empty stage and panel, which `static/page.js` fills, and Gradio's choices between them."""

    async def serve(order: str, request: Any) -> AsyncIterator[str]:
        async for state in desk.serve(order or "", request.session_hash or ""):
            yield state

    # Gradio looks at the type to see what it has to give; the name is not known where it looks.
    serve.__annotations__["request"] = gradio.Request

    async def cancel(order: str) -> None:
        desk.cancel(order or "")

    async def offered() -> Any:
        names = [offer.name for offer in engine.offers]
        return gradio.update(choices=names, value=names[0] if names else None)

    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    with gradio.Blocks(title="Restore a photo", analytics_enabled=False, fill_width=True) as blocks:
        gradio.Column(elem_id="heading")
        with gradio.Row(elem_id="board"):
            gradio.Column(elem_id="stage", scale=3, min_width=320)
            with gradio.Column(elem_id="panel", scale=2, min_width=300):
                model = gradio.Dropdown(label="Model", filterable=False, interactive=True, elem_id="model")
                gradio.Textbox(
                    label="What should be done?",
                    placeholder="for example: remove the rain",
                    max_length=MAX_INSTRUCTION,
                    interactive=True,
                    elem_id="instruction",
                )
                gradio.Column(elem_id="controls")
        gradio.Column(elem_id="below")
        order = gradio.Textbox(visible="hidden", elem_id="order")
        stopped = gradio.Textbox(visible="hidden", elem_id="stopped")
        state = gradio.Textbox(visible="hidden", elem_id="state")
        blocks.load(offered, outputs=model, **quiet)
        order.change(serve, inputs=order, outputs=state, trigger_mode="multiple", **quiet)
        stopped.change(cancel, inputs=stopped, outputs=None, trigger_mode="multiple", **quiet)
    # The engine says how much may wait, and who is next.
    return blocks.queue(default_concurrency_limit=None, api_open=False)


def _theme(gradio: Any) -> Any:
    """Gradio's plain theme in the fonts of the system; `static/page.css` has the colours."""
    fonts = [gradio.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "sans-serif")]
    mono = [gradio.themes.Font(name) for name in ("ui-monospace", "Consolas", "monospace")]
    return gradio.themes.Base(
        font=fonts, font_mono=mono, primary_hue="teal", neutral_hue="slate", radius_size="lg"
    )


def _known(settings: Settings, offers: Sequence[Offer]) -> dict[str, Any]:
    """What `static/page.js` must know of the service; no models while none is loaded."""
    return {
        "pictures": PICTURES,
        "maxBytes": settings.max_bytes,
        "models": [offer.name for offer in offers],
        "looking": [offer.name for offer in offers if offer.can_look],
        "telling": [offer.name for offer in offers if offer.takes_instruction],
    }


def _head(known: dict[str, Any]) -> str:
    """What stands at the end of the page's <head>."""
    # A model called </script> would end the element; JSON may write < in another way.
    data = json.dumps(known).replace("<", "\\u003c")
    return (
        '<meta name="description" content="Restore a photograph: rain, haze, noise, darkness, blur.">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="page/icon.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="page/page.css">'
        f'<script type="application/json" id="known">{data}</script>'
        '<script type="module" src="page/page.js"></script>'
    )
