"""`bench backends`: rows of figures from fresh processes, and notes where there can be none."""

from __future__ import annotations

import math
import os

import pytest

from anyrestore.benchmark import backends
from anyrestore.benchmark.backends import BackendRow, as_table, measure_backends
from anyrestore.benchmark.timing import Timing
from anyrestore.cli.main import main


def test_torch_beside_what_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler torch.compile has a note; both cases take a child process each."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    before = dict(os.environ)
    rows = measure_backends(["tiny"], ["torch", "compile"], [33], repeats=2, seconds=0.1)
    assert dict(os.environ) == before
    plain, compiled = rows
    assert (plain.size, plain.backend, plain.difference, plain.note) == (40, "torch", 0.0, None)
    assert plain.start is not None
    assert plain.again is not None
    assert plain.peak is not None
    assert plain.start > 0 < plain.again
    assert plain.peak > 1e5
    assert plain.timing.runs == 2
    assert compiled.note is not None
    assert "install g++" in compiled.note
    assert compiled.timing.runs == 0
    assert math.isnan(compiled.timing.median)
    assert "compile, tiny: torch.compile needs a C++ compiler" in as_table(rows)


def test_the_table() -> None:
    rows = [
        BackendRow(
            model="m", backend="torch", size=64, start=1.0, again=2.0, peak=3_000_000, difference=0.0,
            timing=Timing([0.2, 0.2]),
        ),
        BackendRow(model="m", backend="openvino", size=64, timing=Timing([0.1, 0.1]), difference=2e-7),
    ]  # fmt: skip
    lines = as_table(rows).splitlines()
    assert lines[1].split() == [
        "m",
        "torch",
        "64",
        "1.0",
        "2.0",
        "3",
        "200",
        "200",
        "to",
        "200",
        "1.00",
        "0.0e+00",
    ]
    assert lines[2].split() == [
        "m",
        "openvino",
        "64",
        "-",
        "-",
        "-",
        "100",
        "100",
        "to",
        "100",
        "0.50",
        "2.0e-07",
    ]


@pytest.mark.parametrize("names", ["torch,torch", "tensorrt", ""])
def test_unknown_backends_are_refused(names: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "backends", "--backend", names]) == 2
    assert "expected some of" in capfd.readouterr().err


def test_the_module_is_the_child() -> None:
    assert backends._measure("tiny", "torch", 16, None)[0] > 0
