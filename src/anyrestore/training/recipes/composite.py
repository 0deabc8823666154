"""Training on everything at once: all degradations, their mixtures, real low-light pairs, and clean pictures."""

from __future__ import annotations

from anyrestore.training.run import Phase, Run

#: Local degradations first: what is learnt on noise and rain is a general restorer that the global tasks
#: (low light, haze) then bend; the other way round noise is hardly learnt at all.
_FIRST = {"clean": 0.06, "noise": 0.60, "rain": 0.28, "jpeg": 0.06}
_ALL = {
    "clean": 0.06,
    "noise": 0.25,
    "rain": 0.16,
    "haze": 0.08,
    "snow": 0.06,
    "low_light": 0.04,
    "blur": 0.06,
    "jpeg": 0.04,
    "mixture": 0.14,
    "pair": 0.11,
}


def cea_t_composite() -> Run:
    """``cea-t``, small enough for two CPU cores: crops of 64 px, the last part with larger ones."""
    return Run(
        name="cea-t-composite",
        model="cea-t",
        steps=24_000,
        learning_rate=1.2e-3,
        phases=(
            Phase(until=0.05, crop=64, batch=8, shares=_FIRST),
            Phase(until=0.9, crop=64, batch=8, shares=_ALL),
            Phase(until=1.0, crop=128, batch=4, shares=_ALL),
        ),
    )
