"""Reading, the model and writing overlap: what is on its way is bounded, and ends cleanly."""

import gc
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import tiny_models
from anyrestore import image
from anyrestore.batch import running
from anyrestore.batch.jobs import Job, plan_jobs
from anyrestore.batch.room import Room
from anyrestore.batch.running import Result, run_jobs
from anyrestore.errors import InputError, ModelError, OutputError
from anyrestore.image import Picture
from anyrestore.inference.memory import occupied, resident
from anyrestore.inference.restorer import TOGETHER, Restorer

FULL = os.environ.get("ANYRESTORE_FULL") == "1"


def make(folder: Path, count: int, shape: tuple[int, ...] = (12, 17, 3)) -> list[Path]:
    """So many different pictures."""
    folder.mkdir(exist_ok=True)
    draw = np.random.default_rng(len(shape))
    paths = [folder / f"{i:05}-{shape[0]}.png" for i in range(count)]
    for path in paths:
        image.write(Picture(pixels=draw.integers(0, 256, shape, np.uint8)), path)
    return paths


def same(picture: Picture) -> Picture:
    return picture


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("anyrestore-")]


def run(tmp_path: Path, restore: Callable[[Picture], Picture] = same, **options: object) -> list[Result]:
    return list(run_jobs(plan_jobs([tmp_path / "in"], tmp_path / "out"), restore, **options))


@pytest.fixture
def whole_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing of a memory limit were taken before the run."""
    monkeypatch.setattr("anyrestore.batch.running.memory.resident", lambda: 0)


# ------------------------------------------------------------------------------------- overlap


@pytest.mark.parametrize(("readers", "writers"), [(1, 1), (3, 2)])
def test_everything_is_done_with_its_hash(tmp_path: Path, readers: int, writers: int) -> None:
    paths = make(tmp_path / "in", 40)
    results = run(tmp_path, readers=readers, writers=writers)
    assert sorted(result.job.source for result in results) == paths
    if (readers, writers) == (1, 1):
        assert [result.job.source for result in results] == paths
    for result in results:
        assert result.error is None
        assert result.sha256 == hashlib.sha256(result.job.target.read_bytes()).hexdigest()
        assert (result.width, result.height) == (17, 12)
    assert threads() == []


def test_the_next_is_read_and_the_last_written_while_the_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "in", 4)
    read, write = image.read, image.write
    seen, changed = list[str](), threading.Condition()

    def note(what: str) -> None:
        with changed:
            seen.append(what)
            changed.notify_all()

    def reads(path: Path, **options: object) -> Picture:
        note(f"read {path.name[4]}")
        return read(path, **options)

    def writes(picture: Picture, path: Path, **options: object) -> str:
        stored = write(picture, path, **options)
        note(f"wrote {path.name[4]}")
        return stored

    monkeypatch.setattr(image, "read", reads)
    monkeypatch.setattr(image, "write", writes)

    def restore(picture: Picture) -> Picture:
        number = sum(one.startswith("run") for one in seen)
        note(f"run {number}")
        # Without overlap these would never come.
        awaited = {f"read {min(number + 1, 3)}", *([f"wrote {number - 1}"] if number else [])}
        with changed:
            assert changed.wait_for(lambda: awaited <= set(seen), 20)
        return picture

    assert [result.error for result in run(tmp_path, restore)] == [None] * 4


@pytest.mark.usefixtures("whole_limit")
def test_what_is_on_its_way_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "in", 12, (40, 50, 3))
    read, write, counted = image.read, image.write, threading.Lock()
    inside, most = 0, 0

    def count(change: int) -> None:
        nonlocal inside, most
        with counted:
            inside += change
            most = max(most, inside)

    def reads(path: Path, **options: object) -> Picture:
        count(1)
        return read(path, **options)

    def writes(picture: Picture, path: Path, **options: object) -> str:
        time.sleep(0.02)  # the reader goes on as far as it may
        stored = write(picture, path, **options)
        count(-1)
        return stored

    monkeypatch.setattr(image, "read", reads)
    monkeypatch.setattr(image, "write", writes)
    weight = running._COPIES * 40 * 50 * 3
    results = run(tmp_path, memory_limit=8 * 3 * weight + 8)
    assert [result.error for result in results] == [None] * 12
    assert most == 3


@pytest.mark.usefixtures("whole_limit")
def test_what_is_too_large_for_company_goes_alone_and_larger_still_through_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "in", 3, (20, 20, 3))
    make(tmp_path / "in", 2, (60, 60, 3))
    read, how = image.read, list[tuple[int, bool, bool]]()

    def reads(path: Path, **options: object) -> Picture:
        picture = read(path, **options)
        own = threading.current_thread() is threading.main_thread()
        how.append((len(picture.pixels), own, options["scratch"] is not None))
        return picture

    monkeypatch.setattr(image, "read", reads)
    weight = running._COPIES * 60 * 60 * 3
    for limit, in_file in ((8 * weight - 8, False), (4 * weight - 4, True)):
        how.clear()
        results = run(tmp_path, overwrite=True, memory_limit=limit, scratch=tmp_path)
        assert [result.error for result in results] == [None] * 5
        assert sorted(how) == [(20, False, False)] * 3 + [(60, True, in_file)] * 2


def test_the_restorer_leaves_memory_to_the_others(tmp_path: Path) -> None:
    make(tmp_path / "in", 3, (80, 80, 3))
    limit = resident() + (1 << 30)  # a process that has run many tests is large
    restorer = Restorer(tiny_models.make("tiny"), device="cpu", memory_limit=limit)
    seen = list[int]()

    class Watched(Restorer):
        def __init__(self) -> None:
            self.__dict__.update(vars(restorer))

        def __call__(self, source: Picture) -> Picture:
            seen.append(self.reserved)
            return super().__call__(source)

    watched = Watched()
    assert [result.error for result in run(tmp_path, watched, memory_limit=limit)] == [None] * 3
    assert all(0 < reserved <= limit // 8 for reserved in seen)
    assert watched.reserved == 0
    watched.reserved = limit
    with pytest.raises(InputError, match="memory limit"):
        watched(Picture(pixels=np.zeros((80, 80, 3), np.uint8)))


# ---------------------------------------------------------------------------------- the small


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer(tiny_models.moved(tiny_models.make("tiny")), device="cpu")


def test_small_ones_go_together_and_come_out_as_alone(tmp_path: Path, restorer: Restorer) -> None:
    make(tmp_path / "in", TOGETHER + 3, (30, 37, 3))
    make(tmp_path / "in", 2, (64, 64, 3))
    make(tmp_path / "in", 1, (65, 64, 3))
    passes = list[tuple[int, ...]]()
    hook = restorer.model.register_forward_hook(lambda _, given, __: passes.append(tuple(given[0].shape)))
    results = run(tmp_path, restorer)
    hook.remove()
    assert [result.error for result in results] == [None] * (TOGETHER + 6)
    # The one above the size goes in strips, in which the model itself is not called.
    assert sorted(passes) == [(TOGETHER, 3, 32, 40)] * 2 + [(TOGETHER, 3, 64, 64)]
    for result in results:
        alone = restorer(image.read(result.job.source)).pixels.astype(int)
        difference = np.abs(image.read(result.job.target).pixels - alone)
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= 1e-4 * difference.size + 1


@pytest.mark.parametrize("shape", [(8, 8), (30, 37), (64, 64)])
def test_a_result_does_not_depend_on_its_company(restorer: Restorer, shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(1)
    pictures = [Picture(pixels=draw.random((*shape, 3), np.float32)) for _ in range(TOGETHER)]
    alone = [restorer.restore_together([picture])[0].pixels for picture in pictures]
    assert not np.array_equal(alone[0], pictures[0].pixels)
    for order in (range(TOGETHER), range(TOGETHER)[::-1], (3, 1, 4)):
        together = restorer.restore_together([pictures[i] for i in order])
        for i, picture in zip(order, together, strict=True):
            assert np.array_equal(picture.pixels, alone[i])
    for one, picture in zip(alone, pictures, strict=True):
        assert np.abs(one - restorer(picture.pixels)).max() <= 1e-5


def test_together_alpha_grey_and_depth_stay(restorer: Restorer) -> None:
    draw = np.random.default_rng(2)
    alpha = draw.integers(0, 2, (20, 20), np.uint8) * 255
    pictures = [
        Picture(pixels=draw.integers(0, 256, (20, 20, 3), np.uint8), alpha=alpha),
        Picture(pixels=draw.integers(0, 65536, (20, 20), np.uint16)),
    ]
    for before, after in zip(pictures, restorer.restore_together(pictures), strict=True):
        alone = restorer(before)
        assert after.pixels.dtype == before.pixels.dtype
        assert np.abs(after.pixels.astype(int) - alone.pixels).max() <= 1
        assert after.alpha is before.alpha
    after = restorer.restore_together(pictures)[0]
    assert np.array_equal(after.pixels[alpha == 0], pictures[0].pixels[alpha == 0])


def test_one_that_fails_among_others_fails_alone(
    tmp_path: Path, restorer: Restorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make(tmp_path / "in", 5, (16, 16, 3))
    image.write(Picture(pixels=np.full((16, 16, 3), 255, np.uint8)), paths[2], overwrite=True)
    together = Restorer.restore_together

    def fails(self: Restorer, pictures: list[Picture]) -> list[Picture]:
        if any(picture.pixels.min() == 255 for picture in pictures):
            raise ModelError("not finite", code="non_finite")
        return together(self, pictures)

    monkeypatch.setattr(Restorer, "restore_together", fails)
    failed = [result.job.source for result in run(tmp_path, restorer) if result.error is not None]
    assert failed == [paths[2]]


def test_only_models_that_are_known_to_allow_it(restorer: Restorer) -> None:
    small = Picture(pixels=np.zeros((16, 16, 3), np.uint8))
    assert restorer.goes_together(small)
    assert not restorer.goes_together(Picture(pixels=np.zeros((65, 64, 3), np.uint8)))
    # Its experts are chosen image by image, and compute on what was chosen for them.
    assert not Restorer(tiny_models.make("moce-tiny"), device="cpu").goes_together(small)
    assert not Restorer(tiny_models.make("tiny"), device="cpu", tile=16).goes_together(small)
    assert not Restorer(tiny_models.make("tiny"), device="cpu", memory_limit=1000).goes_together(small)


# ------------------------------------------------------------------------------------- the end


def test_closing_ends_the_threads_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    make(tmp_path / "in", 40, (200, 200, 3))
    for error in (GeneratorExit, KeyboardInterrupt):
        results = run_jobs(plan_jobs([tmp_path / "in"], tmp_path / "out"), same, overwrite=True, writers=2)
        next(results)
        began = time.monotonic()
        if error is GeneratorExit:
            results.close()
        else:
            with pytest.raises(KeyboardInterrupt):
                results.throw(KeyboardInterrupt)
        assert time.monotonic() - began < 5
        assert threads() == []
        stored = list((tmp_path / "out").iterdir())
        assert 1 <= len(stored) < 40
        assert all(
            path.suffix == ".png" and image.read(path).pixels.shape == (200, 200, 3) for path in stored
        )


def test_an_interrupt_in_the_model_ends_everything(tmp_path: Path) -> None:
    make(tmp_path / "in", 20)

    def interrupted(picture: Picture) -> Picture:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupted)
    assert threads() == []
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_the_last_word_of_several_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "in", 30)
    write = image.write

    def full(picture: Picture, path: Path, **options: object) -> str:
        if path.name.startswith("00004"):
            raise OutputError("the disk is full", code="disk_full")
        return write(picture, path, **options)

    monkeypatch.setattr(image, "write", full)
    results = run(tmp_path, writers=3)
    assert isinstance(results[-1].error, OutputError)
    assert all(result.error is None for result in results[:-1])
    assert len(results) < 30
    assert {result.job.target for result in results[:-1]} == set((tmp_path / "out").iterdir())
    assert threads() == []


def test_a_picture_that_is_gone_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make(tmp_path / "in", 6)
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    paths[1].unlink()
    header = image.read_header

    def vanishing(path: Path, **options: object) -> image.Header:
        found = header(path, **options)
        if path == paths[3]:
            path.unlink()
        return found

    monkeypatch.setattr(image, "read_header", vanishing)
    errors = [getattr(result.error, "code", None) for result in run_jobs(jobs, same)]
    assert errors == [None, "not_found", None, "not_found", None, None]


def test_memory_that_ran_out_in_company_is_tried_again_alone(tmp_path: Path) -> None:
    make(tmp_path / "in", 6)
    failed = list[int]()

    def scarce(picture: Picture) -> Picture:
        if not failed or np.array_equal(picture.pixels, last):
            failed.append(1)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return picture

    last = image.read(max((tmp_path / "in").iterdir())).pixels
    results = run(tmp_path, scarce)
    assert len(results) == 6
    assert sum(result.error is not None for result in results) == 1
    assert results[-1].job.source.name.startswith("00005")
    assert isinstance(results[-1].error, RuntimeError)


# --------------------------------------------------------------------------------- in the long run


@pytest.mark.reliability("B13")
def test_thousands_of_tiny_pictures_take_no_more_memory_nor_descriptors(tmp_path: Path) -> None:
    # The short run may grow by 1 MiB too: to keep each picture (12 kB) would be three times as much.
    count = 10_000 if FULL else 300
    (path,) = make(tmp_path / "in", 1, (64, 64, 3))
    out = tmp_path / "out"
    jobs = [Job(source=path, target=out / f"{i % 100}.png") for i in range(count + 100)]
    results = run_jobs(jobs, lambda it: replace(it, pixels=255 - it.pixels), overwrite=True)

    def measure_hundred() -> tuple[int, int]:
        """Memory after a hundred pictures, and the fewest descriptors meanwhile: no picture open."""
        descriptors = list[int]()
        for result in islice(results, 100):
            assert result.error is None
            descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
        gc.collect()
        return occupied("VmRSS"), min(descriptors)

    before = measure_hundred()
    assert all(result.error is None for result in islice(results, count - 100))
    after = measure_hundred()
    assert next(results, None) is None
    assert after[0] - before[0] < max(count / 1000, 1) * 2**20
    assert abs(after[1] - before[1]) <= 2


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from anyrestore.batch.jobs import plan_jobs
from anyrestore.batch.running import run_jobs
from anyrestore.inference.restorer import Restorer
from anyrestore.zoo import create_model

torch.manual_seed(0)
restorer = Restorer(create_model("tiny").eval(), device="cpu", threads=1, scratch=None)
folder = Path(sys.argv[1])
for result in run_jobs(plan_jobs([folder / "warm"], folder / "warmed"), restorer):
    assert result.error is None, result.error
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = taken + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for result in run_jobs(plan_jobs([folder / "in"], folder / "out"), restorer):
    code = "ok" if result.error is None else getattr(result.error, "code", type(result.error).__name__)
    print(result.job.source.stem, code, flush=True)
"""


@pytest.mark.reliability("B7")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS binds on Linux")
def test_memory_that_runs_out_costs_a_picture_and_not_the_process(tmp_path: Path) -> None:
    for name in ("warm", "in"):
        make(tmp_path / name, 3, (40, 40, 3))
    # The one needs a smaller way than the best, for the other there is none: not even its pixels fit.
    for name, side in (("00001-smaller", 500), ("00001-too-large", 7000)):
        image.write(Picture(pixels=np.full((side, side, 3), 99, np.uint8)), tmp_path / "in" / f"{name}.png")
    command = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path), "120"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    said = dict(line.split() for line in done.stdout.splitlines())
    assert len(said) == 5
    assert said.pop("00001-too-large") in ("out_of_memory", "memory_limit", "MemoryError")
    assert set(said.values()) == {"ok"}


# ------------------------------------------------------------------------------------- the room


def test_a_room_counts_bytes_and_places_and_lets_the_too_large_in_alone() -> None:
    room = Room(100, 3)
    full = list[int]()
    assert all(room.enter(30, full=lambda: full.append(1)) for _ in range(3))
    assert full == []
    room.hold(50)
    assert room.growth() == 50
    entered = list[bool]()
    waiting = threading.Thread(target=lambda: entered.append(room.enter(500, full=lambda: full.append(1))))
    waiting.start()
    while not room.is_awaited():
        time.sleep(0.001)
    assert full == [1]
    room.leave(30, 25)
    room.leave(30, 25)
    assert entered == []
    room.leave(30, 0)
    waiting.join(10)
    assert entered == [True]
    assert room.growth() == 500
    sent_away = threading.Thread(target=lambda: entered.append(room.enter(1, full=lambda: None)))
    sent_away.start()
    room.close()
    sent_away.join(10)
    assert entered == [True, False]
