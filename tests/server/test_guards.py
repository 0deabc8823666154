"""Who may come in, and what every answer says beside its content."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from anyrestore.server import running
from anyrestore.server.guards import ROUTES
from anyrestore.server.settings import Settings
from server.services import Service, read_all, served

TOKEN = "0123456789abcdef-0123456789"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with served(hosts=("photos.example",), max_bytes=100_000) as running:
        yield running


@pytest.fixture(scope="module")
def private() -> Iterator[Service]:
    with served(token=TOKEN, origins=("https://a.example",)) as running:
        yield running


@pytest.mark.reliability("S18")
def test_only_the_services_own_names_are_answered(service: Service) -> None:
    port = service.port
    for host in ("localhost", f"127.0.0.1:{port}", f"[::1]:{port}", "Photos.Example", "photos.example.:80"):
        assert service.ask("GET", "/livez", headers={"Host": host}).status == 200, host
    evil = (
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "",
        "a b",
        "x:y:z",
        "[::1",
    )
    for host in evil:
        for method, path in (("GET", "/livez"), ("POST", "/v1/restore"), ("GET", "/v1/models")):
            reply = service.ask(method, path, headers={"Host": host})
            assert (reply.status, reply.code) == (400, "foreign_host"), host
    assert service.engine.orders == []


@pytest.mark.reliability("S18")
def test_web_pages_of_others_cannot_post(service: Service) -> None:
    port = service.port
    own = (f"http://127.0.0.1:{port}", f"HTTP://127.0.0.1:{port}")
    foreign = (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{port + 1}",
        f"http://localhost:{port}",
        "x",
        "http://[",
    )
    for origin in own:
        assert service.post(Origin=origin).status == 200, origin
    before = len(service.engine.orders)
    for origin in foreign:
        reply = service.post(Origin=origin)
        assert (reply.status, reply.code) == (403, "foreign_origin"), origin
    assert len(service.engine.orders) == before
    assert service.ask("GET", "/livez", headers={"Origin": "http://evil.example"}).status == 200


@pytest.mark.reliability("S17")
def test_other_origins_read_nothing_unless_they_are_listed() -> None:
    listed = [f"https://{name}.example" for name in "abcde"]
    others = ["https://f.example", "http://a.example", "https://a.example:444", "https://xa.example", "null"]
    names = {
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
    }
    with served() as plain:
        for origin in (*listed, *others):
            reply = plain.ask("GET", "/v1/models", headers={"Origin": origin})
            assert reply.status == 200
            assert not names & reply.headers.keys()
    asks = {"Access-Control-Request-Method": "POST"}
    with served(origins=tuple(listed)) as open_to_some:
        for origin in listed:
            for headers in ({"Origin": origin}, {"Origin": origin, **asks}):
                method = "OPTIONS" if len(headers) > 1 else "GET"
                reply = open_to_some.ask(method, "/v1/models", headers=headers)
                assert reply.status == (204 if method == "OPTIONS" else 200)
                assert reply.headers["access-control-allow-origin"] == origin
                assert reply.headers["vary"] == "Origin"
                assert "access-control-allow-credentials" not in reply.headers
            assert open_to_some.post(Origin=origin).status == 200
        for origin in others:
            assert not names & open_to_some.ask("GET", "/livez", headers={"Origin": origin}).headers.keys()
            reply = open_to_some.ask("OPTIONS", "/v1/restore", headers={"Origin": origin, **asks})
            assert (reply.status, names & reply.headers.keys()) == (403, set())


@pytest.mark.reliability("S20")
def test_the_token_is_asked_for_before_anything_else(private: Service) -> None:
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", f"Basic {basic}"):
        assert private.post(Authorization=right).status == 200
    before = len(private.engine.orders)
    wrong_basic = base64.b64encode(b"a:b").decode()
    wrongs = (
        *("", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", f"Token {TOKEN}", TOKEN),
        *("Basic !", "Basic \xe9", f"Basic {wrong_basic}", "Bearer \xff\xfe"),
    )
    for wrong in wrongs:
        for method, path in (
            ("POST", "/v1/restore"),
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
            ("GET", "/"),
        ):
            reply = private.ask(method, path, headers={"Authorization": wrong} if wrong else {})
            assert (reply.status, reply.code) == (401, "unauthorized"), wrong
            assert TOKEN not in str(reply)
    assert len(private.engine.orders) == before
    assert private.ask("GET", "/livez").status == private.ask("GET", "/readyz").status == 200
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert private.ask("OPTIONS", "/v1/restore", headers=preflight).status == 204
    bare = {"Access-Control-Request-Method": "POST"}
    assert private.ask("OPTIONS", "/v1/restore", headers=bare).status == 401


@pytest.mark.reliability("S20")
def test_of_a_stranger_less_than_64_kib_are_read(private: Service, received: list[int]) -> None:
    head = b"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n"
    with private.connect(head) as bare:
        bare.setblocking(False)
        sent = 0
        try:
            while sent < 20_000_000:
                sent += bare.send(bytes(2**16))
        except (BlockingIOError, ConnectionError):
            pass
        bare.settimeout(10)
        assert b"401" in read_all(bare).split(b"\r\n")[0]
    assert 0 < sum(received) < 2**16


@pytest.mark.reliability("S2")
def test_a_body_announced_too_large_is_refused_before_it_is_read(received: list[int]) -> None:
    import time

    with served() as service:
        for kind, length in (("image/png", 25 * 2**20 + 1), ("multipart/form-data; boundary=b", 26 * 2**20)):
            received.clear()
            head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            with service.connect() as bare:
                start = time.perf_counter()
                bare.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
                answer = bare.recv(2**16)
                seconds = time.perf_counter() - start
                bare.setblocking(False)
                try:
                    for _ in range(400):
                        bare.send(bytes(2**16))
                except (BlockingIOError, ConnectionError):
                    pass
                bare.settimeout(10)
                read_all(bare)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert seconds < 0.05
            assert sum(received) < 2**16
        huge = service.ask("POST", "/v1/restore", headers={"Content-Length": "9" * 30})
        assert huge.status in (400, 413)
        assert service.engine.orders == []


def test_the_page_has_a_policy_of_its_own_and_the_routes_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    def mount(app: FastAPI, settings: Settings, engine: object) -> FastAPI:
        app.mount("/", Starlette(routes=[Route("/", lambda _: PlainTextResponse("page"))]))
        return app

    page = SimpleNamespace(CSP="default-src 'self'; img-src blob:", mount=mount)
    monkeypatch.setattr(running, "importlib", SimpleNamespace(import_module=lambda _: page))
    with served(page=True, token=TOKEN) as service:
        assert service.ask("GET", "/").status == 401  # the page needs it too
        reply = service.ask("GET", "/", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (reply.status, reply.body) == (200, b"page")
        assert reply.headers["content-security-policy"] == page.CSP
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "img-src" not in service.ask("GET", "/livez").headers["content-security-policy"]


def test_the_page_does_not_take_what_the_routes_refuse() -> None:
    with served(page=True) as service:
        for path, method in ROUTES.items():
            for other in {"GET", "POST", "PUT", "TRACE", "OPTIONS", "BREW"} - {method}:
                reply = service.ask(other, path)
                assert (reply.status, reply.code, reply.headers["allow"]) == (405, "wrong_method", method)


@pytest.mark.reliability("S18")
def test_headers_that_decide_may_be_there_once(private: Service) -> None:
    """Two readers could take two answers from them."""
    before = len(private.engine.orders)
    token = f"Authorization: Bearer {TOKEN}\r\n"
    for twice in (
        "Origin: https://evil.example\r\nOrigin: https://a.example\r\n" + token,
        "Authorization: Bearer x\r\n" + token,
        "Content-Type: text/plain\r\nContent-Type: image/png\r\n" + token,
        "Content-Encoding: gzip\r\nContent-Encoding: identity\r\n" + token,
    ):
        head = f"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n{twice}\r\nx"
        assert private.exchange(head.encode()).startswith(b"HTTP/1.1 400 "), twice
    assert len(private.engine.orders) == before


@pytest.mark.reliability("S31")
def test_every_answer_has_its_headers(service: Service) -> None:
    asked = [("GET", path) for path in (*ROUTES, "/", "/nothing", "/assets/x.js", "/v1/restore/..")]
    asked += [("POST", "/livez"), ("OPTIONS", "/v1/restore"), ("HEAD", "/livez"), ("BREW", "/livez")]
    replies = [service.ask(method, path) for method, path in asked]
    replies += [
        service.post(),
        service.post(b""),
        service.post(kind="text/plain"),
        service.post(path="/v1/restore?x=1"),
    ]
    replies += [service.post(bytes(100_001)), service.ask("GET", "/livez", headers={"Host": "evil.example"})]
    assert {reply.status for reply in replies} >= {200, 400, 404, 405, 413, 415, 422}
    for reply in replies:
        headers = reply.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert len(headers["request-id"]) == 32
        assert "server" not in headers
        if reply.status >= 400:
            assert headers["content-type"] == "application/json"
    assert len({reply.headers["request-id"] for reply in replies}) == len(replies)
    # What is no HTTP does not get as far as the guards; its answer has the headers too.
    raw = service.exchange(b"NONSENSE\r\n\r\n").decode()
    for header in ("x-content-type-options: nosniff", "content-security-policy: default-src 'self'; "):
        assert header in raw
    for wanted, kind, name in (
        ("", "image/png", "restored.png"),
        ("?format=jpeg", "image/jpeg", "restored.jpg"),
        ("?format=tiff", "image/tiff", "restored.tif"),
        ("?format=webp", "image/webp", "restored.webp"),
        ("?format=avif", "image/avif", "restored.avif"),
    ):
        headers = service.post(path=f"/v1/restore{wanted}").headers
        assert headers["content-type"] == kind
        assert headers["content-disposition"] == f'attachment; filename="{name}"'
