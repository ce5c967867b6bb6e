"""Read CAS(ME)^3 Part A: full videos or the clip release, and its annotation sheets."""

from pathlib import Path

import pandas as pd

from hsta_lib.data.readers.rows import (
    find_folder,
    folders_of,
    frame_number,
    is_folder_name,
    listing,
    one_spelling,
)
from hsta_lib.data.readers.sheet import find_sheet, read_sheet
from hsta_lib.data.table import clean_emotion

MICRO_SHEET = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
ALL_SHEET = "CAS(ME)3_part_A_v2.xlsx"
# The endings of the names are versions: v1, v2, v2_20250903.
_MICRO_NAMES = r"cas\(me\)3_part_a_me_label_jpgindex.*"
_ALL_NAMES = r"cas\(me\)3_part_a_v\d.*"
_MACRO_EMOTION_NAMES = r"cas\(me\)3_part_a_mae_label_jpgindex.*"
_MICRO_COLUMNS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
_ALL_COLUMNS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class"]
_FRAME_FOLDERS = ("part_a", "part_a_me_clip", "part_a_mae_clip")

# Micro-expressions per emotion that each version of the sheet lists.
_EMOTIONS = ("disgust", "surprise", "others", "fear", "anger", "sad", "happy")
_EXPECTED = {
    860: ("v2", dict(zip(_EMOTIONS, (250, 187, 161, 86, 64, 57, 55), strict=True))),
    921: ("v1", dict(zip(_EMOTIONS, (275, 199, 166, 91, 67, 63, 60), strict=True))),
}


def read(root, *, dataset="casme3", repair="repaired", macro=False):
    """Clip table of CAS(ME)^3 Part A.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``part_A/<subject>/<video>/color/<frame>.jpg`` or the clip release
        (``Part_A_ME_clip/frame/<subject>_<video>_<onset>/<frame>.jpg``), and, beside them or in another
        folder, the annotation sheets.
    dataset : str
        Name put in front of subject, recording and clip ids.
    repair : str
        See `hsta_lib.data.readers.rows.listing`.
    macro : bool
        Also read the macro-expressions, from the sheet that lists them; their emotions are in a sheet of
        their own, and empty without it.

    Returns
    -------
    hsta_lib.data.readers.rows.Listing

    Raises
    ------
    FileNotFoundError
        If the root, the folder of frames or a sheet is not there.
    ValueError
        If a sheet cannot be read, lacks a needed column or has it twice.
    """
    root = Path(root)
    folder_of, release = _find_frames(root)
    sheet = _sheet(root, _MICRO_NAMES, MICRO_SHEET)
    rows = read_sheet(sheet, _MICRO_COLUMNS).assign(expression_type="micro")
    version, expected = _EXPECTED.get(len(rows), ("of no known version", {}))
    version = f"{release}; {sheet.name} ({version}, {len(rows)} rows)"
    listed = rows["emotion"].map(clean_emotion).value_counts().to_dict()
    if macro:
        rows = pd.concat([rows, _macro_rows(root)], ignore_index=True)
    rows["Subject"] = one_spelling(rows["Subject"])
    return listing(
        [_clip(row, dataset, folder_of) for row in rows.to_dict("records")],
        "casme3",
        rule=repair,
        version=version,
        expected=expected,
        micro_rule=_is_micro,
    )._replace(listed=listed)  # what is expected is of micro-expressions alone


def _sheet(root, names, usual):
    found = find_sheet(root, names, skip=_FRAME_FOLDERS)
    if found is None:
        raise FileNotFoundError(
            f"{root}: annotation sheet {usual!r} is neither there nor in a folder beside part_A"
        )
    return found


def _macro_rows(root):
    rows = read_sheet(_sheet(root, _ALL_NAMES, ALL_SHEET), _ALL_COLUMNS)
    rows = rows[rows["Expression type"].str.strip().str.lower().str.startswith("macro")]
    rows = rows.assign(expression_type="macro", emotion="")
    emotions = find_sheet(root, _MACRO_EMOTION_NAMES, skip=_FRAME_FOLDERS)
    if emotions is not None:
        known = read_sheet(emotions, ["sub", "seq", "onset", "emotion"])
        keys = [tuple(key) for key in known[["sub", "seq", "onset"]].map(_key).to_numpy()]
        emotion_of = dict(zip(keys, known["emotion"], strict=True))
        keys = rows[["Subject", "Filename", "Onset"]].map(_key).itertuples(index=False, name=None)
        rows["emotion"] = [emotion_of.get(key, "") for key in keys]
    return rows


def _key(cell):
    return cell.strip().lower()


def _is_micro(onset, apex, offset):
    """The dataset's rule: apex under 250 ms or offset under 500 ms after the onset, at 30 frames a second."""
    return apex - onset <= 8 or offset - onset <= 15


def _find_frames(root):
    """Function from (subject, video, onset) to the folders of frames and of depth maps; and the release."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; data_root must be the folder that holds part_A")
    videos = find_folder(root, "part_a")
    if videos is not None:
        subjects = {name: folders_of(folder) for name, folder in folders_of(videos).items()}
        return lambda *place: _full_video(subjects, *place), "full videos"
    clips = {}
    for release in ("part_a_mae_clip", "part_a_me_clip"):
        folder = find_folder(root, release)
        for channel in ("depth", "frame") if folder else ():
            found = folders_of(folders_of(folder).get(channel, folder / channel))
            clips.update({(channel, name): place for name, place in found.items()})
    if not clips:
        raise FileNotFoundError(
            f"{root}: no folder 'part_A' or 'Part_A_ME_clip' there; data_root must be the folder with it"
        )
    return lambda *place: _released_clip(clips, *place), "clip release"


def _full_video(subjects, subject, video, _onset):
    folder = subjects.get(subject.lower(), {}).get(video)
    if folder is None:
        return None, None
    channels = folders_of(folder)
    return channels.get("color", folder / "color"), channels.get("depth")


def _released_clip(clips, subject, video, onset):
    name = f"{subject}_{video}_{onset}".lower()
    return clips.get(("frame", name)), clips.get(("depth", name))


def _clip(row, dataset, folder_of):
    subject, video = row["Subject"], row["Filename"].strip().lower()
    onset = frame_number(row["Onset"])
    onset = row["Onset"].strip() if onset is None else onset
    recording = f"{dataset}/{subject}/{video}"
    named = is_folder_name(subject) and is_folder_name(video)
    folder, depth = folder_of(subject, video, onset) if named else (None, None)
    return {
        "dataset": dataset,
        "subject_id": f"{dataset}/{subject}",
        "recording_id": recording,
        "clip_id": f"{recording}/{onset}",
        "folder": folder,
        "depth_folder": depth,
        "onset": row["Onset"],
        "apex": row["Apex"],
        "offset": row["Offset"],
        "emotion": clean_emotion(row["emotion"]),
        "objective_class": row["Objective class"].strip().upper(),
        "action_units": row["AU"].strip(),
        "expression_type": row["expression_type"],
    }
