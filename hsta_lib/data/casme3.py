"""Read CAS(ME)^3 Part A: ``part_A/<subject>/<video>/color/<frame>.jpg`` and its annotation sheets."""

import os
from pathlib import Path

import openpyxl
import pandas as pd

from hsta_lib.data.table import COLUMNS, clean_emotion, problems_table

MICRO_SHEET = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
ALL_SHEET = "CAS(ME)3_part_A_v2.xlsx"
_MICRO_COLUMNS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
_ALL_COLUMNS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class"]


def read(root, *, dataset="casme3", macro=False):
    """Clip table of CAS(ME)^3 Part A.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``part_A/`` and, beside it or in another folder, the annotation sheets.
    dataset : str
        Name put in front of subject, recording and clip ids.
    macro : bool
        Also read the macro-expressions, from the sheet that lists them; it gives them no emotion.

    Returns
    -------
    clips : DataFrame
        With the columns of `hsta_lib.data.table.COLUMNS`, in the order of the sheets.
    problems : DataFrame
        Rows that could not be used, and why.

    Raises
    ------
    FileNotFoundError
        If the root, ``part_A/`` or a sheet is not there.
    ValueError
        If a sheet cannot be read, lacks a needed column or has it twice.
    """
    root = Path(root)
    videos = _index_videos(root)
    rows = read_sheet(_find(root, MICRO_SHEET), _MICRO_COLUMNS).assign(expression_type="micro")
    if macro:
        listed = read_sheet(_find(root, ALL_SHEET), _ALL_COLUMNS)
        is_macro = listed["Expression type"].str.strip().str.lower().str.startswith("macro")
        rows = pd.concat(
            [rows, listed[is_macro].assign(expression_type="macro", emotion="")], ignore_index=True
        )
    # spNO.1 and spno.1 are one person: under two ids she could be in training and in test.
    subjects = rows["Subject"].str.strip()
    rows["Subject"] = subjects.groupby(subjects.str.lower()).transform("min")
    clips, problems, seen = [], [], set()
    for row in rows.to_dict("records"):
        clip = _clip(row, dataset, videos)
        problem = _problem(clip, seen)
        if problem:
            problems.append(("annotation sheet", clip["clip_id"], problem, "clip left out"))
        else:
            seen.add(clip["clip_id"])
            clips.append(clip)
    return pd.DataFrame(clips, columns=list(COLUMNS)), problems_table(problems)


def read_sheet(path, columns):
    """First sheet of an .xlsx workbook as text cells.

    Returns
    -------
    DataFrame of str
        Only ``columns``; empty rows are skipped.

    Raises
    ------
    ValueError
        If the file is no readable workbook or a column is missing; the message names both.
    """
    try:
        # Not read_only: openpyxl then believes the size the file states, and a wrong one loses rows.
        workbook = openpyxl.load_workbook(path, data_only=True)
        rows = list(workbook.worksheets[0].iter_rows(values_only=True))
    except Exception as error:  # openpyxl raises whatever the zip, XML or codec layer raised
        raise ValueError(f"{path} cannot be read as an .xlsx workbook ({error})") from error
    header = ["" if cell is None else str(cell).strip() for cell in (rows[0] if rows else ())]
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; the first row has {header}")
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: column {twice[0]!r} is there {header.count(twice[0])} times")
    sheet = pd.DataFrame(rows[1:], columns=header, dtype=object)[columns]
    return sheet.dropna(how="all").fillna("").astype(str)


def _find(root, name):
    """A sheet in the root or in a folder beside ``part_A``, whose many frame folders are not searched."""
    folders = [folder for folder in root.iterdir() if folder.is_dir() and folder.name != "part_A"]
    candidates = [*root.glob("*.xlsx"), *(path for folder in folders for path in folder.rglob("*.xlsx"))]
    found = sorted(path for path in candidates if path.name.lower() == name.lower())
    if not found:
        raise FileNotFoundError(
            f"{root}: annotation sheet {name!r} is neither there nor in a folder beside part_A"
        )
    return found[0]


def _index_videos(root):
    """Folder of colour frames by lower-case (subject, video): sheets and disk differ in case."""
    part_a = root / "part_A"
    if not part_a.is_dir():
        raise FileNotFoundError(
            f"{root}: no folder 'part_A' there; data_root must be the folder that holds it"
        )
    return {
        (subject.name.lower(), video.name.lower()): Path(video.path) / "color"
        for subject in os.scandir(part_a) if subject.is_dir()
        for video in os.scandir(subject.path) if video.is_dir()
    }  # fmt: skip


def _clip(row, dataset, videos):
    subject, video = row["Subject"], row["Filename"].strip().lower()
    recording = f"{dataset}/{subject}/{video}"
    onset, apex, offset = (_frame_number(row[name]) for name in ("Onset", "Apex", "Offset"))
    return {
        "dataset": dataset,
        "subject_id": f"{dataset}/{subject}",
        "recording_id": recording,
        "clip_id": f"{recording}/{row['Onset'].strip() if onset is None else onset}",
        "folder": videos.get((subject.lower(), video)),
        "onset": onset,
        "apex": apex,
        "offset": offset,
        "emotion": clean_emotion(row["emotion"]),
        "objective_class": row["Objective class"].strip().upper(),
        "action_units": row["AU"].strip(),
        "expression_type": row["expression_type"],
    }


def _frame_number(text):
    """A cell's whole number, also of text such as ``12`` or ``12.0``; None if it is no such number."""
    try:
        number = float(text)
        return int(number) if number == int(number) else None
    except (ValueError, OverflowError):
        return None


def _problem(clip, seen):
    """Why a row cannot be used, or an empty text."""
    numbers = [clip["onset"], clip["apex"], clip["offset"]]
    if clip["subject_id"].endswith("/"):
        return "no subject given"
    if None in numbers:
        return f"onset, apex, offset {numbers}: not all are numbers"
    if not numbers[0] <= numbers[1] <= numbers[2]:
        return f"apex {clip['apex']} outside onset..offset {clip['onset']}..{clip['offset']}"
    if clip["clip_id"] in seen:
        return "listed twice"
    if clip["folder"] is None:
        return "video folder missing"
    return ""
