"""The service in a thread of the test, on a free port, with an engine that does what a test says."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from anyrestore.server.running import build, open_socket, serve
from anyrestore.server.settings import Settings
from server.stub_engine import StubEngine

FULL = os.environ.get("ANYRESTORE_FULL") == "1"


@dataclass(frozen=True)
class Reply:
    """What came back: the status, headers by lower-case name (the last of each), and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of an error."""
        found: dict[str, str] = json.loads(self.body)
        assert found.keys() == {"code", "message", "request_id"}
        return found["code"]


@dataclass
class Service:
    """A service that runs; its engine may be looked at from the test's thread, and is changed by `do`."""

    settings: Settings
    engine: StubEngine
    port: int
    loop: asyncio.AbstractEventLoop
    app: Any
    task: asyncio.Task[None] | None = field(default=None)

    def do(self, change: Callable[[], Any]) -> Any:
        """Run something in the service's loop, and wait for it."""

        async def run() -> Any:
            return change()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def post(
        self, body: bytes = b"picture", kind: str = "image/png", path: str = "/v1/restore", **headers: str
    ) -> Reply:
        """A picture, or what is sent for one."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, body, {"Content-Type": kind, **named})

    def connect(self, first: bytes = b"", *, receive_buffer: int | None = None) -> socket.socket:
        """A bare connection, on which `first` has been sent."""
        bare = socket.socket()
        if receive_buffer is not None:
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        bare.settimeout(20)
        bare.connect(("127.0.0.1", self.port))
        bare.sendall(first)
        return bare

    def exchange(self, data: bytes) -> bytes:
        """Everything that comes back for some bytes, until the service closes the connection."""
        with self.connect(data) as bare:
            return read_all(bare)


def read_all(bare: socket.socket) -> bytes:
    """What a connection still has to say; a reset is its end too."""
    found = bytearray()
    while True:
        try:
            piece = bare.recv(2**16)
        except ConnectionResetError:
            return bytes(found)
        if not piece:
            return bytes(found)
        found += piece


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """The seconds until a condition held; an assertion fails where it never did."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it never happened"
        time.sleep(0.005)
    return time.monotonic() - start


@contextmanager
def served(engine: StubEngine | None = None, **settings: Any) -> Generator[Service]:
    """A service for the length of a `with`; without a page unless told."""
    chosen = Settings(**{"port": 0, "page": False, "drain_seconds": 1.0, **settings})
    started = threading.Event()
    found = list[Service]()

    async def run() -> None:
        stub = StubEngine() if engine is None else engine
        app = build(chosen, stub)
        with open_socket(chosen) as listener:
            port = listener.getsockname()[1]
            service = Service(chosen, stub, port, asyncio.get_running_loop(), app)
            found.append(service)
            service.task = asyncio.create_task(
                serve(
                    chosen, app, stub, listener, tell=lambda event, _: event == "listening" and started.set()
                )
            )
            with suppress(asyncio.CancelledError):
                await service.task

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert started.wait(20)
        yield found[0]
    finally:
        service = found[0]
        assert service.task is not None
        service.loop.call_soon_threadsafe(service.task.cancel)
        thread.join(30)
        assert not thread.is_alive()
