"""Broken and unusual files: refused in one sentence, with a code, and nothing is left."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
import clips
import numpy as np
import pytest
from torch import Tensor

from anyrestore import video
from anyrestore.errors import AnyRestoreError, InputError
from anyrestore.video.recognition import recognise


def same(images: Tensor) -> Tensor:
    return images


def refused(source: Path, tmp_path: Path) -> str:
    """The code with which it is refused; nothing but the source is left, or the folder of finished pieces."""
    with pytest.raises(AnyRestoreError) as caught:
        video.restore(source, tmp_path / "out.mp4", same)
    assert isinstance(caught.value, InputError)
    assert not (tmp_path / "out.mp4").exists()
    assert str(caught.value).count("\n") == 0
    return caught.value.code


def test_what_is_no_video(tmp_path: Path) -> None:
    contents = {
        "empty.mp4": (b"", "empty_file"),
        "text.mp4": (b"hello, this is a text" * 30, "unsupported_format"),
        "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "unsupported_format"),
        "still.mp4": (b"\0\0\0\x20ftypavif" + b"\0" * 100, "unsupported_format"),
        "head.mp4": (b"\0\0\0\x20ftypisom" + b"\0" * 400, "corrupt"),
        "head.mkv": (b"\x1a\x45\xdf\xa3" + b"\0" * 400, "corrupt"),
    }
    for name, (content, code) in contents.items():
        (tmp_path / name).write_bytes(content)
        assert refused(tmp_path / name, tmp_path) == code, name
    assert refused(tmp_path / "none.mp4", tmp_path) == "not_found"
    (tmp_path / "folder.mp4").mkdir()
    assert refused(tmp_path / "folder.mp4", tmp_path) == "not_a_regular_file"


def test_sound_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        for packet in clips._others(output, sound=True, subtitles=False):
            output.mux(packet)
    assert refused(tmp_path / "a.mp4", tmp_path) == "no_frames"


def test_no_frames(tmp_path: Path) -> None:
    source = clips.write(tmp_path / "a.mkv", times=(), frames=(), sound=True)
    assert refused(source, tmp_path) in ("no_frames", "corrupt")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cut_file_is_never_taken_for_whole(tmp_path: Path, suffix: str) -> None:
    muxing = {"movflags": "faststart"} if suffix == ".mp4" else {}
    frames = list(np.random.default_rng(0).integers(0, 256, (60, 32, 48, 3)))
    source = clips.write(tmp_path / f"a{suffix}", times=range(0, 180_000, 3000), frames=frames, muxing=muxing)
    content = source.read_bytes()
    codes: set[str] = set()
    for share in (0.02, 0.3, 0.5, 0.8, 0.95):
        source.write_bytes(content[: int(share * len(content))])
        codes.add(refused(source, tmp_path))
    assert codes <= {"corrupt", "truncated"}


def test_a_broken_frame_ends_it_with_its_time(tmp_path: Path) -> None:
    source = clips.write(tmp_path / "a.mov", codec="mjpeg", pixels="yuvj420p", colours=(2, 2, 2, 5))
    with av.open(str(source)) as clip:
        places = [(packet.pos, packet.size) for packet in clip.demux(video=0) if packet.size]
    content = bytearray(source.read_bytes())
    start, size = places[5]
    content[start : start + size] = bytes(size)
    source.write_bytes(content)
    with pytest.raises(InputError, match=r"0\.133 s cannot be decoded|after 0\.133 s") as caught:
        video.restore(source, tmp_path / "out.mov", same)
    assert caught.value.code == "corrupt"


def test_frames_that_change_their_size(tmp_path: Path) -> None:
    parts = [clips.write(tmp_path / f"{side}.ts", size=(side, 32)) for side in (48, 64)]
    with av.open(str(parts[1])) as clip:
        late = [(bytes(p), p.pts + 40_000) for p in clip.demux(video=0) if p.size]
    with av.open(str(parts[0])) as clip, av.open(str(tmp_path / "a.ts"), "w") as output:
        stream = output.add_stream_from_template(clip.streams.video[0], opaque=True)
        early = [(bytes(p), p.pts) for p in clip.demux(video=0) if p.size]
        for data, time in early + late:
            packet = av.Packet(data)
            packet.pts = packet.dts = time
            packet.time_base, packet.stream = clip.streams.video[0].time_base, stream
            output.mux(packet)
    with pytest.raises(InputError, match="throughout") as caught:
        video.restore(tmp_path / "a.ts", tmp_path / "out.ts", same)
    assert caught.value.code == "unsupported_format"


def test_random_damage_never_surprises(tmp_path: Path) -> None:
    source = clips.write(tmp_path / "a.mp4", sound=True)
    content = source.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 5):
            damaged[place] = rng.integers(0, 256)
        source.write_bytes(damaged)
        with contextlib.suppress(AnyRestoreError):
            video.restore(source, tmp_path / "out.mp4", same, video.Options(overwrite=True))


def test_content_decides_what_is_a_video(tmp_path: Path) -> None:
    for name, demuxer in {
        "a.mp4": "mov",
        "a.mkv": "matroska",
        "a.avi": "avi",
        "a.ts": "mpegts",
        "a.nut": "nut",
    }.items():
        codec = (
            {"codec": "mpeg4", "times": range(10), "base": clips.Fraction(1, 25)} if name == "a.avi" else {}
        )
        assert recognise(clips.write(tmp_path / name, **codec)) == demuxer
    assert recognise(tmp_path) is None
