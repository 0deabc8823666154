"""What a worker does by itself: it ends with its engine, and tells what fails; what passes between them."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore import image
from anyrestore.errors import InputError, ModelError, UsageError
from anyrestore.image import Picture
from anyrestore.server import worker
from anyrestore.server.pipes import Setup, Wanted, read_data, read_line, to_line, understand_error
from anyrestore.text.encoder import is_installed
from anyrestore.zoo import save_weights
from tiny_models import make
from told_network import told_network

GREY = Picture(pixels=np.full((40, 30, 3), 90, np.uint8))


def setup(*models: str, memory: int = 700 * 2**20) -> Setup:
    return Setup(
        models=models, device="cpu", threads=None, memory=memory, scratch=False, max_pixels=10_000_000
    )


def wanted(**about: Any) -> Wanted:
    plain = {"id": 1, "size": 0, "model": "tiny", "instruction": None, "format": None, "wish": "restore"}
    return Wanted(**plain | about)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(make("tiny"), path)
    return str(path)


def test_it_ends_when_its_engine_does_whatever_it_is_doing() -> None:
    """Nobody can tell it: the engine was killed, and its end of the pipe is closed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "anyrestore.server.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(to_line(vars(setup("cea-t"))))
    child.stdin.flush()
    assert "hello" in read_line(child.stdout)
    data = image.encode(Picture(pixels=np.full((1500, 1500, 3), 90, np.uint8)), "png")
    child.stdin.write(to_line({"orders": [vars(wanted(size=len(data), model="cea-t"))]}) + data)
    child.stdin.flush()
    assert read_line(child.stdout)["share"] > 0  # it is at work
    started = time.monotonic()
    child.stdin.close()
    child.wait(10)
    assert time.monotonic() - started < 1.5
    child.stdout.close()


@pytest.mark.parametrize(
    ("models", "kind", "code"),
    [(("nothing-like-it",), ModelError, "unknown_model"), (("cea-t", "cea-t"), UsageError, "usage")],
)
def test_models_that_cannot_be_had(models: tuple[str, ...], kind: type[Exception], code: str) -> None:
    with pytest.raises(kind) as caught:
        worker.Bench(setup(*models))
    assert getattr(caught.value, "code", None) == code


def test_a_format_for_which_there_is_no_room_is_refused_before_the_work(weights: str) -> None:
    bench = worker.Bench(setup(weights))
    large = Picture(pixels=np.broadcast_to(np.uint8(0), (4000, 5000, 3)))
    for kind in ("png", "tiff", "jpeg", "webp"):
        bench.check_encoding(large, kind)
    with pytest.raises(InputError, match="AVIF") as caught:
        bench.check_encoding(large, "avif")
    assert caught.value.code == "memory_limit"


def test_a_limit_that_leaves_nothing_refuses_with_the_number(weights: str) -> None:
    bench = worker.Bench(setup(weights, memory=262 * 2**20))
    with pytest.raises(InputError, match="expected a memory limit that leaves") as caught:
        bench.restorer(wanted(), GREY, lambda _done, _total: None)(GREY)
    assert caught.value.code == "memory_limit"


@pytest.mark.skipif(not is_installed(), reason='needs the extra "text"')
def test_what_it_is_told_in_words_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(told_network(), tmp_path / "told.safetensors")
    bench = worker.Bench(setup(str(tmp_path / "told.safetensors")))
    (offer,) = bench.offers()
    assert (offer.name, offer.takes_instruction, offer.can_look) == ("told", True, False)
    monkeypatch.setattr("anyrestore.text.instructions.load_encoder", None)  # once, not for every order
    noisy = Picture(pixels=np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
    results = [
        bench.restorer(wanted(model="told", instruction=words), noisy, lambda _done, _total: None)(noisy)
        for words in ("remove the rain", "it is too dark", "remove the rain")
    ]
    assert np.array_equal(results[0].pixels, results[2].pixels)
    assert not np.array_equal(results[0].pixels, results[1].pixels)
    with pytest.raises(UsageError, match="no routing"):
        bench.look(wanted(model="told", wish="look"), noisy)


def test_what_was_not_foreseen_is_told_without_details(
    weights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent(worker.Inbox):
        def __init__(self) -> None:
            self._dropped = set()

    def fail(*_: object, **__: object) -> None:
        raise OSError("/root/secret is not there")

    sent = list[dict[str, Any]]()
    monkeypatch.setattr(worker.image, "encode", fail)
    data = image.writing.encode(GREY, "png")
    task = worker._Task(wanted(), data, Silent(), lambda message, _data=b"": sent.append(message))
    worker.work(worker.Bench(setup(weights)), [task])
    (message,) = [one for one in sent if "error" in one]
    assert understand_error(message["error"]).code == "internal"
    assert "secret" not in json.dumps(sent)
    assert "secret" in capsys.readouterr().err  # for who runs the service


@pytest.mark.parametrize(
    "said", [b"", b"[1]\n", b"{}", b"\x80\x04.\n", b"{" * 70_000 + b"\n", b'{"a": ' * 9000 + b"\n", b"1\n"]
)
def test_what_is_no_line_is_not_understood(said: bytes, tmp_path: Path) -> None:
    (tmp_path / "said").write_bytes(said)
    with (tmp_path / "said").open("rb") as stream, pytest.raises((EOFError, ValueError, RecursionError)):
        read_line(stream, 2**16)


@pytest.mark.parametrize("size", [-1, 11, 2**60, "3", None, 2.0, 5])
def test_no_more_is_read_than_may_come(size: object, tmp_path: Path) -> None:
    (tmp_path / "said").write_bytes(b"1234567")
    with (tmp_path / "said").open("rb") as stream:
        assert read_data(stream, 3, 10) == b"123"
        with pytest.raises((EOFError, ValueError)):
            read_data(stream, size, 10)


def test_orders_that_were_dropped_are_forgotten_when_their_turn_is_over() -> None:
    ours, theirs = os.pipe()
    ended = threading.Event()
    with os.fdopen(ours, "rb") as reading:
        inbox = worker.Inbox(reading, ended.set)
        with os.fdopen(theirs, "wb") as writing:
            writing.write(to_line({"drop": 3}) + to_line({"drop": 9}))
            writing.write(to_line({"orders": [vars(wanted(id=7, size=2))]}) + b"ab")
            writing.flush()
            assert [(one.id, data) for one, data in inbox.next()] == [(7, b"ab")]
            inbox.check(3)
            with pytest.raises(worker._DroppedError):
                inbox.check(9)
            assert not ended.is_set()
        assert ended.wait(5)
