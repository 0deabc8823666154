"""What a variant is trained with: the paper's recipe, or at ``small`` what two CPU cores do in minutes.

``paper`` is the recipe with the studied fields changed and nothing else. ``small`` is ours: a narrow
network of the same form, run at half the picture's resolution (``stem_scale``), on clean photographs that
are degraded on the way, and as many steps as fit. It keeps the paper's loss and optimiser; the learning
rate is five times higher, since the network is small and the run short, and gradients are clipped.

Its mixtures stand for the papers' benchmarks and have their entries, but they are synthetic:
``composites`` for the eleven kinds of CDD-11, ``three`` for the five entries of AIO-3 (three levels of
noise, rain, haze).

Unusual: the number of steps comes from the cost of a step, as measured once and written down here. It must
not be measured when a study begins: the same command has to mean the same run on every machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anyrestore.data.mixtures import Mixture, Part
from anyrestore.errors import UsageError
from anyrestore.studies.catalog import Study, Variant
from anyrestore.training.configuration import change
from anyrestore.training.recipes import RECIPES
from anyrestore.training.run import Checkpoints, Loss, Model, Optimizer, Phase, Run, Schedule, Validation

__all__ = ["CAVEAT", "MIXTURES", "Budget", "find_photographs", "group_of", "run_of", "small_steps"]

Budget = Literal["small", "paper"]

CAVEAT = (
    "This is not the paper's budget: a small network, a short run and synthetic degradations. It can show "
    "that a study runs and which way a difference may point, not that a published number is right or wrong."
)

#: Seconds that training may take with two processes of one thread each, and how many of them there are.
_SECONDS, _PROCESSES = 480.0, 2
_WARMUP = 100  # steps of the small budget
_SMALL: dict[str, Any] = {
    "width": 16,
    "stem_scale": 2,
    "encoder": (1, 1, 1),
    "latent": 1,
    "decoder": (1, 1, 1),
    "refinement": 1,
}
_CROP, _BATCH = 64, 8
_EPOCH = 10_000  # samples; only schedules count in it

#: Architecture (the recipe's name up to the first dash): seconds of one core for a step of 8 crops of 64 px.
_STEP = {"cea": 0.14, "exda": 0.19, "anyir": 0.19, "moce": 0.25}

_COMPOSITES = {
    "low": "low_light",
    "haze": "haze",
    "rain": "rain",
    "snow": "snow",
    "low_haze": "low_light+haze",
    "low_rain": "low_light+rain",
    "low_snow": "low_light+snow",
    "haze_rain": "haze+rain",
    "haze_snow": "haze+snow",
    "low_haze_rain": "low_light+haze+rain",
    "low_haze_snow": "low_light+haze+snow",
}
_THREE = {
    "denoise15": "noise:15",
    "denoise25": "noise:25",
    "denoise50": "noise:50",
    "derain": "rain",
    "dehaze": "haze",
}


@dataclass(frozen=True, kw_only=True)
class _Kinds:
    """A mixture of the small budget: task -> what is done, and how many held-out crops measure each."""

    degrade: dict[str, str]
    count: int


#: By name.
MIXTURES = {
    "composites": _Kinds(degrade=_COMPOSITES, count=12),
    "three": _Kinds(degrade=_THREE, count=24),
}

#: Where clean photographs are looked for under the data's folder, before all of it is taken.
_PHOTOGRAPHS = ("BSDS500-365", "photos-1792", "SunHays80")


def find_photographs(data: Path | None) -> tuple[str, ...]:
    """The folders under ``data`` that the small budget trains on: those of ``composite``, or all there is."""
    found = tuple(name for name in _PHOTOGRAPHS if data is not None and (data / name).is_dir())
    return found or (".",)


def run_of(
    study: Study,
    variant: Variant,
    budget: Budget,
    *,
    seed: int = 0,
    photographs: Sequence[str] = (".",),
    settings: Iterable[str] = (),
) -> Run:
    """What a variant is trained with.

    Args:
        study: Of the variant; not the toys.
        variant: One that is trained, or one that uses the reference's weights.
        budget: Whose recipe.
        seed: Of weights and samples.
        photographs: Folders of clean pictures under the data's folder; for ``small``.
        settings: ``path=value`` as for `anyrestore train --set`, for all variants alike.

    Raises:
        UsageError: The study has no recipe, or a setting cannot be.
    """
    if study.recipe is None:
        raise UsageError(f"{study.name}: the paper gives no recipe for its toys; use --budget small")
    options = {**study.common, **study.reference.options, **variant.options}
    if budget == "paper":
        base = RECIPES[study.recipe]()
        run = dataclasses.replace(
            base,
            name=f"{study.name}/{variant.name}",
            model=Model(name=base.model.name, options={**base.model.options, **options}),
            seed=seed,
        )
    else:
        run = _small(study, variant, options, seed, photographs)
    if budget in variant.networks:
        network = variant.networks[budget]
        run = dataclasses.replace(run, model=Model(name=network.name, options=dict(network.options)))
    if variant.auxiliary:
        run = dataclasses.replace(run, loss=dataclasses.replace(run.loss, auxiliary=dict(variant.auxiliary)))
    return change(run, settings)


def small_steps(study: Study) -> int:
    """Steps of each variant at the small budget, in round numbers."""
    if study.steps is not None:
        return study.steps
    turns = math.ceil(len(study.trained) / _PROCESSES)  # that each process has, one after another
    return int(_SECONDS / turns / _STEP[_architecture(study)] // 50 * 50)


def group_of(task: str) -> str:
    """What an entry of the tables belongs to: of composites how many degradations there are."""
    if task not in _COMPOSITES:
        return task
    return ("single", "double", "triple")[_COMPOSITES[task].count("+")]


def _architecture(study: Study) -> str:
    return (study.recipe or "").partition("-")[0]


def _small(
    study: Study, variant: Variant, options: dict[str, Any], seed: int, photographs: Sequence[str]
) -> Run:
    base = RECIPES[study.recipe or ""]()
    kinds = MIXTURES[study.small or ""]
    parts = tuple(
        Part(task=task, sets=tuple(f"clean:{name}" for name in photographs), degrade=degrade)
        for task, degrade in kinds.degrade.items()
    )
    return Run(
        name=f"{study.name}/{variant.name}",
        model=Model(name=base.model.name, options=_SMALL | options),
        mixture=Mixture(name=f"{study.small}-small", parts=parts, order="draw", epoch=_EPOCH, halve=True),
        steps=small_steps(study),
        phases=(Phase(crop=_CROP, batch=_BATCH),),
        optimizer=Optimizer(name="adam", lr=1e-3, betas=(0.9, 0.999), clip=1.0),
        schedule=Schedule(warmup=_WARMUP * _BATCH / _EPOCH, start=0.01),
        loss=Loss(l1=1.0, fourier=0.1, auxiliary=dict(base.loss.auxiliary)),
        seed=seed,
        # Scored at the end, by the study itself.
        validation=Validation(every=0, held_out=20, count=kinds.count, crop=128, sheet=0),
        checkpoints=Checkpoints(every=500),
    )
