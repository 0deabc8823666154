"""How much a still, noisy scene flickers after restoration, with the hyper-adapter's factors smoothed or not.

A photograph is repeated, each time with fresh Gaussian noise of sigma 25 / 255, rounded to 8 bits. Three
numbers, each of 255: the standard deviation over time of a pixel (mean over all), the mean absolute
difference of neighbouring frames, and the standard deviation over time of a frame's mean, its brightness.
Factors hold for a whole frame, so it is the last that they move; what differs from pixel to pixel comes from
the noise itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anyrestore.image import read, to_tensor
from anyrestore.inference.restorer import Restorer
from anyrestore.metrics import psnr
from anyrestore.video.smoothing import Smoothing

SIGMA = 25 / 255


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """What was measured; `smooth` is None for the noisy frames themselves.

    Attributes:
        pixel: standard deviation over time of a pixel, of 255, mean over pixels and channels.
        difference: mean absolute difference of neighbouring frames, of 255.
        brightness: standard deviation over time of a frame's mean, of 255.
        psnr: to the clean photograph, mean over the frames, in dB.
    """

    smooth: float | None
    pixel: float
    difference: float
    brightness: float
    psnr: float


def measure_flicker(
    photograph: Path,
    *,
    model: str | Path | None = None,
    smooth: Sequence[float] = (0.0, 0.5, 0.9, 1.0),
    frames: int = 24,
    side: int = 256,
    exposure: float = 1.0,
    seed: int = 0,
) -> Iterator[Flicker]:
    """Measure, for the noisy frames and then for every strength.

    Args:
        photograph: a clean picture; its top left corner is taken.
        model: as for `Restorer`; needs hyper-adapters.
        smooth: strengths; 1 keeps the first frame's factors, the most that smoothing can do.
        frames: how many.
        side: of the part of the photograph that is taken.
        exposure: what the photograph is multiplied by before the noise; below 1 for low light.
        seed: of the noise.
    """
    clean = to_tensor(read(photograph).pixels)[..., :side, :side]
    generator = torch.Generator().manual_seed(seed)
    noisy = [_noisy(clean * exposure, generator) for _ in range(frames)]
    restorer = Restorer(model, device="cpu")
    yield _measured(None, noisy, clean)
    for strength in smooth:
        smoothing = Smoothing(restorer.model, strength) if strength else None
        restored: list[Tensor] = []
        for image in noisy:
            with nullcontext() if smoothing is None else smoothing.frame(image):
                restored.append(restorer(image).clamp(0, 1))
        yield _measured(strength, restored, clean)


def as_table(rows: Sequence[Flicker]) -> str:
    """Markdown."""
    lines = [
        "| smooth | pixel | difference | brightness | PSNR, dB |",
        "|---|---|---|---|---|",
        *(
            f"| {'noisy' if row.smooth is None else row.smooth} | {row.pixel:.3f} | {row.difference:.3f} | "
            f"{row.brightness:.3f} | {row.psnr:.2f} |"
            for row in rows
        ),
    ]
    return "\n".join(lines)


def _noisy(image: Tensor, generator: torch.Generator) -> Tensor:
    noise = SIGMA * torch.randn(image.shape, generator=generator)
    return (image + noise).clamp(0, 1).mul(255).round() / 255


def _measured(smooth: float | None, frames: Sequence[Tensor], clean: Tensor) -> Flicker:
    film = torch.cat(list(frames))
    return Flicker(
        smooth=smooth,
        pixel=float(film.std(dim=0).mean()) * 255,
        difference=float((film[1:] - film[:-1]).abs().mean()) * 255,
        brightness=float(film.mean(dim=(1, 2, 3)).std()) * 255,
        psnr=sum(float(psnr(frame, clean).mean()) for frame in frames) / len(frames),
    )
