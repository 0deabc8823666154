"""CEA-IR (arXiv 2605.06127, section 4.1 and appendix B.3).

Stated: L1 + 0.1 Fourier L1; Adam; 64 crops a step in all; cosine decay; crops and flips; 120 epochs of AIO-3
and AIO-5, 200 of CDD-11; no labels, no auxiliary losses.

Lost in the text that could be read, or not stated, and chosen here: Adam's betas (0.9, 0.999), the learning
rate 2e-4 and the crop of 128 px (all three as in its relatives); no warm-up; the rate follows the cosine step
by step, down to 0; the weight 0.1 is MoCE-IR's. AIO-5 is AdaIR's (full GoPro frames): the paper's hours for
AIO-5 are at most 1.25 times those for AIO-3, which fits 162,646 samples an epoch (1.14 times), not MoCE-IR's
236,251. An epoch of CDD-11 has 26,026 samples, as in MoCE-IR's loader, with which the paper compares.
"""

from __future__ import annotations

from anyrestore.data.mixtures import MIXTURES, Mixture
from anyrestore.training.recipes.common import cdd11
from anyrestore.training.run import Loss, Model, Optimizer, Phase, Run


def cea_aio3(model: str) -> Run:
    """Noise, rain and haze: 120 epochs of PromptIR's mixture."""
    return _run(model, "aio3", MIXTURES["promptir-aio3"], 120)


def cea_aio5(model: str) -> Run:
    """Noise, rain, haze, blur and low light: 120 epochs of AdaIR's mixture."""
    return _run(model, "aio5", MIXTURES["adair-aio5"], 120)


def cea_cdd11(model: str) -> Run:
    """Eleven composites of low light, haze, rain and snow: 200 epochs."""
    return _run(model, "cdd11", cdd11(2), 200)


def _run(model: str, data: str, mixture: Mixture, epochs: float) -> Run:
    return Run(
        name=f"{model}@{data}",
        model=Model(name=model),
        mixture=mixture,
        epochs=epochs,
        phases=(Phase(crop=128, batch=64),),
        optimizer=Optimizer(name="adam", lr=2e-4, betas=(0.9, 0.999)),
        loss=Loss(l1=1.0, fourier=0.1),
    )
