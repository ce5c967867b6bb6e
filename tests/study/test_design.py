"""What a design can find is known before anything is trained, and more clips or seeds find more."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from hsta_lib.evaluation.comparisons import chances, pair
from hsta_lib.evaluation.metrics import scores
from hsta_lib.study import design


def dataset(n_clips, n_classes=2):
    """As many clips of each class, two of each subject."""
    labels = np.arange(n_clips) % n_classes
    tested = pd.DataFrame({"label": labels, "subject_id": np.arange(n_clips) // 2})
    return SimpleNamespace(tested=tested, classes=tuple("abcdefg"[:n_classes]))


def test_assumed_trainings_have_the_recall_and_the_likeness_that_are_said():
    counts = design.assumed(dataset(4000, 4))
    assert counts.shape == (40, 2000, 4, 4)
    assert (counts.sum(axis=(0, 1, 3)) == 40 * 1000).all()
    assert scores(counts.sum(axis=1))[:, 1].mean() == pytest.approx(0.5, abs=0.01)
    hits = np.diagonal(design.assumed(dataset(2000)), axis1=2, axis2=3).sum(axis=2)
    one_each = np.corrcoef(hits)  # of a subject two clips
    assert one_each[np.triu_indices(40, 1)].mean() == pytest.approx(0.5, abs=0.03)


def test_chances_by_hand():
    # Two classes of 200 clips, five seeds: the difference of two means varies by 2/5 of what trainings do.
    counts = design.assumed(dataset(400))
    found = chances(counts, [pair(0, 1)], [0.05], 5)[0, 0, 1]
    error = np.sqrt(2 / 5 * scores(counts.sum(axis=1))[:, 1].var(ddof=1))
    assert found == pytest.approx(norm.cdf(0.05 / error - norm.ppf(0.975)), abs=0.03)


def test_more_clips_and_seeds_find_more_and_more_comparisons_less():
    def least(n_clips, n_seeds, n_rows):
        study = SimpleNamespace(seeds=range(n_seeds))
        said = design.power(study, dataset(n_clips), n_rows).data
        return float(said.split("3 points in ")[1].split(" %")[0])

    usual = least(800, 5, 3)
    assert 5 < usual < 95
    assert least(3200, 5, 3) > usual
    assert least(800, 9, 3) > usual
    assert least(800, 5, 30) < usual


def test_a_design_without_another_row_says_so():
    said = design.power(SimpleNamespace(seeds=[0]), dataset(8), 1).data
    assert said.endswith("8 test clips of 4 subjects, 1 seed; no comparison.")
