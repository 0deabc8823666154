"""Small clips, made with PyAV alone; sizes of some dozens of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

IRREGULAR = (0, 3003, 6006, 9100, 12012, 15015, 20000, 23000, 26000, 30000)
"""Time stamps of a variable frame rate, in 1/90000 s."""


def pictures(count: int, width: int = 48, height: int = 32, *, seed: int = 0) -> list[np.ndarray]:
    """Smooth colours that move, 8 bits."""
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).random(3) * 6
    return [
        np.stack([np.sin((x + 2 * i) / 9 + phase[c]) * np.cos(y / (7 + c)) for c in range(3)], -1) * 90 + 128
        for i in range(count)
    ]


def write(
    path: Path,
    *,
    times: Sequence[int] = IRREGULAR,
    base: Fraction = Fraction(1, 90000),
    size: tuple[int, int] = (48, 32),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    colours: tuple[int, int, int, int] = (1, 1, 1, 1),
    aspect: Fraction | None = None,
    rotation: int = 0,
    sound: bool = False,
    subtitles: bool = False,
    chapters: bool = False,
    metadata: dict[str, str] | None = None,
    frames: Sequence[np.ndarray] | None = None,
    muxing: dict[str, str] | None = None,
    interlaced: bool = False,
) -> Path:
    """A clip; colours are range, primaries, transfer and matrix."""
    with av.open(str(path), "w", options=muxing or {}) as output:
        stream: Any = output.add_stream(codec, rate=Fraction(30000, 1001), options=options or {})
        stream.width, stream.height = size
        context = stream.codec_context
        context.pix_fmt, context.max_b_frames = pixels, 0
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = colours
        context.time_base = base
        stream.time_base = base
        if interlaced:
            context.flags |= av.codec.context.Flags.interlaced_dct
        if aspect is not None:
            context.sample_aspect_ratio = stream.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        stream.metadata["language"] = "deu"
        others = _others(output, sound=sound, subtitles=subtitles)
        output.metadata.update(metadata or {})
        if chapters:
            second = Fraction(1, 1000)
            output.set_chapters(
                [
                    {
                        "id": i,
                        "start": i * 100,
                        "end": i * 100 + 100,
                        "time_base": second,
                        "metadata": {"title": f"part {i}"},
                    }
                    for i in (0, 1)
                ]
            )
        for picture, time in zip(frames or pictures(len(times), *size), times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            frame = frame.reformat(
                format=pixels, dst_colorspace=5 if colours[3] != 1 else 1, dst_color_range=colours[0] or 1
            )
            frame.colorspace, frame.color_range = colours[3], colours[0]
            frame.color_primaries, frame.color_trc = colours[1], colours[2]
            frame.pts, frame.time_base = time, base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        for packet in others:
            output.mux(packet)
    return path


def _others(output: Any, *, sound: bool, subtitles: bool) -> list[av.Packet]:
    """Packets of a tone and of subtitles."""
    found: list[av.Packet] = []
    if sound:
        audio = output.add_stream("aac", rate=44100)
        audio.metadata["language"] = "eng"
        tone = np.sin(np.arange(1024 * 14) / 30).astype(np.float32)
        for i in range(14):
            frame = av.AudioFrame.from_ndarray(
                np.stack([tone[i * 1024 : i * 1024 + 1024]] * 2), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts = 44100, i * 1024
            found += audio.encode(frame)
        found += audio.encode()
    if subtitles:
        texts = output.add_mux_stream("subrip" if output.format.name == "matroska" else "mov_text")
        for i, words in enumerate((b"one", b"two")):
            payload = words if output.format.name == "matroska" else len(words).to_bytes(2, "big") + words
            packet = av.Packet(payload)
            packet.pts = packet.dts = i * 150
            packet.duration, packet.time_base, packet.stream = 100, Fraction(1, 1000), texts
            found.append(packet)
    return found


def stamps(path: Path) -> list[Fraction]:
    """The times of the frames, in seconds, exactly."""
    with av.open(str(path)) as clip:
        return [frame.pts * frame.time_base for frame in clip.decode(video=0)]


def decoded(path: Path) -> list[np.ndarray]:
    """All planes of all frames, without what is over at the right of a row."""
    with av.open(str(path)) as clip:
        return [
            np.concatenate([_rows(plane, frame.format.components[0].bits) for plane in frame.planes])
            for frame in clip.decode(video=0)
        ]


def _rows(plane: Any, bits: int) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)
    wide = plane.width if rows.shape[1] < 3 * plane.width else rows.shape[1]  # packed RGB
    return rows[:, :wide].ravel()


def copied(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Of every stream but the video: time, length and bytes of its packets."""
    with av.open(str(path)) as clip:
        found: dict[str, list[tuple[Any, ...]]] = {}
        for packet in clip.demux():
            if packet.size and packet.stream.type in ("audio", "subtitle"):
                found.setdefault(packet.stream.type, []).append(
                    (packet.pts * packet.time_base, packet.duration * packet.time_base, bytes(packet))
                )
        return found
