"""Downloads: resumed after a broken connection, checked against the hash, put in place whole."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from anyrestore.data.download import download, sha256_of
from anyrestore.errors import DataError, OutputError

CONTENT = np.random.default_rng(0).bytes(300_000)
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `breaks` says after how many bytes each of the next connections ends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        self.close_connection = True
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/file")
            self.end_headers()
            return
        if self.path in ("/404", "/503"):
            self.send_error(int(self.path[1:]))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT)
        if self.server.breaks:
            end = min(end, start + self.server.breaks.pop(0))
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file(server: Server, tmp_path: Path) -> None:
    told = []
    download(
        f"{server.url}/f", tmp_path / "f.bin", sha256=HASH.upper(), progress=lambda *now: told.append(now)
    )
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert files(tmp_path) == ["f.bin"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    download("https://example.invalid/f", tmp_path / "f.bin", sha256=HASH)  # there already: nobody is asked
    assert server.asked == [None]


def test_a_broken_connection_is_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000, 50_000]
    download(f"{server.url}/f", tmp_path / "f.bin", sha256=HASH, pause=0)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.breaks = [70_000, 0, 0]
    with pytest.raises(DataError, match="70,000 bytes are kept"):
        download(f"{server.url}/f", tmp_path / "f.bin", sha256=HASH, attempts=2, pause=0)
    assert files(tmp_path) == [".f.bin.part"]
    download(f"{server.url}/f", tmp_path / "f.bin", sha256=HASH)
    assert server.asked[-1] == "bytes=70000-"
    assert files(tmp_path) == ["f.bin"]


def test_a_server_without_ranges_is_read_from_the_beginning(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, [100_000]
    download(f"{server.url}/f", tmp_path / "f.bin", sha256=HASH, pause=0)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_all_had_come_before_it_was_stopped(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".f.bin.part").write_bytes(CONTENT)
    download(f"{server.url}/f", tmp_path / "f.bin", sha256=HASH)
    assert sha256_of(tmp_path / "f.bin") == HASH


@pytest.mark.parametrize("before", [b"", b"x" * 1000, b"x" * 400_000])
def test_another_file_is_refused_and_deleted(server: Server, tmp_path: Path, before: bytes) -> None:
    (tmp_path / ".f.bin.part").write_bytes(before)
    wrong = HASH if before else "0" * 64
    with pytest.raises(DataError, match="another file"):
        download(f"{server.url}/f", tmp_path / "f.bin", sha256=wrong)
    assert files(tmp_path) == []


def test_a_file_of_that_name_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(b"mine")
    with pytest.raises(OutputError, match="another file"):
        download(f"{server.url}/f", tmp_path / "f.bin", sha256=HASH)
    assert (tmp_path / "f.bin").read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize("url", ["http://example.org/f", "file:///etc/hostname", "ftp://127.0.0.1/f", "f"])
def test_only_https(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="https"):
        download(url, tmp_path / "f.bin", sha256=HASH)


def test_a_redirection_away_from_https_is_not_followed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="https"):
        download(f"{server.url}/away", tmp_path / "f.bin", sha256=HASH)


def test_errors_of_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404"):
        download(f"{server.url}/404", tmp_path / "f.bin", sha256=HASH)
    assert len(server.asked) == 1  # asking again would not help
    with pytest.raises(DataError, match="503"):
        download(f"{server.url}/503", tmp_path / "f.bin", sha256=HASH, attempts=2, pause=0)
    assert len(server.asked) == 3


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be fetched"):
        download("http://127.0.0.1:9/f", tmp_path / "f.bin", sha256=HASH, attempts=2, pause=0)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        download(f"{server.url}/f", tmp_path / "nothing" / "f.bin", sha256=HASH)
