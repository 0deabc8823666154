"""The command with an identity model: what comes out is what was read."""

import pytest
import torch
from torch import nn

from anyrestore import zoo
from command_runs import Command, runner


class Identity(nn.Module):
    """Gives back its input."""

    size_multiple = 8
    bytes_per_pixel = 100.0

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return picture.clone()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`anyrestore restore ...` in this process; whatever it does, there must be no traceback."""
    monkeypatch.setattr(zoo, "load_model", lambda _: Identity())
    return runner(capfd, before=("restore",), behind=("--device", "cpu"))
