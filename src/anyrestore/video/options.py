"""What is chosen for a video, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from anyrestore.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a caller chooses.

    Attributes:
        overwrite: whether the result may replace a file.
        resume: go on with what an interrupted job has left; otherwise that is thrown away.
        smooth: 0 (off) to 1: the share of the frames before in the hyper-adapter's factors.
        keep_gps: keep the place where it was taken.
        codec: name of an encoder of FFmpeg's; None for that of the source's codec, else libx264.
        crf: the encoder's quality, 0 the best; None for a default that is hard to tell from the original.
        max_pixels: of a frame, the most to accept.
        settings: anything else that changes the result, as text; a job with another text is not resumed.

    Raises:
        UsageError: a value is out of its range.
    """

    overwrite: bool = False
    resume: bool = False
    smooth: float = 0.0
    keep_gps: bool = False
    codec: str | None = None
    crf: int | None = None
    max_pixels: int = 100_000_000
    settings: str = ""

    def __post_init__(self) -> None:
        """Refuse what no job can be done with."""
        if not 0 <= self.smooth <= 1:
            raise UsageError(f"smooth: expected 0 (off) to 1, got {self.smooth}")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise UsageError(f"crf: expected 0 (best) to 63, got {self.crf}")
        if self.max_pixels < 1:
            raise UsageError(f"max_pixels: expected at least 1, got {self.max_pixels}")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was made: frames, of which some may have been kept from before, their size, the encoder."""

    frames: int
    kept: int
    width: int
    height: int
    codec: str
    warnings: tuple[str, ...] = ()
