"""The Dockerfile cannot be built here; what can be checked of it is: its lint, its sources, its commands."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anyrestore.cli.main import build_parser
from documented import ROOT

LINES = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text()).splitlines()


def instructions(word: str) -> list[str]:
    return [line.removeprefix(word).strip() for line in LINES if line.startswith(f"{word} ")]


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout


def test_every_source_exists_and_reaches_the_builder() -> None:
    passed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [words.split()[:-1] for words in instructions("COPY") if not words.startswith("--from")]
    sources = {source for words in copied for source in words}
    assert sources == passed
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_it_runs_as_an_ordinary_user_with_a_pinned_base() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert {
        re.fullmatch(r"python:3\.\d+-slim-[a-z]+( AS build)?", base) is not None
        for base in instructions("FROM")
    } == {True}


def test_its_commands_are_understood() -> None:
    (entry,) = map(json.loads, instructions("ENTRYPOINT"))
    assert entry[:2] == ["anyrestore", "serve"]
    assert "--token-file" in entry
    verbs = next(a.choices for a in build_parser()._actions if isinstance(a.choices, dict))
    if "serve" in verbs:
        args = build_parser().parse_args(entry[1:])
        assert str(args.port) == instructions("EXPOSE")[0]
    (check,) = (json.loads(words[words.index("[") :]) for words in instructions("HEALTHCHECK"))
    assert check[:2] == ["python", "-c"]
    ast.parse(check[2])
    assert f":{instructions('EXPOSE')[0]}/readyz" in check[2]
