"""Score anyone's predictions as the reports here score theirs: ``python -m hsta_lib.score predictions.csv``.

The file has one row per clip: ``subject_id``, ``y_true`` and ``y_pred``, or several columns of predictions under
names of their own; optionally ``clip_id``, ``fold`` and ``recording_id``. Classes are names.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib import pixel_free
from hsta_lib.consistency.pooled import check_counts, is_possible, uf1_range
from hsta_lib.data.splits import Fold
from hsta_lib.data.table import COLUMNS
from hsta_lib.metrics import METRICS, per_fold_means, scores
from hsta_lib.stats import effective_subjects
from hsta_lib.tables import HEADINGS, count, score_table

_NEEDED = ("subject_id", "y_true")
_ABOUT = {*_NEEDED, "fold", *COLUMNS}  # columns that are never predictions
_MAY_BE_EMPTY = set(COLUMNS) - {"clip_id", "subject_id"}
# Predictors that need more than subjects and clip ids, and what they need; others are not offered here.
_PIXEL_FREE = {"majority class": (), "subject": (), "recording": ("recording_id",), "film": ()}


def read(path):
    """Read a file of predictions.

    Parameters
    ----------
    path : str or Path
        CSV in UTF-8, its first line the names of the columns.

    Returns
    -------
    DataFrame of str
        One row per clip, cells stripped of spaces.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty or no CSV, or a line or name of a column is missing cells or repeated.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte-order mark
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8 ({error})") from error
    if not any(map(any, lines)):
        raise ValueError(f"{path} is empty; it needs the columns {', '.join(_NEEDED)} and y_pred")
    header = lines[0]
    if len(header) < 2:
        raise ValueError(f"{path} is not a CSV: its first line {header} has no comma between names of columns")
    if len(set(header)) < len(header):
        raise ValueError(f"{path}: a column is there twice in {', '.join(header)}")
    for number, line in enumerate(lines, start=1):
        if line and len(line) != len(header):
            raise ValueError(f"{path}, line {number} has {len(line)} cells, the first line {len(header)}")
    return pd.DataFrame([line for line in lines[1:] if any(line)], columns=header)


def check(table, column=None, classes=None):
    """Refuse predictions that cannot be scored.

    Parameters
    ----------
    table : DataFrame
        With ``subject_id``, ``y_true`` and columns of predictions; classes as in ``classes``.
    column : str, optional
        The one to score; by default ``y_pred`` if there is one, else all that say nothing about the clip.
    classes : sequence of str, optional
        Of the protocol, in order; by default those of ``y_true``, sorted.

    Returns
    -------
    columns, classes : list of str

    Raises
    ------
    ValueError
        If a column or cell is missing, a clip occurs twice, a class is not among ``classes``, or there are
        fewer than two subjects or two classes.
    """
    columns = _prediction_columns(table, column)
    if not len(table):
        raise ValueError("there are no clips, only the names of columns")
    for name in set(table) & {*_NEEDED, "fold", "clip_id", *columns}:
        empty = table[name].isna() | (table[name].astype(str) == "")
        if empty.any():
            raise ValueError(f"column {name!r}: clip {_name_of(table, empty)} has an empty cell")
    if "clip_id" in table and table["clip_id"].duplicated().any():
        raise ValueError(f"clip {_name_of(table, table['clip_id'].duplicated())} is there twice")
    classes = list(classes or sorted(table["y_true"].unique()))
    if len(set(classes)) < len(classes):
        raise ValueError(f"a class is there twice in {_listed(classes)}")
    for name in ("y_true", *columns):
        unknown = ~table[name].isin(classes)
        if unknown.any():
            raise ValueError(
                f"column {name!r}: clip {_name_of(table, unknown)} is of class {table[name][unknown].iloc[0]!r}, "
                f"which is none of {_listed(classes)}; name all classes of the protocol with --classes"
            )
    for name, what in (("subject_id", "subject"), ("y_true", "class")):
        if table[name].nunique() < 2:
            raise ValueError(f"all clips are of one {what}, {table[name].iloc[0]!r}; two are needed to score")
    return columns, classes


def _prediction_columns(table, column):
    there = ", ".join(map(str, table))
    for name in _NEEDED if column is None else (*_NEEDED, column):
        if name not in table:
            raise ValueError(f"column {name!r} is missing; there are {there}")
    if column is not None:
        return [column]
    columns = ["y_pred"] if "y_pred" in table else [name for name in table if name not in _ABOUT]
    if not columns:
        raise ValueError(f"column 'y_pred' is missing, and there are no other predictions in {there}")
    return columns


def _name_of(table, rows):
    """The first of some rows, by its clip or its place."""
    first = int(np.flatnonzero(rows)[0])
    return repr(table["clip_id"].iloc[first]) if "clip_id" in table else f"number {first + 1}"


def _listed(classes):
    return ", ".join(map(str, classes))


def score(table, column=None, classes=None):
    """Scores of predictions, as the tables of the reports have them.

    Parameters
    ----------
    table, column, classes
        See `check`. Folds are those of the column ``fold``, else the subjects.

    Returns
    -------
    DataFrame
        One row per column of predictions, in percent: for each metric ``<metric>`` pooled over all clips, its
        95 % interval over subjects ``<metric>_low`` and ``<metric>_high``, and the mean over folds, where a
        class that is absent from a fold is skipped, ``<metric>_folds``, or counts 0, ``<metric>_folds_zero``.
        A class without clips counts 0 in the pooled UAR and UF1.

    Raises
    ------
    ValueError
        As `check`.

    Examples
    --------
    >>> rows = pd.DataFrame({"subject_id": list("aabb"), "y_true": list("xyxy"), "y_pred": list("xyxx")})
    >>> score(rows)["acc"].tolist()
    [75.0]
    """
    columns, classes = check(table, column, classes)
    return _score({name: _rows(table, name, classes) for name in columns}, len(classes))


def _rows(table, column, classes):
    """One column's predictions as `hsta_lib.tables` reads them, classes as numbers."""
    numbers = {name: number for number, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "subject_id": table["subject_id"],
            "fold": table["fold" if "fold" in table else "subject_id"],
            "y_true": table["y_true"].map(numbers),
            "y_pred": table[column].map(numbers),
            "seed": 0,
        }
    )


def _score(rows, n_classes):
    """Scores of named predictions of the same clips."""
    predictions = pd.concat([part.assign(cell=cell) for cell, part in enumerate(rows.values())])
    found = score_table(pd.DataFrame(index=range(len(rows))), predictions, n_classes)[0]
    of_folds = per_fold_means(count(predictions, "fold", n_classes), absent="zero")
    for i, metric in enumerate(METRICS):
        found[f"{metric}_folds_zero"] = 100 * of_folds[:, 0, i]
    return found.set_index(pd.Index(rows, name="predictions"))


def without_pixels(table, classes):
    """Scores of predictors that see no picture, on the same clips and folds.

    Parameters
    ----------
    table : DataFrame
        See `check`. For the recording it needs ``recording_id``; for the film, clip ids as
        `hsta_lib.data.table` has them, of a dataset whose clip ids tell it, e.g. ``casme3/spNO.1/a/355``.
        Training is taken to be all clips of the other folds.
    classes : list of str
        From `check`.

    Returns
    -------
    DataFrame
        As `score`: the majority class, and the vote of training clips of the same subject, recording or film,
        as far as the table tells them; see `hsta_lib.pixel_free.vote`.
    """
    clips = table.reset_index(drop=True).assign(label=table["y_true"].map(classes.index).to_numpy())
    if "clip_id" not in clips:
        clips["clip_id"] = [f"number {i + 1}" for i in clips.index]
    clips = clips.assign(dataset=clips["clip_id"].str.partition("/")[0], action_units="")
    fold_of = pd.factorize(clips["fold" if "fold" in clips else "subject_id"], sort=True)[0]
    folds = [Fold(np.flatnonzero(fold_of != n), np.flatnonzero(fold_of == n)) for n in np.unique(fold_of)]
    offered = pixel_free.predictors(clips)
    chosen = [name for name, needs in _PIXEL_FREE.items() if name in offered and set(needs) <= set(clips)]
    return _score({name: offered[name](clips, folds) for name in chosen}, len(classes))


def _text(table, column, classes):
    """What is printed about a file of predictions."""
    columns, classes = check(table, column, classes)
    found = score(table, column, classes)
    sizes, counts = table["subject_id"].value_counts(), table["y_true"].value_counts()
    by_fold = f"{table['fold'].nunique()} folds" if "fold" in table else f"{len(sizes)} left-out subjects"
    parts = [
        f"{len(table)} clips of {len(sizes)} subjects, which weigh as much as {effective_subjects(sizes):.1f} "
        "of equal size",
        "clips per class: " + ", ".join(f"{name} {counts.get(name, 0)}" for name in classes),
        "",
        "All clips pooled, %, with 95 % intervals over subjects",
        _pooled(found),
        "",
        f"Mean over {by_fold}, %; a class that is absent from a fold is skipped, or counts 0",
        _folds(found),
        "",
    ]
    if len(columns) == 1:
        parts += ["Clips by true class (rows) and predicted class, and recall in %"]
        parts += [_confusion(table, columns[0], classes)]
    else:
        parts += ["The confusion matrix of one of them: --column NAME"]
    if not _has_training(table):
        return "\n".join(parts)
    parts += ["", "Without a picture, same clips; trained on the other folds, %", _pooled(without_pixels(table, classes))]
    return "\n".join(parts)


def _pooled(found):
    shown = {}
    for metric in METRICS:
        shown[HEADINGS[metric]] = found[metric].map("{:.1f}".format)
        ends = zip(found[f"{metric}_low"], found[f"{metric}_high"], strict=True)
        shown[f"{HEADINGS[metric]} from, to"] = [f"{low:.1f} to {high:.1f}" for low, high in ends]
    return pd.DataFrame(shown).rename_axis(None).to_string()
