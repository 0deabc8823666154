"""Who listens to the page's events: nobody's orders are not done, and what is kept has an end."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import page_service
import pictures
from anyrestore.errors import ServiceError
from anyrestore.server import listeners
from anyrestore.server.gate import EVENT
from anyrestore.server.listeners import Listeners
from page_service import Inverter, wait_until


@pytest.fixture(scope="module")
def engine() -> Inverter:
    return Inverter(seconds=20.0)


@pytest.fixture(scope="module")
def port(engine: Inverter) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listeners, "PATIENCE", 1.0)
        with page_service.serving(page_service.application(engine)) as url:
            found = urlsplit(url).port
            assert found is not None
            yield found


def post(port: int, path: str, body: bytes) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if answer.status < 400 else {}


def order(port: int, session: str) -> None:
    """Send a picture and have it restored, as the page does."""
    name = post(port, "/page/pictures", pictures.png(pictures.ramp()))[1]["picture"]
    wanted = json.dumps({"picture": name, "wish": "restore"})
    event = {"data": [wanted], "event_data": wanted, "fn_index": 1, "trigger_id": 10, "session_hash": session}
    assert post(port, EVENT, json.dumps(event).encode())[0] == 200


def test_an_order_waits_for_somebody_to_listen(port: int, engine: Inverter) -> None:
    engine.orders.clear()
    order(port, "nobody")
    time.sleep(1.5)
    assert engine.orders == []
    order(port, "somebody")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/gradio_api/queue/data?session_hash=somebody")
    connection.getresponse().readline()
    wait_until(lambda: engine.orders)
    connection.close()
    wait_until(lambda: engine.dropped, seconds=8)  # who leaves just after the start keeps no place
    assert len(engine.orders) == 1


def test_streams_are_for_sessions_that_have_posted(port: int) -> None:
    for query in ("session_hash=unknown", "session_hash=../x", "", "session_hash=a&session_hash=b"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", f"/gradio_api/queue/data?{query}")
        assert connection.getresponse().status == 404, query
        connection.close()


def known(**limits: float) -> tuple[Listeners, list[str]]:
    forgotten = list[str]()

    async def forget(name: str) -> None:
        forgotten.append(name)

    return Listeners(forget, **limits), forgotten  # type: ignore[arg-type] # each is of its limit's type


def test_sessions_are_bounded() -> None:
    sessions, forgotten = known(sessions=3)

    async def many() -> None:
        await sessions.post("s0")
        with sessions.listening("s0"):
            for number in range(1, 100):
                await sessions.post(f"s{number}")
            assert len(sessions) == 3
            assert sessions.is_there("s0")
            with sessions.listening("s98"), sessions.listening("s99"), pytest.raises(ServiceError) as busy:
                await sessions.post("s100")
            assert busy.value.code == "busy"

    asyncio.run(many())
    assert forgotten == [f"s{number}" for number in range(1, 98)]


def test_events_and_streams_are_bounded() -> None:
    sessions, _ = known(events=2, streams=1)

    async def much() -> None:
        await sessions.post("a")
        await sessions.post("a")
        with pytest.raises(ServiceError):
            await sessions.post("a")
        await sessions.post("b")
        with sessions.listening("a"), pytest.raises(ServiceError), sessions.listening("b"):
            pass
        with sessions.listening("b"):
            await sessions.post("a")  # it has been listened to meanwhile
        with pytest.raises(KeyError), sessions.listening("c"):
            pass

    asyncio.run(much())


def test_who_has_left_is_forgotten() -> None:
    sessions, forgotten = known(patience=0.05)

    async def later() -> None:
        await sessions.post("a")
        assert not sessions.has_left("a")
        with sessions.listening("a"):
            await asyncio.sleep(0.1)
            assert not sessions.has_left("a")
        await asyncio.sleep(0.1)
        assert sessions.has_left("a")
        await sessions.post("a")
        assert not sessions.has_left("a")  # who posts again is waited for again
        await asyncio.sleep(0.1)
        await sessions.post("b")

    asyncio.run(later())
    assert forgotten == ["a"]
