"""Annotation sheets: which file, which header, which cells, and what is said of files that are none."""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import pytest
from disk import write_book

from hsta_lib.data.readers.sheet import read_sheet

# Written once with xlwt 1.3.0: sheet "eye blink" with two columns, then "AU+Emotion" with invented rows, one
# of them empty and one with numbers instead of text.
XLS = Path(__file__).parents[2] / "files" / "sheet_of_invented_rows.xls"
COLUMNS = ["Subject", "Filename", "Onset"]


def write(path, *sheets):
    """An .xlsx file of some sheets, each a list of rows."""
    return write_book(path, {f"Sheet{number}": rows for number, rows in enumerate(sheets)})


def test_the_header_is_looked_for_below_prose_and_in_later_sheets(tmp_path):
    prose = [[f"line {n}", None, "Subject"] for n in range(13)]
    rows = [["filename", " ONSET ", "Subject", "x"], ["f", 7.0, "006", "y"], [None] * 4]
    sheet = read_sheet(write(tmp_path / "s.xlsx", [["junk"]], prose + rows), COLUMNS)
    assert sheet.to_dict("records") == [{"Subject": "006", "Filename": "f", "Onset": "7"}]


def test_optional_columns_are_empty_where_they_lack(tmp_path):
    path = write(tmp_path / "s.xlsx", [["Subject", "Notes"], ["1", None], ["2", "blink"]])
    sheet = read_sheet(path, ["Subject"], optional=["Notes", "Objective Classes"])
    assert sheet.to_numpy().tolist() == [["1", "", ""], ["2", "blink", ""]]


def test_xls_is_told_by_its_content(tmp_path):
    columns = ["Subject", "Filename", "Onset", "AU", "Expression type"]
    renamed = tmp_path / "renamed.xlsx"
    renamed.write_bytes(XLS.read_bytes())
    assert read_sheet(renamed, columns).to_numpy().tolist() == [
        ["spNO.301", "c", "118", "4+R14", "Micro-expression"],
        ["spNO.301", "c", "300", "12", "Macro-expression"],
        ["spNO.302", "J", "20", "4", "Macro-expression "],
    ]


def test_xlsx_is_told_by_its_content(tmp_path):
    path = write(tmp_path / "s.xlsx", [COLUMNS, ["1", "a", 5]]).rename(tmp_path / "s.xls")
    assert read_sheet(path, COLUMNS)["Onset"].tolist() == ["5"]


def test_merged_header_cells_hide_columns(tmp_path):
    path = write(tmp_path / "s.xlsx", [COLUMNS, ["1", "a", 5]])
    book = openpyxl.load_workbook(path)
    book.active.merge_cells("A1:B1")
    book.save(path)
    with pytest.raises(ValueError, match=r"column 'Filename' is missing; .*subject, onset \(merged cells"):
        read_sheet(path, COLUMNS)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = write(tmp_path / "s.xlsx", [[*COLUMNS, "onset"], ["1", "a", 5, 6]])
    with pytest.raises(ValueError, match=r"s\.xlsx: column 'Onset' is there 2 times"):
        read_sheet(path, COLUMNS)


def test_the_sheet_of_another_dataset_is_suspected(tmp_path):
    path = write(tmp_path / "s.xlsx", [["OnsetF", "OffsetF"], [1, 2]])
    with pytest.raises(
        ValueError, match=r"no row has the columns Subject, .* the sheet of another dataset\?"
    ):
        read_sheet(path, COLUMNS)


def test_a_sheet_may_have_no_rows(tmp_path):
    assert read_sheet(write(tmp_path / "s.xlsx", [COLUMNS]), COLUMNS).shape == (0, 3)


def test_an_empty_workbook_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the workbook is empty"):
        read_sheet(write(tmp_path / "s.xlsx", []), COLUMNS)


def _whole(tmp_path):
    return write(tmp_path / "whole.xlsx", [COLUMNS]).read_bytes()


def test_a_sheet_that_unpacks_to_far_more_is_refused_before_it_is(tmp_path):
    path = write(tmp_path / "s.xlsx", [COLUMNS, ["1", "a", 5]])
    with ZipFile(path, "a", ZIP_DEFLATED) as parts, parts.open("xl/x.xml", "w") as part:
        for _ in range(101):
            part.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ValueError, match=r"s\.xlsx is no whole .*it has 101 MB unpacked, more than 100"):
        read_sheet(path, COLUMNS)


@pytest.mark.parametrize(
    "row",
    [
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        "<row r=\"1048576\"><c r = 'xfd1048576'><v>1</v></c></row>",
        f'<row r="1048576">{"<c><v>1</v></c>" * 16384}</row>',  # a cell lies beside the one before
    ],
)
def test_a_sheet_that_states_billions_of_cells_is_refused(tmp_path, row):
    path = _with_rows(write(tmp_path / "s.xlsx", [COLUMNS, ["1", "a", 5]]), row)
    with pytest.raises(ValueError, match=r"s\.xlsx .*it has 17,179,869,184 cells, more than 30,000,000"):
        read_sheet(path, COLUMNS)


def _with_rows(path, rows, strings=""):
    """A workbook with more rows in its sheet, and other shared texts."""
    with ZipFile(path) as book:
        parts = {name: book.read(name).decode() for name in book.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace("</sheetData>", f"{rows}</sheetData>")
    parts |= {"xl/sharedStrings.xml": f"<sst>{strings}</sst>"} if strings else {}
    with ZipFile(path, "w", ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return path


def test_a_long_text_that_stands_in_many_cells_is_refused(tmp_path):
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(3, 2003))
    text = f"<si><t>{'a' * (10 << 20)}</t></si>"
    path = _with_rows(write(tmp_path / "s.xlsx", [COLUMNS, ["1", "a", 5]]), rows, text)
    with pytest.raises(ValueError, match=r"s\.xlsx .*it has 20,\d\d\d MB of text, more than 4,096"):
        read_sheet(path, COLUMNS)


@pytest.mark.parametrize(
    "content",
    [
        lambda _: b"",
        lambda _: b"Subject,Filename,Onset\n1,a,5\n",
        lambda _: b"<html>sign in</html>",
        lambda folder: _whole(folder)[:2000],  # half a download
        lambda _: XLS.read_bytes()[:1500],
    ],
)
def test_what_is_no_workbook_is_refused(tmp_path, content):
    path = tmp_path / "s.xlsx"
    path.write_bytes(content(tmp_path))
    with pytest.raises(ValueError, match=r"s\.xlsx is no whole Excel workbook, .* save it as \.xlsx"):
        read_sheet(path, COLUMNS)


def test_neither_the_size_a_file_states_nor_its_errors_and_truth_values_pass_for_cells(tmp_path):
    path = write(tmp_path / "s.xlsx", [COLUMNS, ["1", "NA", "=1/0"], [True, "b", 5.5], ["3", "c", 7.0]])
    with ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    page = parts["xl/worksheets/sheet1.xml"]
    assert page.count(b'ref="A1:C4"') == page.count(b'<c r="C2"><f>1/0</f><v /></c>') == 1
    page = page.replace(b'ref="A1:C4"', b'ref="A1:B2"')
    page = page.replace(b'<c r="C2"><f>1/0</f><v /></c>', b'<c r="C2" t="e"><v>#DIV/0!</v></c>')
    with ZipFile(path, "w") as book:
        for name, content in (parts | {"xl/worksheets/sheet1.xml": page}).items():
            book.writestr(name, content)
    assert read_sheet(path, COLUMNS).to_numpy().tolist() == [
        ["1", "NA", ""],
        ["True", "b", "5.5"],
        ["3", "c", "7"],
    ]


def test_a_password_is_named(tmp_path):
    # An encrypted .xlsx is an OLE container with a stream of this name.
    path = tmp_path / "s.xlsx"
    path.write_bytes(XLS.read_bytes()[:512] + bytes(512) + "EncryptedPackage".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"s\.xlsx is protected by a password"):
        read_sheet(path, COLUMNS)
