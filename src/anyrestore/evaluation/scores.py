"""What was measured: of one image, and of one benchmark under one protocol."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ImageScore", "Score"]


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One image: PSNR in dB (infinite for an exact copy), SSIM, of the output and of the input.

    Attributes:
        seconds: Time in the model.
        tile: Side of the tiles in pixels; None where the image went through whole.
        lpips: LPIPS of the output; None where it was not asked for.
        input_lpips: LPIPS of the input.
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


@dataclass(frozen=True, kw_only=True)
class Score:
    """One benchmark under one protocol: plain means of per-image values.

    Attributes:
        name: The benchmark's.
        group: The benchmark's.
        protocol: The protocol's id.
        data_sha256: Over every input and target that was measured, as float32 bytes.
        images: The per-image values, in sorted order.
    """

    name: str
    group: str
    protocol: str
    data_sha256: str
    images: tuple[ImageScore, ...]

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.images)

    @property
    def psnr(self) -> float:
        """Mean PSNR of the outputs, in dB."""
        return _mean([image.psnr for image in self.images])

    @property
    def ssim(self) -> float:
        """Mean SSIM of the outputs."""
        return _mean([image.ssim for image in self.images])

    @property
    def input_psnr(self) -> float:
        """Mean PSNR of the degraded inputs, in dB."""
        return _mean([image.input_psnr for image in self.images])

    @property
    def input_ssim(self) -> float:
        """Mean SSIM of the degraded inputs."""
        return _mean([image.input_ssim for image in self.images])

    @property
    def lpips(self) -> float | None:
        """Mean LPIPS of the outputs; None where it was not measured."""
        return _mean_of_known([image.lpips for image in self.images])

    @property
    def input_lpips(self) -> float | None:
        """Mean LPIPS of the degraded inputs."""
        return _mean_of_known([image.input_lpips for image in self.images])

    @property
    def gain(self) -> float | None:
        """How many dB the output is better than the input; None where the input is exact."""
        return self.psnr - self.input_psnr if math.isfinite(self.input_psnr) else None

    @property
    def seconds(self) -> float:
        """Time in the model, over all images."""
        return math.fsum(image.seconds for image in self.images)


def _mean(values: Sequence[float]) -> float:
    # fsum is exact: the mean does not depend on the order of the images.
    return math.fsum(values) / len(values)


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None
