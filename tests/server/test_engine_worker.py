"""The engine with workers that compute: the same bytes as alone, and what is ended really ends."""

import asyncio
import dataclasses
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anyrestore import image
from anyrestore.errors import InputError, ServiceError
from anyrestore.image import Metadata, Picture
from anyrestore.inference import Restorer
from anyrestore.server.engine import Workers
from anyrestore.server.orders import Answer, Load, Order
from anyrestore.server.settings import Settings
from anyrestore.zoo import load_weights, save_weights
from pictures import exif
from tiny_models import make, moved

FULL = os.environ.get("ANYRESTORE_FULL") == "1"
TINY = ("tiny", "nafnet-tiny")


class Service:
    """An engine and the loop that it lives in."""

    def __init__(self, settings: Settings, command: list[str] | None = None) -> None:
        self.runner = asyncio.Runner()
        self.engine = Workers(settings, command=command)
        self.run(self.engine.start())
        self.wait(lambda: self.engine.ready)

    def run(self, work: Awaitable[Any]) -> Any:
        async def inside() -> Any:
            return await work

        return self.runner.run(inside())

    def wait(self, condition: Callable[[], bool], seconds: float = 60) -> float:
        return self.run(until(condition, seconds))

    def do(self, *orders: Order) -> list[Any]:
        """At once; what became of each."""

        async def inside() -> list[Any]:
            return await asyncio.gather(*map(self.engine.do, orders), return_exceptions=True)

        return self.run(inside())

    def processes(self) -> list[int]:
        return [slot.worker._process.pid for slot in self.engine._slots if slot.worker is not None]

    def close(self) -> None:
        self.run(self.engine.stop(0))
        self.runner.close()


async def until(condition: Callable[[], bool], seconds: float = 60) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        await asyncio.sleep(0.005)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two tiny models, which have learnt nothing."""
    folder = tmp_path_factory.mktemp("weights")
    for name in TINY:
        save_weights(moved(make(name)), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    files = [str(folder / f"{name}.safetensors") for name in TINY]
    service = Service(Settings(models=(*files, "cea-t"), queue=62, pixels_in_flight=10**9))
    yield service
    service.close()


def noise(height: int, width: int, seed: int = 0, **about: Any) -> Picture:
    return Picture(pixels=np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), **about)


def png(height: int, width: int, seed: int = 0) -> bytes:
    return image.encode(noise(height, width, seed), "png")


LARGE = image.encode(Picture(pixels=np.full((2000, 2000, 3), 90, np.uint8)), "png")
"""Seconds of work, a few bytes."""


def test_what_is_offered(service: Service) -> None:
    first, second, third = service.engine.offers
    assert (first.name, second.name, third.name) == (*TINY, "cea-t")
    assert (first.can_look, second.can_look, third.can_look) == (True, False, True)
    assert third.parameters == 4_079_401
    assert third.title.startswith("Continuous Expert Assembly")
    assert not any(offer.takes_instruction for offer in service.engine.offers)


def test_a_picture_is_restored_in_its_format_and_depth(service: Service, folder: Path) -> None:
    picture = noise(90, 70)
    deep = Picture(pixels=picture.pixels.astype(np.uint16) * 257, alpha=np.full((90, 70), 65535, np.uint16))
    as_tiff, as_jpeg = image.encode(deep, "tiff"), image.encode(picture, "jpeg")
    first, second, third, fourth = service.do(
        Order(data=as_tiff),
        Order(data=as_jpeg),
        Order(data=as_jpeg, format="png"),
        Order(data=as_tiff, format="jpeg"),
    )
    assert (first.format, first.width, first.height, first.bit_depth) == ("tiff", 70, 90, 16)
    assert (second.format, second.bit_depth, second.model) == ("jpeg", 8, "tiny")
    assert third.format == "png"
    assert getattr(fourth, "code", None) == "format_cannot_hold"
    restorer = Restorer(load_weights(folder / "tiny.safetensors"), device="cpu")
    expected, came = restorer(deep), image.decode(first.data)
    assert came.alpha is not None
    assert np.abs(came.pixels.astype(int) - expected.pixels).max() <= 1
    decoded = image.decode(as_jpeg)
    assert np.abs(image.decode(third.data).pixels.astype(int) - restorer(decoded).pixels).max() <= 1


def test_nothing_is_kept_that_tells_of_people_and_places(service: Service) -> None:
    data = image.encode(noise(40, 40, metadata=Metadata(exif=exif(), text=(("Author", "me"),))), "png")
    (answer,) = service.do(Order(data=data))
    metadata = image.decode(answer.data, keep_gps=True).metadata
    assert (metadata.exif, metadata.xmp, metadata.text) == (None, None, ())


def test_progress_is_told_now_and_then(service: Service) -> None:
    shares = list[tuple[float, float]]()

    def follow(share: float) -> None:
        shares.append((time.monotonic(), share))

    picture = image.encode(Picture(pixels=np.full((600, 600, 3), 90, np.uint8)), "png")
    answer = service.run(service.engine.do(Order(data=picture, model="cea-t"), progress=follow))
    assert isinstance(answer, Answer)
    values = [share for _, share in shares]
    assert values == sorted(values)
    assert 0 < values[0] < 0.6 < values[-1] < 1
    assert len(shares) <= 10 * answer.seconds + 1


def test_a_model_shows_how_it_routes_a_picture(service: Service) -> None:
    first, second, third = service.do(
        Order(data=png(200, 150), wish="look"),
        Order(data=image.encode(Picture(pixels=noise(300, 3000).pixels[..., 0]), "tiff"), wish="look"),
        Order(data=png(200, 150), wish="look", model="nafnet-tiny"),
    )
    assert (first.format, first.width, first.height, first.bit_depth) == ("png", 150, 200, 8)
    colours = image.decode(first.data).pixels.reshape(-1, 3)
    assert (np.ptp(colours, axis=1) > 20).mean() > 0.5  # it is no grey picture any more
    assert (second.width, second.height) == (1024, 102)
    assert getattr(third, "code", None) == "usage"


def test_sentences_name_no_files(service: Service, folder: Path) -> None:
    bad = [
        Order(data=png(30, 30)[:-30]),
        Order(data=png(30, 30)[:800] + b"x" + png(30, 30)[801:]),
        Order(data=b"no picture"),
        Order(data=png(200, 150), model=str(folder / "tiny.safetensors")),
    ]
    errors = service.do(*bad)
    assert [getattr(error, "code", None) for error in errors] == [
        "truncated",
        "corrupt",
        "not_an_image",
        "unknown_model",
    ]
    assert all(str(error).startswith("the picture") for error in errors[:3])


@pytest.mark.reliability("S36")
def test_each_of_many_clients_gets_its_own_result(service: Service) -> None:
    """Mixed sizes, formats and models, 32 clients at once: byte for byte what the picture gives alone."""
    draw = random.Random(0)
    sizes = [(24, 24), (40, 24), (64, 64), (57, 63), (96, 64), (130, 70)]
    kinds = [(size, seed, model) for size in sizes for seed in range(3) for model in TINY]
    kinds += [((48, 48), 0, "cea-t"), ((150, 100), 1, "cea-t")]
    orders = [Order(data=png(*size, seed), model=model) for size, seed, model in kinds]
    alone = [hashlib.sha256(service.do(order)[0].data).digest() for order in orders]
    assert len(set(alone)) == len(alone)

    async def client(count: int) -> int:
        wrong = 0
        for _ in range(count):
            which = draw.randrange(len(orders))
            answer = await service.engine.do(orders[which])
            wrong += hashlib.sha256(answer.data).digest() != alone[which]
            wrong += (answer.height, answer.width) != kinds[which][0]
        return wrong

    async def clients() -> list[int]:
        return await asyncio.gather(*(client(63 if FULL else 4) for _ in range(32)))

    assert sum(service.run(clients())) == 0
    assert service.engine.load == Load(workers=2)


def cpu_seconds(process: int) -> float:
    """What a process has computed, all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.reliability("S8")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc: a process's CPU time is unknown")
def test_a_request_that_takes_too_long_is_not_computed_on(service: Service) -> None:
    engine, settings = service.engine, service.engine._settings
    engine._settings = dataclasses.replace(settings, request_seconds=1.0, seconds_per_megapixel=0.0)
    try:
        before = sum(map(cpu_seconds, service.processes()))
        (error,) = service.do(Order(data=LARGE, model="cea-t"))
    finally:
        engine._settings = settings
    assert isinstance(error, ServiceError)
    assert error.code == "time_limit"
    assert sum(map(cpu_seconds, service.processes())) > before  # it had begun
    service.run(asyncio.sleep(2))
    started = sum(map(cpu_seconds, service.processes()))
    service.run(asyncio.sleep(1))
    assert sum(map(cpu_seconds, service.processes())) - started < 0.05
    assert service.engine.load == Load(workers=2)  # and neither was killed


@pytest.mark.reliability("S9")
def test_who_leaves_while_running_is_let_go_of_at_the_next_block(service: Service) -> None:
    async def test() -> float:
        engine = service.engine
        shares = list[float]()
        running = asyncio.create_task(engine.do(Order(data=LARGE, model="cea-t"), progress=shares.append))
        await until(lambda: bool(shares))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return await until(lambda: engine.load.running == 0)

    # The whole takes ten seconds and more, and is no tile of a larger one; half a second is less than that.
    assert service.run(test()) < 1
    assert service.engine.load == Load(workers=2)


@pytest.mark.alone
@pytest.mark.reliability("S10")
def test_a_killed_worker_is_back_and_nobody_else_has_noticed(service: Service, counted: bool) -> None:
    async def test() -> float:
        engine = service.engine
        data = image.encode(Picture(pixels=np.full((600, 800, 3), 90, np.uint8)), "png")
        running = [asyncio.create_task(engine.do(Order(data=data, model="cea-t"))) for _ in range(2)]
        small = [asyncio.create_task(engine.do(Order(data=png(64, 64, i)))) for i in range(6)]
        await until(lambda: engine.load.running == 2)
        os.kill(service.processes()[0], signal.SIGKILL)  # as the kernel does where memory runs out
        await until(lambda: not engine.ready)
        back = asyncio.create_task(until(lambda: engine.ready))
        done = await asyncio.gather(*running, *small, return_exceptions=True)
        lost = [one for one in done if isinstance(one, ServiceError)]
        assert [one.code for one in lost] == ["worker_lost"]
        assert sum(isinstance(one, Answer) for one in done) == 7
        return await back

    before = service.engine.load.restarts
    alone = service.do(Order(data=png(64, 64)))[0].data
    bound = 10 if counted else 40  # in the suite other tests start programs too, on the same two cores
    took = list[float]()
    while not took or (took[-1] >= bound and len(took) < 3):  # one of three times will do
        took.append(service.run(test()))
    assert took[-1] < bound
    assert service.engine.load == Load(workers=2, restarts=before + len(took))
    assert [one.data for one in service.do(*[Order(data=png(64, 64))] * 4)] == [alone] * 4


@pytest.mark.reliability("S11")
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
@pytest.mark.skipif(torch.version.cuda is not None, reason="torch with CUDA maps gigabytes of libraries")
def test_under_a_ceiling_of_memory_orders_fail_and_the_service_lives(folder: Path) -> None:
    """Pictures that do not fit, by the worker's own limit or the system's; beside them small ones."""
    ceiling = f"ulimit -v 1600000; exec {sys.executable} -m anyrestore.server.worker"
    settings = Settings(
        models=(str(folder / "tiny.safetensors"),), workers=1, worker_memory=10**12, scratch=False
    )
    service = Service(settings, ["sh", "-c", ceiling])
    try:
        small, deep = png(64, 64), image.encode(noise(40, 40), "avif")
        alone = service.do(Order(data=small))[0].data
        blank = np.zeros((5000, 5000, 3), np.float32)
        too_large = image.encode(Picture(pixels=blank, alpha=blank[..., 0]), "tiff")
        for _ in range(250 if FULL else 1):
            refused, *fine, other = service.do(
                Order(data=too_large), Order(data=small), Order(data=small), Order(data=deep)
            )
            assert isinstance(refused, InputError | ServiceError)
            assert refused.code in ("out_of_memory", "memory_limit", "worker_lost")
            assert [one.data for one in fine] == [alone] * 2
            assert isinstance(other, Answer)
            service.wait(lambda: service.engine.ready)
    finally:
        service.close()
