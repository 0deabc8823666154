"""What the routes answer, and what they never say."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyrestore import errors
from anyrestore.errors import AnyRestoreError, InputError, ModelError, ServiceError
from anyrestore.server.problems import STATUSES
from server.services import Service, served, wait_for
from server.stub_engine import StubEngine

LEAKS = re.compile(
    r"/(?:tmp|home|usr|root|work|etc|var|opt)\b|\.py\b|Traceback|line \d+|File \"|site-packages|0x[0-9a-f]{6}"
    r"|(?:uvicorn|starlette|fastapi|python|pydantic|h11|torch)[/ ]?\d|\b\d+\.\d+\.\d+\b(?!\.\d)",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with served(max_bytes=1_000_000) as running:
        yield running


def test_a_picture_comes_back_with_what_there_is_to_say(service: Service) -> None:
    reply = service.post(b"pixels")
    assert (reply.status, reply.body) == (200, b"pixels")
    assert reply.headers["restored-model"] == "cea-t"
    assert (reply.headers["restored-size"], reply.headers["restored-bits"]) == ("64x48", "8")
    assert reply.headers["server-timing"] == "restore;dur=250"
    assert json.loads(reply.headers["restored-warnings"]) == ["the profile was dropped — it is damaged"]


def test_models_life_and_readiness() -> None:
    with served() as service:
        told = json.loads(service.ask("GET", "/v1/models").body)
        assert told["default"] == "cea-t"
        assert [model["name"] for model in told["models"]] == ["cea-t", "instructir-t"]
        assert told["models"][1]["takes_instruction"] is True
        assert service.ask("GET", "/readyz").status == 200
        service.do(lambda: setattr(service.engine, "is_ready", False))
        reply = service.ask("GET", "/readyz")
        assert (reply.status, reply.code) == (503, "not_ready")
        assert int(reply.headers["retry-after"]) > 0
        assert service.post().code == "not_ready"
        assert service.ask("GET", "/livez").status == 200
    with served(StubEngine(offers=())) as unknown:
        assert unknown.ask("GET", "/v1/models").code == "not_ready"


@pytest.mark.reliability("S15")
def test_models_are_names_of_a_table_and_nothing_else(service: Service) -> None:
    payloads = (
        *(
            "../../etc/passwd",
            "/etc/passwd",
            "file:///etc/passwd",
            "..%2f..%2fx",
            "cea-t.safetensors",
            "./cea-t",
        ),
        *(
            "cea-t\x00",
            "cea-t ",
            " cea-t",
            "CEA-T",
            "cea-s",
            "http://127.0.0.1:9/x.onnx",
            "\\\\host\\x",
            "",
            "*",
        ),
        *(
            "__import__('os')",
            "u2net_custom",
            '{"model_path": "/etc/passwd"}',
            "cea-t;ls",
            "cea-t\r\nX: y",
            "ℂea-t",
        ),
    )
    before = len(service.engine.orders)
    for name in payloads:
        form = f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{name}\r\n'.encode()
        form += b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--b--\r\n'
        for reply in (
            service.post(form, "multipart/form-data; boundary=b"),
            service.post(path=f"/v1/restore?model={''.join(f'%{byte:02x}' for byte in name.encode())}"),
        ):
            assert (reply.status, reply.code) == (422, "unknown_model"), name
            assert "passwd" not in reply.body.decode()
    # Options of other services (rembg's extras, a path or a URL to read) are not options here.
    for query in (
        "model_path=/etc/passwd",
        "extras=%7B%22model_path%22%3A%22x%22%7D",
        "url=http://127.0.0.1:9/",
    ):
        reply = service.post(path=f"/v1/restore?{query}")
        assert (reply.status, reply.code) == (422, "usage")
    assert len(service.engine.orders) == before


def leaky() -> Exception:
    return ValueError(f"{Path(__file__)}: line 12, torch 2.13.0")


FAILURES = [
    InputError("the picture is cut short", code="truncated"),
    InputError("the picture has too many pixels", code="too_many_pixels"),
    InputError("memory ran out", code="out_of_memory"),
    ServiceError("too much is waiting", code="busy", retry_after=9),
    ServiceError("it took too long", code="time_limit"),
    ServiceError("the worker died", code="worker_lost"),
    ServiceError("the service is ending", code="stopping"),
    ModelError("/root/x.safetensors: no such file", code="no_weights"),
    AnyRestoreError("/tmp/secret.py, line 3"),
    leaky(),
    MemoryError("/tmp"),
]


@pytest.mark.reliability("S30")
def test_errors_say_what_to_do_and_nothing_of_the_machine(caplog: pytest.LogCaptureFixture) -> None:
    with served() as service:
        for failure in FAILURES:
            service.do(lambda failure=failure: setattr(service.engine, "error", failure))
            reply = service.post()
            foreseen = isinstance(failure, AnyRestoreError) and failure.code in STATUSES
            code = failure.code if isinstance(failure, AnyRestoreError) and foreseen else "internal"
            assert (reply.code, reply.status) == (code, STATUSES[code])
            assert ("retry-after" in reply.headers) == (reply.status in (429, 503))
            assert not LEAKS.search(reply.body.decode()), reply.body
            number = json.loads(reply.body)["request_id"]
            assert number == reply.headers["request-id"]
            if reply.status == 500:
                assert number in caplog.text  # who runs the service finds the rest there
        service.do(lambda: setattr(service.engine, "error", None))
        others = [
            service.ask("GET", "/nothing/at/../all"),
            service.ask("GET", "/%2e%2e/etc/passwd"),
            service.ask("PUT", "/v1/restore"),
            service.ask("POST", "/livez"),
            service.ask("TRACE", "/livez"),
            service.post(path="/v1/restore?format=exe"),
            service.post(path="/v1/restore?/tmp/x=1"),
            service.post(kind="text//tmp/x"),
            service.post(b""),
            service.post(b"--x", "multipart/form-data; boundary=/tmp/x"),
            service.ask("GET", "/livez", headers={"Host": "/tmp/x"}),
            service.post(Origin="http://evil.example"),
        ]
        for reply in others:
            assert reply.status >= 400
            assert STATUSES[reply.code] == reply.status
            assert not LEAKS.search(reply.body.decode()), reply.body
            assert not LEAKS.search(str({k: v for k, v in reply.headers.items() if k != "date"}))
        raw = service.exchange(b"GET /tmp/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert not LEAKS.search(raw.partition(b"\r\n\r\n")[2].decode())


def test_every_code_of_the_table_stands_with_its_errors() -> None:
    documented = " ".join(getattr(errors, name).__doc__ or "" for name in errors.__all__)
    missing = [code for code in STATUSES if f"``{code}``" not in documented]
    assert missing == []


def test_a_client_that_leaves_gives_its_place_back() -> None:
    with served() as service:
        service.do(service.engine.gate.clear)
        head = b"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        head += b"Content-Length: 1\r\n\r\nx"
        for how in (socket.SHUT_RDWR, socket.SHUT_WR):
            bare = service.connect(head)
            wait_for(lambda: service.engine.open == 1)
            bare.shutdown(how)
            assert wait_for(lambda: service.engine.open == 0) < 1
            bare.close()
        assert service.engine.dropped == 2
        half = service.connect(head[:-1])
        half.close()
        wait_for(lambda: b"anyrestore_clients_left_total 3.0" in service.ask("GET", "/metrics").body)


def test_health_is_not_queued_behind_work() -> None:
    with served(StubEngine(places=10)) as service:
        service.do(service.engine.gate.clear)
        statuses = list[int]()
        threads = [threading.Thread(target=lambda: statuses.append(service.post().status)) for _ in range(20)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(statuses) == 10)
        assert statuses == [429] * 10
        seconds = list[float]()
        for _ in range(50):
            start = time.perf_counter()
            assert service.ask("GET", "/livez").status == service.ask("GET", "/readyz").status == 200
            seconds.append((time.perf_counter() - start) / 2)
        assert max(seconds) < 0.2
        service.do(service.engine.gate.set)
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * 10 + [429] * 10


@pytest.mark.reliability("S33")
def test_the_log_names_no_client_and_no_picture(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    canary = "canary-8f31"
    token = "s3cr3t-s3cr3t-s3cr3t"
    bearer = {"Authorization": f"Bearer {token}"}
    with caplog.at_level(logging.DEBUG), served(token=token) as service:
        form = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{canary}.png"\r\n\r\n'
        form += f"{canary}\r\n--b--\r\n"
        kind = "multipart/form-data; boundary=b"
        assert service.post(form.encode(), kind, **bearer).body == canary.encode()
        instructed = f"/v1/restore?model=instructir-t&instruction={canary}"
        assert service.post(canary.encode(), path=instructed, **bearer).status == 200
        service.ask(
            "GET", f"/{canary}?token={token}", headers={**bearer, "Cookie": canary, "User-Agent": canary}
        )
        service.ask("GET", "/livez", headers={"Authorization": f"Bearer {canary}"})
        service.ask("BREW" + canary.upper(), "/livez")
        service.do(
            lambda: setattr(service.engine, "error", InputError("the picture is cut short", code="truncated"))
        )
        service.post(canary.encode(), **bearer)
        metrics = service.ask("GET", "/metrics", headers=bearer).body.decode()
    said = caplog.text + metrics
    assert "POST /v1/restore 200" in caplog.text
    assert "POST /v1/restore 422" in caplog.text
    for secret in (canary, canary.upper(), token, "127.0.0.1"):
        assert secret not in said
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_prometheus(service: Service) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    service.post()
    service.post(path="/v1/restore?format=exe")
    service.ask("GET", "/made/up")
    reply = service.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
    labels = {
        (s.labels["route"], s.labels["status"])
        for s in families["anyrestore_requests"].samples
        if "route" in s.labels
    }
    assert {("/v1/restore", "200"), ("/v1/restore", "422"), ("other", "404")} <= labels
    assert families["anyrestore_workers"].samples[0].value == 2
    assert families["anyrestore_worker_restarts"].samples[0].value == 1
    assert families["anyrestore_orders_waiting"].samples[0].value == 0
    assert {s.labels.get("code") for s in families["anyrestore_errors"].samples} >= {"usage", "no_route"}
    assert families["anyrestore_ready"].samples[0].value == 1
    assert "python_info" not in families


def test_the_document_offers_no_page_that_needs_others(service: Service) -> None:
    document = json.loads(service.ask("GET", "/openapi.json").body)
    assert set(document["paths"]) == {"/v1/restore", "/v1/models", "/livez", "/readyz", "/metrics"}
    assert {"401", "413", "415", "422", "429", "503", "504"} <= set(
        document["paths"]["/v1/restore"]["post"]["responses"]
    )
    for path in ("/docs", "/redoc"):
        assert service.ask("GET", path).status == 404
    assert "security" not in document
    with served(token="0123456789abcdef") as private:
        told = private.ask("GET", "/openapi.json", headers={"Authorization": "Bearer 0123456789abcdef"})
        assert json.loads(told.body)["security"] == [{"token": []}]
