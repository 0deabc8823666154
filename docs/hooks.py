"""What the site (mkdocs.yml) needs beyond Markdown: pages from outside of docs/, formulas without scripts.

Links in the Markdown lead through the repository, so that they work there too; here those that leave docs/
are turned to the pages made of these files, and a link whose words are a file's name gets the page's title.
TeX becomes MathML, which browsers draw by themselves: MathJax or KaTeX would have to be fetched from another
host, or be kept in the repository.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "license.md",
    "SECURITY.md": "reporting.md",
    "samples/README.md": "samples.md",
    "src/anyrestore/zoo/files/cea-t.md": "cards/cea-t.md",
    "src/anyrestore/zoo/files/instructir-t.md": "cards/instructir-t.md",
}
"""Files of the repository, and the pages that they become."""

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s:]+?)(#[^)\s]*)?\)")
TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside."""
    for source, target in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if target == "license.md":
            text = f"# Licence\n\n```text\n{text}```\n"
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Turn links to files of the repository into links to the pages made of them."""
    pages = {target: source for source, target in OUTSIDE.items()}
    titles = dict(_navigation(config.nav))
    here = pages.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def turned(link: re.Match[str]) -> str:
        words, given, place = link[1], link[2], link[3] or ""
        source = posixpath.normpath(posixpath.join(posixpath.dirname(here), given))
        target = OUTSIDE.get(source) or (source.removeprefix("docs/") if source.startswith("docs/") else None)
        if target is not None:
            given = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        if words in (source, target, posixpath.basename(source)):
            words = titles.get(target or given) or _title(source)
        return f"[{words}]({given}{place})"

    parts = FENCE.split(markdown)
    return "".join(part if i % 2 else LINK.sub(turned, part) for i, part in enumerate(parts))


def _navigation(entry: object) -> Iterator[tuple[str, str]]:
    """Pages with the titles that they have in the navigation."""
    if isinstance(entry, list):
        for one in entry:
            yield from _navigation(one)
    elif isinstance(entry, dict):
        for title, inner in entry.items():
            yield from [(inner, title)] if isinstance(inner, str) else _navigation(inner)


@functools.cache
def _title(source: str) -> str:
    path = ROOT / source
    found = (
        TITLE.search(path.read_text(encoding="utf-8")) if path.suffix == ".md" and path.is_file() else None
    )
    return found[1] if found else path.name


def on_page_content(html: str, **_: object) -> str:
    """Make MathML of the formulas that arithmatex has marked; the TeX stays as their label."""

    def drawn(found: re.Match[str]) -> str:
        tex = unescape(found[2]).strip()[2:-2].strip()
        mathml = convert(tex, display="block" if found[1] == "div" else "inline")
        labelled = mathml.replace("<math ", f'<math aria-label="{escape(tex)}" ', 1)
        # A phone is narrower than some: they are scrolled, not the page.
        return f'<div style="overflow-x: auto">{labelled}</div>' if found[1] == "div" else labelled

    return FORMULA.sub(drawn, html)
