"""The service from its start to its end: address, signals, and what is still to be done when one comes.

The first SIGTERM or Ctrl-C lets nothing more in: orders get 503 and `/readyz` says so, while the address
still answers. What was let in is finished and sent, for `drain_seconds`; then the process ends with 0. A
second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from anyrestore.errors import UsageError
from anyrestore.server.api import create_app
from anyrestore.server.orders import Engine
from anyrestore.server.protocol import limited
from anyrestore.server.settings import Settings

__all__ = ["build", "check_exposure", "check_token", "open_socket", "read_token", "run", "serve", "write_log"]

_BACKLOG = 1024  # connections that the system keeps until they are looked at
_SEND_SECONDS = 5  # for answers that are on their way when all orders are done
_SHORTEST_TOKEN = 16
_HEADERS = 2**14  # bytes that a request's headers may have

log = logging.getLogger("anyrestore.server")


def read_token(path: Path) -> str:
    """The token in a file, without the white space around it.

    Raises:
        UsageError: the file cannot be read, or holds no token that could be sent, or a short one.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file: {path} cannot be read as text; put the token in it") from error
    check_token(token)
    return token


def check_token(token: str) -> None:
    """Whether it can be sent, and not be guessed.

    Raises:
        UsageError: it cannot, or it can.
    """
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"the token: expected at least {_SHORTEST_TOKEN} letters, digits or signs without spaces; "
            "make one with: openssl rand -hex 32"
        )


def check_exposure(settings: Settings) -> None:
    """Whether the service may listen where it is told to.

    Raises:
        UsageError: others could reach it, it asks for no token, and nobody said that this is meant.
    """
    if settings.token is None and not settings.insecure and not _is_loopback(settings.host):
        raise UsageError(
            f"--host {settings.host}: others could use the service; name a token with --token-file FILE, or "
            "say --insecure"
        )


def open_socket(settings: Settings) -> socket.socket:
    """The socket to listen on; its port is free or was asked for.

    Raises:
        UsageError: the address is not this machine's, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = "is taken by another program; choose another one with --port, or 0 for any"
            raise UsageError(f"--port: {settings.port} {advice}") from error
        raise UsageError(
            f"--host {settings.host} --port {settings.port}: {error.strerror or error}"
        ) from error
    except OverflowError as error:
        raise UsageError(f"--port: expected 0 to 65535, got {settings.port}") from error


def address(listener: socket.socket) -> str:
    """Where a browser finds it."""
    bound, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, str(bound))  # noqa: S104 (it is read, not bound)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def build(settings: Settings, engine: Engine) -> FastAPI:
    """The application, with the page where it is wanted.

    Raises:
        UsageError: the page is wanted and Gradio is not installed (code `no_server`).
    """
    app = create_app(settings, engine)
    if not settings.page:
        return app
    try:
        page: Any = importlib.import_module("anyrestore.server.page")  # Gradio takes seconds to load
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "gradio":
            raise
        raise UsageError(
            "the page needs Gradio: pip install 'anyrestore[serve]', or say --no-page for the API alone",
            code="no_server",
        ) from error
    app.state.page_policy = page.CSP.encode()
    return page.mount(app, settings, engine)


def write_log(*, requests: bool) -> None:
    """Let the service's log go to stderr, a line each; of libraries only what went wrong.

    Args:
        requests: a line for every request too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.getLogger("anyrestore.server.access").disabled = not requests
    for name in ("uvicorn.error", "python_multipart", "asyncio"):
        library = logging.getLogger(name)
        library.setLevel(logging.ERROR)  # what a client sends wrong is told to the client
        library.addHandler(handler)


def run(
    settings: Settings, app: FastAPI, engine: Engine, *, tell: Callable[[str, str], None] | None = None
) -> None:
    """Serve until a signal comes, and what was accepted by then is answered.

    Args:
        settings: where, and how much.
        app: what answers, made with `create_app`.
        engine: what `app` was made with; it is started and stopped here.
        tell: told "listening" and then "ready", with the address.

    Raises:
        UsageError: it may not or cannot listen there.
        ModelError: a model cannot be loaded.
    """
    check_exposure(settings)
    with open_socket(settings) as listener:
        asyncio.run(serve(settings, app, engine, listener, tell=tell))


async def serve(
    settings: Settings,
    app: FastAPI,
    engine: Engine,
    listener: socket.socket,
    *,
    tell: Callable[[str, str], None] | None = None,
) -> None:
    """`run`, on a socket that is there, in a loop that runs."""
    tell = _nothing if tell is None else tell
    ending = asyncio.Event()
    server = _Server(_config(settings, app))
    with _signals(ending):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        starting = asyncio.create_task(_start(server, engine, address(listener), tell))
        waiting = asyncio.create_task(ending.wait())
        try:
            await asyncio.wait((serving, starting, waiting), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting  # what it raises ends the service
            await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (starting, waiting):
                task.cancel()
            await asyncio.gather(starting, waiting, return_exceptions=True)
            await engine.stop(settings.drain_seconds)
            await getattr(app.state, "handed_over", _nothing_left)()
            server.should_exit = True
            await serving


async def _start(
    server: uvicorn.Server, engine: Engine, where: str, tell: Callable[[str, str], None]
) -> None:
    while not server.started:
        await asyncio.sleep(0.01)
    tell("listening", where)
    await engine.start()
    while not engine.ready:
        await asyncio.sleep(0.05)
    tell("ready", where)


def _config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=limited(settings),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who stands in between is not asked who the client is
        backlog=_BACKLOG,
        timeout_keep_alive=max(round(settings.idle_seconds), 1),
        timeout_graceful_shutdown=_SEND_SECONDS,
        h11_max_incomplete_event_size=_HEADERS,
    )


class _Server(uvicorn.Server):
    """uvicorn's, which leaves signals alone: it would end the process by them in the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Nothing."""
        yield


@contextlib.contextmanager
def _signals(ending: asyncio.Event) -> Generator[None]:
    """The first signal sets the event, the second one ends the process where it stands."""
    loop = asyncio.get_running_loop()
    # Who ignores Ctrl-C (a shell does so for what it starts in the background) keeps that.
    numbers = [
        number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN
    ]

    def come(number: int) -> None:
        if ending.is_set():
            os._exit(128 + number)
        log.info("%s: finishing what was let in", signal.Signals(number).name)
        ending.set()

    added = list[signal.Signals]()
    with contextlib.suppress(ValueError, RuntimeError):  # not the main thread: a test, which has other ways
        for number in numbers:
            loop.add_signal_handler(number, come, number)
            added.append(number)
    try:
        yield
    finally:
        for number in added:
            loop.remove_signal_handler(number)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _nothing(_event: str, _where: str) -> None:
    """Nobody is told."""


async def _nothing_left() -> None:
    """There is no page: every answer has gone with its request."""
