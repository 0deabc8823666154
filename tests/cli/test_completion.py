"""`anyrestore completion`: the script is sourced by a shell, which then completes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from anyrestore.cli.main import main

HARNESS = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_anyrestore 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture
def bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "photos").mkdir()
    path = tmp_path / "completion.bash"
    path.write_text(script("bash", capsys))
    return path


def completed(path: Path, *words: str) -> set[str]:
    """What bash offers behind these words, the last of which is being typed."""
    done = subprocess.run(
        ["bash", "--norc", "-c", HARNESS, "bash", str(path), "anyrestore", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=path.parent,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_verbs_options_models_and_files(bash: Path) -> None:
    assert completed(bash, "rest") == {"restore"}
    assert {"restore", "models", "completion"} <= completed(bash, "")
    assert completed(bash, "restore", "a.png", "--model", "cea-") == {"cea-t", "cea-s"}
    assert completed(bash, "restore", "--mod") == {"--model"}
    assert completed(bash, "restore", "--device", "c") == {"cpu", "cuda"}
    assert completed(bash, "restore", "photo") == {"photo.jpg", "photos"}
    assert completed(bash, "restore", "x", "--weights", "photo.") == {"photo.jpg"}
    assert completed(bash, "restore", "x", "--scratch", "photo") == {"photos"}
    assert completed(bash, "batch", "photo") == {"photos"}
    assert completed(bash, "bench", "co") == {"cost"}
    assert completed(bash, "completion", "") == {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_verbs_and_models(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert "cea-t" in text
    assert "restore" in text
    assert text.count("_anyrestore_models_or_files") >= 2  # it is made, and used


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_whole(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shell itself reads the script, where it is installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script(shell, capsys))
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_an_unknown_shell_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "cmd"]) == 2
    assert "bash" in capsys.readouterr().err
