"""Read a dataset of your own: a clip table in a CSV file, and folders of frames."""

import csv
import re
from pathlib import Path

import pandas as pd

from hsta_lib.data.readers.rows import listing, one_spelling
from hsta_lib.data.table import COLUMNS, clean_emotion

TABLE = "clips.csv"
_NEEDED = ["subject", "clip", "folder", "onset", "apex", "offset", "emotion"]
_OPTIONAL = ["recording", "action_units", "objective_class"]


def read(root, *, dataset="own", repair="repaired"):
    """Clip table of a dataset described by ``clips.csv``.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``clips.csv``, one row per clip: ``subject``, ``clip`` (unique within its subject),
        ``folder`` (of the frame files, relative to the root; frames are numbered by the last integer of their
        names), ``onset``, ``apex`` (empty: it is estimated), ``offset`` (numbers of frames, inclusive) and
        ``emotion``; optionally ``recording`` (the video a clip was cut from; else each clip is its own),
        ``action_units`` (``4+R14``) and ``objective_class`` (I to VII).
    dataset : str
        Name put in front of subject, recording and clip ids.
    repair : str
        See `hsta_lib.data.readers.rows.listing`.

    Returns
    -------
    hsta_lib.data.readers.rows.Listing

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    ValueError
        If it lacks a column or a cell, or a folder lies outside the root.
    """
    root = Path(root)
    rows = _read_rows(root / TABLE)
    rows["subject"] = one_spelling(rows["subject"])
    _check_subjects(root / TABLE, rows["subject"].unique())
    clips = [_clip(row, dataset, root) for row in rows.to_dict("records")]
    return listing(clips, dataset, rule=repair, version=f"{TABLE} ({len(rows)} rows)", expected={})


def _read_rows(path):
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; its columns must be {', '.join(_NEEDED)}")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte-order mark
            header, *lines = [[cell.strip() for cell in line] for line in csv.reader(file)] or [[]]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); save it as CSV in UTF-8") from error
    missing = [name for name in _NEEDED if name not in header]
    if missing or len(set(header)) < len(header):
        what = f"column {missing[0]!r} is missing" if missing else "a column is there twice"
        raise ValueError(f"{path}: {what}; it has {', '.join(header)}")
    rows = []
    for number, line in enumerate(lines, start=2):
        if not any(line):
            continue
        row = dict(zip(header, line, strict=False))
        if len(line) != len(header) or not all(row[name] for name in ("subject", "clip", "folder")):
            raise ValueError(
                f"{path}, line {number}: {','.join(line)!r} must have {len(header)} cells, and subject, clip "
                f"and folder must not be empty"
            )
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=_NEEDED + _OPTIONAL, fill_value="")


def _check_subjects(path, subjects):
    """Refuse 1 beside 01: one person under two ids could be in training and in test."""
    numbers = {}
    for subject in subjects:
        other = numbers.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", subject.lower()), subject)
        if other != subject:
            raise ValueError(f"{path}: subjects {other!r} and {subject!r} differ only in zeros; write one")


def _clip(row, dataset, root):
    subject = f"{dataset}/{row['subject']}"
    folder = root / row["folder"]
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"{root / TABLE}: folder {row['folder']!r} of clip {row['clip']!r} is outside {root}"
        )
    return {
        **dict.fromkeys(COLUMNS, ""),
        "dataset": dataset,
        "subject_id": subject,
        "recording_id": f"{subject}/{row['recording'] or row['clip']}",
        "clip_id": f"{subject}/{row['clip']}",
        "folder": folder if folder.is_dir() else None,
        "depth_folder": None,
        "onset": row["onset"],
        "apex": row["apex"],
        "offset": row["offset"],
        "emotion": clean_emotion(row["emotion"]),
        "objective_class": row["objective_class"].upper(),
        "action_units": row["action_units"],
        "expression_type": "micro",
    }
