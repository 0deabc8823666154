"""ExDA (ICLR 2026, appendices A.1 to A.3).

Stated: L1 + Fourier loss "as in MoCE-IR" (the weight is a symbol there; 0.1 here); Adam (0.9, 0.999), 2e-4,
cosine decay; batch 32; 128 px crops, flips; AIO-3 130 epochs, AIO-5 150, CDD-11 150, AllWeather 300,000
iterations, WeatherBench 120 epochs.

Not stated, and chosen here: no warm-up; the rate follows the cosine step by step, down to 0; an epoch of
CDD-11 as in MoCE-IR's loader, 26,026 samples. For AllWeather "same as Histoformer" is said of the iterations
only: Histoformer's growing crops (128 to 362 px) are not used. For the medical sets there is no length:
200,000 steps, which is AMIR's (public code: Adam 2e-4, cosine to 1e-6, batch 8), with ExDA's batch and crops.
The paper names a third, contrastive loss once and never uses it.
"""

from __future__ import annotations

from anyrestore.data.mixtures import MIXTURES, Mixture
from anyrestore.training.recipes.common import cdd11
from anyrestore.training.run import Loss, Model, Optimizer, Phase, Run


def exda_aio3(model: str) -> Run:
    """Noise, rain and haze: 130 epochs of PromptIR's mixture."""
    return _run(model, "aio3", MIXTURES["promptir-aio3"], epochs=130)


def exda_aio5(model: str) -> Run:
    """Noise, rain, haze, blur and low light: 150 epochs of AdaIR's mixture."""
    return _run(model, "aio5", MIXTURES["adair-aio5"], epochs=150)


def exda_cdd11(model: str) -> Run:
    """Eleven composites of low light, haze, rain and snow: 150 epochs."""
    return _run(model, "cdd11", cdd11(2), epochs=150)


def exda_allweather(model: str) -> Run:
    """Snow, rain with fog, and raindrops: 300,000 steps."""
    return _run(model, "allweather", MIXTURES["allweather"], steps=300_000)


def exda_weatherbench(model: str) -> Run:
    """Real rain, haze and snow: 120 epochs."""
    return _run(model, "weatherbench", MIXTURES["weatherbench"], epochs=120)


def exda_amir(model: str) -> Run:
    """MRI super-resolution, low-dose CT and PET: 200,000 steps (AMIR's; the paper is silent)."""
    return _run(model, "amir", MIXTURES["amir"], steps=200_000)


def _run(
    model: str, data: str, mixture: Mixture, *, epochs: float | None = None, steps: int | None = None
) -> Run:
    return Run(
        name=f"{model}@{data}",
        model=Model(name=model),
        mixture=mixture,
        epochs=epochs,
        steps=steps,
        phases=(Phase(crop=128, batch=32),),
        optimizer=Optimizer(name="adam", lr=2e-4, betas=(0.9, 0.999)),
        loss=Loss(l1=1.0, fourier=0.1),
    )
