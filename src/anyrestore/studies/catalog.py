"""The studies, as one literal table: what is varied, what the paper published, on what it is measured.

Sources of the numbers: CEA-IR (arXiv 2605.06127), tables 4, 10, 11 and 12; ExDA (ICLR 2026), section 4.2,
table 7 and figure 3; AnyIR (arXiv 2504.14249), tables 7, 8 and 10; MoCE-IR (arXiv 2411.18466).
docs/studies.md says what each study asks and how it is run.

A variant is the recipe's network with the studied fields of its Config changed, and nothing else: same
seed, same samples in the same order, same steps. A variant with an ``expert`` is not trained: it is the
weights of another one, forced to use that expert.

What is unusual, and is not the papers' doing:

- ``exda-value`` has a row that the paper only draws (values left linear), as has ``exda-tokens`` (no
  tokens);
- ``anyir-shares`` is in the reading of the text (``gating="concatenated"``), as the default, which is the
  authors' code, has no such shares to choose. The text says "without Alg. 2" of that table, whose best row
  is nevertheless the score of the model with it; here all rows have it;
- ``moce-experts`` has no published numbers: of that table no more could be read than that rain is given to
  the first expert and noise to the fourth;
- ``networks`` is our own question: whole architectures with equally many parameters, on equal samples. Beside
  the network only the losses differ that belong to one alone (MoCE-IR's balance of its experts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anyrestore.errors import UsageError
from anyrestore.training.reading import closest

__all__ = ["STUDIES", "Network", "Published", "Study", "Variant", "find_study"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a paper's table.

    Attributes:
        psnr: In dB, the mean over the benchmark.
        ssim: Likewise; None where the paper does not print it.
        groups: (PSNR, SSIM) of parts of the benchmark, by the names of the small budget's groups.
    """

    psnr: float
    ssim: float | None = None
    groups: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that is not the recipe's with some fields changed.

    Attributes:
        name: Of the catalogue.
        options: Fields of its Config that differ.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a study.

    Attributes:
        name: Of its folder.
        label: Of its row.
        options: Fields of the network's Config that differ from the recipe's; of a toy, of its network.
        expert: Not trained: the reference's weights with this expert (from 0) forced in every block.
        networks: By budget ("small", "paper"), where ``options`` does not say it: another architecture.
        auxiliary: Weights of the losses that this network alone has.
        published: What the paper found.
    """

    name: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    networks: Mapping[str, Network] = field(default_factory=dict[str, Network])
    auxiliary: Mapping[str, float] = field(default_factory=dict[str, float])
    expert: int | None = None
    published: Published | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """Matched variants and what they are to be compared with.

    Attributes:
        name: As it is asked for.
        question: In one line.
        recipe: The paper's, of :data:`anyrestore.training.recipes.RECIPES`; None for toys, which have none.
        small: The small budget's mixture, of :data:`anyrestore.studies.budgets.MIXTURES`.
        common: Config fields of all variants in which they differ from the recipe's.
        variants: The rows; the first is the paper's choice, and the one that others are compared with.
        benchmark: On what the published numbers were measured, with which network.
        source: Where they are printed.
        steps: Of the small budget; None for what fits in its minutes.
    """

    name: str
    question: str
    recipe: str | None
    small: str | None
    variants: tuple[Variant, ...]
    benchmark: str
    source: str
    common: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: int | None = None

    @property
    def reference(self) -> Variant:
        """The row that others are compared with."""
        return self.variants[0]

    @property
    def trained(self) -> tuple[Variant, ...]:
        """The variants that are trained."""
        return tuple(variant for variant in self.variants if variant.expert is None)

    @property
    def studied(self) -> tuple[str, ...]:
        """The Config fields in which the variants differ."""
        return tuple(dict.fromkeys(name for variant in self.variants for name in variant.options))


def find_study(name: str) -> Study:
    """The study of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in STUDIES:
        raise UsageError(f"expected a study, came {name!r}; see study --list{closest(name, STUDIES)}")
    return STUDIES[name]


def _cea(psnr: float, ssim: float, *groups: tuple[float, float]) -> Published:
    return Published(
        psnr=psnr, ssim=ssim, groups=dict(zip(("single", "double", "triple"), groups, strict=bool(groups)))
    )


_CEA_FULL = _cea(29.79, 0.886, (33.36, 0.943), (28.51, 0.875), (25.90, 0.798))
_CEA_NONE = _cea(29.00, 0.882, (32.35, 0.941), (27.74, 0.870), (25.42, 0.792))
_CDD11 = "CDD-11, CEA-IR-S"
_EXDA_AIO3 = "AIO-3, ExDA-T"
_EXDA_FULL = Published(psnr=32.71, ssim=0.919)
_ANYIR_AIO3 = "AIO-3, AnyIR-T"
_ANYIR_FULL = Published(psnr=32.80, ssim=0.919)

#: The depths of ``cea-t`` and its half resolution.
_TINY = {
    "stem_scale": 2,
    "encoder": (1, 2, 2),
    "latent": 2,
    "decoder": (2, 1, 1),
    "refinement": 1,
}

_ALL = (
    Study(
        name="networks",
        question="with equally many parameters and equal samples, which network restores composites best?",
        recipe="cea-s@cdd11",
        small="composites",
        steps=1500,
        variants=(
            Variant(
                name="cea",
                label="CEA-IR",
                networks={"small": Network(name="cea-t")},
                published=_CEA_FULL,
            ),
            Variant(
                name="backbone",
                label="its backbone without CEA",
                networks={
                    "small": Network(name="cea-t", options={"targets": "none"}),
                    "paper": Network(name="cea-s", options={"targets": "none"}),
                },
                published=_CEA_NONE,
            ),
            Variant(
                name="moce",
                label="MoCE-IR",
                networks={
                    "small": Network(name="moce-s", options={"width": 28, "expansion": 2.5, **_TINY}),
                    "paper": Network(name="moce-s"),
                },
                auxiliary={"importance": 0.005, "load": 0.005},
                published=Published(psnr=29.05, ssim=0.881),
            ),
            Variant(
                name="restormer",
                label="Restormer",
                networks={
                    "small": Network(name="restormer", options={"width": 32, "expansion": 2.15, **_TINY}),
                    "paper": Network(
                        name="restormer",
                        options={"width": 32, "expansion": 2.07, "decoder": (4, 4, 2)},
                    ),
                },
            ),
        ),
        benchmark="CDD-11, CEA-IR-S and MoCE-IR-S of 11 M",
        source="arXiv 2605.06127, tables 3 and 4",
    ),
    Study(
        name="cea-factors",
        question="must factors be made for each image, and must routing be dense and signed?",
        recipe="cea-s@cdd11",
        small="composites",
        variants=(
            Variant(
                name="dynamic-dense",
                label="dynamic, dense signed",
                options={"factors": "dynamic", "routing": "dense"},
                published=_CEA_FULL,
            ),
            Variant(
                name="dynamic-top2",
                label="dynamic, top-2 softmax",
                options={"factors": "dynamic", "routing": "top2"},
                published=_cea(29.20, 0.882, (32.50, 0.941), (27.94, 0.870), (25.76, 0.792)),
            ),
            Variant(
                name="static-dense",
                label="static, dense signed",
                options={"factors": "static", "routing": "dense"},
                published=_cea(29.01, 0.881, (32.35, 0.940), (27.77, 0.869), (25.40, 0.790)),
            ),
            Variant(
                name="static-top2",
                label="static, top-2 softmax",
                options={"factors": "static", "routing": "top2"},
                published=_cea(28.77, 0.879, (32.15, 0.939), (27.50, 0.867), (25.16, 0.787)),
            ),
        ),
        benchmark=_CDD11,
        source="arXiv 2605.06127, table 4",
    ),
    Study(
        name="cea-generator",
        question="are factors better made by queries that look at the picture, or from its mean?",
        recipe="cea-s@cdd11",
        small="composites",
        variants=(
            Variant(
                name="queries",
                label="cross-attention queries",
                options={"generator": "cross_attention"},
                published=_CEA_FULL,
            ),
            Variant(
                name="pooled",
                label="pooling + MLP",
                options={"generator": "pooled"},
                published=_cea(29.14, 0.882, (32.53, 0.941), (27.87, 0.871), (25.53, 0.792)),
            ),
        ),
        benchmark=_CDD11,
        source="arXiv 2605.06127, table 10",
    ),
    Study(
        name="cea-ranknorm",
        question="does it help to normalise every factor?",
        recipe="cea-s@cdd11",
        small="composites",
        variants=(
            Variant(
                name="with",
                label="with RankNorm",
                options={"rank_norm": True},
                published=_cea(29.79, 0.886),
            ),
            Variant(
                name="without",
                label="without RankNorm",
                options={"rank_norm": False},
                published=_cea(29.59, 0.885),
            ),
        ),
        benchmark=_CDD11,
        source="arXiv 2605.06127, table 11 (a)",
    ),
    Study(
        name="cea-rank",
        question="how many rank-wise components are needed?",
        recipe="cea-s@cdd11",
        small="composites",
        variants=(
            Variant(name="r8", label="r = 8", options={"rank": 8}, published=_cea(29.79, 0.886)),
            Variant(name="r4", label="r = 4", options={"rank": 4}, published=_cea(29.40, 0.884)),
            Variant(name="r16", label="r = 16", options={"rank": 16}, published=_cea(29.70, 0.885)),
        ),
        benchmark=_CDD11,
        source="arXiv 2605.06127, table 11 (b)",
    ),
    Study(
        name="cea-targets",
        question="which projections should receive the update?",
        recipe="cea-s@cdd11",
        small="composites",
        variants=(
            Variant(name="qk", label="Q and K", options={"targets": "qk"}, published=_CEA_FULL),
            Variant(
                name="none",
                label="none (backbone)",
                options={"targets": "none"},
                published=_CEA_NONE,
            ),
            Variant(
                name="q",
                label="Q",
                options={"targets": "q"},
                published=_cea(29.39, 0.884, (32.88, 0.942), (28.12, 0.873), (25.62, 0.794)),
            ),
            Variant(
                name="k",
                label="K",
                options={"targets": "k"},
                published=_cea(29.28, 0.883, (32.81, 0.942), (28.00, 0.872), (25.39, 0.792)),
            ),
            Variant(
                name="v",
                label="V",
                options={"targets": "v"},
                published=_cea(29.26, 0.882, (32.73, 0.942), (27.99, 0.871), (25.51, 0.792)),
            ),
            Variant(
                name="qkv",
                label="Q, K and V",
                options={"targets": "qkv"},
                published=_cea(29.46, 0.884, (32.94, 0.942), (28.18, 0.873), (25.68, 0.795)),
            ),
            Variant(
                name="ffn",
                label="feed-forward input",
                options={"targets": "ffn"},
                published=_cea(29.23, 0.883, (32.73, 0.942), (27.93, 0.871), (25.50, 0.792)),
            ),
        ),
        benchmark=_CDD11,
        source="arXiv 2605.06127, table 12",
    ),
    Study(
        name="exda-value",
        question="what should be done to the values before they are aggregated, and where?",
        recipe="exda-t@aio3",
        small="three",
        variants=(
            Variant(
                name="residual-gelu",
                label="residual, GELU, learnable, both",
                options={
                    "value": "residual",
                    "value_activation": "gelu",
                    "value_learnable": True,
                    "value_placement": "both",
                },
                published=_EXDA_FULL,
            ),
            Variant(
                name="residual-sigmoid",
                label="residual, sigmoid",
                options={"value_activation": "sigmoid"},
                published=Published(psnr=32.63, ssim=0.916),
            ),
            Variant(
                name="in-place-gelu",
                label="in place, GELU",
                options={"value": "in_place"},
                published=Published(psnr=32.45, ssim=0.914),
            ),
            Variant(
                name="in-place-sigmoid",
                label="in place, sigmoid",
                options={"value": "in_place", "value_activation": "sigmoid"},
                published=Published(psnr=32.30, ssim=0.913),
            ),
            Variant(
                name="plain-gelu",
                label="residual, GELU alone",
                options={"value_learnable": False},
                published=Published(psnr=32.30, ssim=0.914),
            ),
            Variant(
                name="encoder",
                label="encoder only",
                options={"value_placement": "encoder"},
                published=Published(psnr=32.65, ssim=0.916),
            ),
            Variant(
                name="decoder",
                label="decoder only",
                options={"value_placement": "decoder"},
                published=Published(psnr=32.60, ssim=0.915),
            ),
            Variant(name="linear", label="linear values", options={"value": "linear"}),
        ),
        benchmark=_EXDA_AIO3,
        source="ExDA (ICLR 2026), table 7",
    ),
    Study(
        name="exda-tokens",
        question="do global spatial tokens help, and how coarse may their maps be?",
        recipe="exda-t@aio3",
        small="three",
        variants=(
            Variant(
                name="s2",
                label="stride 2",
                options={"tokens": 1, "token_stride": 2},
                published=_EXDA_FULL,
            ),
            Variant(
                name="s1", label="stride 1", options={"token_stride": 1}, published=Published(psnr=32.45)
            ),
            Variant(
                name="s4", label="stride 4", options={"token_stride": 4}, published=Published(psnr=32.52)
            ),
            Variant(
                name="s8", label="stride 8", options={"token_stride": 8}, published=Published(psnr=32.40)
            ),
            Variant(name="none", label="no tokens", options={"tokens": 0}),
        ),
        benchmark=_EXDA_AIO3,
        source="ExDA (ICLR 2026), section 4.2",
    ),
    Study(
        name="anyir-components",
        question="what do skip-split, gated adaptation and fusion bring?",
        recipe="anyir-t@aio3",
        small="three",
        variants=(
            Variant(
                name="skip-gated-fused",
                label="skip-split, gated, fused",
                options={"split": "skip", "gated": True, "fusion": "learnable"},
                published=Published(psnr=32.80),
            ),
            Variant(
                name="skip-gated",
                label="skip-split, gated",
                options={"fusion": "none"},
                published=Published(psnr=32.35),
            ),
            Variant(
                name="half-gated",
                label="half-split, gated",
                options={"split": "half", "fusion": "none"},
                published=Published(psnr=32.13),
            ),
            Variant(
                name="skip",
                label="skip-split",
                options={"gated": False, "fusion": "none"},
                published=Published(psnr=31.83),
            ),
            Variant(
                name="half",
                label="half-split",
                options={"split": "half", "gated": False, "fusion": "none"},
                published=Published(psnr=30.85),
            ),
        ),
        benchmark=_ANYIR_AIO3,
        source="arXiv 2504.14249, table 7",
    ),
    Study(
        name="anyir-shares",
        question="how should the gated branch share its channels among alpha, beta and gamma?",
        recipe="anyir-t@aio3",
        small="three",
        common={"gating": "concatenated", "activation": "gelu"},
        variants=(
            Variant(
                name="all",
                label="(1/4, 1/4, 1/2)",
                options={"shares": (0.25, 0.25, 0.5)},
                published=_ANYIR_FULL,
            ),
            Variant(
                name="no-alpha",
                label="(0, 1/2, 1/2)",
                options={"shares": (0.0, 0.5, 0.5)},
                published=Published(psnr=32.14, ssim=0.910),
            ),
            Variant(
                name="no-beta",
                label="(1/2, 0, 1/2)",
                options={"shares": (0.5, 0.0, 0.5)},
                published=Published(psnr=32.21, ssim=0.912),
            ),
            Variant(
                name="no-gamma",
                label="(1/2, 1/2, 0)",
                options={"shares": (0.5, 0.5, 0.0)},
                published=Published(psnr=31.37, ssim=0.907),
            ),
        ),
        benchmark=_ANYIR_AIO3,
        source="arXiv 2504.14249, table 8",
    ),
    Study(
        name="anyir-fusion",
        question="how should the two branches be fused?",
        recipe="anyir-t@aio3",
        small="three",
        variants=(
            Variant(
                name="learnable", label="learnable", options={"fusion": "learnable"}, published=_ANYIR_FULL
            ),
            Variant(
                name="fixed",
                label="fixed (0.5)",
                options={"fusion": "fixed"},
                published=Published(psnr=32.63, ssim=0.917),
            ),
            Variant(
                name="spatial",
                label="spatial only",
                options={"fusion": "spatial"},
                published=Published(psnr=32.37, ssim=0.915),
            ),
            Variant(
                name="frequency",
                label="frequency only",
                options={"fusion": "frequency"},
                published=Published(psnr=32.09, ssim=0.919),
            ),
        ),
        benchmark=_ANYIR_AIO3,
        source="arXiv 2504.14249, table 10",
    ),
    Study(
        name="moce-experts",
        question="is the expert that the router chooses the best one for each degradation?",
        recipe="moce-s@aio3",
        small="three",
        variants=(
            Variant(name="learned", label="learned choice"),
            *(Variant(name=f"expert{i + 1}", label=f"expert {i + 1} forced", expert=i) for i in range(4)),
        ),
        benchmark="AIO-3, MoCE-IR",
        source="arXiv 2411.18466, as far as it could be read",
    ),
    Study(
        name="exda-toys",
        question="what can attention with linear values not learn that it can with nonlinear ones?",
        recipe=None,
        small=None,
        variants=(
            Variant(
                name="nonlinear",
                label="nonlinear, bare attention",
                options={"value": "nonlinear", "whole": False},
            ),
            Variant(
                name="linear", label="linear, bare attention", options={"value": "linear", "whole": False}
            ),
            Variant(
                name="linear-matched",
                label="matched linear, bare attention",
                options={"value": "matched", "whole": False},
            ),
            Variant(
                name="nonlinear-whole",
                label="nonlinear, whole block",
                options={"value": "nonlinear", "whole": True},
            ),
            Variant(
                name="linear-whole",
                label="linear, whole block",
                options={"value": "linear", "whole": True},
            ),
            Variant(
                name="linear-matched-whole",
                label="matched linear, whole block",
                options={"value": "matched", "whole": True},
            ),
        ),
        benchmark="toys: MNIST, linear 19.2 dB, nonlinear 25.1 dB; functions, linear 50.4 % worse",
        source="ExDA (ICLR 2026), section 3.2 and figure 3",
    ),
)

#: Every study by name, in the order of the papers.
STUDIES: dict[str, Study] = {study.name: study for study in _ALL}
