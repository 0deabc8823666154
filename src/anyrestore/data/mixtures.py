"""What a model is trained on, as data: parts (a task, its data sets, how often) and the published mixtures.

Sources: Potlapalli et al., "PromptIR", NeurIPS 2023 (``promptir-aio3``); Cui et al., "AdaIR", ICLR 2025
(``adair-aio5``); Zamfir et al., "MoCE-IR", CVPR 2025 (``moce-aio5``); Guo et al., "OneRestore", ECCV 2024
(``cdd11``); Valanarasu et al., "TransWeather", CVPR 2022 (``allweather``); Guan et al., "WeatherBench",
2025; Yang et al., "AMIR", MICCAI 2024 (``amir``); ``composite`` is ours. Counts are those of the public
loaders: 142,431, 162,646 and 236,251 samples an epoch for the first three.

What is unusual: ``anyir-balanced``. Ren et al., "AnyIR", 2025, say that denoising is over-represented,
dehazing is halved, and 90 % of the 142,431 samples are left, and do not print the repeats. With every
other picture of OTS (36,068) and deraining as it was (24,000), 90 % leaves 68,120 for denoising: 4.4 times
every picture for each sigma (67,901, so 127,969 in all, 89.8 %). How the three noise levels share these, and
that deraining stays, are our reading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from anyrestore.errors import UsageError

__all__ = ["MIXTURES", "Layers", "Mixture", "Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One task of a mixture.

    What ``degrade`` can say: "none" (the set has its own degraded half, or the picture is to be kept);
    "noise:25" (Gaussian of that sigma); or one of ours, of random strength: "noise", "rain", "haze", "snow",
    "low_light", "blur", "jpeg"; some of these together, "low_light+haze"; and "mixture" (two or three of
    them, drawn anew for every sample).
    """

    task: str  # its name in logs and scores: "denoise15", "derain"
    sets: tuple[str, ...]  # names for data.readers.read_set: "bsd400", "cdd11/haze", "clean:photos"
    repeat: float = 1.0  # how often every picture counts in an epoch; 0.5: a fresh half of them every epoch
    share: float = 1.0  # of the samples, where the mixture's order is "draw"; any positive numbers
    degrade: str = "none"  # what is done to the crop
    weight: float = 1.0  # of its loss
    instruction: str | None = None  # task of the text head, for a network that is told in words what to do

    def __post_init__(self) -> None:
        """Refuse what no sample can be made from.

        Raises:
            UsageError: the sentence begins with the field's name. What ``degrade`` says is looked at where it
                is done.
        """
        if not self.task or any(character.isspace() for character in self.task):
            raise UsageError(f"task: expected a name without spaces, came {self.task!r}")
        if not self.sets or not all(self.sets):
            raise UsageError(
                f"sets: expected at least one data set, each with a name, came {list(self.sets)}"
            )
        if not 0 < self.repeat < math.inf:
            raise UsageError(f"repeat: expected a number above 0, came {self.repeat}")
        for name, number in (("share", self.share), ("weight", self.weight)):
            if not 0 <= number < math.inf:
                raise UsageError(f"{name}: expected a number of at least 0, came {number}")


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Rendered layers and kernels of the composite mixture: names under the data's root; None: none."""

    streaks: str | None = None
    snow_masks: str | None = None
    kernels: str | None = None


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Everything a model is trained on."""

    name: str
    parts: tuple[Part, ...]
    order: Literal["epoch", "draw"] = "epoch"  # each picture `repeat` times, shuffled; or a part by its share
    epoch: int | None = None  # samples an epoch; None: what the parts add up to
    halve: bool = False  # ours: half of the crops of clean pictures are taken at half their size
    eight_bits: Literal["round", "truncate"] = "round"  # of synthetic inputs; public noise loaders truncate
    layers: Layers = field(default_factory=Layers)

    def __post_init__(self) -> None:
        """Refuse a mixture without samples.

        Raises:
            UsageError: the sentence begins with the field's name.
        """
        if not self.parts:
            raise UsageError("parts: expected at least one part, came none")
        if self.epoch is not None and self.epoch < 1:
            raise UsageError(f"epoch: expected none or at least 1 sample, came {self.epoch}")
        if self.order == "draw" and not any(part.share for part in self.parts):
            raise UsageError(
                'parts: expected a share above 0 for at least one part, as the order is "draw", came none'
            )


def _denoise(repeat: float) -> tuple[Part, ...]:
    return tuple(
        Part(task=f"denoise{sigma}", sets=("bsd400", "wed"), repeat=repeat, degrade=f"noise:{sigma}")
        for sigma in (15, 25, 50)
    )


_DERAIN = Part(task="derain", sets=("rain100l",), repeat=120)
_DEHAZE = Part(task="dehaze", sets=("ots",))
_AIO3 = (*_denoise(3), _DERAIN, _DEHAZE)
_LOW_LIGHT = Part(task="low_light", sets=("lolv1",), repeat=20)

_CDD11_TYPES = (
    "low",
    "haze",
    "rain",
    "snow",
    "low_haze",
    "low_rain",
    "low_snow",
    "haze_rain",
    "haze_snow",
    "low_haze_rain",
    "low_haze_snow",
)

#: Task of the composite mixture: its share of the samples (half of them in company) and its loss's weight.
#: The weights were chosen by measuring the norm of every task's gradient under the log balance, so that
#: share x weight x norm is of one size for all: without them, clean pictures pulled ten times as hard as
#: rain, and rain was not learnt.
_COMPOSITE = {
    "clean": (0.04, 0.6),
    "noise": (0.08, 2.0),
    "rain": (0.07, 2.5),
    "haze": (0.06, 5.0),
    "snow": (0.04, 5.0),
    "low_light": (0.06, 3.0),
    "blur": (0.04, 4.0),
    "jpeg": (0.03, 4.0),
    "mixture": (0.50, 3.0),
    "pair": (0.08, 1.2),
}
_COMPOSITE_CLEAN = ("clean:BSDS500-365", "clean:photos-1792", "clean:SunHays80")
_COMPOSITE_PAIRS = ("pairs:LOLv1-our485-288/low|LOLv1-our485-288/high",)

_ALL = (
    Mixture(name="promptir-aio3", parts=_AIO3, eight_bits="truncate"),
    Mixture(
        name="adair-aio5",
        parts=(*_AIO3, Part(task="deblur", sets=("gopro",), repeat=5), _LOW_LIGHT),
        eight_bits="truncate",
    ),
    Mixture(
        name="moce-aio5",
        parts=(*_AIO3, Part(task="deblur", sets=("gopro-crops",), repeat=5), _LOW_LIGHT),
        eight_bits="truncate",
    ),
    Mixture(
        name="anyir-balanced",
        parts=(*_denoise(4.4), _DERAIN, Part(task="dehaze", sets=("ots",), repeat=0.5)),
        eight_bits="truncate",
    ),
    # A random type, then a random image of it, as OneRestore's loader draws; 11 x 1,183 make an epoch.
    Mixture(
        name="cdd11",
        parts=tuple(Part(task=kind, sets=(f"cdd11/{kind}",)) for kind in _CDD11_TYPES),
        order="draw",
    ),
    Mixture(name="allweather", parts=(Part(task="weather", sets=("allweather",)),)),
    Mixture(
        name="weatherbench",
        parts=tuple(Part(task=kind, sets=(f"weatherbench/{kind}",)) for kind in ("rain", "haze", "snow")),
    ),
    # The modalities are drawn uniformly, whatever their sizes.
    Mixture(
        name="amir",
        parts=(
            Part(task="mri", sets=("ixi",)),
            Part(task="ct", sets=("aapm",)),
            Part(task="pet", sets=("pet",)),
        ),
        order="draw",
    ),
    Mixture(
        name="composite",
        parts=tuple(
            Part(
                task=task,
                sets=_COMPOSITE_PAIRS if task == "pair" else _COMPOSITE_CLEAN,
                share=share,
                degrade="none" if task in ("clean", "pair") else task,
                weight=weight,
            )
            for task, (share, weight) in _COMPOSITE.items()
        ),
        order="draw",
        epoch=10_000,
        halve=True,
        layers=Layers(streaks="rain-streaks", snow_masks="snow-masks", kernels="blur-kernels.npz"),
    ),
)

#: The published mixtures, and ours, by name.
MIXTURES: dict[str, Mixture] = {mixture.name: mixture for mixture in _ALL}
