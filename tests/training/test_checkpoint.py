"""Checkpoints: every damage is found, the one before is used, a good one is on disk at every moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anyrestore.errors import DataError, OutputError
from anyrestore.training import checkpoint
from anyrestore.training.checkpoint import CheckpointStore

FACTS = {"best": None, "sums": {"noise": [0.1, 3]}}


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"model.weight": torch.full((16, 16), float(step)), "optimizer.step.weight": torch.tensor(step)}


def filled(folder: Path, steps: range, keep: int = 2) -> CheckpointStore:
    store = CheckpointStore(folder, keep)
    for step in steps:
        store.save(step, tensors(step), FACTS)
    return store


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    found = filled(tmp_path, range(1, 4)).load_newest(pytest.fail)
    assert found is not None
    assert (found.step, found.facts) == (3, FACTS)
    assert found.tensors.keys() == tensors(3).keys()
    assert all(torch.equal(found.tensors[k], v) for k, v in tensors(3).items())
    assert CheckpointStore(tmp_path / "nothing").load_newest(pytest.fail) is None


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in range(1, 9):
        store.save(step, tensors(step), FACTS, best=3 if step >= 3 else 1)
    assert store.steps() == [8, 7, 3]
    assert len(list(tmp_path.iterdir())) == 6


def test_damage_is_always_found_and_the_one_before_is_used(tmp_path: Path) -> None:
    """200 random flips of a bit, and a cut at every hundredth of either file."""
    filled(tmp_path / "good", range(1, 3))
    names = ["step-000000002.safetensors", "step-000000002.json"]
    pristine = {name: (tmp_path / "good" / name).read_bytes() for name in names}
    chance = random.Random(0)
    damages: list[tuple[str, bytes]] = []
    for _ in range(200):
        name = chance.choice(names)
        data = bytearray(pristine[name])
        bit = chance.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        damages.append((name, bytes(data)))
    damages += [(n, pristine[n][: len(pristine[n]) * cut // 100]) for n in names for cut in range(100)]
    store = CheckpointStore(tmp_path / "good")
    for name, data in damages:
        path = tmp_path / "good" / name
        path.write_bytes(data)
        told = list[str]()
        found = store.load_newest(told.append)
        assert found is not None
        assert found.step == 1, (name, len(data))
        assert "step-000000002" in told[0]
        assert "going on from step 1" in told[0]
        path.write_bytes(pristine[name])
    assert store.load_newest(pytest.fail) is not None


def test_where_all_are_damaged_the_files_are_named_and_nothing_begins_again(tmp_path: Path) -> None:
    store = filled(tmp_path, range(1, 3))
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"step-000000002\.json.*step-000000001\.json") as caught:
        store.load_newest(pytest.fail)
    assert caught.value.code == "checkpoints_damaged"


def test_a_checkpoint_of_a_later_layout_is_not_misread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, range(1, 2))
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(DataError, match="damaged"):
        store.load_newest(pytest.fail)


def test_a_good_one_is_there_before_any_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at before each removal of 200 saves: two whole ones are there beside it."""
    store, seen = CheckpointStore(tmp_path), list[int]()
    remove = Path.unlink

    def watched(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".json" and path.exists():
            whole = [m for m in store._manifests() if m != path and store._read(m) is not None]
            assert len(whole) >= 2, path
            seen.append(len(whole))
        remove(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    for step in range(1, 201):
        store.save(step, tensors(step), FACTS)
    assert len(seen) == 198


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    store = filled(tmp_path, range(1, 3))
    (tmp_path / ".step-000000003.json.abc.tmp").write_bytes(b"half")
    (tmp_path / "step-000000003.safetensors").write_bytes(b"whole, but its manifest never came")
    found = store.load_newest(pytest.fail)
    assert found is not None
    assert found.step == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step-00000000{step}.{suffix}" for step in (1, 2) for suffix in ("json", "safetensors")
    ]


def test_a_damaged_one_is_replaced_by_the_same_step(tmp_path: Path) -> None:
    store = filled(tmp_path, range(1, 3))
    path = tmp_path / "step-000000002.safetensors"
    path.write_bytes(b"damaged")
    store.save(2, tensors(2), FACTS)
    found = store.load_newest(pytest.fail)
    assert found is not None
    assert found.step == 2


def test_a_full_disk_leaves_the_one_before_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of the two files of a save."""
    store = filled(tmp_path, range(1, 3))
    real = checkpoint.store_bytes
    for failing in (1, 2):
        count = 0

        def full(data: bytes, path: Path, *, overwrite: bool, failing: int = failing) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise OutputError("No space left on device", code="disk_full")
            real(data, path, overwrite=overwrite)

        monkeypatch.setattr(checkpoint, "store_bytes", full)
        with pytest.raises(OutputError):
            store.save(3, tensors(3), FACTS)
        monkeypatch.setattr(checkpoint, "store_bytes", real)
        found = store.load_newest(pytest.fail)
        assert found is not None
        assert found.step == 2


KILLED_AT_EACH_CALL = """
import os, signal, sys
from pathlib import Path
import torch
from anyrestore.training.checkpoint import CheckpointStore

folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
store = CheckpointStore(folder, 2)
store.save(1, {"w": torch.ones(64)}, {"a": 1})
store.save(2, {"w": torch.ones(64) * 2}, {"a": 2})
calls = 0

def counted(name, real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, name, call)

for name in ("open", "chmod", "fsync", "replace", "rename", "unlink", "fstat", "stat", "close", "mkdir"):
    counted(name, getattr(os, name))
store.save(3, {"w": torch.ones(64) * 3}, {"a": 3})
print(calls)
"""


def test_a_kill_inside_any_call_of_a_save_leaves_a_good_one(tmp_path: Path) -> None:
    """One process a system call; forked from one that has torch, where that is possible, to be quick."""
    whole = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_CALL, str(tmp_path / "count"), "0"],
        capture_output=True,
        text=True,
        check=True,
    )
    calls = int(whole.stdout)
    assert calls >= 10
    for wanted in range(1, calls + 1):
        folder = tmp_path / str(wanted)
        child = os.fork()
        if child == 0:
            sys.argv = ["", str(folder), str(wanted)]
            exec(compile(KILLED_AT_EACH_CALL, "killed", "exec"), {"__name__": "killed"})
            os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), wanted
        found = CheckpointStore(folder).load_newest(pytest.fail)
        assert found is not None
        assert found.step in (2, 3)
        assert torch.equal(found.tensors["w"], torch.ones(64) * found.step)
        assert not list(folder.glob(".*.tmp"))
        shutil.rmtree(folder)


def test_no_pickle_is_written(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 3))
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert path.suffix in (".json", ".safetensors")
        assert not data.startswith((b"\x80", b"PK"))
        if path.suffix == ".json":
            assert json.loads(data)["facts"] == FACTS
