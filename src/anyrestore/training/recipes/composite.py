"""Training on everything at once: all degradations, mixtures, real low-light pairs, clean pictures."""

from __future__ import annotations

from anyrestore.training.run import Phase, Run

#: Local degradations first: what is learnt on noise and rain is a general restorer that the global tasks
#: (low light, haze) then bend; the other way round noise is hardly learnt at all.
_FIRST = {"clean": 0.06, "noise": 0.60, "rain": 0.28, "jpeg": 0.06}
#: Then everything, half of it in company.
_ALL = {
    "clean": 0.04,
    "noise": 0.08,
    "rain": 0.07,
    "haze": 0.06,
    "snow": 0.04,
    "low_light": 0.06,
    "blur": 0.04,
    "jpeg": 0.03,
    "mixture": 0.50,
    "pair": 0.08,
}
#: Chosen by measuring the norm of every task's gradient under the log balance, so that share x weight x
#: norm is of one size for all: without weights, clean pictures pulled ten times as hard as rain, and rain
#: was not learnt.
_WEIGHTS = {
    "clean": 0.6,
    "noise": 2.0,
    "rain": 2.5,
    "haze": 5.0,
    "snow": 5.0,
    "low_light": 3.0,
    "blur": 4.0,
    "jpeg": 4.0,
    "mixture": 3.0,
    "pair": 1.2,
}


def cea_t_composite() -> Run:
    """``cea-t``, small enough for two CPU cores: crops of 64 px, the last part with larger ones."""
    return Run(
        name="cea-t-composite",
        model="cea-t",
        steps=25_000,
        learning_rate=1.0e-3,
        weights=_WEIGHTS,
        phases=(
            Phase(until=0.05, crop=64, batch=8, shares=_FIRST),
            Phase(until=0.90, crop=64, batch=8, shares=_ALL),
            Phase(until=1.00, crop=128, batch=4, shares=_ALL),
        ),
    )


def cea_t_continued() -> Run:
    """More of the same for the ``cea-t`` that ships: half the learning rate, no first phase."""
    return Run(
        name="cea-t-continued",
        model="cea-t",
        start="cea-t",
        steps=6_000,
        learning_rate=5e-4,
        seed=5,
        weights=_WEIGHTS,
        phases=(
            Phase(until=0.60, crop=64, batch=8, shares=_ALL),
            Phase(until=1.00, crop=128, batch=4, shares=_ALL),
        ),
    )
