"""The HSTA authors' public lists of CAS(ME)^3 clips: their five folds, which are subject-dependent.

The lists are in the authors' repository (OceanSummerDay/HSTA_MER, folder ``washed_data``) and name clips
without showing any. They were drawn at random over clips: most subjects, and most recordings, are on both
sides of a fold, so scores on them belong beside the paper's, not beside those of a subject-grouped split.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hsta_lib.data.readers.rows import clip_row, listing
from hsta_lib.data.splits import Fold
from hsta_lib.data.table import clean_emotion, problems_table
from hsta_lib.files import read_csv

_FOLDER = Path("washed_data/washed_data/new_labels")
_ROWS = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU"]
# (labels, macro clips in training) -> folder, spelt as theirs; beginning of its training files.
_LISTS = {
    ("emotion", False): ("emothion_as_label", "train"),
    ("objective", False): ("Objective_class_as_label", "no_macro_exp_train"),
    ("objective", True): ("Objective_class_as_label", "use_macro_exp_train"),
}
_HEADERS = {
    "emotion": [*_ROWS, "Objective class", "emotion"],
    "objective": [*_ROWS, "Expression type", "Objective class"],
}
_N_FOLDS = 5
_WHERE = "the authors' lists"
_FORMS = {  # of a cell, case ignored
    "Subject": r"spNO\.\d+",
    "Filename": "[a-z]",
    "Onset": r"\d+",
    "Apex": r"\d+",
    "Offset": r"\d+",
    "AU": r"[LRTB]?\d+(\+[LRTB]?\d+)*",
    "Objective class": "I|II|III|IV|V|VI|VII",
    "emotion": "anger|disgust|fear|happy|others|sad|surprise",
    "Expression type": "(micro|macro)-expression",
}


class AuthorsLists(NamedTuple):
    """One division of the authors into five folds, *subject-dependent*.

    ``protocol``: what it is, for captions. ``clips``: columns of `hsta_lib.data.table.COLUMNS`, without
    folders; where a kind of list gives no emotion it is empty. ``folds``: list of
    `hsta_lib.data.splits.Fold`, row numbers of ``clips``. ``problems``: index errors in the lists.
    """

    protocol: str
    clips: pd.DataFrame
    folds: list
    problems: pd.DataFrame


class Matched(NamedTuple):
    """The authors' folds on another clip table.

    ``clips``: the rows of that table the lists name, in its order. ``folds``: row numbers of ``clips``.
    ``problems``: what only one side has, and where they contradict each other.
    """

    clips: pd.DataFrame
    folds: list
    problems: pd.DataFrame


def read(clone, *, labels="emotion", macro=False, dataset="casme3", repair="repaired"):
    """The authors' five folds, *subject-dependent*.

    ``dataset`` and ``repair``: see `rows.Listing`; the ids keep the onset as listed.

    Parameters
    ----------
    clone : str or Path
        Folder of a clone of the authors' repository.
    labels : {"emotion", "objective"}
        Two unrelated divisions of the same micro-expressions, and which class is given.
    macro : bool
        All macro-expressions are in training in every fold, those of the test subjects included; exists for
        the objective classes only.

    Raises
    ------
    FileNotFoundError
        If the folder or one of the lists is not there.
    ValueError
        If there is no such kind of list or a row is not of the known form. If a clip is listed twice in a
        file, or with different cells in two. If it is tested twice, or in training and in test of one fold.
    """
    if (labels, macro) not in _LISTS:
        known = "; ".join(f"labels = {name!r}, macro = {with_macro}" for name, with_macro in _LISTS)
        raise ValueError(f"no lists for labels = {labels!r}, macro = {macro}; there are: {known}")
    folder, training = _LISTS[labels, macro]
    rows, sides = {}, []
    for number in range(1, _N_FOLDS + 1):
        files = [_file(clone, folder, f"{side}_fold_{number}.csv") for side in (training, "test")]
        sides.append([_read_file(path, _HEADERS[labels], dataset, rows) for path in files])
    _check(sides)
    table = listing([row for row, _ in rows.values()], "casme3", rule=repair, version="", expected={})
    folds = [Fold(*(_row_numbers(table.clips["clip_id"], ids) for ids in fold)) for fold in sides]
    protocol = f"the authors' five folds by {labels}{', macro clips in training' * macro}, subject-dependent"
    return AuthorsLists(protocol, table.clips, folds, table.problems.assign(where=_WHERE))


def match(lists, clips):
    """The authors' folds as row numbers of a clip table: the clips that both have, a `Matched`.

    Clips are matched by their ids, else by recording and onset: two lists of the authors give one clip with
    its onset corrected, and so another id. A ValueError if the lists and the table share no clip, or two
    clips of the lists are the same row of the table.

    ``clips`` (DataFrame): ``clip_id, recording_id, onset, emotion, objective_class`` of the labelled clips of
    a real dataset.
    """
    row_of = _rows_of(lists.clips, clips)
    if row_of.isna().all():
        raise ValueError(
            f"none of the {len(lists.clips)} listed clips, such as {lists.clips['clip_id'].iloc[0]}, is in "
            "the clip table; do both ids begin with the same dataset?"
        )
    if row_of.dropna().duplicated().any():
        row = int(row_of.dropna()[row_of.dropna().duplicated()].iloc[0])
        raise ValueError(f"two listed clips are clip {clips['clip_id'].iloc[row]} of the clip table")
    kept = sorted(row_of.dropna().astype(int))
    position = row_of.map({row: place for place, row in enumerate(kept)})
    folds = [Fold(*(_places(position, side) for side in fold)) for fold in lists.folds]
    problems = problems_table(_differences(lists.clips, clips, row_of))
    return Matched(clips.iloc[kept].reset_index(drop=True), folds, problems)


def with_folds(clips, clone, labels):
    """A clip table with the authors' fold of each clip, *subject-dependent*.

    Returns the clips that the lists name, with the number of the fold that tests them in ``authors_fold``,
    and the problems, see `Matched`.

    Parameters
    ----------
    clips : DataFrame
        The labelled clips of a real CAS(ME)^3.
    clone : str or Path
        As for `read`.
    labels : str
        Label set of the clips: sets of objective classes have lists of their own.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read` and `match`; also if a clip is never tested, or not trained on by every other fold.
    """
    if clips["dataset"].iloc[0] != "casme3":
        raise ValueError(f"the authors' lists are of casme3, the clips are of {clips['dataset'].iloc[0]}")
    kind = "objective" if labels.startswith("objective") else "emotion"
    matched = match(read(clone, labels=kind, dataset=clips["dataset"].iloc[0]), clips)
    numbers = np.full(len(matched.clips), -1)
    for number, fold in enumerate(matched.folds):
        numbers[fold.test] = number
    for number, fold in enumerate(matched.folds):
        if set(fold.train) != set(np.flatnonzero(numbers != number)) or (numbers < 0).any():
            raise ValueError(f"{clone}: fold {number + 1} does not train on all clips that it does not test")
    return matched.clips.assign(authors_fold=numbers), matched.problems


def check_clone(folder):
    """The path of a clone of the authors' repository, refused with FileNotFoundError if it holds no lists."""
    clone = Path(folder).expanduser()
    if not (clone / _FOLDER).is_dir():
        raise FileNotFoundError(
            f"{clone}: no folder {_FOLDER} there; give the folder of a clone of OceanSummerDay/HSTA_MER"
        )
    return clone


def _file(clone, folder, name):
    path = check_clone(clone) / _FOLDER / folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list; is the clone complete?")
    return path


def _read_file(path, header, dataset, rows):
    """Ids of a file's clips; its rows are added to ``rows``, id to row and where it stood first."""
    table, ids = read_csv(path), {}
    if [*table] != header:
        raise ValueError(f"{path}, line 1: columns {[*table]} are not {header}")
    for number, cells in table.iterrows():
        where = f"{path}, line {number}"
        row = _clip(cells, dataset, where)
        clip_id = row["clip_id"]
        if clip_id in ids:
            raise ValueError(f"{where}: clip {clip_id} is listed twice, first in line {ids[clip_id]}")
        ids[clip_id] = number
        first, place = rows.setdefault(clip_id, (row, where))
        if first != row:
            raise ValueError(f"{where}: clip {clip_id} has other cells than in {place}")
    return list(ids)


def _clip(row, dataset, where):
    for name, cell in row.items():
        if not re.fullmatch(_FORMS[name], cell, re.IGNORECASE):
            raise ValueError(f"{where}: {name} = {cell!r} is not of the known form {_FORMS[name]}")
    recording = f"{row['Subject']}/{row['Filename'].lower()}"
    return clip_row(
        dataset,
        subject=row["Subject"],
        recording=recording,
        clip=f"{recording}/{int(row['Onset'])}",
        depth_folder="",  # the lists come without frames; None would be a folder that was looked for
        onset=row["Onset"],
        apex=row["Apex"],
        offset=row["Offset"],
        emotion=clean_emotion(row.get("emotion", "")),
        objective_class=row["Objective class"].upper(),
        action_units=row["AU"],
        expression_type=row.get("Expression type", "micro").lower().removesuffix("-expression"),
    )


def _check(sides):
    tested = {}
    for number, (train, test) in enumerate(sides, start=1):
        for clip_id in test:
            if clip_id in tested:
                raise ValueError(f"clip {clip_id} is tested in fold {tested[clip_id]} and in fold {number}")
            tested[clip_id] = number
        both = sorted(set(train) & set(test))
        if both:
            raise ValueError(f"clip {both[0]} is in training and in test of fold {number}")


def _row_numbers(clip_ids, ids):
    return clip_ids.index[clip_ids.isin(ids)].to_numpy()


def _rows_of(listed, clips):
    """Row of the clip table for each listed clip, missing where there is none."""
    by_id = {clip_id: row for row, clip_id in enumerate(clips["clip_id"])}
    by_onset = {key: row for row, key in enumerate(zip(clips["recording_id"], clips["onset"], strict=True))}
    rows = [
        by_id.get(clip.clip_id, by_onset.get((clip.recording_id, clip.onset))) for clip in listed.itertuples()
    ]
    return pd.Series(rows, index=listed.index, dtype="Int64")


def _places(position, side):
    return position.iloc[side].dropna().astype(int).sort_values().to_numpy()


def _differences(listed, clips, row_of):
    for clip, row in zip(listed.itertuples(), row_of, strict=True):
        if pd.isna(row):
            yield _WHERE, clip.clip_id, "not in the clip table", "left out of the folds"
            continue
        for name in ("emotion", "objective_class"):
            here, there = getattr(clip, name), clips[name].iloc[row]
            if here and here != there:
                yield (
                    _WHERE,
                    clip.clip_id,
                    f"{name} {here!r}, in the clip table {there!r}",
                    "the table's is used",
                )
    for row in sorted(set(range(len(clips))) - set(row_of.dropna())):
        yield (
            "clip table",
            clips["clip_id"].iloc[row],
            "in none of the authors' lists",
            "left out of the clips",
        )
