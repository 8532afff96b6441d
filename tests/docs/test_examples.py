"""The notebooks in ``examples/`` run from top to bottom and show what they promise."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import layerscout

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_printed(path):
    """What a machine printed once would soon be untrue; whoever opens it runs it."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_the_first_look_does_the_whole_job_with_tables_and_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(layerscout.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (path,) = (path for path in NOTEBOOKS if path.name == "first_look.ipynb")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "IProgress" not in output.get("text", "")
    ]
    assert [output for output in shown if output.output_type in ("error", "stream")] == [], (
        "nothing fails, and nothing is printed on the way"
    )
    kinds = [kind for output in shown for kind in output.data]
    assert kinds.count("image/png") + kinds.count("image/svg+xml") >= 3
    tables = [output.data["text/html"] for output in shown if "text/html" in output.data]
    assert len(tables) >= 5
    assert any("blocks.3" in table and "reward R²" in table for table in tables)
