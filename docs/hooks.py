"""What the site (mkdocs.yml) needs beyond Markdown: pages from outside of docs/, formulas without scripts.

Links in the Markdown lead through the repository, so that they work there too; here those that leave docs/
are turned to the pages made of the same files. TeX becomes MathML, which browsers draw by themselves: MathJax
or KaTeX would have to be fetched from another host, or be kept in the repository.
"""

from __future__ import annotations

import posixpath
import re
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

LINK = re.compile(r"(\]\()([^)\s:]+?)(#[^)\s]*)?(\))")
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


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Turn links to files of the repository into links to the pages made of them."""
    pages = {target: source for source, target in OUTSIDE.items()}
    here = pages.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def turned(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), link[2]))
        target = (
            OUTSIDE.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
            or link[2]
        )
        if target != link[2]:
            target = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{link[1]}{target}{link[3] or ''}{link[4]}"

    parts = FENCE.split(markdown)
    return "".join(part if i % 2 else LINK.sub(turned, part) for i, part in enumerate(parts))


def on_page_content(html: str, **_: object) -> str:
    """Make MathML of the formulas that arithmatex has marked; the TeX stays as their label."""

    def drawn(found: re.Match[str]) -> str:
        tex = unescape(found[2]).strip()[2:-2].strip()
        mathml = convert(tex, display="block" if found[1] == "div" else "inline")
        return mathml.replace("<math ", f'<math aria-label="{escape(tex)}" ', 1)

    return FORMULA.sub(drawn, html)
