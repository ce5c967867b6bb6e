"""Annotation workbooks as CAS(ME)^3, CASME II and SAMM ship them: the official columns and their oddities."""

import io
import re
import zipfile

import openpyxl

from hsta_lib.data.synthetic.population import FILMS
from hsta_lib.data.table import class_names

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
_CASME2_HEADER = [
    "Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units",
    "Estimated Emotion", "Objective Classes",
]  # fmt: skip
_SAMM_HEADER = [
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration",
    "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
]  # fmt: skip
_SAMM_PROSE = """Codes of synthetic faces

These clips were drawn; no person was recorded.
The columns are those of the sheet this one stands in for, so that the same reader opens both.

Frames are numbered as in the long video.
Onset: the last frame before anything moves.
Apex: the frame of the largest movement.
Offset: the first frame after it at which the face is at rest again.
Action units: those drawn; L and R are the person's left and right side.
Objective classes: 1 to 7, from the action units alone.

The table begins below.
""".splitlines()


def micro_workbook(clips, rng):
    """The sheet of micro-expressions of `sample_clips`, with its oddities; an .xlsx file as bytes.

    ``rng``: picks the rows whose ``others`` is spelt ``Others``: 3 of 161, as in the official sheet.
    """
    clips = clips[clips["expression_type"] == "micro"].copy()
    others = clips.index[clips["emotion"] == "others"]
    clips.loc[rng.permutation(others)[: -(-3 * len(others) // 161)], "emotion"] = "Others"
    columns = [name for name in _COLUMNS if name != "Expression type"]
    book = _book("label", _rows(columns, clips), "Sheet1", "Sheet3")
    _ = book["Sheet1"].cell(1, 1), book["Sheet1"].cell(len(clips), len(columns))  # no values, but dimensions
    book["Sheet3"].append(["", "spNO.1", "1"])
    return _bytes(book)


def all_workbook(clips):
    """The sheet of micro- and macro-expressions together, without emotions; an .xlsx file as bytes."""
    columns = [name for name in _COLUMNS if name != "emotion"]
    typed = clips.assign(expression_type=clips["expression_type"].map(_TYPES))
    return _bytes(_book("AU+Emotion", _rows(columns, typed)))


def casme2_workbook(clips):
    """The sheet of CASME II, of `layout_clips`: two columns without a header; an .xlsx file as bytes.

    Subjects and one apex are text, not numbers.
    """
    rows = [_CASME2_HEADER]
    for row, clip in enumerate(clips.itertuples()):
        apex = clip.apex if row else str(clip.apex)  # the official column is not all numbers either
        place = [clip.subject.removeprefix("sub"), clip.clip, None, clip.onset, apex, clip.offset, None]
        rows.append([*place, _cell(clip.action_units), clip.label, _objective_number(clip)])
    return _bytes(_book("Sheet1", rows, "Sheet2", "Sheet3"))


def samm_workbook(clips):
    """The sheet of SAMM: thirteen rows of prose, then the official columns; as `casme2_workbook`."""
    rows = [*([line or None] for line in _SAMM_PROSE), _SAMM_HEADER]
    for clip in clips.itertuples():
        place = [clip.subject, clip.clip, FILMS.index(clip.film) % 7 + 1]
        frames = [clip.onset, clip.apex, clip.offset, clip.offset - clip.onset + 1]
        shown = [_cell(clip.action_units), clip.label, _objective_number(clip), None]
        rows.append([*place, *frames, "Micro - 1/2", *shown])
    return _bytes(_book("MICRO_ONLY", rows))


def _book(title, rows, *others):
    """A workbook of one sheet with these rows, and of others that are empty."""
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    for name in others:
        book.create_sheet(name)
    return book


def _rows(columns, clips):
    cells = clips[[_COLUMNS[name] for name in columns]].astype(str)
    return [columns, *cells.to_numpy().tolist()]


def _bytes(book):
    """The workbook as a file without times of day, so that equal cells are equal bytes."""
    saved, fixed = io.BytesIO(), io.BytesIO()
    book.save(saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2022-01-01T00:00:00Z", source.read(name))
            target.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return fixed.getvalue()


def _cell(action_units):
    """One unit is a number, several are text, as spreadsheet programs have it."""
    return int(action_units) if action_units.isdigit() else action_units


def _objective_number(clip):
    return class_names("objective7").index(clip.objective_class) + 1
