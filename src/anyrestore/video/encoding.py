"""Which encoder makes the new frames, how it is set, and frames to packets.

Unusual: no B frames, so that the order of decoding is that of showing and no time stamp has to be made up in
any container; and encoders count frames, while packets get the time stamps of the source, whatever their
base.
"""

# PyAV's own types leave keyword arguments and the streams of packets open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, cast

from anyrestore.errors import OutputError, UsageError
from anyrestore.video.av import CodecFlags, FFmpegError, FormatFlags, UnknownCodecError, av
from anyrestore.video.colour import Layout, layout_of
from anyrestore.video.options import Options
from anyrestore.video.reading import Clip, reason

THREADS = 4
"""Of an encoder: some make other bytes with another number of them."""

_ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
    **{name: name for name in ("ffv1", "mpeg4", "mpeg2video", "mjpeg", "rawvideo", "huffyuv", "ffvhuff")},
}
"""Of the codecs that are kept, the encoder; others become H.264."""
_DEFAULT = ("libx264", "libvpx-vp9", "mpeg4")
"""In this order, where the source's codec has no encoder or the container does not hold it."""

_CRF = {"libx264": 16, "libx264rgb": 16, "libx265": 16, "libvpx": 8, "libvpx-vp9": 16, "libsvtav1": 16}
_QSCALE = {"mpeg4": 2, "mpeg2video": 2, "mjpeg": 2}
_LIBX264 = {"x264-params": "sync-lookahead=0"}
_OPTIONS = {
    "libx264": _LIBX264,
    "libx264rgb": _LIBX264,
    "libx265": {"x265-params": "bframes=0:log-level=none"},
    "libvpx": {"auto-alt-ref": "0"},
    "libvpx-vp9": {"auto-alt-ref": "0", "row-mt": "1"},
    "ffv1": {"level": "3"},
}
"""libx264 looks ahead in a thread otherwise, and what that sees of the last frames is a matter of luck."""
_LAMBDA = 118  # FF_QP2LAMBDA


@dataclass(frozen=True)
class Container:
    """What kind of file is made; `muxer` is FFmpeg's name."""

    muxer: str

    @property
    def in_header(self) -> bool:
        """Whether it wants a stream's header once, and not in the stream."""
        flags = av.ContainerFormat(self.muxer, "w").flags
        return bool(flags & FormatFlags.global_header.value)

    def holds(self, encoder: str) -> bool:
        """Whether it can hold what an encoder makes."""
        output = av.open(io.BytesIO(), "w", format=self.muxer)
        try:
            output.add_stream(encoder, 25)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How new frames are encoded: a value, so that an unfinished job can be told from another one."""

    codec: str
    format: str
    crf: int | None
    width: int
    height: int
    rate: tuple[int, int]
    aspect: tuple[int, int] | None
    colours: tuple[int, int, int, int]  # range, primaries, transfer, matrix
    interlaced: int  # order of the fields, FFmpeg's number; 0 for none
    in_header: bool  # whether the container wants the stream's header once, not in the stream

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def choose(clip: Clip, container: Container, options: Options, warn: list[str]) -> Encoding:
    """The encoder for a clip.

    Args:
        clip: the source.
        container: the target's.
        options: what the caller chose.
        warn: sentences are added to it.

    Raises:
        UsageError: the encoder is not there, takes no quality, or the container or the encoder cannot hold it
            (code `format_cannot_hold`).
    """
    source = clip.stream.codec_context.codec.canonical_name
    layout = layout_of(clip.first.format.name)
    codec = _codec(source, layout, container, options)
    encoder = av.Codec(codec, "w")
    pixels = _pixels(clip.first.format.name, [form.name for form in encoder.video_formats or ()])
    if pixels is None:
        raise UsageError(
            f"the encoder {codec} holds no frames of {clip.first.format.name}; choose another, such as "
            "ffv1 in .mkv",
            code="format_cannot_hold",
        )
    chosen = layout_of(pixels)
    if chosen.depth < layout.depth:
        warn.append(
            f"its {layout.depth} bits a value become {chosen.depth}: the encoder {codec} holds no more"
        )
    if chosen.block != layout.block and chosen.kind == layout.kind:
        warn.append(f"{clip.first.format.name} becomes {pixels}: the encoder {codec} does not hold it")
    if options.crf is not None and codec not in _CRF:
        raise UsageError(f"crf: the encoder {codec} has none; leave it out")
    first, rate = clip.first, clip.rate
    aspect = clip.stream.sample_aspect_ratio
    return Encoding(
        codec=codec,
        format=pixels,
        crf=_CRF.get(codec) if options.crf is None else options.crf,
        width=first.width,
        height=first.height,
        rate=(rate.numerator, rate.denominator),
        aspect=None if not aspect else (aspect.numerator, aspect.denominator),
        colours=(first.color_range, first.color_primaries, first.color_trc, first.colorspace),
        interlaced=clip.stream.codec_context.field_order if first.interlaced_frame else 0,
        in_header=container.in_header,
    )


def configure(context: av.VideoCodecContext, encoding: Encoding) -> None:
    """Set an encoder that is not open yet."""
    context.width, context.height, context.pix_fmt = encoding.width, encoding.height, encoding.format
    context.framerate = Fraction(*encoding.rate)
    context.time_base = 1 / Fraction(*encoding.rate)
    if encoding.aspect is not None:
        context.sample_aspect_ratio = Fraction(*encoding.aspect)
    context.color_range, context.color_primaries, context.color_trc, context.colorspace = encoding.colours
    context.max_b_frames = 0
    context.thread_count = THREADS
    if encoding.in_header:
        context.flags |= CodecFlags.global_header
    if encoding.interlaced:
        context.flags |= CodecFlags.interlaced_dct | CodecFlags.interlaced_me
        context.field_order = encoding.interlaced
    options = dict(_OPTIONS.get(encoding.codec, {}))
    if encoding.crf is not None:
        options["crf"] = str(encoding.crf)
    if encoding.codec in _QSCALE:
        context.flags |= CodecFlags.qscale
        context.global_quality = _QSCALE[encoding.codec] * _LAMBDA
    context.options = options


@dataclass(frozen=True)
class Packets:
    """A piece of a stream: what a decoder needs, and a packet for every frame."""

    header: bytes
    data: tuple[bytes, ...]
    keys: tuple[bool, ...]


def encode(frames: Iterable[av.VideoFrame], encoding: Encoding) -> Packets:
    """Encode frames that need no others to be decoded.

    Raises:
        OutputError: the encoder refused, or did not make one packet of every frame (code `output_encoding`).
    """
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 tells of itself on stderr otherwise
    context = cast("av.VideoCodecContext", av.CodecContext.create(encoding.codec, "w"))
    configure(context, encoding)
    found: list[av.Packet[Any]] = []
    count = 0
    try:
        for count, frame in enumerate(frames, 1):
            frame.pts, frame.time_base = count - 1, context.time_base
            found += context.encode(frame)
        found += context.encode(None)
    except (FFmpegError, ValueError) as error:
        raise OutputError(
            f"the encoder {encoding.codec} failed: {reason(error)}", code="output_encoding"
        ) from error
    if len(found) != count:
        raise OutputError(
            f"the encoder {encoding.codec} made {len(found)} packets of {count} frames",
            code="output_encoding",
        )
    return Packets(
        context.extradata or b"", tuple(bytes(p) for p in found), tuple(p.is_keyframe for p in found)
    )


def _codec(source: str, layout: Layout, container: Container, options: Options) -> str:
    if options.codec is not None:
        if not _is_encoder(options.codec):
            raise UsageError(
                f"codec: {options.codec!r} is no video encoder of this FFmpeg; try libx264 or ffv1"
            )
        return options.codec
    kept = "libx264rgb" if (source, layout.kind) == ("h264", "rgb") else _ENCODERS.get(source)
    for name in (kept, *_DEFAULT):
        if name is not None and _is_encoder(name) and container.holds(name):
            return name
    raise UsageError(
        "the target's container holds no codec that is here; use .mkv or .mp4", code="format_cannot_hold"
    )


def _is_encoder(name: str) -> bool:
    try:
        return av.Codec(name, "w").type == "video"
    except UnknownCodecError:
        return False


def _pixels(source: str, offered: list[str]) -> str | None:
    """The encoder's format that holds the source's values, or comes nearest; never one without its alpha."""
    if not offered or source in offered:
        return source
    layout = layout_of(source)
    able = [name for name in offered if _can_be_written(name) and layout_of(name).alpha >= layout.alpha]

    def distance(name: str) -> tuple[object, ...]:
        other = layout_of(name)
        lost = max(layout.depth - other.depth, 0)
        coarser = sum(max(b - a, 0) for a, b in zip(layout.block, other.block, strict=True))
        finer = sum(max(a - b, 0) for a, b in zip(layout.block, other.block, strict=True))
        unlike = (other.kind != layout.kind) + (other.kind == "grey" != layout.kind) * 9
        return unlike, other.alpha > layout.alpha, coarser, lost, finer, other.depth, "yuvj" in name

    return min(able, key=distance, default=None)


def _can_be_written(name: str) -> bool:
    """Whether frames of a format can be made here: planar ones, and RGB packed without loss."""
    packed = ("rgb24", "bgr24", "bgr0", "rgb0", "bgra", "rgba", "rgb48le", "rgba64le")
    return name in packed or Layout(name).supported
