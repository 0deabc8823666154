"""Which files are videos: by their first bytes, and nothing else is opened as one.

The answer is the name of one FFmpeg demuxer. No other one is tried, so that playlists, which name further
files and addresses, are never followed.
"""

from __future__ import annotations

from pathlib import Path

SUFFIXES = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".nut": "nut",
}
"""Suffixes of videos, and which muxer writes them."""

_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")


def recognise(path: Path) -> str | None:
    """The demuxer for a file; None if it is not a video of a known kind, or cannot be read."""
    if not path.is_file():  # a FIFO would wait for ever
        return None
    try:
        with path.open("rb") as file:
            start = file.read(400)
    except OSError:
        return None
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        still = start[4:8] == b"ftyp" and start[8:12] in _STILL_BRANDS
        return None if still else "mov"
    known = {
        b"\x1a\x45\xdf\xa3": "matroska",
        b"nut/multimedia container\0": "nut",
        b"\0\0\x01\xba": "mpeg",
    }
    for signature, name in known.items():
        if start.startswith(signature):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    # Packets of 188 bytes, with a time code before each on discs, begin with 0x47.
    for offset, length in ((0, 188), (4, 192)):
        if len(start) >= offset + length + 1 and {start[offset], start[offset + length]} == {0x47}:
            return "mpegts"
    return None
