"""A job that is killed goes on where it stopped, and the result has the same bytes."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import clips
import pytest
import torch
from torch import Tensor, nn

import tiny_models
from anyrestore import Restorer, video
from anyrestore.backends.contract import Backed, describe
from anyrestore.errors import OutputError
from anyrestore.video import Options
from anyrestore.video.encoding import Packets
from anyrestore.video.pieces import Folder, Piece
from anyrestore.video.restoring import _fingerprint

KILLS = 100 if os.environ.get("ANYRESTORE_FULL") else 2


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyrestore.video.restoring.FRAMES", 4)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return clips.write(tmp_path / "a.mp4", times=[*clips.IRREGULAR, 33_000, 36_100], sound=True)


class StoppedError(Exception):
    """As Ctrl-C would."""


class Model:
    """Makes pictures darker, and stops in front of some frame."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.calls = stop, 0

    def __call__(self, images: Tensor) -> Tensor:
        if self.calls == self.stop:
            raise StoppedError
        self.calls += 1
        return images * 0.8


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("stop", [0, 1, 4, 9, 11])
def test_what_is_finished_is_kept(tmp_path: Path, source: Path, stop: int) -> None:
    video.restore(source, tmp_path / "whole.mp4", Model())
    with pytest.raises(StoppedError):
        video.restore(source, tmp_path / "b.mp4", Model(stop))
    assert names(tmp_path) == [".b.mp4.unfinished", "a.mp4", "whole.mp4"]
    model = Model()
    made = video.restore(source, tmp_path / "b.mp4", model, Options(resume=True))
    assert (made.kept, model.calls) == (stop // 4 * 4, 12 - stop // 4 * 4)
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert names(tmp_path) == ["a.mp4", "b.mp4", "whole.mp4"]


def test_without_resume_it_begins_anew(tmp_path: Path, source: Path) -> None:
    with pytest.raises(StoppedError):
        video.restore(source, tmp_path / "b.mp4", Model(9))
    model = Model()
    assert video.restore(source, tmp_path / "b.mp4", model).kept == 0
    assert model.calls == 12


@pytest.mark.parametrize("change", ["crf", "settings", "source", "model"])
def test_another_job_begins_anew_and_says_why(tmp_path: Path, source: Path, change: str) -> None:
    with pytest.raises(StoppedError):
        video.restore(source, tmp_path / "b.mp4", Model(9))
    options = {"crf": Options(resume=True, crf=20), "settings": Options(resume=True, settings="tile 64")}
    if change == "source":
        clips.write(source, times=[*clips.IRREGULAR, 33_000, 36_100], frames=clips.pictures(12, seed=1))
    model = (lambda images: images) if change == "model" else Model()
    made = video.restore(source, tmp_path / "b.mp4", model, options.get(change, Options(resume=True)))
    assert made.kept == 0
    named = {"crf": "encoder", "settings": "settings", "source": "source", "model": "model"}[change]
    assert any(w.startswith("begun anew") and named in w for w in made.warnings)


def test_a_graph_is_known_by_the_network_behind_it_and_by_its_card() -> None:
    def graph(network: nn.Module | None, **known: str) -> Backed:
        return Backed(lambda image: image, describe(nn.Identity(), **known), network)

    one, other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    found = [
        _fingerprint(model)
        for model in (
            *(graph(one), graph(other)),
            *(graph(None, weights_sha256="a"), graph(None, weights_sha256="b"), graph(None)),
        )
    ]
    assert len(set(found)) == len(found)
    assert _fingerprint(graph(one)) == found[0]


def test_a_damaged_piece_is_made_again(tmp_path: Path, source: Path) -> None:
    video.restore(source, tmp_path / "whole.mp4", Model())
    with pytest.raises(StoppedError):
        video.restore(source, tmp_path / "b.mp4", Model(9))
    piece = tmp_path / ".b.mp4.unfinished/000000.piece"
    piece.write_bytes(piece.read_bytes()[:-9])
    assert video.restore(source, tmp_path / "b.mp4", Model(), Options(resume=True)).kept == 4
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_piece_cut_at_every_byte_is_not_taken(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "b.mp4", {"x": 1}, resume=False)
    state = {"factor": torch.arange(3.0)}
    piece = Piece(
        packets=Packets(b"head", (b"one", b"two"), (True, False)), times=(0, 5), lengths=(5, 0), state=state
    )
    folder.store(0, piece)
    found = folder.load(0)
    assert found is not None
    assert (found.packets, found.times, found.lengths) == (piece.packets, piece.times, piece.lengths)
    assert torch.equal(found.state["factor"], state["factor"])
    file = folder.path / "000000.piece"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert folder.load(0) is None


def test_smoothing_goes_on_where_it_was(tmp_path: Path, source: Path) -> None:
    model = tiny_models.make("tiny")

    def job(stop: int | None) -> Restorer:
        restorer, calls = Restorer(model, device="cpu"), iter(range(100))
        call = restorer._tensor

        def counted(images: Tensor) -> Tensor:
            if next(calls) == stop:
                raise StoppedError
            return call(images)

        restorer._tensor = counted  # type: ignore[method-assign] # to stop between two frames
        return restorer

    smooth = Options(smooth=0.9, resume=True)
    video.restore(source, tmp_path / "whole.mp4", job(None), smooth)
    with pytest.raises(StoppedError):
        video.restore(source, tmp_path / "b.mp4", job(6), smooth)
    assert video.restore(source, tmp_path / "b.mp4", job(None), smooth).kept == 4
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize("share", [0.02, 0.15, 0.5, 0.9, 0.99])
def test_a_full_disk_leaves_nothing_under_the_name(tmp_path: Path, source: Path, share: float) -> None:
    video.restore(source, tmp_path / "whole.mp4", Model())
    whole = (tmp_path / "whole.mp4").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * len(whole)), limits[1]))
    try:
        with pytest.raises(OutputError) as caught:
            video.restore(source, tmp_path / "b.mp4", Model())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "disk_full"
    assert not (tmp_path / "b.mp4").exists()
    video.restore(source, tmp_path / "b.mp4", Model(), Options(resume=True))
    assert (tmp_path / "b.mp4").read_bytes() == whole


SLOW = """
import sys, time
from pathlib import Path
from anyrestore import video
from anyrestore.video import restoring
restoring.FRAMES = 4
def model(images):
    time.sleep(0.02)
    return images * 0.8
print("ready", flush=True)
video.restore(sys.argv[1], sys.argv[2], model, video.Options(resume=True))
"""


def test_killed_at_any_moment(tmp_path: Path, source: Path) -> None:
    def begin(target: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(source), str(target)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    with begin(tmp_path / "whole.mp4") as process:
        assert process.wait() == 0
    rng = random.Random(0)
    for _ in range(KILLS):
        target = tmp_path / "b.mp4"
        target.unlink(missing_ok=True)
        with begin(target) as process:
            time.sleep(rng.uniform(0.05, 0.8))
            process.send_signal(signal.SIGKILL)
        if not target.exists():
            with begin(target) as process:
                assert process.wait() == 0
        assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
        assert names(tmp_path) in (
            ["a.mp4", "b.mp4", "whole.mp4"],
            [".b.mp4.unfinished", "a.mp4", "b.mp4", "whole.mp4"],
        )
