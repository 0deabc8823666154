"""Who is let in, who is next, and which worker does it; workers are processes, see `worker.py`.

Everything here happens in the event loop's thread, so nothing needs a lock. Each worker has two threads
beside it: one writes to its pipe, one reads from it and hands what it read to the loop.

- **Let in** are at most `workers + queue` orders at once, and pictures of at most `pixels_in_flight` pixels;
  who comes too much is told so at once, with an estimate of when to come again.
- **First come, first served.** A small picture takes along those of its size that wait for the same model.
- **Dropped** orders that wait are gone at once. One that is being done ends within the model's present
  block; a worker that does not let go within `_LET_GO_SECONDS` is killed.
- **A worker that dies** takes its order along, no other: pictures that it did in the same pass are done
  again, each alone. Another is started in its place, later and later if that keeps happening.

Unusual: threads and blocking pipes rather than asyncio's subprocesses, whose streams hold a result twice
while they hand it over; results here have up to hundreds of megabytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, get_args

from anyrestore.errors import AnyRestoreError, ModelError, ServiceError, UsageError
from anyrestore.image import Format, Header, decode_header
from anyrestore.server.orders import MAX_INSTRUCTION, Answer, Load, Offer, Order, Progress
from anyrestore.server.pipes import (
    LINE,
    NAME,
    Setup,
    Wanted,
    read_data,
    read_line,
    to_line,
    understand_error,
)
from anyrestore.server.settings import Settings

_log = logging.getLogger(__name__)

_START_SECONDS = 120.0
"""That a worker may take until it has its models."""
_LET_GO_SECONDS = 2.0
"""That a worker may take until it lets go of an order that was dropped."""
_LONGEST_BACKOFF = 15.0
"""Seconds before a worker is started again that has died again and again without having done anything."""
_FIRST_GUESS = 3e-6
"""Seconds for a pixel, before anything was measured."""
_LEAST_SECONDS = 0.05
"""For any picture."""
_FORMATS = get_args(Format)
_BYTES_A_PIXEL = 20
"""Of a result, at most: four channels of floats, and a quarter more."""


@dataclass(kw_only=True, eq=False)
class _Job:
    """An order that was let in."""

    order: Order
    model: str
    number: int
    answer: asyncio.Future[Answer]
    progress: Progress | None
    header: Header | None = None
    alone: bool = False
    worker: _Worker | None = None

    @property
    def pixels(self) -> int:
        return 0 if self.header is None else self.header.width * self.header.height

    def goes_with(self, other: _Job) -> bool:
        """Whether both can go in one pass, as far as the headers show."""
        return (
            not (self.alone or other.alone)
            and self.order.wish == other.order.wish == "restore"
            and (self.model, self.order.instruction) == (other.model, other.order.instruction)
            and _size(self.header) == _size(other.header)
        )


class Workers:
    """The engine; see `orders.Engine`.

    Args:
        settings: what it is and how much it takes.
        command: what runs a worker; None for :mod:`anyrestore.server.worker`.
    """

    def __init__(self, settings: Settings, *, command: Sequence[str] | None = None) -> None:
        self._settings = settings
        self._command = list(command or (sys.executable, "-m", "anyrestore.server.worker"))
        self._places = settings.workers + settings.queue
        self._in = set[_Job]()
        self._waiting = deque[_Job]()
        self._slots = [_Slot() for _ in range(settings.workers)]
        self._offers: tuple[Offer, ...] = ()
        self._together = self._together_pixels = 0
        self._numbers = 0
        self._restarts = 0
        self._seconds_a_pixel = _FIRST_GUESS
        self._stopping = False
        self._first: asyncio.Future[None] | None = None
        self._empty = asyncio.Event()

    @property
    def ready(self) -> bool:
        """As of `Engine`."""
        return not self._stopping and all(slot.is_ready for slot in self._slots)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """As of `Engine`."""
        return self._offers

    @property
    def load(self) -> Load:
        """As of `Engine`."""
        return Load(
            waiting=len(self._waiting),
            running=sum(1 for job in self._in if job.worker is not None),
            pixels=sum(job.pixels for job in self._in),
            workers=sum(1 for slot in self._slots if slot.is_ready),
            restarts=self._restarts,
        )

    def check_room(self) -> None:
        """As of `Engine`."""
        self._check_open()
        if len(self._in) >= self._places or self.load.pixels >= self._settings.pixels_in_flight:
            raise self._busy()

    async def do(self, order: Order, *, progress: Progress | None = None) -> Answer:
        """As of `Engine`."""
        self._check_open()
        model = self._check_order(order)
        if len(self._in) >= self._places:
            raise self._busy()
        self._numbers += 1
        loop = asyncio.get_running_loop()
        job = _Job(
            order=order, model=model, number=self._numbers, answer=loop.create_future(), progress=progress
        )
        self._in.add(job)
        self._empty.clear()
        start = loop.time()
        try:
            async with asyncio.timeout(self._settings.request_seconds) as limit:
                await self._admit(job)
                if not limit.expired():
                    limit.reschedule(start + self._settings.seconds_for(job.pixels))
                return await job.answer
        except TimeoutError:
            seconds = self._settings.seconds_for(job.pixels)
            raise ServiceError(
                f"{NAME} took longer than the {seconds:.0f} seconds that it may; "
                "send a smaller one, or try again when less is going on",
                code="time_limit",
            ) from None
        finally:
            self._drop(job)

    async def start(self) -> None:
        """As of `Engine`."""
        self._first = asyncio.get_running_loop().create_future()
        for slot in self._slots:
            self._start_worker(slot)
        try:
            await self._first
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, seconds: float) -> None:
        """As of `Engine`; called again meanwhile, the shorter time holds."""
        self._stopping = True
        if self._in:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        for job in tuple(self._in):
            self._fail(job, _stopping())
            self._leave(job)
        self._waiting.clear()
        for slot in self._slots:
            if slot.later is not None:
                slot.later.cancel()
            if slot.worker is not None:
                slot.worker.kill()
        await asyncio.gather(*(slot.worker.gone.wait() for slot in self._slots if slot.worker is not None))

    # ---------------------------------------------------------------------------- letting in

    def _check_open(self) -> None:
        if self._stopping:
            raise _stopping()
        if not any(slot.is_ready for slot in self._slots):
            raise ServiceError(
                "no worker is ready yet; try again in a few seconds", code="not_ready", retry_after=5
            )

    def _check_order(self, order: Order) -> str:
        """The model's name, if it can do what is asked for."""
        known = {offer.name: offer for offer in self._offers}
        offer = self._offers[0] if order.model is None else known.get(order.model)
        if offer is None:
            raise ModelError(
                f"expected a model among {', '.join(known)}, came {order.model!r:.100}", code="unknown_model"
            )
        said = order.instruction
        if order.wish == "look":
            if not offer.can_look:
                raise UsageError(f"the model {offer.name} has no routing to show; take one with can_look")
        elif offer.takes_instruction and (said is None or not said.strip()):
            raise UsageError(
                f"the model {offer.name} must be told what to do; add an instruction, such as "
                '"remove the rain"'
            )
        elif said is not None and not offer.takes_instruction:
            raise UsageError(f"the model {offer.name} takes no instruction; leave it out, or choose another")
        if said is not None and len(said) > MAX_INSTRUCTION:
            raise UsageError(f"expected an instruction of at most {MAX_INSTRUCTION} characters")
        return offer.name

    async def _admit(self, job: _Job) -> None:
        """Look at the picture's size, and put the job in line if there is room for so many pixels."""
        limit = self._settings.max_pixels
        header = await asyncio.to_thread(decode_header, job.order.data, name=NAME, max_pixels=limit)
        taken = self.load.pixels
        if taken and taken + header.width * header.height > self._settings.pixels_in_flight:
            raise self._busy()
        job.header = header
        self._waiting.append(job)
        self._give_out()

    def _busy(self) -> ServiceError:
        work = sum(self._seconds_for(job) for job in self._in) / self._settings.workers
        # None that is in may take longer than its time.
        longest = max((self._settings.seconds_for(job.pixels) for job in self._in), default=1.0)
        after = math.ceil(min(max(work, 1.0), longest))
        return ServiceError(
            f"as much is waiting as may wait; try again in {after} seconds", code="busy", retry_after=after
        )

    def _seconds_for(self, job: _Job) -> float:
        """A guess, from what others took."""
        return max(job.pixels * self._seconds_a_pixel, _LEAST_SECONDS)

    # ------------------------------------------------------------------------- giving out, ending

    def _give_out(self) -> None:
        """Give what waits to workers that are free."""
        for slot in self._slots:
            if self._waiting and slot.worker is not None and slot.worker.is_free:
                slot.worker.give(self._next())

    def _next(self) -> list[_Job]:
        """The first that waits, and those that go with it."""
        first = self._waiting.popleft()
        group = [first]
        if first.pixels <= self._together_pixels:
            group += [job for job in self._waiting if job.goes_with(first)][: max(self._together - 1, 0)]
            for job in group[1:]:
                self._waiting.remove(job)
        return group

    def _drop(self, job: _Job) -> None:
        """Nobody waits for its answer any more, or it is there."""
        if job.answer.done():
            with contextlib.suppress(asyncio.CancelledError):
                job.answer.exception()  # asked for, or else asyncio complains of one that nobody saw
        else:
            job.answer.cancel()
        if job not in self._in:
            return
        if job.worker is not None:
            job.worker.drop(job)  # and the job is still in until the worker lets go of it
            return
        with contextlib.suppress(ValueError):
            self._waiting.remove(job)
        self._leave(job)

    def _leave(self, job: _Job) -> None:
        self._in.discard(job)
        job.worker = None
        if not self._in:
            self._empty.set()

    @staticmethod
    def _fail(job: _Job, error: AnyRestoreError) -> None:
        if not job.answer.done():
            job.answer.set_exception(error)

    # ---------------------------------------------------------------------------- workers

    def _start_worker(self, slot: _Slot) -> None:
        slot.later = None
        if self._stopping:
            return
        setup = Setup(
            models=self._settings.models,
            device=self._settings.device,
            threads=self._settings.threads,
            memory=self._settings.worker_memory,
            scratch=self._settings.scratch,
            max_pixels=self._settings.max_pixels,
        )
        slot.worker = _Worker(
            self._command,
            to_line(asdict(setup)),
            largest=_BYTES_A_PIXEL * self._settings.max_pixels + LINE,
            heard=lambda worker, message, data: self._heard(slot, worker, message, data),
            lost=lambda worker, status: self._lost(slot, worker, status),
        )

    def _heard(self, slot: _Slot, worker: _Worker, message: dict[str, Any], data: bytes) -> None:
        """What a worker says. One that talks nonsense has been led astray, and is ended."""
        try:
            if "hello" in message:
                self._greet(slot, worker, message["hello"])
            elif "failed" in message:
                slot.failed = understand_error(message["failed"])
            else:
                self._hear_of(worker, worker.jobs[message["id"]], message, data)
        except (KeyError, TypeError, ValueError):
            _log.exception("a worker said something that cannot be understood")
            worker.kill()
        self._give_out()

    def _greet(self, slot: _Slot, worker: _Worker, hello: dict[str, Any]) -> None:
        self._offers = tuple(Offer(**offer) for offer in hello["offers"])
        self._together, self._together_pixels = int(hello["together"]), int(hello["together_pixels"])
        slot.failed = None
        worker.is_ready = True
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def _hear_of(self, worker: _Worker, job: _Job, message: dict[str, Any], data: bytes) -> None:
        if "share" in message:
            if job.progress is not None and not job.answer.done():
                job.progress(min(max(float(message["share"]), 0.0), 1.0))
            return
        if "done" in message:
            answer = _answer_of(message["done"], data)
            self._measure(job, answer.seconds)
            if not job.answer.done():
                job.answer.set_result(answer)
        elif "error" in message:
            self._fail(job, understand_error(message["error"]))
        elif "dropped" not in message:
            raise ValueError("none of what a worker may say of an order")
        worker.let_go(job)
        self._leave(job)

    def _measure(self, job: _Job, seconds: float) -> None:
        """Learn how long a pixel takes from pictures that are large enough to tell."""
        if job.pixels > self._together_pixels:
            self._seconds_a_pixel += 0.3 * (seconds / job.pixels - self._seconds_a_pixel)

    def _lost(self, slot: _Slot, worker: _Worker, status: int) -> None:
        """A worker has died."""
        jobs = tuple(worker.jobs.values())
        slot.worker = None
        for job in reversed(jobs):
            if len(jobs) > 1 and not job.answer.done():
                job.worker, job.alone = None, True  # which of them it was shows when each is alone
                self._waiting.appendleft(job)
                continue
            sentence = f"the process that worked on {NAME} died; try again, or send another"
            self._fail(job, ServiceError(sentence, code="worker_lost"))
            self._leave(job)
        worker.gone.set()
        if self._stopping:
            return
        if self._first is not None and not self._first.done():
            sentence = f"the first worker ended as it started (status {status}); see what it wrote above"
            self._first.set_exception(slot.failed or ServiceError(sentence, code="worker_lost"))
            return
        slot.failures = 0 if worker.was_useful else slot.failures + 1
        delay = 0.0 if slot.failures < 2 else min(2.0 ** (slot.failures - 2), _LONGEST_BACKOFF)
        _log.warning("a worker ended (status %d); another starts in %g seconds", status, delay)
        self._restarts += 1
        slot.later = asyncio.get_running_loop().call_later(delay, self._start_worker, slot)
        self._give_out()


@dataclass(eq=False)
class _Slot:
    """A worker's place: the one that is there, or when the next one comes.

    Attributes:
        worker: None while there is none.
        later: starts the next.
        failures: workers that have died here, one after another, without having done anything.
        failed: why the last one could not have its models.
    """

    worker: _Worker | None = None
    later: asyncio.TimerHandle | None = None
    failures: int = 0
    failed: AnyRestoreError | None = None

    @property
    def is_ready(self) -> bool:
        return self.worker is not None and self.worker.is_ready


class _Worker:
    """A process, its pipes and its jobs.

    Args:
        command: what runs it.
        setup: the first line that it is given.
        largest: bytes of a result, at most.
        heard: called in the loop with everything that it says.
        lost: called in the loop when it has ended, with its exit status; afterwards nothing is heard.
    """

    def __init__(
        self,
        command: Sequence[str],
        setup: bytes,
        *,
        largest: int,
        heard: Callable[[_Worker, dict[str, Any], bytes], None],
        lost: Callable[[_Worker, int], None],
    ) -> None:
        self.jobs = dict[int, _Job]()
        self.is_ready = False
        self.was_useful = False
        self.gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._largest = largest
        # A session of its own: Ctrl-C is for the parent, which ends it in good order.
        self._process = subprocess.Popen(  # noqa: S603 (this program)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=2**20,
            start_new_session=True,
            # Threads that spin where they wait would hinder the other worker's.
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )
        self._outgoing = queue.SimpleQueue[tuple[bytes, ...] | None]()
        self._loop.call_later(_START_SECONDS, self._kill_if_starting)
        self._say(setup)
        for work in (self._write, lambda: self._read(heard, lost)):
            threading.Thread(target=work, name="anyrestore-worker-pipe", daemon=True).start()

    @property
    def is_free(self) -> bool:
        return self.is_ready and not self.jobs

    def give(self, jobs: Sequence[_Job]) -> None:
        """Have orders done, in one pass if there are several."""
        wanted = list[dict[str, Any]]()
        for job in jobs:
            job.worker = self
            self.jobs[job.number] = job
            of = job.order
            wanted.append(
                asdict(
                    Wanted(
                        id=job.number,
                        size=len(of.data),
                        model=job.model,
                        instruction=of.instruction,
                        format=of.format,
                        wish=of.wish,
                    )
                )
            )
        self._say(to_line({"orders": wanted}), *(job.order.data for job in jobs))

    def drop(self, job: _Job) -> None:
        """Let go of a job, within `_LET_GO_SECONDS`."""
        self._say(to_line({"drop": job.number}))
        self._loop.call_later(_LET_GO_SECONDS, self._kill_if_holding, job)

    def let_go(self, job: _Job) -> None:
        """It has let go of a job."""
        del self.jobs[job.number]
        self.was_useful = True

    def kill(self) -> None:
        """End it, at once; `lost` follows."""
        self.is_ready = False
        self._process.kill()

    def _kill_if_holding(self, job: _Job) -> None:
        if job.number in self.jobs:
            self.was_useful = True  # it has done what it was told, for too long
            self.kill()

    def _kill_if_starting(self) -> None:
        if not self.is_ready:
            self.kill()

    def _say(self, *parts: bytes) -> None:
        self._outgoing.put(parts)

    def _write(self) -> None:
        """In a thread: what is to be said, until it has died."""
        pipe = self._process.stdin
        assert pipe is not None
        while (parts := self._outgoing.get()) is not None:
            with contextlib.suppress(OSError):  # it has died, which the other thread finds out
                for part in parts:
                    pipe.write(part)
                pipe.flush()
            del parts
        with contextlib.suppress(OSError):
            pipe.close()

    def _read(
        self,
        heard: Callable[[_Worker, dict[str, Any], bytes], None],
        lost: Callable[[_Worker, int], None],
    ) -> None:
        """In a thread: what it says, until it has died or cannot be understood."""
        pipe = self._process.stdout
        assert pipe is not None
        with contextlib.suppress(EOFError, OSError, ValueError, RecursionError):
            while True:
                self._tell(heard, *_message(pipe, self._largest))
        self._process.kill()
        pipe.close()
        status = self._process.wait()
        self._outgoing.put(None)
        self._tell(lost, status)

    def _tell(self, who: Callable[..., None], *about: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody is left to be told
            self._loop.call_soon_threadsafe(who, self, *about)


def _message(pipe: IO[bytes], largest: int) -> tuple[dict[str, Any], bytes]:
    """What a worker says, and the file that comes with it."""
    message = read_line(pipe, LINE)
    return message, read_data(pipe, message["size"], largest) if "size" in message else b""


def _answer_of(done: dict[str, Any], data: bytes) -> Answer:
    """An answer, from what a worker says of it; KeyError, TypeError or ValueError where it is none."""
    if done["format"] not in _FORMATS:
        raise ValueError("a result has no known format")
    return Answer(
        data=data,
        format=done["format"],
        width=int(done["width"]),
        height=int(done["height"]),
        bit_depth=int(done["bit_depth"]),
        model=str(done["model"]),
        seconds=float(done["seconds"]),
        warnings=tuple(str(sentence) for sentence in done["warnings"]),
    )


def _size(header: Header | None) -> tuple[int, int] | None:
    return None if header is None else (header.width, header.height)


def _stopping() -> ServiceError:
    return ServiceError("the service is ending; try again when it is back", code="stopping")
