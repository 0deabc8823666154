"""What papers say that models cost on their machines: to be looked at beside a measurement, not in it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "PublishedCost"]

_CEA = "arXiv 2605.06127, table 3"
_GPU = "one NVIDIA RTX 4090, 100 warm-ups, 1,000 runs"


@dataclass(frozen=True, kw_only=True)
class PublishedCost:
    """One row of a paper's table.

    Attributes:
        model: name in the zoo.
        system: what the paper calls it.
        parameters: millions.
        megabytes: of GPU memory; the paper does not say how it was measured.
        gmac: G. They are multiply-accumulates: the zoo's models have about as many for 3 x 224 x 224.
        milliseconds: of a pass, the mean of the runs.
        spread: of the milliseconds; presumably their standard deviation.
        machine: where, and how often.
        source: paper and table.
    """

    model: str
    system: str
    parameters: float
    megabytes: int
    gmac: float
    milliseconds: float
    spread: float
    machine: str = _GPU
    source: str = _CEA


PUBLISHED = (
    PublishedCost(
        model="promptir",
        system="PromptIR",
        parameters=35.59,
        megabytes=9830,
        gmac=132.0,
        milliseconds=40.86,
        spread=0.24,
    ),
    PublishedCost(
        model="moce",
        system="MoCE-IR",
        parameters=25.35,
        megabytes=5887,
        gmac=80.59,
        milliseconds=43.10,
        spread=0.27,
    ),
    PublishedCost(
        model="moce-s",
        system="MoCE-IR-S",
        parameters=11.47,
        megabytes=4228,
        gmac=36.93,
        milliseconds=41.63,
        spread=0.41,
    ),
    PublishedCost(
        model="cea-s",
        system="CEA-IR-S",
        parameters=9.71,
        megabytes=3517,
        gmac=28.03,
        milliseconds=29.92,
        spread=0.25,
    ),
)
