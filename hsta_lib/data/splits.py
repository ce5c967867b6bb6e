"""Divide clips into folds: by subject, by clip as in the paper, leaving one out, or by the authors' lists."""

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
)

SUBJECT_DEPENDENT = ("paper", "authors")


class Fold(NamedTuple):
    """Row numbers of the clip table, each array ascending."""

    train: np.ndarray
    test: np.ndarray


def make_folds(clips, *, split, n_folds, stratify, split_seed):
    """Folds of a clip table, the same for every setting that is trained on it.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id``, ``subject_id`` and ``label``; for ``authors`` also ``authors_fold``. Its order does
        not matter: the division is made over the sorted ``clip_id``.
    split : {"subject", "paper", "loso", "authors"}
        ``subject``: ``n_folds`` folds, no subject on both sides. ``paper``: ``n_folds`` random folds over
        clips (section 4.1), *subject-dependent*. ``loso``: one fold per subject, in order of their ids.
        ``authors``: the authors' five lists, *subject-dependent*; see `hsta_lib.data.authors_lists`.
    n_folds : int
        Not used by ``loso`` and ``authors``, like the next two.
    stratify : bool
        Spread the classes evenly over the folds.
    split_seed : int
        Of the random division.

    Returns
    -------
    list of Fold

    Raises
    ------
    ValueError
        If there are fewer subjects (or clips) than folds, a clip occurs twice, or the split is unknown.
    """
    if clips["clip_id"].duplicated().any():
        twice = clips["clip_id"][clips["clip_id"].duplicated()].iloc[0]
        raise ValueError(f"clip {twice} occurs more than once in the clip table")
    if split == "authors":
        return _authors_folds(clips)
    splitter = _splitter(split, n_folds, stratify, split_seed)
    units, unit = (len(clips), "clips") if split == "paper" else (clips["subject_id"].nunique(), "subjects")
    needed = 2 if split == "loso" else n_folds
    if units < needed:
        raise ValueError(f"split = {split!r} needs at least {needed} {unit}, the clip table has {units}")
    order = np.argsort(clips["clip_id"].to_numpy(dtype=str), kind="stable")
    rows = clips.iloc[order]
    groups = None if split == "paper" else rows["subject_id"]  # a split over clips would warn of them
    parts = splitter.split(rows, rows["label"], groups)
    return [Fold(np.sort(order[train]), np.sort(order[test])) for train, test in parts]


def _authors_folds(clips):
    if "authors_fold" not in clips:
        raise ValueError(
            "split = 'authors' needs the authors' lists: -p lists_root /path/to/a/clone/of/HSTA_MER"
        )
    numbers = clips["authors_fold"].to_numpy()
    return [Fold(np.flatnonzero(numbers != n), np.flatnonzero(numbers == n)) for n in np.unique(numbers)]


def _splitter(split, n_folds, stratify, split_seed):
    shuffled = {"n_splits": n_folds, "shuffle": True, "random_state": split_seed}
    if split == "loso":
        return LeaveOneGroupOut()
    if split == "subject":
        return StratifiedGroupKFold(**shuffled) if stratify else GroupKFold(**shuffled)
    if split == "paper":
        return StratifiedKFold(**shuffled) if stratify else KFold(**shuffled)
    raise ValueError(f"split = {split!r} is unknown; known splits: subject, paper, loso, authors")


def check_folds(clips, folds, *, split):
    """Check the contract of a division: no leak, nothing untested.

    Raises
    ------
    ValueError
        If a clip is in training and test of one fold, is tested never or twice, or, unless ``split`` is
        subject-dependent, a test subject is in training. The message names the fold and the clip or subject.
    """
    tested = np.zeros(len(clips), dtype=int)
    for number, (train, test) in enumerate(folds):
        np.add.at(tested, test, 1)  # += would count a row given twice once
        keys = ["clip_id"] if split in SUBJECT_DEPENDENT else ["clip_id", "subject_id"]
        for key in keys:
            both = set(clips[key].iloc[train]) & set(clips[key].iloc[test])
            if both:
                raise ValueError(f"fold {number}: {key} {sorted(both)[0]} is in training and in test")
    if (tested != 1).any():
        row = int(np.flatnonzero(tested != 1)[0])
        raise ValueError(f"clip {clips['clip_id'].iloc[row]} is tested {tested[row]} times, not once")
