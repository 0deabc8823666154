"""The learning rate over a run, as a pure function of the epoch: nothing to store, nothing to restore.

Linear warm-up, then half a cosine; or a constant rate, which may fall in a straight line at the end
(``decay``). The latter is warm-up, stable, decay (Hu et al. 2024, MiniCPM, arXiv 2404.06395); a run may begin
with the decayed weights of another one, at the full rate (Wen et al. 2024, arXiv 2410.05192).

With ``every="epoch"`` the rate is a staircase, and the warm-up is that of the public restoration code
(PromptIR, MoCE-IR): epoch 0 has the factor ``start`` (0 there: nothing is learnt), epoch ``warmup - 1`` the
full rate, and the cosine begins at epoch ``warmup``. With ``every="step"`` the rise is continuous and ends at
``warmup``. Past its horizon a cosine stays at its floor (theirs would rise again).
"""

from __future__ import annotations

import math

from anyrestore.training.run import Schedule


def factor(schedule: Schedule, epoch: float, *, epochs: float) -> float:
    """What the peak learning rate is multiplied by, in [0, 1].

    Args:
        schedule: its name, warm-up, floor, horizon and decay.
        epoch: epochs done when the step begins, from 0; 2.5 is the middle of the third.
        epochs: length of the run, where the decay ends, and the cosine if the schedule has no horizon.
    """
    warmup, rise = schedule.warmup, schedule.warmup
    if schedule.every == "epoch":
        epoch = math.floor(epoch + 1e-9)  # 3 x 0.1 epochs are not three tenths
        rise = warmup - 1
    if epoch < warmup:
        return schedule.start + (1 - schedule.start) * (min(1.0, epoch / rise) if rise > 0 else 0.0)
    if schedule.name == "constant":
        fall = schedule.decay * epochs
        left = max(0.0, epochs - epoch) / fall if fall else 1.0
        return schedule.floor + (1 - schedule.floor) * min(1.0, left)
    horizon = epochs if schedule.horizon is None else schedule.horizon
    progress = min(1.0, (epoch - warmup) / (horizon - warmup)) if horizon > warmup else 1.0
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress))
