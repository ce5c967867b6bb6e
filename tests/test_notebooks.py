"""Notebooks are committed clean, and reports are what the committed notebooks make."""

import ast
import json
import re

import nbformat
import pytest

from hsta_lib import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPORTS = sorted(path for path in (ROOT / "reports").glob("*.ipynb") if ".partial" not in path.name)


def _code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_there_are_notebooks():
    tables = [f"table{number}" for number in range(1, 8)]
    assert [path.stem for path in NOTEBOOKS] == [
        "attention", "audit", "claims", "controls", "data", "extractions", "figure3", "honest", "predict",
        "reproduce", *tables,
    ]  # fmt: skip


def test_it_is_a_valid_notebook_of_the_python3_kernel(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.language == "python"


def test_it_has_no_outputs_and_unique_cell_ids(notebook):
    for cell in _code(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


def test_its_parameters_are_plain_assignments_one_a_line(notebook):
    (cell,) = [cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    assert len(statements) == len(cell.source.splitlines())
    for statement in statements:
        assert isinstance(statement, ast.Assign)
        json.dumps(ast.literal_eval(statement.value))
        assert "#" in cell.source.splitlines()[statement.lineno - 1], "no comment: papermill shows it as help"


def test_it_uses_no_magics_and_defines_nothing(notebook):
    for cell in _code(notebook):
        assert not re.search(r"^\s*[%!]", cell.source, re.M)
        kinds = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.AsyncFunctionDef)
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, kinds)]


def test_its_code_cells_are_short(notebook):
    # That of the parameters has a line for each.
    cells = [cell for cell in _code(notebook) if "parameters" not in cell.metadata.get("tags", [])]
    assert max(len(cell.source.splitlines()) for cell in cells) <= 12


def test_no_score_is_typed_into_its_prose(notebook):
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.search(r"\d+\.\d+\s*%|\b0\.\d+\b", re.sub(r"2405\.03202", "", prose))


@pytest.fixture(scope="module", params=REPORTS, ids=lambda path: path.stem)
def report(request):
    return request.param.stem, nbformat.read(request.param, as_version=4)


REAL = "real-"  # what the names of reports on real motion begin with


def test_every_notebook_has_a_report():
    made = {path.stem.removeprefix(REAL) for path in REPORTS}
    assert made == {path.stem for path in NOTEBOOKS}


def test_a_report_ran_whole_without_an_error(report):
    _, notebook = report
    assert not notebook.metadata.papermill.exception
    for cell in _code(notebook):
        assert cell.execution_count
        assert not [output for output in cell.outputs if output.output_type == "error"]


def test_a_report_was_made_by_the_committed_notebook(report):
    name, notebook = report
    source = nbformat.read(ROOT / "notebooks" / f"{name.removeprefix(REAL)}.ipynb", as_version=4)
    injected = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    assert [cell.source for cell in injected] == [cell.source for cell in source.cells]


def test_a_report_on_synthetic_faces_or_real_motion_says_so_first(report):
    name, notebook = report
    outputs = [output for cell in _code(notebook)[:3] for output in cell.outputs]
    told = [output.get("data", {}).get("text/markdown", "") for output in outputs]
    if name.startswith(REAL):
        told.append(notebook.cells[0].source.split("\n\n")[1])
        assert any("Real motion, published pictures of flow, no face" in text for text in told)
        return
    assert "synthetic" in notebook.cells[0].source.split("\n\n")[1]
    assert any("positive control" in text for text in told)


def test_a_report_shows_no_path_of_the_machine_that_made_it(report):
    _, notebook = report
    shown = json.dumps([notebook.metadata, *(cell.get("outputs", []) for cell in notebook.cells)])
    assert not re.search(r"/(home|root|work|tmp|Users)/", shown)


def test_a_report_holds_no_earlier_states_of_a_progress_bar(report):
    _, notebook = report
    printed = [
        output for cell in _code(notebook) for output in cell.outputs if output.output_type == "stream"
    ]
    assert not [output.text for output in printed if "\r" in output.text]
