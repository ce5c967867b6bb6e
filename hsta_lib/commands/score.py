"""Score anyone's predictions as the reports here score theirs: ``hsta-score predictions.csv``.

The file has one row per clip: ``subject_id``, ``y_true`` and ``y_pred``, or several columns of predictions
under names of their own; optionally ``clip_id``, ``fold`` and ``recording_id``. Classes are names. Several
columns, or files, are compared on the same clips. With ``--epochs`` it has one row per clip and ``epoch``.
"""

import argparse
import csv
import re
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib.commands.terminal import print_to_pipe
from hsta_lib.data.splits import Fold
from hsta_lib.data.table import COLUMNS, clean_emotion, subject_key
from hsta_lib.evaluation import comparisons, epochs, pixel_free
from hsta_lib.evaluation.intervals import effective_subjects
from hsta_lib.evaluation.metrics import METRICS, per_fold_means
from hsta_lib.files import read_csv
from hsta_lib.paper_check.possible import is_possible, uf1_range
from hsta_lib.reporting import tables
from hsta_lib.reporting.tables import HEADINGS, counted, format_p, from_to, span, with_span

_NEEDED = ("subject_id", "y_true")
# Columns that are never predictions; pandas' row numbers have no name.
_ABOUT = {*_NEEDED, "fold", "epoch", "", *COLUMNS}
_NEVER_EMPTY = {*_NEEDED, "fold", "clip_id", "recording_id"}
_EMPTY = ("", "nan", "NaN", "NAN")  # the last three as libraries write a missing number


def merge_spellings(files, classes=None):
    """Files with subjects, folds and classes in one spelling each (``1``, ``01``), and what was merged."""
    files, merged, given = [table.copy() for table in files], [], list(classes or ())
    kinds = [(subject_key, [], {name}) for name in ("subject_id", "fold")]
    kinds.append((_class_key, given, {"y_true", *(name for table in files for name in _predictions(table))}))
    for key, known, names in kinds:
        cells = [(name, table) for table in files for name in names & {*table}]
        spelled = sorted({value for name, table in cells for value in table[name].dropna().unique()})
        taken = {key(value): value for value in (*reversed(spelled), *reversed(known))}
        found = {value: value if value in known else taken[key(value)] for value in spelled}
        changed = {value: name for value, name in found.items() if value != name}
        for name, table in cells if changed else ():
            table[name] = table[name].map(found)
        merged += [f"{value!r} is taken as {name!r}" for value, name in changed.items()]
    return files, merged


def _class_key(text):
    """What all spellings of a class have in common; of numbers, the sign is."""
    number = re.fullmatch(r"\+?(-?)0*(\d+)(\.0*)?", str(text))
    return number[1] + number[2] if number else clean_emotion(text)


def join(files):
    """Predictions of several files, by their names, side by side: of the same clips in the same folds."""
    has_folds = any("fold" in table for table in files.values())
    keys = ["clip_id", "subject_id", "y_true", *["fold"] * has_folds]
    joined = None
    for name, table in files.items() if len(files) > 1 else ():
        lacking = set(keys) - set(table)
        if lacking:
            then = "; it may be left out of all files" * (lacking == {"fold"})
            raise ValueError(f"{name}: column {min(lacking)!r} is missing, by which files are compared{then}")
        columns = _checked(name, table)[0]
        heads = {of: name if of == "y_pred" else f"{name}: {of}" for of in columns}
        table = table.rename(columns=heads)
        if joined is None:
            joined = table[[of for of in table if of in _ABOUT or of in heads.values()]]
            continue
        joined = joined.merge(table[[*keys, *heads.values()]], "outer", on=keys, indicator=True)
        odd = joined[joined.pop("_merge") != "both"]
        if len(odd):
            which = " of ".join(map(repr, odd.iloc[0][keys[:2]]))
            other = " or ".join(keys[2:])
            raise ValueError(f"{name}: clip {which} is not in all files, or with another {other}")
    return next(iter(files.values())) if joined is None else joined


def check(table, column=None, classes=None):
    """Columns to score (one, several or all) and classes of a table; refuses what cannot be scored."""
    columns = [column] if isinstance(column, str) else column or _predictions(table)
    for name in (*_NEEDED, *(columns or ["y_pred"])):
        if name not in table:
            raise ValueError(f"column {name!r} is missing; there are {', '.join(map(str, table))}")
    if not len(table):
        raise ValueError("there are no clips, only the names of columns")
    for name in [name for name in table if name in {*_NEVER_EMPTY, *columns}]:
        empty = table[name].isna() | table[name].isin(set(_EMPTY) - set(classes or ()))
        if empty.any():
            raise ValueError(f"column {name!r} is empty for clip {_name_of(table, empty)}")
    keys = [name for name in ("subject_id", "clip_id") if name in table]
    if "clip_id" not in table and "epoch" in table and table["epoch"].nunique() > 1:
        raise ValueError("there are several epochs: keep the rows of one, or add 'clip_id' and use --epochs")
    if "clip_id" in table and table.duplicated(keys).any():
        twice = table.duplicated(keys)
        subject = table["subject_id"][twice].iloc[0]
        raise ValueError(f"clip {_name_of(table, twice)} is there twice, of subject {subject!r}")
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


def _checked(name, *arguments):
    """As `check`; errors begin with a name."""
    try:
        return check(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _predictions(table):
    """Columns of predictions: ``y_pred`` if there is one, else all that say nothing about the clip."""
    return ["y_pred"] if "y_pred" in table else [name for name in table if name not in _ABOUT]


def _name_of(table, rows):
    """The first of some rows, by its clip or its place."""
    first = int(np.flatnonzero(rows)[0])
    return repr(table["clip_id"].iloc[first]) if "clip_id" in table else f"number {first + 1}"


def _rows(table, columns, classes):
    """Predictions of each column as `hsta_lib.reporting.tables` reads them, everything as numbers."""
    numbers = {name: _numbers(table[name], classes) for name in ("y_true", *columns)}
    subject, fold = (pd.factorize(table[name], sort=True)[0] for name in ("subject_id", _fold_column(table)))
    about = {"subject_id": subject, "fold": fold, "y_true": numbers["y_true"], "seed": 0}
    return {name: pd.DataFrame(about | {"y_pred": numbers[name]}) for name in columns}


def _numbers(values, classes):
    return pd.Categorical(values, classes).codes.astype(int)


def _fold_column(table):
    return "fold" if "fold" in table else "subject_id"


def _score(rows, n_classes):
    """Scores of named predictions of the same clips, and their confusion matrices by subject."""
    predictions = pd.concat([part.assign(cell=cell) for cell, part in enumerate(rows.values())])
    found, matrices = tables.score_table(pd.DataFrame(index=range(len(rows))), predictions, n_classes)
    of_folds = per_fold_means(tables.count(predictions, "fold", n_classes), absent="zero")
    for i, metric in enumerate(METRICS):
        found[f"{metric}_folds_zero"] = 100 * of_folds[:, 0, i]
    return found.set_index(pd.Index(rows, name="predictions")), matrices


def without_pixels(table, classes):
    """Scores of predictors that see no picture; training is taken to be all clips of the other folds."""
    clips = table[[name for name in table if name in {"clip_id", *_NEVER_EMPTY}]].reset_index(drop=True)
    clips["label"] = _numbers(table["y_true"], classes)
    if "clip_id" not in clips:
        clips["clip_id"] = [f"number {i + 1}" for i in clips.index]
    fold_of = pd.factorize(clips[_fold_column(clips)], sort=True)[0]
    clips["subject_id"] = pd.factorize(clips["subject_id"])[0]  # numbers are counted faster
    per_fold = np.zeros((fold_of.max() + 1, len(classes)), dtype=int)
    np.add.at(per_fold, (fold_of, clips["label"]), 1)
    winners = (per_fold.sum(axis=0) - per_fold).argmax(axis=1)

    def folds():  # one at a time: thousands of lists of a million rows would fill the memory
        return (Fold(np.flatnonzero(fold_of != n), np.flatnonzero(fold_of == n)) for n in range(len(winners)))

    majority = clips.assign(y_true=clips["label"], y_pred=winners[fold_of], fold=fold_of, seed=0)
    rows = {"majority class": majority}
    if len(_shared(clips)):
        rows["subject"] = pixel_free.vote(clips, folds(), "subject")
    if "recording_id" in clips:
        rows["recording"] = pixel_free.vote(clips, folds(), "recording")
    clips["dataset"] = [clip_id.partition("/")[0] for clip_id in clips["clip_id"]]
    with suppress(ValueError):  # clip ids that do not tell it
        rows["film"] = pixel_free.vote(clips, folds(), "film")
    return _score(rows, len(classes))[0]


def _shared(table):
    """Subjects with clips in several folds."""
    n_folds = table.drop_duplicates(["subject_id", _fold_column(table)])["subject_id"].value_counts()
    return n_folds.index[n_folds > 1]


def check_reported(table, uf1, uar, classes=None):
    """Whether a printed pair of scores, in percent, can come from these clips pooled, in a sentence."""
    counts = table["y_true"].value_counts()
    counts = [int(counts.get(name, 0)) for name in check(table, "y_true", classes)[1]]
    found = is_possible(counts, uar, uf1, np.random.default_rng(0))
    verdict = {True: "possible", False: "impossible", None: "not excluded, but no way to reach it was found"}
    low, high = uf1_range(counts, uar)
    span = "no predictions have that UAR" if np.isnan(low) else f"that UAR goes with UF1 {from_to(low, high)}"
    return f"reported UF1 {uf1:.1f} with UAR {uar:.1f}, of these clips pooled: {verdict[found]}; {span}"


def describe(table, column=None, classes=None):
    """All of it as text for a terminal."""
    columns, classes = check(table, column, classes)
    found, matrices = _score(_rows(table, columns, classes), len(classes))
    sizes, counts = table["subject_id"].value_counts(), table["y_true"].value_counts()
    n_folds, shared = table[_fold_column(table)].nunique(), len(_shared(table))
    folds = counted(n_folds, "fold" if "fold" in table else "left-out subject")
    told = f"; {shared} of them in several folds: subject-dependent" if shared else ""
    parts = {
        f"{counted(len(table), 'clip')} of {len(sizes)} subjects, which count as "
        f"{effective_subjects(sizes):.1f} of equal size{told}": "clips per class: "
        + ", ".join(f"{name} {counts.get(name, 0)}" for name in classes),
        "All clips pooled, in percent, with 95 % intervals over subjects": _pooled(found),
        f"Mean over {folds}, in percent; a class that a fold lacks is skipped or counts 0": _folds(found),
    }
    if len(columns) == 1:
        heading = "Clips by true class (rows) and predicted class, and recall in percent"
        parts[heading] = _confusion(matrices[0, 0].sum(axis=0), classes)
    else:
        heading = f"Above {columns[0]!r}, in points, with intervals and p corrected together"
        parts[heading] = f"{_differences(columns, matrices)}\n--column NAME adds the confusion matrix of one"
    if n_folds > 1:
        heading = "Without a picture, in percent: the vote of training clips (those of the other folds)"
        parts[heading] = _pooled(without_pixels(table, classes))
    return "\n\n".join(f"{heading}\n{text}" for heading, text in parts.items())


def _differences(columns, matrices):
    family = [comparisons.pair(0, other) for other in range(1, len(columns))]
    found = comparisons.compare(matrices, family)
    shown = _spans(found[:3], columns[1:], "+")
    for i, metric in enumerate(METRICS):
        shown.insert(2 * i + 1, f"p, {HEADINGS[metric]}", [format_p(p) for p in found.p_adjusted[:, i]])
    return shown.to_string()


def describe_epochs(table, classes=None):
    """What choosing the epoch by its test score gains, as text; each clip occurs once in each epoch."""
    classes, numbers, parts = _by_epoch(table, classes)
    clips = parts[0]
    labels, *predicted = [
        _numbers(values, classes) for values in (clips["y_true"], *(part["y_pred"] for part in parts))
    ]
    subject, fold = (pd.factorize(clips[name], sort=True)[0] for name in ("subject_id", _fold_column(clips)))
    found = epochs.compare(labels, predicted, subject, fold, len(classes), np.random.default_rng(0))
    what = f"{len(clips)} clips of {subject.max() + 1} subjects in {fold.max() + 1} folds"
    last = len(epochs.CHOICES) - (fold.max() == 0)  # a single fold has no others to choose by
    best = f"the best on the pooled test is {numbers[found.epoch]}; an epoch is best by UF1"
    gains = "Above the last epoch, in points; below, the same choices where labels are dealt out at random"
    above = f"{_chosen(found.gains, 1, last, '+')}\n{_chosen(found.chance, 1, last, '+', ', by chance')}"
    return "\n\n".join(
        [
            f"{what}; {len(numbers)} epochs, from {numbers[0]} to {numbers[-1]}; {best}",
            "All clips pooled, in percent, with 95 % intervals over subjects\n"
            + _chosen(found.scores, 0, last),
            f"{gains}\n{above}",
        ]
    )


def _by_epoch(table, classes):
    """The classes, the numbers of the epochs, and the clips of each in one order."""
    for name in ("epoch", "clip_id", "y_pred"):
        if name not in table:
            raise ValueError(
                f"column {name!r} is missing, which --epochs needs; there are {', '.join(table)}"
            )
    numbers = pd.to_numeric(table["epoch"], errors="coerce")
    odd = table["epoch"][numbers % 1 != 0]  # of what is no number or infinite, the rest is none
    if len(odd):
        raise ValueError(f"column 'epoch' must hold whole numbers, found {odd.iloc[0]!r}")
    classes = sorted(table["y_true"].unique()) if classes is None else classes
    table = table.sort_values(["subject_id", "clip_id"])
    parts = {int(n): part.reset_index(drop=True) for n, part in table.groupby(numbers)}
    about = [name for name in ("clip_id", *_NEEDED, "fold") if name in table]
    first = next(iter(parts.values()))
    for number, part in parts.items():
        _checked(f"epoch {number}", part, "y_pred", classes)
        if not part[about].equals(first[about]):
            raise ValueError(
                f"epoch {number} has other clips than the first, or another {' or '.join(about[1:])}"
            )
    return list(classes), list(parts), list(parts.values())


def _chosen(found, first, last, sign="", ending=""):
    """Scores of the choices from some one to another, or differences, as a table."""
    names = [name + ending for name in epochs.CHOICES[first:last]]
    return _spans([part[first:last] for part in found], names, sign).to_string()


def _spans(found, names, sign=""):
    """Shares or their differences, with the ends of their intervals, as a table in percent."""
    shown = {}
    for i, metric in enumerate(METRICS):
        ends = zip(*(100 * part[:, i] for part in found), strict=True)
        shown[HEADINGS[metric]] = [f"{value:{sign}.1f} {span(low, high, sign)}" for value, low, high in ends]
    return pd.DataFrame(shown, index=names)


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


def _confusion(matrix, classes):
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


def _names(text):
    """Names divided by commas; one that has a comma stands in double quotes."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True))]


def _parser():
    parser = argparse.ArgumentParser(prog="hsta-score", description=__doc__.splitlines()[0])
    parser.add_argument(
        "predictions", nargs="+", help="CSV file, one row per clip; several are compared on the same clips"
    )
    parser.add_argument(
        "--column",
        metavar="NAME",
        action="append",
        help="predictions to score, may be repeated; default: all",
    )
    parser.add_argument(
        "--classes", metavar="A,B,C", type=_names, help="all classes in order; default: those of y_true"
    )
    parser.add_argument(
        "--reported", metavar="UF1,UAR", type=_pair, help="printed scores, in percent, to check"
    )
    parser.add_argument(
        "--epochs", action="store_true", help="the file has a row per clip and epoch: what choosing one gains"
    )
    return parser


def main(arguments=None):
    """Print the scores of files; exit code 2 and one line where they cannot be scored."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.epochs and (chosen.column or chosen.reported or len(chosen.predictions) > 1):
        parser.error("--epochs goes with one file and --classes alone")
    try:
        text = _text(chosen)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print_to_pipe(text)
    return 0


def _text(chosen):
    paths, classes = dict.fromkeys(chosen.predictions), chosen.classes
    stems = [Path(path).stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else paths
    files, merged = merge_spellings([read_csv(path, _NEEDED) for path in paths], classes)
    try:
        table = join(dict(zip(names, files, strict=True)))
        text = describe_epochs(table, classes) if chosen.epochs else describe(table, chosen.column, classes)
        if chosen.reported:
            text += f"\n\n{check_reported(table, *chosen.reported, classes)}"
    except ValueError as error:  # what was merged may be why
        raise ValueError("\n".join([*merged, str(error)])) from error
    return "\n".join([*merged, text])


if __name__ == "__main__":
    sys.exit(main())
