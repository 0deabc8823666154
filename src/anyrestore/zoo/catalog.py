"""One literal table of every model that can be asked for by name.

Numbers are stated here, and tests count them again: ``parameters`` exactly, ``gmac`` (multiply-accumulates of
one 3 x 224 x 224 image) to the digits shown. What the papers and the public code have is stated beside them;
tests hold the two together.
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
    published_parameters: int | None = None  # to the digits of the paper
    published_gmac: float | None = None  # of the paper, for the same size
    public_parameters: int | None = None  # counted in the authors' code
    weights: str | None = None  # file name in this package's folder ``files``
    sha256: str | None = None  # of that file
    license: str | None = None  # of the weights
    trained_on: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict[str, float])  # PSNR in dB, protocol promptir


@dataclass(frozen=True)
class Paper:
    """Where an architecture comes from."""

    name: str  # what its authors call it
    title: str
    year: int
    arxiv: str | None = None  # number


@dataclass(frozen=True)
class Architecture:
    """How the models of one file in ``architectures`` are made."""

    model: Any  # nn.Module subclass that takes a config
    config: Any  # frozen dataclass
    presets: Mapping[str, Any]  # configs by name
    paper: Paper


# A formatter would give every entry five lines.
# fmt: off
PAPERS = {
    paper.name: paper
    for paper in (
        Paper("CEA-IR", "Continuous Expert Assembly: Instance-Conditioned Low-Rank Residuals for All-in-One "
              "Image Restoration", 2026, "2605.06127"),
        Paper("ExDA", "Rethinking Expressivity and Degradation-Awareness in Attention for All-in-One Blind "
              "Image Restoration", 2026),
        Paper("AnyIR", "Any Image Restoration via Efficient Spatial-Frequency Degradation Adaptation",
              2025, "2504.14249"),
        Paper("MoCE-IR", "Complexity Experts are Task-Discriminative Learners for Any Image Restoration",
              2024, "2411.18466"),
        Paper("Restormer", "Efficient Transformer for High-Resolution Image Restoration", 2021, "2111.09881"),
        Paper("NAFNet", "Simple Baselines for Image Restoration", 2022, "2204.04676"),
        Paper("PromptIR", "Prompting for All-in-One Image Restoration", 2023, "2306.13090"),
        Paper("InstructIR", "High-Quality Image Restoration Following Human Instructions",
              2024, "2401.16468"),
    )
}
# fmt: on

ARCHITECTURES = {
    "cea": Architecture(cea.CEA, cea.Config, cea.PRESETS, PAPERS["CEA-IR"]),
    "exda": Architecture(exda.ExDA, exda.Config, exda.PRESETS, PAPERS["ExDA"]),
    "anyir": Architecture(anyir.AnyIR, anyir.Config, anyir.PRESETS, PAPERS["AnyIR"]),
    "moce": Architecture(moce.MoCE, moce.Config, moce.PRESETS, PAPERS["MoCE-IR"]),
    "restormer": Architecture(restormer.Restormer, restormer.Config, restormer.PRESETS, PAPERS["Restormer"]),
    "nafnet": Architecture(nafnet.NAFNet, nafnet.Config, nafnet.PRESETS, PAPERS["NAFNet"]),
    "promptir": Architecture(promptir.PromptIR, promptir.Config, promptir.PRESETS, PAPERS["PromptIR"]),
    "instructir": Architecture(
        instructir.InstructIR, instructir.Config, instructir.PRESETS, PAPERS["InstructIR"]
    ),
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
            sha256="e1203ab8181a88bc1b794049dfad920d23481bfff153b3d3adb656450dc1a1ae",
            license="Apache-2.0",
            trained_on="BSDS500 (without CBSD68), SunHays80, 103 photographs, LOL v1; see zoo/files/cea-t.md",
            scores={
                "cbsd68-sigma15": 32.00,
                "cbsd68-sigma25": 29.43,
                "cbsd68-sigma50": 25.98,
                "rain100l": 31.78,
                "lolv1": 21.42,
                "clean": 49.02,
                "synthetic-haze": 24.07,
                "synthetic-snow": 28.79,
                "synthetic-motion_blur": 23.43,
                "synthetic-defocus_blur": 24.65,
                "synthetic-jpeg": 30.38,
                "synthetic-low_light": 25.28,
                "synthetic-rain": 32.06,
                "mixture-low_light+haze": 18.69,
                "mixture-low_light+rain": 20.62,
                "mixture-low_light+snow": 19.38,
                "mixture-haze+rain": 18.45,
                "mixture-haze+snow": 21.06,
                "mixture-low_light+haze+rain": 16.67,
                "mixture-low_light+haze+snow": 16.65,
                "mixture-low_light+noise": 17.41,
                "mixture-gaussian_blur+noise": 24.68,
                "mixture-noise+jpeg": 27.46,
                "mixture-rain+noise+jpeg": 25.81,
            },
        ),
        Entry(
            name="cea-s",
            architecture="cea",
            parameters=9_711_526,
            gmac=27.349,
            published_parameters=9_712_000,
            published_gmac=28.03,
        ),
        Entry(name="cea", architecture="cea", parameters=21_630_134, gmac=59.963),
        Entry(name="tiny", architecture="cea", parameters=198_551, gmac=0.675),
        Entry(
            name="exda-t",
            architecture="exda",
            parameters=5_834_340,
            gmac=26.816,
            published_parameters=5_830_000,
            published_gmac=27.0,
        ),
        Entry(
            name="exda-s",
            architecture="exda",
            parameters=10_046_462,
            gmac=46.834,
            published_parameters=10_050_000,
            published_gmac=47.0,
        ),
        Entry(
            name="exda-b",
            architecture="exda",
            parameters=22_420_752,
            gmac=109.208,
            published_parameters=22_420_000,
            published_gmac=109.0,
        ),
        Entry(name="exda-tiny", architecture="exda", parameters=147_419, gmac=0.973),
        # The authors' code has 617 and 836 temperatures that it never reads.
        Entry(
            name="anyir-t",
            architecture="anyir",
            parameters=5_735_759,
            gmac=26.253,
            published_parameters=5_740_000,
            published_gmac=26.0,
            public_parameters=5_736_376,
        ),
        Entry(
            name="anyir-s",
            architecture="anyir",
            parameters=8_512_600,
            gmac=39.185,
            published_parameters=8_510_000,
            published_gmac=39.0,
            public_parameters=8_513_436,
        ),
        Entry(name="anyir-tiny", architecture="anyir", parameters=132_167, gmac=0.818),
        # With the costliest expert in every block; with the cheapest 32.5 and 70.9.
        Entry(
            name="moce-s",
            architecture="moce",
            parameters=11_477_752,
            gmac=36.587,
            published_parameters=11_470_000,
            published_gmac=36.93,
            public_parameters=11_477_752,
        ),
        Entry(
            name="moce",
            architecture="moce",
            parameters=25_353_796,
            gmac=79.563,
            published_parameters=25_350_000,
            published_gmac=80.59,
            public_parameters=25_353_796,
        ),
        Entry(name="moce-tiny", architecture="moce", parameters=247_416, gmac=0.958),
        Entry(
            name="restormer",
            architecture="restormer",
            parameters=26_126_644,
            gmac=118.582,
            published_parameters=26_130_000,
            public_parameters=26_126_644,
        ),
        Entry(name="restormer-tiny", architecture="restormer", parameters=208_225, gmac=1.063),
        Entry(
            name="nafnet",
            architecture="nafnet",
            parameters=17_111_907,
            gmac=12.217,
            published_parameters=17_110_000,
            public_parameters=17_111_907,
        ),
        Entry(
            name="nafnet-denoise",
            architecture="nafnet",
            parameters=29_159_715,
            gmac=12.285,
            public_parameters=29_159_715,
        ),
        Entry(name="nafnet-tiny", architecture="nafnet", parameters=75_355, gmac=0.221),
        # The public code makes 215,296 weights that it never uses.
        Entry(
            name="promptir",
            architecture="promptir",
            parameters=35_376_967,
            gmac=132.23,
            published_parameters=35_590_000,
            published_gmac=132.0,
            public_parameters=35_592_263,
        ),
        Entry(name="promptir-tiny", architecture="promptir", parameters=288_526, gmac=1.29),
        Entry(
            name="instructir-t",
            architecture="instructir",
            parameters=2_436_723,
            gmac=2.064,
            weights="instructir-t.safetensors",
            sha256="cb0017847c4d0a2a004a43d26fb8f00026d718cffa9186411092422c072f0f21",
            license="Apache-2.0",
            trained_on="as cea-t; see zoo/files/instructir-t.md",
            scores={
                "cbsd68-sigma15": 29.56,
                "cbsd68-sigma25": 27.56,
                "cbsd68-sigma50": 23.14,
                "rain100l": 28.78,
                "lolv1": 18.88,
                "synthetic-haze": 22.26,
                "synthetic-motion_blur": 23.66,
                "mixture-low_light+rain": 17.74,
            },
        ),
        Entry(
            name="instructir",
            architecture="instructir",
            parameters=15_843_363,
            gmac=12.378,
            published_parameters=15_800_000,
            public_parameters=15_843_363,
        ),
        Entry(name="instructir-tiny", architecture="instructir", parameters=126_875, gmac=0.362),
    )
}


LARGEST = 1 << 16
"""No number of any Config is larger: what a file asks for is refused before it is built."""


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
        raise ModelError(
            f"expected a model among {', '.join(CATALOG)}, came {name!r:.200}", code="unknown_model"
        )
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
            f"expected an architecture among {known}, came {architecture!r:.99}", code="unknown_model"
        )
    made_by = ARCHITECTURES[architecture]
    fields = {f.name for f in dataclasses.fields(made_by.config)}
    if unknown := sorted(set(config) - fields):
        raise ModelError(
            f"{architecture} has no option {', '.join(unknown):.200}; it has {', '.join(sorted(fields))}"
        )
    for key, value in config.items():
        for number in cast("list[object]", value) if isinstance(value, (list, tuple)) else (value,):
            # Not a number compares to nothing, so it is refused too.
            if isinstance(number, (int, float)) and not -LARGEST <= number <= LARGEST:
                raise ModelError(
                    f"no {architecture} network can be built from these options: expected {key} in "
                    f"-{LARGEST}..{LARGEST}, came {value!r:.100}"
                )
    try:
        # JSON has lists where a Config has tuples.
        values = {k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for k, v in config.items()}
        return made_by.model(made_by.config(**values))
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise ModelError(f"no {architecture} network can be built from these options: {why:.500}") from error
