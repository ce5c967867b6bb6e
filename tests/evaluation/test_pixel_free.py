"""Predictors without pixels on invented tables: hand-counted votes, chance where there is nothing to know."""

import numpy as np
import pandas as pd
import pytest

from hsta_lib.data.splits import Fold, make_folds
from hsta_lib.evaluation import pixel_free, references
from hsta_lib.evaluation.metrics import confusion, scores
from hsta_lib.evaluation.pixel_free import action_units, predictors, share_subjects, timing, vote
from hsta_lib.reporting.tables import score_rows

COLUMNS = ["clip_id", "subject_id", "y_true", "y_pred", "fold", "seed"]


def table(rows, dataset="casme3"):
    """Clips from ``(subject/film, label)`` or ``(subject/film, label, action units)``."""
    clips = []
    for i, (place, label, *units) in enumerate(rows):
        onset = 10 * i
        clips.append(
            {
                "dataset": dataset,
                "subject_id": f"{dataset}/{place.split('/')[0]}",
                "recording_id": f"{dataset}/{place}",
                "clip_id": f"{dataset}/{place}/{onset}",
                "onset": onset,
                "apex": onset + 3,
                "offset": onset + 7,
                "action_units": units[0] if units else "",
                "label": label,
            }
        )
    return pd.DataFrame(clips)


def one_fold(clips, n_test):
    """The last clips are tested, the others trained on."""
    rows = np.arange(len(clips))
    return [Fold(rows[:-n_test], rows[-n_test:])]


def predicted(rows, n_test, *keys, dataset="casme3", **options):
    clips = table(rows, dataset)
    return vote(clips, one_fold(clips, n_test), *keys, **options)["y_pred"].tolist()


def pooled(predictions, n_classes):
    return scores(confusion(predictions["y_true"], predictions["y_pred"], n_classes))


# --- votes ------------------------------------------------------------------------------------------------


def test_the_most_frequent_class_of_the_subject():
    # s1: 0 0 2, s2: 1 1 0. s3 is new: class 0, of which training has three.
    rows = [("s1/a", 0), ("s1/b", 0), ("s1/a", 2), ("s2/a", 1), ("s2/a", 1), ("s2/b", 0)]
    tested = [("s2/c", 0), ("s1/c", 1), ("s3/a", 2)]
    assert predicted([*rows, *tested], 3, "subject", balanced=False) == [1, 0, 0]


def test_a_balanced_vote_counts_shares_of_classes():
    # Training has four clips of class 0 and one of class 2: in s1 2/4 stand against 1/1.
    rows = [("s1/a", 0), ("s1/b", 0), ("s1/a", 2), ("s2/a", 0), ("s2/a", 0), ("s2/b", 1), ("s1/c", 0)]
    assert predicted(rows, 1, "subject", balanced=True) == predicted(rows, 1, "subject") == [2]
    assert predicted(rows, 1, "subject", balanced=False) == [0]


def test_ties_go_to_the_first_class():
    assert predicted([("s1/a", 2), ("s1/a", 1), ("s1/a", 1)], 1, "subject") == [1]
    # All of class 0 against all of class 1; 49 times 1/49 is less than 1 in floating point.
    rows = [*[("s1/a", 0)] * 49, ("s1/a", 1), ("s1/a", 1)]
    assert predicted(rows, 1, "subject") == [0]


def test_a_key_that_is_unknown_backs_off_to_the_next():
    rows = [("s1/a", 1), ("s1/b", 2), ("s1/b", 2), *[("s2/a", 0)] * 4]
    tested = [("s1/a", 0), ("s1/c", 0), ("s3/a", 1)]
    keys = ("recording", "subject")
    assert predicted([*rows, *tested], 3, *keys, balanced=False) == [1, 2, 0]
    assert predicted([*rows, *tested], 3, "recording", balanced=False) == [1, 0, 0]


def test_unknown_keys_are_of_the_most_frequent_class_under_a_balanced_vote_too():
    assert predicted([("s1/a", 0), ("s1/a", 2), ("s1/b", 2), ("s2/a", 0)], 1, "subject") == [2]


def test_the_film_is_shared_by_subjects():
    rows = [("s1/a", 1), ("s2/a", 1), ("s1/b", 2), ("s2/b", 2), ("s3/a", 0), ("s3/b", 0)]
    assert predicted(rows, 2, "film") == [1, 2]
    assert predicted(rows, 2, "film", dataset="synthetic") == [1, 2]
    assert predicted(rows, 2, "recording") == [1, 1]


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("casme2", ["sub01/EP02_01f", "sub01/EP15_01", "sub02/ep02_07", "sub02/EP15f"]),
        ("samm", ["006/006_1_2", "006/006_6_10", "007/007_1_9", "007/007_6_3"]),
    ],
)
def test_the_film_is_read_from_the_clips_name(dataset, names):
    clips = table([("s1/a", 1), ("s1/b", 2), ("s2/a", 0), ("s2/b", 0)], dataset)
    clips["clip_id"] = [f"{dataset}/{name}" for name in names]
    assert vote(clips, one_fold(clips, 2), "film")["y_pred"].tolist() == [1, 2]


def test_action_units_are_matched_as_sets():
    rows = [("s1/a", 1, "4+R14"), ("s1/a", 2, "12"), ("s2/a", 0, "L14+4+14"), ("s2/a", 0, "12.0")]
    assert predicted(rows, 2, "action_units") == [1, 2]


def test_clips_without_action_units_have_no_key():
    # If they had, the two of class 2 would vote for the third.
    rows = [("s1/a", 2, ""), ("s1/a", 2, "?"), *[("s1/a", 1, "4")] * 3, ("s2/a", 0, "?")]
    assert predicted(rows, 1, "action_units") == [1]


def test_folds_are_predicted_from_their_own_training_clips():
    clips = table([("s1/a", 0), ("s1/a", 1), ("s1/a", 2)])
    folds = [Fold(np.array([1]), np.array([0, 2])), Fold(np.array([2]), np.array([1]))]
    made = vote(clips, folds, "subject")
    assert list(made.columns) == COLUMNS
    ids = clips["clip_id"].iloc[[0, 2, 1]].tolist()
    assert made["clip_id"].tolist() == ids
    assert made[["y_true", "y_pred", "fold", "seed"]].to_numpy().tolist() == [
        [0, 1, 0, 0], [2, 1, 0, 0], [1, 2, 1, 0],
    ]  # fmt: skip


@pytest.mark.parametrize("keys", [(), ("letter",), ("subject", "letter")])
def test_an_unknown_key_is_refused(keys):
    with pytest.raises(ValueError, match="must be one or more of subject, recording, film, action_units"):
        predicted([("s1/a", 0), ("s1/a", 0)], 1, *keys)


def test_a_film_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="known for casme3, synthetic, casme2, samm, not for smic"):
        predicted([("s1/a", 0), ("s1/a", 0)], 1, "film", dataset="smic")
    with pytest.raises(ValueError, match=r"clip samm/s1/a/0: its name does not tell the film"):
        predicted([("s1/a", 0), ("s1/a", 0)], 1, "film", dataset="samm")


# --- what folds give away ---------------------------------------------------------------------------------


@pytest.fixture
def tied():
    """Thirteen subjects with seven clips, each all of one class: the subject is the label."""
    return table([(f"s{s:02}/{'abcdefg'[i]}", s % 3) for s in range(13) for i in range(7)])


def folds_of(clips, split):
    return make_folds(clips, split=split, n_folds=5, stratify=True, split_seed=0)


def test_the_subject_is_all_under_folds_over_clips_and_nothing_under_folds_by_subject(tied):
    assert pooled(vote(tied, folds_of(tied, "paper"), "subject"), 3).tolist() == [1, 1, 1]
    by_subject = folds_of(tied, "subject")
    alone = vote(tied, by_subject, "subject")
    pd.testing.assert_frame_equal(alone, references.majority(tied, by_subject))
    assert pooled(alone, 3)[1] < 0.4  # chance is 1/3


def test_the_film_is_all_under_folds_by_subject_too():
    clips = table([(f"s{s:02}/{'abcdefg'[i]}", i % 3) for s in range(13) for i in range(7)])
    assert pooled(vote(clips, folds_of(clips, "loso"), "film"), 3).tolist() == [1, 1, 1]


def test_timing_finds_a_class_that_lasts_longer():
    rng = np.random.default_rng(0)
    clips = table([(f"s{s:02}/a", int(label)) for s in range(13) for label in rng.integers(2, size=7)])
    clips["onset"] = rng.integers(1, 3000, size=len(clips))
    clips["apex"] = clips["onset"] + 5
    short = timing(clips.assign(offset=clips["onset"] + 11), folds_of(clips, "loso"))
    assert 0.25 < pooled(short, 2)[1] < 0.75  # 91 clips: chance is 0.5, its standard error 0.05
    longer = clips.assign(offset=clips["onset"] + 11 + 10 * clips["label"])
    assert pooled(timing(longer, folds_of(clips, "loso")), 2).tolist() == [1, 1, 1]
    early = clips.assign(offset=clips["onset"] + 11, apex=clips["onset"] + clips["label"])
    assert pooled(timing(early, folds_of(clips, "loso")), 2).tolist() == [1, 1, 1]


@pytest.mark.parametrize("missing", [slice(None), slice(None, None, 2)])
def test_timing_can_do_without_apex(tied, missing):
    clips = tied.astype({"onset": "Int64", "apex": "Int64", "offset": "Int64"})
    clips["offset"] += 10 * clips["label"]
    clips.loc[clips.index[missing], "apex"] = pd.NA
    assert pooled(timing(clips, folds_of(clips, "paper")), 3).tolist() == [1, 1, 1]


def test_the_linear_model_reads_sets_it_has_not_seen():
    rows = [("s1/a", 0, "12"), ("s1/a", 0, "6+12"), ("s1/a", 1, "4"), ("s1/a", 1, "4+7")] * 5
    tested = [("s2/a", 0, "L12+25"), ("s2/a", 1, "R4+9"), ("s2/a", 1, "4+6+7")]
    clips = table([*rows, *tested])
    assert action_units(clips, one_fold(clips, 3))["y_pred"].tolist() == [0, 1, 1]
    assert vote(clips, one_fold(clips, 3), "action_units")["y_pred"].tolist() == [0, 0, 0]


def test_in_the_linear_model_classes_weigh_the_same():
    # Of those with AU 4, 4 of 10 clips of class 0 and all 3 of class 1.
    rows = [*[("s1/a", 0, "4")] * 4, *[("s1/a", 0, "12")] * 6, *[("s1/a", 1, "4")] * 3]
    clips = table([*rows, ("s2/a", 0, "4"), ("s2/a", 0, "12")])
    assert action_units(clips, one_fold(clips, 2))["y_pred"].tolist() == [1, 0]


def test_training_of_one_class_predicts_it():
    clips = table([("s1/a", 1, "4"), ("s1/b", 1, "12"), ("s1/c", 0, "12")])
    for name, predict in predictors(clips).items():
        assert predict(clips, one_fold(clips, 1))["y_pred"].tolist() == [1], name


# --- all together -----------------------------------------------------------------------------------------

ALL = [
    "majority class", "subject", "recording", "recording, else subject", "clip timing", "film",
    "film, plain vote", "action units, same set", "action units, linear",
]  # fmt: skip


@pytest.fixture
def random():
    """Two hundred and eleven clips whose labels depend on nothing."""
    rng = np.random.default_rng(1)
    rows = [
        (f"s{rng.integers(11)}/{'abcde'[rng.integers(5)]}", int(rng.integers(3)), str(rng.integers(1, 9)))
        for _ in range(211)
    ]
    return table(rows)


@pytest.mark.parametrize("name", ALL)
def test_no_predictor_sees_the_labels_it_predicts(random, name):
    fold = folds_of(random, "paper")[0]
    permuted = random.copy()
    permuted.loc[fold.test, "label"] = np.random.default_rng(2).permutation(random["label"].iloc[fold.test])
    predict = predictors(random)[name]
    before, after = predict(random, [fold]), predict(permuted, [fold])
    assert (before["y_true"] != after["y_true"]).any()
    assert before["y_pred"].tolist() == after["y_pred"].tolist()


@pytest.mark.parametrize("name", ALL)
def test_every_predictor_learns_from_the_labels_of_training(random, name):
    fold = folds_of(random, "paper")[0]
    shifted = random.copy()
    shifted.loc[fold.train, "label"] = (random["label"].iloc[fold.train] + 1) % 3
    predict = predictors(random)[name]
    assert predict(random, [fold])["y_pred"].tolist() != predict(shifted, [fold])["y_pred"].tolist()


@pytest.mark.parametrize("name", ALL)
def test_the_index_and_the_order_of_rows_do_not_matter(random, name):
    folds = folds_of(random, "subject")
    moved = random.sample(frac=1, random_state=3)
    made = [
        predictors(random)[name](clips, fs)
        for clips, fs in [(random, folds), (moved, folds_of(moved, "subject"))]
    ]
    one, other = (rows.set_index("clip_id").sort_index() for rows in made)
    pd.testing.assert_frame_equal(one, other)


def test_rows_can_be_scored_beside_the_references(random):
    folds = folds_of(random, "subject")
    made = {name: predict(random, folds) for name, predict in predictors(random).items()}
    assert list(made) == ALL
    for predictions in made.values():
        assert list(predictions.columns) == COLUMNS
        assert predictions["y_pred"].dtype == predictions["y_true"].dtype == int
    scored = score_rows(made, 3)
    assert scored.loc["majority class", "uar"] == pytest.approx(100 / 3, abs=10)
    assert scored["uar"].between(20, 47).all()  # nothing to know: 33, with a standard error of 3


@pytest.mark.parametrize(
    ("split", "names"),
    [("paper", ALL), ("subject_seen", ALL), ("subject", [ALL[0], *ALL[4:]]), ("loso", [ALL[0], *ALL[4:]])],
)
def test_rows_of_the_subject_are_left_out_where_folds_share_none(random, split, names):
    folds = folds_of(random, split)
    assert share_subjects(random, folds) == (split in ("paper", "subject_seen"))
    made = pixel_free.rows(random, folds)
    assert list(made) == names
    for name, predictions in made.items():
        pd.testing.assert_frame_equal(predictions, predictors(random)[name](random, folds))


def test_one_fold_that_shares_a_subject_is_enough():
    clips = table([("s1/a", 0), ("s1/b", 1), ("s2/a", 0), ("s3/a", 1)])
    apart, shared = Fold(np.array([0, 1]), np.array([2])), Fold(np.array([0, 2]), np.array([1, 3]))
    assert not share_subjects(clips, [apart])
    assert share_subjects(clips.set_index(pd.Index([5, 5, 2, 9])), [apart, shared])


@pytest.mark.parametrize(("name", "balanced"), [("film", True), ("film, plain vote", False)])
def test_the_name_of_a_row_tells_the_vote(random, name, balanced):
    folds = folds_of(random, "subject")
    made = predictors(random)[name](random, folds)
    pd.testing.assert_frame_equal(made, vote(random, folds, "film", balanced=balanced))
    assert (made["y_pred"] != vote(random, folds, "film", balanced=not balanced)["y_pred"]).any()


def test_a_dataset_is_given_only_the_rows_it_has_the_names_for(random):
    smic = random.assign(dataset="smic", action_units="", apex=pd.NA)
    assert list(predictors(smic)) == ALL[:5]
    assert list(predictors(random.assign(action_units="?"))) == ALL[:7]
