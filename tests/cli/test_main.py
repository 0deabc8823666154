"""The command as a whole: help, version, exit codes of the process."""

import os
import subprocess
import sys
from typing import Any

import pytest

from anyrestore import __version__
from anyrestore.cli import terminal
from anyrestore.cli.main import VERBS, build_parser


def test_version_and_help(command: Any) -> None:
    assert command("--version").out == f"anyrestore {__version__}\n"
    done = command("--help")
    assert done.code == 0
    for verb in VERBS:
        name = verb.__name__.rpartition(".")[2]
        assert name in done.out
        assert command(name, "--help").code == 0


@pytest.mark.parametrize("arguments", [[], ["no-such-verb"], ["--no-such-option"]])
def test_wrong_commands(command: Any, arguments: list[str]) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "usage" in done.err


def test_help_does_not_wait_for_torch() -> None:
    """Importing torch takes seconds; declaring options must not need it."""
    code = (
        "import sys, anyrestore.cli.main as m; m.build_parser().format_help(); "
        "print(*({'torch', 'numpy', 'pyvips'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_told(own: str | None, expected: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if own is None else {"OMP_WAIT_POLICY": own}
    code = "import os, anyrestore.cli.main as m; m.main(['--version']); print(os.environ['OMP_WAIT_POLICY'])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[1:] == [expected]


def test_a_closed_pipe_is_no_error_message() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "anyrestore", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_every_verb_has_debug() -> None:
    for action in build_parser()._actions:
        for parser in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            assert "--debug" in parser.format_help()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name.png", "plain name.png"),
        ("new\nline\ttab\x1b[31m", r"new\nline\ttab\x1b[31m"),
        ("caf\u00e9", "caf\u00e9"),
        ("bad\udcff", r"bad\udcff"),
    ],
)
def test_names_are_escaped(text: str, expected: str) -> None:
    assert terminal.escape(text) == expected
