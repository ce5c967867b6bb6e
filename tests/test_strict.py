"""The strict check of the reports: what must be the same is compared, and a changed digit is found."""

import re
import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from hsta_lib import ROOT
from hsta_lib.files import PROGRESS
from hsta_lib.paper import load_table, table_names

_TAG, _TRAINS = "deterministic", "trains"
_TABLES = [f"table{number}" for number in range(1, 8)]
_CHECKED = ["audit", "claims", "controls", "data", "figure3", *_TABLES]
_FLAGS = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval.cfg"]


def _read(folder, name):
    return nbformat.read(ROOT / folder / f"{name}.ipynb", as_version=4)


def _that_run(name):
    """Code cells of a notebook that the strict check runs, and the ids of those it compares."""
    cells = [cell for cell in _read("notebooks", name).cells if cell.cell_type == "code"]
    tags = [cell.metadata.get("tags", []) for cell in cells]
    compared = {number for number, of_cell in enumerate(tags) if _TAG in of_cell}
    first = next((number for number, of_cell in enumerate(tags) if _TRAINS in of_cell), len(cells))
    runs = compared | set(range(min(first, max(compared, default=-1) + 1)))
    return [cells[number] for number in sorted(runs)], {cells[number].id for number in compared}


@pytest.mark.parametrize("name", _CHECKED)
def test_cells_are_tagged_and_none_that_runs_trains_or_writes(name):
    cells, tagged = _that_run(name)
    assert len(tagged) >= 2
    for cell in cells:
        assert not re.search(r"\.run\(|\btrain\(|\brecord\w*\(|\bkeep\(|seconds", cell.source)


@pytest.mark.parametrize("name", _CHECKED)
def test_tagged_cells_are_found_in_the_report_with_an_output(name):
    shown = {cell.id for cell in _read("reports", name).cells if cell.get("outputs")}
    assert _that_run(name)[1] <= shown


def _scores_shown(notebook):
    """Texts below the headings "paper" or "published" of a report's longest such table, by metric."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pages = [output.get("data", {}).get("text/html", "") for output in outputs]
    headed = [page for page in pages if re.search(r"level1[^>]*>(paper|published)</th>", page)]
    page = BeautifulSoup(max(headed, key=len), "html.parser")
    groups = {th["class"][-1]: th.text for th in page.select("th.level0.col_heading")}
    columns, metric = {}, ""
    for th in page.select("th.level1.col_heading"):
        metric = groups.get(th["class"][-1], metric).removesuffix(", %").lower()
        if th.text in ("paper", "published"):
            columns[metric] = [td.text for td in page.select(f"td.{th['class'][-1]}")]
    return pd.DataFrame(columns)


def _rows(scores):
    return sorted(row for row in scores.itertuples(index=False, name=None) if set(row) != {"–"})


@pytest.mark.parametrize("name", table_names())
def test_a_report_shows_the_scores_as_published(name):
    shown, printed = _scores_shown(_read("reports", name)), load_table(name)
    assert set(shown) == {"acc", "uar", "uf1"} & set(printed)
    as_text = printed[list(shown)].map("{:.1f}".format).replace("nan", "–")
    assert _rows(shown) == _rows(as_text)


def _small_report(*numbers):
    """A report as papermill leaves one that made its data: stale, compared, and never to be run again.

    ``numbers``: what the compared cells show; they make 17.
    """
    decoding = {"text/plain": "decoding: 100%|####| 7/7 [00:00<00:00]"}
    bar = new_output("display_data", data=decoding, metadata=PROGRESS)
    printed = new_output("stream", text="5 folds\n")
    pages = [pd.DataFrame({"clips": [number]}).style._repr_html_() for number in numbers]
    styler = "<pandas.io.formats.style.Styler at 0x7f00dead>"
    tables = [{"text/html": page, "text/plain": styler} for page in pages]
    shown = [new_output("execute_result", data=table, execution_count=2) for table in tables]
    stale = new_output("execute_result", data={"text/plain": "13"}, execution_count=1)
    cells = [
        new_code_cell("import pandas as pd\n17", id="stale", outputs=[stale]),
        *(
            new_code_cell(
                'print("5 folds")\npd.DataFrame({"clips": [17]}).style',
                id=f"compared{i}",
                outputs=[bar, printed, of_cell],
            )
            for i, of_cell in enumerate(shown)
        ),
        new_code_cell("raise RuntimeError", id="training"),
    ]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
    return new_notebook(cells=cells)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What a strict check of three reports says of each cell: ``<report>.ipynb::Cell <n>`` to a word."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("notebooks", "reports", "tests"):
        (root / folder).mkdir()
    for path in ("conftest.py", "tests/nbval.cfg", "notebooks/claims.ipynb"):
        shutil.copy(ROOT / path, root / path)
    claims = _read("reports", "claims")
    pages = [output.data for cell in claims.cells for output in cell.get("outputs", []) if "data" in output]
    (page,) = [data for data in pages if "UAR +3.3" in data.get("text/html", "")]
    page["text/html"] = page["text/html"].replace("UAR +3.3", "UAR +3.4")
    reports = {"claims": claims, "small": _small_report(17, 13), "unknown": _small_report(17)}
    for name, report in reports.items():
        nbformat.write(report, root / "reports" / f"{name}.ipynb")
    nbformat.write(_small_report(17), root / "notebooks" / "unknown.ipynb")
    notebook = _small_report(17, 17)
    for cell in notebook.cells[1:3]:
        cell.metadata.tags = [_TAG]
    nbformat.write(notebook, root / "notebooks" / "small.ipynb")
    command = [sys.executable, "-m", "pytest", "-rA", "--tb=short", "--color=no", *_FLAGS, "reports"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    found = re.findall(r"^(PASSED|FAILED|ERROR) reports/(\S+::Cell \d+)", run.stdout, re.M)
    n_deselected = re.findall(r"(\d+) deselected", run.stdout)[-1]
    n_cells = sum(cell.cell_type == "code" for report in reports.values() for cell in report.cells)
    assert len(found) + int(n_deselected) == n_cells  # all were collected
    return {cell: word for word, cell in found}


def _of(outcomes, name):
    return [word for cell, word in sorted(outcomes.items()) if cell.startswith(f"{name}.ipynb")]


def test_ids_of_styles_addresses_and_progress_bars_are_no_difference(outcomes):
    assert _of(outcomes, "small")[:2] == ["PASSED", "PASSED"]


def test_a_planted_digit_is_found(outcomes):
    assert _of(outcomes, "small")[2:] == ["FAILED"]


def test_a_planted_digit_is_found_in_a_committed_report(outcomes):
    words = _of(outcomes, "claims")
    assert words.count("FAILED") == 1
    assert set(words) == {"PASSED", "FAILED"}


def test_a_report_without_tagged_cells_does_not_run(outcomes):
    assert outcomes
    assert _of(outcomes, "unknown") == []
