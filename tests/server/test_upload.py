"""What is taken from a request's body, and what is not."""

from __future__ import annotations

import random
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.services import FULL, Service, read_all, served, wait_for
from server.stub_engine import StubEngine

KIND = "multipart/form-data; boundary=b"
HEAD = b"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\n"
LIMIT = 200_000


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with served(max_bytes=LIMIT) as running:
        yield running


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


IMAGE = part("image", b"picture", '; filename="a.png"')


def resident() -> int:
    """Bytes of memory of this process, the service's too."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_body_or_a_form_is_a_picture(service: Service) -> None:
    for kind in ("image/png", "image/x-unknown", "application/octet-stream", "Image/JPEG; q=1"):
        assert service.post(b"\x89PNG", kind).body == b"\x89PNG"
    texts = (
        part("model", b"instructir-t"),
        part("instruction", "zu dunkel ☂".encode()),
        part("format", b"jpeg"),
    )
    reply = service.post(form(texts[0], IMAGE, *texts[1:]), KIND)
    assert (reply.status, reply.body) == (200, b"picture")
    order = service.engine.orders[-1]
    assert (order.model, order.instruction, order.format) == ("instructir-t", "zu dunkel ☂", "jpeg")
    assert (
        service.post(
            b"picture", path="/v1/restore?model=instructir-t&instruction=rain%20drops&format=avif"
        ).status
        == 200
    )
    order = service.engine.orders[-1]
    assert (order.model, order.instruction, order.format) == ("instructir-t", "rain drops", "avif")
    assert (
        service.post(form(IMAGE), KIND, path="/v1/restore?format=webp").headers["content-type"]
        == "image/webp"
    )
    both = service.post(form(IMAGE, part("format", b"tiff")), KIND, path="/v1/restore?format=webp")
    assert both.headers["content-type"] == "image/tiff"
    no_kind = service.ask("POST", "/v1/restore", b"picture")
    assert no_kind.status == 200


def test_what_stands_twice_or_nowhere_is_refused(service: Service) -> None:
    before = len(service.engine.orders)
    for body, path in (
        (form(IMAGE, IMAGE), "/v1/restore"),
        (form(IMAGE, part("other", b"")), "/v1/restore"),
        (form(part("format", b"png")), "/v1/restore"),
        (form(IMAGE, part("format", b"bmp")), "/v1/restore"),
        (form(IMAGE, part("instruction", b"x" * 501)), "/v1/restore"),
        (form(IMAGE), "/v1/restore?formt=png"),
        (form(IMAGE), "/v1/restore?format=png&format=png"),
        (form(IMAGE), "/v1/restore?format=../png"),
        (form(IMAGE), f"/v1/restore?instruction={'x' * 501}"),
    ):
        reply = service.post(body, KIND, path)
        assert (reply.status, reply.code) == (422, "usage"), (body, path)
    assert len(service.engine.orders) == before


@pytest.mark.reliability("S25")
def test_other_kinds_of_body_are_refused_unread(service: Service) -> None:
    before = resident()
    kinds = (
        *(
            "application/x-www-form-urlencoded",
            "application/json",
            "text/plain",
            "text/html",
            "multipart/mixed",
        ),
        *(
            "application/xml",
            "application/x-www-form-urlencoded; charset=utf-8",
            "",
            "image",
            "multipart/related",
        ),
    )
    for kind in kinds:
        for body in (b"{}", b"a=1&" * 1000, b"a&" * 90_000, b"%41" * 60_000):
            reply = service.post(body, kind)
            assert (reply.status, reply.code) == (415, "unsupported_media"), kind
    assert resident() - before < 5 * 2**20


@pytest.mark.reliability("S4")
def test_compressed_bodies_are_refused(service: Service) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "x"):
        reply = service.post(b"\x1f\x8b", Content_Encoding=encoding)
        assert (reply.status, reply.code) == (415, "unsupported_media")
    assert service.post(Content_Encoding="identity").status == 200
    answer = service.exchange(
        HEAD + b"Content-Type: image/png\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    encoded = part("image", b"AAAA", "\r\nContent-Transfer-Encoding: base64")
    assert service.post(form(encoded), KIND).status == 415


def chunked(service: Service, kind: str, pieces: Iterator[bytes]) -> tuple[bytes, int]:
    """Send a body in chunks until the service has had enough; its answer, and the bytes that were sent."""
    sent = 0
    with service.connect(
        HEAD + f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    ) as bare:
        try:
            for piece in pieces:
                bare.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        return read_all(bare), sent


@pytest.mark.reliability("S3")
def test_endless_bodies_are_refused_while_they_come() -> None:
    with served(max_bytes=2 * 2**20) as service:
        megabyte = b"100000\r\n" + bytes(2**20) + b"\r\n"
        ones = b"1\r\nx\r\n" * 10_000

        def once() -> None:
            head = IMAGE.removesuffix(b"picture\r\n")
            for kind, first in (("image/png", b""), (KIND, b"%x\r\n%s\r\n" % (len(head), head))):
                answer, sent = chunked(service, kind, iter([first, *[megabyte] * 20]))
                assert answer.startswith(b"HTTP/1.1 413 "), answer
                assert sent < 20 * 2**20
            answer, sent = chunked(service, "image/png", iter([ones] * 100))  # a million chunks of one byte
            assert answer.startswith(b"HTTP/1.1 413 "), answer
            assert service.ask("GET", "/livez").status == 200

        once()
        once()

        def growth() -> int:
            before = resident()
            for _ in range(33 if FULL else 4):
                once()
            return resident() - before

        # What leaks does so every time; what other tests of this process have left settles once.
        assert min(growth() for _ in range(3)) < 2**20
        assert service.do(lambda: service.engine.orders) == []


@pytest.mark.reliability("S13")
def test_names_of_files_lead_nowhere(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, here or where temporary files go, whatever a client calls its picture."""
    (tmp_path / "canary").write_text("whole")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    places = ("canary", "etc/passwd", "x.png", "a/b/c", "con.png", "~root", ".bashrc", "x" * 3000)
    ways = (
        *("{}", "/{}", "../{}", "../../../../../../{}", "..\\..\\{}", "C:\\{}", "\\\\host\\{}", "file:///{}"),
        *("%2e%2e/{}", "%2e%2e%2f{}", "..%252f{}", "....//{}", "./{}", "{}/", "{}%00.png", "{}\\x00.png"),
        *(
            "a; filename={}",
            "{}\\r\\nX: y",
            "\\u202e{}",
            "{} ",
            ".{}",
            "{}::$DATA",
            "$(touch {})",
            "|touch {}",
            "`{}`",
        ),
    )
    names = [way.format(place) for way in ways for place in places]
    assert len(names) >= 200
    before = sorted(tmp_path.rglob("*"))
    for name in names:
        body = form(part("image", b"picture", f"; filename=\"{name}\"; filename*=UTF-8''{name}"))
        reply = service.post(body, KIND)
        assert (reply.status == 200 and reply.body == b"picture") or reply.status == 400, name
        assert name not in str(reply.headers)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "canary").read_text() == "whole"
    assert service.engine.orders[-1].data == b"picture"


BROKEN = {
    "no boundary": ("multipart/form-data", form(IMAGE)),
    "an empty one": ("multipart/form-data; boundary=", form(IMAGE)),
    "a long one": ("multipart/form-data; boundary=" + "b" * 200, form(IMAGE)),
    "another one": ("multipart/form-data; boundary=c", form(IMAGE)),
    "nothing": (KIND, b""),
    "no end": (KIND, IMAGE),
    "an end alone": (KIND, b"--b--\r\n"),
    "a million parts": (KIND, b"--b\r\n\r\n" * 24_000),
    "named parts": (KIND, form(*(part(f"x{i}", b"") for i in range(2000)))),
    "a large header": (KIND, form(part("image", b"", "; x=" + "y" * 100_000))),
    "many headers": (KIND, form(part("image", b"", "\r\nX: y" * 5000))),
    "LF alone": (KIND, form(IMAGE).replace(b"\r\n", b"\n")),
    "a preamble": (KIND, b"x" * 190_000 + form(IMAGE)),
    "line ends before": (KIND, b"\r\n" * 90_000),
    "RFC 2231": (KIND, form(part("image", b"x").replace(b'name="image"', b"name*=UTF-8''image"))),
    "no name": (KIND, form(part("", b"x"))),
    "no disposition": (KIND, b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n"),
    "a long text": (KIND, form(IMAGE, part("model", b"m" * 5000))),
    "no UTF-8": (KIND, form(IMAGE, part("model", b"\xff"))),
    "too much": (KIND, form(part("image", bytes(LIMIT + 1)))),
}


@pytest.mark.reliability("S24")
@pytest.mark.parametrize("case", BROKEN)
def test_forms_that_are_none(service: Service, case: str) -> None:
    kind, body = BROKEN[case]
    before, count = time.process_time(), len(service.engine.orders)
    reply = service.post(body, kind)
    assert reply.status in (400, 413, 422), reply
    assert reply.code in ("bad_request", "usage", "too_large", "unknown_model")
    assert time.process_time() - before < 1
    assert len(service.engine.orders) == count


@pytest.mark.reliability("S24")
def test_forms_changed_at_random_never_fail_unforeseen(service: Service) -> None:
    draw = random.Random(24)
    whole = form(part("model", b"cea-t"), IMAGE, part("format", b"png"))
    words = (b"\r\n", b"--b", b"--", b"\n", b"\0", b'"', b";", b"name=", b"\xff", b": ", b"--b--", b"x" * 300)
    for _ in range(5000 if FULL else 300):
        body = bytearray(whole)
        for _ in range(draw.randint(1, 5)):
            where = draw.randrange(len(body) + 1)
            body[where : where + draw.choice((0, 0, 1, 2, 9))] = draw.choice((*words, draw.randbytes(3)))
        before = time.process_time()
        reply = service.post(bytes(body), KIND)
        assert reply.status in (200, 400, 413, 422), bytes(body)
        assert time.process_time() - before < 1


def test_uploads_have_places_and_the_slowest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyrestore.server.upload._PATIENCE_SECONDS", 0.3)
    head = HEAD + b"Content-Type: image/png\r\nContent-Length: 100000\r\n\r\nx"
    with served(workers=1, queue=1) as service:
        slow = [service.connect(head) for _ in range(4)]
        wait_for(lambda: b"anyrestore_requests_open 5.0" in service.ask("GET", "/metrics").body)
        early = service.post()
        assert (early.status, early.code) == (429, "busy")
        assert int(early.headers["retry-after"]) > 0
        time.sleep(0.4)
        assert service.post().status == 200  # one of them has gone
        assert read_all(slow[0]).startswith(b"HTTP/1.1 408 ") or any(
            read_all(bare).startswith(b"HTTP/1.1 408 ") for bare in slow[1:]
        )
        for bare in slow:
            bare.close()


def test_bytes_under_way_are_bounded() -> None:
    with served(StubEngine(places=100), bytes_in_flight=1_000_000, max_bytes=400_000) as service:
        service.do(service.engine.gate.clear)
        statuses = list[int]()
        threads = [
            threading.Thread(target=lambda: statuses.append(service.post(bytes(400_000)).status))
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(statuses) == 3)
        assert statuses == [429] * 3
        service.do(service.engine.gate.set)
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 429, 429, 429]
        assert b"anyrestore_upload_bytes 0.0" in service.ask("GET", "/metrics").body


def test_a_full_engine_refuses_before_the_body() -> None:
    head = HEAD + b"Content-Type: image/png\r\nContent-Length: 20000000\r\n\r\n"
    with served(StubEngine(places=0)) as service, service.connect(head) as bare:
        answer = bare.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 7\r\n" in answer
        reply = service.post(bytes(20_000_000))  # who sends it all the same gets the answer, not a reset
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "busy", "7")
