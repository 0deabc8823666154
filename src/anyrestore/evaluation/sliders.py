"""Pages with pictures to slide over: the document, what it may load, one slider.

A slider holds several versions of one picture, of the same size, and shows two of them, left and right of a
divider; two lists choose which. It is an ordinary range input, so the keyboard moves it. Colours follow the
reader's choice of light or dark (`page.css`), the one script is `page.js`.

What is unusual: the page's content security policy lets nothing run but that script, by its hash, and nothing
load but the pictures that the caller names.
"""

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files

from anyrestore.evaluation.gallery import Shown

__all__ = ["document", "escape", "slider"]


def document(title: str, body: str, *, generator: str, pictures: str = "data:") -> str:
    """A page that needs no network.

    Args:
        title: Plain text.
        body: HTML.
        generator: The command that wrote it.
        pictures: Where pictures may come from, in the words of a content security policy.
    """
    here = files("anyrestore.evaluation")
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    script = here.joinpath("page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src {pictures}; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="{escape(generator)}">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def slider(shown: Sequence[Shown], *, of: str, caption: str, left: int, right: int) -> str:
    """A figure of several versions of a picture.

    Args:
        shown: The versions.
        of: What is seen, for who cannot see it.
        caption: HTML.
        left: The version that is left of the divider at first.
        right: The one right of it.
    """
    stack = "".join(
        f'<img src="{escape(version.uri)}" width="{version.width}" height="{version.height}" '
        f'decoding="async" alt="{escape(f"{of}: {version.label}")}"'
        + (' class="left"' if i == left and left != right else "" if i in (left, right) else " hidden")
        + ">"
        for i, version in enumerate(shown)
    )

    def chooser(what: str, chosen: int) -> str:
        options = "".join(
            f'<option value="{i}"{" selected" if i == chosen else ""}>{escape(version.label)}</option>'
            for i, version in enumerate(shown)
        )
        return f"<label>{what} <select>{options}</select></label>"

    tall = " tall" if shown[0].height > shown[0].width else ""
    return (
        f'<figure class="slider{tall}"><div class="stage">{stack}<div class="divider"></div>'
        f'<input type="range" min="0" max="100" value="50" '
        f'aria-label="{escape(f"Divider between the two versions of {of}")}"></div>'
        f'<div class="choices">{chooser("left", left)}{chooser("right", right)}'
        '<button type="button" aria-pressed="false">Larger</button></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def escape(text: object) -> str:
    """Text as HTML, between tags or in an attribute."""
    return html.escape(str(text), quote=True)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
