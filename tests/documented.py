"""What the documentation tells people to type: every fenced block, and the commands in it.

The rules that the pages keep: a block without a language (or ``sh``) holds commands. With ``$`` before some
lines these are the commands and the others their output; a script (``#!``) is one command a line. ``text`` is
anything else: output, a synopsis with brackets.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "src/anyrestore/zoo/files"
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(CARDS.glob("*.md")))
} | {"samples/README.md": ROOT / "samples/README.md"}
SHELL = ("", "sh", "bash")
VARIABLES = re.compile(r"^(?:\w+=\S+ )+")
LAUNCHERS = re.compile(
    r"(?:\w+=\S+ )*(?:srun |(?:torchrun|accelerate launch)(?: --\S+(?: \d+)?)* -m |python -m )?"
    r"(?=anyrestore )"
)


@dataclass(frozen=True)
class Command:
    """One command of a page; ``text`` is as it stands there, in one line, without its comment."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """What the program is given; a launcher and variables before `anyrestore` are left out."""
        return shlex.split(VARIABLES.sub("", LAUNCHERS.sub("", self.text, count=1)))


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages, in order; also those inside lists."""
    found = re.findall(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", PAGES[page].read_text(), re.MULTILINE | re.DOTALL)
    return [
        re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, tag, code in found if tag in languages
    ]


def commands(page: str) -> list[Command]:
    """Every command of a page, in order."""
    return [Command(page, text) for block in blocks(page, *SHELL) for text in _commands(block)]


def synopses(page: str) -> list[str]:
    """Commands with brackets, and those in running text: they are not run, but what they name must exist."""
    prose = re.sub(r"```.*?```", "", PAGES[page].read_text(), flags=re.DOTALL)
    found = re.findall(r"`((?:anyrestore|python -m anyrestore) [^`]+)`", prose)
    for block in blocks(page, "text"):
        found += re.findall(r"^anyrestore .*(?:\n {4,}.*)*", block, re.MULTILINE)
    return [" ".join(text.split()) for text in found]


def _commands(block: str) -> Iterator[str]:
    lines = block.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    waiting = ""
    for line in lines:
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting += line.removesuffix("\\") if line.endswith("\\") else f"{line}\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(waiting, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        yield _without_comment(waiting) if words else ""
        waiting = ""
    assert not waiting, f"a command does not end: {waiting}"


def _without_comment(text: str) -> str:
    """In one line; what follows a space and a # outside of quotations is a comment."""
    quoted = re.split(r"""('[^']*'|"(?:\\.|[^"\\])*")""", text)
    for i in range(0, len(quoted), 2):
        if (comment := re.search(r"(?:^|\s)#", quoted[i])) is not None:
            quoted = [*quoted[:i], quoted[i][: comment.start()]]
            break
    return "".join(part if i % 2 else re.sub(r"\s+", " ", part) for i, part in enumerate(quoted)).strip()
