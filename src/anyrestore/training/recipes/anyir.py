"""AnyIR (appendices A.1, A.2 and the study of the data's distribution).

Stated: L1 + Fourier loss; Adam (0.9, 0.999), 2e-4, cosine decay; batch 32; 128 px crops, flips; CDD-11 150
epochs. For AIO-3 appendix A.1 says 120 epochs and A.2 says 130; AIO-5 130.

The public code (Amazingren/AnyIR) says otherwise, and the paper is followed here except where it contradicts
itself (AIO-3: 130, as in A.2 and the code):

- AdamW with torch's weight decay 0.01, 15 epochs of warm-up and a cosine to epoch 150, stepped once an epoch:
  ``--set optimizer.name=adamw --set optimizer.weight_decay=0.01 --set schedule.warmup=15
  --set schedule.horizon=150 --set schedule.every=epoch``;
- AIO-5 150 epochs, CDD-11 200;
- Fourier weight 0.1 (a symbol in the paper; used here);
- an epoch of CDD-11 is 6 times its 13,013 pictures (used here).

The balanced mixture is described in words only; see anyrestore.data.mixtures for how it is read.
"""

from __future__ import annotations

from anyrestore.data.mixtures import MIXTURES, Mixture
from anyrestore.training.recipes.common import cdd11
from anyrestore.training.run import Loss, Model, Optimizer, Phase, Run


def anyir_aio3(model: str) -> Run:
    """Noise, rain and haze: 130 epochs of PromptIR's mixture."""
    return _run(model, "aio3", MIXTURES["promptir-aio3"], 130)


def anyir_aio5(model: str) -> Run:
    """Noise, rain, haze, blur and low light: 130 epochs of AdaIR's mixture."""
    return _run(model, "aio5", MIXTURES["adair-aio5"], 130)


def anyir_cdd11(model: str) -> Run:
    """Eleven composites of low light, haze, rain and snow: 150 epochs."""
    return _run(model, "cdd11", cdd11(6), 150)


def anyir_balanced(model: str) -> Run:
    """Noise, rain and half of the haze, 90 % of AIO-3's samples: 130 epochs."""
    return _run(model, "balanced", MIXTURES["anyir-balanced"], 130)


def _run(model: str, data: str, mixture: Mixture, epochs: float) -> Run:
    return Run(
        name=f"{model}@{data}",
        model=Model(name=model),
        mixture=mixture,
        epochs=epochs,
        phases=(Phase(crop=128, batch=32),),
        optimizer=Optimizer(name="adam", lr=2e-4, betas=(0.9, 0.999)),
        loss=Loss(l1=1.0, fourier=0.1),
    )
