"""Every block of Python in the documentation runs, page by page, as a reader would paste them.

The pages of the networks and those that add something have tests of their own, which do more.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import anyrestore
from anyrestore.image import to_tensor
from anyrestore.layers.padding import pad_to_multiple
from documented import PAGES, blocks

ELSEWHERE = re.compile(r"docs/(models/|add-an?-)")
COMPILED = {
    "OWNER/NAME": "needs a repository of the Hugging Face hub; tests/zoo has it with a stand-in",
    "scunet": "needs spandrel (extra foreign, not in dev) and a public file",
}
SMALLER = {
    "/var/tmp": "mnt/disk",  # the test's own folder
    "simulations = 2_000": "simulations = 20",  # nine seconds
}
NEEDS = {"video": "av"}
ALL = {page: blocks(page, "python") for page in PAGES if not ELSEWHERE.match(page)}


def given() -> dict[str, Any]:
    """The names that snippets take for granted."""
    pixels = anyrestore.read("photo.jpg").pixels
    return {
        "anyrestore": anyrestore,
        "frames": ["photo.jpg", pixels],
        "paths": ["photo.jpg", "nothing.jpg"],
        "show": lambda result: None,
        "image": pad_to_multiple(to_tensor(pixels), 16)[0],
    }


def is_compiled(code: str) -> bool:
    return any(mark in code for mark in COMPILED)


@pytest.mark.parametrize("page", [page for page, codes in ALL.items() if codes])
def test_the_blocks_of_a_page_run(page: str, scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word, package in NEEDS.items():
        if any(f"import {word}" in code or f", {word}" in code for code in ALL[page]):
            pytest.importorskip(package, reason=f"{package} is not installed (extra {word})")
            import stand_ins

            stand_ins.make_clip(scratch / "clip.mp4")
    scope = given()
    for code in ALL[page]:
        text = code
        for theirs, ours in SMALLER.items():
            text = text.replace(theirs, ours)
        program = compile(text, page, "exec")
        if not is_compiled(code):
            exec(program, scope)
    printed = capsys.readouterr().out.strip()
    if printed and (told := blocks(page, "text")) and page == "docs/cost-at-scale.md":
        assert printed == told[0].strip()


def test_what_is_only_compiled_is_still_there() -> None:
    everything = [code for codes in ALL.values() for code in codes]
    assert [mark for mark in COMPILED if not any(mark in code for code in everything)] == []
    assert sum(map(is_compiled, everything)) < 0.25 * len(everything)
