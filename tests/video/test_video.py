"""A video there and back with a model that changes nothing: everything else is as it was."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import clips
import numpy as np
import pytest
import torch
from torch import Tensor

from anyrestore import video
from anyrestore.errors import InputError, OutputError, UsageError
from anyrestore.video import Options
from anyrestore.video.encoding import Encoding, configure

MILLI = Fraction(1, 1000)


def same(images: Tensor) -> Tensor:
    return images


def psnr(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    error = np.mean([(a.astype(float) - b) ** 2 for a, b in zip(before, after, strict=True)])
    top = 255 if before[0].dtype == np.uint8 else 1023
    return float(10 * np.log10(top**2 / error)) if error else float("inf")


def labels(path: Path) -> tuple[object, ...]:
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        frame = next(clip.decode(stream))
        colours = (frame.color_range, frame.color_primaries, frame.color_trc, frame.colorspace)
        metadata = stream.metadata.get("language"), clip.metadata.get("title"), clip.metadata.get("TITLE")
        return colours, frame.rotation, stream.sample_aspect_ratio, metadata, clip.chapters()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_frames_times_sound_and_subtitles_are_kept(tmp_path: Path, suffix: str) -> None:
    grid: dict[str, Any] = {"base": MILLI, "times": range(5, 405, 40)} if suffix == ".mkv" else {}
    source = clips.write(
        tmp_path / f"a{suffix}",
        sound=True,
        subtitles=True,
        chapters=True,
        aspect=Fraction(4, 3),
        rotation=90,
        metadata={"title": "a title"},
        **grid,
    )
    made = video.restore(source, tmp_path / f"b{suffix}", same)
    assert (made.frames, made.width, made.height, made.codec) == (10, 48, 32, "libx264")
    assert made.warnings == ()
    assert clips.stamps(tmp_path / f"b{suffix}") == clips.stamps(source)
    assert clips.copied(tmp_path / f"b{suffix}") == clips.copied(source)
    assert {kind: len(found) > 1 for kind, found in clips.copied(source).items()} == {
        "audio": True,
        "subtitle": True,
    }
    assert labels(tmp_path / f"b{suffix}") == labels(source)
    assert labels(source)[1:3] == (90, Fraction(4, 3))
    assert psnr(clips.decoded(source), clips.decoded(tmp_path / f"b{suffix}")) > 45
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("a.mkv", {"codec": "ffv1", "colours": (2, 1, 1, 1)}),
        ("a.mkv", {"codec": "ffv1", "colours": (1, 5, 6, 5)}),
        ("a.mkv", {"codec": "ffv1", "pixels": "yuv420p10le", "colours": (1, 9, 14, 9)}),
        (
            "a.mkv",
            {"codec": "libx264rgb", "pixels": "bgr24", "options": {"qp": "0"}, "colours": (0, 2, 2, 2)},
        ),
        ("a.mkv", {"options": {"qp": "0"}, "pixels": "yuv444p"}),
    ],
)
def test_without_loss_every_value_is_kept(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    source = clips.write(
        tmp_path / name,
        base=MILLI,
        times=range(0, 400, 40),
        size=(45, 31) if "ffv1" in str(changes) else (48, 32),
        **changes,
    )
    lossless = None if changes.get("codec") == "ffv1" else 0
    video.restore(source, tmp_path / f"b-{name}", same, Options(crf=lossless))
    assert psnr(clips.decoded(source), clips.decoded(tmp_path / f"b-{name}")) == float("inf")
    assert labels(tmp_path / f"b-{name}") == labels(source)


@pytest.mark.parametrize(
    ("name", "changes", "codec"),
    [
        (
            "a.mp4",
            {
                "codec": "libx265",
                "pixels": "yuv420p10le",
                "options": {"x265-params": "log-level=none"},
                "size": (64, 48),
            },
            "libx265",
        ),
        ("a.webm", {"codec": "libvpx-vp9", "base": MILLI, "times": range(0, 400, 40)}, "libvpx-vp9"),
        ("a.avi", {"codec": "mpeg4", "base": Fraction(1, 25), "times": range(10)}, "mpeg4"),
        ("a.mov", {"codec": "prores_ks", "pixels": "yuv422p10le"}, "prores_ks"),
        ("a.ts", {"sound": True}, "libx264"),
        ("a.nut", {"sound": True}, "libx264"),
        ("a.mp4", {"times": [90_000 + time for time in clips.IRREGULAR]}, "libx264"),
    ],
)
def test_containers_and_codecs(tmp_path: Path, name: str, changes: dict[str, Any], codec: str) -> None:
    source, target = clips.write(tmp_path / name, **changes), tmp_path / f"b{Path(name).suffix}"
    made = video.restore(source, target, same)
    assert (made.codec, made.warnings) == (codec, ())
    assert clips.stamps(target) == clips.stamps(source)
    assert clips.copied(target) == clips.copied(source)
    with av.open(str(source)) as a, av.open(str(target)) as b:
        assert next(a.decode(video=0)).format.name == next(b.decode(video=0)).format.name
    assert psnr(clips.decoded(source), clips.decoded(target)) > 40


def test_frames_are_changed_as_the_model_says(tmp_path: Path) -> None:
    source = clips.write(tmp_path / "a.mp4")
    video.restore(source, tmp_path / "b.mp4", lambda images: 1 - images)
    for one, other in zip(clips.decoded(source), clips.decoded(tmp_path / "b.mp4"), strict=True):
        luma = one[: 48 * 32].astype(int) + other[: 48 * 32]
        assert abs(np.median(luma) - (16 + 235)) <= 1


def test_where_it_was_taken_is_left_out(tmp_path: Path) -> None:
    places = {"location": "+52.5+013.4/", "com.apple.quicktime.location.ISO6709": "+52.5+013.4/"}
    kept = {"title": "x", "com.apple.quicktime.make": "maker"}
    source = clips.write(tmp_path / "a.mp4", metadata=places | kept, muxing={"movflags": "use_metadata_tags"})
    assert b"+52.5" in source.read_bytes()
    video.restore(source, tmp_path / "b.mp4", same)
    assert b"+52.5" not in (tmp_path / "b.mp4").read_bytes()
    video.restore(source, tmp_path / "c.mp4", same, Options(keep_gps=True))
    for name, gone in (("b.mp4", True), ("c.mp4", False)):
        with av.open(str(tmp_path / name)) as clip:
            assert kept.items() <= clip.metadata.items()
            assert ("com.apple.quicktime.location.ISO6709" not in clip.metadata) == gone


def test_ten_bits_become_eight_only_with_a_word(tmp_path: Path) -> None:
    source = clips.write(
        tmp_path / "a.mkv", codec="ffv1", pixels="yuv420p10le", base=MILLI, times=range(0, 400, 40)
    )
    made = video.restore(source, tmp_path / "b.mkv", same, Options(codec="mpeg4"))
    assert "10 bits a value become 8" in " ".join(made.warnings)


def test_times_that_the_container_cannot_say_are_told(tmp_path: Path) -> None:
    made = video.restore(clips.write(tmp_path / "a.mp4"), tmp_path / "b.mkv", same)
    assert "time stamps are changed by up to 0.467 ms" in " ".join(made.warnings)


def test_interlaced_and_hdr_are_told(tmp_path: Path) -> None:
    source = clips.write(tmp_path / "a.mp4", interlaced=True, size=(64, 64), colours=(1, 9, 16, 9))
    made = video.restore(source, tmp_path / "b.mp4", same)
    assert "interlaced" in made.warnings[0]
    assert "HDR (PQ)" in made.warnings[1]
    with av.open(str(tmp_path / "b.mp4")) as clip:
        assert next(clip.decode(video=0)).interlaced_frame


def test_only_its_own_kind_of_file_is_written(tmp_path: Path) -> None:
    source = clips.write(tmp_path / "a.mkv", base=MILLI, times=range(0, 400, 40), subtitles=True)
    cases: list[tuple[str, Options, str, type[Exception]]] = [
        ("b.mp4", Options(), "format_cannot_hold", UsageError),  # SubRip in MP4
        ("b.xyz", Options(), "usage", UsageError),
        ("a.mkv", Options(overwrite=True), "usage", UsageError),
        ("b.mkv", Options(codec="nothing"), "usage", UsageError),
        ("b.mkv", Options(codec="ffv1", crf=3), "usage", UsageError),
        ("b.mkv", Options(smooth=0.5), "usage", UsageError),
        ("none/b.mkv", Options(), "output_unwritable", OutputError),
    ]
    before = source.read_bytes()
    for name, options, code, kind in cases:
        with pytest.raises(kind) as caught:
            video.restore(source, tmp_path / name, same, options)
        assert caught.value.code == code, name  # type: ignore[attr-defined] # every one of them has a code
    (tmp_path / "b.mkv").write_bytes(b"old")
    with pytest.raises(OutputError):
        video.restore(source, tmp_path / "b.mkv", same)
    assert (tmp_path / "b.mkv").read_bytes() == b"old"
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "b.mkv"]


def test_alpha_without_an_encoder_is_refused(tmp_path: Path) -> None:
    source = clips.write(
        tmp_path / "a.mkv", codec="ffv1", pixels="yuva420p", base=MILLI, times=range(0, 400, 40)
    )
    with pytest.raises(UsageError) as caught:
        video.restore(source, tmp_path / "b.mkv", same, Options(codec="libx264"))
    assert caught.value.code == "format_cannot_hold"
    video.restore(source, tmp_path / "b.mkv", same)
    assert psnr(clips.decoded(source), clips.decoded(tmp_path / "b.mkv")) == float("inf")


def test_a_model_that_changes_the_size_is_told(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="size"):
        video.restore(clips.write(tmp_path / "a.mp4"), tmp_path / "b.mp4", lambda images: images[..., ::2])


def test_options_out_of_range() -> None:
    for wrong in ({"smooth": 1.5}, {"crf": 64}, {"max_pixels": 0}):
        with pytest.raises(UsageError):
            Options(**wrong)  # type: ignore[arg-type] # values of every option


def test_frames_on_a_gpu_go_in_batches(tmp_path: Path) -> None:
    class Gpu:
        device = torch.device("cuda")

        def __init__(self) -> None:
            self.seen = list[int]()

        def __call__(self, images: Tensor) -> Tensor:
            self.seen.append(len(images))
            return images

    restorer = Gpu()
    video.restore(clips.write(tmp_path / "a.mp4", times=range(0, 60_000, 3000)), tmp_path / "b.mp4", restorer)
    assert restorer.seen == [16, 4]


def test_too_large_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        video.restore(
            clips.write(tmp_path / "a.mp4"), tmp_path / "b.mp4", same, Options(max_pixels=48 * 32 - 1)
        )
    assert caught.value.code == "too_many_pixels"


@pytest.mark.parametrize("codec", ["libx264", "libx264rgb"])
def test_x264_looks_ahead_without_a_thread(codec: str) -> None:
    """With one, about one encoding of a thousand comes out otherwise: too seldom to be met here."""
    context = cast("av.VideoCodecContext", av.CodecContext.create(codec, "w"))
    encoding = Encoding(
        codec=codec,
        format="yuv420p" if codec == "libx264" else "rgb24",
        crf=16,
        width=48,
        height=32,
        rate=(25, 1),
        aspect=None,
        colours=(1, 1, 1, 1),
        interlaced=0,
        in_header=True,
    )
    configure(context, encoding)
    assert "sync-lookahead=0" in context.options["x264-params"]
