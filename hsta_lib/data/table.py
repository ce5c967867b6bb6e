"""The clip table every reader returns: its columns, its label sets, its problems.

A reader turns one dataset's sheets and folders into one pandas row per clip; everything downstream sees
only this table. What a reader could not use is a row of the problems table, never a silent substitute.
"""

import re
import unicodedata

import pandas as pd


class LackingError(ValueError):
    """The data does not have what a choice needs: a row of a table that makes it can be left out."""


COLUMNS = {
    "dataset": "name under which the data was opened: casme3, synthetic, ...",
    "subject_id": "dataset-qualified subject, e.g. casme3/spNO.1",
    "recording_id": "dataset-qualified video the clip was cut from, e.g. casme3/spNO.1/a",
    "clip_id": "unique key of the clip, e.g. casme3/spNO.1/a/355 (the last part is the onset)",
    "folder": "folder of the frame files",
    "depth_folder": "folder of the depth maps, numbered as the frames, where the dataset has them",
    "onset": "first frame of the expression, as numbered in the dataset's files, inclusive",
    "apex": "frame of the strongest expression; missing where the dataset gives none",
    "offset": "last frame of the expression, inclusive",
    "emotion": "emotion, lower case, one spelling per emotion; empty where the sheet gives none",
    "objective_class": "I to VII, empty where the sheet gives none",
    "action_units": "the sheet's action units as written, e.g. 4+R14",
    "expression_type": "micro or macro",
}
_FEW = 10  # values that a message shows
PROBLEM_COLUMNS = ["where", "clip_id", "problem", "action"]

_SPELLINGS = {"other": "others", "happiness": "happy", "sadness": "sad", "angry": "anger"}

# Class order of the seven emotions follows the authors' label files (hsta_model_core, CAS(ME)^3 lists).
_EMOTIONS = ("others", "disgust", "surprise", "fear", "anger", "sad", "happy")
_EMOTIONS_CASME2 = ("others", "disgust", "happy", "repression", "surprise", "sad", "fear")
_EMOTIONS_SAMM = ("others", "anger", "happy", "contempt", "surprise")
_THREE = ("negative", "positive", "surprise")  # class order of the MEGC2019 list
_OBJECTIVE = ("I", "II", "III", "IV", "V", "VI", "VII")


def _same(names):
    return names, {name: name for name in names}


def _three(*negative):
    return _THREE, {**dict.fromkeys(negative, "negative"), "happy": "positive", "surprise": "surprise"}


_FOUR = (*_THREE, "others")
_NEGATIVE = ("disgust", "fear", "anger", "sad")
_OBJECTIVE_DATASETS = ("casme3", "casme2", "samm")

# Datasets, and the one whose label sets each has. One `readers` file of the same name reads it.
DATASETS = {
    "synthetic": "casme3", "casme3": "casme3", "casme2": "casme2", "smic": "smic", "samm": "samm",
    "megc2019": "megc2019", "megc2019_flow": "megc2019", "own": "casme3",
}  # fmt: skip

# Label set -> (column it is read from, dataset -> (class names in order, value of the column -> class name)).
# What is negative differs between the datasets: in CASME II, MEGC2019 leaves sadness and fear out.
LABELS = {
    "emotion7": ("emotion", {"casme3": _same(_EMOTIONS), "casme2": _same(_EMOTIONS_CASME2)}),
    "emotion5": ("emotion", {"casme2": _same(_EMOTIONS_CASME2[:5]), "samm": _same(_EMOTIONS_SAMM)}),
    "emotion4": ("emotion", {"casme3": (_FOUR, {**_three(*_NEGATIVE)[1], "others": "others"})}),
    "emotion3": (
        "emotion",
        {
            "casme3": _three(*_NEGATIVE),
            "casme2": _three("disgust", "repression"),
            "samm": _three("anger", "contempt", "disgust", "fear", "sad"),
            "smic": _same(_THREE),
            "megc2019": _same(_THREE),
        },
    ),
    "objective7": ("objective_class", dict.fromkeys(_OBJECTIVE_DATASETS, _same(_OBJECTIVE))),
    "objective6": ("objective_class", dict.fromkeys(_OBJECTIVE_DATASETS, _same((*_OBJECTIVE[:5], "VII")))),
    "objective5": ("objective_class", dict.fromkeys(_OBJECTIVE_DATASETS, _same(_OBJECTIVE[:5]))),
}

# Davison, Merghani and Yap 2018: the exact sets of action units of classes I to VI; any other set is VII.
# {4, 5} is listed under III there but labelled VII in CAS(ME)^3, whose labels this table reproduces.
_OBJECTIVE_SETS = {
    "I": "6; 12; 6+12; 6+7+12; 7+12",
    "II": "1+2; 5; 25; 1+2+25; 25+26; 5+24",
    "III": "23; 4; 4+7; 4+5+7; 17+24; 4+6+7; 4+38",
    "IV": "10; 9; 4+9; 4+40; 4+5+40; 4+7+9; 4+9+17; 4+7+10; 4+5+7+9; 7+10",
    "V": "1; 15; 1+4; 6+15; 15+17",
    "VI": "1+2+4; 20",
}
_CLASS_OF_SET = {
    frozenset(int(unit) for unit in units.split("+")): name
    for name, sets in _OBJECTIVE_SETS.items()
    for units in sets.split("; ")
}


def parse_action_units(text):
    """Set of action units in a sheet's cell, text or number: ``"4+R14"`` gives ``{4, 14}``.

    Side and region prefixes (L, R, T, B, in either case) are stripped, repeats merge. An empty cell or
    ``"?"`` has none.
    """
    return frozenset(int(number) for number in re.findall(r"\d+", str(text).removesuffix(".0")))


def objective_class(action_units):
    """Objective class, ``"I"`` to ``"VII"``, of a set of action units, by exact set; others are VII.

    ``action_units``: without side prefixes, see `parse_action_units`.

    Examples
    --------
    >>> objective_class({12, 6}), objective_class({4, 14})
    ('I', 'VII')
    """
    return _CLASS_OF_SET.get(frozenset(action_units), "VII")


def clean_emotion(text):
    """One spelling per emotion: ``" Others"`` and ``"other"`` both give ``"others"``."""
    word = str(text).strip().lower()
    return _SPELLINGS.get(word, word)


def subject_key(text):
    """What all spellings of one subject's id, text or number, have in common.

    ``1``, ``01`` and ``1.0`` are one, as are ``p-1``, ``P 1`` and ``p1.``; ``1-1`` and ``11`` are two.
    Leading zeros, case and punctuation are left out, but for one mark between digits; the text is composed
    (NFKC).
    """
    text = unicodedata.normalize("NFKC", str(text)).strip().casefold()
    whole = re.fullmatch(r"(\d+)\.0*", text)
    text = re.sub(r"(?<=\d)[\W_]+(?=\d)", "-", whole[1] if whole else text)
    text = re.sub(r"(?<!\d)0+(?=\d)", "", text)
    return re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", text) or text


def problems_table(rows=()):
    """Table of problems from ``(where, clip_id, problem, action)`` tuples."""
    return pd.DataFrame(list(rows), columns=PROBLEM_COLUMNS)


def class_names(labels, dataset="casme3"):
    """Class names of a label set, in class order.

    ``labels`` is a key of `LABELS`, ``dataset`` one of `DATASETS`. A ValueError if either is unknown, or the
    dataset has no such labels.
    """
    return _label_set(labels, dataset)[1]


def default_labels(dataset):
    """The first label set that exists for a dataset; an unknown dataset is refused."""
    return next(name for name, (_, sets) in LABELS.items() if _family(dataset) in sets)


def _family(dataset):
    if dataset not in DATASETS:
        raise ValueError(f"dataset = {dataset!r} is unknown; known datasets: {', '.join(DATASETS)}")
    return DATASETS[dataset]


def _label_set(labels, dataset):
    """Column, class names, and map of the column's values to class names."""
    if labels not in LABELS:
        raise ValueError(f"labels = {labels!r} is unknown; known label sets: {', '.join(LABELS)}")
    column, sets = LABELS[labels]
    name = _family(dataset)
    if name not in sets:
        there = [other for other, (_, of_dataset) in LABELS.items() if name in of_dataset]
        raise LackingError(
            f"labels = {labels!r} does not exist for {dataset}; choose one of {', '.join(there)}"
        )
    return column, *sets[name]


def labelled(clips, labels):
    """Clips that have a class in a label set, with its integer in a new column ``label``.

    Clips without one (the three-class set leaves ``others`` out) are not part of that protocol and are
    dropped. Sorted by ``clip_id``, so that nothing downstream depends on the order of rows in a sheet.

    Parameters
    ----------
    clips : DataFrame
        With the columns of `COLUMNS`, of one dataset.
    labels : str
        A key of `LABELS`.

    Raises
    ------
    ValueError
        If the label set is unknown or no clip has a class in it.
    """
    column, classes, mapping = _label_set(labels, _dataset_of(clips))
    label = clips[column].map(mapping)
    kept = clips[label.notna()].assign(label=label.dropna().map(classes.index).astype(int))
    if kept.empty:
        there = ", ".join(map(repr, sorted(set(clips[column]))[:_FEW]))
        raise LackingError(
            f"no clip has a class of labels = {labels!r}: column {column!r} of the clip table has {there}; "
            f"known words: {', '.join(mapping)}"
        )
    return kept.sort_values("clip_id", ignore_index=True)


def without_class(clips, labels):
    """Clips that `labelled` drops: by a class of another label set, or by a value that is in none.

    Returns
    -------
    outside : dict of str to int
        Classes that are not part of this label set, and their clips.
    unknown : list of tuple
        ``(where, clip_id, problem, action)`` of clips whose value no label set of the dataset knows.
    """
    column, _, mapping = _label_set(labels, _dataset_of(clips))
    name = _family(_dataset_of(clips))
    known = set().union(
        *(sets[name][1] for other, sets in LABELS.values() if other == column and name in sets)
    )
    dropped = clips[~clips[column].isin(mapping)]
    is_known = dropped[column].isin(known)
    unknown = [
        (
            "annotation sheet",
            clip.clip_id,
            f"{column} {getattr(clip, column)!r} is in no label set; known: {', '.join(sorted(known))}",
            "clip left out",
        )
        for clip in dropped[~is_known].itertuples()
    ]
    return dropped.loc[is_known, column].value_counts().to_dict(), unknown


def _dataset_of(clips):
    names = clips["dataset"].unique()
    if len(names) != 1:
        raise ValueError(f"clips of one dataset are needed, found those of {', '.join(map(str, names))}")
    return names[0]
