"""The finished file: new packets of the restored stream, the source's packets of all others, and metadata.

What cannot be held is found out by a rehearsal, before any work. What was written is taken apart again, and
its time stamps compared with the source's.
"""

# PyAV's own types leave keyword arguments and the streams of packets open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import errno
import io
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from anyrestore.errors import OutputError, UsageError
from anyrestore.storage import shown
from anyrestore.video.av import FFmpegError, OutputContainer, SideData, av
from anyrestore.video.encoding import Encoding, configure
from anyrestore.video.pieces import Piece
from anyrestore.video.reading import Clip, open_container, reason
from anyrestore.video.recognition import SUFFIXES

_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
"""Keys that say how the file was written; the new one has its own."""
_PLACES = ("location", "gps", "xyz", "geo")
"""Parts of the keys that say where it was taken."""
_MAY_HOLD_PLACES = (None, "none", "bin_data", "klv")
"""Data streams of cameras (GoPro, Sony, Android, drones): positions are among what they hold."""
_DISPLAY_MATRIX = SideData.DISPLAYMATRIX


def muxer_of(target: Path) -> str:
    """The muxer that a file's suffix names.

    Raises:
        UsageError: it names none.
    """
    name = SUFFIXES.get(target.suffix.lower())
    if name is None:
        raise UsageError(f"{target} ends in {target.suffix!r}; expected one of {', '.join(SUFFIXES)}")
    return name


class Film:
    """How a clip's streams lie in the new file.

    Args:
        clip: the source.
        target: the file to be made.
        encoding: of the restored stream.
        keep_gps: whether what may say where it was taken is kept.
    """

    def __init__(self, clip: Clip, target: Path, encoding: Encoding, *, keep_gps: bool) -> None:
        self.clip = clip
        self.encoding = encoding
        self.keep_gps = keep_gps
        self.target = target
        self.muxer = muxer_of(target)
        self.left_out: list[str] = []
        self.copied = [stream for stream in clip.others if self._is_copied(stream)]

    def rehearse(self) -> None:
        """Lay the streams out in memory.

        Raises:
            UsageError: the container cannot hold one of them (code `format_cannot_hold`).
        """
        output = av.open(io.BytesIO(), "w", format=self.muxer)
        try:
            self._lay_out(output)
            output.start_encoding()
        except (FFmpegError, ValueError) as error:
            raise UsageError(
                f"{shown(self.target)} cannot hold what is in {self.clip.name}: {reason(error)}; give "
                "the result the suffix of the source, or .mkv",
                code="format_cannot_hold",
            ) from error

    def write(self, pieces: Iterable[Piece], path: Path) -> None:
        """Put the file together at `path`.

        Raises:
            OutputError: it could not be written.
        """
        try:
            with (
                path.open("wb+") as file,
                av.open(file, "w", format=self.muxer, options=self._options()) as output,
            ):
                video, others = self._lay_out(output)
                for packet in _by_time(self._restored(pieces, video), self._rest(others)):
                    output.mux_one(packet)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise OutputError(
                f"{shown(self.target)} could not be written: {reason(error)}",
                code="disk_full" if full else "output_storage",
            ) from error
        except FFmpegError as error:
            raise OutputError(
                f"{shown(self.target)} could not be put together: {reason(error)}", code="output_encoding"
            ) from error

    def check(self, path: Path, times: list[int]) -> str | None:
        """Take the file apart again; a sentence if its container could not keep the time stamps exactly.

        Args:
            path: the finished file.
            times: the source's time stamps.

        Raises:
            OutputError: it does not hold as many frames (code `output_encoding`).
        """
        base = cast("Fraction", self.clip.stream.time_base)
        with open_container(path, shown(self.target)) as found:
            stream = next(s for s in found.streams.video if not s.disposition & 0x400)
            stamps = sorted(p.pts for p in found.demux(stream) if p.pts is not None and p.size)
            grid = cast("Fraction", stream.time_base)
        if len(stamps) != len(times):
            raise OutputError(
                f"{shown(self.target)}: {len(times)} frames were written, {len(stamps)} are read again; "
                "choose another container",
                code="output_encoding",
            )
        largest = max(abs(new * grid - old * base) for new, old in zip(stamps, times, strict=True))
        if not largest:
            return None
        return (
            f"time stamps are changed by up to {float(largest) * 1000:.3g} ms: {self.target.suffix} "
            "cannot say them exactly; use the source's container"
        )

    def _is_copied(self, stream: Any) -> bool:
        """Whether a stream goes into the new file. Chapters that are one are written anew."""
        if stream.type != "data":
            return True
        own = stream.name in _MAY_HOLD_PLACES
        if own and self.clip.container.chapters() and "mov" in self.clip.container.format.name:
            return False
        if own and not self.keep_gps:
            self.left_out.append(
                f"its data stream {stream.index} may tell where it was taken: left out; --keep-gps keeps it"
            )
            return False
        return True

    def _options(self) -> dict[str, str]:
        # Without it MP4 keeps only the handful of keys that iTunes knows.
        dotted = any("." in key for key in self._told(self.clip.container.metadata))
        return {"movflags": "use_metadata_tags"} if dotted and self.muxer in ("mp4", "mov") else {}

    def _told(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """Metadata without what is the file's own, and without places."""
        return {
            key: value
            for key, value in metadata.items()
            if key.lower() not in _OF_THE_FILE
            and (self.keep_gps or not any(part in key.lower() for part in _PLACES))
        }

    def _lay_out(self, output: OutputContainer) -> tuple[av.VideoStream, dict[int, Any]]:
        """Streams in the source's order, metadata, chapters."""
        clip, video, others = self.clip, None, dict[int, Any]()
        for stream in clip.container.streams:
            if stream.index == clip.stream.index:
                new = video = self._add_restored(output)
            elif stream in self.copied:
                opaque = None if stream.type in ("data", "attachment") else True
                new = others[stream.index] = output.add_stream_from_template(stream, opaque=opaque)
                if stream.type == "data":
                    new.time_base = stream.time_base
            else:
                continue
            new.metadata.update(self._told(stream.metadata))
            new.disposition = stream.disposition
        output.metadata.update(self._told(clip.container.metadata))
        chapters = clip.container.chapters()
        for chapter in chapters:
            chapter["metadata"] = self._told(chapter["metadata"])
        if chapters:
            output.set_chapters(chapters)
        return cast("av.VideoStream", video), others

    def _add_restored(self, output: OutputContainer) -> av.VideoStream:
        stream = cast("av.VideoStream", output.add_stream(self.encoding.codec, Fraction(*self.encoding.rate)))
        configure(stream.codec_context, self.encoding)
        stream.time_base = self.clip.stream.time_base
        if self.encoding.aspect is not None:
            stream.sample_aspect_ratio = Fraction(*self.encoding.aspect)
        for side in cast("Iterable[Any]", self.clip.first.side_data):
            if side.type == _DISPLAY_MATRIX:
                stream.set_display_matrix(list(memoryview(bytes(side)).cast("i")))
        return stream

    def _restored(self, pieces: Iterable[Piece], stream: av.VideoStream) -> Iterator[av.Packet[Any]]:
        base = cast("Fraction", self.clip.stream.time_base)
        for piece in pieces:
            for data, key, time, length in zip(
                piece.packets.data, piece.packets.keys, piece.times, piece.lengths, strict=True
            ):
                packet = av.Packet(data)
                packet.pts = packet.dts = time
                packet.duration = length
                packet.time_base = base
                packet.is_keyframe = key
                packet.stream = stream
                yield packet

    def _rest(self, others: Mapping[int, Any]) -> Iterator[av.Packet[Any]]:
        """The packets of the streams that are copied."""
        if not others:
            return
        with open_container(self.clip.path, self.clip.name) as again:
            for packet in again.demux([again.streams[index] for index in others]):
                if packet.dts is None and packet.size == 0:  # the end of a stream
                    continue
                packet.stream = others[packet.stream_index]
                yield packet


def _by_time(one: Iterator[av.Packet[Any]], other: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
    """Both, each in its order, such that neither runs ahead of the other."""
    waiting = next(one, None)
    for packet in other:
        moment = _moment(packet)
        while waiting is not None and moment is not None and cast("Fraction", _moment(waiting)) <= moment:
            yield waiting
            waiting = next(one, None)
        yield packet
    if waiting is not None:
        yield waiting
    yield from one


def _moment(packet: av.Packet[Any]) -> Fraction | None:
    stamp = packet.pts if packet.dts is None else packet.dts
    return None if stamp is None else stamp * packet.time_base
