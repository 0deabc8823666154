"""The command with an identity model: what comes out is what was read."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from anyrestore import zoo
from anyrestore.cli.main import main


class Identity(nn.Module):
    """Gives back its input."""

    size_multiple = 8
    bytes_per_pixel = 100.0

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return picture.clone()


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`anyrestore restore ...` in this process; whatever it does, there must be no traceback."""
    monkeypatch.setattr(zoo, "load_model", lambda _: Identity())

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main(["restore", *map(str, arguments), "--device", "cpu"])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    return run
