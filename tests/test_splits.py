"""The contract of the folds: nothing leaks, everything is tested once; and planted leaks are found."""

import numpy as np
import pandas as pd
import pytest

from hsta_lib.data.splits import Fold, check_folds, make_folds

N_SUBJECTS, N_CLIPS = 11, 67
SPLITS = ["subject", "paper", "loso"]


@pytest.fixture
def clips():
    """Eleven subjects with one to many clips of three classes, in no order."""
    rng = np.random.default_rng(0)
    subject = np.concatenate([np.arange(N_SUBJECTS), rng.integers(N_SUBJECTS, size=N_CLIPS - N_SUBJECTS)])
    label = rng.choice(3, p=[0.6, 0.25, 0.15], size=N_CLIPS)
    names = [f"synthetic/spNO.{s}" for s in subject]
    ids = [f"{name}/a/{i}" for i, name in enumerate(names)]
    table = pd.DataFrame({"clip_id": ids, "subject_id": names, "label": label})
    return table.sample(frac=1, random_state=0, ignore_index=True)


def folds_of(clips, split="subject", *, n_folds=5, stratify=False, split_seed=0):
    return make_folds(clips, split=split, n_folds=n_folds, stratify=stratify, split_seed=split_seed)


def sides_of(clips, folds, column="clip_id"):
    return [frozenset(clips[column].iloc[test]) for _, test in folds]


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_every_clip_is_tested_once_and_else_trained_on(clips, split, stratify):
    folds = folds_of(clips, split, stratify=stratify)
    assert np.sort(np.concatenate([test for _, test in folds])).tolist() == list(range(N_CLIPS))
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(N_CLIPS))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
    check_folds(clips, folds, split=split)


@pytest.mark.parametrize(("split", "n_folds"), [("subject", 5), ("paper", 5), ("loso", N_SUBJECTS)])
def test_number_of_folds(clips, split, n_folds):
    assert len(folds_of(clips, split)) == n_folds


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("split", ["subject", "loso"])
def test_no_subject_is_on_both_sides(clips, split, stratify):
    subjects = clips["subject_id"]
    for train, test in folds_of(clips, split, stratify=stratify):
        assert not set(subjects.iloc[train]) & set(subjects.iloc[test])


def test_the_papers_split_has_subjects_on_both_sides(clips):
    folds = folds_of(clips, "paper")
    assert all(
        set(clips["subject_id"].iloc[train]) & set(clips["subject_id"].iloc[test]) for train, test in folds
    )
    with pytest.raises(ValueError, match=r"fold 0: subject_id .* is in training and in test"):
        check_folds(clips, folds, split="subject")


def test_loso_leaves_out_subjects_in_order_of_their_ids(clips):
    left_out = sides_of(clips, folds_of(clips, "loso"), "subject_id")
    assert left_out == [{subject} for subject in sorted(clips["subject_id"].unique())]


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_the_order_of_rows_does_not_matter(clips, split, stratify):
    shuffled = clips.sample(frac=1, random_state=1)  # its index is shuffled too
    expected = sides_of(clips, folds_of(clips, split, stratify=stratify))
    assert sides_of(shuffled, folds_of(shuffled, split, stratify=stratify)) == expected


@pytest.mark.parametrize("split", SPLITS)
def test_folds_are_the_same_every_time(clips, split):
    assert sides_of(clips, folds_of(clips, split)) == sides_of(clips, folds_of(clips, split))


@pytest.mark.parametrize("split", ["subject", "paper"])
def test_the_split_seed_changes_the_division(clips, split):
    one, other = (sides_of(clips, folds_of(clips, split, split_seed=seed)) for seed in (0, 1))
    assert set(one) != set(other)


@pytest.mark.parametrize("split", ["subject", "paper"])
def test_the_split_seed_changes_a_stratified_division(clips, split):
    # Of the stratified division by subject the seed only breaks ties, so not every seed differs.
    folds = [folds_of(clips, split, stratify=True, split_seed=seed) for seed in range(11)]
    assert len({frozenset(sides_of(clips, division)) for division in folds}) > 1


def test_loso_has_nothing_random(clips):
    assert sides_of(clips, folds_of(clips, "loso", split_seed=1)) == sides_of(clips, folds_of(clips, "loso"))


@pytest.mark.parametrize("split", ["subject", "paper"])
def test_stratifying_changes_the_division(clips, split):
    plain, stratified = (set(sides_of(clips, folds_of(clips, split, stratify=s))) for s in (False, True))
    assert plain != stratified


def test_stratifying_spreads_each_class_evenly(clips):
    for stratify in (False, True):
        folds = folds_of(clips, "paper", stratify=stratify)
        counts = np.array([np.bincount(clips["label"].iloc[test], minlength=3) for _, test in folds])
        is_even = np.ptp(counts, axis=0).max() <= 1
        assert is_even == stratify


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_a_clip_given_twice_is_refused(clips, split):
    twice = pd.concat([clips, clips.iloc[[7]]], ignore_index=True)
    with pytest.raises(ValueError, match=f"clip {clips['clip_id'][7]} occurs more than once"):
        folds_of(twice, split)


def test_too_few_subjects_or_clips_are_refused(clips):
    with pytest.raises(ValueError, match="needs at least 13 subjects, the clip table has 11"):
        folds_of(clips, "subject", n_folds=13)
    with pytest.raises(ValueError, match="needs at least 5 clips, the clip table has 3"):
        folds_of(clips.head(3), "paper")
    one = clips[clips["subject_id"] == clips["subject_id"][0]]
    with pytest.raises(ValueError, match="'loso' needs at least 2 subjects, the clip table has 1"):
        folds_of(one, "loso")


def test_an_unknown_split_is_refused(clips):
    with pytest.raises(ValueError, match="'random' is unknown; known splits: subject, paper, loso"):
        folds_of(clips, "random")


# --- planted leaks ----------------------------------------------------------------------------------------


def replaced(folds, number, train, test):
    return [*folds[:number], Fold(np.sort(train), np.sort(test)), *folds[number + 1 :]]


def test_a_test_subjects_clip_moved_into_training_is_found(clips):
    folds = folds_of(clips)
    train, test = folds[3]
    subject = clips["subject_id"].iloc[test].mode()[0]  # has other clips left in test
    moved = test[clips["subject_id"].iloc[test] == subject][0]
    leaky = replaced(folds, 3, [*train, moved], test[test != moved])
    with pytest.raises(ValueError, match=f"fold 3: subject_id {subject} is in training and in test"):
        check_folds(clips, leaky, split="subject")


@pytest.mark.parametrize("split", SPLITS)
def test_a_tested_clip_in_training_is_found(clips, split):
    folds = folds_of(clips, split)
    train, test = folds[2]
    leaky = replaced(folds, 2, [*train, test[0]], test)
    clip_id = clips["clip_id"].iloc[test[0]]
    with pytest.raises(ValueError, match=f"fold 2: clip_id {clip_id} is in training and in test"):
        check_folds(clips, leaky, split=split)


def test_a_clip_tested_in_two_folds_is_found(clips):
    folds = folds_of(clips, "paper")
    again = folds[0].test[0]
    train, test = folds[1]
    twice = replaced(folds, 1, train[train != again], [*test, again])
    with pytest.raises(ValueError, match=f"clip {clips['clip_id'].iloc[again]} is tested 2 times"):
        check_folds(clips, twice, split="paper")


@pytest.mark.parametrize("split", SPLITS)
def test_a_clip_that_is_never_tested_is_found(clips, split):
    folds = folds_of(clips, split)
    dropped, *rest = folds[0].test
    gap = replaced(folds, 0, folds[0].train, rest)
    with pytest.raises(ValueError, match=f"clip {clips['clip_id'].iloc[dropped]} is tested 0 times"):
        check_folds(clips, gap, split=split)


def test_a_clip_tested_twice_in_one_fold_is_found(clips):
    folds = folds_of(clips)
    train, test = folds[4]
    with pytest.raises(ValueError, match=f"clip {clips['clip_id'].iloc[test[0]]} is tested 2 times"):
        check_folds(clips, replaced(folds, 4, train, [*test, test[0]]), split="subject")
