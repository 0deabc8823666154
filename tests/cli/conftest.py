"""A command with a model that needs no weights, and files of every kind to give to it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anyrestore import zoo
from command_runs import Command, runner


class Double(nn.Module):
    """Doubles every value; the default model of these tests."""

    size_multiple = 8
    bytes_per_pixel = 100.0

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return picture * 2


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process; whatever it does, there must be no traceback."""
    monkeypatch.setattr(zoo, "load_model", lambda _: Double())
    return runner(capfd)


@pytest.fixture
def dark() -> np.ndarray:
    """8-bit colours that can be doubled without clipping, of an odd size."""
    return np.random.default_rng(0).integers(0, 128, (23, 37, 3), np.uint8)


@pytest.fixture
def listing(tmp_path: Path) -> Callable[[], list[str]]:
    """Everything below the test's folder, hidden files too."""
    return lambda: sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
