"""The benchmark of the loader: what it counts, and that the numbers hang together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anyrestore.benchmark.feeding import measure_feeding
from anyrestore.data.mixtures import MIXTURES
from anyrestore.data.samples import MixtureData
from anyrestore.errors import UsageError


def make(root: Path, cached: bool) -> MixtureData:
    return MixtureData(MIXTURES["composite"], root, cache_bytes=cached << 24)


def test_rows_are_cold_then_warm_here_then_with_workers(training_root: Path) -> None:
    threads = torch.get_num_threads()
    rows = measure_feeding(
        lambda cached: make(training_root, cached), crop=16, batch=4, seconds=0.3, workers=1
    )
    assert [(row.workers, row.warm) for row in rows] == [(0, False), (0, True), (1, False), (1, True)]
    assert torch.get_num_threads() == threads
    for row in rows:
        assert row.crops > 0
        assert row.crops % 4 == 0
        assert row.per_core == row.crops_per_second
        assert (row.parts is None) == (row.workers > 0)
        assert (row.start > 0) == (row.workers > 0)
        if row.parts is not None:
            assert min(row.parts.read, row.parts.cut, row.parts.collate, row.parts.degrade) > 0
            assert row.crops_per_second == pytest.approx(1e3 / row.parts.loader)
    assert rows[0].parts is not None
    assert rows[1].parts is not None
    assert rows[1].parts.read < rows[0].parts.read


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(training_root: Path) -> None:
    with pytest.raises(UsageError, match="found none"):
        measure_feeding(lambda cached: make(training_root, cached), seconds=0.01, device="cuda")
