"""A picture in strips gives what the network itself gives, in the memory that was promised."""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anyrestore import scratch, strips
from anyrestore.errors import ModelError
from anyrestore.strips import footprint, network, sweeps
from anyrestore.strips.crew import Crew, count_threads
from anyrestore.zoo import create_model, load_model

CEA = [
    {},
    {"targets": "ffn"},
    {"targets": "qkv"},
    {"targets": "none"},
    {"generator": "pooled"},
    {"factors": "static"},
    {"learnable_scale": True},
    {"rank_norm": False},
    {"placement": "all"},
    {"stem_scale": 2},
]
SIZES = [(16, 16), (64, 48), (16, 160), (160, 16), (96, 112)]


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    """Random weights differ in how much they let through, and with it by how much two sums may differ."""
    torch.manual_seed(0)


def run(model: nn.Module, picture: Tensor, **options: Any) -> Tensor:
    """The picture in strips; rows that nobody wrote stay NaN."""
    result = torch.full_like(picture, float("nan"))

    def write(top: int, rows: Tensor) -> None:
        assert result[:, :, top : top + rows.shape[2]].isnan().all()  # every row once
        result[:, :, top : top + rows.shape[2]] = rows

    height, width = picture.shape[-2:]
    strips.restore(model, height, width, lambda a, b: picture[:, :, a:b], write, **options)
    return result


def moved(model: nn.Module, seed: int = 0) -> nn.Module:
    """With parameters that start at one or zero (scales, temperatures, biases) moved away from there."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def differences(model: nn.Module, sizes: list[tuple[int, int]], seed: int = 1) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for height, width in sizes:
        picture = torch.rand(1, 3, height, width, generator=generator)
        with torch.inference_mode():
            expected = model(picture)
        found.append(float((run(model, picture) - expected).abs().max()))
        assert float((expected - picture).abs().max()) > 0.05  # the network does something
    return found


@pytest.mark.parametrize("strip_bytes", [1 << 10, 1 << 16, 1 << 21])
@pytest.mark.parametrize("options", CEA, ids=str)
def test_every_cea_as_it_is_itself(
    options: dict[str, Any], strip_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "STRIP_BYTES", strip_bytes)
    model = moved(create_model("tiny", **options))
    assert strips.supports(model)
    assert max(differences(model, SIZES)) < 1e-5


@pytest.mark.parametrize("norm", ["with_bias", "bias_free"])
def test_restormer_as_it_is_itself(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "STRIP_BYTES", 1 << 14)
    assert max(differences(moved(create_model("restormer-tiny", norm=norm)), SIZES)) < 1e-5


def test_shipped_weights_as_they_are_themselves() -> None:
    assert max(differences(load_model("cea-t").eval(), [(96, 112), (16, 16)])) < 1e-5


def test_the_result_does_not_depend_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "STRIP_BYTES", 1 << 12)
    model, picture = moved(create_model("tiny")), torch.rand(1, 3, 72, 40)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 16):  # 16 is more than some maps have rows
            torch.set_num_threads(threads)
            results.append(run(model, picture))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert (result - results[0]).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["nafnet-tiny", "moce-tiny", "exda-tiny", "promptir-tiny"])
def test_what_it_does_not_know_is_left_to_the_network(name: str) -> None:
    assert not strips.supports(create_model(name))
    assert not strips.supports(create_model("tiny", routing="top2"))


def test_maps_in_files_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "STRIP_BYTES", 1 << 12)
    released = list[tuple[int, int]]()
    real = scratch.release

    def listen(array: Any, first: int = 0, last: int | None = None) -> None:
        released.append((first, last or 0))
        real(array, first, last)

    monkeypatch.setattr(scratch, "release", listen)
    model, picture = moved(create_model("tiny")), torch.rand(1, 3, 200, 40)
    apart = run(model, picture, allocate=lambda _, shape: strips.in_file(shape, tmp_path))
    assert (apart - run(model, picture)).abs().max() < 1e-6
    assert released
    assert not list(tmp_path.iterdir())


def test_a_failure_in_one_thread_ends_all() -> None:
    model, picture = moved(create_model("tiny")), torch.rand(1, 3, 64, 64)

    def write(top: int, rows: Tensor) -> None:
        raise ModelError("no", code="non_finite")

    before = torch.get_num_threads()
    with pytest.raises(ModelError, match="no"):
        strips.restore(model, 64, 64, lambda a, b: picture[:, :, a:b], write)
    assert torch.get_num_threads() == before


def test_an_error_does_not_keep_the_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = list[weakref.ref[Any]]()

    def allocate(level: int, shape: tuple[int, int, int]) -> strips.Field:
        field = strips.in_memory(shape)
        maps.append(weakref.ref(field))
        return field

    def write(top: int, rows: Tensor) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError

    monkeypatch.setattr(network, "count_threads", lambda: 3)
    model, picture = moved(create_model("tiny")), torch.rand(1, 3, 64, 64)
    gc.disable()  # circles would be found in the end, but the next attempt needs the memory now
    try:
        with contextlib.suppress(MemoryError):
            strips.restore(model, 64, 64, lambda a, b: picture[:, :, a:b], write, allocate=allocate)
        assert maps
        assert not [field for field in maps if field() is not None]
    finally:
        gc.enable()


def test_a_thread_that_is_new_to_torch_is_not_left_with_one() -> None:
    before, found = torch.get_num_threads(), list[int]()
    torch.set_num_threads(3)
    try:
        with Crew(2):
            new = threading.Thread(target=lambda: found.append(count_threads()))
            new.start()
            new.join()
        assert found == [3]
        assert count_threads() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_cannot_be_had_leave_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun = threading.Thread.start, list[threading.Thread]()

    def start(thread: threading.Thread) -> None:
        if begun:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="can't start"), Crew(3):
        pass
    begun[0].join(timeout=5)
    assert not begun[0].is_alive()
    assert torch.get_num_threads() == before == count_threads()


def test_a_kernel_without_huge_pages_is_none_the_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Refusing)
    assert strips.in_memory((2, 3, 4)).values.shape == (2, 3, 4)


def test_steps_are_counted() -> None:
    model, told = moved(create_model("tiny")), list[int]()
    run(model, torch.rand(1, 3, 16, 16), advance=lambda: told.append(1))
    assert len(told) == network.count_steps(model) == 8


def test_sections_cover_all_rows_once() -> None:
    for size in (1, 2, 5):
        for height in (1, 2, 7, 64):
            for multiple in (1, 2, 4):
                sections = Crew(size).sections(height, multiple)
                assert [row for a, b in sections for row in range(a, b)] == list(range(height))
                assert all(a < b and a % multiple == 0 for a, b in sections)
                assert len(sections) <= size


CHILD = """
import json, sys, threading, torch
from pathlib import Path
from anyrestore import strips, zoo
from anyrestore.inference import memory
from anyrestore.strips import sweeps

def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key): return int(line.split()[1]) * 1024

memory.keep_freed_memory()
torch.set_num_threads(2)
model = zoo.create_model("tiny", width=16).eval()
def run(height, width, files=()):
    def allocate(level, shape):
        return strips.in_file(shape, Path(sys.argv[1])) if level in files else strips.in_memory(shape)
    result = torch.empty(1, 3, height, width)
    picture = torch.rand(1, 3, height, width)
    def write(top, rows): result[:, :, top : top + rows.shape[2]] = rows
    before = memory.resident()
    open("/proc/self/clear_refs", "w").write("5")
    strips.restore(model, height, width, lambda a, b: picture[:, :, a:b], write, allocate=allocate)
    promised = strips.Footprint.of(model, height, width).total(2, files)
    return status("VmHWM:") - before, promised, picture, result
small = run(64, 64)
with torch.inference_mode():
    difference = float((model(small[2]) - small[3]).abs().max())
sizes = [run(*size)[:2] for size in ((512, 512), (256, 4096), (2048, 1024, (0, 1, 2, 3)), (1024, 1024))]
print(json.dumps({"kind": type(sweeps.fast_sweep).__name__, "difference": difference, "sizes": sizes}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's memory figures")
def test_torchscript_gives_the_same_and_no_more_memory_than_promised(tmp_path: Path) -> None:
    # A process of its own: type checks of the tests hide the functions from TorchScript.
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = json.loads(out.splitlines()[-1])
    assert told["difference"] < 1e-5
    for peak, promised in told["sizes"]:
        assert 0 < peak < promised
    assert told["sizes"][-1][0] > 1024 * 1024 * 16 * 4  # the map itself: the measure is not blind
    if sys.version_info < (3, 14):
        assert told["kind"] == "ScriptFunction"


def test_without_torchscript_the_functions_run_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(torch.jit, "script", refuse)
    assert sweeps.without_lock(sweeps.sweep) is sweeps.sweep
