"""Ours: training on everything at once (all degradations, mixtures, real low-light pairs, clean pictures).

``cea-t-composite``, ``cea-t-continued`` and ``cea-t-larger`` are for two CPU cores; docs/training-ledger.md
says how the weights that ship came about. ``cea-t@composite`` and ``cea-s@composite`` are the same with the
crops and batches of a GPU. Neither these nor ``cea-t-composite`` have been trained from start to end yet.

Two things are unusual. Local degradations come first: what is learnt on noise and rain is a general restorer
that the global tasks (low light, haze) then bend; the other way round noise is hardly learnt at all. And the
loss is balanced by its logarithm, with weights of the tasks that stand in the mixture's parts.
"""

from __future__ import annotations

from anyrestore.data.mixtures import MIXTURES
from anyrestore.training.run import Loss, Model, Optimizer, Phase, Run, Schedule, Validation

#: Of the first steps of a run from random weights.
_FIRST = {"clean": 0.06, "noise": 0.60, "rain": 0.28, "jpeg": 0.06}
#: Of a run that goes on: more noise than in the mixture as it stands (a network of much company took some
#: noisy pictures for hazy ones), and more of what it is still bad at.
_CONTINUED = {
    "clean": 0.03,
    "noise": 0.15,
    "rain": 0.07,
    "haze": 0.06,
    "snow": 0.05,
    "low_light": 0.07,
    "blur": 0.08,
    "jpeg": 0.04,
    "mixture": 0.40,
    "pair": 0.05,
}
#: Of the last part of a run: haze, darkness and mixtures, of which a small crop does not show enough.
_LAST = {
    "clean": 0.03,
    "noise": 0.11,
    "rain": 0.07,
    "haze": 0.08,
    "snow": 0.05,
    "low_light": 0.08,
    "blur": 0.05,
    "jpeg": 0.04,
    "mixture": 0.44,
    "pair": 0.05,
}


def cea_t_composite() -> Run:
    """``cea-t`` on two CPU cores: crops of 64 px, the last part with larger ones."""
    return _run(
        "cea-t-composite",
        Model(name="cea-t"),
        steps=25_000,
        lr=1.0e-3,
        phases=(
            Phase(until=0.05, crop=64, batch=8, shares=_FIRST),
            Phase(until=0.90, crop=64, batch=8),
            Phase(until=1.00, crop=128, batch=4),
        ),
    )


def cea_t_continued() -> Run:
    """Going on from the ``cea-t`` that ships: half the learning rate, no first phase, larger crops."""
    return _run(
        "cea-t-continued",
        Model(name="cea-t", start="cea-t"),
        steps=6_000,
        lr=5e-4,
        phases=(Phase(crop=128, batch=4, shares=_CONTINUED),),
        seed=7,
    )


def cea_t_larger() -> Run:
    """The end of a long training: crops of 192 and then 256 px, and more of what changes a whole picture."""
    return _run(
        "cea-t-larger",
        Model(name="cea-t", start="cea-t"),
        steps=2_000,
        lr=3e-4,
        phases=(
            Phase(until=0.75, crop=192, batch=4, shares=_LAST),
            Phase(until=1.00, crop=256, batch=2, shares=_LAST),
        ),
        seed=10,
    )


def composite(model: str) -> Run:
    """Everything at once on a GPU: crops of 128 px, the last part with larger ones."""
    return _run(
        f"{model}@composite",
        Model(name=model),
        steps=200_000,
        lr={"cea-t": 1e-3}.get(model, 5e-4),  # half for the larger ones
        phases=(
            Phase(until=0.05, crop=128, batch=32, shares=_FIRST),
            Phase(until=0.90, crop=128, batch=32),
            Phase(until=1.00, crop=256, batch=8),
        ),
    )


def _run(name: str, model: Model, *, steps: int, lr: float, phases: tuple[Phase, ...], seed: int = 0) -> Run:
    mixture = MIXTURES["composite"]
    # 200 steps of the first phase, the first of them at a 200th of the rate.
    warmup = 200 * phases[0].batch / (mixture.epoch or 10_000)
    return Run(
        name=name,
        model=model,
        mixture=mixture,
        steps=steps,
        phases=phases,
        optimizer=Optimizer(name="adam", lr=lr, clip=1.0),
        schedule=Schedule(warmup=warmup, start=0.005, floor=0.02),
        loss=Loss(l1=1.0, fourier=0.1, balance="log", floor=0.1),
        ema=0.999,
        seed=seed,
        validation=Validation(held_out=20),
    )
