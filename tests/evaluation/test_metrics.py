"""Scores by hand, against scikit-learn, and unchanged where they must not change; examples in docstrings."""

import doctest

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from hsta_lib import config
from hsta_lib.data import frames, table
from hsta_lib.evaluation import metrics
from hsta_lib.evaluation.metrics import METRICS, confusion, per_fold_means, scores
from hsta_lib.training import trials

# The same sums and quotients in another order: float64 rounding only.
EXACT = {"rtol": 0, "atol": 1e-12}


def random_labels(rng, n_classes):
    """Labels of a random number of clips; with few clips some classes are absent."""
    n_clips = rng.integers(1, 53)
    return rng.integers(n_classes, size=n_clips), rng.integers(n_classes, size=n_clips)


def score(y_true, y_pred, n_classes):
    return scores(confusion(y_true, y_pred, n_classes))


def test_scores_by_hand():
    # Hits 2, 3, 2 of references 3, 5, 3; predicted 3, 4, 4 times.
    acc, uar, uf1 = scores([[2, 1, 0], [0, 3, 2], [1, 0, 2]])
    assert acc == pytest.approx(7 / 11, abs=1e-12)
    assert uar == pytest.approx((2 / 3 + 3 / 5 + 2 / 3) / 3, abs=1e-12)
    assert uf1 == pytest.approx((4 / 6 + 6 / 9 + 4 / 7) / 3, abs=1e-12)


def test_a_class_that_is_predicted_but_never_occurs_counts_zero():
    # Class 0: recall 1/2, F1 2/3. Class 1 never occurs but is predicted. Class 2: neither.
    np.testing.assert_allclose(score([0, 0], [0, 1], 3), [1 / 2, 1 / 6, 2 / 9], **EXACT)


def test_perfect_predictions_that_lack_a_class_are_not_perfect():
    np.testing.assert_allclose(score([0, 1, 1], [0, 1, 1], 3), [1, 2 / 3, 2 / 3], **EXACT)
    np.testing.assert_allclose(score([0, 1, 2], [0, 1, 2], 3), [1, 1, 1], **EXACT)


@pytest.mark.parametrize("n_classes", [2, 3, 4, 7])
def test_scores_equal_scikit_learn(n_classes):
    rng = np.random.default_rng(n_classes)
    options = {"labels": range(n_classes), "average": "macro", "zero_division": 0}
    assert METRICS == ("acc", "uar", "uf1")
    for _ in range(29):
        y_true, y_pred = random_labels(rng, n_classes)
        expected = [
            accuracy_score(y_true, y_pred),
            recall_score(y_true, y_pred, **options),
            f1_score(y_true, y_pred, **options),
        ]
        np.testing.assert_allclose(score(y_true, y_pred, n_classes), expected, **EXACT)
        sklearn_matrix = confusion_matrix(y_true, y_pred, labels=range(n_classes))
        np.testing.assert_array_equal(confusion(y_true, y_pred, n_classes), sklearn_matrix)


def test_scores_keep_leading_axes():
    matrices = np.random.default_rng(3).integers(5, size=(2, 5, 3, 3))
    together = scores(matrices)
    assert together.shape == (2, 5, 3)
    for i, j in np.ndindex(2, 5):
        np.testing.assert_allclose(together[i, j], scores(matrices[i, j]), **EXACT)


def test_scores_do_not_change_their_input():
    matrix = np.array([[2.0, 1.0], [0.0, 3.0]])
    scores(matrix)
    assert matrix.tolist() == [[2, 1], [0, 3]]


@pytest.mark.parametrize(
    ("chosen", "means"),
    [
        # First fold lacks class 2: acc 2/3, uar (1/2 + 1)/2, uf1 (2/3 + 2/3)/2.
        # Second fold has class 2 alone: acc 1/2, uar 1/2, uf1 2/3 although class 0 is predicted.
        ({}, [7 / 12, 5 / 8, 2 / 3]),
        # Both means are over all three classes: uar (1.5/3 + 0.5/3)/2, uf1 (4/9 + 2/9)/2.
        ({"absent": "zero"}, [7 / 12, 1 / 3, 1 / 3]),
    ],
)
def test_per_fold_means_by_hand_where_folds_lack_classes(chosen, means):
    folds = [confusion([0, 0, 1], [0, 1, 1], 3), confusion([2, 2], [2, 0], 3)]
    np.testing.assert_allclose(per_fold_means(folds, **chosen), means, **EXACT)
    # Pooled, UF1 is (1/2 + 2/3 + 2/3)/3.
    assert scores(np.sum(folds, axis=0))[2] == pytest.approx(11 / 18, abs=1e-12)


@pytest.mark.parametrize("absent", ["skipped", "zero"])
def test_per_fold_means_keep_leading_axes(absent):
    matrices = np.random.default_rng(5).integers(3, size=(2, 5, 7, 3, 3))
    matrices[:, :, ::2, 1] = 0  # folds that lack a class
    together = per_fold_means(matrices, absent)
    assert together.shape == (2, 5, 3)
    for i, j in np.ndindex(2, 5):
        np.testing.assert_allclose(together[i, j], per_fold_means(matrices[i, j], absent), **EXACT)


@pytest.mark.parametrize("absent", ["skipped", "zero"])
def test_a_fold_without_clips_does_not_count(absent):
    matrix = confusion([0, 0, 1], [0, 1, 1], 3)
    empty = np.zeros((3, 3), dtype=int)
    expected = per_fold_means([matrix], absent)
    np.testing.assert_allclose(per_fold_means([empty, matrix, empty], absent), expected, **EXACT)
    # One resample has an empty fold, the other has none.
    both = per_fold_means([[matrix, empty], [matrix, matrix]], absent)
    np.testing.assert_allclose(both, [expected, expected], **EXACT)


def test_where_all_folds_have_all_classes_absent_ones_do_not_matter():
    matrices = np.random.default_rng(6).integers(1, 5, size=(5, 3, 3))
    np.testing.assert_allclose(per_fold_means(matrices, "zero"), per_fold_means(matrices), **EXACT)
    np.testing.assert_allclose(per_fold_means(matrices), scores(matrices).mean(axis=0), **EXACT)


def test_another_word_for_absent_classes_is_refused():
    with pytest.raises(ValueError, match="absent = 'skip' must be 'skipped' or 'zero'"):
        per_fold_means([np.eye(2)], absent="skip")


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 1], [0], "equal length"),
        ([], [], "equal length"),
        ([[0, 1]], [[0, 1]], "equal length"),
        ([0, 3], [0, 1], r"y_true must hold integers in 0\.\.2"),
        ([0, 1], [0, 3], r"y_pred must hold integers in 0\.\.2"),
        ([0, -1], [0, 1], "y_true"),
        ([0, 1], [0, -1], "y_pred"),
        ([0.0, 1.0], [0, 1], "y_true"),
        ([0, 1], ["0", "1"], "y_pred"),
    ],
)
def test_bad_labels_are_refused(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        confusion(y_true, y_pred, 3)


@pytest.mark.parametrize("module", [metrics, trials, frames, table, config], ids=lambda m: m.__name__)
def test_examples_in_docstrings_hold(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
