"""Read SAMM: its raw or cropped frames of micro-expressions, and its sheet of FACS codes."""

from hsta_lib.data.readers.find import dataset_folder, find_frames, folders_in_subjects, needed_sheet
from hsta_lib.data.readers.rows import coded_row, listing, one_person, one_spelling, padded
from hsta_lib.data.readers.sheet import read_sheet

SHEET = "SAMM_Micro_FACS_Codes_v2.xlsx"
_SHEET_NAMES = "sammmicrofacscodes.*"
_COLUMNS = [
    "Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units", "Estimated Emotion",
    "Objective Classes",
]  # fmt: skip
# Variant to what its folder is called, in the order in which they are looked for.
VARIANTS = {"cropped": "crop", "raw": "samm"}

# Clips per emotion of each version of the sheet, by its rows.
_EXPECTED = {
    159: ("v2", {
        "anger": 57, "happy": 26, "others": 26, "surprise": 15,
        "contempt": 12, "disgust": 9, "fear": 8, "sad": 6,
    }),
}  # fmt: skip


def read(root, *, dataset="samm", repair="repaired", variant=""):
    """Clip table of SAMM, see `rows.Listing`.

    The root holds ``SAMM_CROP`` or ``SAMM`` (``<variant>/006/006_1_2/<frame>.jpg``); frames have the same
    numbers in both. Objective classes are those of the sheet; many cannot be derived from the action units.

    ``variant``: ``cropped`` or ``raw``, looked for in this order.
    """
    root = dataset_folder(root)
    frames, (variant,) = find_frames(
        root, r"\d+", r"\d+_\d+_\d+", choices=[(VARIANTS, variant)], usual="SAMM_CROP or SAMM"
    )
    sheet = needed_sheet(root, _SHEET_NAMES, SHEET, frames)
    rows = read_sheet(sheet, _COLUMNS)
    rows["Filename"] = one_spelling(rows["Filename"])
    rows["Subject"], merged = one_person(rows["Subject"])
    version, expected = _EXPECTED.get(len(rows), ("of no known version", {}))
    subjects = folders_in_subjects(frames)
    return listing(
        [_clip(row, dataset, subjects) for row in rows.to_dict("records")],
        "samm",
        rule=repair,
        version=f"{variant} frames; {sheet.name} ({version}, {len(rows)} rows)",
        expected=expected,
        problems=merged,
    )


def _clip(row, dataset, subjects):
    subject, name = padded(row["Subject"], 3), row["Filename"]
    recording = name.rpartition("_")[0] or name  # subject_stimulus of 006_1_2
    return coded_row(row, dataset, subject, recording, subjects)
