"""The site of docs/: it builds without a warning, asks no other host for anything, and has every page.

A link that leads nowhere is a warning, and `--strict` makes it an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from documented import ROOT

pytest.importorskip("material", reason='mkdocs-material is not installed (extra "docs")')
pytest.importorskip("latex2mathml", reason='latex2mathml is not installed (extra "docs")')

FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
    "use": "href",
}


class _Fetches(HTMLParser):
    """What a browser would fetch by itself to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses = list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(found.get(FETCHED.get(tag, "")) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", target],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    return target


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    outside = {
        Path(name) for name in ("changelog.html", "contributing.html", "reporting.html", "cards/cea-t.html")
    }
    assert {path for path in pages | outside if not (site / path).is_file()} == set()


def test_nothing_is_fetched_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    found = 0
    for path in pages:
        fetches = _Fetches()
        fetches.feed(path.read_text())
        found += sum(map(bool, fetches.addresses))
        assert [one for one in fetches.addresses if re.match(r"(\w+:)?//", one)] == [], path
    assert found > 2 * len(pages)
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import", path.read_text()) == [], path


def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "models/cea.html").read_text()
    assert page.count("<math") > 10
    assert 'class="arithmatex"' not in page
    assert r"\mathrm" not in re.sub(r'aria-label="[^"]*"', "", page)


def test_links_between_pages_and_the_repository_are_turned(site: Path) -> None:
    assert 'href="../cards/cea-t.html"' in (site / "models/cea.html").read_text()
    assert 'href="add-an-architecture.html"' in (site / "contributing.html").read_text()


def test_links_say_the_title_of_a_page_not_its_file(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert '<a href="folders.html">Many pictures</a>' in page
    written = (ROOT / "docs/index.md").read_text()
    assert "[folders.md](folders.md)" in written
    assert re.findall(r"<a [^>]*>[\w-]+\.md</a>", page) == []


def test_wide_formulas_are_scrolled_by_themselves(site: Path) -> None:
    page = (site / "models/cea.html").read_text()
    blocks = page.count('display="block"')
    assert 0 < blocks == page.count('<div style="overflow-x: auto"><math ')
