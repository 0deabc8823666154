"""A full disk, at every size, and one that cannot be written to: no false success, no half file.

The disks are tmpfs mounts, which root may make; elsewhere these tests are skipped. The suite tries five of
the 64 sizes, `ANYRESTORE_FULL=1` all.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

import folder_runs
from anyrestore import zoo
from anyrestore.cli.main import main
from folder_runs import FULL, Halve, hashes, lines

SIZES = tuple(range(4, 260, 4)) if FULL else (4, 8, 60, 124, 256)
NAMES = ["a.jpg", "b.png", "c.tiff", "d.webp"]


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Callable[[str], Path]]:
    """Mounts a disk with options for mount's -o, or gives it other ones."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = list[str]()

    def mount(options: str) -> Path:
        again = "remount," if mounted else ""
        command = ["mount", "-t", "tmpfs", "-o", again + options, "anyrestore", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a disk cannot be mounted here (it takes root)")
        mounted.append(options)
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zoo, "load_model", lambda _: Halve())
    return folder_runs.pictures(tmp_path / "in", NAMES, side=140)


@pytest.mark.reliability("I66", "B9")
@pytest.mark.parametrize("size", SIZES)
def test_a_full_disk_at_each_size(
    disk: Callable[[str], Path], source: Path, tmp_path: Path, size: int
) -> None:
    assert main(["restore", str(source), "-o", str(tmp_path / "whole")]) == 0
    whole = hashes(tmp_path / "whole")
    out, report = disk(f"size={size}k") / "out", tmp_path / "report.jsonl"
    began = time.monotonic()
    code = main(["restore", str(source), "-o", str(out), "--report", str(report)])
    assert time.monotonic() - began < 10
    found = hashes(out) if out.exists() else {}
    assert found.items() <= whole.items()  # whole ones only, no temporary file
    assert code == (0 if found == whole else 4)
    told = lines(report)
    if told:  # (with no room for the list of what is done the run does not begin)
        done = {Path(line["output"]).name: line["sha256"] for line in told if line["status"] == "done"}
        failed = {Path(line["output"]).name for line in told if line["status"] == "failed"}
        assert done.items() <= found.items()
        assert not failed & set(found)
        assert bool(failed) == (code == 4)
        assert len(told) == len(NAMES)
    disk("size=4m")
    assert main(["restore", str(source), "-o", str(out), "--resume"]) == 0
    assert hashes(out) == whole


@pytest.mark.reliability("B9")
@pytest.mark.parametrize("size", [8, 60, 124])
def test_a_batch_stops_on_a_full_disk_and_goes_on(
    disk: Callable[[str], Path], source: Path, tmp_path: Path, size: int
) -> None:
    assert main(["batch", str(source), str(tmp_path / "whole")]) == 0
    whole = hashes(tmp_path / "whole")
    out = disk(f"size={size}k") / "out"
    assert main(["batch", str(source), str(out)]) == 4
    assert hashes(out).items() < whole.items()
    disk("size=4m")
    assert main(["batch", str(source), str(out)]) == 0
    assert hashes(out) == whole


def test_the_sizes_span_nothing_stored_and_all(source: Path, tmp_path: Path) -> None:
    assert main(["restore", str(source), "-o", str(tmp_path / "out")]) == 0
    stored = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert SIZES[0] < 8
    assert 100 < stored / 1024 < SIZES[-1] - 16


@pytest.mark.reliability("I66")
def test_an_old_file_stays_whole_on_a_full_disk(
    disk: Callable[[str], Path], source: Path, tmp_path: Path
) -> None:
    out = disk("size=32k")
    old = folder_runs.pictures(out, ["b.png"])
    before = hashes(old)
    assert main(["restore", str(source / "b.png"), "-o", str(out / "b.png"), "--overwrite"]) == 4
    assert hashes(out) == before


@pytest.mark.reliability("I67")
def test_a_disk_that_is_read_only(
    disk: Callable[[str], Path], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not(_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(zoo, "load_model", must_not)
    disk("size=64k")
    out = disk("ro") / "out"
    began = time.monotonic()
    assert main(["restore", str(source), "-o", str(out)]) == 4
    assert time.monotonic() - began < 2
