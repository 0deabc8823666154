"""The cache of decoded pictures: bounded, shared, and not hurt by processes that die."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from anyrestore.data import cache as cache_module
from anyrestore.data.cache import PictureCache, capacity_of
from anyrestore.errors import DataError, UsageError


def picture(number: int, height: int = 40, width: int = 50) -> torch.Tensor:
    return ((torch.arange(3 * height * width) + number) % 251).to(torch.uint8).view(3, height, width)


def never() -> torch.Tensor:
    raise AssertionError("decoded again")


def in_another_process(cache: PictureCache, code: str, *, wait: bool = True) -> subprocess.Popen[bytes]:
    started = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import torch, os, signal, time\n"
                "from anyrestore.data.cache import PictureCache\n"
                f"cache = PictureCache({cache.pictures}, {cache.capacity}, {cache.file})\n{code}"
            ),
        ],
        pass_fds=[cache.file],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if wait:
        started.wait(30)
    return started


def test_a_picture_is_decoded_once() -> None:
    cache, other = PictureCache(10, 1 << 20), torch.rand(3, 7, 9)
    for decode in (None, never):
        assert torch.equal(cache.get(3, decode or (lambda: picture(3))), picture(3))
        found = cache.get(9, decode or (lambda: other))
        assert found.dtype == torch.float32
        assert torch.equal(found, other)
    grey = picture(1)[:1]
    assert torch.equal(cache.get(0, lambda: grey), grey)
    assert torch.equal(cache.get(0, never), grey)


def test_no_more_memory_is_used_than_allowed_and_the_rest_is_decoded_each_time() -> None:
    capacity = PictureCache.smallest(50) + 6 * 8192
    cache = PictureCache(50, capacity)
    for number in range(50):
        assert torch.equal(cache.get(number, lambda n=number: picture(n)), picture(number))
    assert cache.used <= capacity
    assert os.fstat(cache.file).st_size == capacity
    kept = 0
    for number in range(50):
        try:
            assert torch.equal(cache.get(number, never), picture(number))
        except AssertionError:
            continue
        kept += 1
    assert 4 <= kept <= 6


def test_a_failed_decode_leaves_nothing_behind() -> None:
    cache = PictureCache(4, 1 << 20)
    before = cache.used
    with pytest.raises(AssertionError, match="decoded"):
        cache.get(2, never)
    assert cache.used == before
    assert torch.equal(cache.get(2, lambda: picture(2)), picture(2))


def test_processes_see_what_others_decoded_and_a_killed_one_keeps_nobody_waiting() -> None:
    cache = PictureCache(10, 1 << 20)
    # Killed with the lock in its hands, between the bytes and their announcement.
    child = in_another_process(
        cache,
        "cache.get(4, lambda: torch.full((3, 20, 30), 7, dtype=torch.uint8))\n"
        "cache._write = lambda picture, begin: os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache.get(5, lambda: torch.ones(3, 20, 30))",
    )
    assert child.returncode == -signal.SIGKILL
    began = time.monotonic()
    assert (cache.get(4, never) == 7).all()
    assert torch.equal(cache.get(5, lambda: picture(5)), picture(5))
    assert torch.equal(cache.get(5, never), picture(5))
    assert time.monotonic() - began < 5


def test_threads_and_processes_fill_it_together() -> None:
    cache = PictureCache(40, 1 << 20)
    code = (
        "for n in range(40):\n"
        "    cache.get(n, lambda: ((torch.arange(3 * 40 * 50) + n) % 251).to(torch.uint8).view(3, 40, 50))"
    )
    child = in_another_process(cache, code, wait=False)

    def fill() -> None:
        for _ in range(20):
            for number in range(40):
                assert torch.equal(cache.get(number, lambda n=number: picture(n)), picture(number))

    threads = [threading.Thread(target=fill) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.wait(30) == 0
    assert all(torch.equal(cache.get(n, never), picture(n)) for n in range(40))


def test_a_full_file_system_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PictureCache(10, 1 << 20)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "pwrite", full)
    for _ in range(2):
        assert torch.equal(cache.get(5, lambda: picture(5)), picture(5))
    with pytest.raises(AssertionError, match="decoded"):
        cache.get(5, never)


def test_the_temporary_folder_is_used_where_shared_memory_is_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = SimpleNamespace(f_bavail=16, f_frsize=4096)
    monkeypatch.setattr(cache_module.os, "statvfs", lambda _: small)
    monkeypatch.setattr(cache_module.tempfile, "gettempdir", lambda: str(tmp_path))
    cache = PictureCache(10, 1 << 20)
    assert torch.equal(cache.get(5, lambda: picture(5)), picture(5))
    assert str(tmp_path) in str(Path(f"/proc/self/fd/{cache.file}").readlink())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("capacity", [2**62, 2**70])
def test_a_file_that_is_too_large_is_told(capacity: int) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(DataError, match=r"room for a cache of .* GB .* smaller one \(--cache-gb\)"):
        PictureCache(10, capacity)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_more_than_the_memory_is_refused() -> None:
    assert capacity_of(0) == 0
    assert capacity_of(0.5) == 500_000_000
    for wrong in (float("inf"), float("nan"), -1.0, 1e9):
        with pytest.raises(
            UsageError, match=rf"GB, this machine's memory, .* came {wrong:g}".replace("+", r"\+")
        ):
            capacity_of(wrong)


def test_nothing_is_left_open() -> None:
    cache = PictureCache(10, 1 << 20)
    file = cache.file
    fcntl.fcntl(file, fcntl.F_GETFD)
    del cache
    with pytest.raises(OSError, match="Bad file"):
        fcntl.fcntl(file, fcntl.F_GETFD)
