"""Read CASME II: its raw, selected or cropped frames, and its coding sheet."""

import re

from hsta_lib.data.readers.find import (
    dataset_folder,
    find_frames,
    find_sheet,
    folders_in_subjects,
    needed_sheet,
)
from hsta_lib.data.readers.rows import coded_row, listing, one_person, one_spelling, padded
from hsta_lib.data.readers.sheet import read_sheet

SHEET = "CASME2-coding-20140508.xlsx"
_SHEET_NAMES = "casme(2|ii)coding.*"
_OBJECTIVE_NAMES = "casme(2|ii)objectiveclass.*"
_COLUMNS = [
    "Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion",
]  # fmt: skip
# Variant to what its folder is called, in the order in which they are looked for.
VARIANTS = {"cropped": "cropped|preprocessed", "selected": "selected", "raw": "raw|casme(2|ii)$"}

# Clips per emotion of each version of the sheet, by its rows and whether it has objective classes.
_COUNTS = {"others": 99, "disgust": 63, "happy": 32, "repression": 27, "surprise": 25, "sad": 7, "fear": 2}
_EXPECTED = {
    (255, False): ("20140508", _COUNTS),
    (255, True): ("20190701", {**_COUNTS, "surprise": 28, "sad": 4}),
    # Not seen: inferred from tvaranka/meb, which adds sub24/EP02_07 and counts 9 clips of sadness and fear.
    (256, False): ("updated", {**_COUNTS, "disgust": 64}),
}


def read(root, *, dataset="casme2", repair="repaired", variant=""):
    """Clip table of CASME II, see `rows.Listing`.

    The root holds ``Cropped``, ``CASME2_RAW_selected`` or ``CASME2-RAW``
    (``<variant>/sub01/EP02_01f/<frame>.jpg``); frames have the same numbers in all three. Of two sheets the
    last by name is read: 20190701 before 20140508. Objective classes are those of the sheet, else those of
    ``CASME2-ObjectiveClasses.xlsx``, else empty. An apex that the sheet lacks and no repair gives stays
    missing.

    ``variant``: ``cropped``, ``selected`` or ``raw``, looked for in this order.
    """
    root, usual = dataset_folder(root), "Cropped, CASME2_RAW_selected or CASME2-RAW"
    frames, (variant,) = find_frames(root, r"sub[\W_]*\d+", choices=[(VARIANTS, variant)], usual=usual)
    rows, version, expected = _read_rows(root, frames)
    rows["Filename"] = one_spelling(rows["Filename"])
    rows["Subject"], merged = one_person(rows["Subject"])
    subjects = folders_in_subjects(frames)
    return listing(
        [_clip(row, dataset, subjects) for row in rows.to_dict("records")],
        "casme2",
        rule=repair,
        version=f"{variant} frames; {version}",
        expected=expected,
        problems=merged,
    )


def _read_rows(root, frames):
    """Rows of the coding sheet with their objective classes, the sheet's version, its expected counts."""
    sheet = needed_sheet(root, _SHEET_NAMES, SHEET, frames)
    rows = read_sheet(sheet, _COLUMNS, optional=["Objective Classes"])
    has_classes = bool((rows["Objective Classes"] != "").any())
    version, expected = _EXPECTED.get((len(rows), has_classes), ("of no known version", {}))
    version = f"{sheet.name} ({version}, {len(rows)} rows)"
    classes = None if has_classes else find_sheet(root, _OBJECTIVE_NAMES, frames)
    if classes is not None:
        listed = read_sheet(classes, ["Subject", "Filename", "Objective Class"])
        class_of = dict(zip(_keys(listed), listed["Objective Class"], strict=True))
        rows["Objective Classes"] = [class_of.get(key, "") for key in _keys(rows)]
        version = f"{version}; {classes.name}"
    return rows, version, expected


def _keys(rows):
    cells = zip(rows["Subject"], rows["Filename"], strict=True)
    return [(padded(subject, 2), name.strip().lower()) for subject, name in cells]


def _clip(row, dataset, subjects):
    number, name = padded(row["Subject"], 2), row["Filename"]
    subject = f"sub{number}" if number else ""
    film = re.match(r"EP\d+", name, re.IGNORECASE)  # of EP02_01f, EP09f and EP06_02_01
    return coded_row(row, dataset, subject, f"{subject}/{film[0].upper() if film else name}", subjects)
