"""Read a dataset of your own: a clip table in a CSV file, and folders of frames."""

from pathlib import Path, PureWindowsPath

from hsta_lib.data.readers.find import nearest_folder
from hsta_lib.data.readers.rows import clip_row, listing, one_person
from hsta_lib.data.table import clean_emotion
from hsta_lib.files import read_csv

TABLE = "clips.csv"
_NEEDED = ["subject", "clip", "folder", "onset", "apex", "offset", "emotion"]
_OPTIONAL = ["recording", "action_units", "objective_class"]


def read(root, *, dataset="own", repair="repaired"):
    """Clip table of a dataset described by ``clips.csv`` in its root, see `rows.Listing`.

    Cells are divided by commas, semicolons or tabs; each row is a clip. A ValueError if a column or a cell is
    missing, or the path of a folder leads out of the root; links may.

    - ``subject``; ``clip``, unique within its subject,
    - ``folder``: of the frame files, relative to the root; frames are numbered by the last integer of their
      names,
    - ``onset``, ``apex`` (empty: it is estimated), ``offset``: numbers of frames, inclusive,
    - ``emotion``; optionally ``action_units`` (``4+R14``) and ``objective_class`` (I to VII),
    - optionally ``recording``: the video a clip was cut from; else each clip is its own.
    """
    root = Path(root)
    rows = _read_rows(root / TABLE)
    rows["subject"], merged = one_person(rows["subject"])
    clips = [_clip(row, dataset, root) for row in rows.to_dict("records")]
    version = f"{TABLE} ({len(rows)} rows)"
    return listing(clips, dataset, rule=repair, version=version, expected={}, problems=merged)


def _read_rows(path):
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.absolute()} is not there, the nearest folder is {nearest_folder(path.absolute())}; its "
            f"columns must be {', '.join(_NEEDED)}"
        )
    rows = read_csv(path, _NEEDED).rename(columns=str.lower)
    for number, row in rows.iterrows():
        if not all(row[["subject", "clip", "folder"]]):
            raise ValueError(f"{path}, line {number}: subject, clip and folder must not be empty")
    return rows.reindex(columns=_NEEDED + _OPTIONAL, fill_value="")


def _clip(row, dataset, root):
    folder, written = root / row["folder"], PureWindowsPath(row["folder"])  # either slash divides
    if written.anchor or ".." in written.parts:
        raise ValueError(
            f"{root / TABLE}: folder {row['folder']!r} of clip {row['clip']!r} must be a path below {root}, "
            "without '..'; a link there may lead elsewhere"
        )
    return clip_row(
        dataset,
        subject=row["subject"],
        recording=f"{row['subject']}/{row['recording'] or row['clip']}",
        clip=f"{row['subject']}/{row['clip']}",
        **_found(folder),
        **{name: row[name] for name in ("onset", "apex", "offset", "action_units")},
        emotion=clean_emotion(row["emotion"]),
        objective_class=row["objective_class"].upper(),
    )


def _found(folder):
    if folder.is_dir():
        return {"folder": folder}
    return {
        "folder": None,
        "missing": f"folder {folder} missing; the nearest is {nearest_folder(folder.absolute())}",
    }
