"""A folder's run that is killed, interrupted or locked out, and goes on, ends as if nothing had happened.

The suite kills three times, and at four system calls. `ANYRESTORE_FULL=1` kills a hundred times (or as often
as `ANYRESTORE_KILLS` says), and at every system call that writes, stores or removes.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import folder_runs
from anyrestore import image
from children import CONTEXT
from folder_runs import FULL, hashes, lines, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kill -9, strace")

KILLS = int(os.environ.get("ANYRESTORE_KILLS", "100" if FULL else "3"))
PICTURES = 60
CALLS = ("write", "fsync", "link", "rename", "unlink", "mkdir", "chmod")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The command without -o, over a tree of 60 pictures."""
    folder = tmp_path_factory.mktemp("kill")
    suffixes = ("png", "jpg", "tiff")
    names = [f"{'deeper/' * (i % 2)}{i:02}.{suffixes[i % 3]}" for i in range(PICTURES)]
    source = folder_runs.pictures(folder / "in", names)
    return ["restore", source, "--recursive", "--model", folder_runs.weights(folder)]


@pytest.fixture(scope="module")
def whole(command: list[object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run that nobody disturbs stores."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert ended(start(*command, "-o", out)) == 0
    assert len(hashes(out)) == PICTURES
    for name in hashes(out):
        assert image.read(out / name).pixels.shape == (24, 32, 3)
    return hashes(out)


@pytest.fixture(scope="module")
def few(command: list[object], tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The command over twelve of the pictures."""
    folder = tmp_path_factory.mktemp("few")
    shutil.copytree(str(command[1]), folder / "in", ignore=shutil.ignore_patterns("[2-5]*.*", "1[2-9].*"))
    return ["restore", folder / "in", *command[2:]]


def ended(child: Any) -> int:
    child.join(300)
    assert child.exitcode is not None
    return int(child.exitcode)


def wait_for(out: Path, results: int, child: Any) -> None:
    """Until so many results are stored, or the child has ended."""
    while child.is_alive() and len([path for path in out.rglob("[0-9]*.*") if path.is_file()]) < results:
        time.sleep(0.001)


def without_temporaries(found: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if not name.endswith(".tmp")}


@pytest.mark.reliability("B1")
def test_killed_at_random_moments(command: list[object], whole: dict[str, str], tmp_path: Path) -> None:
    chance = random.Random(0)
    killed = 0
    for number in range(KILLS):
        out = tmp_path / str(number)
        for _ in range(chance.choice((1, 1, 2))):
            child = start(*command, "-o", out, "--resume")
            wait_for(out, chance.randrange(PICTURES), child)
            time.sleep(chance.uniform(0, 0.03))
            child.kill()
            killed += ended(child) == -signal.SIGKILL
            left = without_temporaries(hashes(out))
            assert left.items() <= whole.items()  # nothing half written, at no moment
        assert ended(start(*command, "-o", out, "--resume")) == 0
        assert hashes(out) == whole  # nothing lost, no temporary file left
        shutil.rmtree(out)
    assert killed >= KILLS * 2 // 3  # (some come to their end before their moment)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.reliability("B2")
def test_killed_at_system_calls(tmp_path: Path) -> None:
    source = folder_runs.pictures(tmp_path / "in", ["a.png", "b.jpg"])
    arguments = ["restore", source, "--model", folder_runs.weights(tmp_path), "--compare", "--resume"]
    log = tmp_path / "log"
    if traced(tmp_path, log, [*arguments, "-o", tmp_path / "whole"]) is None:
        pytest.skip("strace may not trace here")
    expected = hashes(tmp_path / "whole")
    assert len(expected) == 4
    made = calls_made(log)
    assert {"write", "fsync", "link", "unlink"} <= {call for call, _ in made}
    points = [(call, number + 1) for call, times in made for number in range(times)]
    chosen = points if FULL else random.Random(1).sample(points, 4)
    missed = 0
    for call, number in chosen:
        out = tmp_path / f"{call}-{number}"
        inject = f"inject={call}:signal=SIGKILL:when={number}"
        code = traced(tmp_path, log, [*arguments, "-o", out], inject)
        if code == 0:  # this time the threads shared the calls in another way
            assert dict(calls_made(log)).get(call, 0) < number
            missed += 1
        else:
            assert code == -signal.SIGKILL, (call, number)
        assert without_temporaries(hashes(out)).items() <= expected.items()
        assert ended(start(*arguments, "-o", out)) == 0
        assert hashes(out) == expected, (call, number)
    assert missed <= len(chosen) // 4


def calls_made(log: Path) -> list[tuple[str, int]]:
    """System calls with how often a thread made each, the one that made it most: strace counts by thread."""
    by_thread = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE))
    most = dict[str, int]()
    for (_, call), times in by_thread.items():
        most[call] = max(most.get(call, 0), times)
    return sorted(most.items())


def traced(folder: Path, log: Path, arguments: list[object], *inject: str) -> int | None:
    """Run the command under strace; its exit code, None where it may not be traced."""
    go = folder / "go"
    go.unlink(missing_ok=True)
    child = start(*arguments, go=go)
    calls = ",".join(f"?{call},?{call}at" for call in CALLS)
    options = [option for one in (f"trace={calls}", *inject) for option in ("-e", one)]
    # The child must be in Python before it is traced, which its wait for the file is.
    command = ["strace", "-f", "-p", str(child.pid), "-o", str(log), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        attached = "attached" in strace.stderr.readline()
        go.touch()
        code = ended(child)
    return code if attached else None


@pytest.mark.reliability("B8")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted(
    few: list[object], whole: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out, report, said = tmp_path / "out", tmp_path / "report.jsonl", tmp_path / "said"
    child = start(*few, "-o", out, "--report", report, err=said)
    wait_for(out, 3, child)
    struck = time.monotonic()
    os.kill(child.pid, number)
    assert ended(child) == code
    assert time.monotonic() - struck < 5
    assert said.read_text().count("\n") == 1
    left = hashes(out)
    assert 3 <= len(left) < 12
    assert left.items() <= whole.items()  # no temporary file either
    told = lines(report)
    assert len(told) == 12
    done = {str(Path(line["output"]).relative_to(out)) for line in told if line["status"] == "done"}
    assert done <= set(left)  # what was stored at that moment may not have been told of any more
    assert {line["code"] for line in told if line["status"] != "done"} == {"not_tried"}
    assert ended(start(*few, "-o", out, "--resume")) == 0
    assert {name: whole[name] for name in hashes(out)} == hashes(out)
    assert len(hashes(out)) == 12


def stubborn(source: str, out: str) -> None:
    """In a child: the command with a model that is not impressed by a first signal."""
    from anyrestore import zoo
    from anyrestore.cli.main import main

    class Stubborn(torch.nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            try:
                Path(f"{out}.begun").touch()
                time.sleep(600)
            except BaseException:  # noqa: BLE001 (the signal, whatever it has become)
                Path(f"{out}.struck").touch()
                time.sleep(600)
            return picture

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    zoo.load_model = lambda _: Stubborn()  # type: ignore[assignment]  # a stand-in
    sys.exit(main(["restore", source, "-o", out]))


@pytest.mark.reliability("B8")
def test_a_second_signal_ends_it_at_once(few: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = CONTEXT.Process(target=stubborn, args=(str(few[1]), str(out)))
    child.start()
    for seen, number in (("begun", signal.SIGINT), ("struck", signal.SIGTERM)):
        while not Path(f"{out}.{seen}").exists():
            assert child.is_alive()
            time.sleep(0.01)
        os.kill(child.pid, number)
    assert ended(child) == -signal.SIGTERM


@pytest.mark.reliability("B14")
@pytest.mark.parametrize("options", [[], ["--report", "-"]])
def test_a_closed_pipe(few: list[object], whole: dict[str, str], tmp_path: Path, options: list[str]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    child = start(*few, "-o", tmp_path / "out", *options, out=theirs, err=tmp_path / "said")
    os.close(theirs)
    assert ended(child) == 141
    assert (tmp_path / "said").read_text() == ""
    assert hashes(tmp_path / "out").items() <= whole.items()
