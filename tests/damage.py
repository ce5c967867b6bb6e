"""Defects to plant in a tree that `layouts.write` has made, as real copies have them."""

import openpyxl

from hsta_lib.data.frames import index_folder
from hsta_lib.data.synthetic import layouts

_SHEETS = {
    "casme2": (layouts.CASME2_SHEET, ("OnsetFrame", "ApexFrame", "OffsetFrame")),
    "samm": (layouts.SAMM_SHEET, ("Onset Frame", "Apex Frame", "Offset Frame")),
}
_FOLDERS = {
    "casme2": "Cropped/{subject}/{clip}",
    "smic": "SMIC_all_cropped/HS/{subject}/micro/{label}/{clip}",
    "samm": "SAMM/{subject}/{clip}",
}


def folder_of(layout, root, clip):
    """Folder of a clip's frames; ``clip`` is a row (named tuple) of `layouts.layout_clips`."""
    return root / _FOLDERS[layout].format(**clip._asdict())


def edit_row(layout, root, clip, cells):
    """Set cells, by their column names, in a clip's row of the annotation sheet."""
    path = root / _SHEETS[layout][0]
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    rows = list(sheet.iter_rows())
    header = next(row for row in rows if row[0].value == "Subject")
    column = {cell.value: cell.column - 1 for cell in header}
    number = int(clip.subject.removeprefix("sub"))
    (row,) = [
        row
        for row in rows[header[0].row :]
        if row[column["Filename"]].value == clip.clip and int(row[column["Subject"]].value) == number
    ]
    for name, value in cells.items():
        row[column[name]].value = value
    book.save(path)


def apex_outside(layout, root, clip):
    """The apex nine frames after the offset, as SAMM's sheet has 028_4_1."""
    edit_row(layout, root, clip, {_SHEETS[layout][1][1]: clip.offset + 9})


def slash_apex(layout, root, clip):
    """``/`` for an apex, as CASME II's sheet has sub04/EP12_01f."""
    edit_row(layout, root, clip, {_SHEETS[layout][1][1]: "/"})


def unpadded_subject(layout, root, clip):
    """The subject as a number, 6 for 006: so in other copies of the sheets."""
    edit_row(layout, root, clip, {"Subject": clip.number + (5 if layout == "samm" else 0)})


def one_frame(layout, root, clip):
    """A clip of its onset alone, in the sheet and on disk."""
    if layout in _SHEETS:
        edit_row(layout, root, clip, dict.fromkeys(_SHEETS[layout][1], clip.onset))
    for number, path in index_folder(folder_of(layout, root, clip)).items():
        if number != clip.onset:
            path.unlink()


def missing_middle_frame(folder):
    """Remove a frame between onset and offset; returns its number."""
    number, path = _middle(folder)
    path.unlink()
    return number


def empty_frame(folder):
    """Leave a file of no bytes where a frame was, as a broken-off copy does; returns its path."""
    _, path = _middle(folder)
    path.write_bytes(b"")
    return path


def _middle(folder):
    files = sorted(index_folder(folder).items())
    return files[len(files) // 2]


def stray_files(folder):
    """Files that file managers leave, one of which has a frame's number and ending."""
    name = max(path.name for path in folder.iterdir())
    for stray in ("Thumbs.db", ".DS_Store", f"._{name}", "000 read me.txt"):
        (folder / stray).write_bytes(b"stray")


def upper_case(folder):
    """Rename a folder in capital letters, as spNO.3/J on disk; returns the new path."""
    return folder.rename(folder.with_name(folder.name.upper()))
