"""The page "Add an architecture", as it stands: its blocks of code are a whole architecture of the zoo.

Every contract in ``tests/contracts`` that asks for a ``model``, or for the ``name`` of one in the catalogue,
is run on it too: the functions are taken from there, model and names are the example's.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anyrestore import Restorer, architectures, create_model, load_model
from anyrestore.benchmark import count_macs, count_parameters
from anyrestore.cli.main import main
from anyrestore.zoo import save_weights
from anyrestore.zoo.catalog import ARCHITECTURES, CATALOG, Architecture, Entry, Paper

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/add-an-architecture.md").read_text()
EXAMPLE, ARCHITECTURE, COUNTING, GOLDEN = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
ENTRIES = "".join(re.findall(r"^Entry\(.*\),$", SECTION, re.MULTILINE))
PAPER = "".join(re.findall(r"^Paper\(.*\),$", SECTION, re.MULTILINE))
NAME = "anyrestore.architectures.flat"


def load(path: Path) -> ModuleType:
    """A test file as a module of its own; what is changed in it is changed for nobody else."""
    spec = importlib.util.spec_from_file_location(f"for_the_example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def about_the_example(test: Any) -> bool:
    """Whether a contract can be asked of the example; one over names of the catalogue gets the example's."""
    wanted = inspect.signature(test).parameters
    for i, mark in enumerate(getattr(test, "pytestmark", [])):
        if mark.name == "parametrize" and mark.args[0] == "name" and set(mark.args[1]) <= set(CATALOG):
            ours = ["flat", "flat-tiny"] if set(mark.args[1]) == set(CATALOG) else ["flat-tiny"]
            test.pytestmark[i] = pytest.mark.parametrize("name", ours).mark
            return True
    return "model" in wanted


def contracts() -> dict[str, Any]:
    """What the files in tests/contracts define: fixtures and helpers all, tests where they fit."""
    found = dict[str, Any]()
    for path in sorted((ROOT / "tests/contracts").glob("test_*.py")):
        for name, value in vars(load(path)).items():
            test = name.startswith("test_")
            if name not in globals() and (not test or about_the_example(value)):
                found[name] = value
    return found


CONTRACTS = contracts()
globals().update(CONTRACTS)


@pytest.fixture(scope="module", autouse=True)
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Step 1 and 2: the file stands beside the other architectures, and the catalogue knows it."""
    folder = tmp_path_factory.mktemp("architectures")
    (folder / "flat.py").write_text(EXAMPLE)
    with pytest.MonkeyPatch.context() as patch:
        # Found by the package's own import, the file has its shapes checked like every other.
        patch.setattr(architectures, "__path__", [*architectures.__path__, str(folder)])
        flat = importlib.import_module(NAME)
        papers = {paper.name: paper for paper in eval(f"({PAPER})", {"Paper": Paper})}
        names = {"Architecture": Architecture, "Entry": Entry, "PAPERS": papers, "flat": flat}
        for name, made_by in eval(f"{{{ARCHITECTURE}}}", names).items():
            patch.setitem(ARCHITECTURES, name, made_by)
        for entry in eval(f"({ENTRIES})", names):
            patch.setitem(CATALOG, entry.name, entry)
        yield flat
    del sys.modules[NAME], architectures.flat  # type: ignore[attr-defined]  # set by the import


@pytest.fixture(scope="module")
def model(example: ModuleType) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model("flat-tiny").eval()


def test_the_contracts_came_along() -> None:
    taken = [name for name in CONTRACTS if name.startswith("test_")]
    assert "test_a_batch_equals_its_items" in taken
    assert len(taken) > 8


def test_every_preset_has_a_true_entry(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert [e.name for e in CATALOG.values() if e.architecture == "flat"] == list(example.PRESETS)
    for name in example.PRESETS:
        with torch.device("meta"):
            network = create_model(name)
        assert CATALOG[name].parameters == count_parameters(network)
        assert CATALOG[name].gmac == round(count_macs(network) / 1e9, 3)
    exec(COUNTING, {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed == [[n, str(CATALOG[n].parameters), str(CATALOG[n].gmac)] for n in example.PRESETS]


def test_the_command_lists_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert "Flat (2026)" in printed
    lines = {line.split()[0]: line.split() for line in printed if line.strip()}
    assert lines["flat"][1] == f"{CATALOG['flat'].parameters / 1e6:.2f}"


def test_it_is_stored_loaded_and_restores_a_picture(model: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "flat.safetensors"
    save_weights(model, file, dtype=torch.float32)
    again = load_model(file)
    assert again.config == model.config
    picture = np.random.default_rng(0).random((37, 51, 3), np.float32)
    restored = Restorer(file, device="cpu")(picture)
    assert restored.shape == picture.shape
    assert np.abs(restored - picture).max() > 1e-3
    tiled = Restorer(file, device="cpu", tile=32)(picture)
    assert np.abs(tiled - restored).max() < np.abs(restored - picture).max()


def test_its_golden_output_is_stored_by_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = load(ROOT / "tests/golden/test_golden.py")
    stored = tmp_path / "outputs.safetensors"
    stored.write_bytes(golden.STORED.read_bytes())
    monkeypatch.setattr(golden, "STORED", stored)
    golden.CASES.update(eval(f"{{{GOLDEN}}}"))
    golden.store(["flat-tiny"])
    for name in ("flat-tiny", "tiny"):
        golden.test_outputs_are_the_stored_ones(name)


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]])
def test_it_is_written_as_the_gates_want_it(check: list[str]) -> None:
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 60
    command: list[Any] = [sys.executable, "-m", "ruff", *check, "--no-cache", "--stdin-filename"]
    done = subprocess.run(
        [*command, ROOT / "src/anyrestore/architectures/flat.py", "-"],
        input=EXAMPLE,
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_places_that_the_steps_name_are_there() -> None:
    named = re.findall(r"`([\w/]+(?:\.py|\.md|/))`", SECTION)
    assert len(named) > 6
    for place in (p for p in named if "flat" not in p):
        assert any((ROOT / base / place).exists() for base in (".", "src/anyrestore")), place
