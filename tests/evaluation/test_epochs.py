"""The last epoch against the best one, on cases worked by hand."""

import numpy as np
import pytest

from hsta_lib.evaluation.epochs import CHOICES, compare

# Two subjects with two clips each, a fold each; three epochs.
TRUE, SUBJECT = [0, 1, 0, 1], [0, 0, 1, 1]
ALL_RIGHT_ON_FIRST = [0, 1, 1, 0]
ALL_RIGHT_ON_SECOND = [1, 0, 0, 1]
CONSTANT = [0, 0, 0, 0]
UF1 = 2


def compared(*epochs, true=TRUE, subject=SUBJECT, fold=SUBJECT, n_classes=2, n_shuffles=20):
    rng = np.random.default_rng(0)
    return compare(true, epochs, subject, fold, n_classes, rng, n_shuffles)


def test_each_choice_by_hand():
    found = compared(ALL_RIGHT_ON_FIRST, ALL_RIGHT_ON_SECOND, CONSTANT)
    assert CHOICES[0] == "last epoch"
    # The constant: UF1 is that of class 0, 2 * 2 / (2 * 2 + 2), over two classes.
    np.testing.assert_allclose(found.scores.estimate[:, UF1], [1 / 3, 1 / 2, 1, 0])  # 0: the other's epoch
    np.testing.assert_allclose(found.gains.estimate[:, UF1], [0, 1 / 6, 2 / 3, -1 / 3])
    assert found.epoch == 0  # both are equal: the first


def test_with_one_epoch_there_is_nothing_to_choose():
    found = compared(ALL_RIGHT_ON_FIRST)
    assert (found.scores.estimate == found.scores.estimate[0]).all()
    assert not np.concatenate([np.ravel(values) for values in (*found.gains, *found.chance)]).any()


def test_where_both_are_in_one_fold_the_best_of_a_fold_is_that_of_all():
    found = compared(ALL_RIGHT_ON_FIRST, [0, 1, 0, 0], CONSTANT, fold=[0, 0, 0, 0])
    np.testing.assert_array_equal(found.scores.estimate[1], found.scores.estimate[2])
    assert found.epoch == 1


def test_a_subject_in_two_folds_is_chosen_for_in_each():
    found = compared(ALL_RIGHT_ON_FIRST, ALL_RIGHT_ON_SECOND, subject=[0, 1, 0, 1], fold=[0, 0, 1, 1])
    assert found.scores.estimate[2, UF1] == 1


def test_an_absent_class_of_the_protocol_counts_zero():
    found = compared(TRUE, n_classes=4)
    assert found.scores.estimate[0, UF1] == pytest.approx(1 / 2)


def test_predictions_that_know_nothing_gain_what_chance_gains():
    rng = np.random.default_rng(1)
    true, subject = rng.integers(3, size=400), np.repeat(np.arange(80), 5)
    found = compared(*rng.integers(3, size=(12, 400)), true=true, subject=subject, fold=subject, n_classes=3)
    gain = found.gains.estimate[2]
    assert (found.chance.low[2] < gain).all()
    assert (gain < found.chance.high[2]).all()
    assert gain[UF1] > 0.2
    assert abs(found.chance.estimate[3, UF1]) < 0.02  # others know nothing of a subject


def test_the_interval_is_that_of_the_choice_made_anew_without_each_subject():
    """By hand for the best on the pooled test: three subjects, the error of Student's t at each end."""
    epochs = [[0, 1, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0]]
    true, subject = [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2]
    found = compared(*epochs, true=true, subject=subject, fold=subject)
    # Without a subject: epoch 0 is right on the rest or on one of two; without the third its UF1 is 1.
    left_out = np.array([1 / 2, 1 / 2, 1.0])
    left_out[1] = 0.7333333  # epoch 1 on subjects 0 and 2: 3 of 4 right, F1 of 4/5 and 2/3
    variance = 2 / 3 * ((left_out - left_out.mean()) ** 2).sum()
    score = found.scores.estimate[1, UF1]
    for end in (found.scores.low[1, UF1], found.scores.high[1, UF1]):
        error = np.sqrt(variance * end * (1 - end) / (score * (1 - score)))
        assert abs(end - score) == pytest.approx(4.302653 * error, rel=1e-5)


def test_the_same_seed_gives_the_same_chance():
    first, second = (compared(ALL_RIGHT_ON_FIRST, CONSTANT) for _ in range(2))
    assert (np.stack(first.chance) == np.stack(second.chance)).all()
