"""`anyrestore serve`: its options become settings, and what is wrong is one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anyrestore.cli.main import main
from anyrestore.server import running
from anyrestore.server.settings import Settings
from server.stub_engine import StubEngine

TOKEN = "0123456789abcdef0123"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of every service that the command would have started."""
    found = list[Settings]()

    def run(settings: Settings, app: object, engine: object, *, tell: Any) -> None:
        found.append(settings)
        tell("listening", "http://127.0.0.1:1")
        tell("ready", "http://127.0.0.1:1")

    monkeypatch.setitem(
        sys.modules, "anyrestore.server.engine", SimpleNamespace(Workers=lambda _settings: StubEngine())
    )
    monkeypatch.setattr(running, "run", run)
    monkeypatch.setattr(running, "write_log", lambda *, requests: None)
    monkeypatch.delenv("ANYRESTORE_TOKEN", raising=False)
    return found


def test_the_defaults_are_those_of_the_settings(
    started: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--no-page"]) == 0
    assert started == [Settings(page=False)]
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "http://127.0.0.1:1  ready"
    assert "loading cea-t" in out
    assert err == ""


def test_every_option_arrives(started: list[Settings], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    line = (
        f"serve --host 0.0.0.0 --port 0 --token-file {token} --allow-host a.example --allow-host b.example "
        "--cors-origin https://c.example/ --no-page --model cea-s --model cea-t --device cpu --threads 3 "
        "--workers 1 --memory 1G --queue 4 --max-bytes 200M --max-pixels 300000000 --connections 7 "
        "--timeout 8 --timeout-per-megapixel 1.5 --transfer 9 --drain 11"
    )
    assert main(line.split()) == 0
    assert started == [
        Settings(
            host="0.0.0.0",
            port=0,
            token=TOKEN,
            hosts=("a.example", "b.example"),
            origins=("https://c.example",),
            page=False,
            models=("cea-s", "cea-t"),
            device="cpu",
            threads=3,
            workers=1,
            queue=4,
            max_bytes=200 * 2**20,
            max_pixels=300_000_000,
            pixels_in_flight=300_000_000,
            bytes_in_flight=400 * 2**20,
            worker_memory=2**30,
            body_seconds=9.0,
            send_seconds=9.0,
            request_seconds=8.0,
            seconds_per_megapixel=1.5,
            drain_seconds=11.0,
            connections=7,
        )
    ]


def test_the_token_may_come_from_the_environment(
    started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setenv("ANYRESTORE_TOKEN", TOKEN)
    assert main(["serve", "--no-page", "--host", "0.0.0.0"]) == 0
    assert started[0].token == TOKEN
    assert "ANYRESTORE_TOKEN" not in os.environ  # nor do the workers have it


@pytest.mark.reliability("S19")
def test_what_is_wrong_is_one_sentence(
    started: list[Settings], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for line, words in (
        ("serve --host 0.0.0.0", "others could use the service; name a token"),
        ("serve --host ::", "others could use the service; name a token"),
        ("serve --port 65536", "expected 0 to 65535"),
        ("serve --cors-origin *", "* is not offered"),
        ("serve --cors-origin https://a.example/path", "expected one as https://example.org"),
        (f"serve --token-file {tmp_path}", "cannot be read"),
        ("serve --token abc", "cannot be read"),  # an abbreviation: no option takes the token itself
        ("serve --workers 0", "at least 1"),
    ):
        assert main(line.split()) == 2, line
        assert words in capfd.readouterr().err.replace("\n", " ")
    assert started == []


def test_what_is_not_installed_is_named() -> None:
    for missing, words in (
        ("uvicorn", "pip install 'anyrestore[serve]'"),
        ("python_multipart", "anyrestore[serve]"),
    ):
        hidden = f"import sys; sys.modules[{missing!r}] = None; from anyrestore.cli.main import main; "
        script = f"{hidden}sys.exit(main(['serve']))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_page_needs_gradio_and_the_rest_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from anyrestore.errors import UsageError

    def lacks(name: str) -> object:
        raise ModuleNotFoundError("No module named 'gradio'", name="gradio")

    monkeypatch.setattr(running, "importlib", SimpleNamespace(import_module=lacks))
    with pytest.raises(UsageError, match="--no-page") as caught:
        running.build(Settings(), StubEngine())
    assert caught.value.code == "no_server"
    running.build(Settings(page=False), StubEngine())
