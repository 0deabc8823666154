"""InstructIR (ECCV 2024, arXiv 2401.16468, sections 4.1, 4.2 and 5). Its training code is not public.

Stated: L1 + cross-entropy of the task that the text encoder's head names; AdamW 5e-4, cosine; batch 32;
256 px crops, flips; 500 epochs (about a day on one A100). BSD400 + WED with sigma 15, 25, 50; Rain100L's 200
pairs; 2,000 pictures of OTS, chosen by quality and at random; GoPro's 2,103; LOL's 485. 6D adds
super-resolution (DIV2K, bicubic, fed enlarged), 7D adds retouching (1,000 pictures of MIT-Adobe FiveK).

Unlike the paper, there is no cross-entropy here. It trains the projection and the classification on top of
the frozen sentence encoder, jointly with the network. The head that ships was trained alone, by the same loss
on the same kind of prompts (:mod:`anyrestore.text.instructions`), and stays frozen: the term would have
nothing to teach. In return, weights trained here understand the head that ``restore`` has. The prompts are
our generator's (:mod:`anyrestore.training.instructions`), 200 a task; the paper's are GPT-4's, above 10,000.

Not stated, and chosen here: AdamW's weight decay 0.01 (torch's), no warm-up, the rate step by step down to 0;
every picture once an epoch (a day for 500 epochs leaves no time for the repeats of other protocols); the
2,000 pictures of OTS are drawn anew each epoch. 6D and so 7D were fine-tuned from 5D, for a length not
stated: here 7D is trained like the others. Its two further sets are read as pairs that you prepare:
``DIV2K-bicubic/low|high`` and ``FiveK/input|expert``.
"""

from __future__ import annotations

import dataclasses

from anyrestore.data.mixtures import MIXTURES, Mixture, Part
from anyrestore.training.run import Loss, Model, Optimizer, Phase, Run, Schedule, Validation

_3D = (
    *(
        Part(
            task=f"denoise{sigma}",
            sets=("bsd400", "wed"),
            degrade=f"noise:{sigma}",
            instruction="denoise",
        )
        for sigma in (15, 25, 50)
    ),
    Part(task="derain", sets=("rain100l",), instruction="derain"),
    Part(task="dehaze", sets=("ots",), repeat=2000 / 72135, instruction="dehaze"),
)
_5D = (
    *_3D,
    Part(task="deblur", sets=("gopro",), instruction="deblur"),
    Part(task="low_light", sets=("lolv1",), instruction="low_light"),
)
_7D = (
    *_5D,
    Part(
        task="super_resolution",
        sets=("pairs:DIV2K-bicubic/low|DIV2K-bicubic/high",),
        instruction="super_resolution",
    ),
    Part(task="retouch", sets=("pairs:FiveK/input|FiveK/expert",), instruction="retouch"),
)


def instructir_3d() -> Run:
    """Noise, rain and haze by instruction: 500 epochs of few pictures."""
    return _run("3d", _3D)


def instructir_5d() -> Run:
    """Noise, rain, haze, blur and low light by instruction: 500 epochs of few pictures."""
    return _run("5d", _5D)


def instructir_7d() -> Run:
    """5D, super-resolution and retouching by instruction: 500 epochs of few pictures."""
    return _run("7d", _7D)


#: Ours: what happens to a clean picture, the sentence that goes with it, its share of the samples, its loss's
#: weight (those of the composite mixture). Of two things at once both are to be undone, whichever is named.
_COMPOSITE = (
    ("noise", "denoise", 0.20, 2.0),
    ("rain", "derain", 0.14, 2.5),
    ("haze", "dehaze", 0.12, 5.0),
    ("low_light", "low_light", 0.12, 3.0),
    ("blur", "deblur", 0.06, 4.0),
    ("low_light+rain", "low_light", 0.04, 3.0),
    ("low_light+rain", "derain", 0.04, 3.0),
    ("low_light+noise", "low_light", 0.04, 3.0),
    ("low_light+noise", "denoise", 0.04, 3.0),
    ("haze+rain", "dehaze", 0.03, 3.0),
    ("haze+rain", "derain", 0.03, 3.0),
    ("haze+noise", "dehaze", 0.02, 3.0),
    ("haze+noise", "denoise", 0.02, 3.0),
)


def instructir_t_composite() -> Run:
    """``instructir-t`` on two CPU cores: synthetic degradations and LOL pairs, each with its sentence."""
    parts = {part.task: part for part in MIXTURES["composite"].parts}
    clean, pair = parts["noise"], parts["pair"]
    made = (
        dataclasses.replace(
            clean,
            task=f"{degrade}:{told}" if "+" in degrade else degrade,
            degrade=degrade,
            instruction=told,
            share=share,
            weight=weight,
        )
        for degrade, told, share, weight in _COMPOSITE
    )
    lol = dataclasses.replace(pair, instruction="low_light", share=0.10)
    mixture = dataclasses.replace(MIXTURES["composite"], name="instructir-composite", parts=(*made, lol))
    return Run(
        name="instructir-t@composite",
        model=Model(name="instructir-t"),
        mixture=mixture,
        steps=8_000,
        phases=(Phase(until=0.80, crop=64, batch=8), Phase(crop=128, batch=4)),
        optimizer=Optimizer(name="adam", lr=1e-3, clip=1.0),
        schedule=Schedule(warmup=0.16, start=0.005, floor=0.02),
        loss=Loss(l1=1.0, fourier=0.1, balance="log", floor=0.1),
        ema=0.999,
        validation=Validation(held_out=20),
    )


def _run(tasks: str, parts: tuple[Part, ...]) -> Run:
    return Run(
        name=f"instructir@{tasks}",
        model=Model(name="instructir"),
        mixture=Mixture(name=f"instructir-{tasks}", parts=parts),
        epochs=500,
        phases=(Phase(crop=256, batch=32),),
        optimizer=Optimizer(name="adamw", lr=5e-4, weight_decay=0.01),
        loss=Loss(l1=1.0),
    )
