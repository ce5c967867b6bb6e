"""The bootstrap draws subjects and seeds, the same for every setting; its intervals by hand."""

import numpy as np
import pytest

from hsta_lib.metrics import scores
from hsta_lib.stats import bootstrap_scores, interval

RIGHT, WRONG = [[1, 0], [0, 1]], [[0, 1], [1, 0]]


def bootstrap(matrices, n_boot=101, seed=0):
    return bootstrap_scores(np.asarray(matrices), n_boot, np.random.default_rng(seed))


def random_matrices(*leading, n_classes=3, seed=0):
    return np.random.default_rng(seed).integers(5, size=(*leading, n_classes, n_classes))


def test_shape_is_draws_settings_metrics():
    assert bootstrap(random_matrices(5, 2, 7), n_boot=11).shape == (11, 5, 3)


def test_the_generator_decides_the_draws():
    matrices = random_matrices(2, 3, 7)
    np.testing.assert_array_equal(bootstrap(matrices), bootstrap(matrices))
    assert (bootstrap(matrices) != bootstrap(matrices, seed=1)).any()


def test_one_subject_gives_an_interval_without_width():
    matrices = random_matrices(2, 1, 1)
    low, high = interval(bootstrap(matrices))
    np.testing.assert_array_equal(low, high)
    np.testing.assert_array_equal(low, scores(matrices[:, 0, 0]))


def test_equal_settings_get_equal_draws():
    one = random_matrices(1, 2, 7)
    draws = bootstrap(np.concatenate([one, one]))
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])
    assert draws[:, 0].std(axis=0).min() > 0.01  # the draws themselves differ


def test_a_setting_draws_the_same_whatever_is_beside_it():
    matrices = random_matrices(5, 2, 7)
    np.testing.assert_array_equal(bootstrap(matrices)[:, [3]], bootstrap(matrices[[3]]))


def test_draws_are_scores_pooled_over_drawn_subjects():
    # One subject with 1 clip, right; one with 10, wrong: a draw has either twice, or both.
    subjects = [[[1, 0], [0, 0]], [[0, 10], [0, 0]]]
    accuracy = bootstrap([[subjects]])[:, 0, 0]
    np.testing.assert_allclose(np.unique(accuracy), [0, 1 / 11, 1], rtol=0, atol=1e-12)
    # Both with probability 1/2: a binomial s.d. of 0.05, and four of those.
    assert np.isclose(accuracy, 1 / 11).mean() == pytest.approx(0.5, abs=0.2)


def test_every_draw_has_as_many_subjects_as_there_are():
    # Subject i has 10^i clips: the digits of a draw's number of clips say how often each was drawn.
    clips = np.array([[[10**i, 0], [0, 0]] for i in range(5)])
    rng = np.random.default_rng(0)
    n_clips = []

    def spied(pooled):
        n_clips.append(int(pooled.sum()))
        return scores(pooled)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hsta_lib.stats.scores", spied)
        bootstrap_scores(clips[None, None], 53, rng)
    assert {sum(map(int, str(n))) for n in n_clips} == {5}
    assert len(set(n_clips)) > 20


def test_seeds_are_drawn_too():
    # One subject; one seed all right, the other all wrong: both seeds, one twice, or the other twice.
    accuracy = bootstrap([[[RIGHT], [WRONG]]], n_boot=401)[:, 0, 0]
    shares = [np.mean(accuracy == value) for value in (0, 0.5, 1)]
    assert sum(shares) == 1
    # Probabilities 1/4, 1/2, 1/4: binomial s.d. up to 0.025, and four of those.
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], rtol=0, atol=0.1)


def test_scores_are_averaged_over_seeds_and_not_pooled():
    # UF1 of the first seed is 1, of the second, which always says 0, (2/3 + 0)/2; pooled it would be 11/15.
    uf1 = bootstrap([[[RIGHT], [[[1, 0], [1, 0]]]]])[:, 0, 2]
    np.testing.assert_allclose(np.unique(uf1.round(12)), [1 / 3, 2 / 3, 1], rtol=0, atol=1e-11)


def test_a_single_seed_adds_no_spread():
    draws = bootstrap([[[RIGHT, RIGHT, RIGHT]]])
    np.testing.assert_array_equal(draws, 1)


def test_subjects_all_right_or_all_wrong_need_wider_intervals_than_clips_suggest():
    n_subjects, n_clips, n_boot = 23, 17, 997
    right = np.arange(n_subjects) < 13
    subjects = np.where(right[:, None, None], [[n_clips, 0], [0, 0]], [[0, n_clips], [0, 0]])
    by_subject = bootstrap(subjects[None, None], n_boot)[:, 0, 0]
    clips = np.repeat(right, n_clips)
    by_clip = np.random.default_rng(0).choice(clips, size=(n_boot, len(clips))).mean(axis=1)
    p = right.mean()
    # The s.d. of a proportion over n units; 997 draws know it to 2.2 %, and 10 % is more than four of that.
    assert by_subject.std() == pytest.approx(np.sqrt(p * (1 - p) / n_subjects), rel=0.1)
    width_subject, width_clip = (np.subtract(*interval(draws)[::-1]) for draws in (by_subject, by_clip))
    # sqrt(17) = 4.1 times as wide; scores of 23 subjects come in steps, so not to the percent.
    assert width_subject / width_clip == pytest.approx(np.sqrt(n_clips), rel=0.2)


def test_a_class_that_vanishes_from_a_draw_counts_zero():
    # Two subjects with one class each, both right: UAR is 1 with both, else 1/2.
    subjects = [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]
    uar = bootstrap([[subjects]])[:, 0, 1]
    assert set(uar) == {0.5, 1.0}


def test_interval_is_the_quantiles():
    low, high = interval(np.arange(1001))
    assert (low, high) == (pytest.approx(25), pytest.approx(975))
    low, high = interval(np.arange(101), level=0.5)
    assert (low, high) == (pytest.approx(25), pytest.approx(75))


def test_interval_keeps_trailing_axes():
    draws = np.stack([np.arange(101), 10 * np.arange(101)], axis=1)
    low, high = interval(draws[:, None], level=0.9)
    assert low.shape == high.shape == (1, 2)
    np.testing.assert_allclose([low[0], high[0]], [[5, 50], [95, 950]], rtol=0, atol=1e-9)
