"""One literal table of every model that can be asked for by name.

Numbers are stated here, and tests count them again: ``parameters`` exactly, ``gmac`` (multiply-accumulates of
one 3 x 224 x 224 image) to the digits shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn

from anyrestore.architectures import anyir, cea, exda, instructir, moce, nafnet, promptir, restormer
from anyrestore.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a model before it is loaded."""

    name: str
    architecture: str
    parameters: int
    gmac: float
    weights: str | None = None  # file name in this package's folder ``files``
    sha256: str | None = None  # of that file
    license: str | None = None  # of the weights
    trained_on: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict[str, float])  # PSNR in dB, protocol promptir


@dataclass(frozen=True)
class Architecture:
    """How the models of one file in ``architectures`` are made."""

    model: Any  # nn.Module subclass that takes a config
    config: Any  # frozen dataclass
    presets: Mapping[str, Any]  # configs by name


ARCHITECTURES = {
    "cea": Architecture(cea.CEA, cea.Config, cea.PRESETS),
    "exda": Architecture(exda.ExDA, exda.Config, exda.PRESETS),
    "anyir": Architecture(anyir.AnyIR, anyir.Config, anyir.PRESETS),
    "moce": Architecture(moce.MoCE, moce.Config, moce.PRESETS),
    "restormer": Architecture(restormer.Restormer, restormer.Config, restormer.PRESETS),
    "nafnet": Architecture(nafnet.NAFNet, nafnet.Config, nafnet.PRESETS),
    "promptir": Architecture(promptir.PromptIR, promptir.Config, promptir.PRESETS),
    "instructir": Architecture(instructir.InstructIR, instructir.Config, instructir.PRESETS),
}

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="cea-t",
            architecture="cea",
            parameters=4_079_401,
            gmac=2.898,
            weights="cea-t.safetensors",
            sha256="36406ea94970b0436485214a00a2d6f9dfef6ed1fd252fc9a149d00a4ea496b8",
            license="Apache-2.0",
            trained_on="BSDS500 (without CBSD68), SunHays80, 103 photographs, LOL v1; see zoo/files/cea-t.md",
            scores={
                "cbsd68-sigma15": 31.77,
                "cbsd68-sigma25": 29.27,
                "cbsd68-sigma50": 25.92,
                "rain100l": 31.68,
                "lolv1": 20.97,
                "clean": 47.23,
                "synthetic-haze": 23.55,
                "synthetic-snow": 28.56,
                "synthetic-motion_blur": 23.61,
                "synthetic-defocus_blur": 24.73,
                "synthetic-jpeg": 30.06,
                "mixture-low_light+haze": 17.59,
                "mixture-low_light+rain": 20.64,
                "mixture-low_light+snow": 18.88,
                "mixture-haze+rain": 17.83,
                "mixture-haze+snow": 21.52,
                "mixture-low_light+haze+rain": 15.90,
                "mixture-low_light+haze+snow": 15.81,
                "mixture-low_light+noise": 13.09,
                "mixture-gaussian_blur+noise": 24.75,
                "mixture-noise+jpeg": 26.98,
                "mixture-rain+noise+jpeg": 25.58,
            },
        ),
        Entry(name="cea-s", architecture="cea", parameters=9_711_526, gmac=27.349),
        Entry(name="cea", architecture="cea", parameters=21_630_134, gmac=59.963),
        Entry(name="tiny", architecture="cea", parameters=198_551, gmac=0.675),
        Entry(name="exda-t", architecture="exda", parameters=5_834_340, gmac=26.816),
        Entry(name="exda-s", architecture="exda", parameters=10_046_462, gmac=46.834),
        Entry(name="exda-b", architecture="exda", parameters=22_420_752, gmac=109.208),
        Entry(name="exda-tiny", architecture="exda", parameters=147_419, gmac=0.973),
        # 5,736,376 and 8,513,436 in the authors' code, which has temperatures that it never reads.
        Entry(name="anyir-t", architecture="anyir", parameters=5_735_759, gmac=26.253),
        Entry(name="anyir-s", architecture="anyir", parameters=8_512_600, gmac=39.185),
        Entry(name="anyir-tiny", architecture="anyir", parameters=132_167, gmac=0.818),
        # With the costliest expert in every block; with the cheapest 32.5 and 70.9.
        Entry(name="moce-s", architecture="moce", parameters=11_477_752, gmac=36.587),
        Entry(name="moce", architecture="moce", parameters=25_353_796, gmac=79.563),
        Entry(name="moce-tiny", architecture="moce", parameters=247_416, gmac=0.958),
        Entry(name="restormer", architecture="restormer", parameters=26_126_644, gmac=118.582),
        Entry(name="restormer-tiny", architecture="restormer", parameters=208_225, gmac=1.063),
        Entry(name="nafnet", architecture="nafnet", parameters=17_111_907, gmac=12.217),
        Entry(name="nafnet-denoise", architecture="nafnet", parameters=29_159_715, gmac=12.285),
        Entry(name="nafnet-tiny", architecture="nafnet", parameters=75_355, gmac=0.221),
        # 35,592,263 in the public code, which makes 215,296 that it never uses.
        Entry(name="promptir", architecture="promptir", parameters=35_376_967, gmac=132.23),
        Entry(name="promptir-tiny", architecture="promptir", parameters=288_526, gmac=1.29),
        Entry(name="instructir", architecture="instructir", parameters=15_843_363, gmac=12.378),
        Entry(name="instructir-tiny", architecture="instructir", parameters=126_875, gmac=0.362),
    )
}


def default_model(device: str = "cpu") -> str:
    """The model that restores when none is named, on this kind of device ("cpu", "cuda", "mps")."""
    del device  # one set of weights ships so far
    return "cea-t"


def create_model(name: str, **overrides: Any) -> nn.Module:
    """A model with random weights.

    Args:
        name: a name of :data:`CATALOG`.
        overrides: fields of the architecture's Config to change.

    Raises:
        ModelError: no such model, no such field, or a value that no network can be built from.
    """
    if name not in CATALOG:
        raise ModelError(f"expected a model among {', '.join(CATALOG)}, came {name!r}", code="unknown_model")
    architecture = CATALOG[name].architecture
    return build(architecture, dataclasses.asdict(ARCHITECTURES[architecture].presets[name]) | overrides)


def build(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """A model with random weights from the name of its architecture and its Config's fields.

    Raises:
        ModelError: as :func:`create_model`.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(
            f"expected an architecture among {known}, came {architecture!r}", code="unknown_model"
        )
    made_by = ARCHITECTURES[architecture]
    fields = {f.name for f in dataclasses.fields(made_by.config)}
    if unknown := sorted(set(config) - fields):
        raise ModelError(
            f"{architecture} has no option {', '.join(unknown)}; it has {', '.join(sorted(fields))}"
        )
    try:
        # JSON has lists where a Config has tuples.
        values = {k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for k, v in config.items()}
        return made_by.model(made_by.config(**values))
    except (TypeError, ValueError) as error:
        raise ModelError(f"no {architecture} network can be built from these options: {error}") from error
