"""Score anyone's predictions as the reports here score theirs: ``python -m hsta_lib.score predictions.csv``.

The file has one row per clip: ``subject_id``, ``y_true`` and ``y_pred``, or several columns of predictions
under names of their own; optionally ``clip_id``, ``fold`` and ``recording_id``. Classes are names. With
``--epochs`` it has one row per clip and ``epoch``.
"""

import argparse
import csv
import sys
from contextlib import suppress

import numpy as np
import pandas as pd

from hsta_lib.data.splits import Fold
from hsta_lib.data.table import COLUMNS
from hsta_lib.evaluation import epochs, pixel_free, references
from hsta_lib.evaluation.intervals import effective_subjects
from hsta_lib.evaluation.metrics import METRICS, confusion, per_fold_means
from hsta_lib.paper_check.possible import is_possible, uf1_range
from hsta_lib.reporting.tables import HEADINGS, count, from_to, score_table, span, with_span

_NEEDED = ("subject_id", "y_true")
_ABOUT = {
    *_NEEDED,
    "fold",
    "",
    *COLUMNS,
}  # columns that are never predictions; pandas' row numbers have no name
_NEVER_EMPTY = {*_NEEDED, "fold", "clip_id", "recording_id"}


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
        If the file is empty or no CSV, a line has more or fewer cells than the first, or a column is there
        twice.
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
        raise ValueError(
            f"{path} is not a CSV: its first line {header} has no comma between names of columns"
        )
    if len(set(header)) < len(header):
        raise ValueError(f"{path}: a column is there twice in {', '.join(header)}")
    for number, line in enumerate(lines, start=1):
        if any(line) and len(line) != len(header):
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
    for name in [name for name in table if name in {*_NEVER_EMPTY, *columns}]:
        empty = table[name].isna() | (table[name].astype(str) == "")
        if empty.any():
            raise ValueError(f"column {name!r} is empty for clip {_name_of(table, empty)}")
    if "clip_id" in table and table["clip_id"].duplicated().any():
        raise ValueError(f"clip {_name_of(table, table['clip_id'].duplicated())} is there twice")
    classes = sorted(table["y_true"].unique()) if classes is None else list(classes)
    if len(set(classes)) < len(classes):
        raise ValueError(f"a class is there twice in {', '.join(map(str, classes))}")
    for name in ("y_true", *columns):
        unknown = ~table[name].isin(classes)
        if unknown.any():
            found = table[name][unknown].iloc[0]
            raise ValueError(
                f"column {name!r}: {found!r} of clip {_name_of(table, unknown)} is none of the classes "
                f"{', '.join(map(str, classes))}; name all classes of the protocol with --classes"
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
    """One column's predictions as `hsta_lib.reporting.tables` reads them, classes as numbers."""
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
        See `check`; two folds or more. Training is taken to be all clips of the other folds.
    classes : list of str
        From `check`.

    Returns
    -------
    DataFrame
        As `score`: the majority class, and the vote of training clips of the same subject, where folds share
        subjects; of the same recording, where there is a column ``recording_id``; of the same film, where
        the clip ids tell it, as ``casme3/spNO.1/a/355`` does. See `hsta_lib.evaluation.pixel_free.vote`.
    """
    clips = table.reset_index(drop=True).assign(label=table["y_true"].map(classes.index).to_numpy())
    if "clip_id" not in clips:
        clips["clip_id"] = [f"number {i + 1}" for i in clips.index]
    fold_of = pd.factorize(clips["fold" if "fold" in clips else "subject_id"], sort=True)[0]
    folds = [Fold(np.flatnonzero(fold_of != n), np.flatnonzero(fold_of == n)) for n in np.unique(fold_of)]
    rows = {"majority class": references.majority(clips, folds)}
    if "fold" in clips and (clips.groupby("subject_id")["fold"].nunique() > 1).any():
        rows["subject"] = pixel_free.vote(clips, folds, "subject")
    if "recording_id" in clips:
        rows["recording"] = pixel_free.vote(clips, folds, "recording")
    clips["dataset"] = clips["clip_id"].str.partition("/")[0]
    with suppress(ValueError):  # clip ids that do not tell it
        rows["film"] = pixel_free.vote(clips, folds, "film")
    return _score(rows, len(classes))


def check_reported(table, uf1, uar, classes=None):
    """Whether a printed pair of scores can come from these clips, all predictions pooled.

    Parameters
    ----------
    table, classes
        See `check`; every class needs clips. Predictions are not looked at.
    uf1, uar : float
        Percent, with one decimal.

    Returns
    -------
    str
        A sentence; see `hsta_lib.paper_check.possible`.
    """
    counts = table["y_true"].value_counts()
    counts = [int(counts.get(name, 0)) for name in check(table, "y_true", classes)[1]]
    found = is_possible(counts, uar, uf1, np.random.default_rng(0))
    verdict = {True: "possible", False: "impossible", None: "not excluded, but no way to reach it was found"}
    low, high = uf1_range(counts, uar)
    span = "no predictions have that UAR" if np.isnan(low) else f"that UAR goes with UF1 {from_to(low, high)}"
    return f"reported UF1 {uf1:.1f} with UAR {uar:.1f}, of these clips pooled: {verdict[found]}; {span}"


def describe(table, column=None, classes=None):
    """All of it as text for a terminal.

    Parameters
    ----------
    table, column, classes
        See `check`.

    Returns
    -------
    str
    """
    columns, classes = check(table, column, classes)
    found = score(table, column, classes)
    sizes, counts = table["subject_id"].value_counts(), table["y_true"].value_counts()
    n_folds = table["fold" if "fold" in table else "subject_id"].nunique()
    folds = f"{n_folds} folds" if "fold" in table else f"{n_folds} left-out subjects"
    parts = {
        f"{len(table)} clips of {len(sizes)} subjects, which count as {effective_subjects(sizes):.1f} of "
        "equal size": "clips per class: " + ", ".join(f"{name} {counts.get(name, 0)}" for name in classes),
        "All clips pooled, in percent, with 95 % intervals over subjects": _pooled(found),
        f"Mean over {folds}, in percent; a class that a fold lacks is skipped or counts 0": _folds(found),
    }
    if len(columns) == 1:
        heading = "Clips by true class (rows) and predicted class, and recall in percent"
        parts[heading] = _confusion(table, columns[0], classes)
    else:
        parts[f"{len(columns)} columns of predictions"] = "--column NAME adds the confusion matrix of one"
    if n_folds > 1:
        heading = "Without a picture, in percent: the vote of training clips (those of the other folds)"
        parts[heading] = _pooled(without_pixels(table, classes))
    return "\n\n".join(f"{heading}\n{text}" for heading, text in parts.items())


def describe_epochs(table, classes=None):
    """What choosing the epoch by its test score gains, as text for a terminal.

    Parameters
    ----------
    table : DataFrame
        As for `check`, with ``clip_id`` and ``epoch``, a whole number: every clip once in each epoch.
    classes : sequence of str, optional
        See `check`.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        As `check`, of each epoch; also if an epoch has other clips than the first, or says otherwise of one.
    """
    classes, numbers, parts = _by_epoch(table, classes)
    clips = parts[0]
    labels = clips["y_true"].map(classes.index)
    predicted = [part["y_pred"].map(classes.index) for part in parts]
    subject, fold = (pd.factorize(clips[name], sort=True)[0] for name in ("subject_id", _fold_column(clips)))
    found = epochs.compare(labels, predicted, subject, fold, len(classes), np.random.default_rng(0))
    what = f"{len(clips)} clips of {subject.max() + 1} subjects in {fold.max() + 1} folds"
    best = f"the best on the pooled test is {numbers[found.epoch]}; an epoch is best by UF1"
    gains = "Above the last epoch, in points; below, the same choices where labels are dealt out at random"
    return "\n\n".join(
        [
            f"{what}; {len(numbers)} epochs, from {numbers[0]} to {numbers[-1]}; {best}",
            f"All clips pooled, in percent, with 95 % intervals over subjects\n{_chosen(found.scores)}",
            f"{gains}\n{_chosen(found.gains, 1, '+')}\n{_chosen(found.chance, 1, '+', ', by chance')}",
        ]
    )


def _fold_column(table):
    return "fold" if "fold" in table else "subject_id"


def _by_epoch(table, classes):
    """The classes, the numbers of the epochs, and the clips of each in one order."""
    for name in ("epoch", "clip_id", "y_pred"):
        if name not in table:
            raise ValueError(
                f"column {name!r} is missing, which --epochs needs; there are {', '.join(table)}"
            )
    numbers = pd.to_numeric(table["epoch"], errors="coerce")
    if (numbers.isna() | (numbers % 1 != 0)).any():
        raise ValueError(
            f"column 'epoch' must hold whole numbers, found {table['epoch'][numbers.isna()].iloc[0]!r}"
        )
    classes = sorted(table["y_true"].unique()) if classes is None else classes
    parts = {int(n): part.sort_values("clip_id", ignore_index=True) for n, part in table.groupby(numbers)}
    about = [name for name in ("clip_id", *_NEEDED, "fold") if name in table]
    first = next(iter(parts.values()))
    for number, part in parts.items():
        try:
            check(part, "y_pred", classes)
        except ValueError as error:
            raise ValueError(f"epoch {number}: {error}") from error
        if not part[about].equals(first[about]):
            raise ValueError(
                f"epoch {number} has other clips than the first, or another {' or '.join(about[1:])}"
            )
    return list(classes), list(parts), list(parts.values())


def _chosen(found, first=0, sign="", ending=""):
    """Scores of the choices from some one on, or differences, as a table."""
    shown = {}
    for i, metric in enumerate(METRICS):
        ends = ((value[row, i] for value in found) for row in range(first, len(epochs.CHOICES)))
        shown[HEADINGS[metric]] = [
            f"{100 * value:{sign}.1f} {span(100 * low, 100 * high, sign)}" for value, low, high in ends
        ]
    return pd.DataFrame(shown, index=[name + ending for name in epochs.CHOICES[first:]]).to_string()


def _pooled(found):
    rows = found.to_dict("records")
    shown = {HEADINGS[metric]: [with_span(row, metric) for row in rows] for metric in METRICS}
    return pd.DataFrame(shown, index=found.index.to_list()).to_string()


def _folds(found):
    shown = {HEADINGS["acc"]: found["acc_folds"]}
    for metric in ("uar", "uf1"):
        shown[f"{HEADINGS[metric]}, skipped"] = found[f"{metric}_folds"]
        shown[f"{HEADINGS[metric]}, 0"] = found[f"{metric}_folds_zero"]
    return pd.DataFrame(shown).rename_axis(None).to_string(float_format="{:.1f}".format)


def _confusion(table, column, classes):
    rows = _rows(table, column, classes)
    matrix = confusion(rows["y_true"], rows["y_pred"], len(classes))
    recall = [f"{100 * row[i] / row.sum():.1f}" if row.any() else "–" for i, row in enumerate(matrix)]
    return pd.DataFrame(matrix, index=classes, columns=classes).assign(recall=recall).to_string()


def _pair(text):
    """``UF1,UAR`` as two numbers."""
    try:
        uf1, uar = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be UF1,UAR in percent, e.g. 35.1,38.0") from None
    if max(uf1, uar) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} looks like fractions; give percent, e.g. 35.1,38.0")
    return uf1, uar


def main(arguments=None):
    """Print the scores of a file; exit code 2 and one line where it cannot be scored."""
    parser = argparse.ArgumentParser(prog="python -m hsta_lib.score", description=__doc__.splitlines()[0])
    parser.add_argument("predictions", help="CSV file, one row per clip")
    parser.add_argument("--column", metavar="NAME", help="column of predictions to score; default: all")
    parser.add_argument("--classes", metavar="A,B,C", help="all classes in order; default: those of y_true")
    parser.add_argument(
        "--reported", metavar="UF1,UAR", type=_pair, help="printed scores, in percent, to check"
    )
    parser.add_argument(
        "--epochs", action="store_true", help="the file has a row per clip and epoch: what choosing one gains"
    )
    chosen = parser.parse_args(arguments)
    if chosen.epochs and (chosen.column or chosen.reported):
        parser.error("--epochs goes with --classes alone")
    classes = chosen.classes and [name.strip() for name in chosen.classes.split(",")]
    try:
        table = read(chosen.predictions)
        text = describe_epochs(table, classes) if chosen.epochs else describe(table, chosen.column, classes)
        if chosen.reported:
            text += f"\n\n{check_reported(table, *chosen.reported, classes)}"
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
