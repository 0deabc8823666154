"""Batches of samples, made ahead of time by worker processes; the same batches whatever their number.

What is unusual: the workers are processes of our own, because a killed worker must cost nothing but its
work and neither well-kept pool can promise that. A ``torch.utils.data.DataLoader`` has a SIGCHLD handler
that raises in the middle of whatever the training process is doing. A
``concurrent.futures.ProcessPoolExecutor`` hangs for ever when a worker is killed while it sends its answer:
all of them answer through one pipe, whose other end stays open (tried: docs/log.md). Here each worker has a
socket of its own and nothing is shared but the cache of decoded pictures (which survives its users, see
:mod:`anyrestore.data.cache`): a worker that dies is noticed at once by the end of its socket, another one
is started, and is asked again for the batches that were due. A worker whose parent dies sees the same from
its side, and ends.

Workers are started afresh, not forked: libvips must not be forked. A batch travels as an anonymous memory
file, whose descriptor goes through the socket: no copy, no name to be left behind, and no use of /dev/shm,
which containers keep small.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler, recv_handle, send_handle
from typing import Literal

import torch
from torch import Tensor

from anyrestore.data.samples import MixtureData, Sample, Step
from anyrestore.errors import AnyRestoreError, DataError, UsageError

__all__ = ["RawBatch", "Request", "collate", "load_batches", "make_batch", "serve"]

_DEATHS = 3  # so many in a row, and it is not the worker
_START = 60.0  # seconds that a worker may take to start, beside its first batch
_ALIGN = 64


@dataclass(frozen=True)
class Request:
    """What one batch is."""

    indexes: tuple[int, ...]  # of the samples in the mixture's stream
    crop: int  # side of the crops in pixels
    shares: Mapping[str, float] | None = None  # of the tasks, instead of the mixture's


@dataclass(frozen=True)
class RawBatch:
    """Samples side by side on the CPU, not degraded yet; see :class:`anyrestore.data.samples.Sample`."""

    target: Tensor  # (b 3 s s), uint8, or float32 in [0, 1]
    degraded: Tensor  # likewise
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    recipes: tuple[tuple[Step, ...], ...]
    layers: Mapping[str, tuple[tuple[int, ...], Tensor]]  # kind -> the samples that have one, and all of them
    weights: tuple[float, ...]
    instructions: tuple[str | None, ...]  # of every sample's part
    bad: tuple[str, ...]  # pictures that could not be read and were replaced
    eight_bits: Literal["round", "truncate"]

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch, in a fixed order."""
        return [self.target, self.degraded, *(stack for _, stack in self.layers.values())]

    def with_tensors(self, tensors: Sequence[Tensor]) -> RawBatch:
        """The same batch with other tensors, in the order of :meth:`tensors`."""
        layers = {
            kind: (rows, tensor)
            for (kind, (rows, _)), tensor in zip(self.layers.items(), tensors[2:], strict=True)
        }
        return replace(self, target=tensors[0], degraded=tensors[1], layers=layers)

    def pin_memory(self) -> RawBatch:
        """In page-locked memory, from which a copy to a CUDA device need not be waited for."""
        return self.with_tensors([tensor.pin_memory() for tensor in self.tensors()])


def collate(samples: Sequence[Sample], eight_bits: Literal["round", "truncate"]) -> RawBatch:
    """Put samples side by side. 8-bit samples beside float ones become floats."""
    targets, degraded = [s.target for s in samples], [s.degraded for s in samples]
    if len({t.dtype for t in targets + degraded}) > 1:
        targets, degraded = [_float(t) for t in targets], [_float(t) for t in degraded]
    layers = dict[str, tuple[tuple[int, ...], Tensor]]()
    for kind in sorted({kind for s in samples for kind in s.layers}):
        rows = tuple(i for i, s in enumerate(samples) if kind in s.layers)
        layers[kind] = (rows, torch.stack([samples[i].layers[kind] for i in rows]))
    return RawBatch(
        target=torch.stack(targets),
        degraded=torch.stack(degraded),
        tasks=tuple(s.task for s in samples),
        seeds=tuple(s.seed for s in samples),
        recipes=tuple(s.recipe for s in samples),
        layers=layers,
        weights=tuple(s.weight for s in samples),
        instructions=tuple(s.instruction for s in samples),
        bad=tuple(name for s in samples for name in s.bad),
        eight_bits=eight_bits,
    )


def make_batch(data: MixtureData, request: Request) -> RawBatch:
    """Make a batch in this process.

    Raises:
        DataError: no picture of a part can be read.
        UsageError: the request does not suit the mixture.
    """
    if not request.indexes:
        raise UsageError("expected a batch of at least one sample, got a request without indexes")
    samples = [data.sample(index, request.crop, request.shares) for index in request.indexes]
    return collate(samples, data.mixture.eight_bits)


def load_batches(
    data: MixtureData,
    requests: Iterable[Request],
    *,
    workers: int = 0,
    prefetch: int = 2,
    pin: bool | None = None,
    patience: float = 300.0,
    warn: Callable[[str], None] | None = None,
) -> Iterator[RawBatch]:
    """The requested batches, in order.

    Args:
        data: the samples.
        requests: what each batch is; may be endless. They are taken ahead of the batches, up to
            ``workers * prefetch``.
        workers: processes that make batches ahead of time, each on one core; 0: made when asked for, in
            this process.
        prefetch: batches that every worker is ahead.
        pin: page-locked memory; None: if there is a CUDA device.
        patience: seconds after which a worker that does not answer is replaced.
        warn: told when a worker died.

    Raises:
        DataError: three workers in a row died; or as :func:`make_batch`.
        UsageError: as :func:`make_batch`.
    """
    pin = torch.cuda.is_available() if pin is None else pin
    made = (
        (make_batch(data, request) for request in requests)
        if workers == 0
        else _answered(_Pool(data, workers, patience, warn), requests, workers * max(1, prefetch))
    )
    for batch in made:
        yield batch.pin_memory() if pin else batch


def _answered(pool: _Pool, requests: Iterable[Request], ahead: int) -> Iterator[RawBatch]:
    """The workers' batches in order, with at most ``ahead`` asked for and not answered."""
    try:
        waiting = iter(requests)
        while True:
            for request in itertools.islice(waiting, ahead - len(pool.due)):
                pool.ask(request)
            if not pool.due:
                return
            yield pool.answer()
    finally:
        pool.close()


class _Pool:
    """Workers that are asked in turn."""

    def __init__(
        self, data: MixtureData, workers: int, patience: float, warn: Callable[[str], None] | None
    ) -> None:
        self.patience, self.warn = patience, warn
        self.cache = -1 if data.cache is None else data.cache.file
        self.data = os.memfd_create("anyrestore-mixture")
        with os.fdopen(os.dup(self.data), "wb") as file:
            file.write(ForkingPickler.dumps(data))
        #: What was asked for and not answered yet: the request and the worker's number, oldest first.
        self.due = deque[tuple[Request, int]]()
        self.asked, self.deaths = 0, 0
        self.workers = list[_Worker]()
        try:
            for _ in range(workers):
                self.workers.append(_Worker(self.data, self.cache))
        except BaseException:
            self.close()
            raise

    def ask(self, request: Request) -> None:
        number = self.asked % len(self.workers)
        self.asked += 1
        self.due.append((request, number))
        self.workers[number].ask(request)

    def answer(self) -> RawBatch:
        """The batch that was asked for first."""
        number = self.due[0][1]
        while (answer := self.workers[number].answer(self.patience)) is None:
            self.deaths += 1
            died = self.workers[number].close()
            if self.deaths == _DEATHS:
                raise DataError(
                    f"{_DEATHS} worker processes in a row died ({died}) while they made a batch; "
                    "is there enough memory? Try fewer workers, or none"
                )
            if self.warn is not None:
                self.warn(f"a worker process died ({died}); another one makes its batches again")
            self.workers[number] = _Worker(self.data, self.cache)
            for request, worker in self.due:
                if worker == number:
                    self.workers[number].ask(request)
        self.deaths = 0
        self.due.popleft()
        if isinstance(answer, AnyRestoreError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"a worker process failed:\n{answer}")
        return answer

    def close(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.close()
        os.close(self.data)


class _Worker:
    """A worker process, seen from the training process."""

    def __init__(self, data: int, cache: int) -> None:
        ours, theirs = socket.socketpair()
        inherited = [theirs.fileno(), data, *([cache] if cache >= 0 else [])]
        code = f"from anyrestore.data.loading import serve; serve({theirs.fileno()}, {data}, {cache})"
        # One core each; and the same modules, wherever this process found them.
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(path or str(os.getcwd()) for path in sys.path),  # noqa: PTH109
        }
        with theirs:
            # Its own process group: Ctrl-C is for the training process, which then ends its workers.
            self.process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, "-c", code],
                pass_fds=inherited,
                env=environment,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        self.connection = Connection(ours.detach())
        self.starting = True

    def ask(self, request: Request) -> None:
        with contextlib.suppress(OSError):  # dead: the missing answer is where that is dealt with
            self.connection.send(request)

    def answer(self, patience: float) -> RawBatch | AnyRestoreError | str | None:
        """A batch, the error that it was made with, or None from a worker that died."""
        try:
            if not self.connection.poll(patience + (_START if self.starting else 0)):
                self.process.kill()
                return None
            message = self.connection.recv()
            self.starting = False
            if not isinstance(message, RawBatch):
                return message
            return _received(message, recv_handle(self.connection))
        except (EOFError, OSError):
            return None

    def close(self) -> str:
        """End the process if it has not ended; how it ended."""
        self.connection.close()
        self.process.terminate()
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve(connection: int, data: int, cache: int) -> None:
    """A worker process: make batches until the socket ends.

    Args:
        connection: file descriptor of the socket to the training process.
        data: of the file with the mixture's data.
        cache: of the decoded pictures; -1: none.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = os.getppid()
    with os.fdopen(data, "rb") as file:
        content = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    loads: Callable[[bytes], MixtureData] = getattr(ForkingPickler, "loads")  # noqa: B009 - typed wrongly
    mixture = loads(content)
    if cache >= 0:
        mixture.share_cache(cache)
    ours = Connection(connection)
    while os.getppid() == parent:
        try:
            # A process that was forked off the training process may keep the socket open: look around.
            if ours.poll(5.0):
                _answer(ours, mixture, ours.recv())
        except (EOFError, OSError):
            return


def _answer(connection: Connection, mixture: MixtureData, request: Request) -> None:
    try:
        batch = make_batch(mixture, request)
    except AnyRestoreError as error:
        connection.send(error)
    except Exception:  # noqa: BLE001 - whatever it is, the training process must hear of it
        connection.send(traceback.format_exc())
    else:
        file = _stored(batch)
        try:
            # Without its values a tensor is only its form.
            connection.send(batch.with_tensors([t.to("meta") for t in batch.tensors()]))
            send_handle(connection, file, os.getppid())
        finally:
            os.close(file)


def _stored(batch: RawBatch) -> int:
    """A memory file with the values of a batch's tensors, one after another."""
    file = os.memfd_create("anyrestore-batch")
    *places, end = _places(batch.tensors())
    os.ftruncate(file, end)
    for tensor, begin in zip(batch.tensors(), places, strict=True):
        values = memoryview(tensor.contiguous().view(torch.uint8).numpy().data).cast("B")
        done = 0
        while done < len(values):
            done += os.pwrite(file, values[done:], begin + done)
    return file


def _received(batch: RawBatch, file: int) -> RawBatch:
    """A batch whose values are in a memory file; they are mapped, and the file closed."""
    *places, end = _places(batch.tensors())
    try:
        memory = mmap.mmap(file, end)
    finally:
        os.close(file)
    tensors = [
        torch.frombuffer(memory, dtype=form.dtype, count=form.numel(), offset=begin).view(form.shape)
        for form, begin in zip(batch.tensors(), places, strict=True)
    ]
    return batch.with_tensors(tensors)


def _places(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor begins in a memory file; and its end."""
    places = [0]
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        places.append(places[-1] + (size + _ALIGN - 1) // _ALIGN * _ALIGN)
    return places


def _float(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.float() / 255
