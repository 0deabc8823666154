"""Videos: frames restored one by one, everything else kept as it was.

PyAV (FFmpeg's libraries) takes files apart and puts them together; it is the extra ``video``, and is not
imported before a video is restored. Promises:

* **Time stamps are kept exactly**, variable frame rates too; the result is read again before it is named.
* **Sound, subtitles, data, chapters and attachments** are copied packet by packet.
* **Colour is kept.** Frames go to RGB and back by their own matrix, range and depth, in floats, so that a
  model that changes nothing changes no value; see :mod:`anyrestore.video.colour`.
* **Privacy.** Where it was taken leaves the metadata, unless it is asked for.
* **A file is either old or new**, and a long job goes on where it was stopped: finished pieces lie in a
  folder beside the target, see :mod:`anyrestore.video.pieces`.

| file | what lives there |
|---|---|
| `recognition.py` | which files are videos, by their first bytes |
| `reading.py` | a video opened; its frames, checked, in order |
| `colour.py` | a frame to a tensor and back |
| `encoding.py` | which encoder, how it is set, frames to packets |
| `pieces.py` | the folder of an unfinished job |
| `muxing.py` | the finished file: packets of all streams, metadata |
| `smoothing.py` | the hyper-adapter's factors, smoothed over time |
| `restoring.py` | all of it in order |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from anyrestore.video.options import Options, Outcome
from anyrestore.video.recognition import SUFFIXES, recognise

__all__ = ["SUFFIXES", "Options", "Outcome", "recognise", "restore"]


def restore(
    source: str | Path,
    target: str | Path,
    restorer: Callable[[Tensor], Tensor],
    options: Options | None = None,
    *,
    advance: Callable[[int, int | None], None] | None = None,
) -> Outcome:
    """Restore the frames of a video; everything else in it is copied.

    Args:
        source: the video.
        target: the file to be made; its suffix chooses the container.
        restorer: usually a `Restorer`; takes and gives RGB floats (b 3 h w), nominally in [0, 1].
        options: what is chosen; None for the defaults.
        advance: told after every piece of work how many frames are done, and of how many (None: not known).

    Returns:
        What was made, with warnings.

    Raises:
        UsageError: names or options that do not work; ``no_video`` if PyAV is not installed;
            ``format_cannot_hold`` if the container of the target cannot hold a stream of the source.
        InputError: the source cannot be read to its end, or holds what is not supported; codes as for
            pictures, and ``no_frames``.
        OutputError: the target could not be stored.
    """
    from anyrestore.video.restoring import run  # noqa: PLC0415 (PyAV is an extra)

    return run(Path(source), Path(target), restorer, options or Options(), advance or _nobody)


def _nobody(_done: int, _of: int | None) -> None:
    """Who is told when nobody asked."""
