"""The gallery: its list, what becomes of a photograph, and both pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from anyrestore import image
from anyrestore.errors import UsageError
from anyrestore.evaluation import exhibits
from anyrestore.evaluation.exhibits import HEIGHT, WIDTH, Exhibit, read_list, show, teller
from anyrestore.evaluation.showcase import COMPARISON, PICTURES, Showcase
from anyrestore.image import Picture
from pictures import ramp
from tiny_models import make

DOCS = Path(__file__).parents[2] / "docs"
GOOD = '[[exhibit]]\nname = "a"\nfile = "a.png"\ntitle = "A"\n'


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    image.write(Picture(pixels=ramp(height=300, width=500)), path)
    return path


def exhibit(path: Path, **more: object) -> Exhibit:
    return Exhibit(**({"name": "a", "file": path, "title": "A <b>", "credit": "me, CC0"} | more))  # type: ignore[arg-type]


def half(given: torch.Tensor, _: Exhibit) -> torch.Tensor:
    return given / 2


# ---------------------------------------------------------------------------------------------- the list


def test_a_list(tmp_path: Path) -> None:
    (tmp_path / "l.toml").write_text(
        GOOD + 'recipe = "rain:0.5+haze:0.2"\nseed = 3\nfocus = [0, 0.25]\n'
        '[[exhibit]]\nname = "b"\nfile = "package:numpy/core/x.png"\ntitle = "B"\n'
    )
    first, second = read_list(tmp_path / "l.toml")
    assert first == Exhibit(
        name="a",
        file=tmp_path / "a.png",
        title="A",
        recipe="rain:0.5+haze:0.2",
        seed=3,
        focus=(0.0, 0.25),
    )
    assert first.faults == ["rain", "haze"]
    assert second.file == Path(np.__file__).parent / "core/x.png"
    assert second.faults == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least one table"),
        ("exhibit = 3", "at least one table"),
        ("exhibit = [3]", "expected a table"),
        ("[[exhibit]", "in TOML"),
        ('[[exhibit]]\nname = "a"\ntitle = "A"\n', "exhibit 1: expected file"),
        (GOOD + "sead = 1", "expected one of name"),
        (GOOD + 'seed = "1"', "expected seed as int"),
        (GOOD + "focus = [0.5]", r"expected focus as \[x, y\]"),
        (GOOD + "focus = [0.5, 2]", r"exhibit 1: focus: .* in \[0, 1\]"),
        (GOOD + 'recipe = "fog:1"', "exhibit 1: .*fog"),
        (GOOD.replace('"a"', '"../a"'), "letters, digits"),
        (GOOD.replace("a.png", "package:no_such_package/a.png"), "no_such_package, which is not installed"),
        (GOOD + GOOD, "exhibit 2: expected a name of its own"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "l.toml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_list(tmp_path / "l.toml")


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_list(tmp_path / "l.toml")


# --------------------------------------------------------------------------------------------- an exhibit


def test_what_is_done_is_the_seeds(photograph: Path) -> None:
    given, restored, original = show(exhibit(photograph, recipe="noise:0.5", seed=1), {"half": half})
    again, *_ = show(exhibit(photograph, recipe="noise:0.5", seed=1), {"half": half})
    other, *_ = show(exhibit(photograph, recipe="noise:0.5", seed=2), {"half": half})
    assert torch.equal(again.pixels, given.pixels)
    assert not torch.equal(other.pixels, given.pixels)
    assert given.pixels.shape == (1, 3, HEIGHT, WIDTH)
    difference = (given.pixels - original.pixels).square().mean()
    assert given.psnr == pytest.approx(float(-10 * difference.log10()), abs=1e-3)
    assert restored.psnr < given.psnr
    assert [seen.label for seen in (given, restored, original)] == ["input", "half", "original"]
    assert torch.equal(original.pixels, (original.pixels * 255).round() / 255)  # as files hold it


def test_the_focus_says_what_is_cut(photograph: Path) -> None:
    left, right = (show(exhibit(photograph, focus=(x, 0.5)), {})[0].pixels for x in (0.0, 1.0))
    whole = exhibits._fitted(image.to_tensor(image.read(photograph).pixels), (0.0, 0.5))
    assert (left - whole).abs().max() < 0.003
    assert not torch.equal(left, right)


def test_who_takes_instructions_is_told_the_faults(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentences import HashedSentences

    heard: list[list[str]] = []
    monkeypatch.setattr("anyrestore.text.instructions.load_encoder", HashedSentences)
    speak = exhibits.Instructions.__call__

    def listening(self: exhibits.Instructions, sentences: list[str]) -> object:
        heard.append(sentences)
        return speak(self, sentences)

    monkeypatch.setattr(exhibits.Instructions, "__call__", listening)
    models = {"told": teller(make("instructir-tiny")), "alone": teller(make("tiny"))}
    shown = show(exhibit(photograph, recipe="rain:0.5"), models)
    assert [seen.label for seen in shown] == ["input", "told", "alone", "original"]
    assert heard == [["Remove the rain from this picture."]]


# -------------------------------------------------------------------------------------------- the pages


class Pictures(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.sources.append(dict(attrs)["src"] or "")


def test_pages_show_the_pictures_and_their_numbers(photograph: Path) -> None:
    of = [exhibit(photograph, recipe="noise:1", seen="Nothing."), exhibit(photograph, name="b")]
    made = Showcase(of, {"half": half, "whole": lambda given, _: given}, command="anyrestore gallery x")
    files = {f"{PICTURES}/{name}" for name in made.pictures()}
    assert len(files) == 2 * 4
    for data in made.pictures().values():
        assert image.decode(data).pixels.shape == (HEIGHT, WIDTH, 3)
    text = made.markdown()
    linked = set(re.findall(r"\]\(([^)]+)\)", text))
    assert linked - {COMPARISON} < files
    given, restored = show(of[0], {"half": half})[:2]
    assert f"PSNR {given.psnr:.2f} to {restored.psnr:.2f} dB" in text
    assert "Nothing." in text
    assert "anyrestore gallery x" in text
    assert "It came back with PSNR" in text
    assert "me, CC0" in text
    page = made.comparison()
    assert set(Pictures(page).sources) == files
    assert "A &lt;b&gt;" in page
    assert "<b>" not in page
    assert f"half {restored.psnr:.2f}, {restored.ssim:.3f}" in page
    assert "://" not in page


def test_the_gallery_of_the_docs_is_whole_and_small() -> None:
    pages = [(DOCS / name).read_text(encoding="utf-8") for name in ("gallery.md", COMPARISON)]
    listed = re.findall(r'^name = "(.+)"$', (DOCS / "gallery.toml").read_text(encoding="utf-8"), re.MULTILINE)
    versions = ("input", "cea-t", "instructir-t", "original")
    files = {f"{name}-{version}.jpg" for name in listed for version in versions}
    stored = {path.name for path in (DOCS / PICTURES).iterdir()}
    assert stored == files
    assert {source.removeprefix(f"{PICTURES}/") for source in Pictures(pages[1]).sources} == files
    assert sum(path.stat().st_size for path in (DOCS / PICTURES).iterdir()) < 1_500_000
    for page in pages:
        assert "anyrestore gallery docs/gallery.toml --model cea-t --model instructir-t -o docs" in page
