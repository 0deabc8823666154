"""From the start to the end: what may be listened on, signals, and what is still answered then."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anyrestore.errors import ModelError, UsageError
from anyrestore.server.running import check_exposure, open_socket, read_token
from anyrestore.server.settings import Settings
from server.services import FULL, read_all, wait_for
from server.stub_engine import StubEngine

HEAD = b"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 7\r\n\r\n"

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from anyrestore.server.running import build, run, write_log
from anyrestore.server.settings import Settings
from server.stub_engine import StubEngine

settings = Settings(port=0, page=False, drain_seconds={drain})
engine = StubEngine(ready=False)
hold = engine.gate.clear
{before}
write_log(requests=False)
run(settings, build(settings, engine), engine, tell=lambda event, where: print(event, where, flush=True))
print("answered", engine.answered, flush=True)
"""


HOLD = "import signal; hold(); signal.signal(signal.SIGUSR1, lambda *_: engine.gate.set())"


@contextmanager
def process(before: str = "", drain: float = 5) -> Generator[tuple[subprocess.Popen[str], int]]:
    """The service in a process of its own, ready; its port."""
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), before=before, drain=drain)
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        first, second = child.stdout.readline(), child.stdout.readline()
        assert (first.split()[0], second.split()[0]) == ("listening", "ready")
        yield child, int(second.rsplit(":", 1)[1])
    finally:
        child.kill()
        child.communicate()


class Bare:
    """Connections to a service in another process, whose gate a signal opens."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self, first: bytes) -> socket.socket:
        bare = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        bare.sendall(first)
        return bare

    def ask(self, data: bytes) -> bytes:
        with self.connect(data) as bare:
            return read_all(bare)

    def wait_until_draining(self) -> None:
        ready = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"
        wait_for(lambda: self.ask(ready).startswith(b"HTTP/1.1 503 "))

    @staticmethod
    def release(child: subprocess.Popen[str]) -> None:
        child.send_signal(signal.SIGUSR1)


@pytest.mark.reliability("S19")
def test_others_are_let_in_with_a_token_or_by_a_plain_word() -> None:
    assert Settings().host == "127.0.0.1"
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        check_exposure(Settings(host=host))
    for host in (
        "0.0.0.0",
        "::",
        "192.168.1.5",
        "10.0.0.1",
        "example.org",
        "",
        "0",
        "localhost.evil.example",
    ):
        with pytest.raises(UsageError, match=r"--token-file FILE, or say --insecure$"):
            check_exposure(Settings(host=host))
        check_exposure(Settings(host=host, token="0123456789abcdef"))
        check_exposure(Settings(host=host, insecure=True))


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port: {port} is taken by another program; choose"):
            open_socket(Settings(port=port))
    with pytest.raises(UsageError, match=r"--host 192\.0\.2\.1 --port 8000: "):
        open_socket(Settings(host="192.0.2.1"))


def test_a_token_is_read_from_a_file_and_must_be_good(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  0123456789abcdef\n")
    assert read_token(path) == "0123456789abcdef"
    for bad in (
        "",
        "short",
        "with a space in it, and long",
        "0123456789abcdef\nmore-of-it",
        "0123456789abcdé-xx",
    ):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(UsageError):
            read_token(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_a_model_that_cannot_be_loaded_ends_the_start() -> None:
    from anyrestore.server.running import build, run

    engine = StubEngine(ready=False)
    engine.start_error = ModelError("no such model", code="unknown_model")
    settings = Settings(port=0, page=False)
    with pytest.raises(ModelError, match="no such model"):
        run(settings, build(settings, engine), engine)


def test_signals_drain_and_lose_nothing() -> None:
    """What was let in is answered, whole, while new orders get 503; the exit code is 0."""
    for number in (signal.SIGTERM, signal.SIGINT) if not FULL else [signal.SIGTERM] * 100:
        with process(HOLD) as (child, port):
            service, ready = Bare(port), b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"
            slow = [service.connect(HEAD + b"picture") for _ in range(5)]
            assert service.ask(ready).startswith(b"HTTP/1.1 200 ")
            child.send_signal(number)
            service.wait_until_draining()
            refused = service.ask(HEAD + b"picture")
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b'"stopping"' in refused
            assert b"retry-after" in refused
            assert child.poll() is None
            service.release(child)
            for one in slow:
                answer = read_all(one)
                one.close()
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert answer.endswith(b"\r\n\r\npicture")
            assert child.wait(10) == 0
            assert child.stdout is not None
            assert child.stdout.read().split()[-2:] == ["answered", "5"]


def test_a_second_signal_ends_it_at_once() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with process(HOLD) as (child, port), Bare(port).connect(HEAD + b"picture"):
            time.sleep(0.2)
            child.send_signal(number)
            time.sleep(0.2)
            assert child.poll() is None
            start = time.monotonic()
            child.send_signal(number)
            assert child.wait(5) == 128 + number
            assert time.monotonic() - start < 1


def test_what_takes_too_long_at_the_end_is_told_so() -> None:
    with process(HOLD, drain=0.3) as (child, port), Bare(port).connect(HEAD + b"picture") as waiting:
        idle, silent = (
            Bare(port).connect(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            Bare(port).connect(b""),
        )
        time.sleep(0.2)
        start = time.monotonic()
        child.terminate()
        assert read_all(waiting).startswith(b"HTTP/1.1 503 ")
        assert child.wait(10) == 0
        assert time.monotonic() - start < 3
        for one in (idle, silent):
            one.close()
