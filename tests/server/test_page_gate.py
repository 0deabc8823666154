"""What of the page's framework can be reached, without a browser: no path, no URL, no other host."""

from __future__ import annotations

import asyncio
import gc
import http.client
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote, urlsplit

import gradio
import pytest

import page_service
import pictures
from anyrestore.errors import InputError, ServiceError
from anyrestore.server import listeners
from anyrestore.server.gate import CSP, EVENT, mended
from anyrestore.server.settings import Settings
from anyrestore.server.shelf import Kept, Shelf
from anyrestore.server.upload import Budget
from folder_runs import FULL
from page_service import Inverter


@pytest.fixture(scope="module")
def engine() -> Inverter:
    return Inverter()


@pytest.fixture(scope="module")
def port(engine: Inverter) -> Iterator[int]:
    with page_service.serving(page_service.application(engine, Settings(max_bytes=10_000))) as url:
        found = urlsplit(url).port
        assert found is not None
        yield found


def ask(
    port: int, method: str, path: str, body: bytes = b"", kind: str = "application/json"
) -> tuple[int, bytes]:
    """A request with this path, byte for byte."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def payloads() -> list[str]:
    """Paths that lead to /etc/passwd where somebody joins or opens them: 20 places, 10 ways."""
    places = [
        "/assets/",
        "/static/",
        "/static/img/",
        "/svelte/",
        "/page/",
        "/page/pictures/",
        "/gradio_api/file=",
        "/gradio_api/file/",
        "/gradio_api/file=/assets/",
        "/file=",
        "/file/",
        "/gradio_api/proxy=file://",
        "/gradio_api/custom_component/0/client/component/",
        "/gradio_api/stream/a/b/0/",
        "/gradio_api/upload_progress?upload_id=",
        "/theme.css/",
        "/pwa_icon/",
        "/monitoring/",
        "/gradio_api/queue/",
        "//",
    ]
    up = "../" * 12
    ways = [
        "/etc/passwd",
        f"{up}etc/passwd",
        quote(f"{up}etc/passwd", safe=""),
        quote(quote(f"{up}etc/passwd", safe=""), safe=""),
        "....//" * 12 + "etc/passwd",
        "..%5c" * 12 + "etc/passwd",
        "%c0%ae%c0%ae/" * 12 + "etc/passwd",
        "x/" + up + "../etc/passwd",
        "/etc/passwd%00.png",
        "file:///etc/passwd",
    ]
    return [place + way for place, way in itertools.product(places, ways)]


@pytest.mark.reliability("S14")
def test_no_path_leads_to_a_file(port: int) -> None:
    assert len(payloads()) == 200
    for path in payloads():
        status, body = ask(port, "GET", path)
        assert status in (400, 404), path
        assert b"root:" not in body


def test_only_what_the_page_needs_is_there(port: int) -> None:
    for path in (
        "/config",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/monitoring",
        "/manifest.json",
        "/runs",
    ):
        assert ask(port, "GET", path)[0] == 404, path
    for path in (
        "upload",
        "run/predict",
        "api/predict",
        "call/serve",
        "call/v2/serve",
        "cancel",
        "reset",
        "vibe-edit",
    ):
        assert ask(port, "POST", f"/gradio_api/{path}", b'{"data": []}')[0] == 404, path
    assert ask(port, "GET", "/gradio_api/heartbeat/abc")[0] == 204
    assert ask(port, "GET", "/page/icon.svg")[0] == 200


@pytest.mark.reliability("S16")
def test_no_address_of_a_client_is_called(port: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        target = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        files = [
            {"path": target, "meta": {"_type": "gradio.FileData"}},
            {"path": "/etc/passwd", "url": target, "meta": {"_type": "gradio.FileData"}},
            {"path": target, "url": target, "is_stream": True, "orig_name": "x.png"},
        ]
        for number, value in itertools.product(range(3), [*files, files, json.dumps(files[0]), target]):
            event = {"data": [value], "fn_index": number, "session_hash": f"s{number}", "trigger_id": 1}
            status, _ = ask(port, "POST", EVENT, json.dumps(event).encode())
            assert (status == 200) == (isinstance(value, str) and number > 0)  # (the first event has no data)
        for path in (
            f"/gradio_api/proxy={target}",
            f"/gradio_api/file={target}",
            f"/?deep_link={target}",
            f"/page/{target}",
        ):
            ask(port, "GET", path)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"data": 3}',
        b'{"data": ["a", {"path": "/etc/passwd"}]}',
        b'{"data": [["a"]]}',
        b'{"data": ["a"], "batched": true}',
        b'{"data": ["a"], "fn_index": 1}',
        b'{"data": ["a"], "fn_index": 3, "session_hash": "s"}',
        b'{"data": ["a"], "fn_index": true, "session_hash": "s"}',
        b'{"data": ["a", "b"], "fn_index": 1, "session_hash": "s"}',
        b'{"data": [1], "fn_index": 1, "session_hash": "s"}',
        b'{"data": ["a"], "fn_index": 1, "session_hash": "../s"}',
        b'{"data": ["a"], "fn_index": 1, "session_hash": "s", "trigger_id": "x"}',
        b'{"data": ["a"], "event_data": {"path": "/etc/passwd"}}',
        b"[" * 10_000,
    ],
)
def test_events_hold_words_only(port: int, body: bytes) -> None:
    assert ask(port, "POST", EVENT, body)[0] == 422


@pytest.fixture
def small_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a service that knows few sessions."""
    monkeypatch.setattr(listeners, "SESSIONS", 20)
    with page_service.serving(page_service.application(Inverter())) as url:
        found = urlsplit(url).port
        assert found is not None
        yield found


def test_what_gradio_keeps_is_bounded(small_port: int) -> None:
    """Events of ever new sessions that nobody listens to, and orders that are nested or no orders at all."""
    connection = http.client.HTTPConnection("127.0.0.1", small_port, timeout=10)
    count = 20_000 if FULL else 60
    for number in range(count):
        said = ("[" * 5000, "{}", "x")[number % 3]
        event = {"data": [said], "fn_index": 1, "session_hash": f"flood{number}"}
        connection.request("POST", EVENT, json.dumps(event), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    connection.close()
    queues = [one for one in gc.get_objects() if type(one) is gradio.queueing.Queue]
    assert any(queue.pending_event_ids_session for queue in queues)
    for queue in queues:
        assert len(queue.pending_event_ids_session) <= 20
        assert len(queue.pending_messages_per_session) <= 20
        assert len(queue.event_ids_to_events) <= 40


def test_events_are_small(port: int) -> None:
    assert ask(port, "POST", EVENT, json.dumps({"data": ["a" * 20_000]}).encode())[0] == 413


def test_the_page_names_no_other_host_and_needs_no_inline_script(port: int) -> None:
    status, body = ask(port, "GET", "/")
    assert status == 200
    text = body.decode()
    tags = re.findall(r"<(?:script|link|img|meta|iframe)\b[^>]*>", text)
    assert not [tag for tag in tags if re.search(r"https?:|//", tag)]
    inline = re.findall(r"<script(?![^>]*(?:src=|application/json))[^>]*>", text)
    assert inline == []
    assert "'unsafe-eval'" not in CSP
    assert "script-src 'self';" in CSP
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("HEAD", "/")
    assert connection.getresponse().headers["content-security-policy"] == CSP
    connection.close()


def test_another_page_than_gradios_is_not_sent() -> None:
    with pytest.raises(Exception, match="500"):
        mended("<html><head></head></html>", "")


def test_uploads_are_counted_and_handed_out_once(port: int) -> None:
    picture = pictures.png(pictures.ramp())
    status, body = ask(port, "POST", "/page/pictures", picture, "image/png")
    assert status == 201
    name = json.loads(body)["picture"]
    assert ask(port, "GET", f"/page/pictures/{name}") == (200, picture)
    assert ask(port, "GET", f"/page/pictures/{name}")[0] == 404
    status, body = ask(port, "POST", "/page/pictures", bytes(10_001), "image/png")
    assert (status, json.loads(body)["code"]) == (422, "file_too_large")
    assert ask(port, "POST", "/page/pictures", b"", "image/png")[0] == 422


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)


def test_a_shelf_has_an_end() -> None:
    budget = Budget(100)
    shelf = Shelf(budget)
    name = shelf.put(Kept(data=bytes(60), media_type="image/png"))
    with pytest.raises(ServiceError) as busy:
        shelf.put(Kept(data=bytes(41), media_type="image/png"))
    assert (busy.value.code, busy.value.retry_after) == ("busy", 5)
    with pytest.raises(ServiceError):
        asyncio.run(shelf.receive(chunks(20, 21), largest=50))
    assert budget.held == 60
    with pytest.raises(InputError) as large:
        asyncio.run(shelf.receive(chunks(20, 11), largest=30))
    assert large.value.code == "file_too_large"
    assert budget.held == 60
    assert shelf.take(name) is not None
    assert shelf.take(name) is None
    assert budget.held == 0
    other = asyncio.run(shelf.receive(chunks(20, 30), largest=50))
    kept = shelf.take(other)
    assert kept is not None
    assert len(kept.data) == 50


def test_what_nobody_fetches_is_dropped() -> None:
    budget = Budget(100)
    shelf = Shelf(budget, seconds=0.0)
    name = shelf.put(Kept(data=bytes(60), media_type="image/png"))
    assert shelf.take(name) is None
    assert budget.held == 0
