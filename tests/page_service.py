"""The page with an engine that inverts pictures, on a free port of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from anyrestore import image
from anyrestore.errors import AnyRestoreError, ServiceError, UsageError
from anyrestore.server import page
from anyrestore.server.orders import Answer, Load, Offer, Order, Progress
from anyrestore.server.settings import Settings

ONE = (Offer(name="inverse", parameters=1, takes_instruction=False, can_look=True),)
TWO = (*ONE, Offer(name="told", parameters=2, takes_instruction=True, can_look=False))


@dataclass
class Inverter:
    """An engine of this process: every value v becomes 255 - v, or 65535 - v.

    Attributes:
        offers: as of `Engine`.
        seconds: that an order takes.
        busy: whether nothing is let in.
        orders: what was asked for, oldest first.
        dropped: how many orders were cancelled.
        loop: that the orders were done in.
        load: what is said of it.
    """

    offers: tuple[Offer, ...] = ONE
    seconds: float = 0.15
    busy: bool = False
    ready: bool = True
    orders: list[Order] = field(default_factory=list)
    dropped: int = 0
    loop: asyncio.AbstractEventLoop | None = None
    load: Load = field(default_factory=Load)

    def check_room(self) -> None:
        if self.busy:
            raise ServiceError("Eight pictures are waiting already.", code="busy", retry_after=7)

    async def do(self, order: Order, *, progress: Progress | None = None) -> Answer:
        self.check_room()
        self.loop = asyncio.get_running_loop()
        self.orders.append(order)
        named = {offer.name: offer for offer in self.offers}[order.model or self.offers[0].name]
        if named.takes_instruction and order.instruction is None:
            raise UsageError("this model must be told what to do.")
        picture = image.decode(order.data, name="this picture")
        try:
            for step in range(1, 6):
                await asyncio.sleep(self.seconds / 5)
                if progress is not None:
                    progress(step / 5)
        except asyncio.CancelledError:
            self.dropped += 1
            raise
        if order.wish == "look":
            picture = replace(picture, format="png")
        top = np.iinfo(picture.pixels.dtype).max
        data = image.encode(replace(picture, pixels=top - picture.pixels), picture.format)
        height, width = picture.pixels.shape[:2]
        return Answer(
            data=data,
            format=picture.format,
            width=width,
            height=height,
            bit_depth=picture.pixels.dtype.itemsize * 8,
            model=named.name,
            seconds=self.seconds,
            warnings=picture.warnings,
        )

    async def start(self) -> None:
        pass

    async def stop(self, seconds: float) -> None:
        pass


def application(engine: Inverter, settings: Settings | None = None) -> FastAPI:
    """The page in an application that answers errors as the service does."""
    app = FastAPI()

    @app.exception_handler(AnyRestoreError)
    async def told(_: Request, error: AnyRestoreError) -> JSONResponse:
        again = error.retry_after if isinstance(error, ServiceError) else None
        headers = {} if again is None else {"Retry-After": str(again)}
        status = 429 if isinstance(error, ServiceError) else 422
        return JSONResponse({"code": error.code, "message": error.message}, status, headers)

    return page.mount(app, settings or Settings(), engine)


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application behind uvicorn, in a thread; gives its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=5)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(20)


def wait_until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Come back once it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain"
        time.sleep(0.02)
