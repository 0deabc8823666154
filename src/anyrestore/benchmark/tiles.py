"""What tiling costs in fidelity: a picture restored whole and in tiles, with and without sharing.

Attention in these networks is global over channels, and hyper-adapters look at the whole picture, so tiles
are not exact; the question is by how much they differ, and whether that shows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from anyrestore.inference import Restorer
from anyrestore.types import Image


@dataclass(frozen=True, kw_only=True)
class TileDifference:
    """Tiles against the whole picture, mean over the pictures."""

    side: int  # longest side of a tile in pixels
    share: bool  # whether the tiles shared what the model saw of the whole
    psnr_to_whole: float  # dB; inf where equal
    largest: float  # largest difference of a value, on the 0-255 scale
    seconds: float  # of the tiles, in units of the whole picture's time


def compare_tiles(
    model: nn.Module | str, pictures: Iterable[Image], sides: Sequence[int], *, device: str = "cpu"
) -> list[TileDifference]:
    """Restore every picture whole and in tiles of every side, with and without sharing.

    Args:
        model: a module, or the name of a model.
        pictures: tensors (1 3 h w), RGB in [0, 1], larger than the tiles and small enough to go whole.
        sides: longest sides of the tiles to try, in pixels.
        device: where to compute.

    Returns:
        Per side, first without sharing, then with it.
    """
    whole = Restorer(model, device=device, tile="off")
    ways = [(side, share) for side in sides for share in (False, True)]
    tiled = {
        way: Restorer(whole.model, device=device, tile=way[0], share="auto" if way[1] else "off")
        for way in ways
    }
    found: dict[tuple[int, bool], list[tuple[float, float, float]]] = {way: [] for way in ways}
    for picture in pictures:
        reference, reference_seconds = _timed(whole, picture)
        for way, restorer in tiled.items():
            result, seconds = _timed(restorer, picture)
            difference = (result.clamp(0, 1) - reference.clamp(0, 1)).abs()
            error = difference.double().square().mean().item()
            psnr = -10 * math.log10(error) if error else math.inf
            found[way].append((psnr, 255 * difference.max().item(), seconds / reference_seconds))
    return [
        TileDifference(
            side=side,
            share=share,
            psnr_to_whole=_mean(psnr for psnr, _, _ in found[side, share]),
            largest=max(largest for _, largest, _ in found[side, share]),
            seconds=_mean(ratio for _, _, ratio in found[side, share]),
        )
        for side, share in ways
    ]


def _timed(restorer: Restorer, picture: Tensor) -> tuple[Tensor, float]:
    began = time.perf_counter()
    return restorer(picture), time.perf_counter() - began


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)
