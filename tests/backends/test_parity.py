"""Graphs of every architecture, run by ONNX Runtime and OpenVINO, give torch's numbers at any size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import pytest

from graph_process import ENGINES, differences, need, process
from tiny_models import SMALLEST

#: In pixels: the smallest, odd ones, multiples of what models ask for, odd multiples of it, far from square.
SIZES = [
    *((1, 1), (1, 2), (3, 1), (1, 40), (37, 1), (5, 7), (8, 8), (9, 9), (15, 17), (16, 16)),
    *((16, 24), (17, 16), (19, 33), (24, 8), (24, 40), (25, 31), (32, 32), (33, 32), (33, 65), (40, 24)),
    *((41, 43), (47, 10), (48, 16), (8, 72), (56, 56), (57, 23), (63, 64), (64, 48), (65, 65), (80, 33)),
]
TOLERANCE = 1e-4
#: A stem at half resolution is the same graph in every architecture; local means no graph can hold.
NAMES = [name for name in SMALLEST if " " not in name] + ["cea at half resolution"]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Executor, Path]]:
    cache = tmp_path_factory.mktemp("cache")
    with process(os.fspath(cache)) as pool:
        yield pool, cache


def test_there_are_thirty_sizes() -> None:
    assert len(set(SIZES)) == 30


@pytest.mark.parametrize("name", NAMES)
def test_every_size(name: str, outside: tuple[Executor, Path]) -> None:
    """Thirty for CEA-IR, every third of them for the others, whose operators are the same at all sizes."""
    need("onnx", *ENGINES)
    worst = outside[0].submit(differences, name, SIZES if name == "cea" else SIZES[::3]).result()
    assert set(worst) == set(ENGINES)
    assert max(worst.values()) < TOLERANCE, worst


def test_what_was_made_is_kept_and_used(outside: tuple[Executor, Path]) -> None:
    need("onnx", *ENGINES)
    pool, cache = outside
    pool.submit(differences, "nafnet", SIZES[:1]).result()
    kept = {path: path.stat().st_mtime_ns for path in (cache / "anyrestore").rglob("*") if path.is_file()}
    assert {path.suffix for path in kept} == {".onnx", ".blob"}
    pool.submit(differences, "nafnet", SIZES[1:2]).result()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(kept) == sum(path.is_file() for path in (cache / "anyrestore").rglob("*"))
