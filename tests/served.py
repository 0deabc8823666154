"""`anyrestore serve` in a process of its own, and clients that see every byte, for tests.

The clients are plain sockets: what a reset, a silence or half an answer does to a client is what is tested,
and a library would hide it.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 60.0
_SOURCE = Path(__file__).parents[1] / "src"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a client got.

    Attributes:
        status: of the answer; None if none came whole.
        headers: names in lower case.
        body: of the answer.
        seconds: from the call to the last byte.
        went_on: the service said `100 Continue`: it has begun to take the body.
        problem: why there is no answer.
    """

    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    went_on: bool = False
    problem: str = ""


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, folder: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.folder = folder
        """The one for temporary files, its own."""

    def get(self, path: str) -> Reply:
        """One request, outside of any loop."""
        return asyncio.run(self.ask("GET", path))

    def post(self, body: bytes, path: str = "/v1/restore") -> Reply:
        """One picture, outside of any loop."""
        return asyncio.run(self.ask("POST", path, body))

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        expect: bool = False,
        seconds: float = 400.0,
    ) -> Reply:
        """Send a request and take the answer.

        Args:
            method: "GET" or "POST".
            path: with its query.
            body: a picture.
            headers: beside the usual ones.
            expect: send the body only after `100 Continue`.
            seconds: after which the client gives up.
        """
        given = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **(headers or {})}
        if method == "POST":
            given = {"Content-Type": "application/octet-stream", "Content-Length": str(len(body)), **given}
        if expect:
            given["Expect"] = "100-continue"
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in given.items()) + "\r\n"
        start = time.perf_counter()
        heard = _Heard()
        try:
            async with asyncio.timeout(seconds):
                await self._exchange(heard, head.encode(), body, expect=expect)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            heard.problem = f"{type(error).__name__}: {error}"
        return Reply(
            status=heard.status,
            headers=heard.headers,
            body=heard.body,
            seconds=time.perf_counter() - start,
            went_on=heard.went_on,
            problem=heard.problem,
        )

    async def _exchange(self, heard: _Heard, head: bytes, body: bytes, *, expect: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head if expect else head + body)
            status, headers = await _head(reader)
            if status == 100:
                heard.went_on = True
                writer.write(body)
                status, headers = await _head(reader)
            length = headers.get("content-length")
            heard.body = await (reader.read() if length is None else reader.readexactly(int(length)))
            heard.status, heard.headers = status, headers
        finally:
            writer.close()

    def family(self) -> list[int]:
        """The numbers of the service's process and all below it."""
        found, waiting = list[int](), [self.process.pid]
        while waiting:
            number = waiting.pop()
            found.append(number)
            for task in Path(f"/proc/{number}/task").glob("*/children"):
                waiting += [int(child) for child in _text(task).split()]
        return found

    def resident(self) -> int:
        """Bytes that all its processes occupy together."""
        pages = [_text(Path(f"/proc/{number}/statm")).split() for number in self.family()]
        return sum(int(found[1]) for found in pages if found) * os.sysconf("SC_PAGE_SIZE")

    def processor_seconds(self) -> float:
        """Of all its processes together, so far."""
        ticks = 0
        for number in self.family():
            found = _text(Path(f"/proc/{number}/stat")).rpartition(")")[2].split()
            ticks += sum(int(one) for one in found[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")

    def wait_ready(self, seconds: float = START_SECONDS) -> float:
        """Wait until /readyz says so; the seconds it took."""
        start = time.monotonic()
        while self.get("/readyz").status != 200:
            assert self.process.poll() is None, self.log.read_text("utf-8")
            assert time.monotonic() - start < seconds, self.log.read_text("utf-8")
            time.sleep(0.05)
        return time.monotonic() - start

    def end(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


@dataclass
class _Heard:
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    went_on: bool = False
    problem: str = ""


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *others = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in others if line)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:  # it has ended meanwhile
        return ""


@contextmanager
def service(folder: Path, *options: object, page: bool = False) -> Iterator[Service]:
    """Start `anyrestore serve` on a free port and wait until it is ready.

    Args:
        folder: for its log, and in it `tmp` for its temporary files.
        options: of the command.
        page: with the page.
    """
    log, temporary = folder / "service.log", folder / "tmp"
    temporary.mkdir(exist_ok=True)
    # Not in this process: the suite's threads and hooks are not those of a service.
    environment = {**os.environ, "PYTHONPATH": str(_SOURCE), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "anyrestore", "serve", "--port", "0", *(() if page else ("--no-page",))]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *map(str, options)], stdout=out, stderr=subprocess.STDOUT, env=environment
        )
    try:
        start = time.monotonic()
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text("utf-8"))) is None:
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() - start < START_SECONDS, log.read_text("utf-8")
            time.sleep(0.05)
        running = Service(process, int(found[1]), log, temporary)
        running.wait_ready()
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
