"""Recipes by name: functions that return a full, typed run."""

from collections.abc import Callable

from anyrestore.training.recipes.composite import cea_t_composite
from anyrestore.training.run import Run

RECIPES: dict[str, Callable[[], Run]] = {"cea-t-composite": cea_t_composite}
