"""Sheets and plots: of every architecture, in every format, the same twice, nothing outside the page."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from anyrestore.errors import UsageError
from anyrestore.inspection import figures, look
from anyrestore.inspection.clusters import Separation
from anyrestore.inspection.figures import Caption, check_suffix, draw_separation, draw_sheet
from anyrestore.zoo import create_model

SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture
def drawing() -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[figures._Page]:
    """Every page that is drawn."""
    made: list[figures._Page] = []
    store = figures._Page.store

    def keep(page: figures._Page, suffix: str) -> bytes:
        made.append(page)
        return store(page, suffix)

    monkeypatch.setattr(figures._Page, "store", keep)
    return made


def check_page(page: figures._Page, *, sheet: bool = True) -> None:
    """All that is drawn lies on the page, no text on another, and on a sheet no picture or bar either."""
    renderer = (
        importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(page.figure).get_renderer()
    )
    whole = page.figure.bbox
    texts = [text.get_window_extent(renderer) for text in page.figure.texts if text.get_text()]
    for box in [*texts, *(axes.get_tightbbox(renderer) for axes in page.figure.axes)]:
        assert whole.x0 - 1 <= box.x0
        assert box.x1 <= whole.x1 + 1
        assert whole.y0 - 1 <= box.y0
        assert box.y1 <= whole.y1 + 1
    for i, box in enumerate(texts):
        assert not any(box.overlaps(other.shrunk(0.9, 0.7)) for other in texts[:i])
    if sheet:  # the plot of a set has its legend outside its axes
        drawn = [axes.get_tightbbox(renderer) for axes in page.figure.axes]
        for i, box in enumerate(drawn):
            assert not any(box.overlaps(other.shrunk(0.98, 0.9)) for other in drawn[:i])


@pytest.mark.parametrize(
    "name",
    ["tiny", "exda-tiny", "anyir-tiny", "moce-tiny", "restormer-tiny", "promptir-tiny", "instructir-tiny"],
)
def test_a_sheet_of_every_architecture(drawing: None, pages: list[figures._Page], name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(name)
    findings = look(model, torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)))
    drawn = draw_sheet(findings, Caption(title="a name $x^ with_signs", lines=("One.",), untrained=True))
    assert drawn.startswith(SIGNATURES[".png"])
    (page,) = pages
    said = [text.get_text() for text in page.figure.texts]
    assert "UNTRAINED: random weights" in said
    assert {"input", "output", "a name $x^ with_signs"} <= set(said)
    check_page(page)


@pytest.mark.parametrize(
    ("name", "size"),
    [("exda-tiny", (1, 1)), ("tiny", (3, 300)), ("anyir-tiny", (3, 300)), ("anyir-tiny", (300, 3))],
)
def test_odd_shapes_fit(drawing: None, pages: list[figures._Page], name: str, size: tuple[int, int]) -> None:
    findings = look(create_model(name), torch.rand(1, 3, *size))
    draw_sheet(findings, Caption(title="x"))
    assert pages[0].height < 40
    check_page(pages[0])


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_formats_and_the_same_twice(drawing: None, suffix: str) -> None:
    findings = look(create_model("tiny"), torch.rand(1, 3, 16, 16), looks=["routing"], layers="decoder.2.*")
    first, second = (draw_sheet(findings, Caption(title="x"), suffix) for _ in range(2))
    assert first.startswith(SIGNATURES[suffix])
    if suffix != ".svg":  # its element names are drawn anew each time
        assert first == second
    assert "matplotlib.pyplot" not in sys.modules


def separation(labels: int, each: int) -> Separation:
    known = tuple(i for i in range(labels) for _ in range(each))
    return Separation(
        names=tuple(f"degradation {i}: a name" for i in range(labels)),
        labels=known,
        clusters=known[1:] + known[:1],
        plane=torch.rand(labels * each, 2, generator=torch.Generator().manual_seed(0)) * 1e3,
        method="pca",
        nmi=0.5,
        ari=0.25,
    )


@pytest.mark.parametrize("labels", [2, 5, 12])
def test_a_plot_of_labels(drawing: None, pages: list[figures._Page], labels: int) -> None:
    drawn = draw_separation(separation(labels, 7), Caption(title="x", lines=("Embedding: none.",)))
    assert drawn.startswith(SIGNATURES[".png"])
    said = [text.get_text() for text in pages[0].figure.texts]
    assert "NMI 0.500    ARI 0.250" in said
    check_page(pages[0], sheet=False)


def test_endings() -> None:
    assert check_suffix(Path("A.PDF")) == ".pdf"
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg"):
        check_suffix(Path("sheet.jpg"))


def test_without_matplotlib_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"anyrestore\[figures\]") as caught:
        figures.check_installed()
    assert caught.value.code == "no_figures"
