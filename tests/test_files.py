"""Progress bars: one line in a terminal, one output in a report; CSV files; files that are written whole."""

import csv
import io
import os
import subprocess
import sys

import nbformat
import pandas as pd
import papermill
import psutil
import pytest

from hsta_lib.files import PROGRESS, built_beside, csv_of, own_name, progress_bar, read_csv, remove_abandoned


def test_outside_of_a_notebook_a_bar_is_a_line_of_stdout(capsys):
    with progress_bar(total=7, desc="decoding", mininterval=0) as bar:
        for _ in range(7):
            bar.update()
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "decoding:  14%" in printed
    assert "decoding: 100%|##########| 7/7" in printed.split("\r")[-1]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Cells of a notebook that ran: with a bar, and with one that is switched off."""
    steps = "    for _ in range(7):\n        bar.update()"
    sources = [
        "from hsta_lib.files import progress_bar\nprint('before')\n"
        f"with progress_bar(total=7, mininterval=0) as bar:\n{steps}\nprint('after')",
        f"with progress_bar(total=7, disable=True) as bar:\n{steps}",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    path = tmp_path_factory.mktemp("bars") / "notebook.ipynb"
    nbformat.write(notebook, path)
    return papermill.execute_notebook(path, None, kernel_name="python3", progress_bar=False).cells


def test_a_report_keeps_the_last_state_of_a_bar_as_one_marked_output(cells):
    before, bar, after = cells[0].outputs
    assert (before.text, after.text) == ("before\n", "after\n")
    assert bar.metadata == PROGRESS
    assert bar.data["text/plain"].startswith("100%|##########| 7/7")


def test_a_bar_that_is_switched_off_leaves_no_output(cells):
    assert cells[1].outputs == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path):
    script = "from hsta_lib.files import own_name; print(own_name('result.json'))"
    dead = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    elsewhere = ".result.json.00000000.1.another-host.partial"
    for name in (dead.strip(), own_name("result.json"), elsewhere, "result.json"):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert not (tmp_path / dead.strip()).exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_process_that_has_the_number_of_a_killed_one_is_another(tmp_path):
    mine = tmp_path / own_name("result.json")
    mine.touch()
    began = psutil.Process().create_time()
    for age, stays in ((0, True), (120, False)):
        os.utime(mine, (began - age, began - age))
        remove_abandoned(tmp_path)
        assert mine.exists() == stays


def test_a_folder_that_a_killed_process_was_building_is_removed_by_the_next(tmp_path):
    script = "from hsta_lib.files import own_name; print(own_name('frames'))"
    dead = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    (tmp_path / dead.strip() / "inner").mkdir(parents=True)
    with built_beside(tmp_path / "frames", lambda: False) as unfinished:
        assert [path.name for path in tmp_path.iterdir()] == []
        unfinished.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; its first line must name"),
        (b"\n \n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is not a CSV in UTF-8"),
        (b"a|b\n1|2\n", r"column 'a' is missing; divided by a comma, its first line names a\|b"),
        (b"b\ta\n1\t2\n", "column 'c' is missing; divided by a tab, its first line names b, a"),
        (b"a,b,c\n1,2,3\n4,5\n", "line 3 has 2 cells, the first line 3; a comma divides"),
        (b"a;c\n1,5;2\n\n3;4;5\n", "line 4 has 3 cells, the first line 2; a semicolon divides"),
        (b"a,b,c,b\n", "a column is there twice"),
    ],
)
def test_files_that_are_no_tables_are_named(tmp_path, content, message):
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"mine\.csv.*{message}"):
        read_csv(tmp_path / "mine.csv", ["a", "c"])


def test_tables_of_spreadsheets_and_libraries_are_read(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(b'\xef\xbb\xbfa, b ,\r\nx,NA, "7, 8"\r\n,,\r\n\r\ny, x,x \r\n')
    table = read_csv(path, ["b"])
    assert table.to_dict("list") == {"a": ["x", "y"], "b": ["NA", "x"], "": ["7, 8", "x"]}
    assert table.index.tolist() == [2, 5]


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "'=1", "''@", "=", "-", "-1_2"]
PLAIN = ["happy", "s01/=1", "", "'", "'tis", "a'=1", "-3", "+1e9", "-0.5", "'7"]


@pytest.mark.parametrize("text", FORMULAS + PLAIN)
def test_a_cell_is_no_formula_and_is_read_as_it_was(tmp_path, text):
    path = tmp_path / "t.csv"
    table = pd.DataFrame({"clip_id": [text, "next"], "y_true": ["sad", text], text + ":": [1.5, -2.5]})
    path.write_text(csv_of(table), newline="")
    (_, (written, *_), _) = csv.reader(io.StringIO(csv_of(table), newline=""))
    assert written == ("'" + text if text in FORMULAS else text)
    found = read_csv(path)
    assert found["clip_id"].tolist() == [text, "next"]
    assert found["y_true"].tolist() == ["sad", text]
    assert found.columns[2] == text + ":"
    assert found[text + ":"].tolist() == ["1.5", "-2.5"]


def test_names_of_rows_and_numbers_of_any_kind_are_written():
    table = pd.DataFrame(
        {"a": pd.array([-1, None], "Int64"), "b": [-0.5, float("nan")], "c": [True, False], "d": [-1, "=1"]},
        index=["=x", "y"],
    )
    assert csv_of(table, index=True) == ",a,b,c,d\n'=x,-1,-0.5,True,-1\ny,,,False,'=1\n"
    assert csv_of(table[:0]) == "a,b,c,d\n"
