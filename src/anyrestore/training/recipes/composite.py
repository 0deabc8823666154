"""Training on everything at once: all degradations, mixtures, real low-light pairs, clean pictures."""

from __future__ import annotations

from anyrestore.training.run import Phase, Run

#: Local degradations first: what is learnt on noise and rain is a general restorer that the global tasks
#: (low light, haze) then bend; the other way round noise is hardly learnt at all.
_FIRST = {"clean": 0.06, "noise": 0.60, "rain": 0.28, "jpeg": 0.06}
_ALL = {
    "clean": 0.04,
    "noise": 0.20,
    "rain": 0.18,
    "haze": 0.12,
    "snow": 0.08,
    "low_light": 0.05,
    "blur": 0.05,
    "jpeg": 0.03,
    "mixture": 0.15,
    "pair": 0.10,
}
#: Chosen so that every task's gradient has about the same norm under the log balance (measured after 4,000
#: steps without them, when clean pictures pulled ten times as hard as rain, and rain was not learnt at all).
_WEIGHTS = {
    "clean": 0.4,
    "rain": 2.5,
    "haze": 5.0,
    "snow": 5.0,
    "low_light": 1.5,
    "blur": 3.0,
    "jpeg": 3.0,
    "mixture": 4.0,
    "pair": 0.6,
}


def cea_t_composite() -> Run:
    """``cea-t``, small enough for two CPU cores: crops of 64 px, the last part with larger ones."""
    return Run(
        name="cea-t-composite",
        model="cea-t",
        steps=15_000,
        learning_rate=1.2e-3,
        weights=_WEIGHTS,
        phases=(
            Phase(until=0.05, crop=64, batch=8, shares=_FIRST),
            Phase(until=0.88, crop=64, batch=8, shares=_ALL),
            Phase(until=1.0, crop=128, batch=4, shares=_ALL),
        ),
    )
