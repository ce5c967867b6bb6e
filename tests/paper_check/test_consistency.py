"""Attainable scores against brute force over all confusion matrices; findings from the printed numbers."""

import doctest
import itertools

import numpy as np
import pandas as pd
import pytest

from hsta_lib.evaluation.metrics import METRICS, per_fold_means, scores
from hsta_lib.paper_check import findings, noise
from hsta_lib.paper_check import possible as pooled
from hsta_lib.paper_check.claims import decide_printed
from hsta_lib.paper_check.findings import COUNTS, EMOTION_FOLDS, KINDS, SUBJECTS, check_pairs
from hsta_lib.paper_check.fold_means import ABSENT, fold_range, folds_with
from hsta_lib.paper_check.noise import simulate_spread
from hsta_lib.paper_check.possible import AVERAGES, check_counts, is_possible, uf1_range

SMALL = [(2, 3, 2), (5, 1, 3), (3, 7), (1, 2, 2, 1)]
ROUNDING = 1e-6  # points; the same sums in another order


def compositions(total, n_parts):
    if n_parts == 1:
        return [(total,)]
    return [(k, *rest) for k in range(total + 1) for rest in compositions(total - k, n_parts - 1)]


def all_matrices(counts):
    """Every confusion matrix with these row sums."""
    return np.array(list(itertools.product(*(compositions(n, len(counts)) for n in counts))))


def all_pairs(counts, average):
    """UAR and UF1, in percent, of every confusion matrix, by the definition."""
    matrices = all_matrices(counts)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    recall, f1 = hits / matrices.sum(axis=2), 2 * hits / (matrices.sum(axis=1) + matrices.sum(axis=2))
    size = np.array(counts) / sum(counts)
    mean = np.full(len(counts), 1 / len(counts))
    in_recall, in_f1 = {"macro": (mean, mean), "weighted": (size, size), "weighted f1": (mean, size)}[average]
    return 100 * recall @ in_recall, 100 * f1 @ in_f1


# --- one matrix -------------------------------------------------------------------------------------------


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("counts", SMALL[:3])
def test_ranges_equal_brute_force(counts, average):
    uar, uf1 = all_pairs(counts, average)
    for value in np.unique(uar.round(1)):
        same = np.abs(uar - value) <= 0.05 + 1e-7
        expected = uf1[same].min(), uf1[same].max()
        assert uf1_range(counts, value, average) == pytest.approx(expected, abs=ROUNDING)


def test_a_pair_is_possible_exactly_if_some_matrix_has_it():
    counts = (2, 3, 2)
    printed = {tuple(pair) for pair in np.column_stack(all_pairs(counts, "macro")).round(1)}
    uars, uf1s = ({pair[k] for pair in printed} for k in (0, 1))
    refused = 0
    for uar, uf1 in itertools.product(uars, uf1s):
        found = is_possible(counts, uar, uf1, rng())
        assert found is ((uar, uf1) in printed)
        refused += not found
    assert refused > len(printed)


def test_the_order_of_classes_does_not_matter():
    assert uf1_range((7, 3, 11), 61.0) == pytest.approx(uf1_range((11, 7, 3), 61.0), abs=ROUNDING)


def test_by_hand():
    # Two classes of one clip, UAR 50: one hit, one error, F1 2/3 and 0. All matrices with UAR 50 are that.
    assert uf1_range((1, 1), 50.0) == pytest.approx((100 / 3, 100 / 3), abs=ROUNDING)
    assert np.isnan(uf1_range((1, 1), 40.0)).all()
    assert is_possible((1, 1), 40.0, 40.0, rng()) is False
    assert uf1_range((2, 3, 2), 0.0) == (0, 0)


# --- many classes -----------------------------------------------------------------------------------------

SEVEN = COUNTS["CAS(ME)^3, 7 classes"]


def test_no_matrix_of_four_classes_lies_outside_the_bound():
    uar, uf1 = all_pairs(SMALL[3], "macro")
    for value in np.unique(uar.round(1)):
        low, high = uf1_range(SMALL[3], value)
        same = uf1[np.abs(uar - value) <= 0.05 + 1e-7]
        assert low - ROUNDING <= same.min()
        assert same.max() <= high + ROUNDING


def test_no_random_matrix_of_seven_classes_lies_outside_and_something_does():
    generator = rng()
    for _ in range(23):
        sharpness = generator.exponential(3, size=7)
        rows = [
            generator.multinomial(n, generator.dirichlet(np.full(7, 0.3) + sharpness * (np.arange(7) == c)))
            for c, n in enumerate(SEVEN)
        ]
        _, uar, uf1 = 100 * scores(rows)
        low, high = uf1_range(SEVEN, uar)
        assert 0 < low <= uf1 <= high < 100


def test_the_bound_by_hand():
    # UAR 50 of four classes, each one clip: two right. (1 + 1)^2 / (4 * 4) from below, 2/3 from above.
    low, high = uf1_range((1, 1, 1, 1), 50.0)
    assert low == pytest.approx(25, abs=0.2)  # 50 stands for 49.95 to 50.05
    assert high == pytest.approx(200 / 3, abs=0.1)


def test_what_the_search_finds_for_seven_classes_is_a_matrix_of_these_scores():
    weights, ends = np.full(7, 1 / 7), pooled.band("uf1", 34.1)
    found = list(pooled._search(np.array(SEVEN), 35.8, ends, weights, rng(), n_tries=23))
    assert len(found) > 5
    for hits, false in found:
        errors = np.array(SEVEN) - hits
        assert round(100 * (hits / SEVEN).mean(), 1) == 35.8
        assert (false.sum(axis=1) == errors.sum()).all()
        assert ((false >= 0) & (false <= errors.sum() - errors)).all()
    assert is_possible(SEVEN, 35.8, 34.1, rng()) is True
    assert is_possible(SEVEN, 35.8, 60.0, rng()) is False
    assert is_possible(SEVEN, 35.8, 52.0, rng()) is None  # within the bound, and not found


# --- folds ------------------------------------------------------------------------------------------------


def fold_scores(matrix, absent):
    """UAR and UF1 of one fold, by the definition of the convention."""
    matrix = np.asarray(matrix)
    recalls, f1s = [], []
    for c in range(len(matrix)):
        there, taken, hit = matrix[c].sum(), matrix[:, c].sum(), matrix[c, c]
        if there:
            recalls.append(hit / there)
            f1s.append(2 * hit / (there + taken))
        elif absent != "left out":
            recalls.append(1 if absent == "one" else 0)
            f1s.append(1 if absent == "one" and not taken else 0)
    return 100 * np.mean(recalls), 100 * np.mean(f1s)


@pytest.mark.parametrize("absent", ABSENT)
def test_fold_means_against_brute_force(absent):
    folds = [(1, 2, 0), (2, 1, 1), (0, 2, 0)]
    pairs = [{fold_scores(matrix, absent) for matrix in all_matrices(fold)} for fold in folds]
    means = np.array([np.mean(choice, axis=0) for choice in itertools.product(*pairs)])
    generator, tight, n_found = rng(), 0, 0
    for uar, uf1 in means[generator.choice(len(means), 29)].round(1):
        same = np.abs(means[:, 0] - uar) <= 0.05 + 1e-7
        low, high = fold_range(folds, uar, absent=absent)
        assert low - ROUNDING <= means[same, 1].min()
        assert means[same, 1].max() <= high + ROUNDING
        tight += high - means[same, 1].max() < 5
        found = folds_with(folds, uar, uf1, generator, absent=absent)
        if found is not None:
            n_found += 1
            assert np.abs(found.mean(axis=0) - [uar, uf1]).max() <= 0.05 + ROUNDING
            for pair, possible in zip(found, pairs, strict=True):
                assert min(np.abs(np.subtract(pair, other)).max() for other in possible) < ROUNDING
    assert tight > 19
    assert n_found > 11


def test_left_out_is_the_convention_of_our_fold_means():
    matrices = [[[1, 0, 1], [0, 2, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0], [1, 0, 1]]]
    expected = np.mean([fold_scores(matrix, "left out") for matrix in matrices], axis=0)
    assert 100 * per_fold_means(matrices)[1:] == pytest.approx(expected, abs=ROUNDING)


def test_one_fold_with_all_classes_is_a_pooled_score():
    low, high = uf1_range((2, 3, 2), 50.0)
    for absent in ABSENT:
        hull = fold_range([(2, 3, 2)], 50.0, absent=absent)
        assert hull[0] <= low + ROUNDING
        assert high - ROUNDING <= hull[1]


# --- the paper --------------------------------------------------------------------------------------------


def test_counts_add_up():
    totals = {"SMIC": (164, 16), "CASME II": (145, 24)}
    for name, (clips, subjects) in totals.items():
        assert sum(check_counts(COUNTS[name], np.sum(SUBJECTS[name], axis=0))) == clips
        assert len(SUBJECTS[name]) == subjects
    assert [sum(counts) for counts in COUNTS.values()] == [164, 133, 145, 699, 687, 860]
    assert np.sum(EMOTION_FOLDS, axis=1).tolist() == [172] * 5
    # The folds list the classes in another order.
    assert sorted(np.sum(EMOTION_FOLDS, axis=0)) == sorted(SEVEN)


@pytest.fixture(scope="module")
def pairs():
    return check_pairs(findings.reported_pairs(), COUNTS, SUBJECTS)


@pytest.fixture(scope="module")
def spread():
    return noise.table4_noise(SEVEN, (5, 27), n_draws=23)


def test_three_pairs_are_impossible_as_pooled_scores_and_the_others_are_not(pairs):
    accused = pairs[pairs["possible"].eq(False)]
    assert list(zip(accused["method"], accused["dataset"], strict=True)) == [
        ("LBP-TOP", "SMIC"),
        ("MMNet", "CASME II"),
        ("HSTA", "SMIC"),
    ]
    assert accused[["low", "high"]].round(1).to_numpy().tolist() == [[37.5, 55.8], [82.0, 92.9], [71.5, 80.8]]
    absent = ["one", "one", "left out"]
    assert accused["otherwise"].tolist() == [
        f"a mean over subjects (absent classes: {name})" for name in absent
    ]
    assert pairs["possible"].eq(True).sum() == 38
    assert pairs["table"].value_counts().to_dict() == {"Table 5": 33, "Table 6": 8}


def test_the_verdicts_do_not_hang_on_rounding(pairs):
    # Cut off instead of rounded, or rounded twice: less than 0.1 either way.
    for row in pairs[pairs["possible"].eq(False)].itertuples():
        near = [uf1_range(COUNTS[row.dataset], row.uar + step) for step in (-0.1, 0, 0.1)]
        assert not np.nanmin(near) - 0.1 <= row.uf1 <= np.nanmax(near) + 0.1


def test_hstas_smic_pair_is_impossible_for_any_161_clips():
    highest = [uf1_range((70 - a, 51 - b, 43 - (3 - a - b)), 78.0)[1] for a in range(4) for b in range(4 - a)]
    assert len(highest) == 10
    assert round(max(highest), 1) == 81.0


def test_a_planted_pair_is_impossible_and_not_charged_to_the_paper_if_it_is_anothers(spread):
    table = pd.DataFrame({"method": ["HSTA", "X"], "dataset": "D", "uf1": [99.0, 99.0], "uar": [50.0, 50.0]})
    found = check_pairs(table.assign(table="Table 5"), {"D": (5, 3, 2)}, {"D": [(3, 1, 1), (2, 2, 1)]})
    assert found["possible"].tolist() == [False, False]
    assert set(found["otherwise"]) == {"no average that was tried"}
    kinds = findings.findings(found, spread, gmac=1.0).query("printed.str.contains('UF1 99')")["kind"]
    assert sorted(kinds) == ["arithmetic", "inherited"]


def test_a_weighted_average_is_named_where_it_gives_the_pair():
    # Clips 9 and 1, one hit each 9 of 9 and 0 of 1: weighted recall 90, weighted F1 0.9 * 18 / 19.
    table = pd.DataFrame({"method": ["X"], "dataset": "D", "uf1": [85.3], "uar": [90.0]})
    found = check_pairs(table, {"D": (9, 1)}, {})
    assert found["possible"].tolist() == [False]
    assert found["otherwise"].tolist() == ["weighted by class size"]


def test_one_shared_cell_disagrees():
    cells = findings.shared_cells()
    assert len(cells) == 9 * len(METRICS)
    odd = cells[~cells["agree"]]
    assert odd[["csta", "m", "l_v", "l_s", "score"]].to_numpy().tolist() == [[False, 1, 0, 1, "uar"]]
    assert odd["printed"].tolist() == ["Table 1 row 10 32.1, Table 2 row 4 32.5"]
    row = cells[(cells["m"] == 4) & (cells["score"] == "uf1")].iloc[0]
    assert row["printed"] == "Table 4 row 14 35.1, Table 7 row 1 35.1"


def test_a1_is_out_of_reach_without_input():
    assert findings.constant_prediction().round(1).tolist() == [6.4, 6.4, 15.6, 11.6]


def test_a_constant_prediction_by_hand():
    # Three of class 0, one of class 1: always 0 gives F1 6/7 and 0. Class per fold: all right.
    best = findings.constant_prediction([(3, 0), (0, 1)])
    assert best["one class"] == pytest.approx(300 / 7, abs=ROUNDING)
    assert best["class per fold"] == pytest.approx(100, abs=ROUNDING)
    assert best["mean over folds"] == pytest.approx(50, abs=ROUNDING)
    assert np.isnan(best["at printed scores"])


def test_cells_whose_product_is_eight():
    eight = noise.product_of_eight()
    assert eight["cells"].tolist() == [6] * 3
    assert eight["p"].round(3).tolist() == [0.041, 0.007, 0.002]
    assert round(eight.loc["uf1", "rank_correlation"], 2) == 0.88


def test_findings_have_a_kind_and_an_innocent_explanation(pairs, spread):
    found = findings.findings(pairs, spread, gmac=41.1)
    assert found["kind"].map(KINDS.index).is_monotonic_increasing
    assert found["kind"].value_counts().to_dict() == {
        "text": 9,
        "inherited": 4,
        "arithmetic": 3,
        "omission": 3,
        "unsupported": 3,
    }
    assert (found.map(len) > 0).all(axis=None)
    printed = decide_printed().set_index("says")
    for row in found[found["kind"] == "text"].to_dict("records"):
        claim = printed.loc[row["printed"].partition(" (“")[0]]
        assert claim["verdict"] in ("undecided", "contradicted")
        assert claim["where"] == row["where"]
        assert row["follows"] in claim["details"]
    own = found[found["kind"] == "arithmetic"]["printed"].str.cat(sep=" ")
    assert "LBP-TOP" not in own
    assert "MMNet" not in own
    assert found["follows"].str.contains("costs 41.1 GMAC").sum() == 1


# --- noise ------------------------------------------------------------------------------------------------


def test_spread_of_accuracy_is_that_of_the_disagreement():
    # Given the clips, the variance of accuracy is (disagreement / 2) / n; medians within their own noise.
    counts, disagreement = (31, 61, 97), 23.0
    draws = simulate_spread(counts, 60.0, 55.0, disagreement, np.random.default_rng(0), n_draws=61)
    expected = 100 * np.sqrt(disagreement / 200 / sum(counts))
    assert draws.shape == (61, 3)
    assert np.sqrt((draws[:, 0] ** 2).mean()) == pytest.approx(expected, rel=0.06)


def test_models_that_agree_more_spread_less(spread):
    wide = spread.pivot(index="score", columns="disagreement", values="sd")
    assert (wide[27] > 1.5 * wide[5]).all()
    assert ((spread["low"] < spread["sd"]) & (spread["sd"] < spread["high"])).all()
    # Printed spread: more than noise at 5 % disagreement, no more than noise at 27 %.
    p = spread.pivot(index="score", columns="disagreement", values="p")
    assert (p[5] < 0.05).all()
    assert (p[27] > 0.5).all()
    printed = spread.drop_duplicates("score").set_index("score")["printed"]
    assert printed.round(2).to_dict() == {"acc": 0.86, "uar": 1.26, "uf1": 1.21}


# --- bad input --------------------------------------------------------------------------------------------

PAIR = pd.DataFrame({"method": ["X"], "dataset": "D", "uf1": [50.0], "uar": [50.0]})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uf1_range((2, 3), 101), "uar is 101: scores are in percent, 0 to 100"),
        (lambda: is_possible((2, 3), 50, float("nan"), None), "uf1 is nan"),
        (lambda: is_possible((2, 3), 50, -0.1, None), "uf1 is -0.1"),
        (lambda: uf1_range((2, 0), 50), r"class counts \(2, 0\): give a positive integer"),
        (lambda: uf1_range((2, 1.5), 50), "positive integer"),
        (lambda: uf1_range((2,), 50), "two or more classes"),
        (lambda: uf1_range((2, 3), 50, "micro"), "average 'micro' is not one of macro, weighted"),
        (lambda: uf1_range(SEVEN, 50, "weighted"), "or not known for 7 classes"),
        (lambda: check_pairs(PAIR, {"E": (2, 3)}, {}), "counts lack dataset 'D'; they have"),
        (
            lambda: check_pairs(PAIR, {"D": (2, 3)}, {"D": [(1, 1), (1, 1)]}),
            r"class counts \(2, 3\) are not what the folds add up to: \[2, 2\]",
        ),
        (lambda: fold_range([(1, 2)], 50, absent="skip"), "absent 'skip' is unknown; choose one of zero"),
        (
            lambda: fold_range([(1, 2), (0, 0)], 50, absent="zero"),
            r"fold \(0, 0\): give non-negative integers",
        ),
        (lambda: fold_range([(1, 2), (1, 2, 3)], 50, absent="zero"), "the same number of classes"),
        (lambda: fold_range([], 50, absent="zero"), "one or more folds"),
        (lambda: fold_range([(97, 97, 97)], 50, absent="zero"), "too large to enumerate"),
        (lambda: simulate_spread((5, 7), 50, 50, 50, None), "disagreement is 50: must be above 0 and below"),
        (lambda: simulate_spread((5, 5), 50, 40, 9, None), "equal classes they are the same"),
        (lambda: simulate_spread((5, 7), 95, 50, 9, None), "outside 0..1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_examples_in_docstrings():
    results = doctest.testmod(pooled)
    assert results.attempted > 1
    assert results.failed == 0
