"""Predictions are checked before they are scored; scores by hand; the paper's cells land beside ours."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_dataset

from hsta_lib.data.splits import Fold, make_folds
from hsta_lib.data.table import problems_table
from hsta_lib.evaluation import references
from hsta_lib.evaluation.comparisons import Compared
from hsta_lib.evaluation.intervals import score_interval
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.paper import load_table
from hsta_lib.reporting import tables
from hsta_lib.training.trials import expand_grid

# Percentages worked out by hand, here computed from sums of small integers: float64 rounding only.
EXACT = {"rtol": 0, "atol": 1e-9}


@pytest.fixture
def clips():
    """Five clips of three subjects and three classes."""
    return pd.DataFrame(
        {"clip_id": list("abcde"), "subject_id": ["s1", "s1", "s2", "s3", "s3"], "label": [0, 0, 1, 2, 2]}
    )


@pytest.fixture
def predictions(clips):
    """Of two cells and two seeds, in no order; cell 0 is right but for two clips, cell 1 always says 0."""
    rows = clips.rename(columns={"label": "y_true"}).assign(fold=[0, 0, 0, 1, 1])
    parts = [
        rows.assign(cell=cell, seed=seed, y_pred=[0, 1, 1, 2, 0] if cell == 0 else 0)
        for cell in (0, 1)
        for seed in (3, 5)
    ]
    return pd.concat(parts).sample(frac=1, random_state=0, ignore_index=True)


# --- checks -----------------------------------------------------------------------------------------------


def test_good_predictions_pass_in_any_order(predictions, clips):
    checks = tables.check_predictions(predictions, clips.iloc[::-1])
    assert checks["result"].tolist() == ["passed", "passed"]
    assert checks["rows"].tolist() == ["20", "20"]


def _changed(predictions, row, **values):
    changed = predictions.copy()
    for column, value in values.items():
        changed.loc[row, column] = value
    return changed


PLANTED = {
    "a duplicate": (lambda p: pd.concat([p, p.iloc[[7]]]), "predicted twice"),
    "a duplicate in place of another": (
        lambda p: pd.concat([p[p.index != 3], p.iloc[[7]]]),
        "predicted twice",
    ),
    "a gap": (lambda p: p.drop(index=7), "19 predictions of 4 runs over 5 clips: some missing"),
    "a clip missing everywhere": (lambda p: p[p["clip_id"] != "c"], "some missing"),
    "a whole clip of another table": (lambda p: p.replace({"clip_id": {"c": "z"}}), "some missing"),
    "a cell without one of its seeds": (
        lambda p: p[(p["cell"] == 0) | (p["seed"] == 3)],
        "not every cell has every seed",
    ),
    "another label": (lambda p: _changed(p, 7, y_true=(p["y_true"][7] + 1) % 3), "label or subject"),
    "another subject": (lambda p: _changed(p, 7, subject_id="s9"), "label or subject"),
    "labels in another order": (lambda p: p.assign(y_true=np.roll(p["y_true"], 1)), "label or subject"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_refused(predictions, clips, name):
    plant, message = PLANTED[name]
    with pytest.raises(ValueError, match=message):
        tables.check_predictions(plant(predictions), clips)


def test_the_message_names_the_prediction(predictions, clips):
    row = predictions.iloc[7]
    with pytest.raises(
        ValueError, match=rf"'cell': {row['cell']}, 'seed': {row['seed']}, .*'{row['clip_id']}'"
    ):
        tables.check_predictions(_changed(predictions, 7, subject_id="s9"), clips)


# --- counting and scoring ---------------------------------------------------------------------------------


def test_count_by_hand(predictions):
    by_subject = tables.count(predictions, "subject_id", 3)
    assert by_subject.shape == (2, 2, 3, 3, 3)
    for seed in (0, 1):
        assert by_subject[0, seed].tolist() == [
            [[1, 1, 0], [0, 0, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
            [[0, 0, 0], [0, 0, 0], [1, 0, 1]],
        ]
    by_fold = tables.count(predictions, "fold", 3)
    assert by_fold.shape == (2, 2, 2, 3, 3)
    assert by_fold[1, 0].tolist() == [[[2, 0, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [2, 0, 0]]]


def test_pooled_scores_by_hand_are_not_the_mean_over_folds(predictions):
    table, _ = tables.score_table(pd.DataFrame({"m": [1, 2]}), predictions, 3)
    # Cell 0, pooled: hits 1, 1, 1 of 2, 1, 2; predicted 2, 2, 1 times.
    pooled = [3 / 5, (1 / 2 + 1 + 1 / 2) / 3, (2 / 4 + 2 / 3 + 2 / 3) / 3]
    # Fold 0 holds classes 0 and 1, fold 1 class 2 alone.
    folds = [(2 / 3 + 1 / 2) / 2, (3 / 4 + 1 / 2) / 2, (2 / 3 + 2 / 3) / 2]
    np.testing.assert_allclose(table.loc[0, list(METRICS)].tolist(), np.multiply(100, pooled), **EXACT)
    means = table.loc[0, [f"{metric}_folds" for metric in METRICS]].tolist()
    np.testing.assert_allclose(means, np.multiply(100, folds), **EXACT)
    # Cell 1 says 0 always: hits 2 of 2, 1, 2.
    expected = np.multiply(100, [2 / 5, 1 / 3, (4 / 7) / 3])
    np.testing.assert_allclose(table.loc[1, list(METRICS)].tolist(), expected, **EXACT)


def test_scores_are_means_over_seeds(predictions):
    right = predictions.assign(y_pred=predictions["y_true"])
    mixed = predictions.where(
        predictions["seed"] == 3, right
    )  # cell 0: 60 % with one seed, 100 % with the other
    table, _ = tables.score_table(pd.DataFrame({"m": [1, 2]}), mixed.astype({"y_pred": int}), 3)
    assert table["acc"].tolist() == pytest.approx([(60 + 100) / 2, (40 + 100) / 2], abs=1e-9)
    # UF1 with seed 3 is 11/18 and 4/21, as above; counts pooled over seeds would give other numbers.
    expected = np.multiply(50, [11 / 18 + 1, 4 / 21 + 1])
    np.testing.assert_allclose(table["uf1"].tolist(), expected, **EXACT)


def test_score_table_keeps_the_cells_and_adds_intervals(predictions):
    cells = pd.DataFrame({"m": [7, 2], "l_v": [3, 5]}, index=[4, 9])
    table, matrices = tables.score_table(cells, predictions, 3)
    assert table[["m", "l_v"]].to_numpy().tolist() == [[7, 3], [2, 5]]
    assert table.index.tolist() == [0, 1]
    np.testing.assert_array_equal(matrices, tables.count(predictions, "subject_id", 3))
    found = score_interval(matrices)
    for i, metric in enumerate(METRICS):
        for bound, values in (("low", found.low), ("high", found.high)):
            np.testing.assert_allclose(table[f"{metric}_{bound}"], 100 * values[:, i], **EXACT)
        assert (table[f"{metric}_low"] < table[f"{metric}_high"]).all()


def test_one_subject_is_too_few_for_an_interval(predictions):
    with pytest.raises(ValueError, match="subject"):
        tables.score_table(pd.DataFrame({"m": [1, 2]}), predictions.assign(subject_id="s"), 3)


def test_score_rows_scores_each_row_by_itself(predictions):
    by_cell = {
        "wrong twice": predictions[(predictions["cell"] == 0) & (predictions["seed"] == 3)],
        "always 0": predictions[predictions["cell"] == 1],
    }
    rows = tables.score_rows({name: p.drop(columns="cell") for name, p in by_cell.items()}, 3)
    table, _ = tables.score_table(pd.DataFrame({"m": [1, 2]}), predictions, 3)
    assert rows.index.tolist() == ["wrong twice", "always 0"]
    np.testing.assert_allclose(rows[list(METRICS)], table[list(METRICS)], **EXACT)


def test_chance_by_hand():
    # Labels 0, 0, 0, 1 and both guessed twice: 1.5 of 3 and 0.5 of 1 are right. ACC: always 0.
    expected = {"acc": 75, "uar": 50, "uf1": 100 * (3 / 5 + 1 / 3) / 2}
    assert tables.chance([0, 0, 0, 1], 2) == pytest.approx(expected, abs=1e-9)
    # Of the protocol's three classes two occur, and one of two guesses of these is right: as of the majority.
    assert tables.chance([0, 1], 3)["uar"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 0) / 3, abs=1e-9)


def test_majority_says_the_most_frequent_class_of_training_and_the_first_of_ties(clips):
    folds = [Fold(np.array([2, 3, 4]), np.array([0, 1])), Fold(np.array([0, 1, 3, 4]), np.array([2]))]
    folds.append(Fold(np.array([0, 2]), np.array([3, 4])))
    rows = references.majority(clips, folds)
    assert rows["clip_id"].tolist() == list("abcde")
    assert rows["y_pred"].tolist() == [2, 2, 0, 0, 0]  # classes 1, 2, 2; a tie of 0 and 2; a tie of 0 and 1
    assert rows["fold"].tolist() == [0, 0, 1, 2, 2]
    checks = tables.check_predictions(rows.assign(cell=0), clips)
    assert checks["rows"].tolist() == ["5", "5"]


def test_describe_clips_by_hand(clips):
    lengths = clips.assign(onset=[1, 1, 1, 1, 1], offset=[3, 5, 7, 9, 9], expression_type="micro")
    table = tables.describe_clips(
        SimpleNamespace(clips=lengths, tested=lengths, classes=("x", "y", "z", "never"))
    )
    assert table.index.tolist() == ["x", "y", "z", "never", "all"]
    assert table["clips"].tolist() == [2, 1, 2, 0, 5]
    assert table["subjects"].tolist() == [1, 1, 1, 0, 3]
    assert table["median length, frames"].fillna(-1).tolist() == [4, 7, 9, -1, 7]


@pytest.fixture
def with_macro(tmp_path):
    """Tiny clips of five subjects, those of the last and every other one of the first macro clips."""
    data = tiny_dataset(tmp_path)
    is_macro = (data.clips["subject_id"] == "tiny/s4") | (data.clips.index % 10 == 0)
    kinds = np.where(is_macro, "macro", "micro")
    return dataclasses.replace(data, clips=data.clips.assign(expression_type=kinds))


def test_described_clips_are_those_tested_and_macro_clips_stand_beside_them(with_macro):
    # Macro clips are 0, 10, 20 (subject 0) and 4, 9, 14, 19 (subject 4); the class is the number modulo 3.
    table = tables.describe_clips(with_macro)
    assert table["macro clips, for training"].tolist() == [2, 3, 2, 7]
    assert table["clips"].tolist() == [6, 5, 5, 16]
    assert table.loc["all", "subjects"] == 4


def test_described_subjects_have_their_macro_clips_in_a_column_of_their_own(with_macro):
    table = tables.describe_subjects(with_macro)
    assert table["macro clips, for training"].to_dict() == {
        "tiny/s0": 3, "tiny/s1": 0, "tiny/s2": 0, "tiny/s3": 0, "tiny/s4": 4
    }  # fmt: skip
    assert table["clips"].to_dict() == {
        "tiny/s1": 5, "tiny/s2": 5, "tiny/s3": 4, "tiny/s0": 2, "tiny/s4": 0
    }  # fmt: skip
    assert table["clips"].is_monotonic_decreasing
    assert (table[["low", "middle", "high"]].sum(axis=1) == table["clips"]).all()


# --- parts of the predictions -----------------------------------------------------------------------------


@pytest.fixture
def recorded():
    """Eight clips of four subjects, two folds; of the first two subjects, one clip of a recording in each."""
    return pd.DataFrame(
        {
            "clip_id": list("abcdefgh"),
            "subject_id": ["s0", "s0", "s1", "s1", "s2", "s3", "s2", "s3"],
            "recording_id": ["s0/a", "s0/a", "s1/a", "s1/a", "s2/a", "s3/a", "s2/a", "s3/b"],
            "label": [0, 1, 0, 1, 0, 1, 1, 0],
            "fold": [0, 1, 0, 1, 0, 0, 0, 1],
        }
    )


def _folds(clips):
    numbers = clips["fold"].to_numpy()
    return [Fold(np.flatnonzero(numbers != n), np.flatnonzero(numbers == n)) for n in np.unique(numbers)]


def _predicted(clips, *y_pred):
    """Predictions of a class for each clip, one list per seed."""
    rows = clips.rename(columns={"label": "y_true"}).drop(columns="recording_id", errors="ignore")
    return pd.concat([rows.assign(seed=seed, y_pred=classes) for seed, classes in enumerate(y_pred)])


def test_clips_are_scored_apart_by_whether_training_has_their_recording(recorded):
    # Of a to d three are right, of e to h one; with another seed all and none.
    rows = _predicted(recorded, [0, 1, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 1, 0, 0, 1])
    shuffled = rows.sample(frac=1, random_state=0)
    table = tables.by_recording(shuffled, recorded, _folds(recorded), 2)
    assert list(table.index) == ["recording in training", "recording not in training"]
    assert table["clips"].tolist() == [4, 4]
    np.testing.assert_allclose(table["acc"], [100 * 7 / 8, 100 * 1 / 8], **EXACT)


@pytest.mark.parametrize(
    "change",
    [
        {"recording_id": list("abcdefgh")},
        {"subject_id": ["s0"] * 4 + ["s2", "s3", "s2", "s3"]},  # one subject has no interval
        {"label": [0, 0, 0, 0, 0, 1, 1, 0]},  # nor has one class
    ],
)
def test_a_group_that_cannot_be_scored_is_left_out(recorded, change):
    clips = recorded.assign(**change)
    table = tables.by_recording(_predicted(clips, [0] * 8), clips, _folds(clips), 2)
    assert list(table.index) == ["recording not in training"]


def test_recalls_by_hand_are_means_over_seeds():
    clips = pd.DataFrame({"label": [0, 0, 0, 1]})
    table = tables.class_recalls(_predicted(clips, [0, 0, 1, 1], [0, 0, 1, 0]), ("sad", "happy", "never"))
    assert list(table.columns) == ["sad", "happy", "never", "recall"]
    assert table.index.name == "true class"
    np.testing.assert_allclose(
        table, [[2, 1, 0, 100 * 2 / 3], [0.5, 0.5, 0, 50], [0, 0, 0, 0]], rtol=0, atol=1e-6
    )


def test_clips_shorter_than_the_frames_are_padded():
    clips = pd.DataFrame({"onset": [1, 10, 5, 7], "offset": [3, 14, 11, 17]})  # lengths 3, 5, 7, 11
    table = tables.padding(clips, [2, 5, 6, 11, 12])
    assert table.to_dict("list") == {"n_frames": [2, 5, 6, 11, 12], "padded": [0, 25, 50, 75, 100]}


# --- rows of a design -------------------------------------------------------------------------------------


def test_differences_are_in_points_and_p_values_are_not():
    ends = np.arange(6).reshape(2, 3) / 100
    compared = Compared(ends, ends - 0.02, ends + 0.03, ends, 0.5 + ends)
    table = tables.compare_rows(["second", "third"], compared, 10 * ends)
    assert table["row"].tolist() == ["second", "third"]
    expected = {"acc": [0, 3], "uar_low": [-1, 2], "uf1_high": [5, 8], "uar_detectable": [10, 40]}
    for column, values in expected.items():
        np.testing.assert_allclose(table[column], values, **EXACT)
    np.testing.assert_allclose(table["uf1_p"], [0.52, 0.55], **EXACT)


def test_shown_differences_have_signs_intervals_and_corrected_p():
    ends = np.array([[0.01, -0.0234, 0.0456]])
    table = tables.compare_rows(
        ["second"], Compared(ends, ends - 0.02, ends + 0.03, ends, ends * 0 + 0.0123), ends + 0.1
    )
    html = tables.show_comparisons(table).to_html()
    for text in ("second", "-2.3 [-4.3, +0.7]", "+4.6 [+2.6, +7.6]", "0.012"):
        assert f">{text}</td>" in html
    assert "UAR, points" in html
    assert "ACC" not in html


def test_protocols_tell_the_clips_of_each_row():
    folds = [[Fold(np.arange(7), np.arange(3)), Fold(np.arange(4), np.arange(2))], [Fold(np.arange(11), [1])]]
    studies = [
        SimpleNamespace(folds=lambda dataset: dataset, protocol=lambda of_row: f"{len(of_row)} folds")
    ] * 2
    shown = tables.show_protocols(pd.DataFrame({"row": ["x", "y"]}, index=[5, 3]), studies, folds).data
    assert shown.to_numpy().tolist() == [["x", 5, 6, "2 folds"], ["y", 1, 11, "1 folds"]]


@pytest.fixture
def rows(predictions):
    """Predictions of two rows, without ``cell``."""
    return {
        name: predictions[predictions["cell"] == cell].drop(columns="cell")
        for cell, name in enumerate(["wrong twice", "always 0"])
    }


def test_every_row_is_checked_against_its_own_clips(rows, clips):
    datasets = [SimpleNamespace(tested=clips)] * 2
    checks = tables.check_rows(rows, datasets)
    assert checks["row"].tolist() == ["wrong twice", "wrong twice", "always 0", "always 0"]
    assert checks["rows"].tolist() == ["10"] * 4
    other = SimpleNamespace(tested=clips.assign(label=[0, 0, 1, 2, 1]))
    with pytest.raises(ValueError, match="label or subject"):
        tables.check_rows(rows, [datasets[0], other])


def test_rows_are_scored_with_the_classes_of_their_own_dataset(rows):
    datasets = [SimpleNamespace(classes="xyz"), SimpleNamespace(classes="wxyz")]
    cells = pd.DataFrame({"row": ["wrong twice", "always 0"], "m": [7, 2]})
    table = tables.score_cells(cells, rows, datasets)
    assert table[["row", "m"]].equals(cells)
    # Recalls 1/2, 1 and 1/2 of three classes; 1, 0 and 0 of four.
    np.testing.assert_allclose(table["uar"], [100 * 2 / 3, 100 / 4], **EXACT)


def test_matrices_of_rows_are_those_of_cells(rows, predictions):
    made = tables.matrices_of(list(rows.values()), 3)
    np.testing.assert_array_equal(made, tables.count(predictions, "subject_id", 3))


def test_printed_rows_stand_beside_ours_by_their_number():
    printed = pd.array([4, None, 0, 4], dtype="Int64")
    table = tables.beside_printed(scored(pd.DataFrame({"row": list("abcd"), "printed": printed})), "table7")
    assert table["row"].tolist() == list("abcd")
    assert table["uf1_paper"].fillna(-1).tolist() == [52.7, -1, 35.1, 52.7]
    assert table["acc_paper"].fillna(-1).tolist() == [69.8, -1, 42.6, 69.8]
    assert table["macro_expressions"].tolist()[::2] == [True, False]
    assert table["uf1"].tolist() == [1.5] * 4
    assert table["n_classes"].fillna(-1).tolist() == [7, -1, 7, 7]


# --- beside the paper -------------------------------------------------------------------------------------

KEYS = {
    "table1": ["branch", "n_layers"],
    "table2": ["csta", "l_v", "l_s"],
    "table3": ["m", "l_v", "l_s"],
    "table4": ["m", "l_v", "l_s"],
    "table7": ["special_frames", "optical_flow", "macro_expressions", "objective_classes", "n_classes"],
}
N_PRINTED = {"table1": 16, "table2": 6, "table3": 12, "table4": 30, "table7": 5}


def scored(cells):
    return cells.assign(**dict.fromkeys(METRICS, 1.5))


@pytest.mark.parametrize("name", KEYS)
def test_every_printed_cell_is_joined_once(name):
    paper = load_table(name)
    ours = scored(paper[KEYS[name]].sample(frac=1, random_state=0, ignore_index=True))
    joined = tables.beside_paper(ours, name)
    pd.testing.assert_frame_equal(joined[ours.columns], ours)
    back = joined.set_index(KEYS[name]).loc[paper.set_index(KEYS[name]).index]
    assert len(joined) == N_PRINTED[name]
    for metric in METRICS:
        assert back[f"{metric}_paper"].tolist() == paper[metric].tolist()


def test_an_unprinted_cell_has_no_paper_score():
    joined = tables.beside_paper(scored(expand_grid({"m": [4, 9], "depths": [[2, 1]]})), "table4")
    assert joined["uf1_paper"].isna().tolist() == [False, True]
    assert joined["uf1"].tolist() == [1.5, 1.5]


@pytest.mark.parametrize(
    ("name", "cells", "message"),
    [
        ("table4", {"m": [4, 4], "l_v": 2, "l_s": 1}, "table4 and our cells do not match one to one"),
        ("table2", {"l_v": [0], "l_s": [0]}, r"one to one on .*'l_v', 'l_s'"),  # a1 and a2, without csta
        ("table4", {"d": [11]}, "share no setting with the paper's table4"),
    ],
)
def test_cells_that_are_not_one_to_one_with_printed_rows_are_refused(name, cells, message):
    with pytest.raises(ValueError, match=message):
        tables.beside_paper(scored(pd.DataFrame(cells)), name)


# --- showing ----------------------------------------------------------------------------------------------


@pytest.fixture
def shown_html():
    table = pd.DataFrame({"m": [4, 9]})
    for i, metric in enumerate(METRICS):
        values = {"": 21.26, "_low": 11.04, "_high": 31.95, "_folds": 41.0, "_paper": [51.5 + i, np.nan]}
        for suffix, value in values.items():
            table[metric + suffix] = value
    return tables.show(table, keys=["m"]).to_html()


def test_a_shown_table_holds_the_numbers_prints_no_nan_and_sets_ours_bold(shown_html):
    for text in ("21.3", "11.0 to 31.9", "41.0", "51.5", "52.5", "53.5", "–", "ACC, %", "UF1, %"):
        assert f">{text}</t" in shown_html
    assert "nan" not in shown_html
    assert "font-weight: bold" in shown_html


def test_words_are_at_the_left_of_their_column_and_numbers_at_its_right():
    scores = {f"{metric}{end}": [21.3] for metric in METRICS for end in ("", "_low", "_high", "_folds")}
    fits = {"train_accuracy": 61.0, "constant_accuracy": 40.0, "loss_share": 55.0, "loss_share_worst": 90.0}
    table = pd.DataFrame({"m": [4], "row": ["as it is"], **scores}).assign(**fits, fit="fitted")
    keys = ["m", "row"]
    plan = tables.show_plan(table[keys].assign(parameters=7, mflop=1.5))
    for shown in (tables.show(table, keys=keys), tables.show_fits(table, keys), plan):
        # A style of the whole table is stronger than one of a cell.
        assert re.findall(r"#T_\w+ +td\.(\w+) {\s*text-align: left", shown.to_html()) == ["col1"]
        assert re.search(r'class="data row0 col1" *>as it is<', shown.to_html())


def test_how_a_row_fits_is_shown_beside_its_scores(predictions):
    table = tables.score_rows({"all": predictions[predictions["cell"] == 0].drop(columns="cell")}, 3)
    fits = {"train_accuracy": 61.0, "constant_accuracy": 40.0, "loss_share": 55.0, "loss_share_worst": 90.0}
    html = tables.show(table.assign(**fits, fit="fitted")).to_html()
    assert "61 (40)" in html
    assert "55 (90)" in html
    assert ">fitted<" in html


def test_baselines_with_a_loss_of_their_own_are_told_where_there_are_some():
    table = pd.DataFrame({"system": ["HSTA", "LBP-TOP"], "fit": ["fitted", "not fitted"]})
    said = tables.conclude_fits(table, ["system"]).data
    assert said.startswith(
        "**Fitted** (1 of 2 rows); not fitted: LBP-TOP. A row fitted if in every fold its last"
    )
    assert "wrong training labels are counted instead" in said
    assert "labels" not in tables.conclude_fits(table.rename(columns={"system": "m"}), ["m"]).data


def test_rows_in_order_of_their_fit_are_told():
    table = pd.DataFrame({"m": range(6), "fit": "fitted", "loss_share": [5, 10, 15, 20, 25, 90]})
    table = table.assign(uar=50 - table["loss_share"])
    table.loc[5, ["fit", "uar"]] = "not fitted", 99
    said = tables.conclude_fits(table, ["m"]).data
    assert said.endswith("UAR and last loss correlate by r = -1.00; near -1 scores show fit.")
    for other in (
        table.head(4),
        table.assign(system="HSTA"),
        table.assign(labels="objective7"),
        table.assign(uar=9),
    ):
        assert "correlate" not in tables.conclude_fits(other, ["m"]).data


def test_a_table_without_paper_is_shown_without_its_column(predictions):
    rows = tables.score_rows({"all": predictions[predictions["cell"] == 0].drop(columns="cell")}, 3)
    html = tables.show(rows).to_html()
    assert "paper" not in html
    assert ">60.0</t" in html
    assert ">all</th>" in html


# --- what a dataset holds ---------------------------------------------------------------------------------


@pytest.fixture
def displayed(monkeypatch):
    """Texts that were displayed before what a function returned."""
    texts = []
    monkeypatch.setattr(tables, "display", lambda shown: texts.append(shown.data))
    return texts


def dataset_of(tmp_path, **changes):
    return dataclasses.replace(tiny_dataset(tmp_path), **changes)


def counts(expected, listed):
    table = pd.DataFrame({"emotion": ["sad"], "expected": [expected], "listed": [listed]})
    return table.assign(difference=table["listed"] - table["expected"])


@pytest.mark.parametrize(
    ("expected", "listed", "words"), [(5, 5, "as published"), (0, 5, "No counts are known")]
)
def test_a_version_is_named_and_compared(tmp_path, displayed, expected, listed, words):
    said = tables.describe_version(dataset_of(tmp_path, counts=counts(expected, listed)))
    assert words in said.data
    assert displayed == ["Found: tiny."]


def test_counts_that_differ_are_shown(tmp_path, displayed):
    shown = tables.describe_version(dataset_of(tmp_path, counts=counts(5, 3)))
    assert shown["difference"].tolist() == [-2]
    assert "differ from the published" in displayed[1]


def test_subjects_are_listed_the_largest_first(tmp_path):
    data = dataset_of(tmp_path)
    shown = tables.describe_subjects(data)
    assert shown["clips"].tolist() == [5, 5, 5, 4, 4]
    assert shown.columns.tolist() == ["clips", "recordings", "low", "middle", "high"]  # no macro clips
    assert (shown[["low", "middle", "high"]].sum(axis=1) == shown["clips"]).all()
    assert shown.loc["tiny/s0", "recordings"] == 2


def test_overlaps_are_shares_of_the_test_clips(tmp_path):
    clips = dataset_of(tmp_path).clips.assign(expression_type="micro")
    folds = {
        split: make_folds(clips, split=split, n_folds=3, stratify=False, split_seed=0)
        for split in ("subject", "paper")
    }
    html = tables.overlaps(clips, folds).to_html()
    subject, paper = html.split("paper")
    assert subject.count(">0.0 %<") == 5
    assert ">100.0 %<" in paper


def test_repairs_are_counted_together(tmp_path, displayed):
    rows = [("s", "a", "x", "taken as 1 2 3 (A)"), ("s", "b", "x", "taken as 4 5 6"), ("f", "c", "y", "left")]
    shown = tables.describe_problems(dataset_of(tmp_path, problems=problems_table(rows)))
    assert len(shown.data) == 3
    assert displayed == ["corrected: 2; left: 1."]


def test_problems_are_shown_with_all_their_rows_and_words(tmp_path, displayed):
    rows = [("s", str(n), f"clip {n}: {'a long path, ' * 9}<is> missing", "left out") for n in range(70)]
    shown = tables.describe_problems(dataset_of(tmp_path, problems=problems_table(rows)))._repr_html_()
    assert all(f"clip {n}: {'a long path, ' * 9}&lt;is&gt; missing" in shown for n in range(70))


def test_html_in_emotions_names_and_versions_is_shown_and_not_obeyed(tmp_path, displayed):
    bad = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    rows = [("sheet", bad, bad, f"left {bad}")]
    data = dataset_of(
        tmp_path, outside={bad: 3}, version=bad, problems=problems_table(rows), counts=counts(5, 5)
    )
    told = [tables.describe_problems(data)._repr_html_(), tables.answer_data(data, {}).data]
    told += [tables.describe_version(data).data, tables.code(f"`{bad}`"), *displayed]
    assert not any("<img" in text or "<script" in text for text in told if text[0] != "`")
    assert sum("&lt;img src=x" in text for text in told) == 5
    assert tables.code(f"a`\n\n{bad}") == f"`a' {bad}`"


def test_clips_in_which_nothing_moves_are_counted(tmp_path, displayed):
    dataset = dataset_of(tmp_path)
    tables.describe_problems(dataset)
    assert not displayed
    onset = dataset.clips["onset"].where(dataset.clips.index != 3, dataset.clips["apex"])
    tables.describe_problems(dataclasses.replace(dataset, clips=dataset.clips.assign(onset=onset)))
    assert displayed == ["In 1 clip the apex is the onset: the special branch sees no movement."]


def test_a_split_without_folds_has_no_row(tmp_path):
    clips = dataset_of(tmp_path).clips
    folds = make_folds(clips, split="loso", n_folds=2, stratify=False, split_seed=0)
    assert tables.overlaps(clips, {"subject": [], "loso": folds}).data.index.tolist() == ["loso"]
    assert "too few clips" in tables.overlaps(clips, {"subject": []}).data


def test_an_interval_is_written_with_its_sign_and_unit():
    row = {"uar": 27.56, "uar_low": -0.04, "uar_high": 32.2}
    assert tables.with_span(row, "uar") == "27.6 [0.0, 32.2]"
    assert tables.with_span(row, "uar", unit="%") == "27.6 % [0.0, 32.2]"
    assert tables.with_span(row, "uar", "+", "points") == "+27.6 points [+0.0, +32.2]"
    assert tables.span(-1.44, 3, "+") == "[-1.4, +3.0]"
    assert tables.span(50, 50) == tables.span(0, 0, "+") == "[no spread]"
    assert tables.span(49.99, 50.01) == "[50.0, 50.0]"  # it has a width
    assert tables.from_to(23, 32.25) == "23.0 to 32.2"


def test_an_interval_misses_zero_on_either_side_and_one_without_spread_does_not():
    table = pd.DataFrame({"uar_low": [1, -3, -1, 19, 0], "uar_high": [3, -1, 3, 19, 2]})
    assert tables.off_zero(table, "uar").tolist() == [True, True, False, False, False]
    assert [bool(tables.off_zero(row, "uar")) for row in table.to_dict("records")[2:4]] == [False, False]


def test_of_a_dataset_it_is_said_what_is_wrong_and_what_splits_give_away(tmp_path):
    data = dataset_of(tmp_path, counts=counts(5, 3), problems=problems_table([("s", "a", "x", "left")]))
    clips = data.clips.assign(expression_type="micro")
    folds = make_folds(clips, split="subject", n_folds=3, stratify=False, split_seed=0)
    said = tables.answer_data(dataclasses.replace(data, clips=clips), {"subject": folds}).data
    assert "Found: tiny; 1 problem.\n- 1 emotion with another number of clips than published." in said
    unknown = dataclasses.replace(data, clips=clips, counts=counts(0, 3))
    told = tables.answer_data(unknown, {"loso": [], "subject": folds}).data  # one that is left out
    assert "than published" not in told
    assert "by split: `subject` 0 %." in told
    assert "recording in training, by split: `subject` 0 %." in said
