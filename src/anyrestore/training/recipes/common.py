"""What several recipes share: data and schedules of one code lineage, and one recipe for a model's sizes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from anyrestore.data.mixtures import MIXTURES, Mixture
from anyrestore.training.run import Optimizer, Run, Schedule

#: torch's AdamW as the public code calls it: its default weight decay.
ADAMW = Optimizer(name="adamw", lr=2e-4, weight_decay=0.01)
#: PromptIR's, which others copy: stepped once an epoch, 15 epochs of warm-up from 0, a cosine to epoch 150.
WARM_COSINE = Schedule(warmup=15, horizon=150, every="epoch")


def sized(recipe: Callable[[str], Run], model: str) -> Callable[[], Run]:
    """The recipe for one model of a family, with the family's docstring."""

    @functools.wraps(recipe)
    def of_size() -> Run:
        return recipe(model)

    return of_size


def cdd11(times: int) -> Mixture:
    """CDD-11 where an epoch has ``times`` its 11 x 1,183 pictures, as each loader of it says otherwise."""
    return dataclasses.replace(MIXTURES["cdd11"], epoch=times * 11 * 1183)
