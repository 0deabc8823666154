"""The learning rate over a run."""

from __future__ import annotations

import math


def cosine(step: int, *, steps: int, warmup: int, floor: float = 0.0) -> float:
    """Factor on the peak learning rate: linear warm-up, then half a cosine down to ``floor``.

    Args:
        step: from 0.
        steps: length of the run.
        warmup: steps of the linear rise.
        floor: the factor at the end, in [0, 1].
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
