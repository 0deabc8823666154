"""A folder with everything that the documentation's commands and snippets name, in miniature."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import stand_ins
from documented import ROOT


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_ins.make(tmp_path_factory.mktemp("stand-ins"))


@pytest.fixture
def scratch(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader types; what is made in it is gone after the test."""
    folder = tmp_path / "scratch"
    shutil.copytree(template, folder, symlinks=True)
    (folder / "docs").mkdir()
    for path in (ROOT / "docs/cost.md", *(ROOT / "docs").glob("*.toml")):
        shutil.copy(path, folder / "docs")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in (("ID", "1"), ("COUNT", "2")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    return folder
