"""The whole service, as people start it, with more to do than it can: nothing is lost, mixed up or left.

The suite has a small network, small pictures and few repetitions. `make reliability` has the table's numbers
of clients and their sizes, and no other tests beside. `ANYRESTORE_FULL=1` also has `cea-t`, 100 drains (or as
many as `ANYRESTORE_DRAINS` says) and 2,000 requests at random.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import folder_runs
import served
from anyrestore import image
from folder_runs import FULL
from served import Reply, Service

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="/proc"), pytest.mark.alone]

CLIENTS = 200
WORKERS, QUEUE = 2, 8
DRAINS = os.environ.get("ANYRESTORE_DRAINS", "100" if FULL else "")
# In the suite other tests compute beside these, on the same two cores: times say little, bounds are wide.
_PATIENCE = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> object:
    """What the services run."""
    return "cea-t" if FULL else folder_runs.weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def running(model: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for the tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("service")
    options = ("--workers", WORKERS, "--queue", QUEUE)
    with served.service(folder, "--model", model, *options) as service:
        yield service


def photo(side: int, seed: int, kind: image.Format = "jpeg") -> bytes:
    """A smooth picture with a little noise, another one for every seed."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(6 * (x * chance.random() + y * chance.random())) for _ in range(3)], -1)
    values = 127 + 80 * waves + chance.normal(0, 8, waves.shape)
    pixels = values.clip(0, 255).astype(np.uint8)
    return image.encode(image.Picture(pixels=pixels), kind, quality=90 if kind == "jpeg" else None)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def say(line: str) -> None:
    """A figure, for who runs these with -s."""
    sys.stdout.write(f"{line}\n")


def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*work)

    return asyncio.run(all_of_them())


async def watch(service: Service, until: asyncio.Event) -> tuple[list[Reply], int]:
    """Ask for its health, and its memory, again and again: the answers, and the most bytes."""
    replies, most = list[Reply](), 0
    while not until.is_set():
        replies.append(await service.ask("GET", "/livez", seconds=10))
        most = max(most, service.resident())
        await asyncio.sleep(0.05)
    return replies, most


async def watched(service: Service, bodies: list[bytes]) -> tuple[list[Reply], list[Reply], int]:
    """All uploads at once, and what a watcher saw meanwhile."""
    over = asyncio.Event()
    watching = asyncio.create_task(watch(service, over))
    replies = await asyncio.gather(*(service.ask("POST", "/v1/restore", body) for body in bodies))
    over.set()
    health, most = await watching
    return list(replies), health, most


@pytest.mark.reliability("S5", "S21")
def test_two_hundred_at_once(running: Service, counted: bool):
    """1 MP each, eight different ones: a few are done, rightly, the rest is told so at once."""
    clients, side, patience = (CLIENTS, 1000, 1) if counted else (50, 300, _PATIENCE)
    pictures = [photo(side, seed) for seed in range(8)]
    alone = [running.post(picture) for picture in pictures]
    assert [reply.status for reply in alone] == [200] * 8
    replies, health, most = asyncio.run(watched(running, [pictures[i % 8] for i in range(clients)]))
    assert [reply.problem for reply in replies if reply.problem] == []
    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 429}
    # Those let in at first, and those that came after one of them was done.
    assert statuses.count(200) >= WORKERS + QUEUE
    for i, reply in enumerate(replies):
        if reply.status == 200:
            assert reply.body == alone[i % 8].body
        else:
            assert int(reply.headers["retry-after"]) >= 1
    refused = [reply.seconds for reply in replies if reply.status == 429]
    beats = [reply.seconds for reply in health]
    say(
        f"{statuses.count(200)} done in {max(reply.seconds for reply in replies):.1f} s, "
        f"{len(refused)} refused "
        f"(median {percentile(refused, 0.5):.3f} s, p99 {percentile(refused, 0.99):.3f} s), "
        f"health p99 {percentile(beats, 0.99):.3f} s, at most {most / 2**20:.0f} MiB"
    )
    assert percentile(refused, 0.99) < 0.5 * patience
    assert {reply.status for reply in health} == {200}
    assert percentile(beats, 0.99) < 0.2 * patience
    assert most < 2**31
    assert running.get("/readyz").status == 200


@pytest.mark.reliability("S7")
def test_large_pictures_at_once(model: object, counted: bool, tmp_path: Path):
    """32 MP each: not all that the queue's places would let in are let in.

    That they are done is asked for with `ANYRESTORE_FULL=1` alone, as it takes minutes: the most memory is
    occupied before.
    """
    clients = CLIENTS if counted else 20
    short = ("--timeout", 25 if counted else 2, "--timeout-per-megapixel", 0)
    pixels = np.full((5000, 6400, 3), 90, np.uint8)
    pixels[::50] = 160
    large = image.encode(image.Picture(pixels=pixels), "jpeg", quality=80)
    with served.service(tmp_path, "--model", model, *(() if FULL else short)) as service:
        replies, _, most = asyncio.run(watched(service, [large] * clients))
        assert [reply.problem for reply in replies if reply.problem] == []
        statuses = [reply.status for reply in replies]
        took = max(reply.seconds for reply in replies)
        counts = {one: statuses.count(one) for one in set(statuses)}
        say(f"{counts} in {took:.0f} s, at most {most / 2**20:.0f} MiB")
        assert set(statuses) <= ({200, 429} if FULL else {200, 429, 504})
        assert most < 2**31
        assert service.post(photo(64, 0)).status == 200


@pytest.mark.reliability("S36")
def test_mixed_sizes_from_many_clients(running: Service):
    """Every one gets its own, byte for byte what it gets alone."""
    count = 2000 if FULL else 64
    kinds: list[image.Format] = ["png", "jpeg", "webp"]
    sides = (16, 33, 48, 64, 64, 64, 120, 200)
    pictures = [photo(side, seed, kinds[seed % 3]) for seed, side in enumerate(sides)]
    alone = [running.post(picture) for picture in pictures]
    chance = random.Random(0)
    order = [chance.randrange(len(pictures)) for _ in range(count)]

    async def client(mine: list[int]) -> int:
        done = 0
        for which in mine:
            while (reply := await running.ask("POST", "/v1/restore", pictures[which])).status == 429:
                await asyncio.sleep(0.02)
            assert reply.status == 200, reply.problem or reply.body
            assert reply.body == alone[which].body
            done += 1
        return done

    assert sum(together(*(client(order[i::32]) for i in range(32)))) == count


@pytest.mark.reliability("S33")
def test_nothing_stays_behind(running: Service):
    """No file, and no byte of a picture or its name in the log."""
    before = {path for path in running.folder.rglob("*") if path.is_file()}
    canary = b"canary-7f3a9"
    body = photo(64, 1) + canary
    form = (
        b"--x\r\nContent-Disposition: form-data; name=image; filename=holiday-in-secret.jpg\r\n"
        b"Content-Type: image/jpeg\r\n\r\n" + body + b"\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = asyncio.run(running.ask("POST", "/v1/restore?instruction=", form, headers=headers))
    assert reply.status in (200, 422)
    assert {path for path in running.folder.rglob("*") if path.is_file()} == before
    log = running.log.read_bytes()
    for trace in (canary, b"holiday", hashlib.sha256(body).hexdigest().encode(), body[:16]):
        assert trace not in log


@pytest.mark.reliability("S10")
def test_a_worker_that_is_killed_costs_one_picture(model: object, counted: bool, tmp_path: Path):
    """As the kernel does when memory runs out."""
    with served.service(tmp_path, "--model", model, "--workers", 2) as service:
        large, small = photo(1200, 0), photo(64, 1)
        expected = service.post(small)
        workers = [number for number in service.family() if number != service.process.pid]

        async def lose_one() -> tuple[list[Reply], float]:
            waiting = [asyncio.create_task(service.ask("POST", "/v1/restore", large)) for _ in range(2)]
            await asyncio.sleep(0.7)
            busiest = max(workers, key=_processor)
            os.kill(busiest, signal.SIGKILL)
            killed = time.monotonic()
            while (await service.ask("GET", "/readyz")).status != 503:
                assert time.monotonic() - killed < 2
            while (await service.ask("GET", "/readyz")).status != 200:
                assert time.monotonic() - killed < 60
                await asyncio.sleep(0.05)
            back = time.monotonic() - killed
            return [await task for task in waiting], back

        replies, back = asyncio.run(lose_one())
        say(f"ready again after {back:.1f} s")
        assert sorted(reply.status or 0 for reply in replies) == [200, 500]
        assert back < 10 * (1 if counted else _PATIENCE)
        assert service.post(small).body == expected.body
        assert service.end() == 0


def _processor(number: int) -> int:
    fields = Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.reliability("S8")
def test_what_takes_too_long_is_ended(model: object, tmp_path: Path):
    """The answer comes, and the work stops."""
    with served.service(tmp_path, "--model", model, "--timeout", 1, "--timeout-per-megapixel", 0) as service:
        reply = service.post(photo(2500, 0))
        assert reply.status == 504
        assert reply.seconds < 3
        time.sleep(2)
        before = service.processor_seconds()
        time.sleep(1)
        assert service.processor_seconds() - before < 0.05 * 2
        assert service.post(photo(48, 0)).status == 200


@pytest.mark.reliability("S22")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_is_told_to_end_finishes_what_it_has_taken(
    number: int, model: object, counted: bool, tmp_path: Path
):
    """Who was told to go on with a body gets an answer; pictures that are answered are right."""
    lost, done, turned_away = 0, 0, 0
    pictures = [photo(side, side) for side in (100, 200, 300)]
    expected = list[bytes]()
    chance = random.Random(number)
    for drain in range(int(DRAINS or (5 if counted else 1)) if number == signal.SIGTERM else 1):
        folder = tmp_path / str(drain)
        folder.mkdir()
        with served.service(folder, "--model", model) as service:
            expected = expected or [service.post(picture).body for picture in pictures]
            replies = asyncio.run(_drained(service, pictures, number, chance.uniform(0.05, 0.6)))
            assert service.process.wait(40) == 0
        for which, reply in replies:
            lost += reply.went_on and reply.status is None
            assert not reply.problem or not reply.went_on, (drain, reply.problem)
            if reply.status == 200:
                done += 1
                assert reply.body == expected[which]
            else:
                turned_away += 1
    say(f"{done} pictures done, {turned_away} turned away, {lost} lost")
    assert lost == 0
    assert done > 0


async def _drained(
    service: Service, pictures: list[bytes], number: int, after: float
) -> list[tuple[int, Reply]]:
    """Twelve clients that ask again and again, until they are refused; after some time the signal."""
    replies = list[tuple[int, Reply]]()

    async def client(own: int) -> None:
        chance = random.Random(own)
        while True:
            which = chance.randrange(len(pictures))
            reply = await service.ask("POST", "/v1/restore", pictures[which], expect=True)
            replies.append((which, reply))
            if reply.status not in (200, 429):
                return
            await asyncio.sleep(0.01)

    async def signal_later() -> None:
        await asyncio.sleep(after)
        service.process.send_signal(number)

    await asyncio.gather(signal_later(), *(client(i) for i in range(12)))
    return replies


def test_a_second_signal_ends_it_at_once(model: object, tmp_path: Path):
    with served.service(tmp_path, "--model", model) as service:

        async def twice() -> tuple[Reply, float]:
            slow = asyncio.create_task(service.ask("POST", "/v1/restore", photo(2000, 0)))
            await asyncio.sleep(0.7)
            service.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            await asyncio.to_thread(service.process.wait, 10)
            return await slow, time.monotonic() - start

        family = service.family()
        reply, took = asyncio.run(twice())
        assert reply.status != 200
        assert took < 3
        time.sleep(0.5)
        assert [number for number in family if Path(f"/proc/{number}/exe").exists()] == []
