"""Reports: sentences follow from numbers, records do not replace one another, figures show what they say."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from hsta_lib import ROOT, plots, references, report, tables
from hsta_lib.config import Synthetic
from hsta_lib.data import synthetic
from hsta_lib.data.splits import Fold
from hsta_lib.data.table import class_names
from hsta_lib.study import start

pytestmark = pytest.mark.usefixtures("no_environment")


def _study(**parameters):
    return start("table4", {"preset": "smoke", **parameters})


@pytest.fixture
def scored():
    """Four cells whose UF1 is known, the same in every draw but for a shift shared by all cells."""
    cells = pd.DataFrame({"m": [1, 8, 1, 4], "l_v": [1, 1, 2, 2], "l_s": [1, 1, 1, 1]})
    values = {
        "acc": [20.0, 30.0, 40.0, 50.0],
        "uar": [21.0, 31.0, 41.0, 51.0],
        "uf1": [10.0, 16.0, 20.0, 15.0],
    }
    table = cells.assign(**values)
    for metric in values:
        table[f"{metric}_low"], table[f"{metric}_high"] = table[metric] - 5, table[metric] + 5
        table[f"{metric}_folds"] = table[metric]
    shift = np.linspace(-5, 5, 101)[:, None, None]
    return tables.beside_paper(table, "table4"), shift + table[list(values)].to_numpy()


def test_the_two_results_named_beforehand_are_summarised(scored):
    summary = report.summarise(*scored)
    assert list(summary.index) == ["named setting (M = 4, L_v = 2, L_s = 1)", "mean of all 4 settings"]
    assert summary["uar"].tolist() == [51.0, 36.0]
    assert summary["uar_paper"].tolist() == [38.0, pytest.approx((33.9 + 38.6 + 35.7 + 38.0) / 4)]
    # Draws run from -5 to 5 around the mean: their middle 95 % from -4.75 to 4.75.
    assert summary["uar_low"].iloc[1] == pytest.approx(36 - 4.75)
    assert summary["uar_high"].iloc[1] == pytest.approx(36 + 4.75)


def test_without_the_named_setting_only_the_mean_is_left(scored):
    table, draws = scored
    assert len(report.summarise(table.head(3), draws[:, :3])) == 1


def test_trends_are_paired_so_that_a_shift_of_all_cells_cancels(scored):
    trends = report.depth_trends(*scored)
    assert trends["change"].tolist() == [6.0, -5.0]
    assert trends["low"].tolist() == pytest.approx([6.0, -5.0])
    assert trends["high"].tolist() == pytest.approx([6.0, -5.0])
    assert trends["paper_change"].tolist() == pytest.approx([35.1 - 31.6, 35.1 - 31.2])


def test_the_contrast_is_of_the_settings_with_product_eight(scored):
    contrast = report.product_contrast(*scored)
    assert contrast["change"] == pytest.approx((16 + 15) / 2 - (10 + 20) / 2)
    assert contrast["low"] == pytest.approx(contrast["high"])
    table, draws = scored
    assert report.product_contrast(table.iloc[[1, 3]], draws[:, [1, 3]]) is None


def _conclusion(study, scored, uar=(10.0, 30.0)):
    table, draws = scored
    summary = report.summarise(table, draws)
    row = {"uar": 20.0, "uar_low": uar[0], "uar_high": uar[1]}
    shuffled = pd.DataFrame([row], index=["labels shuffled"])
    contrast = report.product_contrast(table, draws)
    return report.conclude_table4(
        study, summary, shuffled, report.depth_trends(table, draws), contrast, 14.3
    ).data


def test_the_conclusion_says_what_the_numbers_say(scored):
    text = _conclusion(_study(), scored)
    assert "UAR of the named setting (M = 4, L_v = 2, L_s = 1): 51.0 % [46.0, 56.0], **above chance**" in text
    assert "UAR with labels shuffled: 20.0 % [10.0, 30.0], not distinguishable from chance" in text
    assert (
        "L_v = 1, L_s = 1, UF1 changes by +6.0 points [6.0, 6.0] (zero lies outside; in the paper by +3.5)"
        in text
    )
    assert "UF1 changes by -5.0 points" in text
    assert "neither supports nor contradicts the paper" in text


@pytest.mark.parametrize(
    ("uar", "words"),
    [((15.0, 20.0), "above chance"), ((5.0, 14.0), "below chance"), ((5.0, 14.3), "not dist")],
)
def test_chance_is_above_below_or_inside_the_interval(scored, uar, words):
    assert f"labels shuffled: 20.0 % [{uar[0]:.1f}, {uar[1]:.1f}], {words}" in _conclusion(
        _study(), scored, uar
    )


def test_scores_of_random_folds_over_clips_are_headed_subject_dependent(scored):
    assert "subject-dependent" in _conclusion(_study(split="paper"), scored)
    assert "subject-dependent" not in _conclusion(_study(), scored)


def _names(**parameters):
    return report._record_name(_study(**parameters))


def test_runs_of_other_parameters_write_other_records():
    assert _names() == "table4-smoke-synthetic-subject"
    others = [
        _names(split="paper"), _names(labels="emotion3"), _names(seeds=[1]), _names(grid={"m": [1]}),
        _names(grid={"m": [2]}), _names(labels="emotion3", seeds=[1]),
    ]  # fmt: skip
    assert len({_names(), *others}) == 7
    assert _names(workers=2) == _names()


def test_a_record_is_json_without_paths_or_nan(scored, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    table, draws = scored
    table.loc[0, "uf1_paper"] = np.nan
    clips = pd.DataFrame({"clip_id": ["a", "b"], "subject_id": ["s", "s"]})
    dataset = SimpleNamespace(clips=clips, fingerprint="f")
    name = report.record(_study(), dataset, [], table, report.summarise(table, draws), table.iloc[:1])
    text = (tmp_path / name).read_text()
    assert name == "reports/table4-smoke-synthetic-subject.json"
    assert json.loads(text, parse_constant=pytest.fail)["cells"][0]["uf1_paper"] is None
    assert str(tmp_path) not in text


def test_figures_draw_ours_the_paper_s_and_guessing(scored):
    table, _ = scored
    figure = plots.scores_by_depth(table, {"acc": 14.0, "uar": 14.3, "uf1": 13.0})
    panels = figure.axes
    assert [panel.get_ylabel() for panel in panels] == ["ACC, %", "UAR, %", "UF1, %"]
    ours, paper = panels[2].lines[0], panels[2].lines[1]
    assert ours.get_ydata().tolist() == [10.0, 16.0]
    assert paper.get_ydata().tolist() == [31.6, 35.1]
    assert (ours.get_linestyle(), paper.get_linestyle(), panels[2].lines[-1].get_linestyle()) == (
        "-",
        "--",
        ":",
    )


def test_contact_sheet_shows_onset_apex_and_their_difference():
    clips = pd.DataFrame({"label": [1, 0, 1], "action_units": ["4", "12", "1"]})
    frames = np.full((3, 8, 4, 4, 3), 100, np.uint8)
    frames[0, -1] = 110
    figure = plots.contact_sheet(clips, frames, ("happy", "anger"))
    assert [panel.get_title() for panel in figure.axes[:2]] == ["happy\nAU 12", "anger\nAU 4"]
    shown = [panel.images[0].get_array()[0, 0, 0] for panel in figure.axes]
    assert shown == [100, 100, 100, 110, 127, 167]  # rows: onset, apex, 127.5 + 4 x difference


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


def test_timing_shows_lengths_and_how_soon_the_apex_comes():
    clips = pd.DataFrame({"onset": [1, 10, 5], "apex": [3, 10, 9], "offset": [7, 10, 90]})
    length, lag = plots.timing(clips).axes
    assert [panel.get_legend().get_texts()[0].get_text() for panel in (length, lag)] == [
        "median 7",
        "median 2",
    ]
    assert (
        sum(bar.get_height() for bar in length.patches) == sum(bar.get_height() for bar in lag.patches) == 3
    )


@pytest.fixture(scope="module")
def benchmark():
    spec = Synthetic(n_subjects=10, n_micro=240, frame_size=64)
    clips = synthetic.sample_clips(spec).sort_values("clip_id", ignore_index=True)
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
    assert np.mean(rows["y_true"] == rows["y_pred"]) == pytest.approx(synthetic.expected_ceiling(), abs=0.1)


def test_the_linear_model_reads_the_true_motion(benchmark):
    spec, dataset, folds = benchmark
    rows = references.linear_on_true_flow(dataset, folds, spec)
    # The majority class is 29 % of the clips.
    assert np.mean(rows["y_true"] == rows["y_pred"]) > 0.35


def test_the_commit_is_marked_dirty_by_code_alone(tmp_path):
    # In a clone, so that the working tree of whoever runs this does not matter.
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "clone")}
    ask = [sys.executable, "-c", "from hsta_lib import store; print(store.code_version())"]

    def version():
        run = subprocess.run(
            ask, cwd=tmp_path / "clone", env=environment, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    assert re.fullmatch(r"[0-9a-f]{12}", version())
    (tmp_path / "clone" / "README.md").write_text("other")
    assert re.fullmatch(r"[0-9a-f]{12}", version())
    (tmp_path / "clone" / "hsta_lib" / "trials.py").write_text("")
    assert version().endswith("-dirty")
