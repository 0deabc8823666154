"""How many crops a second the training data gives, on one core and with workers, and where the time goes.

The loader is measured alone: reading (decoding, or finding in the cache), cutting and collating. Degrading is
measured beside it, for in training it runs on the device. "Cold" is without a cache, every picture decoded;
"warm" are the same samples from a cache that was filled with their pictures before.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from anyrestore.data.loading import Request, collate, load_batches, make_batch
from anyrestore.data.samples import MixtureData
from anyrestore.data.synthetic import degrade_batch
from anyrestore.errors import UsageError

__all__ = ["Feeding", "Parts", "measure_feeding"]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Milliseconds a crop of one core."""

    read: float  # decoding, or finding in the cache
    cut: float  # window, symmetry, recipe, layers (their reading is counted above)
    collate: float
    degrade: float  # on the device; no part of the loader

    @property
    def loader(self) -> float:
        """Everything but degrading."""
        return self.read + self.cut + self.collate


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """One row of the benchmark."""

    warm: bool  # whether the pictures had been read before
    workers: int  # processes; 0: this one
    crops: int  # that were made
    crops_per_second: float  # of the loader alone
    cores: int  # that it could use
    parts: Parts | None  # where the time went; None with workers
    start: float = 0.0  # seconds until the workers' first batch, not counted above

    @property
    def per_core(self) -> float:
        """Crops per second and core."""
        return self.crops_per_second / self.cores


def measure_feeding(
    make_data: Callable[[bool], MixtureData],
    *,
    crop: int = 128,
    batch: int = 32,
    seconds: float = 10.0,
    workers: int = 0,
    device: str = "cpu",
) -> list[Feeding]:
    """Measure one process on one core; with ``workers``, those as well.

    Args:
        make_data: gives the data, without a cache (False) or with an empty one (True).
        crop: side of the crops in pixels.
        batch: crops a batch.
        seconds: of every measurement, about.
        workers: processes to measure as well.
        device: where to degrade.

    Returns:
        Cold and warm in this process, then cold and warm with workers.

    Raises:
        UsageError: there is no CUDA device.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise UsageError("expected a CUDA device, found none; leave the device out")
    on = torch.device(device)
    with _one_thread():
        cold = _here(make_data(False), itertools.count(), crop, batch, seconds, on, warm=False)
        data, numbers = make_data(True), range(cold.crops // batch)
        for number in numbers:
            make_batch(data, Request(tuple(_indexes(number, batch)), crop))
        warm = _here(data, itertools.cycle(numbers), crop, batch, seconds, on, warm=True)
    if not workers:
        return [cold, warm]
    cold_workers = _with_workers(
        make_data(False), itertools.count(), crop, batch, seconds, workers, warm=False
    )
    data, numbers = make_data(True), range(2 * workers + cold_workers.crops // batch)
    filling = (Request(tuple(_indexes(number, batch)), crop) for number in numbers)
    for _ in load_batches(data, filling, workers=workers, pin=False):
        pass
    warm_workers = _with_workers(data, itertools.cycle(numbers), crop, batch, seconds, workers, warm=True)
    return [cold, warm, cold_workers, warm_workers]


def _here(  # noqa: PLR0917 - the measurement's own numbers, in one order everywhere
    data: MixtureData,
    numbers: Iterator[int],
    crop: int,
    batch: int,
    seconds: float,
    device: torch.device,
    *,
    warm: bool,
) -> Feeding:
    clock, made = time.perf_counter, 0
    samples_time = collate_time = degrade_time = 0.0
    read_before, stop = data.read_seconds, clock() + seconds
    while made == 0 or clock() < stop:
        indexes = _indexes(next(numbers), batch)
        began = clock()
        samples = [data.sample(index, crop) for index in indexes]
        cut = clock()
        raw = collate(samples, data.mixture.eight_bits)
        collated = clock()
        degrade_batch(raw, device)
        if device.type == "cuda":
            torch.cuda.synchronize()
        degraded = clock()
        samples_time, collate_time = samples_time + cut - began, collate_time + collated - cut
        degrade_time, made = degrade_time + degraded - collated, made + batch
    read = data.read_seconds - read_before
    parts = Parts(
        read=1e3 * read / made,
        cut=1e3 * (samples_time - read) / made,
        collate=1e3 * collate_time / made,
        degrade=1e3 * degrade_time / made,
    )
    return Feeding(
        warm=warm, workers=0, crops=made, crops_per_second=1e3 / parts.loader, cores=1, parts=parts
    )


def _with_workers(  # noqa: PLR0917
    data: MixtureData,
    numbers: Iterator[int],
    crop: int,
    batch: int,
    seconds: float,
    workers: int,
    *,
    warm: bool,
) -> Feeding:
    requests = (Request(tuple(_indexes(number, batch)), crop) for number in numbers)
    began = time.perf_counter()
    batches = load_batches(data, requests, workers=workers, pin=False)
    # What was made while the workers started must not count: their batches ahead of time are let pass.
    for _ in range(2 * workers):
        next(batches)
    first, made = time.perf_counter(), 0
    while made == 0 or time.perf_counter() < first + seconds:
        next(batches)
        made += batch
    rate = made / (time.perf_counter() - first)
    del batches
    return Feeding(
        warm=warm,
        workers=workers,
        crops=made,
        crops_per_second=rate,
        cores=min(workers, os.cpu_count() or 1),
        parts=None,
        start=first - began,
    )


def _indexes(number: int, batch: int) -> range:
    return range(number * batch, (number + 1) * batch)


@contextmanager
def _one_thread() -> Generator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
