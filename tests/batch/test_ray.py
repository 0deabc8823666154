"""A batch on Ray: the demonstration (two workers, one killed in the middle); and its parts, without Ray.

The demonstration starts a Ray of its own in a child process, so Ray's own warnings stay there. By hand, with
the extra scale installed:

    pytest -s tests/batch/test_ray.py -k killed_in_the_middle
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore import image, zoo
from anyrestore.batch import ray_engine
from anyrestore.batch.ray_engine import Worker, restore_with_ray, share_out
from anyrestore.batch.settings import Settings
from anyrestore.errors import ModelError, UsageError
from anyrestore.image import Picture

COUNT = 40
SETTINGS = Settings(model="tiny", device="cpu")


def write_pictures(folder: Path, count: int) -> list[str]:
    names = [f"{i % 4}/{i:02}.png" for i in range(count)]
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (96, 96 + i, 3), np.uint8)
        image.write(Picture(pixels=pixels), folder / name)
    return names


def hashes(folder: Path) -> dict[str, str]:
    """Every file below a folder but manifests, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".anyrestore")
    }


def rows_in(report: Path) -> list[dict[str, Any]]:
    """The report so far; a line that is being written is left out."""
    if not report.exists():
        return []
    return [json.loads(line) for line in report.read_text().splitlines(keepends=True) if line.endswith("\n")]


def start(*arguments: object, log: Path) -> subprocess.Popen[bytes]:
    # Ray's own processes are started with this environment, and keep a token in the home folder.
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HOME": str(log.parent),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "anyrestore", "batch", *map(str, arguments)]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra scale)")
def test_a_worker_killed_in_the_middle_loses_nothing(tmp_path: Path, tiny_weights: Path) -> None:
    names = write_pictures(tmp_path / "in", COUNT)
    options = ("--model", tiny_weights, "--device", "cpu", "--threads", 1)
    alone = start(tmp_path / "in", tmp_path / "alone", *options, log=tmp_path / "alone.log")
    assert alone.wait(300) == 0, (tmp_path / "alone.log").read_text()

    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    ray = ("--engine", "ray", "--workers", 2, "--report", report)
    together = start(tmp_path / "in", out, *options, *ray, log=tmp_path / "ray.log")
    seen, killed, there = set[str](), 0, 0
    try:
        while together.poll() is None:
            for name in names:  # nobody ever sees a torn file under a final name
                if name not in seen and (out / name).exists():
                    assert image.read(out / name).pixels.shape[0] == 96
                    seen.add(name)
            done = rows_in(report)
            if not killed and len(done) >= COUNT // 5:
                killed, there = int(done[-1]["worker"].split(":")[1]), len(seen)
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.01)
    finally:
        together.kill()
    log = (tmp_path / "ray.log").read_text()
    assert together.returncode == 0, log
    rows = rows_in(report)
    workers = {int(row["worker"].split(":")[1]) for row in rows}
    told = f"killed worker {killed} with {there} of {COUNT} results there; workers in all: {len(workers)}"
    print(f"\n{told}")  # noqa: T201 (what the demonstration shows, with -s)
    assert killed in workers
    assert there < COUNT
    assert len(workers) >= 3, log  # the two, and the one that took the dead one's place
    assert sorted(row["name"] for row in rows) == sorted(names)
    assert {row["status"] for row in rows} == {"done"}
    assert hashes(out) == hashes(tmp_path / "alone")  # every one there, none torn, and nothing else left
    assert {row["name"]: row["sha256"] for row in rows} == hashes(out)


class _Handle:
    """What a Ray handle looks like: `handle.method.remote(...)`; the answer comes at once."""

    def __init__(self, target: object) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        return type("Method", (), {"remote": staticmethod(method)})


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the worker runs after it."""


class _Room:
    """Tasks as Ray Data gives them: again, to a new worker, until they come to their end."""

    def __init__(self, tmp_path: Path, restore: Callable[[str], None], *, retries: int = 2) -> None:
        self.names = write_pictures(tmp_path / "in", 5)
        self.out = tmp_path / "out"
        self.deaths = 0
        self.tried = list[str]()
        self._restore = restore
        self._ledger = _Handle(ray_engine._Ledger())
        self._retries = retries
        self._plan = {
            "source": str(tmp_path / "in"),
            "target": str(self.out),
            "settings": SETTINGS,
            "threads": 1,
        }

    def worker(self) -> Worker:
        return Worker(self._plan, self._ledger, 6, self._retries)

    def task(self) -> list[dict[str, Any]]:
        while True:
            try:
                found = list(self.worker()({"item": np.array(self.names)}))
            except _Killed:
                self.deaths += 1
                continue
            return [json.loads(row) for block in found for row in block["row"]]

    def restorer(self, *, threads: int | None = None) -> Any:
        assert threads == 1

        class Restorer:
            scratch = None

            def __call__(_, picture: Picture) -> Picture:  # noqa: N805 (`self` is the room's)
                name = self.names[picture.pixels.shape[1] - 96]
                self.tried.append(name)
                self._restore(name)
                return replace(picture, pixels=255 - picture.pixels)

        return Restorer()


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Room]:
    """Make a room whose pictures are restored by a function that may also raise, or kill."""
    monkeypatch.setattr(
        ray_engine, "_ray", lambda: type("Ray", (), {"get": staticmethod(lambda value: value)})
    )

    def make(restore: Callable[[str], None], **options: int) -> _Room:
        made = _Room(tmp_path, restore, **options)
        monkeypatch.setattr(Settings, "restorer", made.restorer)
        return made

    return make


def test_a_picture_that_kills_its_worker_is_given_up_and_the_others_are_done(
    room: Callable[..., _Room],
) -> None:
    def restore(name: str) -> None:
        if name in ("2/02.png", "3/03.png"):
            raise _Killed

    made = room(restore)
    rows = {row["name"]: row for row in made.task()}
    assert list(rows) == made.names
    lost = [name for name, row in rows.items() if row["code"] == "process_lost"]
    assert lost == ["2/02.png", "3/03.png"]
    assert "3 times" in rows["2/02.png"]["message"]
    assert made.tried.count("2/02.png") == 3  # once, and two retries
    assert sorted(hashes(made.out)) == ["0/00.png", "0/04.png", "1/01.png"]


def test_a_worker_that_dies_once_costs_nothing(room: Callable[..., _Room]) -> None:
    left = ["2/02.png"]

    def restore(name: str) -> None:
        if name in left:
            left.remove(name)
            raise _Killed

    made = room(restore)
    rows = made.task()
    assert made.deaths == 1
    assert [row["status"] for row in rows] == ["done"] * 5
    assert sorted(hashes(made.out)) == sorted(made.names)


def test_errors_of_a_picture_are_rows_and_final(room: Callable[..., _Room], tmp_path: Path) -> None:
    def restore(name: str) -> None:
        if name == "1/01.png":
            raise KeyError("a library's own")

    made = room(restore)
    (tmp_path / "in" / "0" / "00.png").write_text("no picture")
    rows = {row["name"]: row for row in made.task()}
    assert made.deaths == 0
    assert rows["0/00.png"]["code"] == "not_an_image"
    assert rows["1/01.png"]["code"] == "internal"
    assert "KeyError" in rows["1/01.png"]["message"]
    assert "1/01.png" in made.tried


def test_a_model_that_cannot_be_loaded_ends_the_batch(
    room: Callable[..., _Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = room(lambda _: None)

    def refuse(*_: object, **__: object) -> None:
        raise ModelError("No weights are there.", code="no_weights")

    monkeypatch.setattr(Settings, "restorer", refuse)
    (row,) = made.task()
    error = ray_engine._revived(row["fatal"])
    assert (type(error), error.code, str(error)) == (ModelError, "no_weights", "No weights are there.")


def test_workers_that_die_while_they_start_end_the_batch(
    room: Callable[..., _Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = room(lambda _: None)

    def die(*_: object, **__: object) -> None:
        raise _Killed

    monkeypatch.setattr(Settings, "restorer", die)
    (row,) = made.task()
    assert made.deaths == 6
    assert ray_engine._revived(row["fatal"]).code == "process_lost"


@pytest.mark.parametrize(
    ("resources", "settings", "workers", "expected"),
    [
        ({"CPU": 8}, {}, None, (8, 1, False)),
        ({"CPU": 8}, {"threads": 4}, None, (2, 4, False)),
        ({"CPU": 8}, {}, 3, (3, 2, False)),
        ({"CPU": 32, "GPU": 4}, {}, None, (4, 8, True)),
        ({"CPU": 32, "GPU": 4}, {}, 2, (2, 16, True)),
        ({"CPU": 32, "GPU": 4}, {"device": "cpu"}, None, (32, 1, False)),
        ({"CPU": 8}, {}, 9, None),
        ({"CPU": 8}, {"threads": 9}, None, None),
        ({"CPU": 8}, {"device": "cuda"}, None, None),
        ({"CPU": 32, "GPU": 4}, {}, 5, None),
    ],
)
def test_how_a_cluster_is_shared_out(
    resources: dict[str, int], settings: dict[str, Any], workers: int | None, expected: object
) -> None:
    asked = Settings(model="tiny", **settings)
    if expected is None:
        with pytest.raises(UsageError, match="do not fit"):
            share_out(resources, asked, workers)
    else:
        assert share_out(resources, asked, workers) == expected


def test_without_ray_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"anyrestore\[scale\]") as caught:
        next(restore_with_ray(["a.png"], "in", "out", SETTINGS))
    assert caught.value.code == "no_engine"


def test_sigterm_stays_the_commands_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        @staticmethod
        def init(**_: object) -> None:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray_engine._start(Ray)
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    from tiny_models import make

    zoo.save_weights(make("tiny"), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"
