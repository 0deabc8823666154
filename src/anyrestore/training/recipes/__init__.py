"""Recipes by name: functions that return a full, typed run."""

from collections.abc import Callable

from anyrestore.training.recipes.composite import cea_t_composite, cea_t_continued
from anyrestore.training.run import Run

RECIPES: dict[str, Callable[[], Run]] = {
    "cea-t-composite": cea_t_composite,
    "cea-t-continued": cea_t_continued,
}
