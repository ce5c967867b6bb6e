"""Attainable scores against brute force over all confusion matrices; findings from the printed numbers."""

import doctest
import itertools

import numpy as np
import pandas as pd
import pytest

from hsta_lib import consistency
from hsta_lib.consistency import (
    ABSENT,
    AVERAGES,
    COUNTS,
    EMOTION_FOLDS,
    KINDS,
    SUBJECTS,
    bounds,
    check_counts,
    fold_range,
    folds_with,
    impossible_pairs,
    matrix_with,
    search_matrix,
    simulate_spread,
    uar_range,
    uf1_range,
)
from hsta_lib.metrics import METRICS, per_fold_means, scores
from hsta_lib.paper import load_table

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


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("counts", SMALL)
def test_ranges_equal_brute_force(counts, average):
    uar, uf1 = all_pairs(counts, average)
    for value in np.unique(uar.round(1)):
        same = np.abs(uar - value) <= 0.05 + 1e-7
        expected = uf1[same].min(), uf1[same].max()
        assert uf1_range(counts, value, average=average) == pytest.approx(expected, abs=ROUNDING)
    for value in np.unique(uf1.round(1)):
        same = np.abs(uf1 - value) <= 0.05 + 1e-7
        expected = uar[same].min(), uar[same].max()
        assert uar_range(counts, value, average=average) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("average", AVERAGES)
def test_a_pair_is_possible_exactly_if_some_matrix_has_it(average):
    counts = (2, 3, 2)
    printed = {tuple(pair) for pair in np.column_stack(all_pairs(counts, average)).round(1)}
    uars, uf1s = ({pair[k] for pair in printed} for k in (0, 1))
    refused = 0
    for uar, uf1 in itertools.product(uars, uf1s):
        matrix = matrix_with(counts, uar, uf1, average=average)
        assert (matrix is not None) == ((uar, uf1) in printed)
        refused += matrix is None
    assert refused > len(printed)


def test_the_matrix_has_the_scores_it_was_asked_for():
    for row in load_table("table5").query("method == 'FRL-DGT'").itertuples():
        matrix = matrix_with(COUNTS[row.dataset], row.uar, row.uf1)
        assert matrix.min() >= 0
        assert matrix.sum(axis=1).tolist() == list(COUNTS[row.dataset])
        assert (100 * scores(matrix)[1:]).round(1).tolist() == [row.uar, row.uf1]


def test_the_order_of_classes_does_not_matter():
    assert uf1_range((7, 3, 11), 61.0) == pytest.approx(uf1_range((11, 7, 3), 61.0), abs=ROUNDING)


def test_by_hand():
    # Two classes of one clip, UAR 50: one hit, one error, F1 2/3 and 0. All matrices with UAR 50 are that.
    assert uf1_range((1, 1), 50.0) == pytest.approx((100 / 3, 100 / 3), abs=ROUNDING)
    assert np.isnan(uf1_range((1, 1), 40.0)).all()
    assert np.isnan(uar_range((1, 1), 40.0)).all()
    assert uf1_range((2, 3, 2), 0.0) == (0, 0)
    assert uar_range((2, 3, 2), 100.0) == pytest.approx((100, 100), abs=ROUNDING)


def test_more_digits_are_stricter():
    assert matrix_with((1, 1), 50.0, 33.3) is not None
    assert matrix_with((1, 1), 50.0, 33.3, digits=2) is None
    assert matrix_with((1, 1), 50.0, 33.33, digits=2) is not None


def test_search_finds_a_matrix_of_seven_classes():
    counts = COUNTS["CAS(ME)^3, emotion7"]
    matrix = search_matrix(counts, 35.8, 34.1, np.random.default_rng(0))
    assert matrix.sum(axis=1).tolist() == list(counts)
    assert (100 * scores(matrix)[1:]).round(1).tolist() == [35.8, 34.1]
    assert search_matrix(counts, 35.8, 90.0, np.random.default_rng(0), n_tries=3) is None


# --- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", SMALL)
def test_no_matrix_lies_outside_the_bounds(counts):
    found = np.unique((100 * scores(all_matrices(counts))).round(9), axis=0)
    for row in found[:: max(1, len(found) // 31)]:
        for k, score in enumerate(METRICS):
            for options in ({"counts": counts}, {"n_classes": len(counts)}):
                for other, (low, high) in bounds(score, row[k], **options).items():
                    assert low - ROUNDING <= row[METRICS.index(other)] <= high + ROUNDING


def test_no_random_matrix_of_seven_classes_lies_outside():
    rng, counts = np.random.default_rng(0), COUNTS["CAS(ME)^3, emotion7"]
    for _ in range(23):
        sharpness = rng.exponential(3, size=7)
        rows = [
            rng.multinomial(n, rng.dirichlet(np.full(7, 0.3) + sharpness * (np.arange(7) == c)))
            for c, n in enumerate(counts)
        ]
        values = 100 * scores(rows)
        for k, score in enumerate(METRICS):
            known, unknown = bounds(score, values[k], counts=counts), bounds(score, values[k], n_classes=7)
            for other in known:
                low, high = known[other]
                assert low <= values[METRICS.index(other)] <= high
                assert unknown[other][0] <= low + ROUNDING
                assert high <= unknown[other][1] + ROUNDING


def test_bounds_contain_the_exact_range_and_exclude_something():
    low, high = bounds("uar", 78.0, counts=COUNTS["SMIC"])["uf1"]
    exact = uf1_range(COUNTS["SMIC"], 78.0)
    assert exact[0] - 2 < low <= exact[0]
    assert exact[1] <= high < exact[1] + 3


def test_bounds_by_hand():
    # Two classes: UF1 <= 2 U / (1 + U); the worse recall is at least 2 U - 1, and UF1 at least half of it.
    found = bounds("uar", 75.0, n_classes=2, digits=9)
    assert found["uf1"] == pytest.approx((25, 100 * 1.5 / 1.75), abs=1e-4)
    assert found["acc"] == pytest.approx((50, 100), abs=1e-4)
    # Class sizes 1 and 3, half of the clips right: both in the large class, or one in each.
    assert bounds("acc", 50.0, counts=(1, 3), digits=9)["uar"] == pytest.approx((100 / 3, 200 / 3), abs=1e-4)


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
    rng, tight, n_found = np.random.default_rng(0), 0, 0
    for uar, uf1 in means[rng.choice(len(means), 29)].round(1):
        same = np.abs(means[:, 0] - uar) <= 0.05 + 1e-7
        low, high = fold_range(folds, uar, absent=absent)
        assert low - ROUNDING <= means[same, 1].min()
        assert means[same, 1].max() <= high + ROUNDING
        tight += high - means[same, 1].max() < 5
        found = folds_with(folds, uar, uf1, rng, absent=absent)
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


# --- counts -----------------------------------------------------------------------------------------------


def test_counts_add_up():
    totals = {"SMIC": (164, 16), "SAMM": (133, 28), "CASME II": (145, 24)}
    for name, (clips, subjects) in totals.items():
        assert check_counts(COUNTS[name], clips).tolist() == np.sum(SUBJECTS[name], axis=0).tolist()
        assert len(SUBJECTS[name]) == subjects
    assert [sum(COUNTS[f"CAS(ME)^3, {kind}"]) for kind in ("emotion3", "emotion7", "objective7")] == [
        699,
        860,
        860,
    ]
    assert np.sum(EMOTION_FOLDS, axis=1).tolist() == [172] * 5
    # The folds list the classes in another order.
    assert sorted(np.sum(EMOTION_FOLDS, axis=0)) == sorted(COUNTS["CAS(ME)^3, emotion7"])


# --- the paper --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table5():
    return consistency.check_table5()


@pytest.fixture(scope="module")
def table6():
    return consistency.check_table6()


@pytest.fixture(scope="module")
def noise():
    return consistency.table4_noise((5, 27), n_draws=23)


def test_three_pairs_of_table_5_are_impossible_as_pooled_scores(table5):
    accused = table5[table5["verdict"] != "possible"]
    assert list(zip(accused["method"], accused["dataset"], accused["kind"], strict=True)) == [
        ("LBP-TOP", "SMIC", "inherited"),
        ("MMNet", "CASME II", "inherited"),
        ("HSTA", "SMIC", "arithmetic"),
    ]
    assert accused[["pooled_low", "pooled_high"]].round(1).to_numpy().tolist() == [
        [37.5, 55.8],
        [82.0, 92.9],
        [71.5, 80.8],
    ]
    assert accused["innocent"].str.len().min() > 0
    assert set(accused["verdict"]) == {"only as an average over folds"}
    assert accused["absent"].tolist() == ["one", "one", "left out"]
    possible = table5[table5["verdict"] == "possible"]
    assert len(possible) == 30
    assert set(possible["kind"]) == set(possible["innocent"]) == {""}


def test_the_verdicts_do_not_hang_on_rounding(table5):
    # Cut off instead of rounded, or rounded twice: less than 0.1 either way.
    for row in table5[table5["verdict"] != "possible"].itertuples():
        near = [uf1_range(COUNTS[row.dataset], row.uar + step) for step in (-0.1, 0, 0.1)]
        assert not np.nanmin(near) - 0.1 <= row.uf1 <= np.nanmax(near) + 0.1


def test_hstas_smic_pair_is_impossible_for_any_161_clips():
    highest = [uf1_range((70 - a, 51 - b, 43 - (3 - a - b)), 78.0)[1] for a in range(4) for b in range(4 - a)]
    assert len(highest) == 10
    assert round(max(highest), 1) == 81.0


def test_the_average_over_subjects_that_gives_hstas_smic_pair():
    found = folds_with(SUBJECTS["SMIC"], 78.0, 84.7, np.random.default_rng(1), absent="left out")
    assert found.shape == (16, 2)
    assert found.mean(axis=0).round(1).tolist() == [78.0, 84.7]


def test_every_pair_of_table_6_is_possible(table6):
    assert table6["verdict"].tolist() == ["possible"] * 8
    assert table6["dataset"].str[-1].tolist()[4:] == ["7"] * 4


def test_a_planted_pair_is_impossible_and_not_charged_to_the_paper_if_it_is_anothers():
    table = pd.DataFrame({"method": ["HSTA", "X"], "dataset": "D", "uf1": [99.0, 99.0], "uar": [50.0, 50.0]})
    found = impossible_pairs(table, {"D": (5, 3, 2)}, {"D": [(3, 1, 1), (2, 2, 1)]})
    assert found["verdict"].tolist() == ["impossible", "impossible"]
    assert found["kind"].tolist() == ["arithmetic", "inherited"]


def test_one_shared_cell_disagrees():
    cells = consistency.shared_cells()
    assert len(cells) == 9 * len(METRICS)
    odd = cells[~cells["agree"]]
    assert odd[["csta", "m", "l_v", "l_s", "score"]].to_numpy().tolist() == [[False, 1, 0, 1, "uar"]]
    assert odd["printed"].tolist() == ["Table 1 row 10 32.1, Table 2 row 4 32.5"]
    row = cells[(cells["m"] == 4) & (cells["score"] == "uf1")].iloc[0]
    assert row["printed"] == "Table 4 row 14 35.1, Table 7 row 1 35.1"


def test_a1_is_out_of_reach_without_input():
    best = consistency.constant_prediction()
    assert best.round(1).tolist() == [16.1, 6.4, 6.4, 15.6, 11.6]


def test_a_constant_prediction_by_hand():
    # Three of class 0, one of class 1: always 0 gives F1 6/7 and 0. Class per fold: all right.
    best = consistency.constant_prediction([(3, 0), (0, 1)])
    assert best["one class"] == pytest.approx(300 / 7, abs=ROUNDING)
    assert best["class per fold"] == pytest.approx(100, abs=ROUNDING)
    assert best["mean over folds"] == pytest.approx(50, abs=ROUNDING)
    assert np.isnan(best["at printed scores"])


def test_sentences_that_hold_and_that_do_not():
    checked = consistency.check_sentences()
    assert len(checked) == 33
    failing = checked[~checked["holds"]].groupby("claim", sort=False)["score"].agg(" ".join)
    assert failing.tolist() == [
        "acc uar uf1",
        "acc uar uf1",
        "acc",
        "acc uf1",
        "uf1",
        "uf1",
        "uf1",
        "uf1",
        "acc uar uf1",
        "uf1",
    ]
    holds = checked[checked["claim"].str.startswith("at constant L_v = 3")]
    assert holds["holds"].tolist() == [True] * 3
    gain = checked[checked["claim"].str.contains("fixed labels")]
    assert gain["printed"].tolist() == [[43.0, 52.7]]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("rising", [1, 2, 5], [1, 1, 5]),
        ("falling", [5, 2, 1], [5, 2, 2]),
        ("rises then falls", [1, 5, 3, 2], [5, 3, 2]),
        ("rises then falls", [1, 5, 2], [1, 5, 2, 3]),
        ("gain", [1, 4.4], [1, 4.6]),
    ],
)
def test_rules(rule, good, bad):
    assert consistency._RULES[rule](np.array(good, dtype=float), 3)
    assert not consistency._RULES[rule](np.array(bad, dtype=float), 3)


def test_cells_whose_product_is_eight():
    eight = consistency.product_of_eight()
    assert eight["p"].round(3).tolist() == [0.019, 0.005, 0.011]
    assert round(eight.loc["uf1", "rank_correlation"], 2) == 0.88


def test_findings_have_a_kind_and_an_innocent_explanation(table5, table6, noise):
    found = consistency.findings(pd.concat([table5, table6]), noise)
    assert set(found["kind"]) == set(KINDS)
    assert found["kind"].map(KINDS.index).is_monotonic_increasing
    assert found["kind"].value_counts().to_dict() == {
        "text": 10,
        "inherited": 4,
        "arithmetic": 3,
        "omission": 3,
        "unsupported": 2,
    }
    assert (found[["claim", "found", "innocent"]].map(len) > 0).all(axis=None)
    own = found[found["kind"] == "arithmetic"]["claim"].str.cat(sep=" ")
    assert "LBP-TOP" not in own
    assert "MMNet" not in own


# --- noise ------------------------------------------------------------------------------------------------


def test_spread_of_accuracy_is_that_of_the_disagreement():
    # Given the clips, the variance of accuracy is (disagreement / 2) / n; medians within their own noise.
    counts, disagreement = (31, 61, 97), 23.0
    draws = simulate_spread(counts, 60.0, 55.0, disagreement, np.random.default_rng(0), n_draws=61)
    expected = 100 * np.sqrt(disagreement / 200 / sum(counts))
    assert draws.shape == (61, 2, 3)
    assert np.sqrt((draws[:, 0, 0] ** 2).mean()) == pytest.approx(expected, rel=0.06)
    assert (draws[:, 1] > draws[:, 0]).all()


def test_models_that_agree_more_spread_less(noise):
    wide = noise.pivot(index="score", columns="disagreement", values="sd")
    assert (wide[27] > 1.5 * wide[5]).all()
    # Printed spread: more than noise at 5 % disagreement, no more than noise at 27 %.
    p = noise.pivot(index="score", columns="disagreement", values="p_sd")
    assert (p[5] < 0.05).all()
    assert (p[27] > 0.5).all()
    printed = noise.drop_duplicates("score").set_index("score")["sd_printed"]
    assert printed.round(2).to_dict() == {"acc": 0.86, "uar": 1.26, "uf1": 1.21}


def test_independent_models_disagree_most():
    # One recall everywhere: 2 * 0.4 * 0.6.
    assert consistency.most_disagreement((5, 5), 40.0, 40.0) == pytest.approx(48, abs=ROUNDING)


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uf1_range((2, 3), 101), "uar is 101: scores are in percent, 0 to 100"),
        (lambda: uar_range((2, 3), float("nan")), "uf1 is nan"),
        (lambda: matrix_with((2, 3), 50, -0.1), "uf1 is -0.1"),
        (lambda: uf1_range((2, 0), 50), r"class counts \(2, 0\): give a positive integer"),
        (lambda: uf1_range((2, 1.5), 50), "positive integer"),
        (lambda: uf1_range((2,), 50), "two or more classes"),
        (lambda: check_counts((2, 3), 7), "add up to 5, not to 7"),
        (lambda: uf1_range((2, 3), 50, average="micro"), "average 'micro' is unknown; choose one of 'macro'"),
        (lambda: uf1_range(COUNTS["CAS(ME)^3, emotion7"], 50), "too many to enumerate; use `bounds`"),
        (lambda: bounds("f1", 50, n_classes=3), "score 'f1' is unknown"),
        (lambda: bounds("uf1", 50), "n_classes is None: give counts"),
        (lambda: bounds("uf1", 50, n_classes=1), "n_classes is 1"),
        (lambda: fold_range([(1, 2)], 50, absent="skip"), "absent 'skip' is unknown; choose one of 'zero'"),
        (
            lambda: fold_range([(1, 2), (0, 0)], 50, absent="zero"),
            r"fold \(0, 0\): give non-negative integers",
        ),
        (lambda: fold_range([(1, 2), (1, 2, 3)], 50, absent="zero"), "the same number of classes"),
        (lambda: fold_range([], 50, absent="zero"), "one or more folds"),
        (lambda: fold_range([(97, 97, 97)], 50, absent="zero"), "too large to enumerate"),
        (lambda: impossible_pairs(pd.DataFrame({"method": ["a"]}), {}), "table lacks column 'dataset'"),
        (
            lambda: impossible_pairs(load_table("table5"), {"SMIC": (70, 51, 43)}),
            "counts lack dataset 'CASME II'",
        ),
        (lambda: simulate_spread((5, 7), 50, 50, 50, None), "disagreement is 50: must be above 0 and below"),
        (lambda: simulate_spread((5, 5), 50, 40, 9, None), "equal classes they are the same"),
        (lambda: simulate_spread((5, 7), 95, 50, 9, None), "outside 0..1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_examples_in_docstrings():
    results = doctest.testmod(consistency)
    assert results.attempted > 3
    assert results.failed == 0
