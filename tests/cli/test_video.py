"""`anyrestore restore` with a video: one line, one sentence for what is wrong."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyrestore import image
from anyrestore.image import Picture

pytest.importorskip("av", reason="PyAV is not installed (extra video)")
sys.path.insert(0, str(Path(__file__).parents[1] / "video"))
clips = importlib.import_module("clips")


def test_a_video_becomes_a_video(command: Any, tmp_path: Path) -> None:
    source = clips.write(tmp_path / "a.mp4", sound=True)
    done = command("restore", source, "-o", tmp_path / "b.mp4", "--device", "cpu")
    assert done.code == 0
    assert done.out.startswith(f"{source} -> {tmp_path}/b.mp4  48x32  10 frames  libx264  ")
    assert done.err == "anyrestore: frames are restored one by one; what differs between them may flicker\n"
    assert clips.stamps(tmp_path / "b.mp4") == clips.stamps(source)
    assert command("restore", source, "-o", tmp_path / "b.mp4").code == 4
    assert command("restore", source, "-o", tmp_path / "b.mp4", "--overwrite", "--crf", "30").code == 0


def test_names(command: Any, tmp_path: Path) -> None:
    first, second = clips.write(tmp_path / "a.mp4"), clips.write(tmp_path / "b.mov")
    assert command("restore", first).code == 0
    assert (tmp_path / "a.restored.mp4").exists()
    assert command("restore", first, second, "-o", f"{tmp_path}/out/").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mov"]
    assert command("restore", first, second).code == 2


def test_a_video_without_a_videos_name(command: Any, tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4").rename(tmp_path / "clip")
    assert command("restore", tmp_path / "clip", "-o", tmp_path / "b.mp4").code == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--compare"], 2, "for pictures"),
        (["--quality", "80"], 2, "for pictures"),
        (["--smooth", "2"], 2, "expected 0 to 1"),
        (["--crf", "99"], 2, "0 to 63"),
        (["--smooth", "0.5"], 2, "hyper-adapter"),
        (["--video-codec", "nothing"], 2, "no video encoder"),
        (["--max-pixels", "100"], 3, "the limit is 100"),
    ],
)
def test_what_is_not_right_is_said(
    command: Any, tmp_path: Path, options: list[str], code: int, words: str
) -> None:
    done = command("restore", clips.write(tmp_path / "a.mp4"), "-o", tmp_path / "b.mp4", *options)
    assert (done.code, words in done.err) == (code, True), done.err
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize(
    "option", ["--report=r.jsonl", "--isolate=9", "--strip-metadata", "--allow-truncated", "--fix-nonfinite"]
)
def test_what_would_be_without_effect_is_refused(command: Any, tmp_path: Path, option: str) -> None:
    done = command("restore", option, clips.write(tmp_path / "a.mp4"), "-o", tmp_path / "b.mp4")
    assert (done.code, "is for pictures" in done.err) == (2, True), done.err
    assert not (tmp_path / "b.mp4").exists()


def test_one_that_fails_does_not_stop_the_others(command: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = [clips.write(tmp_path / name) for name in ("a.mp4", "c.mp4")]
    done = command("restore", good[0], tmp_path / "bad.mp4", good[1], "-o", f"{tmp_path}/out/")
    assert done.code == 1
    assert len(done.out.splitlines()) == 2
    assert f"anyrestore: {tmp_path}/bad.mp4: " in done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "c.mp4"]


def test_an_error_of_no_kind_is_one_sentence_too(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("out of the blue")

    monkeypatch.setattr("anyrestore.video.restore", fail)
    done = command("restore", clips.write(tmp_path / "a.mp4"), "-o", tmp_path / "b.mp4")
    assert (done.code, "internal error (ValueError: out of the blue)" in done.err) == (3, True)


def test_what_is_done_is_skipped_when_the_rest_is_gone_on_with(command: Any, tmp_path: Path) -> None:
    videos = [clips.write(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.mp4").write_bytes(b"done")
    for option in ("--resume", "--skip-existing"):
        (tmp_path / "out/b.mp4").unlink(missing_ok=True)
        done = command("restore", *videos, "-o", tmp_path / "out", option)
        assert (done.code, "a.mp4: skipped" in done.err, len(done.out.splitlines())) == (0, True, 1)
        assert (tmp_path / "out/a.mp4").read_bytes() == b"done"
    assert command("restore", *videos, "-o", tmp_path / "out").code == 4
    assert command("restore", *videos, "-o", tmp_path / "out", "--resume", "--overwrite").code == 0
    assert (tmp_path / "out/a.mp4").read_bytes() != b"done"


def test_another_weights_file_begins_anew(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, weights = clips.write(tmp_path / "a.mp4"), tmp_path / "head.safetensors"
    told = list[str]()

    def note(*arguments: Any, **_: object) -> None:
        told.append(arguments[3].settings)
        raise ValueError

    monkeypatch.setattr("anyrestore.video.restore", note)
    for content in (b"one", b"one", b"two"):
        weights.write_bytes(content)
        command("restore", source, "-o", tmp_path / "b.mp4", "--instruction-head", weights)
    assert told[0] == told[1] != told[2]


def test_pictures_and_videos_go_apart(command: Any, tmp_path: Path) -> None:
    image.write(Picture(pixels=np.zeros((8, 8, 3), np.uint8)), tmp_path / "a.png")
    done = command("restore", tmp_path / "a.png", clips.write(tmp_path / "a.mp4"), "-o", f"{tmp_path}/out/")
    assert (done.code, "by two commands" in done.err) == (2, True)


def test_without_pyav_it_says_what_to_install(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clips.write(tmp_path / "a.mp4")
    for name in [name for name in sys.modules if name.startswith("anyrestore.video.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)
    done = command("restore", source, "-o", tmp_path / "b.mp4")
    assert (done.code, 'pip install "anyrestore[video]"' in done.err) == (2, True)
