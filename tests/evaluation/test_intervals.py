"""The bootstrap draws subjects and seeds, the same for every setting; intervals by hand and by simulation."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from hsta_lib import ROOT
from hsta_lib.evaluation.intervals import (
    RULE,
    bootstrap_scores,
    crossed,
    effective_subjects,
    interval,
    jackknife,
    score_interval,
    vanishing,
    without_largest,
)
from hsta_lib.evaluation.metrics import scores
from hsta_lib.paper_check.findings import COUNTS

_SPEC = importlib.util.spec_from_file_location("benchmark", ROOT / "benchmarks" / "coverage.py")
benchmark = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(benchmark)

RIGHT, WRONG = [[1, 0], [0, 1]], [[0, 1], [1, 0]]


def bootstrap(matrices, n_boot=101, seed=0):
    return bootstrap_scores(np.asarray(matrices), n_boot, np.random.default_rng(seed))


def random_matrices(*leading, n_classes=3, seed=0):
    return np.random.default_rng(seed).integers(5, size=(*leading, n_classes, n_classes))


def test_the_generator_decides_the_draws():
    matrices = random_matrices(2, 3, 7)
    np.testing.assert_array_equal(bootstrap(matrices), bootstrap(matrices))
    assert (bootstrap(matrices) != bootstrap(matrices, seed=1)).any()


def test_one_subject_gives_an_interval_without_width():
    matrices = random_matrices(2, 1, 1)
    low, high = interval(bootstrap(matrices))
    np.testing.assert_array_equal(low, high)
    np.testing.assert_array_equal(low, scores(matrices[:, 0, 0]))


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
        patch.setattr("hsta_lib.evaluation.intervals.scores", spied)
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


def same_clips(n_settings, n_seeds, n_subjects, n_classes=3, seed=0):
    """Random predictions of the same clips by all settings and seeds."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 7, size=(n_subjects, n_classes))
    chance = np.full(n_classes, 1 / n_classes)
    return rng.multinomial(counts, chance, size=(n_settings, n_seeds, *counts.shape))


def by_hand(variance, degrees, score):
    """Ends of a score's interval: |value - score| is t standard errors, the error taken at the value."""
    k = student.ppf(0.975, degrees) ** 2 * variance / (score * (1 - score))
    roots = np.roots([1 + k, -2 * score - k, score**2])
    return sorted(roots)


def t_variance(shares, n_subjects):
    return shares.var(ddof=1) / n_subjects


def test_the_interval_of_a_mean_is_wilson_s_with_student_s_t():
    # Seven equal subjects of 97 clips, one of them of class 1. Accuracy is the mean of the subjects' own.
    right = np.array([10, 20, 30, 50, 60, 70, 90])
    subjects = np.array([[[k, 96 - k], [0, 1]] for k in right])
    own = (right + 1) / 97
    found = jackknife([left_out_of(subjects)], np.full(7, 97), possible=(0, 1))
    assert found.estimate[0, 0] == pytest.approx(own.mean())
    expected = by_hand(t_variance(own, 7), 6, own.mean())
    np.testing.assert_allclose([found.low[0, 0], found.high[0, 0]], expected)
    plain = jackknife([left_out_of(subjects)], np.full(7, 97))
    t = 2.446912  # of 6 degrees of freedom, from a table
    assert plain.high[0, 0] == pytest.approx(own.mean() + t * own.std(ddof=1) / np.sqrt(7), abs=1e-6)


def left_out_of(subjects):
    """Of one seed or of several, shape ([n_seeds], n_subjects, 2, 2)."""
    seeds = subjects.reshape(-1, *subjects.shape[-3:])
    pooled = seeds.sum(axis=1)
    return scores(pooled)[None], scores(pooled[:, None] - seeds)[None]


def test_the_jackknife_of_unequal_subjects_by_hand():
    # 3 of 4 right, 2 of 2, 4 of 5; without each in turn 6 of 7, 7 of 9, 5 of 6.
    subjects = np.array([[[2, 1], [0, 1]], [[1, 0], [0, 1]], [[3, 1], [0, 1]]])
    found = jackknife([left_out_of(subjects)], [4, 2, 5], possible=(0, 1))
    left_out = np.array([6 / 7, 7 / 9, 5 / 6])
    variance = 2 / 3 * ((left_out - left_out.mean()) ** 2).sum()
    assert found.estimate[0, 0] == pytest.approx(9 / 11)
    expected = by_hand(variance, 11**2 / (4**2 + 2**2 + 5**2) - 1, 9 / 11)
    np.testing.assert_allclose([found.low[0, 0], found.high[0, 0]], expected)


def test_imagined_clips_by_hand():
    # All right: 3 clips of class 0, 2 of class 1. Imagined: a subject with half a hit of each. Accuracy is
    # 6 of 7, and without each in turn 4 of 5 (the two real ones with 1 + 1), 5 of 6, 5.5 of 6, 5.5 of 6.
    subjects = np.array([[[1, 0], [0, 1]], [[2, 0], [0, 1]]])
    found = score_interval(subjects[None, None])
    left_out = np.array([4 / 5, 3 / 4, 5.5 / 6, 5.5 / 6])
    variance = 3 / 4 * ((left_out - left_out.mean()) ** 2).sum()
    spread = variance / (6 / 7 * 1 / 7)
    t = student.ppf(0.975, 1)  # two subjects count as 25 / 13, and at least as two
    assert found.high[0, 0] == 1
    assert found.low[0, 0] == pytest.approx(1 / (1 + t**2 * spread))


def two_way(n_seeds, n_subjects=7, n_clips=97):
    """Equal subjects whose accuracy is a mean over a two-way table of shares."""
    noise = np.random.default_rng(0).integers(20, size=(n_seeds, n_subjects))
    right = 9 * np.arange(n_subjects) + 8 * np.arange(n_seeds)[:, None] + noise
    matrices = np.zeros((1, n_seeds, n_subjects, 2, 2))
    matrices[0, :, :, 0, 0], matrices[0, :, :, 0, 1], matrices[..., 1, 1] = right, n_clips - right, 1
    return matrices, (right + 1) / (n_clips + 1)


def test_subjects_and_seeds_add_and_what_both_contain_is_counted_once():
    n_subjects, n_seeds = 7, 3
    matrices, shares = two_way(n_seeds)
    rest = shares - shares.mean(axis=0) - shares.mean(axis=1, keepdims=True) + shares.mean()
    of_subjects = t_variance(shares.mean(axis=0), n_subjects)
    of_seeds = t_variance(shares.mean(axis=1), n_seeds)
    both = (rest**2).sum() / ((n_seeds - 1) * (n_subjects - 1)) / (n_seeds * n_subjects)
    assert 0 < both < min(of_subjects, of_seeds)
    total = of_subjects + of_seeds - both
    parts = of_subjects**2 / 6 + of_seeds**2 / 2 + both**2 / 12
    found = jackknife([left_out_of(matrices[0])], np.ones(7), possible=(0, 1))
    expected = by_hand(total, total**2 / parts, shares.mean())
    np.testing.assert_allclose([found.low[0, 0], found.high[0, 0]], expected)


def test_two_seeds_say_nothing_about_training_again():
    matrices, shares = two_way(2)
    found = jackknife([left_out_of(matrices[0])], np.ones(7), possible=(0, 1))
    expected = by_hand(t_variance(shares.mean(axis=0), 7), 6, shares.mean())
    np.testing.assert_allclose([found.low[0, 0], found.high[0, 0]], expected)


def test_no_variance_is_less_than_one_of_its_parts():
    total, degrees = crossed(*np.array([[4.0, 1, 0], [1, 4, 0], [9, 9, 0]]), effective=11, degrees=2)
    np.testing.assert_allclose(total, [4, 4, 0])
    assert degrees[2] == 10


def test_equal_seeds_add_nothing():
    one = same_clips(2, 1, 11)
    single, triple = score_interval(one), score_interval(np.repeat(one, 3, axis=1))
    np.testing.assert_allclose(triple.low, single.low)
    np.testing.assert_allclose(triple.high, single.high)


def test_contrasts_are_of_the_same_clips():
    matrices = same_clips(3, 2, 11)
    found, alone = score_interval(matrices, [[-1, 1, 0], [0, 0, 1]]), score_interval(matrices)
    np.testing.assert_allclose(found.estimate[0], alone.estimate[1] - alone.estimate[0])
    np.testing.assert_allclose(found.high[1], alone.high[2])
    nothing = score_interval(matrices[[0, 0]], [[-1, 1]])
    np.testing.assert_array_equal([nothing.low, nothing.high], 0)


def test_the_order_of_subjects_and_seeds_does_not_matter():
    matrices = same_clips(2, 3, 13)
    order = np.random.default_rng(1).permutation(13)
    mixed = matrices[:, [2, 0, 1]][:, :, order]
    for ours, theirs in zip(score_interval(matrices), score_interval(mixed), strict=True):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_allclose(without_largest(matrices), without_largest(mixed))
    np.testing.assert_allclose(vanishing(matrices), vanishing(mixed))


def test_subjects_without_clips_are_passed_over():
    matrices = same_clips(2, 3, 7)
    more = np.insert(matrices, [0, 4], 0, axis=2)
    for ours, theirs in zip(score_interval(matrices), score_interval(more), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_leaves_what_is_possible_and_no_score_is_sure():
    subjects = np.array([RIGHT] * 4 + [WRONG])
    found = score_interval(subjects[None, None])
    assert ((found.low > 0) & (found.high < 1)).all()
    perfect, none = (score_interval(np.array([one] * 5)[None, None]) for one in (RIGHT, WRONG))
    np.testing.assert_allclose(perfect.high, 1)
    assert (perfect.low < 0.9).all()
    np.testing.assert_allclose(none.low, 0, atol=1e-12)
    np.testing.assert_allclose(1 - none.high[:, :2], perfect.low[:, :2])  # UF1 has no mirror image
    constant = score_interval(np.array([[[2, 0], [1, 0]]] * 5)[None, None])  # its UAR is 1/2 of anyone
    assert constant.low[0, 1] < 0.5 < constant.high[0, 1]


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_differences_of_two_subjects_stay_between_all_lost_and_all_won(n_seeds):
    matrices = np.array([[[RIGHT, RIGHT]] * n_seeds, [[RIGHT, WRONG]] * n_seeds])
    found = score_interval(matrices, [[-1, 1], [-0.5, 0.5]])
    assert (found.low[0] >= -1).all()
    assert (found.high[0] <= 1).all()
    np.testing.assert_allclose(found.low[1], found.low[0] / 2)


def test_a_larger_level_gives_a_wider_interval():
    matrices = same_clips(1, 2, 11)
    narrow, wide = (score_interval(matrices, level=level) for level in (0.8, 0.99))
    assert (narrow.low > wide.low).all()
    assert (narrow.high < wide.high).all()


def test_classes_that_vanish_are_reported():
    # Class 1 is in one of four subjects: drawing others four times loses it.
    subjects = [[[2, 1], [0, 0]]] * 3 + [[[1, 0], [1, 1]]]
    np.testing.assert_allclose(vanishing([[subjects]]), [0, 0.75**4])
    drawn = bootstrap_scores([[subjects]], 997, np.random.default_rng(0))
    # UAR without class 1 is half of 2/3. 997 draws know 0.316 to 0.015, and four of those.
    assert np.isclose(drawn[:, 0, 1], 1 / 3).mean() == pytest.approx(0.75**4, abs=0.06)


def test_effective_subjects_by_hand():
    assert effective_subjects([5, 5, 5]) == pytest.approx(3)
    assert effective_subjects([8, 1, 1]) == pytest.approx(100 / 66)
    assert effective_subjects([7, 0]) == pytest.approx(1)


def test_without_the_largest_subject_by_hand():
    # Without the second: 2 of 3 and 1 of 1 of class 0 right, 1 of 2 of class 1.
    subjects = [[[2, 1], [0, 1]], [[0, 9], [9, 0]], [[1, 0], [1, 0]]]
    np.testing.assert_allclose(without_largest([[subjects]])[0, :2], [4 / 6, (3 / 4 + 1 / 2) / 2])


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.ones((2, 3, 3)), r"shape \(2, 3, 3\)"),
        (np.ones((1, 1, 5, 2, 3)), "n_classes, n_classes"),
        (np.ones((1, 1, 1, 3, 3)), "1 subject with clips"),
        ([[[[[2, 1], [0, 0]], [[1, 1], [0, 0]]]]], "1 class with clips"),
        ([[[RIGHT, RIGHT]], [[RIGHT, [[1, 1], [0, 1]]]]], "clips of subject 1"),
        ([[[RIGHT, [[-1, 2], [0, 1]]]]], "negative"),
        ([[[RIGHT, [[np.nan, 2], [0, 1]]]]], "not finite"),
    ],
)
@pytest.mark.parametrize("function", [score_interval, without_largest, vanishing])
def test_what_cannot_be_resampled_is_refused(function, matrices, message):
    with pytest.raises(ValueError, match=message):
        function(matrices)


def test_contrasts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"contrasts of shape \(1, 3\).*2 settings"):
        score_interval(same_clips(2, 1, 5), [[1, 0, -1]])


@pytest.mark.parametrize("sizes", [[], [0, 0], [3, -1], [[1, 2]]])
def test_sizes_that_are_no_numbers_of_clips_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes must be"):
        effective_subjects(sizes)


def test_the_simulated_subjects_are_the_real_ones():
    subjects = benchmark.real_subjects()
    sizes = {name: len(counts) for name, counts in subjects.items()}
    assert list(sizes.values()) == [16, 24, 28, 68, 88, 94, 94]  # those held out are the same
    for name in ("SMIC", "CASME II", "SAMM", "CAS(ME)^3, 3 classes", "CAS(ME)^3, 7 classes"):
        assert sorted(subjects[name].sum(axis=0)) == sorted(COUNTS[name])


def test_the_benchmark_bootstraps_as_the_library_does():
    matrices = same_clips(1, 3, 23, n_classes=7)[0]
    draws, _, _ = benchmark._bootstrap(matrices, np.random.default_rng(0))
    ours = bootstrap_scores(matrices[None], 499, np.random.default_rng(1))[:, 0]
    # Means and spreads of 499 draws: known to 4.5 % and 3.2 % of the spread, and four of those and more.
    np.testing.assert_allclose(
        draws.mean(axis=0), ours.mean(axis=0), rtol=0, atol=0.3 * ours.std(axis=0).min()
    )
    np.testing.assert_allclose(draws.std(axis=0), ours.std(axis=0), rtol=0.2)


def check_coverage(found, n_draws):
    """Coverage of 93 % and more, with three standard errors of the simulation."""
    slack = 300 * np.sqrt(0.93 * 0.07 / n_draws)
    assert (found[RULE][0] >= 93 - slack).all(), found


@pytest.mark.parametrize(("name", "n_subjects"), [("SMIC", 16), ("CAS(ME)^3, 7 classes", 30)])
def test_intervals_cover_and_those_over_clips_do_not(name, n_subjects):
    found = benchmark.coverage(name, n_subjects, n_seeds=1, skill=1, n_draws=199)
    check_coverage(found, n_draws=199)
    # In 2,000 studies, clips drawn as if independent gave intervals that fell short by 9 points or more.
    assert (found["clips"][0] < found[RULE][0] - 5).all()


def test_intervals_cover_near_the_ceiling_where_the_symmetric_ones_do_not():
    found = benchmark.coverage("SAMM", 28, n_seeds=1, skill=4.5, n_draws=499)
    check_coverage(found, n_draws=499)
    assert found["jackknife-t"][0, 1] < 91


def test_intervals_cover_with_seeds():
    check_coverage(benchmark.coverage("SAMM", 28, n_seeds=3, skill=1, n_draws=199), n_draws=199)


def test_designs_that_are_there_are_not_simulated_again(tmp_path):
    made = []

    def rows(name, size, draws):
        made.append((name, size))
        return [{"name": name, "size": size, "value": way} for way in ("a", "b")]

    path, designs = tmp_path / "kept.csv", [("a", 3, 7), ("a", 5, 7), ("b", 3, 5)]
    benchmark.fill(path, rows, designs[:2], ["name", "size", "draws"])
    benchmark.fill(path, rows, designs, ["name", "size", "draws"])
    assert made == [("a", 3), ("a", 5), ("b", 3)]
    benchmark.fill(path, rows, [("a", 3, 11), ("b", 3, 5)], ["name", "size", "draws"])
    assert made[3:] == [("a", 3)]
    assert pd.read_csv(path)["draws"].tolist() == [5, 5, 11, 11]
