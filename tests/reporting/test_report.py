"""Reports: sentences follow from numbers, records do not replace one another, figures show what they say."""

import io
import json
import re
import subprocess
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image as pillow
from tiny import result_of, save, tiny_trials

from hsta_lib import ROOT, config
from hsta_lib.config import Synthetic
from hsta_lib.data.splits import Fold
from hsta_lib.data.synthetic import population
from hsta_lib.data.table import class_names
from hsta_lib.evaluation import references
from hsta_lib.reporting import plots, records, sentences, tables
from hsta_lib.study.study import start
from hsta_lib.training import archive, store
from hsta_lib.training.trials import NAMED_CELL

pytestmark = pytest.mark.usefixtures("no_environment")


def _study(**parameters):
    return start("table4", {"preset": "smoke", **parameters})


SIZES = np.array([4, 6, 10])  # clips of each subject and class


def matrices_of(hits):
    """Confusion matrices of subjects who have all classes of `SIZES`; what is no hit is taken for the next.

    ``hits``: of the last class, shape (n_settings, n_seeds, n_subjects); of the others half are hits.
    """
    hits = np.asarray(hits)
    by_class = np.stack([np.full_like(hits, 2), np.full_like(hits, 3), hits], axis=-1)
    eye = np.eye(3, dtype=int)
    return by_class[..., None] * eye + (SIZES - by_class)[..., None] * np.roll(eye, 1, axis=1)


def predictions_of(matrices):
    """The predictions that confusion matrices count, in folds of every fifth subject."""
    rows = np.repeat(np.argwhere(np.ones_like(matrices)), matrices.ravel(), axis=0)
    table = pd.DataFrame(rows, columns=["cell", "seed", "subject_id", "y_true", "y_pred"])
    return table.assign(fold=table["subject_id"] % 5)


HITS = np.array([2, 5, 3, 3, 4, 2, 5, 2, 4, 3, 4])  # of each of eleven subjects; 37 of 110
EFFECTS = np.array([0, 3, 1, 4])  # of each cell


@pytest.fixture
def scored():
    """Four cells, one of them the named one, that differ by as many hits in every subject."""
    cells = pd.DataFrame({"m": [1, 8, 1, 4], "l_v": [1, 1, 2, 2], "l_s": [1, 1, 1, 1]})
    matrices = matrices_of((HITS + EFFECTS[:, None])[:, None])
    table, counted = tables.score_table(cells, predictions_of(matrices), 3)
    assert (counted == matrices).all()
    return tables.beside_paper(table, "table4"), matrices


def test_the_two_results_named_beforehand_are_summarised(scored):
    summary = sentences.summarise(*scored)
    assert list(summary.index) == ["named setting (M = 4, L_v = 2, L_s = 1)", "mean of all 4 settings"]
    # Recalls: 2 of 4, 3 of 6, and 37 hits and 11 times the effect (4; on average 2) of 110.
    expected = [100 * (0.5 + 0.5 + hits / 110) / 3 for hits in (37 + 44, 37 + 22)]
    assert summary["uar"].tolist() == pytest.approx(expected)
    assert summary["acc"].tolist() == pytest.approx([100 * (55 + hits) / 220 for hits in (81, 59)])
    assert summary["uar_paper"].tolist() == [38.0, pytest.approx((33.9 + 38.6 + 35.7 + 38.0) / 4)]
    named = scored[0].iloc[3]
    for metric in ("acc", "uar", "uf1"):
        for end in ("", "_low", "_high", "_folds"):
            assert summary[metric + end].iloc[0] == named[metric + end]


def test_the_interval_of_the_mean_is_that_of_equal_cells_and_nearly_none_where_effects_cancel(scored):
    table, matrices = scored
    same = np.repeat(matrices[:1], 4, axis=0)
    mean, one = sentences.summarise(table, same).iloc[-1], table.iloc[0]
    for end in ("uar_low", "uar_high", "uf1_low", "uf1_high"):
        assert mean[end] == pytest.approx(one[end])
    opposed = matrices_of(np.stack([HITS, 7 - HITS] * 2)[:, None])
    mean = sentences.summarise(table, opposed).iloc[-1]
    assert mean["uar_high"] - mean["uar_low"] < 0.5  # not zero: a few clips more could tell


def test_the_order_of_subjects_does_not_matter(scored):
    table, matrices = scored
    order = np.random.default_rng(0).permutation(11)
    moved = matrices[:, :, order]
    pd.testing.assert_frame_equal(sentences.summarise(table, matrices), sentences.summarise(table, moved))
    found, of_moved = (sentences.against_first(rows_of("abcd"), of) for of in (matrices, moved))
    pd.testing.assert_frame_equal(found, of_moved)


def test_without_the_named_setting_only_the_mean_is_left(scored):
    table, matrices = scored
    assert list(sentences.summarise(table.head(3), matrices[:3]).index) == ["mean of all 3 settings"]


def _conclusion(scored, uar=(10.0, 30.0)):
    row = {"uar": 20.0, "uar_low": uar[0], "uar_high": uar[1]}
    shuffled = pd.DataFrame([row], index=["labels shuffled"])
    return sentences.conclude(sentences.summarise(*scored), shuffled, 14.3).data


def test_the_conclusion_says_what_the_numbers_say(scored):
    text = _conclusion(scored)
    row = scored[0].iloc[3]
    shown = f"{row['uar']:.1f} % [{row['uar_low']:.1f}, {row['uar_high']:.1f}]"
    assert f"UAR of the named setting (M = 4, L_v = 2, L_s = 1): {shown}, **above chance**" in text
    assert "UAR of the mean of all 4 settings: 51.2 % [" in text
    assert (
        "  - chance 14.3 %.\n  - labels shuffled 20.0 % [10.0, 30.0], not distinguishable from chance."
        in text
    )
    assert "without a picture" not in text


def test_of_the_predictors_without_a_picture_the_conclusion_names_the_best(scored):
    rows = {"without a picture: film": 31.0, "without a picture: clip timing": 17.0, "majority class": 33.3}
    rows |= {"without a picture: action units, linear": 81.0, "linear model on apex less onset": 57.0}
    rows |= {"linear model on the true motion": 61.0, "ceiling: true action units known": 82.0}
    references = pd.DataFrame({"uar": rows})
    references["uar_low"], references["uar_high"] = references["uar"] - 2, references["uar"] + 3
    text = sentences.conclude(sentences.summarise(*scored), references, 33.3).data
    assert (
        "the best predictor without a picture: film, annotated action units apart: 31.0 % [29.0, 34.0]"
        in text
    )
    assert (
        "  - the best linear model on the true motion: 61.0 % [59.0, 64.0].\n  - the ceiling: true " in text
    )
    assert "timing" not in text
    assert "81.0" not in text


@pytest.mark.parametrize(
    ("uar", "words"),
    [((15.0, 20.0), "above chance"), ((5.0, 14.0), "below chance"), ((5.0, 14.3), "not dist")],
)
def test_chance_is_above_below_or_inside_the_interval(scored, uar, words):
    assert f"labels shuffled 20.0 % [{uar[0]:.1f}, {uar[1]:.1f}], {words}" in _conclusion(scored, uar)


def test_a_trend_is_the_difference_of_the_ends_of_each_group_on_the_same_clips(scored):
    table, matrices = scored
    of_both, of_all = (sentences.trend(table, matrices, "m", by).data for by in ({"l_v": "L_v ="}, {}))
    # Three more of ten hits in each subject are a tenth of the mean of three recalls.
    for name in ("L_v = 1, HSTA modules from 1 to 8", "L_v = 2, HSTA modules from 1 to 4"):
        said = rf"- {name}: UAR \+10\.0 points \[\+\d\.\d, \+1\d\.\d\], \*\*above zero\*\*; UF1 \+"
        assert re.search(said, of_both)
    said = "- **UAR from the fewest to the most HSTA modules: higher in 2 of 2 comparisons.**\n"
    assert of_both.startswith(said)
    opened, line, few = of_all.splitlines()
    assert opened.endswith(": higher in 1 of 1 comparison.**")
    assert few.startswith("- With one seed this compares")
    same = sentences.trend(table, matrices[[0] * 4], "m", {}).data
    assert ": not shown to change in 1 of 1 comparison.**" in same
    assert line.startswith("- HSTA modules from 1 to 8: UAR ")
    unfit = table.assign(fit=["fitted", "fitted", "fitted", "not fitted"])
    said = sentences.trend(unfit, matrices, "m", {"l_v": "L_v ="}).data.splitlines()
    assert said[0].endswith(": higher in 1 of 2 comparisons.**")
    assert [line.endswith("; at 4 the networks have not fitted.") for line in said[1:3]] == [False, True]
    assert sentences.trend(table.assign(m=4), matrices, "m", {"l_v": "L_v ="}).data.endswith(
        "alone: no trend."
    )
    zero = sentences.trend(table.assign(m=[0, 8, 1, 4]), matrices, "m", {}).data
    # 2 hits more; a depth of 0 is a check.
    assert "\n- HSTA modules from 1 to 8: UAR +6.7 points" in zero


def test_a_linear_model_is_held_against_the_named_setting_on_the_same_clips():
    rng = np.random.default_rng(0)
    about = pd.DataFrame({"subject_id": np.repeat(list("abcdefghijk"), 10), "y_true": np.tile(range(2), 55)})
    about = about.assign(fold=0)
    wrong = rng.random((4, 110)) < np.array([0.4, 0.4, 0.4, 0.1])[:, None]
    rows = [about.assign(y_pred=abs(about["y_true"] - of_row), seed=0, cell=0) for of_row in wrong]
    hsta = pd.concat([row.assign(seed=seed) for seed, row in enumerate(rows[:3])])
    table, matrices = tables.score_table(pd.DataFrame([NAMED_CELL]), hsta, 2)
    said = sentences.against_linear(table, matrices, {tables.LINEAR: rows[3]}, 2).data
    uar = [np.mean([(row["y_pred"] == row["y_true"])[row["y_true"] == label].mean() for label in (0, 1)])
           for row in rows]  # fmt: skip
    assert f"on the same clips: UAR {100 * (uar[3] - np.mean(uar[:3])):+.1f} points [" in said
    assert "**above zero**; UF1 +" in said
    by_seed = pd.concat([rows[3].assign(seed=seed) for seed in range(3)])  # trained for each seed
    assert sentences.against_linear(table, matrices, {tables.LINEAR: by_seed}, 2).data == said
    assert sentences.against_linear(table, matrices, {}, 2).data == ""
    assert sentences.against_linear(table.assign(m=3), matrices, {tables.LINEAR: rows[3]}, 2).data == ""


# --- differences from the first row -----------------------------------------------------------------------

NAMES = ["first", "the same", "better", "worse", "no matter"]


def rows_of(names, unfit=()):
    fit = ["not fitted" if name in unfit else "fitted" for name in names]
    return pd.DataFrame({"row": list(names), "fit": fit})


@pytest.fixture
def differences():
    """Rows with three more hits, two fewer hits, and one more or fewer by turns, in every subject."""
    by_turns = np.where(np.arange(11) % 2, -1, 1)
    hits = np.stack([HITS, HITS, HITS + 3, HITS - 2, HITS + by_turns])
    return sentences.against_first(rows_of(NAMES), matrices_of(hits[:, None]))


def test_a_known_effect_is_found_and_none_where_there_is_none(differences):
    assert differences["row"].tolist() == NAMES[1:]
    assert differences["acc"].tolist() == pytest.approx([0, 100 * 3 / 20, -100 * 2 / 20, 100 / 220])
    assert differences["uar"].tolist() == pytest.approx([0, 10, -100 * 2 / 30, 100 / 330])
    found = differences.set_index("row")
    assert (found.loc[["better", "worse"], "uar_p"] < 1e-6).all()  # all eleven subjects agree
    assert (found.loc[["the same", "no matter"], ["acc_p", "uar_p", "uf1_p"]] > 0.5).all(axis=None)
    assert found.loc["the same", ["uf1", "uf1_low", "uf1_high"]].tolist() == pytest.approx([0, 0, 0])
    assert (found[["uar_low", "uf1_low"]].to_numpy() <= found[["uar", "uf1"]].to_numpy()).all()
    assert not found.filter(regex="low|high|_p").isna().any(axis=None)


def test_with_few_subjects_that_agree_nothing_is_undefined():
    few = sentences.against_first(
        rows_of("abc"), matrices_of(np.array([[3, 4, 5], [3, 4, 5], [6, 4, 8]])[:, None])
    )
    unknown = few.columns.str.endswith("detectable")  # with one seed
    assert not few.loc[:, ~unknown].isna().any(axis=None)
    assert few.loc[:, unknown].isna().all(axis=None)
    assert "four of five" not in sentences.conclude_differences(_study(), few).data


def test_rows_that_did_not_fit_change_nothing_of_the_others():
    rng = np.random.default_rng(0)
    hits = np.stack([HITS, HITS + 2, HITS + 1])[:, None] + np.zeros((1, 3, 1), dtype=int)
    wild = rng.integers(0, 10, size=(3, 11))  # its trainings scatter
    matrices = matrices_of(np.concatenate([hits[:2], wild[None], hits[2:]]))
    found = sentences.against_first(rows_of("abcd", unfit="c"), matrices)
    alone = sentences.against_first(rows_of("abd"), matrices[[0, 1, 3]])
    assert found["row"].tolist() == list("bcd")
    pd.testing.assert_frame_equal(found.iloc[[0, 2]].reset_index(drop=True), alone)
    of_unfit = found.iloc[1]
    assert of_unfit.filter(regex="_p$|_detectable$").isna().all()
    assert of_unfit["uar_low"] < of_unfit["uar"] < of_unfit["uar_high"]
    together = sentences.against_first(rows_of("abcd"), matrices)
    assert together["uar_low"][0] < found["uar_low"][0]  # with it the others' intervals are wider
    assert "–" in tables.show_comparisons(found).to_html()
    of_none = sentences.against_first(rows_of("abcd", unfit="a"), matrices)
    assert of_none.filter(regex="_p$").isna().all(axis=None)


def test_rows_that_are_asked_for_are_told_whatever_they_are(differences):
    named = differences.replace({"row": {"worse": "worse than CSTA"}})
    unfit = sentences.tell(named.assign(uar_p=np.nan), ["worse than CSTA"]).data
    assert unfit.startswith("- Worse than CSTA: UAR -6.7 points [")
    assert unfit.endswith("; it has not fitted.")
    said = sentences.tell(differences, ["worse", "the same"]).data.splitlines()
    assert said[0].startswith(
        "- The same: UAR +0.0 points [no spread], **not distinguishable from zero**; UF1 "
    )
    assert re.match(r"- Worse: UAR -6\.7 points \[-\d\.\d, -\d\.\d\], \*\*below zero\*\*; UF1", said[1])


def test_where_the_data_gives_one_row_or_none_nothing_is_compared(differences):
    for rows in ([], [[3, 4, 5]]):
        matrices = np.empty((0, 1, 3, 2, 2)) if not rows else matrices_of(np.array(rows)[:, None])
        none = sentences.against_first(rows_of(NAMES[: len(rows)]), matrices)
        assert none.empty
        assert list(none) == list(differences)
    assert sentences.as_summary(differences, none).index.tolist() == NAMES[1:]
    assert "against the first row" in tables.show_comparisons(none).to_html()


def test_rows_that_did_not_fit_are_named_where_differences_are_told(differences):
    fits = pd.DataFrame(
        {"row": NAMES, "fit": ["fitted", "fitted", "not fitted", "fitted", "reads no pixels"]}
    )
    told = sentences.conclude_differences(_study(), differences, fits=fits).data
    assert "- Not fitted, so that their differences are not about the method: better.\n" in told
    assert "- UAR: **of 3 that fitted, 0 above the first row, 1 below**, in points: worse (" in told
    assert "better (" not in told
    panel, _ = plots.differences(differences, fits=fits).axes
    marked = [text.get_text() for text in panel.get_yticklabels()]
    assert marked == [f"{name}, not fitted" if name == "better" else name for name in NAMES[1:]]
    for no_reason in (fits.assign(fit="fitted"), fits[["row"]], None):
        told = sentences.conclude_differences(_study(), differences, fits=no_reason).data
        assert "itted" not in told
        assert "- UAR: **of 4, 1 above the first row, 1 below**" in told


@pytest.mark.parametrize("unfit", [NAMES[:1], NAMES[1:4]])
def test_where_nothing_has_fitted_that_could_be_compared_no_difference_counts(differences, unfit):
    fits = pd.DataFrame({"row": NAMES[:4], "fit": "fitted"})
    fits.loc[fits["row"].isin(unfit), "fit"] = "not fitted"
    told = sentences.conclude_differences(_study(), differences[:3], fits=fits).data.splitlines()
    assert told[0] == "- **No difference counts**: the first row or all others have not fitted."
    assert told[1].endswith(": " + "; ".join(unfit) + ".")
    figure = plots.differences(differences[:3], fits=fits)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not fitted: about the training"]


def test_rows_that_differ_are_said_and_counted(differences):
    text = sentences.conclude_differences(_study(), differences).data
    lines = {line[2:].partition(":")[0]: line for line in text.splitlines()}
    ends = r"\[[+-]\d+\.\d, [+-]\d+\.\d\]"
    said = rf"in points: better \(\+10\.0 {ends}\); worse \(-6\.7 {ends}\)\."
    assert re.fullmatch(rf"- UAR: \*\*of 4, 1 above the first row, 1 below\*\*, {said}", lines["UAR"])
    assert "of 4, 1 above the first row, 1 below**, in points: better (+" in lines["UF1"]
    assert lines["Not shown to differ in either"].endswith(": the same; no matter.")
    assert "With one seed this compares the networks that were trained" in text
    assert "With" not in sentences.conclude_differences(_study(seeds=[0, 1, 2, 3, 4]), differences).data
    assert (
        "UF1: **of 1, 0 above the first row, 0 below**."
        in sentences.conclude_differences(_study(), differences.tail(1)).data
    )


@pytest.mark.parametrize(
    ("p", "low", "high", "is_said"), [(0.01, 1, 3, True), (0.01, -3, -1, True), (0.06, -1, 3, False)]
)
def test_a_row_differs_if_its_p_and_so_its_interval_say_so(differences, p, low, high, is_said):
    changes = {"uf1": (low + high) / 2, "uf1_low": low, "uf1_high": high, "uf1_p": p}
    table = differences.tail(1).assign(**changes)
    text = sentences.conclude_differences(_study(), table).data
    assert ("UF1: **of 1, 0 above the first row, 0 below**" not in text) == is_said


def test_differences_are_summarised_for_the_record(differences, tmp_path, monkeypatch):
    summary = sentences.as_summary(differences, differences.assign(row=["a", "b", "c", "d"]))
    assert list(summary.index) == [*NAMES[1:], "a", "b", "c", "d"]
    assert summary.loc["better", "uar"] == pytest.approx(10)
    assert {"uf1_low", "uf1_high", "uf1_p", "uf1_detectable"} <= set(summary)
    monkeypatch.setattr(config, "records_dir", lambda: tmp_path / "reports")
    dataset = SimpleNamespace(tested=pd.DataFrame({"subject_id": ["s"]}), classes=("a",), fingerprint="f")
    name = records.write(_study(), dataset, [], differences, summary, differences)
    text = (tmp_path / name).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["summary"]["worse"]["uar"] == pytest.approx(-6.6667)


def test_the_peak_is_where_every_draw_has_it():
    frames = pd.Series([2, 5, 11, 17], name="n_frames")
    table = sentences.peaks(frames, matrices_of((HITS + np.array([0, 1, 4, 2])[:, None])[:, None]), 101)
    assert (table.index.name, list(table.index)) == ("n_frames", [2, 5, 11, 17])
    for metric in ("ACC", "UAR", "UF1"):
        assert table[f"{metric}, % of draws"].tolist() == [0, 0, 100, 0]
        assert table[f"{metric}, here"].tolist() == ["", "", "highest", ""]
    alike = sentences.peaks(pd.Series([2, 3], name="m"), matrices_of(np.stack([HITS, HITS])[:, None]), 13)
    assert alike["UF1, % of draws"].tolist() == [50, 50]


def test_seconds_are_those_of_the_fastest_trial_of_a_cell(monkeypatch, tmp_path):
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path))
    trials = tiny_trials(n_folds=3)
    for trial, seconds in zip(trials, (2.0, 5.0, 11.0), strict=True):
        save(trial, result_of(more={"seconds": seconds}), tmp_path)
    assert sentences.seconds_of([trials[:2], trials[1:], trials]) == [2.0, 5.0, 2.0]


def test_the_results_of_a_report_are_kept_beside_it(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "records_dir", lambda: tmp_path / "reports")
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path / "results"))
    trials = tiny_trials(n_folds=2)
    with pytest.raises(ValueError, match=f"{trials[0].id}|{trials[1].id}"):
        records.keep(_study(), trials)
    for trial in trials:
        save(trial, result_of(), tmp_path / "results")
    name = records.keep(_study(), [*trials, trials[0]])
    assert name == str(tmp_path / "reports" / "table4-smoke-synthetic-subject.trials.jsonl.gz")
    assert archive.unpack(tmp_path / name, tmp_path / "new") == (2, 2, 0, 0)


# --- records ----------------------------------------------------------------------------------------------


def _names(**parameters):
    return records._record_name(_study(**parameters))


def test_runs_of_other_parameters_write_other_records():
    assert _names() == "table4-smoke-synthetic-subject"
    others = [
        _names(split="paper"), _names(labels="emotion3"), _names(seeds=[1]), _names(grid={"m": [1]}),
        _names(grid={"m": [2]}), _names(labels="emotion3", seeds=[1]),
    ]  # fmt: skip
    assert len({_names(), *others}) == 7
    assert _names(workers=2) == _names()


def test_a_record_is_json_without_paths_or_nan(scored, tmp_path, monkeypatch):
    monkeypatch.setattr(config, "records_dir", lambda: tmp_path / "reports")
    table, matrices = scored
    table.loc[0, "uf1_paper"] = np.nan
    clips = pd.DataFrame({"clip_id": ["a", "b"], "subject_id": ["s", "s"]})
    dataset = SimpleNamespace(tested=clips, classes=("a", "b"), fingerprint="f")
    name = records.write(_study(), dataset, [], table, sentences.summarise(table, matrices), table.iloc[:1])
    text = (tmp_path / name).read_text()
    assert name == str(tmp_path / "reports" / "table4-smoke-synthetic-subject.json")
    assert json.loads(text, parse_constant=pytest.fail)["cells"][0]["uf1_paper"] is None
    assert str(tmp_path) not in text


# --- figures ----------------------------------------------------------------------------------------------

CHANCE = {"acc": 14.0, "uar": 14.3, "uf1": 13.0}


def test_lines_draw_ours_the_paper_s_and_chance(scored):
    table, _ = scored
    by = {"l_v": "$L_v$ =", "l_s": "$L_s$ ="}
    figure = plots.score_lines(table, "m", by, CHANCE, "M, number of HSTA modules")
    panels = figure.axes
    assert [panel.get_ylabel() for panel in panels] == ["ACC, %", "UAR, %", "UF1, %"]
    assert {panel.get_xlabel() for panel in panels} == {"M, number of HSTA modules"}
    ours, paper, *_, guessing = panels[2].lines
    assert len(panels[2].lines) == 2 * 2 + 1
    assert ours.get_xdata().tolist() == [1, 8]
    assert ours.get_ydata().tolist() == table["uf1"].tolist()[:2]
    assert paper.get_ydata().tolist() == [31.6, 35.1]
    assert guessing.get_ydata()[0] == 13.0
    assert [line.get_linestyle() for line in (ours, paper, guessing)] == ["-", "--", ":"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "$L_v$ = 1, $L_s$ = 1, ours"
    assert len(names) == 5


def test_a_band_is_the_interval_and_a_line_runs_in_order_of_the_setting(scored):
    table = scored[0].assign(n_frames=[7, 3, 5, 2])
    figure = plots.score_lines(table, "n_frames", {}, CHANCE, "frames per clip")
    line, paper = figure.axes[1].lines[:2]
    assert line.get_xdata().tolist() == [2, 3, 5, 7]
    assert (line.get_label(), paper.get_label()) == ("ours", "paper, real faces")
    (band,) = figure.axes[1].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((table["uar_low"].min(), table["uar_high"].max()))
    figure = plots.score_lines(table.drop(columns="uar_paper"), "n_frames", {}, CHANCE, "frames per clip")
    assert [len(panel.lines) for panel in figure.axes] == [3, 2, 3]


def test_dots_stand_in_the_order_of_their_names(scored):
    table, _ = scored
    figure = plots.score_dots(table, list("wxyz"), CHANCE)
    assert [panel.get_xlabel() for panel in figure.axes] == ["ACC, %", "UAR, %", "UF1, %"]
    panel = figure.axes[1]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list("wxyz")
    ours, paper, guessing = panel.lines
    assert ours.get_xdata().tolist() == table["uar"].tolist()
    assert ours.get_ydata().tolist() == [0, 1, 2, 3]
    assert paper.get_xdata().tolist() == table["uar_paper"].tolist()
    assert guessing.get_xdata()[0] == 14.3
    assert panel.get_ylim() == (3.5, -0.5)  # the first row on top
    ends = [segment[:, 0].tolist() for segment in panel.collections[0].get_segments()]
    assert ends == table[["uar_low", "uar_high"]].to_numpy().tolist()


def test_dots_without_one_level_of_chance_name_none(scored):
    # Rows with different numbers of classes have none in common.
    figure = plots.score_dots(scored[0], list("wxyz"), dict.fromkeys(CHANCE, float("nan")))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "ours, 95 % interval",
        "paper, real faces",
    ]


def test_differences_that_could_be_chance_are_grey(differences):
    panel, _ = plots.differences(differences).axes
    zero, shown, again, chance = panel.lines
    assert (zero.get_xdata(), again.get_xdata()) == ([0, 0], [0, 0])
    assert shown.get_xdata().tolist() == pytest.approx([10, -100 * 2 / 30])
    assert shown.get_ydata().tolist() == [1, 2]
    assert chance.get_ydata().tolist() == [0, 3]
    assert shown.get_color() != chance.get_color()
    assert [text.get_text() for text in panel.get_yticklabels()] == NAMES[1:]


def test_a_figure_is_described_by_its_words():
    figure = plots.ordered([2, 11], [5.0, 70.0], "frames per clip", "clips that repeat frames, %")
    _, metadata = figure._repr_mimebundle_()
    said = "horizontal axis: frames per clip. vertical axis: clips that repeat frames, %"
    assert metadata == {"image/png": {"alt": said}}


def test_a_confusion_matrix_shows_clips_and_shares():
    rows = pd.DataFrame({"y_true": [0] * 4 + [1] * 5, "y_pred": [0, 0, 0, 1, 1, 0, 0, 0, 0], "seed": 0})
    figure = plots.confusion(tables.class_recalls(rows, ("sad", "happy")))
    panel, scale = figure.axes
    assert [text.get_text() for text in panel.texts] == ["3", "1", "4", "1"]
    assert panel.collections[0].get_array().ravel().tolist() == pytest.approx([75, 25, 80, 20])
    assert [text.get_text() for text in panel.get_yticklabels()] == ["sad, 75 %", "happy, 20 %"]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["sad", "happy"]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("predicted class", "true class, its recall")
    assert scale.get_ylabel() == "share of the true class, %"


def test_a_single_line_has_its_units():
    (panel,) = plots.ordered([2, 11], [5.0, 70.0], "frames per clip", "clips that repeat frames, %").axes
    (line,) = panel.lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([2, 11], [5, 70])
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("frames per clip", "clips that repeat frames, %")
    assert panel.get_ylim()[0] == 0


def test_contact_sheet_shows_onset_apex_and_their_difference():
    clips = pd.DataFrame({"label": [1, 0, 1], "action_units": ["4", "12", "1"]})
    frames = np.full((3, 8, 4, 4, 3), 100, np.uint8)
    frames[0, -1] = 110
    figure = plots.contact_sheet(clips, frames, ("happy", "anger"))
    assert [panel.get_title() for panel in figure.axes[:2]] == ["happy\nAU 12", "anger\nAU 4"]
    shown = [panel.images[0].get_array()[0, 0, 0] for panel in figure.axes]
    assert shown == [100, 100, 100, 110, 127, 167]  # rows: onset, apex, 127.5 + 4 x difference


def test_a_photograph_is_a_jpeg_of_the_figure():
    clips = pd.DataFrame({"clip_id": ["a/1"], "label": [0], "action_units": ["12"]})
    frames = np.random.default_rng(0).integers(256, size=(1, 4, 17, 17, 3), dtype=np.uint8)
    content = plots.as_photograph(plots.contact_sheet(clips, frames, ("happy", "anger"))).data
    assert content[:2] == b"\xff\xd8"


def test_held_out_curves_stand_beside_those_of_the_training():
    losses = {"named": [[3.0, 1.0], [5.0, 3.0]], "shuffled": [[4.0, 4.0]]}
    figure = plots.losses(losses, {"shuffled": [[20.0, 30.0], [40.0, 30.0]]})
    training, held_out = figure.axes
    assert [line.get_ydata().tolist() for line in training.lines] == [[4, 2], [4, 4]]
    assert [line.get_ydata().tolist() for line in held_out.lines] == [[30, 30]]
    assert held_out.lines[0].get_color() == training.lines[1].get_color()
    assert held_out.get_ylabel() == "accuracy on held-out clips, %"
    assert len(plots.losses(losses, {}).axes) == len(plots.losses(losses).axes) == 1


def test_an_animation_plays_the_frames_of_each_class_three_times():
    clips = pd.DataFrame({"label": [1, 0, 1]})
    frames = np.zeros((3, 5, 8, 8, 3), np.uint8)
    frames[0, :3] = np.array([10, 110, 210])[:, None, None, None]
    frames[1, :3] = 60
    shown = plots.animation(clips, frames)
    played = pillow.open(io.BytesIO(shown.data))
    assert (played.n_frames, played.info["loop"], played.size) == (3, 3, (192, 96))
    seen = []
    for number in range(3):
        played.seek(number)
        picture = np.asarray(played.convert("RGB"))
        seen.append((picture[48, 48, 0], picture[48, 144, 0]))
    assert np.allclose(seen, [(60, 10), (60, 110), (60, 210)], atol=2)
    assert shown.metadata["alt"]
    assert plots.animation(clips, None) is None


def test_contact_sheet_draws_the_flow_on_one_scale():
    rng = np.random.default_rng(0)
    still = cv2.GaussianBlur(rng.integers(0, 255, (1, 67, 71, 3)).astype(np.uint8)[0], (0, 0), 2)
    frames = np.stack([[still, still], [still, np.roll(still, 2, axis=1)]])
    clips = pd.DataFrame({"label": [0, 1], "action_units": ["12", ""]})
    figure = plots.contact_sheet(clips, frames, ("happy", "anger"), flow=True)
    assert figure.axes[1].get_title() == "anger\n"
    assert figure.axes[6].get_ylabel().startswith("flow, to ")
    at_rest, to_the_right = (panel.images[0].get_array()[33, 35] for panel in figure.axes[6:])
    assert at_rest.min() > 250  # white
    assert to_the_right[0] > to_the_right[1] + 50  # red


def test_pictures_that_are_no_frames_are_shown_alone_under_their_names():
    clips = pd.DataFrame({"label": [1, 0], "action_units": ["4", "12"]})
    frames = np.stack([np.full((5, 4, 4, 3), 10 * row, np.uint8) for row in (1, 2)])
    frames[:, -1] += 5
    figure = plots.contact_sheet(clips, frames, ("happy", "anger"), pictures=("to the apex", "after it"))
    assert [panel.get_ylabel() for panel in figure.axes] == ["to the apex", "", "after it", ""]
    assert [panel.images[0].get_array()[0, 0, 0] for panel in figure.axes] == [20, 10, 25, 15]


def test_timing_shows_lengths_and_how_soon_the_apex_comes():
    clips = pd.DataFrame({"onset": [1, 10, 5], "apex": [3, 10, 9], "offset": [7, 10, 90]})
    length, lag = plots.timing(clips).axes
    named = [panel.get_legend().get_texts()[0].get_text() for panel in (length, lag)]
    assert named == ["median 7", "median 2"]
    assert [sum(bar.get_height() for bar in panel.patches) for panel in (length, lag)] == [3, 3]
    length.figure.canvas.draw()
    assert length.get_legend().get_window_extent().y0 >= length.get_window_extent().y1 - 1  # above the bars


@pytest.fixture(scope="module")
def benchmark():
    spec = Synthetic(n_subjects=10, n_micro=240, frame_size=64)
    clips = population.sample_clips(spec).sort_values("clip_id", ignore_index=True)
    classes = class_names("emotion7")
    clips["label"] = clips["emotion"].map(classes.index)
    rows = np.arange(len(clips))
    return (
        spec,
        SimpleNamespace(clips=clips, classes=classes),
        [Fold(rows[::2], rows[1::2]), Fold(rows[1::2], rows[::2])],
    )


def test_the_ceiling_is_near_what_is_expected_of_it(benchmark):
    spec, dataset, folds = benchmark
    rows = references.ceiling(dataset, folds, spec)
    assert sorted(rows["clip_id"]) == sorted(dataset.clips["clip_id"])
    # 240 clips: the s.d. of their share of hits is 0.025.
    assert np.mean(rows["y_true"] == rows["y_pred"]) == pytest.approx(population.expected_ceiling(), abs=0.1)


def test_the_linear_model_reads_the_true_motion(benchmark):
    spec, dataset, folds = benchmark
    rows = references.linear(dataset.clips, folds, references.true_motion(dataset, spec))
    # The majority class is 29 % of the clips.
    assert np.mean(rows["y_true"] == rows["y_pred"]) > 0.35


def test_the_commit_is_marked_dirty_by_code_alone(tmp_path, monkeypatch):
    # In a clone, so that the working tree of whoever runs this does not matter.
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    monkeypatch.setattr(store, "ROOT", tmp_path / "clone")
    monkeypatch.setattr(store, "PACKAGE", tmp_path / "clone" / "hsta_lib")
    version = store.code_version.__wrapped__  # of now, not as it was asked first
    assert re.fullmatch(r"[0-9a-f]{12}", version())
    (tmp_path / "clone" / "README.md").write_text("other")
    assert re.fullmatch(r"[0-9a-f]{12}", version())
    (tmp_path / "clone" / "hsta_lib" / "score.py").write_text("")
    assert version().endswith("-dirty")


def test_what_hangs_on_single_subjects_is_said():
    matrices = np.zeros((1, 1, 3, 2, 2))
    matrices[0, 0] = [[[4, 0], [0, 4]], [[1, 0], [0, 0]], [[0, 0], [1, 0]]]  # 8 clips, 1 and 1
    text = sentences.about_subjects(matrices.astype(int), ["a", "b"]).data
    # 10 squared by 64 + 1 + 1
    assert "The 3 subjects have unequal numbers of clips. They weigh as much as 1.5" in text
    # ACC 9 of 10, then 1 of 2; UAR 1 and 4 of 5, then 1 and 0.
    assert (
        "Without the largest (8 of 10 clips) the mean of all settings changes by ACC -40.0, UAR -40.0" in text
    )
    assert "a 3.7 %, b 3.7 %" in text  # each class is shown by two of three: (1 / 3) cubed
