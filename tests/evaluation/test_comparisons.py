"""Comparisons by hand, with known effects, and with none; families, groups, peaks, power."""

import importlib.util

import numpy as np
import pytest
from scipy.stats import t as student
from second import Clips, difference

from hsta_lib import ROOT
from hsta_lib.evaluation.comparisons import compare, detectable, group_means, pair, peak
from hsta_lib.evaluation.intervals import bootstrap_scores, score_interval
from hsta_lib.evaluation.metrics import confusion, scores

_SPEC = importlib.util.spec_from_file_location("benchmark", ROOT / "benchmarks" / "coverage.py")
benchmark = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(benchmark)

DIFFERENCES = ("difference", "found", "detectable")
N_CLIPS = 10  # of class 0 for each subject in `of_hits`, beside one of class 1 that is always right


def of_hits(hits):
    """Matrices of equal subjects from their hits, shape (n_settings, n_subjects); accuracy is their mean."""
    hits = np.asarray(hits)
    matrices = np.zeros((len(hits), 1, hits.shape[1], 2, 2))
    matrices[:, 0, :, 0, 0], matrices[:, 0, :, 0, 1], matrices[..., 1, 1] = hits, N_CLIPS - hits, 1
    return matrices


def rng():
    return np.random.default_rng(0)


def accuracy_p(hits, family):
    found = compare(of_hits(hits), family)
    return found.p[:, 0], found.p_adjusted[:, 0]


def with_seeds(n_settings, n_seeds, n_subjects=11, seed=0, spread=3, gain=0):
    """Settings that read the same subjects, with chance between seeds; shape as `compare` takes them."""
    random = np.random.default_rng(seed)
    hits = random.integers(3, 8, size=n_subjects) + random.integers(
        -spread, spread, size=(n_settings, n_seeds, n_subjects)
    )
    hits += gain * np.arange(n_settings)[:, None, None]
    return np.stack([of_hits(np.clip(of_setting, 0, 10))[:, 0] for of_setting in hits])


@pytest.mark.parametrize("n_seeds", [1, 3, 5])
def test_comparisons_are_those_of_a_second_implementation(n_seeds):
    random, n_clips, family = np.random.default_rng(n_seeds), 60, [(0, 1), (2, 0), (3, 1)]
    y_true, subjects = np.arange(n_clips) % 3, np.sort(random.integers(8, size=n_clips))
    spread = np.array([1, 1, 2, 4])[:, None, None]  # of trainings, by setting
    wrong = random.random((4, n_seeds, n_clips)) < 0.4 + 0.05 * spread * random.normal(size=(4, n_seeds, 1))
    y_pred = (y_true + wrong * random.integers(1, 3, size=wrong.shape)) % 3
    matrices = [[confusion(y_true, said, 3, by=[subjects]) for said in setting] for setting in y_pred]
    found = np.array(compare(matrices, [pair(*one) for one in family]))[[0, 1, 2, 4]]
    clips = [Clips(y_true, setting, subjects.astype(str), 3) for setting in y_pred]
    expected = [difference(clips, one, len(family))[:4] for one in family]
    np.testing.assert_allclose(np.moveaxis(found, 1, 0), expected, atol=1e-9)


def test_a_pair_is_a_paired_t_test_by_hand():
    # Accuracy is linear: 1, 2, 3, 4 and 5 hits more of eleven clips. Imagined clips change little.
    p, adjusted = accuracy_p([[3] * 5, [4, 5, 6, 7, 8]], [pair(0, 1)])
    t = 3 / (np.sqrt(2.5 / 5))
    assert p[0] == pytest.approx(2 * student.sf(t, 4), rel=0.2)
    assert p[0] <= adjusted[0] <= p[0] + 1e-3


def test_difference_is_the_second_less_the_first():
    found = compare(of_hits([[3] * 5, [4, 5, 6, 7, 8]]), [pair(0, 1), pair(1, 0)])
    np.testing.assert_allclose(found.estimate[:, 0], [3 / 11, -3 / 11])
    assert (found.low <= found.estimate).all()
    assert (found.high >= found.estimate).all()


def test_equal_settings_are_never_different():
    found = compare(of_hits([[3, 4, 5], [3, 4, 5], [9, 9, 9]]), [pair(0, 1), pair(0, 2)])
    np.testing.assert_array_equal(found.p[0], 1)
    np.testing.assert_array_equal(found.p_adjusted[0], 1)
    np.testing.assert_array_equal([found.low[0], found.high[0]], 0)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("n_seeds", [1, 2, 3, 5])
def test_p_and_interval_say_the_same(n_seeds, alpha):
    said = []
    for seed in range(20):
        matrices = with_seeds(5, n_seeds, seed=seed, spread=1 + seed % 4, gain=seed % 2)
        found = compare(matrices, [*(pair(0, i) for i in range(1, 5)), group_means([0, 1], [3, 4])], alpha)
        off_zero = (found.low > 0) | (found.high < 0)
        np.testing.assert_array_equal(found.p_adjusted < alpha, off_zero)
        said.append(off_zero)
    assert 0 < np.mean(said) < 1


def test_a_family_counts_what_it_holds_once():
    matrices = with_seeds(7, 1)
    alone = compare(matrices, [pair(0, 1)])
    copies = compare(matrices, [pair(0, 1), pair(1, 0), group_means([0], [1])])
    np.testing.assert_allclose(copies.p_adjusted, np.tile(alone.p, (3, 1)))
    strangers = compare(matrices, [pair(0, 1), pair(2, 3), group_means([0, 1], [3, 4])])
    np.testing.assert_allclose(strangers.p_adjusted[0], np.minimum(3 * alone.p[0], 1))
    assert (strangers.high[0] > alone.high[0]).all()


@pytest.mark.parametrize("n_subjects", [5, 7])
def test_few_subjects_and_many_settings_are_rarely_called_different(n_subjects):
    random, wrong = np.random.default_rng(1), 0
    family = [pair(i, j) for i in range(6) for j in range(i)]
    for _ in range(199):
        found = compare(of_hits(random.integers(2, 9, size=(6, n_subjects))), family)
        wrong += (found.p_adjusted[:, 0] < 0.05).any()
    # 5 % of 199 families: 10, binomial s.d. of 3, and three of those.
    assert wrong <= 19


def test_settings_share_how_seeds_scatter():
    # Of two settings the residual has 2 degrees of freedom, of eight 14: the same scatter is surer.
    few, many = with_seeds(2, 3, spread=4), with_seeds(8, 3, spread=4)
    many[:2] = few
    for matrices in (few, many):
        matrices[:, 1:, :, 1] = matrices[:, :1, :, 1]
    widths = [np.ptp([c.low, c.high], axis=0) for c in (compare(m, [pair(0, 1)]) for m in (few, many))]
    assert (widths[1][0, 0] < widths[0][0, 0]).all()


def test_a_setting_whose_seeds_scatter_more_counts_with_its_own():
    calm = with_seeds(6, 5, spread=1)
    wild = calm.copy()
    hits = np.array([1, 9, 2, 8, 5])
    wild[1, :, :, 0, 0], wild[1, :, :, 0, 1] = hits[:, None], 10 - hits[:, None]
    found = [compare(matrices, [pair(0, 1), pair(0, 2)]) for matrices in (calm, wild)]
    widths = [c.high - c.low for c in found]
    assert widths[1][0, 0] > 1.5 * widths[1][1, 0]
    # By hand: the seeds' own variance of setting 1, (3.54 / 11)^2 / 5, is nearly all there is.
    own = np.sqrt(hits.var(ddof=1) / 11**2 / 5)
    assert widths[1][0, 0] > 1.5 * 2 * own


def test_a_setting_whose_seeds_scatter_more_is_rarely_called_different_with_five():
    random, wrong = np.random.default_rng(8), 0
    family = [pair(0, other) for other in range(1, 6)]
    spread = np.array([0.08, *[0.005] * 5])[:, None, None]
    for _ in range(150):
        share = 0.55 + spread * random.normal(size=(6, 5, 1)) + 0.05 * random.normal(size=20)
        hits = random.binomial(N_CLIPS, np.clip(share, 0, 1))
        matrices = np.stack([of_hits(of_setting)[:, 0] for of_setting in hits])
        wrong += (compare(matrices, family).p_adjusted[:, 0] < 0.05).any()
    # 5 % of 150 families: 7.5, binomial s.d. of 2.7, and three of those.
    assert wrong <= 15


def test_training_again_counts_from_three_seeds_on():
    hits = np.array([[[4, 6]], [[5, 7]]]) + np.zeros((2, 11, 1), int) + np.arange(11)[:, None] % 3
    matrices = np.stack([of_hits(of_setting.T)[:, 0] for of_setting in hits])
    two = compare(matrices, [pair(0, 1)])
    assert two.p[0, 0] < 1e-6  # every subject agrees: the networks differ
    again = np.concatenate([matrices, matrices[:, :1]], axis=1)
    assert compare(again, [pair(0, 1)]).p[0, 0] > 0.05  # but seeds differ by more than settings


def test_adjusted_p_grow_with_the_family_and_keep_its_order():
    hits = np.random.default_rng(2).integers(11, size=(7, 11))
    alone = compare(of_hits(hits), [pair(0, 1)])
    found = compare(of_hits(hits), [pair(0, other) for other in range(1, 7)])
    np.testing.assert_allclose(found.p[0], alone.p[0])
    assert (found.p_adjusted >= found.p).all()
    order = np.argsort(found.p[:, 0])
    assert (np.diff(found.p_adjusted[order, 0]) >= 0).all()


def test_the_order_of_subjects_does_not_matter():
    hits = np.random.default_rng(4).integers(11, size=(5, 11))
    family = [pair(0, 1), group_means([0, 1], [3, 4])]
    found, mixed = (compare(of_hits(h), family) for h in (hits, hits[:, ::-1]))
    for ours, theirs in zip(found, mixed, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_groups_are_means_of_their_settings_with_their_interval():
    matrices = of_hits(np.random.default_rng(9).integers(11, size=(7, 11)))
    found = compare(matrices, [group_means([4, 1, 0], [6, 2])])
    weights = [[-1 / 3, -1 / 3, 1 / 2, 0, -1 / 3, 0, 1 / 2]]
    np.testing.assert_allclose(found.estimate, score_interval(matrices, weights).estimate)
    np.testing.assert_allclose(found.high, score_interval(matrices, weights).high, atol=1e-4)


def test_peak_of_a_known_curve():
    hits = np.array([2, 4, 8, 5, 3])[:, None] + np.random.default_rng(6).integers(-1, 2, size=(5, 23))
    matrices = of_hits(hits)
    draws = bootstrap_scores(matrices, 199, rng())[:, :, 0]
    found = peak(scores(matrices.sum(axis=2))[:, 0, 0], draws)
    assert found.at == 2
    np.testing.assert_array_equal(found.shares, [0, 0, 1, 0, 0])


def test_peaks_of_draws_by_hand():
    draws = [[3, 1, 2], [1, 3, 2], [1, 2, 2], [0, 0, 1]]
    found = peak([1, 2, 1.5], draws)
    np.testing.assert_allclose(found.shares, [1 / 4, 3 / 8, 3 / 8])
    assert found.at == 1


def test_what_is_detectable_grows_neither_with_the_difference_nor_with_the_best():
    matrices = with_seeds(4, 5)
    better = matrices.copy()
    better[1, :, :, 1], better[1, :, :, 0] = [0, 1], [10, 0]  # all right, by far the best, seeds alike
    better[1] = better[1, :1]
    family = [pair(0, other) for other in (1, 2, 3)]
    assert (compare(better, family).estimate[0] > 0.2).all()
    apart, alike = (detectable(m, family) for m in (better[[0, 2, 3]], matrices[[0, 2, 3]]))
    np.testing.assert_array_equal(apart, alike)
    shifted = matrices.copy()
    shifted[2, :, :, 0] = np.roll(shifted[2, :, :, 0], 1, axis=-1)  # its hits and its misses exchanged
    both = [detectable(m, family)[:, 0] for m in (matrices, shifted)]
    np.testing.assert_allclose(*both)


def test_what_is_detectable_by_hand():
    # One setting, five seeds without chance among subjects: accuracies 4, 5, 6, 7 and 8 of eleven, and one.
    matrices = np.stack([of_hits([[k] * 11])[0, 0] for k in (4, 5, 6, 7, 8)])[None]
    found = detectable(matrices, [pair(0, 1)])[0, 0]
    variance = 2 * 2.5 / 11**2 / 5  # of the difference of two means of five
    times = student.ppf(0.975, 4) + student.ppf(0.8, 4)
    assert found == pytest.approx(times * np.sqrt(variance), rel=1e-2)


def test_more_comparisons_make_less_detectable():
    matrices = with_seeds(5, 3)
    few = detectable(matrices, [pair(0, 1)])[0, 0]
    many = detectable(matrices, [pair(0, other) for other in (1, 2, 3, 4)])[0, 0]
    assert 0 < few < many < np.inf
    assert detectable(matrices, [pair(0, 1)], power=0.9)[0, 0] > few
    half = detectable(matrices, [group_means([0, 1], [2, 3])])[0, 0]
    assert half == pytest.approx(few / np.sqrt(2))


def test_what_one_seed_cannot_tell_is_unknown_and_what_is_impossible_infinite():
    np.testing.assert_array_equal(detectable(with_seeds(2, 1), [pair(0, 1)]), np.nan)
    wild = with_seeds(1, 3, n_subjects=2, seed=3)
    wild[0, 1, :, 0] = wild[0, 1, :, 0, ::-1]
    np.testing.assert_array_equal(detectable(wild, [pair(0, 1)], alpha=1e-3), np.inf)


def test_equal_settings_are_rarely_called_different_and_better_ones_as_often_as_said():
    same = benchmark.comparisons("SAMM", 28, 5, skill=2.5, n_draws=199, n_settings=5)
    # 5 % of 199 studies: binomial s.d. of 1.5 points, and two and a half of those.
    assert (same["wrong"] <= 9).all()
    gains = [benchmark.comparisons("MEGC2019", 68, 5, 3.5, 49, gain, n_settings=5) for gain in (0.6, 1.2)]
    for i in range(3):
        difference, share, wanted = ([one[name][i] for one in gains] for name in DIFFERENCES)
        # Found four times in five of 49 studies: binomial s.d. of 6 points, and three of those.
        assert np.interp(np.mean(wanted), difference, share) == pytest.approx(80, abs=18)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: pair(3, 3), "setting 3 cannot be compared with itself"),
        (lambda: group_means([0, 1], [2, 1]), "each once"),
        (lambda: group_means([], [1]), "both need settings"),
        (lambda: compare(of_hits([[1, 2]]), []), "family of 0"),
        (lambda: compare(of_hits([[1, 2], [2, 3]]), [pair(0, 2)]), r"settings \[2\], not in 0..1"),
        (lambda: detectable(of_hits([[1, 2], [2, 3]]), [pair(-1, 0)]), r"settings \[-1\]"),
        (lambda: compare(of_hits([[1], [2]]), [pair(0, 1)]), "1 subject with clips"),
        (lambda: peak([1, 2, 3], [[1, 2]]), "column for each"),
    ],
)
def test_bad_input_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
