"""Read CAS(ME)^3 Part A: full videos or the clip release, and its annotation sheets."""

import pandas as pd

from hsta_lib.data.readers import bad_frames
from hsta_lib.data.readers.find import (
    dataset_folder,
    find_all,
    find_frames,
    find_sheet,
    folders_in_subjects,
    folders_of,
    needed_sheet,
)
from hsta_lib.data.readers.rows import clip_row, frame_number, is_folder_name, listing, one_person
from hsta_lib.data.readers.sheet import read_sheet
from hsta_lib.data.table import clean_emotion, subject_key

MICRO_SHEET = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
ALL_SHEET = "CAS(ME)3_part_A_v2.xlsx"
# The endings of the names are versions: v1, v2, v2_20250903.
_MICRO_NAMES = "casme3partamelabeljpgindex.*"
_ALL_NAMES = r"casme3partav\d.*"
_MACRO_EMOTION_NAMES = "casme3partamaelabeljpgindex.*"
_MICRO_COLUMNS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
_ALL_COLUMNS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class"]
_SUBJECT, _VIDEO, _CLIP = r"spno[\W_]*\d+", "[a-z]", r"spno[\W_]*\d+_[a-z]_\d+"  # names of folders

# Micro-expressions per emotion that each version of the sheet lists.
_EMOTIONS = ("disgust", "surprise", "others", "fear", "anger", "sad", "happy")
_EXPECTED = {
    860: ("v2", dict(zip(_EMOTIONS, (250, 187, 161, 86, 64, 57, 55), strict=True))),
    921: ("v1", dict(zip(_EMOTIONS, (275, 199, 166, 91, 67, 63, 60), strict=True))),
}


def read(root, *, dataset="casme3", repair="repaired", macro=False, exceptions=None):
    """Clip table of CAS(ME)^3 Part A, see `rows.Listing`.

    The root holds ``part_A/<subject>/<video>/color/<frame>.jpg`` or the clip release
    (``Part_A_ME_clip/frame/<subject>_<video>_<onset>/<frame>.jpg``).

    Parameters
    ----------
    macro : bool
        Also read the macro-expressions, from the sheet that lists them; their emotions are in a sheet of
        their own, and empty without it.
    exceptions : Path, optional
        Clone of the dataset's repository, whose lists of bad frames are used unless ``repair`` is
        ``published`` or ``released``, see `bad_frames.without`, also for errors.
    """
    root = dataset_folder(root)
    folder_of, release, frames = _find_frames(root)
    sheet = needed_sheet(root, _MICRO_NAMES, MICRO_SHEET, frames)
    rows = read_sheet(sheet, _MICRO_COLUMNS).assign(expression_type="micro")
    version, expected = _EXPECTED.get(len(rows), ("of no known version", {}))
    version = f"{release}; {sheet.name} ({version}, {len(rows)} rows)"
    listed = rows["emotion"].map(clean_emotion).value_counts().to_dict()
    if macro:
        rows = pd.concat([rows, _macro_rows(root, frames)], ignore_index=True)
    rows["Subject"], merged = one_person(rows["Subject"])
    reading = listing(
        [_clip(row, dataset, folder_of) for row in rows.to_dict("records")],
        "casme3",
        rule=repair,
        version=version,
        expected=expected,
        micro_rule=_is_micro,
        problems=merged,
    )._replace(listed=listed)  # what is expected is of micro-expressions alone
    if exceptions is None or repair in ("published", "released"):
        return reading
    return bad_frames.without(reading, exceptions, repair)


def _macro_rows(root, frames):
    rows = read_sheet(needed_sheet(root, _ALL_NAMES, ALL_SHEET, frames), _ALL_COLUMNS)
    rows = rows[rows["Expression type"].str.strip().str.lower().str.startswith("macro")]
    rows = rows.assign(expression_type="macro", emotion="")
    emotions = find_sheet(root, _MACRO_EMOTION_NAMES, frames)
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
    """Function from (subject, video, onset) to folders of frames and depth maps; the release; where it is."""
    releases = find_all(root, _CLIP)
    if releases and not find_all(root, _SUBJECT, _VIDEO):
        clips = {
            ("depth" if folder.name.lower() == "depth" else "frame", subject_key(name)): place
            for folder in releases
            for name, place in folders_of(folder).items()
        }
        return lambda *place: _released_clip(clips, *place), "clip release", releases[0]
    videos, _ = find_frames(root, _SUBJECT, _VIDEO, usual="part_A or Part_A_ME_clip")
    subjects = folders_in_subjects(videos)
    return lambda *place: _full_video(subjects, *place), "full videos", videos


def _full_video(subjects, subject, video, _onset):
    folder = subjects.get(subject_key(subject), {}).get(video)
    if folder is None:
        return None, None
    channels = folders_of(folder)
    return channels.get("color", folder), channels.get("depth")


def _released_clip(clips, subject, video, onset):
    name = subject_key(f"{subject}_{video}_{onset}")
    return clips.get(("frame", name)), clips.get(("depth", name))


def _clip(row, dataset, folder_of):
    subject, video = row["Subject"], row["Filename"].strip().lower()
    onset = frame_number(row["Onset"])
    onset = row["Onset"].strip() if onset is None else onset
    named = is_folder_name(subject) and is_folder_name(video)
    folder, depth = folder_of(subject, video, onset) if named else (None, None)
    return clip_row(
        dataset,
        subject=subject,
        recording=f"{subject}/{video}",
        clip=f"{subject}/{video}/{onset}",
        folder=folder,
        depth_folder=depth,
        onset=row["Onset"],
        apex=row["Apex"],
        offset=row["Offset"],
        emotion=clean_emotion(row["emotion"]),
        objective_class=row["Objective class"].strip().upper(),
        action_units=row["AU"].strip(),
        expression_type=row["expression_type"],
    )
