"""Batches made by worker processes: the same as without them, also when workers are killed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from anyrestore.data import loading
from anyrestore.data.loading import RawBatch, Request, load_batches, make_batch
from anyrestore.data.mixtures import MIXTURES
from anyrestore.data.samples import MixtureData
from anyrestore.errors import DataError, UsageError


@pytest.fixture(scope="module")
def data(training_root: Path) -> MixtureData:
    return MixtureData(MIXTURES["composite"], training_root, cache_bytes=1 << 24)


def requests(count: int, size: int = 6) -> list[Request]:
    return [
        Request(tuple(range(size * k, size * k + size)), 24 if k % 2 else 16, {"mixture": 1.0, "pair": 1.0})
        for k in range(count)
    ]


def children() -> set[int]:
    """Processes whose parent is this one."""
    found = set[int]()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.add(int(folder.name))
    return found


def assert_same(batch: RawBatch, expected: RawBatch) -> None:
    assert all(torch.equal(a, b) for a, b in zip(batch.tensors(), expected.tensors(), strict=True))
    assert batch.layers.keys() == expected.layers.keys()
    for name in ("tasks", "seeds", "recipes", "weights", "bad", "eight_bits"):
        assert getattr(batch, name) == getattr(expected, name)


def test_workers_change_nothing_and_leave_nothing(data: MixtureData) -> None:
    before, open_files = children(), len(list(Path("/proc/self/fd").iterdir()))
    expected = [make_batch(data, request) for request in requests(7)]
    for workers in (0, 2):
        batches = list(load_batches(data, iter(requests(7)), workers=workers))
        assert len(batches) == 7
        for batch, wanted in zip(batches, expected, strict=True):
            assert_same(batch, wanted)
            assert all(tensor.device.type == "cpu" for tensor in batch.tensors())
    del batches, batch
    gc.collect()
    assert children() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


def test_a_killed_worker_costs_no_batch_and_an_early_stop_ends_it(data: MixtureData) -> None:
    before, told = children(), list[str]()
    expected = [make_batch(data, request) for request in requests(8)]
    handler = signal.getsignal(signal.SIGCHLD)
    batches = load_batches(data, requests(1000), workers=1, warn=told.append)
    for number, wanted in enumerate(expected):
        began = time.monotonic()
        assert_same(next(batches), wanted)
        assert time.monotonic() - began < 30
        if number in (1, 5):
            (worker,) = children() - before
            os.kill(worker, signal.SIGKILL)
    assert len(told) == 2
    assert "signal 9" in told[0]
    assert len(children() - before) == 1
    began = time.monotonic()
    del batches
    gc.collect()
    assert children() == before
    assert time.monotonic() - began < 5
    assert signal.getsignal(signal.SIGCHLD) is handler


def test_workers_end_when_their_parent_is_killed(training_root: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    # No guard against being imported as a main module: workers must not need one.
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from anyrestore.data.loading import Request, load_batches\n"
        "from anyrestore.data.mixtures import MIXTURES\n"
        "from anyrestore.data.samples import MixtureData\n"
        "data = MixtureData(MIXTURES['composite'], Path(sys.argv[1]), cache_bytes=1 << 24)\n"
        "batches = load_batches(data, (Request((i,), 16) for i in range(10**6)), workers=1)\n"
        "next(batches)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(script), str(training_root)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == b"ready\n"
    worker = _child_of(parent.pid)
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not _alive(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by ten seconds")


def _child_of(parent: int) -> int:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                return int(folder.name)
    raise AssertionError("no worker was started")


def _alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_errors_come_out_as_they_are(data: MixtureData) -> None:
    batches = load_batches(data, [*requests(1), Request((0,), 16, {"fog": 1.0})])
    next(batches)
    with pytest.raises(UsageError, match="got fog"):
        next(batches)
    with pytest.raises(UsageError, match="at least one sample"):
        next(load_batches(data, [Request((), 16)]))


def test_a_worker_that_does_not_answer_is_replaced_and_errors_come_through(data: MixtureData) -> None:
    before, told = children(), list[str]()
    wanted = [*requests(2), Request((0,), 16, {"fog": 1.0})]
    batches = load_batches(data, wanted, workers=1, prefetch=1, patience=1.0, warn=told.append)
    next(batches)
    (worker,) = children() - before
    os.kill(worker, signal.SIGSTOP)
    assert_same(next(batches), make_batch(data, wanted[1]))
    assert "signal 9" in told[0]
    with pytest.raises(UsageError, match="got fog"):
        next(batches)
    assert children() == before


def test_three_deaths_in_a_row_are_an_error(data: MixtureData, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    monkeypatch.setattr(loading.sys, "executable", "/bin/false")
    with pytest.raises(DataError, match=r"3 worker processes in a row died \(exit code 1\)"):
        next(load_batches(data, requests(3), workers=1))
    assert children() == before
