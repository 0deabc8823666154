"""Who is let in, who is next, what becomes of orders whose client or worker is gone; workers are stubs."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore import image
from anyrestore.errors import AnyRestoreError, InputError, ModelError, ServiceError, UsageError
from anyrestore.image import Picture
from anyrestore.server.engine import Workers
from anyrestore.server.orders import Answer, Load, Order
from anyrestore.server.settings import Settings

STUB = [sys.executable, str(Path(__file__).with_name("stub_worker.py"))]
MODELS = (
    "echo",
    "slow",
    "block",
    "stubborn",
    "crash",
    "picky",
    "error",
    "nonsense",
    "giant",
    "stranger",
    "told",
)


def png(height: int = 20, width: int = 20, grey: int = 0) -> bytes:
    return image.encode(Picture(pixels=np.full((height, width, 3), grey, np.uint8)), "png")


SMALL = png(5, 5)
PICTURE = png()


def run(test: Callable[[Workers], Awaitable[None]], **settings: Any) -> None:
    """A test with an engine whose workers are stubs; afterwards no process may be left."""

    async def inside() -> None:
        engine = Workers(Settings(**{"models": MODELS, **settings}), command=STUB)
        await engine.start()
        await until(lambda: engine.ready)
        processes = {slot.worker._process for slot in engine._slots if slot.worker is not None}
        try:
            await test(engine)
        finally:
            processes |= {slot.worker._process for slot in engine._slots if slot.worker is not None}
            await engine.stop(0)
        assert all(process.poll() is not None for process in processes)

    asyncio.run(inside())


async def until(condition: Callable[[], bool], seconds: float = 10) -> float:
    """Wait for something; how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        await asyncio.sleep(0.005)
    return time.monotonic() - started


def task(of: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
    return asyncio.create_task(of)


async def error_of(work: Awaitable[Answer]) -> AnyRestoreError:
    with pytest.raises(AnyRestoreError) as caught:
        await work
    return caught.value


def test_the_engine_needs_no_torch() -> None:
    code = "import sys, anyrestore.server.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_order_is_done() -> None:
    async def test(engine: Workers) -> None:
        shares = list[float]()
        answer = await engine.do(Order(data=PICTURE, model="slow"), progress=shares.append)
        assert (answer.data, answer.model, answer.format) == (PICTURE, "slow", "png")
        assert shares == [0.5]
        assert (await engine.do(Order(data=PICTURE))).model == "echo"  # the first is the default
        assert engine.load == Load(workers=2)
        assert [offer.name for offer in engine.offers] == list(MODELS)

    run(test)


@pytest.mark.reliability("S6")
@pytest.mark.parametrize(("workers", "queue"), [(2, 8), (1, 0), (3, 2)])
def test_exactly_so_many_are_let_in(workers: int, queue: int) -> None:
    async def test(engine: Workers) -> None:
        room, count = workers + queue, 60
        tasks = [task(engine.do(Order(data=PICTURE, model="block"))) for _ in range(count)]
        started = time.monotonic()
        await until(lambda: sum(one.done() for one in tasks) == count - room)
        assert time.monotonic() - started < 0.5  # refused at once, though nothing moves
        refused = [one.exception() for one in tasks if one.done()]
        for error in refused:
            assert isinstance(error, ServiceError)
            assert (error.code, error.retry_after) == ("busy", 1)
        await until(lambda: (engine.load.running, engine.load.waiting) == (workers, queue))
        with pytest.raises(ServiceError, match="try again in 1 seconds"):
            engine.check_room()
        await asyncio.sleep(0.1)
        assert sum(one.done() for one in tasks) == count - room
        for one in tasks:
            one.cancel()
        await until(lambda: engine.load == Load(workers=workers))
        engine.check_room()
        answers = await asyncio.gather(*(engine.do(Order(data=PICTURE)) for _ in range(room)))
        assert len(answers) == room

    run(test, workers=workers, queue=queue)


def test_pixels_that_are_in_flight_are_bounded() -> None:
    async def test(engine: Workers) -> None:
        first = task(engine.do(Order(data=png(30, 30), model="block")))
        await until(lambda: engine.load.pixels == 900)
        assert (await error_of(engine.do(Order(data=PICTURE)))).code == "busy"  # 400 more
        assert (await engine.do(Order(data=SMALL))).data == SMALL
        first.cancel()
        await until(lambda: engine.load.pixels == 0)
        assert (await engine.do(Order(data=png(40, 40)))).model == "echo"  # too many, but alone

    run(test, pixels_in_flight=1000)


def test_when_to_come_again_is_learnt() -> None:
    async def test(engine: Workers) -> None:
        for _ in range(20):
            await engine.do(Order(data=PICTURE))  # says that it took half a second
        tasks = [task(engine.do(Order(data=PICTURE, model="block"))) for _ in range(10)]
        await until(lambda: engine.load.pixels == 4000)
        error = await error_of(engine.do(Order(data=PICTURE)))
        assert isinstance(error, ServiceError)
        assert error.retry_after == 3  # 10 of half a second, 2 at a time
        for one in tasks:
            one.cancel()

    run(test)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (Order(data=PICTURE, model="../echo"), "unknown_model"),
        (Order(data=PICTURE, instruction="brighter"), "usage"),
        (Order(data=PICTURE, model="told"), "usage"),
        (Order(data=PICTURE, model="told", instruction=" "), "usage"),
        (Order(data=PICTURE, model="told", instruction="x" * 501), "usage"),
        (Order(data=PICTURE, wish="look"), "usage"),
        (Order(data=b""), "empty_file"),
        (Order(data=b"GIF89a"), "unsupported_format"),
        (Order(data=PICTURE[:60]), "truncated"),
        (Order(data=png(200, 200)), "too_many_pixels"),
        (Order(data=PICTURE, model="error"), "truncated"),
    ],
)
def test_what_cannot_be_done_is_refused(order: Order, code: str) -> None:
    async def test(engine: Workers) -> None:
        error = await error_of(engine.do(order))
        assert isinstance(error, InputError | ModelError | UsageError)
        assert error.code == code
        assert engine.load == Load(workers=1)

    run(test, workers=1, max_pixels=10_000)


@pytest.mark.reliability("S9")
def test_who_leaves_while_waiting_is_gone_at_once() -> None:
    async def test(engine: Workers) -> None:
        running = task(engine.do(Order(data=PICTURE, model="block")))
        await until(lambda: engine.load.running == 1)
        waiting = task(engine.do(Order(data=PICTURE, model="crash")))
        await until(lambda: engine.load.waiting == 1)
        assert (await error_of(engine.do(Order(data=PICTURE)))).code == "busy"
        waiting.cancel()
        assert await until(lambda: engine.load.waiting == 0) < 1
        engine.check_room()
        running.cancel()
        assert await until(lambda: engine.load.running == 0) < 1
        assert engine.load.restarts == 0  # neither was killed, nor was the dropped order begun

    run(test, workers=1, queue=1)


def test_a_worker_that_does_not_let_go_is_replaced() -> None:
    async def test(engine: Workers) -> None:
        running = task(engine.do(Order(data=PICTURE, model="stubborn")))
        await until(lambda: engine.load.running == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert engine.load.running == 1  # the slot is not free while the worker is not
        assert 1.5 < await until(lambda: engine.load.restarts == 1) < 4
        await until(lambda: engine.ready)
        assert (await engine.do(Order(data=PICTURE))).data == PICTURE

    run(test, workers=1)


def test_a_request_that_takes_too_long_is_ended_waiting_or_running() -> None:
    async def test(engine: Workers) -> None:
        tasks = [task(engine.do(Order(data=PICTURE, model="block"))) for _ in range(3)]
        errors = [await error_of(one) for one in tasks]
        assert {error.code for error in errors} == {"time_limit"}
        await until(lambda: engine.load == Load(workers=1))

    run(test, workers=1, request_seconds=0.2)


@pytest.mark.parametrize("model", ["crash", "nonsense", "giant", "stranger"])
def test_a_worker_that_dies_or_raves_costs_its_own_order(model: str) -> None:
    async def test(engine: Workers) -> None:
        others = [task(engine.do(Order(data=png(20, 20, grey), model="slow"))) for grey in range(3)]
        victim = task(engine.do(Order(data=PICTURE, model=model)))
        later = [task(engine.do(Order(data=png(20, 20, grey), model="slow"))) for grey in range(3, 6)]
        error = await error_of(victim)
        assert (error.code, engine.ready) == ("worker_lost", False)
        answers = await asyncio.gather(*others, *later)
        assert [answer.data for answer in answers] == [png(20, 20, grey) for grey in range(6)]
        await until(lambda: engine.ready)
        assert engine.load == Load(workers=2, restarts=1)

    run(test)


def test_small_pictures_of_one_size_go_together() -> None:
    async def test(engine: Workers) -> None:
        blocking = task(engine.do(Order(data=PICTURE, model="block")))
        await until(lambda: engine.load.running == 1)
        small = [png(5, 5, grey) for grey in range(5)]
        orders = [*(Order(data=data) for data in small), Order(data=png(5, 6)), Order(data=PICTURE)]
        orders.append(Order(data=small[0], model="slow"))
        tasks = [task(engine.do(order)) for order in orders]
        await until(lambda: engine.load.waiting == len(orders))
        blocking.cancel()
        answers = await asyncio.gather(*tasks)
        assert [answer.data for answer in answers] == [order.data for order in orders]
        together = sorted(int(answer.warnings[0].split()[0]) for answer in answers)
        assert together == [1, 1, 1, 1, 4, 4, 4, 4]  # of five alike four at once

    run(test, workers=1)


def test_of_pictures_that_went_together_only_one_is_to_blame() -> None:
    async def test(engine: Workers) -> None:
        blocking = task(engine.do(Order(data=PICTURE, model="block")))
        await until(lambda: engine.load.running == 1)
        small = [png(5, 5, grey) for grey in range(3)]
        formats = (None, "webp", None)
        orders = [Order(data=d, model="picky", format=f) for d, f in zip(small, formats, strict=True)]
        tasks = [task(engine.do(order)) for order in orders]
        await until(lambda: engine.load.waiting == 3)
        blocking.cancel()
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(second, ServiceError)
        assert second.code == "worker_lost"
        assert isinstance(first, Answer)
        assert isinstance(third, Answer)
        assert (first.data, third.data) == (small[0], small[2])

    run(test, workers=1)


def test_workers_that_keep_dying_are_started_later_and_later() -> None:
    async def test(engine: Workers) -> None:
        for deaths in (1, 2):
            assert (await error_of(engine.do(Order(data=PICTURE, model="crash")))).code == "worker_lost"
            if deaths == 1:
                assert await until(lambda: engine.ready) < 0.9
        assert (await error_of(engine.do(Order(data=PICTURE)))).code == "not_ready"
        assert await until(lambda: engine.ready) > 0.9  # a second
        await engine.do(Order(data=PICTURE))
        await error_of(engine.do(Order(data=PICTURE, model="crash")))
        assert await until(lambda: engine.ready) < 0.9  # it had done something

    run(test, workers=1)


def test_ending_finishes_what_is_in() -> None:
    async def test(engine: Workers) -> None:
        tasks = [task(engine.do(Order(data=PICTURE, model="slow"))) for _ in range(5)]
        await until(lambda: engine.load.pixels == 2000)
        stopping = asyncio.create_task(engine.stop(10))
        await asyncio.sleep(0.01)
        assert not engine.ready
        assert (await error_of(engine.do(Order(data=PICTURE)))).code == "stopping"
        with pytest.raises(ServiceError, match="ending"):
            engine.check_room()
        assert len(await asyncio.gather(*tasks)) == 5
        await stopping

    run(test)


@pytest.mark.parametrize("again", [False, True])
def test_ending_does_not_wait_for_ever(again: bool) -> None:
    async def test(engine: Workers) -> None:
        tasks = [task(engine.do(Order(data=PICTURE, model="stubborn"))) for _ in range(5)]
        await until(lambda: engine.load.pixels == 2000)
        started = time.monotonic()
        stopping = asyncio.create_task(engine.stop(30 if again else 0.2))
        await asyncio.sleep(0.05)
        if again:  # who is in a hurry asks twice
            await engine.stop(0)
        assert {(await error_of(one)).code for one in tasks} == {"stopping"}
        await stopping
        assert time.monotonic() - started < 2

    run(test)


@pytest.mark.parametrize(("model", "kind"), [("broken", ModelError), ("dead", ServiceError)])
def test_a_service_without_its_models_does_not_start(model: str, kind: type[AnyRestoreError]) -> None:
    async def test() -> None:
        engine = Workers(Settings(models=("echo", model)), command=STUB)
        assert (engine.ready, engine.offers) == (False, ())
        with pytest.raises(kind):
            await engine.start()
        assert (await error_of(engine.do(Order(data=PICTURE)))).code == "stopping"

    asyncio.run(test())


def test_before_the_start_nobody_is_let_in() -> None:
    async def test() -> None:
        engine = Workers(Settings(models=MODELS), command=STUB)
        error = await error_of(engine.do(Order(data=PICTURE)))
        assert isinstance(error, ServiceError)
        assert (error.code, error.retry_after) == ("not_ready", 5)
        await engine.stop(0)

    asyncio.run(test())


def test_a_killed_worker_is_noticed_though_it_has_nothing_to_do() -> None:
    async def test(engine: Workers) -> None:
        worker = engine._slots[0].worker
        assert worker is not None
        os.kill(worker._process.pid, signal.SIGKILL)
        await until(lambda: not engine.ready)
        await until(lambda: engine.ready)
        assert engine.load == Load(workers=2, restarts=1)

    run(test)
