"""Annotation workbooks as CAS(ME)^3 ships them: the official columns, every cell text, junk sheets."""

import io
import re
import zipfile

import openpyxl

_COLUMNS = {
    "Subject": "subject",
    "Filename": "film",
    "Onset": "onset",
    "Apex": "apex",
    "Offset": "offset",
    "AU": "action_units",
    "Expression type": "expression_type",
    "Objective class": "objective_class",
    "emotion": "emotion",
}
_TYPES = {"micro": "Micro-expression", "macro": "Macro-expression"}


def micro_workbook(clips, rng):
    """The sheet of micro-expressions, with its oddities.

    Parameters
    ----------
    clips : DataFrame
        See `hsta_lib.data.population.sample_clips`.
    rng : numpy.random.Generator
        Picks the rows whose ``others`` is spelt ``Others``: 3 of 161, as in the official sheet.

    Returns
    -------
    bytes
        An .xlsx file.
    """
    clips = clips[clips["expression_type"] == "micro"].copy()
    others = clips.index[clips["emotion"] == "others"]
    clips.loc[rng.permutation(others)[: -(-3 * len(others) // 161)], "emotion"] = "Others"
    columns = [name for name in _COLUMNS if name != "Expression type"]
    book = openpyxl.Workbook()
    _fill(book.active, "label", columns, clips)
    empty = book.create_sheet("Sheet1")
    _ = empty.cell(1, 1), empty.cell(len(clips), len(columns))  # no values, but dimensions
    book.create_sheet("Sheet3").append(["", "spNO.1", "1"])
    return _bytes(book)


def all_workbook(clips):
    """The sheet of micro- and macro-expressions together, without emotions; an .xlsx file as bytes."""
    book = openpyxl.Workbook()
    columns = [name for name in _COLUMNS if name != "emotion"]
    _fill(
        book.active, "AU+Emotion", columns, clips.assign(expression_type=clips["expression_type"].map(_TYPES))
    )
    return _bytes(book)


def _fill(sheet, title, columns, clips):
    sheet.title = title
    sheet.append(columns)
    for row in clips[[_COLUMNS[name] for name in columns]].astype(str).itertuples(index=False):
        sheet.append(list(row))


def _bytes(book):
    """The workbook as a file without times of day, so that equal cells are equal bytes."""
    saved, fixed = io.BytesIO(), io.BytesIO()
    book.save(saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2022-01-01T00:00:00Z", source.read(name))
            target.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return fixed.getvalue()
