"""What was measured: of one image, and of one benchmark under one protocol.

These are the only classes for it. The runner makes them, the journal keeps them while it works, a results
file holds them (`anyrestore.evaluation.results`), and tables, comparisons and pages are made from them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anyrestore.errors import DataError, UsageError
from anyrestore.evaluation.benchmarks import COLLECTIONS

__all__ = [
    "MEASURED",
    "GroupMean",
    "ImageScore",
    "Score",
    "group_means",
    "harmed",
    "least",
    "protocol_of",
    "told",
]

MEASURED = (
    *("psnr", "ssim", "input_psnr", "input_ssim", "seconds"),
    *("lpips", "input_lpips", "colour_shift", "input_colour_shift"),
)
"""The numbers of an image."""


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One image: PSNR in dB (infinite for an exact copy), SSIM, of the output and of the input.

    Attributes:
        seconds: Time in the model.
        tile: Side of the tiles in pixels; None where the image went through whole.
        lpips: LPIPS of the output; None where it was not asked for.
        input_lpips: LPIPS of the input.
        colour_shift: CIEDE2000 between the mean colours of output and target; None in results of before it
            was measured.
        input_colour_shift: The same of the input.
    """

    name: str
    height: int
    width: int
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float
    seconds: float
    tile: int | None = None
    lpips: float | None = None
    input_lpips: float | None = None
    colour_shift: float | None = None
    input_colour_shift: float | None = None

    @property
    def gain(self) -> float | None:
        """How many dB the output is better than the input; None where the input is exact."""
        return self.psnr - self.input_psnr if math.isfinite(self.input_psnr) else None

    def value(self, metric: str) -> float | None:
        """The number that is called so in `MEASURED`; None where it was not measured."""
        return getattr(self, metric)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One benchmark under one protocol: plain means of per-image values.

    Attributes:
        name: The benchmark's.
        group: The benchmark's.
        protocol: The protocol's id.
        data_sha256: Over every input and target that was measured, as float32 bytes.
        images: The per-image values, in the order in which they were measured; at least one.
        instruction: What the model was told; None where it finds out by itself.
    """

    name: str
    group: str
    protocol: str
    data_sha256: str
    images: tuple[ImageScore, ...]
    instruction: str | None = None

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.images)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured of every image."""
        return tuple(key for key in MEASURED if all(image.value(key) is not None for image in self.images))

    def values(self, metric: str) -> npt.NDArray[np.float64]:
        """(n,) a metric of every image.

        Raises:
            DataError: `bad_results`; it was not measured.
        """
        if metric not in self.metrics:
            raise DataError(
                f"Expected {metric} of every image of {self.name}, and it was not measured; "
                f"choose from {', '.join(self.metrics)}.",
                code="bad_results",
            )
        return np.array([image.value(metric) for image in self.images], dtype=np.float64)

    def mean(self, metric: str) -> float:
        """The plain mean of a metric over the images; infinite as soon as one image is exact.

        Raises:
            DataError: As :meth:`values`.
        """
        # fsum is exact: the mean does not depend on the order of the images.
        return math.fsum(self.values(metric).tolist()) / self.n

    @property
    def psnr(self) -> float:
        """Mean PSNR of the outputs, in dB."""
        return self.mean("psnr")

    @property
    def ssim(self) -> float:
        """Mean SSIM of the outputs."""
        return self.mean("ssim")

    @property
    def input_psnr(self) -> float:
        """Mean PSNR of the degraded inputs, in dB."""
        return self.mean("input_psnr")

    @property
    def input_ssim(self) -> float:
        """Mean SSIM of the degraded inputs."""
        return self.mean("input_ssim")

    @property
    def lpips(self) -> float | None:
        """Mean LPIPS of the outputs; None where it was not measured."""
        return self.mean("lpips") if "lpips" in self.metrics else None

    @property
    def input_lpips(self) -> float | None:
        """Mean LPIPS of the degraded inputs."""
        return self.mean("input_lpips") if "input_lpips" in self.metrics else None

    @property
    def gain(self) -> float | None:
        """How many dB the output is better than the input; None where the input is exact."""
        return self.psnr - self.input_psnr if math.isfinite(self.input_psnr) else None

    @property
    def least_gain(self) -> float | None:
        """The gain of the image that gains least, in dB; None where an image's input is exact."""
        return least([image.gain for image in self.images])

    @property
    def seconds(self) -> float:
        """Time in the model, over all images."""
        return math.fsum(image.seconds for image in self.images)


@dataclass(frozen=True, kw_only=True)
class GroupMean:
    """The mean over the benchmarks of a group: it averages lines, not images.

    Attributes:
        group: A group or a collection of `anyrestore.evaluation.benchmarks`.
        lines: How many.
        entries: Their names.
        gain: None where a line's input is exact.
        least_gain: That of the line that gains least.
    """

    group: str
    lines: int
    entries: tuple[str, ...]
    psnr: float
    ssim: float
    input_psnr: float
    input_ssim: float
    gain: float | None
    least_gain: float | None


def least(gains: Sequence[float | None]) -> float | None:
    """The smallest gain; None where one of them is."""
    known = [gain for gain in gains if gain is not None]
    return min(known) if len(known) == len(gains) else None


def protocol_of(scores: Sequence[Score]) -> str:
    """The one protocol of the scores.

    Raises:
        UsageError: There are several, or no scores.
    """
    protocols = sorted({score.protocol for score in scores})
    if len(protocols) != 1:
        raise UsageError(
            f"Expected scores of one protocol, got {', '.join(protocols) or 'no scores'}; their numbers "
            "cannot be compared, so make one table for each."
        )
    return protocols[0]


def told(scores: Sequence[Score]) -> dict[str, list[str]]:
    """What a model that takes instructions was told: sentence -> names of the benchmarks."""
    found: dict[str, list[str]] = {}
    for score in scores:
        if score.instruction is not None:
            found.setdefault(score.instruction, []).append(score.name)
    return found


def harmed(scores: Sequence[Score]) -> list[Score]:
    """Those whose outputs are worse than their inputs, by the mean PSNR."""
    return [score for score in scores if score.gain is not None and score.gain < 0]


def group_means(scores: Sequence[Score]) -> list[GroupMean]:
    """Means over groups of which more than one line was measured, and over collections that are complete."""
    groups = {
        group: [score for score in scores if score.group == group]
        for group in dict.fromkeys(score.group for score in scores)
    }
    by_name = {score.name: score for score in scores}
    for name, entries in COLLECTIONS.items():
        if name not in groups and all(entry in by_name for entry in entries):
            groups[name] = [by_name[entry] for entry in entries]
    return [_group_mean(name, lines) for name, lines in groups.items() if len(lines) > 1]


def _group_mean(group: str, lines: Sequence[Score]) -> GroupMean:
    gains = [s.gain for s in lines]
    known = [gain for gain in gains if gain is not None]
    return GroupMean(
        group=group,
        lines=len(lines),
        entries=tuple(s.name for s in lines),
        psnr=math.fsum(s.psnr for s in lines) / len(lines),
        ssim=math.fsum(s.ssim for s in lines) / len(lines),
        input_psnr=math.fsum(s.input_psnr for s in lines) / len(lines),
        input_ssim=math.fsum(s.input_ssim for s in lines) / len(lines),
        gain=math.fsum(known) / len(known) if len(known) == len(gains) else None,
        least_gain=least(gains),
    )
