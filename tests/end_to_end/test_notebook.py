"""The notebook of the exercise runs from its first to its last cell."""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "experiment_tracking.ipynb"


def texts(cell) -> str:
    """Return what a cell printed or shows, as text."""
    outputs = [output.get("text", "") for output in cell.outputs]
    outputs += ["".join(o.get("data", {}).get("text/plain", "")) for o in cell.outputs]
    return "\n".join(outputs)


def test_notebook_holds_no_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 8 <= len(code) <= 12
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.exhaustive
@pytest.mark.photographs
def test_notebook_runs_on_the_photographs(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    shutil.copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    try:
        client.execute()
    finally:
        for process in psutil.process_iter(["cmdline"]):  # TensorBoard outlives the notebook
            if any(str(tmp_path) in word for word in process.info["cmdline"] or ()):
                process.terminate()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "Trainable parameters: 3,843" in texts(code[2])
    eight = texts(code[4])
    assert eight.count("effnetlite2") > 4 and "report.html" in eight
    assert "[8 rows x 7 columns]" in texts(code[5]) or texts(code[5]).count("effnetlite") == 8
    board = "".join(str(output.get("data", "")) for output in code[3].outputs)
    assert "tensorboard-frame" in board
    assert [o for o in code[-1].outputs if "image/png" in o.get("data", {})]
    assert len(list(tmp_path.glob("outputs/*/*/*/result.json"))) == 1 + 8
