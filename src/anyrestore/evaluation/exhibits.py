"""What a gallery shows: photographs, what is done to them, and what becomes of that.

A list of exhibits is a TOML file. Every table `[[exhibit]]` in it has

    name      of its pictures' files: letters, digits, "-"
    file      the photograph, relative to the list; or "package:NAME/PATH", one that a Python package brings
    title     what it shows
    credit    who made it, and the licence
    recipe    what is done to it, as `anyrestore degrade` has it; left out: nothing
    seed      of what is random in that (0)
    focus     [x, y], which point of the photograph is in the middle, each in [0, 1] ([0.5, 0.5])
    seen      what somebody saw who looked at the result

A photograph is first made small: scaled to cover `WIDTH` x `HEIGHT`, and cut. All of it is seeded, so the
same list and the same models make the same pictures.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore.data.images import list_pictures, load_pictures
from anyrestore.degradations.compose import degrade, parse_recipe
from anyrestore.errors import UsageError
from anyrestore.evaluation.instruction import Told, takes_instruction
from anyrestore.inference import Restorer
from anyrestore.metrics import psnr, ssim_uniform
from anyrestore.text.instructions import Instructions
from anyrestore.text.sentences import sentence_for

__all__ = ["HEIGHT", "WIDTH", "Exhibit", "Seen", "from_pictures", "read_list", "show", "teller"]

WIDTH, HEIGHT = 320, 240
"""Of every exhibit, in pixels."""
_NAME = re.compile(r"[A-Za-z0-9-]+")
_PACKAGE = "package:"

Pixels = Float[Tensor, "1 3 h w"]
Restore = Callable[[Pixels, "Exhibit"], Pixels]


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One photograph and what is done to it; see the head of this file.

    Raises:
        UsageError: the name is no name of a file, the recipe is none, or the focus is outside.
    """

    name: str
    file: Path
    title: str
    credit: str = ""
    recipe: str = ""
    seed: int = 0
    focus: tuple[float, float] = (0.5, 0.5)
    seen: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"name: expected letters, digits and -, came {self.name!r}; choose another name")
        if not all(0 <= place <= 1 for place in self.focus):
            raise UsageError(f"focus: expected two numbers in [0, 1], came {self.focus}; 0.5 is the middle")
        _ = self.faults

    @property
    def faults(self) -> list[str]:
        """The names of the degradations, in order."""
        return [step.kind for step in parse_recipe(self.recipe)] if self.recipe else []


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One version of an exhibit: its pixels in 8 bits (h w 3 as a tensor (3 h w)), PSNR in dB and SSIM."""

    label: str
    pixels: Tensor
    psnr: float
    ssim: float


def read_list(path: Path) -> list[Exhibit]:
    """The exhibits of a list.

    Raises:
        UsageError: it cannot be read, or something in it is not as the head of this file says; the sentence
            names the exhibit.
    """
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8")).get("exhibit")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{path}: expected a list of exhibits in TOML, but {reason}; see docs/gallery.toml"
        ) from error
    tables = cast("list[Any]", content if isinstance(content, list) else [])
    if not tables:
        raise UsageError(
            f"{path}: expected at least one table [[exhibit]], found none; see docs/gallery.toml"
        )
    found: list[Exhibit] = []
    for number, table in enumerate(tables, start=1):
        where = f"{path}, exhibit {number}"
        found.append(_exhibit(table, path.parent, where))
        if any(other.name == found[-1].name for other in found[:-1]):
            raise UsageError(f"{where}: expected a name of its own, came {found[-1].name!r} again; rename it")
    return found


def _exhibit(table: Any, folder: Path, where: str) -> Exhibit:
    kinds = {field.name: str for field in fields(Exhibit)} | {"seed": int, "focus": list}
    if not isinstance(table, dict):
        raise UsageError(f"{where}: expected a table, came {table!r}; begin it with [[exhibit]]")
    given = dict(cast("dict[str, Any]", table))
    for key, value in given.items():
        if key not in kinds or not isinstance(value, kinds[key]):
            expected = f"{key} as {kinds[key].__name__}" if key in kinds else f"one of {', '.join(kinds)}"
            raise UsageError(f"{where}: expected {expected}, came {key} = {value!r}; change that line")
    missing = [key for key in ("name", "file", "title") if key not in given]
    if missing:
        raise UsageError(f"{where}: expected {missing[0]}, found none; add that line")
    if "focus" in given and (
        len(given["focus"]) != 2 or not all(isinstance(x, int | float) for x in given["focus"])
    ):
        raise UsageError(f"{where}: expected focus as [x, y], came {given['focus']}; change that line")
    try:
        given["file"] = _place(given["file"], folder)
        given["focus"] = tuple(map(float, given.get("focus", (0.5, 0.5))))
        return Exhibit(**given)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _place(file: str, folder: Path) -> Path:
    """Where a photograph is."""
    if not file.startswith(_PACKAGE):
        return folder / file
    package, _, inside = file.removeprefix(_PACKAGE).partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"file: expected the package {package}, which is not installed; pip install it")
    return Path(spec.submodule_search_locations[0]) / inside


def from_pictures(paths: Sequence[Path], recipes: Sequence[str], seed: int) -> list[Exhibit]:
    """Every photograph under every recipe, named after both.

    Args:
        paths: Files and folders.
        recipes: "" for none.
        seed: Of what is random.

    Raises:
        UsageError: a recipe is none.
        DataError: a folder holds no picture.
    """
    files = [file for path in paths for file in (list_pictures(path) if path.is_dir() else [path])]
    found: list[Exhibit] = []
    for file in files:
        for recipe in recipes:
            name = re.sub(r"[^A-Za-z0-9]+", "-", f"{len(found) + 1} {file.stem} {recipe or 'clean'}").strip(
                "-"
            )
            found.append(Exhibit(name=name, file=file, title=file.stem, recipe=recipe, seed=seed))
    return found


def teller(model: nn.Module) -> Restore:
    """What restores an exhibit with ``model``; one that takes instructions is told the faults in words.

    Raises:
        ModelError: it takes instructions, and the sentence encoder is not installed.
    """
    if not takes_instruction(model):
        restorer = Restorer(model)
        return lambda given, _: restorer(given)
    speak = Instructions()
    device = next(model.parameters()).device

    def restore(given: Pixels, exhibit: Exhibit) -> Pixels:
        vector = speak([sentence_for(exhibit.faults or ["noise"])]).vectors
        return Restorer(Told(model, vector.to(device)))(given)

    return restore


def show(exhibit: Exhibit, models: Mapping[str, Restore]) -> list[Seen]:
    """The input, what every model makes of it, and the photograph itself, in this order.

    Raises:
        InputError: the photograph cannot be read.
    """
    (photograph,) = load_pictures([exhibit.file], progress=False)
    clean = _rounded(_fitted(photograph[None] / 255, exhibit.focus))
    given = clean
    if exhibit.recipe:
        generator = torch.Generator().manual_seed(exhibit.seed)
        with torch.inference_mode():
            given = _rounded(degrade(clean, parse_recipe(exhibit.recipe), generator))
    outputs = {label: _rounded(restore(given, exhibit)) for label, restore in models.items()}
    return [_seen(label, of, clean) for label, of in {"input": given, **outputs, "original": clean}.items()]


def _seen(label: str, pixels: Tensor, clean: Tensor) -> Seen:
    scores = float(psnr(pixels, clean)), float(ssim_uniform(pixels, clean))
    return Seen(label=label, pixels=pixels, psnr=scores[0], ssim=scores[1])


def _fitted(photograph: Tensor, focus: tuple[float, float]) -> Tensor:
    """Scaled to cover the size of an exhibit, and cut around the focus as far as there is room."""
    height, width = photograph.shape[-2:]
    scale = max(HEIGHT / height, WIDTH / width)
    size = max(HEIGHT, round(height * scale)), max(WIDTH, round(width * scale))
    scaled = F.interpolate(photograph, size, mode="bicubic", antialias=True).clamp(0, 1)
    left = min(max(0, round(focus[0] * size[1] - WIDTH / 2)), size[1] - WIDTH)
    top = min(max(0, round(focus[1] * size[0] - HEIGHT / 2)), size[0] - HEIGHT)
    return scaled[..., top : top + HEIGHT, left : left + WIDTH]


def _rounded(pixels: Tensor) -> Tensor:
    """To 8 bits, as a file holds them."""
    return (pixels.clamp(0, 1) * 255).round() / 255
