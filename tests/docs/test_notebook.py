"""The notebook runs from its first cell to its last, offline, and is stored without outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from documented import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed (extra dev)")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra dev)")
pytest.importorskip("matplotlib", reason='matplotlib is not installed (extra "figures")')

NOTEBOOK = ROOT / "docs/notebooks/first-steps.ipynb"


def test_it_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 5
    assert [cell.outputs for cell in code if cell.outputs or cell.execution_count] == []
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own packages
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # 120 s: half a minute on a machine that does nothing else.
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()
    printed = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    pictures = [out for outputs in printed.values() for out in outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 3
    lines = "".join(
        out.text for outputs in printed.values() for out in outputs if out.output_type == "stream"
    ).split()
    worse, better = (float(lines[i + 1]) for i, word in enumerate(lines) if word in ("worse:", "better:"))
    assert better > worse + 3
