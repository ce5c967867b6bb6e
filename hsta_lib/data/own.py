"""Read a dataset of your own: a clip table in a CSV file, and folders of frames."""

from pathlib import Path

import pandas as pd

from hsta_lib.data.reading import listing
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
        See `hsta_lib.data.reading.listing`.

    Returns
    -------
    hsta_lib.data.reading.Listing

    Raises
    ------
    FileNotFoundError
        If the table is not there.
    ValueError
        If it lacks a column or a folder lies outside the root.
    """
    root = Path(root)
    path = root / TABLE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; its columns must be {', '.join(_NEEDED)}")
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in _NEEDED if name not in rows]
    if missing:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; it has {', '.join(rows.columns)}")
    rows = rows.reindex(columns=_NEEDED + _OPTIONAL, fill_value="").map(str.strip)
    clips = [_clip(row, dataset, root) for row in rows.to_dict("records")]
    return listing(clips, dataset, rule=repair, version=f"{TABLE} ({len(rows)} rows)", expected={})


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
