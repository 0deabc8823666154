"""The page "Add a degradation", as it stands: its blocks of code are a degradation that keeps the contract.

Every test of ``tests/degradations/test_kinds.py`` that is asked of each kind is asked of the example too.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch

import anyrestore
from anyrestore import degradations
from anyrestore.cli.main import main
from anyrestore.degradations import KINDS
from documented import ROOT, blocks

PAGE = "docs/add-a-degradation.md"
EXAMPLE, LINE, TEST = blocks(PAGE, "python")
(COMMAND,) = blocks(PAGE, "text")
NAME = "anyrestore.degradations.impulse"


def contract() -> dict[str, Any]:
    """The tests of every kind, with the example's name alone in the place of all."""
    path = ROOT / "tests/degradations/test_kinds.py"
    spec = importlib.util.spec_from_file_location("for_the_degradation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {name: value for name, value in vars(module).items() if name.startswith("test_")}
    asked = dict[str, Any]()
    for name, test in found.items():
        for i, mark in enumerate(getattr(test, "pytestmark", [])):
            if mark.name == "parametrize" and mark.args[0] == "kind":
                test.pytestmark[i] = pytest.mark.parametrize("kind", ["impulse_noise"]).mark
                asked[name] = test
    return asked


CONTRACT = contract()
globals().update(CONTRACT)


@pytest.fixture(scope="module", autouse=True)
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Steps 1 and 2: the file stands beside the others, and the table has its line."""
    folder = tmp_path_factory.mktemp("degradations")
    (folder / "impulse.py").write_text(EXAMPLE)
    with pytest.MonkeyPatch.context() as patch:
        # Found by the package's own import, the file has its shapes checked like every other.
        patch.setattr(degradations, "__path__", [*degradations.__path__, str(folder)])
        impulse = importlib.import_module(NAME)
        for name, kind in eval(f"{{{LINE}}}", vars(impulse)).items():
            patch.setitem(KINDS, name, kind)  # type: ignore[arg-type]  # a mapping to others, a dict here
        yield impulse
    del sys.modules[NAME], degradations.impulse  # type: ignore[attr-defined]  # set by the import


@pytest.fixture(scope="session")
def photograph() -> torch.Tensor:
    """(1, 3, 96, 112) in [0, 1], as tests/degradations has it."""
    pixels = skimage.data.astronaut()[60:156, 160:272]
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float().contiguous() / 255


@pytest.fixture
def seeded() -> Any:
    return lambda seed: torch.Generator().manual_seed(seed)


def test_the_contract_came_along() -> None:
    assert len(CONTRACT) > 8
    assert "test_severity_zero_is_the_identity_bit_for_bit" in CONTRACT


def test_its_own_test_passes() -> None:
    scope: dict[str, Any] = {}
    exec(compile(TEST, PAGE, "exec"), scope)
    scope["test_a_share_of_the_pixels_is_lost"]()


def test_the_command_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.full((20, 30, 3), 99, np.uint8)
    anyrestore.write(anyrestore.Picture(pixels=pixels), "photo.jpg")
    arguments = COMMAND.replace('"', "").split()[1:]
    assert main(arguments) == 0
    made = anyrestore.read("dots.png").pixels
    assert made.shape == pixels.shape
    assert {0, 255} <= set(made.flatten().tolist())


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]])
def test_it_is_written_as_the_gates_want_it(check: list[str]) -> None:
    import subprocess

    command: list[Any] = [sys.executable, "-m", "ruff", *check, "--no-cache", "--stdin-filename"]
    done = subprocess.run(
        [*command, ROOT / "src/anyrestore/degradations/impulse.py", "-"],
        input=EXAMPLE,
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_places_that_the_steps_name_are_there() -> None:
    import re

    named = re.findall(r"`((?:src|tests)/[\w/]+\.py)`", (ROOT / PAGE).read_text())
    assert len(named) > 6
    assert [p for p in named if "impulse" not in p and not (ROOT / p).exists()] == []
