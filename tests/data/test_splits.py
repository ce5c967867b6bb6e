"""The contract of the folds: nothing leaks, everything is tested once; and planted leaks are found."""

import math

import numpy as np
import pandas as pd
import pytest

from hsta_lib.data.splits import Fold, check_folds, is_subject_dependent, make_folds

N_SUBJECTS, N_CLIPS = 11, 67
SPLITS = ["subject", "paper", "loso", "subject_seen"]
MACRO_RULES = ["none", "training_subjects", "all"]


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


@pytest.fixture
def mixed(clips):
    """The same clips among 29 macro clips of the same subjects and of one who has no micro clip."""
    rng = np.random.default_rng(1)
    names = [f"synthetic/spNO.{s}" for s in [*np.arange(12), *rng.integers(12, size=17)]]
    ids = [f"{name}/m/{i}" for i, name in enumerate(names)]
    macro = pd.DataFrame({"clip_id": ids, "subject_id": names, "label": rng.integers(3, size=29)})
    parts = [clips.assign(expression_type="micro"), macro.assign(expression_type="macro")]
    return pd.concat(parts).sample(frac=1, random_state=2, ignore_index=True)


def folds_of(clips, split="subject", *, n_folds=5, stratify=False, split_seed=0, macro_clips="none"):
    kind = {"n_folds": n_folds, "stratify": stratify, "split_seed": split_seed}
    return make_folds(clips, split=split, **kind, macro_clips=macro_clips)


def sides_of(clips, folds, column="clip_id"):
    return [frozenset(clips[column].iloc[test]) for _, test in folds]


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_every_clip_is_tested_once_and_else_trained_on(clips, split, stratify):
    folds = folds_of(clips, split, stratify=stratify)
    assert len(folds) == {"loso": N_SUBJECTS, "subject_seen": 10}.get(split, 5)
    assert np.sort(np.concatenate([test for _, test in folds])).tolist() == list(range(N_CLIPS))
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(N_CLIPS))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
        shared = set(clips["subject_id"].iloc[train]) & set(clips["subject_id"].iloc[test])
        assert not shared or split in ("paper", "subject_seen")
    check_folds(clips, folds, split=split)


def test_the_papers_split_has_subjects_on_both_sides(clips):
    folds = folds_of(clips, "paper")
    assert all(
        set(clips["subject_id"].iloc[train]) & set(clips["subject_id"].iloc[test]) for train, test in folds
    )
    with pytest.raises(ValueError, match=r"fold 0: subject_id .* is in training and in test"):
        check_folds(clips, folds, split="subject")


def test_loso_leaves_out_subjects_in_order_of_their_ids(clips):
    for seed in (0, 1):
        left_out = sides_of(clips, folds_of(clips, "loso", split_seed=seed), "subject_id")
        assert left_out == [{subject} for subject in sorted(clips["subject_id"].unique())]


@pytest.mark.parametrize("split", ["subject", "paper", "subject_seen"])
def test_the_split_seed_changes_the_division(clips, split):
    one, other = (sides_of(clips, folds_of(clips, split, split_seed=seed)) for seed in (0, 1))
    assert set(one) != set(other)


@pytest.mark.parametrize("split", ["subject", "paper"])
def test_the_split_seed_changes_a_stratified_division(clips, split):
    # Of the stratified division by subject the seed only breaks ties, so not every seed differs.
    folds = [folds_of(clips, split, stratify=True, split_seed=seed) for seed in range(11)]
    assert len({frozenset(sides_of(clips, division)) for division in folds}) > 1


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


# --- half of a test subject's clips in training -----------------------------------------------------------


@pytest.mark.parametrize("stratify", [False, True])
def test_two_halves_of_a_fold_by_subject_are_tested_in_turn(clips, stratify):
    whole = folds_of(clips, "subject", stratify=stratify)
    halves = folds_of(clips, "subject_seen", stratify=stratify)
    for number, (train, test) in enumerate(whole):
        one, other = halves[2 * number : 2 * number + 2]
        assert sorted([*one.test, *other.test]) == test.tolist()
        for tested, seen in ((one, other), (other, one)):
            assert tested.train.tolist() == sorted([*train, *seen.test])


def test_each_test_subject_is_in_both_halves_alike(clips):
    halves = folds_of(clips, "subject_seen")
    for one, other in zip(halves[::2], halves[1::2], strict=True):
        counts = [clips["subject_id"].iloc[half.test].value_counts() for half in (one, other)]
        assert counts[0].sub(counts[1], fill_value=0).abs().max() <= 1
        assert abs(len(one.test) - len(other.test)) <= 1


def test_the_halves_are_drawn_by_the_split_seed(clips):
    # One subject per fold, so that the seed has nothing but the halves to draw.
    few = clips[clips["subject_id"].isin(clips["subject_id"].value_counts().index[:2])]
    drawn = {
        frozenset(sides_of(few, folds_of(few, "subject_seen", n_folds=2, split_seed=seed)))
        for seed in range(5)
    }
    assert len(drawn) == 5


def test_a_fold_of_one_clip_has_one_half():
    clips = pd.DataFrame(
        {"clip_id": list("abc"), "subject_id": ["s", "s", "t"], "label": 0, "expression_type": "micro"}
    )
    folds = folds_of(clips, "subject_seen", n_folds=2)
    assert sorted(test.tolist() for _, test in folds) == [[0], [1], [2]]
    (alone,) = [train for train, test in folds if test.tolist() == [2]]
    assert alone.tolist() == [0, 1]


# --- macro clips ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", MACRO_RULES)
@pytest.mark.parametrize("split", SPLITS)
def test_macro_clips_are_never_tested_and_change_no_division(clips, mixed, split, rule):
    folds = folds_of(mixed, split, macro_clips=rule)
    assert sides_of(mixed, folds) == sides_of(clips, folds_of(clips, split))
    is_macro = (mixed["expression_type"] == "macro").to_numpy()
    for (train, _), (alone, _) in zip(folds, folds_of(clips, split), strict=True):
        micro = set(mixed["clip_id"].iloc[train[~is_macro[train]]])
        assert micro == set(clips["clip_id"].iloc[alone])
        assert (np.diff(train) > 0).all()
    check_folds(mixed, folds, split=split, macro_clips=rule)


@pytest.mark.parametrize("split", SPLITS)
def test_macro_clips_in_training_are_those_of_the_rule(mixed, split):
    macro, subjects = mixed["expression_type"] == "macro", mixed["subject_id"]
    for none, others, everyone in zip(
        *(folds_of(mixed, split, macro_clips=rule) for rule in MACRO_RULES), strict=True
    ):
        tested = set(subjects.iloc[none.test])
        in_training = [mixed.index[macro & mixed.index.isin(fold.train)] for fold in (none, others, everyone)]
        assert in_training[0].empty
        assert in_training[1].tolist() == mixed.index[macro & ~subjects.isin(tested)].tolist()
        assert in_training[2].tolist() == mixed.index[macro].tolist()
        assert len(in_training[1]) < len(in_training[2])


# A quarter and half of the training subjects, and all of them.
SHARES = [0.25, 0.5, 1]


def shared(clips, split="subject", **options):
    """Folds for each of `SHARES`."""
    usual = {"split": split, "n_folds": 5, "stratify": False, "split_seed": 0}
    return [make_folds(clips, **usual | options, training_subjects=share) for share in SHARES]


@pytest.mark.parametrize("split", SPLITS)
def test_a_share_of_the_training_subjects_is_whole_subjects_rounded_up(clips, split):
    subjects = clips["subject_id"]
    for quarter, half, whole in zip(*shared(clips, split), strict=True):
        names = set(subjects.iloc[whole.train])
        for fold, share in ((quarter, 0.25), (half, 0.5)):
            kept = set(subjects.iloc[fold.train])
            assert len(kept) == math.ceil(share * len(names))
            assert fold.train.tolist() == whole.train[subjects.iloc[whole.train].isin(kept)].tolist()


@pytest.mark.parametrize("split", SPLITS)
def test_smaller_shares_lie_in_larger_ones_and_are_tested_alike(clips, split):
    plain = folds_of(clips, split)
    for folds in zip(plain, *shared(clips, split), strict=True):
        expected, quarter, half, whole = folds
        assert {tuple(fold.test) for fold in folds} == {tuple(expected.test)}
        assert whole.train.tolist() == expected.train.tolist()
        assert set(quarter.train) < set(half.train) < set(whole.train)
    for part in shared(clips, split):
        check_folds(clips, part, split=split)


@pytest.mark.parametrize("rule", ["training_subjects", "all"])
def test_macro_clips_follow_the_share_of_subjects(mixed, rule):
    is_macro, subjects = mixed["expression_type"] == "macro", mixed["subject_id"]
    for quarter, half, whole in zip(*shared(mixed, macro_clips=rule), strict=True):
        for fold in (quarter, half):
            kept = set(subjects.iloc[fold.train])
            of_kept = mixed.index[is_macro & subjects.isin(kept)]
            assert sorted(set(fold.train) & set(mixed.index[is_macro])) == of_kept.tolist()
        assert len(set(subjects.iloc[half.train])) == math.ceil(len(set(subjects.iloc[whole.train])) / 2)


def test_the_share_depends_on_the_split_seed_and_not_on_the_order_of_rows(clips):
    def in_training(table, **options):
        return [frozenset(table["clip_id"].iloc[fold.train]) for fold in shared(table, "loso", **options)[1]]

    assert in_training(clips.sample(frac=1, random_state=3)) == in_training(clips)
    assert in_training(clips, split_seed=1) != in_training(clips)  # LOSO folds have nothing random


@pytest.mark.parametrize("options", [{"stratify": True}, *({"macro_clips": rule} for rule in MACRO_RULES)])
@pytest.mark.parametrize("split", SPLITS)
def test_the_order_of_rows_does_not_matter(mixed, split, options):
    shuffled = mixed.sample(frac=1, random_state=3)  # its index is shuffled too
    ids = [
        [[frozenset(table["clip_id"].iloc[side]) for side in fold] for fold in folds]
        for table in (mixed, shuffled)
        for folds in [folds_of(table, split, **options)]
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("split", "rule", "is_dependent"),
    [
        ("subject", "none", False),
        ("subject", "training_subjects", False),
        ("subject", "all", True),
        ("loso", "none", False),
        ("loso", "all", True),
        ("paper", "none", True),
        ("authors", "none", True),
        ("subject_seen", "training_subjects", True),
    ],
)
def test_what_is_subject_dependent(mixed, split, rule, is_dependent):
    assert is_subject_dependent(split, rule) == is_dependent
    folds = folds_of(mixed, split, macro_clips=rule) if split != "authors" else []
    shared = [set(mixed["subject_id"].iloc[a]) & set(mixed["subject_id"].iloc[b]) for a, b in folds]
    assert any(shared) == (is_dependent and split != "authors")


@pytest.fixture
def twice(clips):
    """The same clips in two extractions."""
    parts = [clips.assign(clip_id=clips["clip_id"] + f"/{name}") for name in ("htnet", "causalnet")]
    return pd.concat(parts).sample(frac=1, random_state=3, ignore_index=True)


@pytest.mark.parametrize("name", ["htnet", "causalnet"])
def test_one_extraction_is_trained_on_and_both_are_tested(twice, name):
    kind = {"split": "subject", "n_folds": 5, "stratify": False, "split_seed": 0}
    folds, whole = make_folds(twice, train_on=name, **kind), make_folds(twice, **kind)
    check_folds(twice, folds, split="subject", train_on=name)
    for (train, test), (of_both, tested) in zip(folds, whole, strict=True):
        assert (test == tested).all()
        is_one = twice["clip_id"].iloc[of_both].str.endswith(f"/{name}").to_numpy()
        assert (train == of_both[is_one]).all()
        assert len(train) == len(of_both) / 2


def test_a_clip_of_the_other_extraction_in_training_is_found(twice):
    folds = make_folds(twice, split="subject", n_folds=5, stratify=False, split_seed=0)
    with pytest.raises(ValueError, match="fold 0: not every training clip is of train_on = 'htnet'"):
        check_folds(twice, folds, split="subject", train_on="htnet")


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
    known = "subject, paper, loso, authors, subject_seen"
    with pytest.raises(ValueError, match=f"'random' is unknown; known splits: {known}"):
        folds_of(clips, "random")


# --- planted leaks ----------------------------------------------------------------------------------------


def replaced(folds, number, train, test):
    return [*folds[:number], Fold(np.sort(train), np.sort(test)), *folds[number + 1 :]]


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


@pytest.mark.parametrize("split", SPLITS)
def test_a_test_subjects_macro_clip_in_training_is_found(mixed, split):
    folds = folds_of(mixed, split, macro_clips="training_subjects")
    train, test = folds[1]
    subjects = mixed["subject_id"].iloc[test]
    planted = mixed.index[(mixed["expression_type"] == "macro") & mixed["subject_id"].isin(subjects)][0]
    leaky = replaced(folds, 1, [*train, planted], test)
    clip_id = mixed["clip_id"][planted]
    with pytest.raises(ValueError, match=f"fold 1: macro clip {clip_id} is in .*'training_subjects'"):
        check_folds(mixed, leaky, split=split, macro_clips="training_subjects")
    check_folds(mixed, leaky, split=split, macro_clips="all")


@pytest.mark.parametrize("split", SPLITS)
def test_a_macro_clip_in_training_without_being_asked_for_is_found(mixed, split):
    folds = folds_of(mixed, split, macro_clips="training_subjects")
    with pytest.raises(ValueError, match=r"fold 0: macro clip .*/m/.* is in training .*'none'"):
        check_folds(mixed, folds, split=split)


@pytest.mark.parametrize("rule", MACRO_RULES)
@pytest.mark.parametrize("split", SPLITS)
def test_a_tested_macro_clip_is_found(mixed, split, rule):
    folds = folds_of(mixed, split, macro_clips=rule)
    train, test = folds[1]
    planted, *others = mixed.index[mixed["subject_id"] == "synthetic/spNO.11"]  # has no micro clip
    leaky = replaced(folds, 1, np.setdiff1d(train, [planted, *others]), [*test, planted])
    clip_id = mixed["clip_id"][planted]
    with pytest.raises(ValueError, match=f"macro clip {clip_id} is tested 1 times, not never"):
        check_folds(mixed, leaky, split=split, macro_clips=rule)


@pytest.mark.parametrize("rule", MACRO_RULES)
def test_a_test_subjects_micro_clip_in_training_is_found_whatever_the_macro_clips(mixed, rule):
    folds = folds_of(mixed, macro_clips=rule)
    train, test = folds[3]
    subject = mixed["subject_id"].iloc[test].mode()[0]
    moved = test[mixed["subject_id"].iloc[test] == subject][0]
    leaky = replaced(folds, 3, [*train, moved], test[test != moved])
    with pytest.raises(ValueError, match=f"fold 3: subject_id {subject} is in training and in test"):
        check_folds(mixed, leaky, split="subject", macro_clips=rule)


# --- holdout ----------------------------------------------------------------------------------------------

HOLDOUT = {"split": "holdout", "n_folds": 5, "stratify": False, "split_seed": 0}


def subjects_of(clips, rows):
    return set(clips["subject_id"].iloc[rows])


def test_a_holdout_tests_the_same_subjects_with_every_seed_and_trains_on_others(clips):
    folds = [make_folds(clips, **HOLDOUT, held_out=0.4, drawn=0.5, seed=seed) for seed in range(4)]
    assert {len(of_seed) for of_seed in folds} == {1}
    tested = {frozenset(of_seed[0].test) for of_seed in folds}
    assert len(tested) == 1
    # 0.4 of 11 subjects are 4; 0.5 of the other 7 are 4.
    assert [len(subjects_of(clips, of_seed[0].test)) for of_seed in folds] == [4] * 4
    assert [len(subjects_of(clips, of_seed[0].train)) for of_seed in folds] == [4] * 4
    assert len({frozenset(of_seed[0].train) for of_seed in folds}) > 2  # of the 35 draws there are
    for of_seed in folds:
        check_folds(clips, of_seed, split="holdout")
        trained = clips["subject_id"].isin(subjects_of(clips, of_seed[0].train))
        assert of_seed[0].train.tolist() == np.flatnonzero(trained).tolist()


def test_a_larger_draw_has_the_subjects_of_a_smaller_one(clips):
    small, large = (make_folds(clips, **HOLDOUT, drawn=share, seed=3)[0].train for share in (0.3, 0.8))
    assert subjects_of(clips, small) < subjects_of(clips, large)


def test_the_seed_of_training_changes_no_other_split(clips):
    for split in SPLITS:
        kind = HOLDOUT | {"split": split}
        assert sides_of(clips, make_folds(clips, **kind, seed=1)) == sides_of(
            clips, make_folds(clips, **kind)
        )


def test_a_holdout_of_several_datasets_tests_the_same_clips_however_it_is_trained(clips):
    other = clips.assign(**{name: "smic/" + clips[name] for name in ("clip_id", "subject_id")})
    both = pd.concat([clips, other], ignore_index=True)
    (union,) = make_folds(both, **HOLDOUT, seed=2)
    own = make_folds(both, **HOLDOUT, seed=2, train_on="own")
    check_folds(both, own, split="holdout", train_on="own")
    for part in ("train", "test"):
        assert (
            np.sort(np.concatenate([getattr(fold, part) for fold in own])).tolist()
            == getattr(union, part).tolist()
        )


@pytest.mark.parametrize(
    ("rule", "allowed"), [("none", set()), ("training_subjects", {"train"}), ("all", {"train", "test"})]
)
def test_macro_clips_of_a_holdout_are_of_its_own_subjects(mixed, rule, allowed):
    (fold,) = make_folds(mixed, **HOLDOUT, macro_clips=rule)
    check_folds(mixed, [fold], split="holdout", macro_clips=rule)
    is_macro = (mixed["expression_type"] == "macro").to_numpy()
    trained = subjects_of(mixed, fold.train[~is_macro[fold.train]])
    who = {"train": trained, "test": subjects_of(mixed, fold.test)}
    found = subjects_of(mixed, fold.train[is_macro[fold.train]])
    without_micro = {"synthetic/spNO.11"}
    assert found - without_micro <= set().union(*(who[part] for part in allowed))
    assert not is_macro[fold.test].any()


def test_a_share_that_is_nobody_is_refused(clips):
    with pytest.raises(
        ValueError, match=r"held_out = 0\.01 of the 11 subjects of synthetic is nobody; 0\.091"
    ):
        make_folds(clips, **HOLDOUT, held_out=0.01)
    with pytest.raises(ValueError, match=r"drawn = 0\.01 of the 7 subjects of synthetic is nobody"):
        make_folds(clips, **HOLDOUT, drawn=0.01)


def test_a_holdout_that_leaves_a_class_out_is_refused(clips):
    folds = make_folds(clips, **HOLDOUT)
    trained, tested = (subjects_of(clips, part) for part in folds[0])
    classes = ("low", "middle", "high", "none")
    with pytest.raises(ValueError, match=r"drawn leaves 'none' out of training: 0 of the 7 subjects"):
        check_folds(clips, folds, split="holdout", classes=classes)
    only_elsewhere = clips.assign(label=np.where(clips["subject_id"].isin(trained), 0, clips["label"]))
    with pytest.raises(ValueError, match=r"drawn leaves 'middle' out of training: [1-4] of the 7 subjects"):
        check_folds(only_elsewhere, folds, split="holdout", classes=classes[:3])
    only_trained = clips.assign(label=np.where(clips["subject_id"].isin(tested), 0, clips["label"]))
    with pytest.raises(ValueError, match=r"held_out leaves 'middle' out of the test: [1-7] of the 11 subj"):
        check_folds(only_trained, folds, split="holdout", classes=classes[:3])


def test_planted_faults_of_a_holdout_are_found(clips):
    (fold,) = make_folds(clips, **HOLDOUT)
    with pytest.raises(ValueError, match="is tested 0 times, not once"):
        check_folds(clips, [Fold(fold.train, fold.test[1:])], split="holdout")
    with pytest.raises(ValueError, match=r"subject_id .* is in training and in test"):
        check_folds(clips, [Fold(np.union1d(fold.train, fold.test[:1]), fold.test[1:])], split="holdout")
