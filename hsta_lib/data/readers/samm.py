"""Read SAMM: its raw or cropped frames of micro-expressions, and its sheet of FACS codes."""

from hsta_lib.data.readers.find import dataset_folder, find_frames, folders_in_subjects, needed_sheet
from hsta_lib.data.readers.rows import coded_row, listing, one_spelling, padded
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
    """Clip table of SAMM.

    Parameters
    ----------
    root : str or Path
        Folder that holds, anywhere below, ``SAMM_CROP`` or ``SAMM`` (``<variant>/006/006_1_2/<frame>.jpg``),
        or is one of them; the sheet lies below it or above.
    dataset : str
        Name put in front of subject, recording and clip ids.
    repair : str
        See `hsta_lib.data.readers.rows.listing`.
    variant : {"", "cropped", "raw"}
        Which frames; they have the same numbers in both. Empty: the first of these that is there.

    Returns
    -------
    hsta_lib.data.readers.rows.Listing
        Objective classes are those of the sheet; many cannot be derived from the action units.

    Raises
    ------
    FileNotFoundError
        If the root, the folder of frames or the sheet is not there.
    ValueError
        If ``variant`` is unknown or there twice, or the sheet cannot be read, lacks a needed column or has it
        twice.
    """
    root = dataset_folder(root)
    frames, (variant,) = find_frames(
        root, r"\d+", r"\d+_\d+_\d+", choices=[(VARIANTS, variant)], usual="SAMM_CROP or SAMM"
    )
    sheet = needed_sheet(root, _SHEET_NAMES, SHEET, frames)
    rows = read_sheet(sheet, _COLUMNS)
    rows["Filename"] = one_spelling(rows["Filename"])
    version, expected = _EXPECTED.get(len(rows), ("of no known version", {}))
    subjects = folders_in_subjects(frames)
    return listing(
        [_clip(row, dataset, subjects) for row in rows.to_dict("records")],
        "samm",
        rule=repair,
        version=f"{variant} frames; {sheet.name} ({version}, {len(rows)} rows)",
        expected=expected,
    )


def _clip(row, dataset, subjects):
    subject, name = padded(row["Subject"], 3), row["Filename"]
    recording = name.rpartition("_")[0] or name  # subject_stimulus of 006_1_2
    return coded_row(row, dataset, subject, recording, subjects)
