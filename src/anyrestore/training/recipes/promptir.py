"""PromptIR (NeurIPS 2023) and AdaIR's protocol for five tasks (ICLR 2025), after their public code.

va1shn9v/PromptIR: L1; AdamW 2e-4 (written into the code; its ``--lr`` is not read), torch's weight decay
0.01; 8 crops of 128 px on each of 4 GPUs; once an epoch: 15 epochs of warm-up from 0, cosine to epoch 150;
stopped at 120. The paper says Adam (0.9, 0.999) and 200 epochs: the code is followed, as everybody trains
with it. It hands its schedule the number of the epoch that has just ended, so that its rate runs an epoch
behind ours.

c-yn/AdaIR differs in the cosine's end (epoch 180) and the length (150 epochs). Its option's default of 2
crops per GPU is no statement of what was trained: 32 here too.
"""

from __future__ import annotations

import dataclasses

from anyrestore.data.mixtures import MIXTURES
from anyrestore.training.recipes.common import ADAMW, WARM_COSINE
from anyrestore.training.run import Loss, Model, Phase, Run


def promptir_aio3() -> Run:
    """Noise, rain and haze: 120 epochs, of a cosine that would end at 150."""
    return Run(
        name="promptir@aio3",
        model=Model(name="promptir"),
        mixture=MIXTURES["promptir-aio3"],
        epochs=120,
        phases=(Phase(crop=128, batch=32),),
        optimizer=ADAMW,
        schedule=WARM_COSINE,
        loss=Loss(l1=1.0),
    )


def promptir_aio5() -> Run:
    """Noise, rain, haze, blur and low light, as AdaIR: 150 epochs, of a cosine that would end at 180."""
    return dataclasses.replace(
        promptir_aio3(),
        name="promptir@aio5",
        mixture=MIXTURES["adair-aio5"],
        epochs=150,
        schedule=dataclasses.replace(WARM_COSINE, horizon=180),
    )
