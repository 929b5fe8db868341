"""The tutorial runs from its first cell to its last, where its own assertions hold; what is committed is such a run."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def committed():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    return notebook


def codes(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def figures(notebook):
    outputs = [output for cell in codes(notebook) for output in cell.outputs]
    return [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
def test_it_runs(committed, tmp_path, monkeypatch):
    notebook = nbformat.from_dict(committed)
    for cell in codes(notebook):
        cell.outputs, cell.execution_count = [], None
    # the kernel of this environment, whatever else is on the path, and no display
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert [cell.execution_count for cell in codes(notebook)] == list(range(1, len(codes(notebook)) + 1))
    assert len(figures(notebook)) == len(figures(committed)) == 3
    assert (tmp_path / "ticket.safetensors").is_file()


def test_the_committed_outputs_are_those_of_one_run(committed):
    assert [cell.execution_count for cell in codes(committed)] == list(range(1, len(codes(committed)) + 1))
    outputs = [output for cell in codes(committed) for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    seconds = re.search(r"all of this took (\d+) s", str(outputs[-1].text))
    assert int(seconds[1]) < 120


def test_it_asserts_what_it_says(committed):
    assert sum("assert " in cell.source for cell in codes(committed)) >= 5


def test_it_tells_nothing_of_the_machine(committed):
    text = PATH.read_text()
    assert not re.search(r"/(work|home|root|tmp|Users)/|site-packages|[A-Z]:\\\\", text)
    assert set(committed.metadata) == {"kernelspec", "language_info"}
