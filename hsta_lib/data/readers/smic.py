"""Read SMIC: the short clips of its three cameras, or the long ones (SMIC-E) with their annotation sheet."""

import re
from collections import Counter, namedtuple

import pandas as pd

from hsta_lib.data.frames import index_folder, why_no_frames
from hsta_lib.data.readers.find import dataset_folder, find_frames, find_sheet, folders_of, needed_sheet
from hsta_lib.data.readers.rows import clip_row, listing, one_person
from hsta_lib.data.readers.sheet import read_sheet
from hsta_lib.data.table import problems_table, subject_key

SHEET = "SMIC-HS-E_annotation.xlsx"
_COLUMNS = ["Filename", "OnsetF", "OffsetF"]
_OPTIONAL = ["Onset2F", "Offset2F", "Emotion"]
# What folders of frames are called, and those in them.
_CAMERAS = {name: rf"(^|smic){name.lower()}(e|long)?$" for name in ("HS", "VIS", "NIR")}
_CROPS = {"cropped": "crop", "raw": "raw"}  # the first that has the camera is read
_NO_CAMERA = r"(?!(hs|vis|nir)\b).*"  # title of a page
_SUBJECT, _CLIP = r"s[\W_]*\d+", r"s\d+_(ne|po|sur)_\d+"
_MICRO = ("micro", "non_micro")
_EMOTIONS = {"ne": "negative", "po": "positive", "sur": "surprise"}
# Clips of negative, positive and surprise that a complete copy has.
_VIS = (23, 28, 20)
VARIANTS = {"HS": (70, 51, 43), "VIS": _VIS, "NIR": _VIS, "E-HS": (65, 51, 41), "E-VIS": _VIS, "E-NIR": _VIS}

Clip = namedtuple("Clip", "subject name emotion")  # s01, s1_ne_01, negative


def parse_name(text):
    """A `Clip` by its name, ``s1_ne_01`` as on disk or ``s01_ne_01`` as in the MEGC2019 list; or None."""
    match = re.fullmatch(r"s(\d+)_(ne|po|sur)_(\d+)", text.strip().lower())
    if not match:
        return None
    subject, number = int(match[1]), int(match[3])
    return Clip(f"s{subject:02}", f"s{subject}_{match[2]}_{number:02}", _EMOTIONS[match[2]])


def read(root, *, dataset="smic", repair="repaired", variant=""):
    """Clip table of SMIC, see `rows.Listing`. No version of it gives an apex: it stays missing.

    The root is, or holds, ``SMIC_all_cropped/`` or ``SMIC_all_raw/`` (of both the former is read), with
    ``<variant>/<subject>/micro/<emotion>/<clip>/<frame>`` below. Or, of SMIC-E, it holds ``SMIC-HS-E/`` with
    ``<subject>/<clip>/<frame>`` below, and the sheet.

    ``variant``: the camera, ``HS``, ``VIS`` or ``NIR``, HS if empty; ``E-HS`` and so on are the long clips.
    Of a long clip with two expressions the first is taken.

    The emotion is that of the clip's name, never the sheet's, which calls a clip of surprise negative.
    ``recording_id`` is the subject: recordings are not documented. ``listed`` counts clips whose folder is
    there. No wrong frame number is known.
    """
    root, variant = dataset_folder(root), variant or "HS"
    if variant not in VARIANTS:
        raise ValueError(f"variant = {variant!r} is unknown; choose one of {', '.join(VARIANTS)}")
    reader = _long_clips if variant.startswith("E-") else _short_clips
    rows, problems, version = reader(root, variant.removeprefix("E-"), dataset)
    expected = dict(zip(_EMOTIONS.values(), VARIANTS[variant], strict=True))
    reading = listing(rows, "smic", rule=repair, version=version, expected=expected)
    problems = pd.concat([problems_table(problems), reading.problems], ignore_index=True)
    listed = Counter(row["emotion"] for row in rows if row["folder"] is not None)
    return reading._replace(problems=problems, listed=dict(listed))


def _row(dataset, clip, folder, onset, offset):
    return clip_row(
        dataset,
        subject=clip.subject,
        recording=clip.subject,
        clip=f"{clip.subject}/{clip.name}",
        folder=folder,
        onset=str(onset),
        offset=str(offset),
        emotion=clip.emotion,
    )


def _named_clips(found, dataset):
    """Folders of the clips whose name and folders agree, and the problems of the others."""
    clips, problems = {}, _merged("folders of subjects", [subject for subject, *_ in found])
    problems += _merged("folders of clips", [folder.name for *_, folder in found])
    for subject, emotion, folder in found:
        clip = parse_name(folder.name)
        reason = _disagreement(clip, subject, emotion)
        if not reason and clip in clips:
            reason = f"also in {clips[clip].parent.name}/{clips[clip].name}"
        if reason:
            problems.append((str(folder), f"{dataset}/{subject}/{folder.name}", reason, "clip left out"))
        else:
            clips[clip] = folder
    return clips, problems


def _merged(where, names):
    return one_person([name.partition("_")[0] for name in names], where)[1]


def _disagreement(clip, subject, emotion):
    if clip is None:
        return "no name of a clip such as s1_ne_01"
    if subject_key(clip.subject) != subject_key(subject):
        return f"subject {clip.subject} by its name, {subject} by its folder"
    if emotion not in (None, clip.emotion):
        return f"{clip.emotion} by its name, {emotion} by its folder"
    return ""


def _short_clips(root, camera, dataset):
    """Rows of the short clips: the first frame file is the onset, the last the offset."""
    folder, _ = find_frames(
        root, _SUBJECT, "|".join([*_MICRO, *_EMOTIONS.values()]), choices=[(_CAMERAS, camera), (_CROPS, "")],
        usual=f"SMIC_all_cropped/{camera} or SMIC_all_raw/{camera}",
    )  # fmt: skip
    kinds = {subject: _kinds_of(subject) for subject in folders_of(folder).values()}
    found = [
        (subject.name, emotion, clip)
        for subject, kind in kinds.items()
        for emotion, clips in folders_of(kind.get("micro")).items()
        for clip in folders_of(clips).values()
    ]
    (clips, problems), rows = _named_clips(found, dataset), []
    for subject in (subject for subject, kind in kinds.items() if not {*_MICRO} & set(kind)):
        problems.append((str(subject), f"{dataset}/{subject.name}", "no folder 'micro'", "subject left out"))
    for clip, place in clips.items():
        numbers = index_folder(place)
        if numbers:
            rows.append(_row(dataset, clip, place, min(numbers), max(numbers)))
        gaps = _gaps(numbers) if numbers else [(why_no_frames(place), "clip left out")]
        problems += [(str(place), f"{dataset}/{clip.subject}/{clip.name}", *gap) for gap in gaps]
    return rows, problems, _place(folder, root)


def _kinds_of(subject):
    """Folders of a subject; of one who has those of emotions and none of 'micro', she is it."""
    found = folders_of(subject)
    is_flat = not {*_MICRO} & set(found) and {*_EMOTIONS.values()} & set(found)
    return {"micro": subject} if is_flat else found


def _gaps(numbers):
    n_frames = max(numbers) - min(numbers) + 1
    n_missing = n_frames - len(numbers)
    return [(f"{n_missing} of {n_frames} frames missing", "kept")] if n_missing else []


def _long_clips(root, camera, dataset):
    """Rows of the long clips: the sheet says where in them the expression is."""
    usual = f"SMIC-E_raw_image or SMIC-{camera}-E"
    folder, _ = find_frames(root, _SUBJECT, _CLIP, choices=[(_CAMERAS, camera)], usual=usual)
    sheet, page = find_sheet(root, f"smic{camera.lower()}eannotation.*", folder), f"{camera}|{_NO_CAMERA}"
    if sheet is None:
        sheet, page = needed_sheet(root, "smic(hs|vis|nir)?e?annotation.*", SHEET, folder), camera
    subjects = folders_of(folder).values()
    found = [(subject.name, None, clip) for subject in subjects for clip in folders_of(subject).values()]
    clips, problems = _named_clips(found, dataset)
    listed, rows = read_sheet(sheet, _COLUMNS, _OPTIONAL, title=page), []
    problems += _merged(sheet.name, listed["Filename"])
    for cells in listed.to_dict("records"):
        clip = parse_name(cells["Filename"])
        if clip is None:
            what = f"{cells['Filename']!r} is no name of a clip such as s1_ne_01"
            problems.append((sheet.name, "", what, "row left out"))
            continue
        rows.append(_row(dataset, clip, clips.get(clip), cells["OnsetF"], cells["OffsetF"]))
        problems += [(sheet.name, rows[-1]["clip_id"], *note) for note in _notes(clip, cells)]
    named = {row["clip_id"] for row in rows}
    for clip, place in clips.items():
        clip_id = f"{dataset}/{clip.subject}/{clip.name}"
        if clip_id not in named:
            problems.append((str(place), clip_id, f"not in {sheet.name}", "clip left out"))
    return rows, problems, f"{_place(folder, root)}; {sheet.name}, page {camera} ({len(rows)} rows)"


def _place(folder, root):
    return root.absolute().name if folder == root else str(folder.relative_to(root))


def _notes(clip, cells):
    """What a row says that is not followed; cells of a third interval hold garbage in known copies."""
    second, emotion = cells["Onset2F"] + cells["Offset2F"], cells["Emotion"].strip().lower()
    if second.strip():
        yield f"a second expression at {cells['Onset2F']}..{cells['Offset2F']}", "not read"
    if emotion not in ("", clip.emotion):
        yield f"{emotion} in the sheet", f"{clip.emotion}, as in the clip's name"
