"""A gallery for the docs: a page in Markdown with before and after, a page to compare all models, JPEG files.

Both pages show the same files and the same numbers: PSNR and SSIM (scikit-image's default) of RGB in 8 bits,
before JPEG made the files small. A page that is opened from a folder may load pictures from there only.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from anyrestore import image
from anyrestore.evaluation.exhibits import HEIGHT, WIDTH, Exhibit, Restore, Seen, show
from anyrestore.evaluation.gallery import Shown
from anyrestore.evaluation.sliders import document, escape, slider
from anyrestore.image import Picture

__all__ = ["COMPARISON", "PICTURES", "Showcase"]

PICTURES = "images/gallery"
"""Folder of the pictures, beside the pages."""
COMPARISON = "gallery-compare.html"
_QUALITY = 80


class Showcase:
    """Exhibits that were restored.

    Args:
        exhibits: At least one.
        models: At least one, by label.
        command: The command that writes the pages.

    Raises:
        InputError: a photograph cannot be read.
    """

    def __init__(self, exhibits: Sequence[Exhibit], models: Mapping[str, Restore], *, command: str) -> None:
        self._shown = [(exhibit, show(exhibit, models)) for exhibit in exhibits]
        self._models = list(models)
        self._command = command

    def pictures(self) -> dict[str, bytes]:
        """JPEG files by name."""
        return {
            _file(exhibit, version): _jpeg(version)
            for exhibit, versions in self._shown
            for version in versions
        }

    def markdown(self) -> str:
        """The page with before and after, of the first model, and all numbers in a table."""
        first = self._models[0]
        lines = [
            "# Gallery",
            "",
            "Photographs that were damaged on purpose, and what the models make of them. The damage is what",
            "`anyrestore degrade` does, so the truth is known, and PSNR (dB) and SSIM can say how near a",
            f"result is. All are {WIDTH} x {HEIGHT} pixels. The failures are here too.",
            "",
            f"[Compare all models, with sliders]({COMPARISON}). Everything on both pages is written by",
            "",
            "```bash",
            self._command,
            "```",
            "",
            "Other photographs, and other damage: `anyrestore gallery --help`.",
        ]
        for exhibit, versions in self._shown:
            given, restored = versions[0], versions[1]
            lines += [
                "",
                f"## {exhibit.title}",
                "",
                f"| {_done(exhibit)} | `{first}` |",
                "|---|---|",
                f"| {_embedded(exhibit, given)} | {_embedded(exhibit, restored)} |",
                "",
                f"{_told(versions)}{' ' + exhibit.seen if exhibit.seen else ''}",
                *(["", f"Photograph: {exhibit.credit}."] if exhibit.credit else []),
            ]
        return "\n".join([*lines, "", *self._table()]) + "\n"

    def _table(self) -> list[str]:
        head = ["photograph", "done to it", "input", *self._models]
        rows = [
            [exhibit.title, _recipe(exhibit), *(_scores(version) for version in versions[:-1])]
            for exhibit, versions in self._shown
        ]
        return [
            "## All numbers",
            "",
            "PSNR in dB, and SSIM. A model that takes instructions was told the damage in words.",
            "",
            *(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)),
        ]

    def comparison(self) -> str:
        """The page with sliders."""
        sliders = "".join(
            slider(
                [_linked(exhibit, version) for version in versions],
                of=exhibit.title,
                caption=f"<strong>{escape(exhibit.title)}</strong> {escape(_plain(exhibit))}. "
                + escape(_all_told(versions))
                + (f" With {escape(self._models[0])}: {escape(exhibit.seen)}" if exhibit.seen else ""),
                left=0,
                right=1,
            )
            for exhibit, versions in self._shown
        )
        body = (
            "<header><h1>Before and after</h1>"
            '<p class="deck">Photographs that were damaged on purpose. Move the divider with the mouse, a '
            "finger or the arrow keys; the two lists choose what is left and right of it.</p></header>"
            f'<main><div class="sliders">{sliders}</div></main>'
            f"<footer><h2>Where this is from</h2><p><code>{escape(self._command)}</code></p></footer>"
        )
        pictures = "'self' file:"  # a browser does not count the page's own folder as 'self'
        return document("Before and after", body, generator="anyrestore gallery", pictures=pictures)


def _file(exhibit: Exhibit, version: Seen) -> str:
    return f"{exhibit.name}-{_slug(version.label)}.jpg"


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() or c == "-" else "-" for c in label)


def _jpeg(version: Seen) -> bytes:
    like = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    return image.encode(Picture(pixels=image.from_tensor(version.pixels, like)), "jpeg", quality=_QUALITY)


def _linked(exhibit: Exhibit, version: Seen) -> Shown:
    return Shown(label=version.label, uri=f"{PICTURES}/{_file(exhibit, version)}", height=HEIGHT, width=WIDTH)


def _embedded(exhibit: Exhibit, version: Seen) -> str:
    return f"![{exhibit.title}: {version.label}]({PICTURES}/{_file(exhibit, version)})"


def _recipe(exhibit: Exhibit) -> str:
    return f"`{exhibit.recipe}`" if exhibit.recipe else "nothing"


def _done(exhibit: Exhibit) -> str:
    return f"{_recipe(exhibit)}, seed {exhibit.seed}" if exhibit.recipe else "nothing done to it"


def _plain(exhibit: Exhibit) -> str:
    return _done(exhibit).replace("`", "")


def _scores(version: Seen) -> str:
    return "exact" if math.isinf(version.psnr) else f"{version.psnr:.2f}, {version.ssim:.3f}"


def _told(versions: Sequence[Seen]) -> str:
    """Before and after, of the first model."""
    given, restored = versions[0], versions[1]
    if math.isinf(given.psnr):
        same = "came back exactly the same" if math.isinf(restored.psnr) else "came back with"
        numbers = (
            "" if math.isinf(restored.psnr) else f" PSNR {restored.psnr:.2f} dB, SSIM {restored.ssim:.3f}"
        )
        return f"It {same}{numbers}."
    return (
        f"PSNR {given.psnr:.2f} to {restored.psnr:.2f} dB ({restored.psnr - given.psnr:+.2f}), "
        f"SSIM {given.ssim:.3f} to {restored.ssim:.3f}."
    )


def _all_told(versions: Sequence[Seen]) -> str:
    return "PSNR and SSIM: " + "; ".join(f"{v.label} {_scores(v)}" for v in versions[:-1]) + "."
