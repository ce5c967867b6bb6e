"""What a design can find is known before anything is trained, and more clips or seeds find more."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from hsta_lib.evaluation.comparisons import chances, group_means, pair
from hsta_lib.evaluation.metrics import scores
from hsta_lib.study import design


def dataset(n_clips, n_classes=2):
    """As many clips of each class, two of each subject."""
    labels = np.arange(n_clips) % n_classes
    tested = pd.DataFrame({"label": labels, "subject_id": np.arange(n_clips) // 2})
    return SimpleNamespace(tested=tested, classes=tuple("abcdefg"[:n_classes]))


def test_assumed_trainings_have_the_recall_and_the_likeness_that_are_said():
    counts = design.assumed(dataset(2000, 4))
    assert counts.shape == (100, 1000, 4, 4)
    assert (counts.sum(axis=(0, 1, 3)) == 100 * 500).all()
    uar = scores(counts.sum(axis=1))[:, 1]
    assert uar.mean() == pytest.approx(0.5, abs=0.01)
    assert uar.std(ddof=1) == pytest.approx(np.hypot(0.027, np.sqrt(0.25 * 0.5 / 2000)), rel=0.05)
    hits = np.diagonal(design.assumed(dataset(2000)), axis1=2, axis2=3).sum(axis=2)
    one_each = np.corrcoef(hits)  # of a subject two clips
    assert one_each[np.triu_indices(100, 1)].mean() == pytest.approx(0.5, abs=0.03)


def test_chances_by_hand():
    # Two classes of 200 clips, five seeds: the difference of two means varies by 2/5 of what trainings do. By
    # how much is known from two settings' seeds with 4 degrees of freedom, from twenty settings' with 76.
    counts = design.assumed(dataset(400))
    error = np.sqrt(2 / 5 * scores(counts.sum(axis=1))[:, 1].var(ddof=1))
    for family, degrees in (([pair(0, 1)], 4), ([group_means([0, *range(2, 11)], [1, *range(11, 20)])], 76)):
        times = np.sqrt(1 if degrees == 4 else 10)  # means of ten
        found = chances(counts, family, [0.05 / times], 5)[0, 0, 1]
        expected = student.cdf(0.05 / error - student.ppf(0.975, degrees), degrees)
        assert found == pytest.approx(expected, abs=0.03)
    # With one, where a comparison is about the networks that were trained, by what they do with clips: one
    # fourth of each class is as if drawn by chance, 0.5 (1 - 0.5) of it right.
    of_clips = np.sqrt(2 * 0.25 * 0.5 / 400)
    assert chances(counts, [pair(0, 1)], [0.05], 1)[0, 0, 1] == pytest.approx(
        norm.cdf(0.05 / of_clips - norm.ppf(0.975)), abs=0.06
    )


def test_many_clips_do_not_find_what_training_again_changes_as_much():
    # Two settings, five seeds: means differ by a standard error of 2.7 points sqrt(2 / 5), and a little.
    found = chances(design.assumed(dataset(2000)), [pair(0, 1)], [0.05], 5)[0, 0, 1]
    expected = student.cdf(0.05 / (0.028 * np.sqrt(2 / 5)) - student.ppf(0.975, 4), 4)
    assert found == pytest.approx(expected, abs=0.05)


def test_more_clips_and_seeds_find_more_and_more_comparisons_less():
    def least(n_clips, n_seeds, n_rows):
        study = SimpleNamespace(seeds=range(n_seeds))
        said = design.power(study, dataset(n_clips), n_rows).data
        return float(said.split("3 points: ")[1].split(" %")[0])

    usual = least(800, 5, 3)
    assert 5 < usual < 95
    assert least(3200, 5, 3) > usual
    assert least(800, 9, 3) > usual
    assert least(800, 5, 30) < usual


def test_a_design_without_another_row_says_so():
    said = design.power(SimpleNamespace(seeds=[0]), dataset(8), 1).data
    assert said.endswith("8 test clips of 4 subjects, 1 seed; no comparison.")
