"""The command in this process, for tests: its exit code, and what it says."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from anyrestore.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def runner(
    capfd: pytest.CaptureFixture[str], *, before: tuple[str, ...] = (), behind: tuple[str, ...] = ()
) -> Command:
    """Runs the command with what it is called with, and words before and behind; never a traceback."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([*before, *map(str, arguments), *behind])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    return run
