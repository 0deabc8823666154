"""Recipes by name: functions that return a full, typed run.

A name is MODEL@DATA. The published ones say in their modules which number is from where, and what the papers
leave open; docs/recipes.md has them in one table. A recipe whose network this version does not have can be
listed, shown and trained with another network (``--set model.name=cea-s``).
"""

from collections.abc import Callable

from anyrestore.training.recipes.anyir import anyir_aio3, anyir_aio5, anyir_balanced, anyir_cdd11
from anyrestore.training.recipes.cea import cea_aio3, cea_aio5, cea_cdd11
from anyrestore.training.recipes.common import sized
from anyrestore.training.recipes.composite import cea_t_composite, cea_t_continued, cea_t_larger, composite
from anyrestore.training.recipes.exda import (
    exda_aio3,
    exda_aio5,
    exda_allweather,
    exda_amir,
    exda_cdd11,
    exda_weatherbench,
)
from anyrestore.training.recipes.instructir import (
    instructir_3d,
    instructir_5d,
    instructir_7d,
    instructir_t_composite,
)
from anyrestore.training.recipes.moce import moce_aio3, moce_aio5, moce_cdd11
from anyrestore.training.recipes.promptir import promptir_aio3, promptir_aio5
from anyrestore.training.run import Run

__all__ = ["RECIPES"]

_FAMILIES: tuple[tuple[tuple[str, ...], dict[str, Callable[[str], Run]]], ...] = (
    (("cea-s", "cea"), {"aio3": cea_aio3, "aio5": cea_aio5, "cdd11": cea_cdd11}),
    (("cea-t", "cea-s"), {"composite": composite}),
    (
        ("exda-t", "exda-s", "exda-b"),
        {
            "aio3": exda_aio3,
            "aio5": exda_aio5,
            "cdd11": exda_cdd11,
            "allweather": exda_allweather,
            "weatherbench": exda_weatherbench,
            "amir": exda_amir,
        },
    ),
    (
        ("anyir-t", "anyir-s"),
        {"aio3": anyir_aio3, "aio5": anyir_aio5, "cdd11": anyir_cdd11, "balanced": anyir_balanced},
    ),
    (("moce-s", "moce"), {"aio3": moce_aio3, "aio5": moce_aio5, "cdd11": moce_cdd11}),
)

RECIPES: dict[str, Callable[[], Run]] = {
    **{
        f"{model}@{data}": sized(recipe, model)
        for models, recipes in _FAMILIES
        for model in models
        for data, recipe in recipes.items()
    },
    "promptir@aio3": promptir_aio3,
    "promptir@aio5": promptir_aio5,
    "instructir@3d": instructir_3d,
    "instructir@5d": instructir_5d,
    "instructir@7d": instructir_7d,
    "instructir-t@composite": instructir_t_composite,
    "cea-t-composite": cea_t_composite,
    "cea-t-continued": cea_t_continued,
    "cea-t-larger": cea_t_larger,
}
