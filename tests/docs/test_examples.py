"""The example notebook runs as it is committed, from a directory of its own."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from instrument_adapters.errors import ScanFileError
from instrument_adapters.replay.mexpsimu import data_folder

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_the_notebook_runs_and_shows_what_it_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        data_folder()
    except ScanFileError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    committed = nbformat.read(NOTEBOOK, as_version=4)
    run = nbformat.from_dict(committed)
    run.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    client = NotebookClient(run, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.km = client.create_kernel_manager()
    client.km.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client.execute()
    assert [shown(cell) for cell in run.cells] == [shown(cell) for cell in committed.cells]


def shown(cell: nbformat.NotebookNode) -> list[list[str]]:
    """What kinds of output a cell has: numbers and pixels may differ between computers."""
    return [sorted(output.get("data", {})) for output in cell.get("outputs", []) if output.output_type != "stream"]
