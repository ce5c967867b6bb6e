"""Read annotation sheets: .xlsx and .xls told apart by content, the header looked for, cells as text."""

import functools
import io
import re
import zipfile

import pandas as pd

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_HEADER_WITHIN = 30  # rows; SAMM's header is the fourteenth
_MOST_BYTES = 100 << 20  # unpacked
_MOST_TEXT = 4 << 30  # if the longest text stood in every cell
# Of a worksheet's XML: rows, cells, what they say of their places, and the texts that cells share.
_ROW, _CELL = re.compile(rb"<(?:\w+:)?row\b"), re.compile(rb"<(?:\w+:)?c\b")
_PLACE = re.compile(rb"""\br\s*=\s*["']\s*([A-Za-z]{0,3})(\d{1,9}|)""")
_STRING = re.compile(rb"</(?:\w+:)?si>")
_MOST_CELLS = 30_000_000  # a million rows, as many as a sheet can have, of 28 columns


def read_sheet(path, columns, optional=(), title=None):
    """The first sheet of a workbook that has some columns, as text cells.

    Empty rows are skipped. Whole numbers have no decimal point; a cell with an error, such as ``#REF!``, is
    empty.

    Parameters
    ----------
    path : Path
        An .xlsx or .xls file, whatever its name ends in.
    columns : list of str
        Needed columns; the header is the first row that has them all, whatever their case.
    optional : list of str
        Columns that are empty where the sheet lacks them. No others are returned.
    title : str, optional
        Regular expression of the sheet's title, case ignored: only sheets of such a title are looked at.

    Raises
    ------
    ValueError
        If the file is no readable workbook, or no sheet has the columns; the message names both.
    """
    sheets = _sheets(path)
    if title is not None:
        sheets = {name: rows for name, rows in sheets.items() if re.fullmatch(title, name.strip(), re.I)}
        if not sheets:
            raise ValueError(f"{path}: there is no sheet {title!r}")
    for rows in sheets.values():
        header = _find_header(rows, columns)
        if header is not None:
            return _table(path, rows, header, [*columns, *optional])
    raise ValueError(f"{path}: {_why_no_header(list(sheets.values()), columns)}")


def _sheets(path):
    """Cells of every sheet, by its title."""
    content = path.read_bytes()
    if content.startswith(_OLE) and _ENCRYPTED in content:
        raise ValueError(f"{path} is protected by a password; save it without one")
    try:
        _refuse_bombs(content)
        tables = pd.read_excel(
            io.BytesIO(content),
            engine="calamine",
            sheet_name=None,
            header=None,
            na_filter=False,
            dtype=object,
        )
    except Exception as error:  # whatever the zip, XML or codec layer raised
        raise ValueError(
            f"{path} is no whole Excel workbook, whatever its name says ({error}; it begins with "
            f"{content[:12]!r}); open it in a spreadsheet program and save it as .xlsx"
        ) from error
    return {title: table.map(str).to_numpy().tolist() for title, table in tables.items()}


def _refuse_bombs(content):
    """Refuse what fills the memory when it is read; the reader asks for that of all cells up to the last."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        _refuse_more(sum(part.file_size for part in parts.infolist()) >> 20, _MOST_BYTES >> 20, "MB unpacked")
        n_cells = longest = 0
        for text in map(parts.read, parts.namelist()):
            rows = _ROW.split(text)[1:]
            places = set(_PLACE.findall(text))
            cells = [len(_CELL.findall(row)) for row in rows]
            n_rows = max([len(rows), *(int(row) for _, row in places if row)])
            n_columns = max([0, *cells, *(_number(column.upper()) for column, _ in places)])
            _refuse_more(n_rows * n_columns, _MOST_CELLS, "cells")
            n_cells, longest = n_cells + sum(cells), max([longest, *map(len, _STRING.split(text)[:-1])])
        _refuse_more(n_cells * longest >> 20, _MOST_TEXT >> 20, "MB of text")


def _refuse_more(n, most, what):
    if n > most:
        raise ValueError(f"it has {n:,} {what}, more than {most:,}: is it the right file?")


def _number(column):
    """Of a column, from 1: A, B, ..., Z, AA."""
    return functools.reduce(lambda number, letter: 26 * number + letter - 64, column, 0)


def _find_header(rows, columns):
    needed = {name.lower() for name in columns}
    for number, row in enumerate(rows[:_HEADER_WITHIN]):
        if needed <= set(_names(row)):
            return number
    return None


def _names(row):
    return [cell.strip().lower() for cell in row]


def _table(path, rows, header, columns):
    names = _names(rows[header])
    twice = [name for name in columns if names.count(name.lower()) > 1]
    if twice:
        raise ValueError(f"{path}: column {twice[0]!r} is there {names.count(twice[0].lower())} times")
    cells = pd.DataFrame(rows[header + 1 :], columns=range(len(names)), dtype=object)
    there = {name: cells[names.index(name.lower())] for name in columns if name.lower() in names}
    sheet = pd.DataFrame(there, columns=columns, index=cells.index).fillna("")
    return sheet[(sheet != "").any(axis=1)].reset_index(drop=True)


def _why_no_header(sheets, columns):
    """Which column is missing in the row that comes nearest to a header."""
    rows = [_names(row) for sheet in sheets for row in sheet[:_HEADER_WITHIN]]
    best = max(rows, key=lambda row: sum(name.lower() in row for name in columns), default=[])
    missing = [name for name in columns if name.lower() not in best]
    if not rows:
        return "the workbook is empty"
    if len(missing) == len(columns):
        return f"no row has the columns {', '.join(columns)}: is it the sheet of another dataset?"
    found = ", ".join(name for name in best if name)
    return (
        f"column {missing[0]!r} is missing; the row nearest to a header has {found} (merged cells hide some)"
    )
