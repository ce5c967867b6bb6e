"""Divide clips into folds: by subject, by clip as in the paper, leaving one out, by lists, with a holdout."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from hsta_lib.data.table import LackingError

HOLDOUT = "holdout"
SPLITS = ("subject", "paper", "loso", "authors", "subject_seen", HOLDOUT)
SUBJECT_DEPENDENT = ("paper", "authors", "subject_seen")


class Fold(NamedTuple):
    """Row numbers of the clip table, each array ascending."""

    train: np.ndarray
    test: np.ndarray


def is_subject_dependent(split, macro_clips="none"):
    """Whether training may see other clips of a test clip's subject."""
    return split in SUBJECT_DEPENDENT or macro_clips == "all"


def make_folds(
    clips,
    *,
    split,
    n_folds,
    stratify,
    split_seed,
    macro_clips="none",
    training_subjects=1,
    train_on="composite",
    held_out=0.35,
    drawn=0.43,
    seed=0,
):
    """Folds of a clip table, a list of `Fold`, the same for every setting that is trained on it.

    Parameters
    ----------
    clips : DataFrame
        With ``clip_id``, ``subject_id`` and ``label``; for ``authors`` also ``authors_fold``; where there are
        macro clips, ``expression_type``. Its order does not matter: the division is made over the sorted
        ``clip_id`` of the micro clips, the only ones that are ever tested.
    split : {"subject", "paper", "loso", "authors", "subject_seen", "holdout"}
        ``subject``: ``n_folds`` folds, no subject on both sides. ``paper``: ``n_folds`` random folds over
        clips (section 4.1), *subject-dependent*. ``loso``: one fold per subject, in order of their ids.
        ``authors``: the authors' five lists, *subject-dependent*; see `hsta_lib.data.readers.authors_lists`.
        ``subject_seen``: the folds of ``subject``, each in two halves over its clips; while one half is
        tested, the other is in training. *Subject-dependent*: what a few clips of the person are worth.
        ``holdout``: one fold. Some subjects of each dataset are tested, the same with every seed of training;
        each seed draws its own training subjects from the others.
    n_folds : int
        Not used by ``loso``, ``authors`` and ``holdout``, like the next one.
    stratify : bool
        Spread the classes evenly over the folds.
    split_seed : int
        Of the random division.
    macro_clips : {"none", "training_subjects", "all"}
        Macro-expressions in training: those of subjects that are not tested in the fold, or *all*, those of
        the test subjects included, as in the authors' lists.
    training_subjects : float
        Share of a fold's training subjects whose clips are trained on, rounded up; a larger share has the
        subjects of a smaller one.
    train_on : {"composite", "own", "htnet", "causalnet"}
        Of clips from several datasets, see `sources`: folds over all of them; or each dataset's own folds,
        one dataset after the other, in which no clip of another one is in training. Of two extractions of the
        flow of the same clips: only the clips of that one, whose ids end with it, are in training.
    held_out : float
        Of ``holdout``: share of the subjects that is tested, rounded.
    drawn : float
        Of ``holdout``: share of the other subjects that a seed trains on, rounded; a larger share has the
        subjects of a smaller one.
    seed : int
        Of training; it counts in ``holdout`` alone.

    Raises
    ------
    ValueError
        If there are fewer subjects (or clips) than folds, a clip occurs twice, or the split is unknown.
    """
    if clips["clip_id"].duplicated().any():
        twice = clips["clip_id"][clips["clip_id"].duplicated()].iloc[0]
        raise ValueError(f"clip {twice} occurs more than once in the clip table")
    if train_on == "own":
        kind = {"split": split, "n_folds": n_folds, "stratify": stratify, "split_seed": split_seed}
        kind |= {"macro_clips": macro_clips, "training_subjects": training_subjects}
        kind |= {"held_out": held_out, "drawn": drawn, "seed": seed}
        return _own_folds(clips, kind)
    is_macro = _is_macro(clips)
    rows = np.flatnonzero(~is_macro)
    folds = _folds_of_micro(clips.iloc[rows], split, n_folds, stratify, split_seed, held_out)
    folds = [Fold(rows[train], rows[test]) for train, test in folds]
    folds = [_with_macro(fold, clips, is_macro, macro_clips) for fold in folds]
    if train_on != "composite":
        folds = [Fold(train[_is_of(clips, train_on)[train]], test) for train, test in folds]
    if split == HOLDOUT:
        folds = [_drawn(fold, clips, drawn, [split_seed, seed]) for fold in folds]
    return [_with_share(fold, clips, training_subjects, split_seed) for fold in folds]


def sources(clips):
    """The dataset each clip is from, by its id: ``smic/s01/s1_ne_01`` is from ``smic``."""
    return clips["clip_id"].str.split("/").str[0]


def shares_recording(clips, rows):
    """Whether two of some clips are of one recording."""
    return bool(clips["recording_id"].iloc[rows].duplicated().any())


def _is_of(clips, extraction):
    return clips["clip_id"].str.endswith(f"/{extraction}").to_numpy()


def _own_folds(clips, kind):
    found = sources(clips).to_numpy()
    rows_of = [np.flatnonzero(found == name) for name in sorted(set(found))]
    return [
        Fold(rows[train], rows[test])
        for rows in rows_of
        for train, test in make_folds(clips.iloc[rows], **kind)
    ]


def _with_share(fold, clips, share, seed):
    if share == 1:
        return fold
    subjects = clips["subject_id"].iloc[fold.train]
    names = np.random.default_rng(seed).permutation(sorted(subjects.unique()))
    kept = names[: int(np.ceil(share * len(names)))]
    return Fold(fold.train[subjects.isin(kept).to_numpy()], fold.test)


def _drawn(fold, clips, share, seed):
    """A fold trained on a share of its training subjects, of each dataset by itself."""
    kept = _share_of_subjects(clips.iloc[fold.train], "drawn", share, seed)
    kept |= set(clips["subject_id"].iloc[fold.test])  # whose macro clips another rule lets in
    return Fold(fold.train[clips["subject_id"].iloc[fold.train].isin(kept).to_numpy()], fold.test)


def _share_of_subjects(clips, name, share, seed):
    """Some of the subjects of each dataset, the first of a random order of them."""
    chosen = set()
    for source, subjects in clips["subject_id"].groupby(sources(clips)):
        names = np.random.default_rng(seed).permutation(sorted(subjects.unique()))
        n = round(share * len(names))
        if n == 0:
            raise ValueError(
                f"split = 'holdout': {name} = {share:g} of the {len(names)} subjects of {source} is nobody; "
                f"{1 / len(names):.2g} is one subject"
            )
        chosen |= set(names[:n])
    return chosen


def _is_macro(clips):
    if "expression_type" not in clips:
        return np.zeros(len(clips), dtype=bool)
    return (clips["expression_type"] == "macro").to_numpy()


def _with_macro(fold, clips, is_macro, macro_clips):
    added = is_macro & (macro_clips != "none")
    if macro_clips == "training_subjects":
        subjects = clips["subject_id"]
        added &= ~subjects.isin(subjects.iloc[fold.test]).to_numpy()
    return Fold(np.union1d(fold.train, np.flatnonzero(added)), fold.test)


def _folds_of_micro(clips, split, n_folds, stratify, split_seed, held_out=0.0):
    if split == "authors":
        return _authors_folds(clips)
    if split == HOLDOUT:
        tested = clips["subject_id"].isin(_share_of_subjects(clips, "held_out", held_out, split_seed))
        return [Fold(np.flatnonzero(~tested), np.flatnonzero(tested))]
    if split == "subject_seen":
        whole = _folds_of_micro(clips, "subject", n_folds, stratify, split_seed)
        return [half for fold in whole for half in _halves(fold, clips, split_seed)]
    splitter = _splitter(split, n_folds, stratify, split_seed)
    units, unit = (len(clips), "clips") if split == "paper" else (clips["subject_id"].nunique(), "subjects")
    needed = 2 if split == "loso" else n_folds
    if units < needed:
        way_out = "; -p split loso leaves one subject out" if units > 1 and unit == "subjects" else ""
        raise LackingError(
            f"split = {split!r} needs at least {needed} {unit}, the clip table has {units}{way_out}"
        )
    order = np.argsort(clips["clip_id"].to_numpy(dtype=str), kind="stable")
    rows = clips.iloc[order]
    groups = None if split == "paper" else rows["subject_id"]  # a split over clips would warn of them
    parts = splitter.split(rows, rows["label"], groups)
    return [Fold(np.sort(order[train]), np.sort(order[test])) for train, test in parts]


def _halves(fold, clips, seed):
    """Two folds that test half of the clips of each test subject, and train on the other half as well."""
    rng = np.random.default_rng(seed)
    test = fold.test[np.argsort(clips["clip_id"].iloc[fold.test].to_numpy(dtype=str), kind="stable")]
    place = rng.permutation(len(test))
    order = np.lexsort([place, clips["subject_id"].iloc[test].to_numpy(dtype=str)])  # by subject, shuffled
    for half in (test[order[0::2]], test[order[1::2]]):
        if len(half):
            yield Fold(np.union1d(fold.train, np.setdiff1d(test, half)), np.sort(half))


def _authors_folds(clips):
    if "authors_fold" not in clips:
        raise ValueError(
            "split = 'authors' needs the authors' lists: -p lists_root /path/to/a/clone/of/HSTA_MER"
        )
    numbers = clips["authors_fold"].to_numpy()
    return [Fold(np.flatnonzero(numbers != n), np.flatnonzero(numbers == n)) for n in np.unique(numbers)]


def _splitter(split, n_folds, stratify, split_seed):
    from sklearn import model_selection  # slow to import

    shuffled = {"n_splits": n_folds, "shuffle": True, "random_state": split_seed}
    if split == "loso":
        return model_selection.LeaveOneGroupOut()
    if split == "subject":
        kind = model_selection.StratifiedGroupKFold if stratify else model_selection.GroupKFold
        return kind(**shuffled)
    if split == "paper":
        kind = model_selection.StratifiedKFold if stratify else model_selection.KFold
        return kind(**shuffled)
    raise ValueError(f"split = {split!r} is unknown; known splits: {', '.join(SPLITS)}")


def check_folds(clips, folds, *, split, macro_clips="none", train_on="composite", classes=()):
    """Check the contract of a division: no leak, nothing untested.

    With ``holdout`` all clips of a tested subject are tested, and training and test have clips of all of
    ``classes``, the names of the labels.

    Raises
    ------
    ValueError
        If a clip is in training and test of one fold, or a micro clip is tested never or twice. If a macro
        clip is tested, or is in training against the rule ``macro_clips``. Unless the split is
        subject-dependent, also if a micro clip of a test subject is in training. With ``train_on = "own"``,
        if a fold has clips of two datasets; with that of an extraction, if another is in training or none.
        The message names the fold and the clip or subject.
    """
    tested, is_macro = np.zeros(len(clips), dtype=int), _is_macro(clips)
    keys = ["clip_id"] if split in SUBJECT_DEPENDENT else ["clip_id", "subject_id"]
    numbered = {key: pd.factorize(clips[key]) for key in keys}
    for number, (train, test) in enumerate(folds):
        np.add.at(tested, test, 1)  # += would count a row given twice once
        for key, (values, names) in numbered.items():
            counted = train if key == "clip_id" else train[~is_macro[train]]
            both = np.intersect1d(values[counted], values[test])
            if both.size:
                raise ValueError(f"fold {number}: {key} {min(names[both])} is in training and in test")
        if train_on == "own" and len(found := set(sources(clips.iloc[[*train, *test]]))) > 1:
            raise ValueError(f"fold {number}: clips of {' and '.join(sorted(found))}, with train_on = 'own'")
        if train_on not in ("composite", "own") and not (len(train) and _is_of(clips, train_on)[train].all()):
            raise ValueError(f"fold {number}: not every training clip is of train_on = {train_on!r}")
        if (macro := train[is_macro[train]]).size:
            _check_macro(clips.iloc[macro], clips.iloc[test], number, macro_clips)
    expected = np.where(is_macro, 0, 1)
    if split == HOLDOUT:
        held_out = clips["subject_id"].isin(clips["subject_id"][tested > 0]).to_numpy()
        expected[~held_out] = 0
        for fold in folds:
            _check_classes(clips, fold, held_out, classes)
    if (tested != expected).any():
        row = int(np.flatnonzero(tested != expected)[0])
        kind = "macro clip" if expected[row] == 0 else "clip"
        times = ("never", "once")[expected[row]]
        raise ValueError(f"{kind} {clips['clip_id'].iloc[row]} is tested {tested[row]} times, not {times}")


def _check_classes(clips, fold, held_out, classes):
    """Refuse a holdout that leaves a class out."""
    for name, rows, others in (("drawn", fold.train, ~held_out), ("held_out", fold.test, held_out | True)):
        for label in sorted({*range(len(classes))} - set(clips["label"].iloc[rows])):
            has = clips["subject_id"][others & (clips["label"] == label).to_numpy()].nunique()
            among = clips["subject_id"][others].nunique()
            raise ValueError(
                f"split = 'holdout': {name} leaves {classes[label]!r} out of "
                f"{'training' if name == 'drawn' else 'the test'}: {has} of the {among} subjects to choose "
                "from have clips of it; choose a larger share, more subjects and clips, or labels with fewer "
                "classes"
            )


def _check_macro(macro, test, number, macro_clips):
    """Refuse macro clips in training that the rule leaves out."""
    left_out = {
        "none": np.full(len(macro), True),
        "training_subjects": macro["subject_id"].isin(test["subject_id"]).to_numpy(),
        "all": np.full(len(macro), False),
    }[macro_clips]
    if left_out.any():
        clip_id = macro["clip_id"][left_out].iloc[0]
        raise ValueError(
            f"fold {number}: macro clip {clip_id} is in training with macro_clips = {macro_clips!r}"
        )
