"""The linear machine of the hand-made descriptors: hand-placed margins, absent classes, bad input."""

import numpy as np
import pytest

from hsta_lib.models.baselines.linear_svm import LinearSVM

# Corners of a triangle and points near them.
CORNERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def clouds(n_each=7):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], n_each)
    return CORNERS[labels] + rng.uniform(-1, 1, (len(labels), 2)), labels


def test_the_margin_of_two_classes_is_the_one_worked_out_by_hand():
    # Support vectors at 2 and 6, so the margin is (x - 4) / 2; its price C must exceed their weight, 1 / 8.
    machine = LinearSVM(2).fit(np.array([[1.0], [2.0], [6.0], [9.0]]), [0, 0, 1, 1])
    expected = [[1.0, -1.0], [0.0, 0.0], [-1.0, 1.0], [-2.0, 2.0]]
    np.testing.assert_allclose(machine.scores(np.array([[2.0], [4.0], [6.0], [8.0]])), expected, atol=1e-6)


def test_the_price_of_the_margin_is_used():
    # With C below 1 / 8 both weights stay at C: the slope is C (6 - 2).
    machine = LinearSVM(2, c=0.01).fit(np.array([[2.0], [6.0]]), [0, 1])
    scores = machine.scores(np.array([[4.0], [5.0]]))
    assert scores[1, 1] - scores[0, 1] == pytest.approx(0.04)


def test_three_classes_win_where_they_are():
    x, labels = clouds()
    scores = LinearSVM(3).fit(x, labels).scores(CORNERS)
    assert scores.shape == (3, 3)
    np.testing.assert_array_equal(scores.argmax(axis=1), [0, 1, 2])


@pytest.mark.parametrize("present", [(0, 1), (1, 3), (0, 2, 3), (1, 2, 4)])
def test_a_class_that_training_lacks_is_never_chosen(present):
    x, labels = clouds()
    x, labels = x[labels < len(present)], labels[labels < len(present)]
    scores = LinearSVM(5).fit(x, np.take(present, labels)).scores(CORNERS)
    assert scores.shape == (3, 5)
    absent = sorted(set(range(5)) - set(present))
    assert np.isneginf(scores[:, absent]).all()
    assert np.isfinite(scores[:, present]).all()
    np.testing.assert_array_equal(scores.argmax(axis=1)[: len(present)], present)


def test_one_class_alone_wins_every_clip():
    scores = LinearSVM(3).fit(CORNERS, [1, 1, 1]).scores(np.zeros((5, 2)))
    np.testing.assert_array_equal(scores, np.tile([-np.inf, 0, -np.inf], (5, 1)))


def test_fitting_again_forgets_the_fold_before():
    x, labels = clouds()
    machine = LinearSVM(3).fit(x, labels).fit(x[labels > 0], labels[labels > 0])
    assert np.isneginf(machine.scores(x)[:, 0]).all()
    once = LinearSVM(3).fit(x[labels > 0], labels[labels > 0])
    np.testing.assert_array_equal(machine.scores(x), once.scores(x))


def test_names_of_classes_do_not_matter():
    x, labels = clouds()
    renamed = LinearSVM(3).fit(x, np.take([2, 0, 1], labels)).scores(CORNERS)
    np.testing.assert_array_equal(renamed.argmax(axis=1), [2, 0, 1])


def test_labels_may_come_in_any_kind_of_sequence():
    x, labels = clouds()
    listed = LinearSVM(3).fit(x, labels.tolist()).scores(x)
    np.testing.assert_array_equal(listed, LinearSVM(3).fit(x, labels).scores(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearSVM(1), "n_classes = 1"),
        (lambda: LinearSVM(3, c=0), "c = 0.*above 0"),
        (lambda: LinearSVM(3, c=float("nan")), "c = nan"),
        (lambda: LinearSVM(3).fit(CORNERS, [0, 1, 3]), r"labels \[3\] lie outside 0..2"),
        (lambda: LinearSVM(3).fit(CORNERS, [-1, 1, 1]), r"labels \[-1\] lie outside"),
        (lambda: LinearSVM(3).fit(CORNERS, [0, 1]), "3 rows for 2 labels"),
        (lambda: LinearSVM(3).fit(CORNERS[:0], []), "0 rows for 0 labels"),
        (lambda: LinearSVM(3).fit(np.full((3, 2), np.nan), [0, 1, 2]), "NaN"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
