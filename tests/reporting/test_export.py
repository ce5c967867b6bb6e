"""What a paper needs of a report: every figure and table that it shows, in files that others can use."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from hsta_lib.reporting import export, plots, tables

TABLE = pd.DataFrame({"row": ["a & b", "c"], "uar": [21.26, 3.0]})


def test_what_is_shown_is_written_in_its_order(tmp_path, monkeypatch):
    shell = InteractiveShell()
    shell.run_line_magic = lambda *_: None  # it has no window and no kernel
    monkeypatch.setattr(export, "get_ipython", lambda: shell)
    export.export_shown(tmp_path / "reports" / "table4-smoke")
    show = shell.display_formatter.format
    show(plots.ordered([2, 11], [5.0, 70.0], "frames", "%"))
    html, _ = show(TABLE.style.hide(axis="index"))
    show(TABLE)
    assert "<table" in html["text/html"]
    names = {path.name.removeprefix("table4-smoke-") for path in (tmp_path / "reports").iterdir()}
    assert names == {f"figure1.{end}" for end in ("svg", "png")} | {
        f"table{number}.{end}" for number in (1, 2) for end in ("csv", "tex")
    }


def test_without_a_notebook_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "get_ipython", lambda: None)
    export.export_shown(tmp_path / "reports" / "x")
    assert not list(tmp_path.iterdir())


def test_a_figure_is_drawn_as_lines_and_at_200_dots_per_inch(tmp_path):
    figure = plots.ordered([2, 11], [1.5, 4.0], "frames", "s")
    export.write_figure(figure, str(tmp_path / "f"))
    assert "<svg" in (tmp_path / "f.svg").read_text()
    width = int.from_bytes((tmp_path / "f.png").read_bytes()[16:20], "big")
    assert width == pytest.approx(200 * figure.get_size_inches()[0], rel=0.1)


def test_a_table_is_written_for_papers_and_for_programs(tmp_path):
    export.write_table(TABLE.style.hide(axis="index"), str(tmp_path / "t"))
    assert (tmp_path / "t.csv").read_text() == "row,uar\na & b,21.26\nc,3.0\n"
    latex = (tmp_path / "t.tex").read_text()
    assert r"\toprule" in latex
    assert r"a \& b & 21.3 \\" in latex


def test_headings_of_two_levels_and_lines_in_cells_are_kept(tmp_path):
    rows = {
        f"{metric}{end}": [1.0] for metric in ("acc", "uar", "uf1") for end in ("", "_low", "_high", "_folds")
    }
    export.write_table(tables.show(pd.DataFrame(rows), keys=()), str(tmp_path / "t"))
    assert r"\multicolumn" in (tmp_path / "t.tex").read_text()
    export.write_table(pd.DataFrame({"x": ["1<br>2", np.nan]}), str(tmp_path / "u"))
    assert "1; 2" in (tmp_path / "u.csv").read_text()
    assert (tmp_path / "u.csv").read_text().startswith(",x\n0,"), "names of rows are kept"
    export.write_table(TABLE.set_index("row").style, str(tmp_path / "v"))
    assert (tmp_path / "v.csv").read_text().startswith("row,uar\n")


def test_a_kernel_writes_its_first_figure(tmp_path):
    cells = [
        "from pathlib import Path\nfrom hsta_lib.reporting import export\n"
        f"export.export_shown(Path({str(tmp_path)!r}, 'r'))",
        "import matplotlib.pyplot as plt\nfigure, axis = plt.subplots()\nplt.close(figure)\nfigure",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    assert "image/png" in notebook.cells[1].outputs[0]["data"]
    assert {path.name for path in tmp_path.iterdir()} == {"r-figure1.svg", "r-figure1.png"}
