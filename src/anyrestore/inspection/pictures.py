"""The pictures that are looked at: one, or a labelled set, each small enough for a bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anyrestore import degradations, image
from anyrestore.data.images import decode_picture, list_pictures
from anyrestore.errors import UsageError
from anyrestore.inspection.fitting import Fit, fit
from anyrestore.types import Image

CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One picture of a labelled set.

    Attributes:
        label: its degradation.
        path: its file.
        recipe: how to degrade it first, as :func:`anyrestore.degradations.parse_recipe` reads it; None for
            not at all.
    """

    label: str
    path: Path
    recipe: str | None = None


def read(path: Path, max_side: int, how: Fit = "crop") -> tuple[Image, str]:
    """A file's picture, fitted; grey becomes RGB, alpha is left out."""
    return fit(image.to_tensor(image.read(path).pixels), max_side, how)


def labelled(sources: Sequence[str], recipes: str | None = None, limit: int | None = None) -> list[Labelled]:
    """The labelled set that a command names.

    Args:
        sources: one folder whose subfolders are the labels; or, with ``recipes``, one folder of clean
            pictures; or one ``LABEL=FOLDER`` or ``LABEL=FOLDER@RECIPE`` for each label.
        recipes: joined by commas, each a label of its own: ``noise:0.5,rain:0.6+haze:0.5,clean``.
        limit: only the first so many pictures of each label, by name.

    Raises:
        UsageError: the sources are none of these, or a recipe is not right.
        DataError: a folder is missing or holds no picture.
    """
    named = ["=" in source and not Path(source).is_dir() for source in sources]
    if recipes is not None:
        if len(sources) != 1 or any(named):
            raise UsageError("--degrade takes one folder of clean pictures; LABEL=DIR@RECIPE is for several")
        wanted = [(recipe.strip(), sources[0], recipe.strip()) for recipe in recipes.split(",")]
    elif all(named):
        wanted = [_named(source) for source in sources]
    elif len(sources) == 1:
        folders = sorted(path for path in Path(sources[0]).glob("*") if path.is_dir())
        if len(folders) < 2:
            raise UsageError(
                f"expected subfolders of {sources[0]}, one a label, found {len(folders)}; for a folder of "
                "clean pictures add --degrade noise:0.5,rain:0.6"
            )
        wanted = [(folder.name, str(folder), CLEAN) for folder in folders]
    else:
        raise UsageError("expected one folder, or LABEL=DIR or LABEL=DIR@RECIPE for each label")
    labels = [label for label, _, _ in wanted]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UsageError(f"expected every label once, came {', '.join(twice)} more often")
    for _, _, recipe in wanted:
        if recipe != CLEAN:
            degradations.parse_recipe(recipe)
    return [
        Labelled(label=label, path=path, recipe=None if recipe == CLEAN else recipe)
        for label, folder, recipe in wanted
        for path in list_pictures(Path(folder))[:limit]
    ]


def _named(source: str) -> tuple[str, str, str]:
    label, _, rest = source.partition("=")
    folder, at, recipe = rest.rpartition("@")
    # A folder's own name may hold an @.
    if not at or Path(rest).is_dir():
        folder, recipe = rest, CLEAN
    if not label or not folder:
        raise UsageError(f"expected LABEL=DIR or LABEL=DIR@RECIPE, came {source!r}")
    return label, folder, recipe


def load(pictures: Sequence[Labelled], max_side: int, how: Fit = "crop", seed: int = 0) -> Iterator[Tensor]:
    """The pictures (1 3 h w) one after another, fitted, then degraded; sizes may differ.

    What is random depends on the seed, the recipe and the file's name, not on the others of the set.
    """
    for one in pictures:
        decoded: Tensor = decode_picture(one.path)
        picture = decoded.float() / 255 if decoded.dtype == torch.uint8 else decoded
        small, _ = fit(picture[None], max_side, how)
        if one.recipe is not None:
            own = zlib.crc32(f"{one.recipe} {one.path.name}".encode()) ^ seed
            small = degradations.degrade(small, one.recipe, torch.Generator().manual_seed(own))
        yield small
