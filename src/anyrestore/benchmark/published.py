"""What papers say that models cost on their machines: to be looked at beside a measurement, not in it.

Published parameters and MACs are not here: they are in the zoo's catalogue, which `anyrestore models` prints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from anyrestore.zoo.catalog import CATALOG

__all__ = ["PUBLISHED", "PublishedCost"]

_CEA = "arXiv 2605.06127, table 3"
_GPU = "one NVIDIA RTX 4090, 100 warm-ups, 1,000 runs"


@dataclass(frozen=True, kw_only=True)
class PublishedCost:
    """One row of a paper's table.

    Attributes:
        model: name in the zoo.
        system: what the paper calls it.
        megabytes: of GPU memory; the paper does not say how it was measured.
        milliseconds: of a pass, the mean of the runs.
        spread: of the milliseconds; presumably their standard deviation.
        machine: where, and how often.
        source: paper and table.
    """

    model: str
    system: str
    megabytes: int
    milliseconds: float
    spread: float
    machine: str = _GPU
    source: str = _CEA

    @property
    def parameters(self) -> int:
        """As published."""
        return CATALOG[self.model].published_parameters or 0

    @property
    def gmac(self) -> float:
        """As published; the zoo's models have about as many for 3 x 224 x 224."""
        return CATALOG[self.model].published_gmac or math.nan


PUBLISHED = (
    PublishedCost(model="promptir", system="PromptIR", megabytes=9830, milliseconds=40.86, spread=0.24),
    PublishedCost(model="moce", system="MoCE-IR", megabytes=5887, milliseconds=43.10, spread=0.27),
    PublishedCost(model="moce-s", system="MoCE-IR-S", megabytes=4228, milliseconds=41.63, spread=0.41),
    PublishedCost(model="cea-s", system="CEA-IR-S", megabytes=3517, milliseconds=29.92, spread=0.25),
)
