"""Swaps subject by subject: by hand, with known effects, and with none; families, trends, peaks, power."""

import importlib.util
import itertools

import numpy as np
import pytest

from hsta_lib import ROOT
from hsta_lib.evaluation.comparisons import Comparison, compare, detectable, group_means, pair, peak, trend
from hsta_lib.evaluation.intervals import bootstrap_scores, score_interval
from hsta_lib.evaluation.metrics import scores

_SPEC = importlib.util.spec_from_file_location("benchmark", ROOT / "benchmarks" / "coverage.py")
benchmark = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(benchmark)

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
    found = compare(of_hits(hits), family, rng())
    return found.p[:, 0], found.p_adjusted[:, 0]


def test_five_subjects_better_by_one_of_two_to_the_five():
    p, adjusted = accuracy_p([[3] * 5, [4, 5, 6, 7, 8]], [pair(0, 1)])
    assert p == adjusted == pytest.approx(2 / 32)  # as they are, and all swapped


def test_difference_is_the_second_less_the_first():
    found = compare(of_hits([[3] * 5, [4, 5, 6, 7, 8]]), [pair(0, 1), pair(1, 0)], rng())
    np.testing.assert_allclose(found.estimate[:, 0], [3 / 11, -3 / 11])
    assert (found.low <= found.estimate).all()
    assert (found.high >= found.estimate).all()


def test_paired_test_by_enumeration():
    # Differences 3, -1, 2, 2 of four subjects: |sum| is 6 or more for 6 and 8, so for 4 of 16 sign patterns.
    differences = np.array([3, -1, 2, 2])
    p, _ = accuracy_p([[4] * 4, 4 + differences], [pair(0, 1)])
    patterns = np.array(list(itertools.product((1, -1), repeat=4)))
    assert np.mean(np.abs(patterns @ differences) >= 6) == 4 / 16
    assert p == pytest.approx(4 / 16)


def test_equal_settings_are_never_different():
    found = compare(of_hits([[3, 4, 5], [3, 4, 5], [9, 9, 9]]), [pair(0, 1), pair(0, 2)], rng())
    np.testing.assert_array_equal(found.p[0], 1)
    np.testing.assert_array_equal(found.p_adjusted[0], 1)
    np.testing.assert_array_equal([found.low[0], found.high[0]], 0)


def test_largest_of_a_family_by_hand():
    # Three subjects, 8 sign patterns. Differences 1, 1, 1 sum to 3 or -3 in 2 of them, else to 1 or -1; those
    # of 2, 2, -2 to twice that. Standardised, both are 3 or 1 over sqrt(3), but not 3 in the same patterns:
    # the larger of both is 3 in 4 of 8. As the data are, the first is 3 and the second 1.
    hits = [[4, 4, 4], [5, 5, 5], [6, 6, 2]]
    p, adjusted = accuracy_p(hits, [pair(0, 1), pair(0, 2)])
    np.testing.assert_allclose(p, [2 / 8, 1])
    np.testing.assert_allclose(adjusted, [4 / 8, 1])


def test_step_by_step_the_second_is_adjusted_for_the_rest_alone():
    # The first comparison is surer; with it set aside, two copies of the second count as one.
    differences = np.array([[1, 1, 1, 1, 1], [4, 2, 2, -1, -1]])
    hits = [[4] * 5, *(4 + differences)]
    p, adjusted = accuracy_p(hits, [pair(0, 1), pair(0, 2), pair(0, 2)])
    np.testing.assert_allclose(adjusted[1:], p[1:])
    patterns = np.array(list(itertools.product((1, -1), repeat=5)))
    sums = np.abs(patterns @ differences.T) / np.sqrt((differences**2).sum(axis=1))
    in_one_step = np.mean(sums.max(axis=1) >= sums[0, 1] - 1e-9)
    assert p[0] < p[1] < in_one_step


def test_adjusted_p_grow_with_the_family_and_keep_its_order():
    hits = np.random.default_rng(2).integers(11, size=(7, 11))
    alone = compare(of_hits(hits), [pair(0, 1)], rng())
    found = compare(of_hits(hits), [pair(0, other) for other in range(1, 7)], rng())
    np.testing.assert_allclose(found.p[0], alone.p[0])
    assert (found.p_adjusted >= found.p - 1e-12).all()
    order = np.argsort(found.p[:, 0])
    assert (np.diff(found.p_adjusted[order, 0]) >= 0).all()


def test_many_subjects_are_swapped_at_random_and_no_p_is_zero():
    hits = np.array([[2] * 23, [8] * 23])
    p, _ = accuracy_p(hits, [pair(0, 1)])
    found = compare(of_hits(hits), [pair(0, 1)], rng(), n_swaps=99)
    assert found.p[0, 0] == pytest.approx(1 / 100)
    assert p == pytest.approx(1 / 10_000)


def test_random_swaps_agree_with_all():
    # Eleven subjects exactly; two more that do not differ change nothing but the way.
    hits = np.random.default_rng(3).integers(11, size=(2, 11))
    exact, _ = accuracy_p(hits, [pair(0, 1)])
    drawn, _ = accuracy_p(np.pad(hits, ((0, 0), (0, 2))), [pair(0, 1)])
    assert 0.05 < exact < 0.95
    assert drawn == pytest.approx(exact, abs=0.02)  # 9,999 swaps know it to 0.005, and four of those


def test_the_order_of_subjects_does_not_matter():
    hits = np.random.default_rng(4).integers(11, size=(5, 11))
    family = [pair(0, 1), trend(range(5))]
    found, mixed = (compare(of_hits(h), family, rng()) for h in (hits, hits[:, ::-1]))
    for ours, theirs in zip(found, mixed, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_trend_is_the_least_squares_slope():
    hits = np.random.default_rng(5).integers(11, size=(5, 7))
    found = compare(of_hits(hits), [trend(range(5)), trend([4, 0, 2, 1])], rng())
    accuracy = scores(of_hits(hits).sum(axis=2))[:, 0, 0]
    assert found.estimate[0, 0] == pytest.approx(np.polyfit(range(5), accuracy, 1)[0])
    assert found.estimate[1, 0] == pytest.approx(np.polyfit(range(4), accuracy[[4, 0, 2, 1]], 1)[0])


def test_trend_of_two_is_their_pair():
    assert trend([3, 1]) == Comparison((3,), (1,), (1.0,))


def test_a_straight_rise_in_every_subject_is_a_trend_and_a_hump_is_none():
    subjects = np.array([0, 1, 0, 2, 1, 0, 2])
    p, _ = accuracy_p(np.arange(5)[:, None] + subjects, [trend(range(5))])
    assert p == pytest.approx(2 / 2**7)
    p, _ = accuracy_p(np.array([1, 3, 5, 3, 1])[:, None] + subjects, [trend(range(5))])
    assert p == 1


def test_a_group_of_one_against_two_by_enumeration():
    # Accuracy is linear: what a subject adds to the difference of the means changes its sign, in 8 patterns.
    hits = np.array([[3, 4, 2], [5, 5, 3], [6, 7, 8]])
    found = compare(of_hits(hits), [group_means([0], [1, 2])], rng())
    contributions = hits[1:].mean(axis=0) - hits[0]
    assert found.estimate[0, 0] == pytest.approx(contributions.sum() / 33)
    sums = np.array(list(itertools.product((1, -1), repeat=3))) @ contributions
    assert found.p[0, 0] == np.mean(np.abs(sums) >= abs(contributions.sum()) - 1e-9) == 2 / 8


def test_groups_are_means_of_their_settings_with_their_interval():
    matrices = of_hits(np.random.default_rng(9).integers(11, size=(7, 11)))
    found = compare(matrices, [group_means([4, 1, 0], [6, 2])], rng())
    weights = [[-1 / 3, -1 / 3, 1 / 2, 0, -1 / 3, 0, 1 / 2]]
    np.testing.assert_allclose(found.estimate, score_interval(matrices, weights).estimate)
    np.testing.assert_allclose(found.high, score_interval(matrices, weights).high)


def test_groups_of_one_are_a_pair():
    assert group_means([3], [1]) == pair(3, 1)


@pytest.mark.slow
def test_unequal_groups_have_no_more_false_alarms_than_said():
    population, random, n_draws = benchmark.make_population("CASME II", 1, network=0), rng(), 997
    family, alarms = [group_means(range(3, 11), range(3))], 0
    for _ in range(n_draws):
        matrices, _ = benchmark.draw(population, 24, 11, random)
        alarms += compare(matrices[:, None], family, random, n_swaps=399).p <= 0.05
    # Binomial s.d. of 0.7 points, and three of those.
    assert (np.abs(100 * alarms / n_draws - 5) < 2.1).all()


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


def test_what_is_detectable_is_found_as_often_as_said():
    sizes, shares = benchmark.found_if_detectable("MEGC2019", 68, n_draws=97)
    assert ((sizes > 0.02) & (sizes < 0.25)).all()
    # A power of 80 % in 97 data sets: binomial s.d. of 4 points, and three of those, with those of the size.
    np.testing.assert_allclose(shares, 80, atol=15)


def test_more_comparisons_make_less_detectable():
    matrices = of_hits(np.random.default_rng(7).integers(11, size=(5, 23)))
    few = detectable(matrices, [pair(0, 1)], rng())[0, 0]
    many = detectable(matrices, [pair(0, other) for other in (1, 2, 3, 4)], rng())[0, 0]
    assert 0 < few < many < np.inf
    assert detectable(matrices, [pair(0, 1)], rng(), power=0.9)[0, 0] > few
    np.testing.assert_array_equal(detectable(matrices[:, :, :5], [pair(0, 1)], rng())[0, 0], np.inf)


def test_too_few_subjects_show_no_difference_of_settings_that_agree():
    np.testing.assert_array_equal(detectable(of_hits([[3, 4], [3, 4]]), [pair(0, 1)], rng()), np.inf)


def test_what_is_detectable_does_not_depend_on_which_is_better():
    matrices = of_hits(np.random.default_rng(8).integers(11, size=(2, 11)))
    np.testing.assert_allclose(
        detectable(matrices, [pair(0, 1)], rng()), detectable(matrices[::-1], [pair(0, 1)], rng())
    )


def test_false_alarms_are_as_rare_as_said():
    contained, alarms = benchmark.differences("SAMM", 28, n_seeds=1, network=0, n_draws=397)
    # 5 % of 397 data sets: binomial s.d. of 1.1 points, and three and a half of those.
    assert (np.abs(alarms - 5) < 4).all()
    assert (contained > 90).all()


@pytest.mark.slow
def test_a_family_has_no_more_false_alarms_than_said():
    # Equal settings that share the first: an adjusted p of 0.05 or less anywhere is a false alarm.
    population = benchmark.make_population("CASME II", 1, network=0)
    random, family, n_draws = rng(), [pair(0, other) for other in range(1, 6)], 997
    alarms, uncorrected = 0, 0
    for _ in range(n_draws):
        matrices, _ = benchmark.draw(population, 24, 6, random)
        found = compare(matrices[:, None], family, random, n_swaps=399)
        alarms += found.p_adjusted.min(axis=0) <= 0.05
        uncorrected += found.p.min(axis=0) <= 0.05
    # Binomial s.d. of 0.7 points, and three of those.
    assert (100 * alarms / n_draws < 7.1).all()
    assert (100 * uncorrected / n_draws > 10).all()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: pair(3, 3), "setting 3 cannot be compared with itself"),
        (lambda: trend([1]), "needs two or more"),
        (lambda: trend([1, 2, 1]), "each once"),
        (lambda: group_means([0, 1], [2, 1]), "each once"),
        (lambda: group_means([], [1]), "both need settings"),
        (lambda: compare(of_hits([[1, 2]]), [], rng()), "family of 0"),
        (lambda: compare(of_hits([[1, 2], [2, 3]]), [pair(0, 2)], rng()), r"settings \[2\], not in 0..1"),
        (lambda: detectable(of_hits([[1, 2], [2, 3]]), [pair(-1, 0)], rng()), r"settings \[-1\]"),
        (lambda: compare(of_hits([[1], [2]]), [pair(0, 1)], rng()), "1 subject with clips"),
        (lambda: peak([1, 2, 3], [[1, 2]]), "column for each"),
    ],
)
def test_bad_input_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
