"""Predictors that see no pixels: what subject, film, timing and action units tell about the label.

A model of the pixels has shown something only where it beats these on the same folds. All return what
`hsta_lib.evaluation.references.predicted` does, and none is given the labels of the clips it predicts.
Trained people annotated action units from all frames: these are what the label keeps of the face, not what a
model could see.
"""

import re

import numpy as np
import pandas as pd

from hsta_lib.data.table import parse_action_units
from hsta_lib.evaluation.references import majority, predicted

_OF_SUBJECTS = ("subject", "recording", "recording, else subject")  # majority where subjects are left out
KEYS = ("subject", "recording", "film", "action_units")
# The film a clip was elicited by, read from its id. The video letter of CAS(ME)^3 is the film by inference:
# one order for all subjects.
_FILM = {
    "casme3": r"[^/]+/[^/]+/([^/]+)/[^/]+",
    "synthetic": r"[^/]+/[^/]+/([^/]+)/[^/]+",
    "casme2": r".*/(EP\d+)[^/]*",  # sub04/EP12_01f: film 12
    "samm": r".*/[^/_]+_(\d+)_[^/]+",  # 032/032_3_1: film 3
}


def predictors(clips):
    """Name of each row that the clips have the columns and names for, to its ``predict(clips, folds)``."""
    chosen = {
        "majority class": majority,
        "subject": _voter("subject"),
        "recording": _voter("recording"),
        "recording, else subject": _voter("recording", "subject"),
    }
    if clips["onset"].notna().any():
        chosen["clip timing"] = timing
    if clips["dataset"].isin(_FILM).all():
        chosen["film"] = _voter("film")
        chosen["film, plain vote"] = _voter("film", balanced=False)
    if clips["action_units"].map(parse_action_units).astype(bool).any():
        chosen["action units, same set"] = _voter("action_units")
        chosen["action units, linear"] = action_units
    return chosen


def useful(clips, folds):
    """`predictors` that can do more on these folds than name the majority class.

    Where no subject is on both sides of a fold, rows of the subject and the recording are left out.
    """
    chosen = predictors(clips)
    if not share_subjects(clips, folds):
        chosen = {name: predict for name, predict in chosen.items() if name not in _OF_SUBJECTS}
    return chosen


def rows(clips, folds):
    """Predictions of all that are `useful`, by name."""
    return {name: predict(clips, folds) for name, predict in useful(clips, folds).items()}


def share_subjects(clips, folds):
    """Whether any fold has clips of one subject in training and in test."""
    subjects = clips["subject_id"].to_numpy()
    return any(set(subjects[train]) & set(subjects[test]) for train, test in folds)


def vote(clips, folds, *keys, balanced=True):
    """Predict the class that is most frequent, in training, among clips with the same key.

    A clip whose first key does not occur in training is decided by the second, and so on; where none occurs,
    it is of the most frequent class of the training fold. Ties go to the first class. Columns are those of
    `hsta_lib.evaluation.references.predicted`.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id, subject_id, label`` and what the keys are read from: ``recording_id``; ``dataset`` for
        the film; ``action_units``.
    keys : {"subject", "recording", "film", "action_units"}
        One or more. ``film``: of CAS(ME)^3 the video letter, of CASME II and SAMM read from the clip's name.
        ``action_units``: the exact set, sides ignored; a clip without any has no key.
    balanced : bool
        Count a clip as 1 / clips of its class in training, so that rare classes have a vote; else as 1.

    Raises
    ------
    ValueError
        If there is no such key, or the film is not known for a dataset or a clip.
    """
    unknown = [key for key in keys if key not in KEYS]
    if unknown or not keys:
        raise ValueError(f"keys = {keys} must be one or more of {', '.join(KEYS)}")
    values = [pd.factorize(pd.Series(_key(clips, key), dtype=object))[0] for key in keys]
    return predicted(clips, folds, lambda *fold: _vote(values, balanced, *fold))


def timing(clips, folds):
    """Untuned decision tree on onset, apex, offset, length and time to the apex, in frames; as `vote`."""
    from sklearn.tree import DecisionTreeClassifier  # slow to import

    times = clips[["onset", "apex", "offset"]].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    onset, apex, offset = times.T
    features = np.column_stack([times, offset - onset, apex - onset])

    def fit_predict(train, test, labels):
        tree = DecisionTreeClassifier(
            max_depth=7, min_samples_leaf=5, class_weight="balanced", random_state=0
        )
        return tree.fit(features[train], labels).predict(features[test])

    return predicted(clips, folds, fit_predict)


def action_units(clips, folds):
    """Logistic regression on annotated action units, sides ignored; classes weigh the same; as `vote`."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    sets = clips["action_units"].map(parse_action_units).tolist()

    def fit_predict(train, test, labels):
        if len(set(labels)) == 1:  # which the regression refuses
            return np.full(len(test), labels[0])
        units = sorted(set().union(*(sets[row] for row in train)))
        given = np.array([[unit in units_of for unit in units] for units_of in sets], dtype=float)
        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        return model.fit(given[train], labels).predict(given[test])

    return predicted(clips, folds, fit_predict)


def _voter(*keys, balanced=True):
    return lambda clips, folds: vote(clips, folds, *keys, balanced=balanced)


def _vote(values, balanced, train, test, labels):
    """The winner of the vote by each clip's first key that training has; keys are numbers, -1 for none."""
    counts = np.bincount(labels)
    # One division per class: sums of fractions would break ties by their rounding.
    sizes = np.maximum(counts, 1) if balanced else np.ones(len(counts))
    y_pred = np.full(len(test), counts.argmax())
    for column in reversed(values):
        keys, n = column[train], column.max() + 2
        places = (keys * len(counts) + labels)[keys >= 0]
        votes = np.bincount(places, minlength=n * len(counts)).reshape(n, -1)
        decided = (column[test] >= 0) & votes.any(axis=1)[column[test]]
        y_pred[decided] = (votes / sizes).argmax(axis=1)[column[test][decided]]
    return y_pred


def _key(clips, key):
    """Values of a key, None where a clip has none."""
    if key == "film":
        return _films(clips)
    if key == "action_units":
        sets = clips["action_units"].map(parse_action_units)
        return [units or None for units in sets]
    return clips[f"{key}_id"].tolist()


def _films(clips):
    films = []
    for dataset, clip_id in zip(clips["dataset"], clips["clip_id"], strict=True):
        if dataset not in _FILM:
            raise ValueError(f"the film of a clip is known for {', '.join(_FILM)}, not for {dataset}")
        match = re.fullmatch(_FILM[dataset], clip_id, re.IGNORECASE)
        if not match:
            raise ValueError(
                f"clip {clip_id}: its name does not tell the film; {dataset} has {_FILM[dataset]}"
            )
        films.append(match[1].lower())
    return films
