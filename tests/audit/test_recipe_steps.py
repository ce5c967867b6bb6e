"""From the equations to the released code: each stop is its step and no other; changes are from the first."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from tiny import changes, result_of, save, tiny_dataset, tiny_settings

from hsta_lib import config
from hsta_lib.audit import plots, recipe_steps
from hsta_lib.audit.recipe_steps import ALONE, CUMULATIVE, EQUATIONS, Stop
from hsta_lib.config import RELEASED_STEPS, Settings
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.study.study import Study, start
from hsta_lib.training import cost
from hsta_lib.training.trials import Trial

pytestmark = pytest.mark.usefixtures("no_environment")

FULL = Settings()
SPECIAL = ["special data: pictures of tracks", "special data: dense optical flow"]
EXACT = {"rel": 0, "abs": 1e-9}


def _study(**parameters):
    return start("audit", {"preset": "smoke", "workers": 0, **parameters})


# --- stops ------------------------------------------------------------------------------------------------


def test_every_step_is_taken_once_after_all_others_and_once_alone():
    stops = recipe_steps.stops(FULL)
    assert len(stops) == 1 + 2 * 14 + 2
    assert stops[0] == Stop(EQUATIONS, EQUATIONS, FULL)
    for way, further in ((CUMULATIVE, []), (ALONE, SPECIAL)):
        assert [stop.step for stop in stops if stop.way == way] == [*RELEASED_STEPS, *further]


@pytest.mark.parametrize("settings", [FULL, tiny_settings(d=10)], ids=["full", "tiny"])
def test_the_walk_ends_at_the_released_recipe(settings):
    last = [stop for stop in recipe_steps.stops(settings) if stop.way == CUMULATIVE][-1]
    assert last.settings == config.as_released(settings)


def test_a_step_alone_changes_its_own_fields_and_the_walk_adds_them_up():
    so_far = {}
    alone = {stop.step: stop.settings for stop in recipe_steps.stops(FULL) if stop.way == ALONE}
    for stop in recipe_steps.stops(FULL):
        if stop.way != CUMULATIVE:
            continue
        own = changes(FULL, alone[stop.step])
        assert own, "a step that changes nothing"
        assert not set(own) & set(so_far), "two steps change the same"
        so_far |= own
        assert changes(FULL, stop.settings) == so_far
    assert changes(FULL, alone["cross-entropy"]) == {"loss": "cross_entropy"}
    assert [changes(FULL, alone[step]) for step in SPECIAL] == [{"special": "tracks"}, {"special": "flow"}]


# --- trials -----------------------------------------------------------------------------------------------


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Ways to choose and show frames that a dataset of a few random clips was opened with."""
    ways = []

    def open_dataset(study):
        frames = study.settings.frames
        ways.append((frames.drawing, frames.special))
        dataset = tiny_dataset(tmp_path, size=frames.image_size, n_frames=frames.n_stored)
        name = f"{frames.drawing}-{frames.special}"
        path = tmp_path / f"{name}.npy"
        dataset.frames_path.rename(path)
        return dataclasses.replace(dataset, frames_path=path, fingerprint=name)

    monkeypatch.setattr(Study, "open_dataset", open_dataset)
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path / "results"))
    return ways


def test_frames_are_opened_once_for_each_way_to_choose_and_show_them(opened):
    study = dataclasses.replace(_study(seeds=[3, 5]), grid={"m": [2, 3], "depths": [[1, 2]]})
    found, trials, datasets = recipe_steps.prepare(study)
    assert opened == [("uniform", "frames"), ("random", "frames"), ("uniform", "tracks"), ("uniform", "flow")]
    assert len(datasets) == 4
    assert len(found) == len(trials) == 31
    for stop, runs in zip(found, trials, strict=True):
        assert {trial.settings for trial in runs} == {stop.settings}
        assert {trial.fingerprint for trial in runs} == {
            f"{stop.settings.frames.drawing}-{stop.settings.frames.special}"
        }
        assert sorted((trial.seed, trial.fold) for trial in runs) == [(3, 0), (3, 1), (5, 0), (5, 1)]
    model = found[0].settings.model
    assert (model.m, model.l_v, model.l_s) == (2, 1, 2)  # the first cell


def test_the_walk_begins_at_the_equations_whatever_the_study_s_recipe(opened):
    recipes = ("released", "equations")
    released, equations = (recipe_steps.prepare(_study().variant(recipe=name))[0] for name in recipes)
    assert released == equations
    assert equations[0].settings.training.loss == "mse"


def test_a_study_without_a_grid_is_refused(opened):
    with pytest.raises(ValueError, match="audit"):
        recipe_steps.prepare(dataclasses.replace(_study(), grid={}))


def test_trained_and_scored_from_end_to_end(opened, monkeypatch):
    few = ("several heads", "dropout", "frames drawn at random")
    monkeypatch.setattr(config, "RELEASED_STEPS", {step: RELEASED_STEPS[step] for step in few})
    study = _study()
    found, trials, datasets = recipe_steps.prepare(study)
    study.run([trial for runs in trials for trial in runs], *datasets)
    table = recipe_steps.score(found, trials, study, 3)
    assert table["step"].tolist() == [stop.step for stop in found]
    assert len(table) == 1 + 2 * 3 + 2
    assert table[[f"{metric}_change" for metric in METRICS]].iloc[0].tolist() == [0, 0, 0]
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)
    # One step cumulatively and alone is one training.
    assert table.iloc[1, 2:].tolist() == table.iloc[2, 2:].tolist()


# --- scores -----------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Equations, a step that is right where they are wrong, and one that is wrong where they are right."""
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path))
    steps = {"equations": {}, "better": {"heads": 7}, "worse": {"feed_forward": 4}}
    ways = (EQUATIONS, CUMULATIVE, ALONE)
    found = [
        Stop(step, way, tiny_settings(**fields))
        for (step, fields), way in zip(steps.items(), ways, strict=True)
    ]
    truth = [0, 1, 2] * 11
    columns = {
        "clip_id": [f"c{i:02d}" for i in range(33)],
        "subject_id": [f"s{i // 3:02d}" for i in range(33)],  # every subject has every class
        "y_true": truth,
        "scores": [[0.0, 0.0, 0.0]] * 33,
    }
    # Each subject: two of three right; all; only the first.
    predicted = {"equations": [0, 1, 1] * 11, "better": truth, "worse": [0, 2, 1] * 11}
    trials = [[Trial(stop.settings, 0, seed, "planted") for seed in (3, 5)] for stop in found]
    for stop, runs in zip(found, trials, strict=True):
        for trial in runs:
            save(trial, result_of(**columns, y_pred=predicted[stop.step]), tmp_path)
    return found, trials


def test_changes_by_hand_with_an_interval_of_some_width_though_all_subjects_agree(three):
    table = recipe_steps.score(*three, _study(), 3).set_index("step")
    assert table["uar"].tolist() == pytest.approx([200 / 3, 100, 100 / 3], **EXACT)
    assert table["uar_change"].tolist() == pytest.approx([0, 100 / 3, -100 / 3], **EXACT)
    # F1 of the equations: 1, 2/3, 0.
    assert table["uf1_change"].tolist() == pytest.approx([0, 400 / 9, -200 / 9], **EXACT)
    changes = table.loc[table.index[1:], ["uar_change_low", "uar_change", "uar_change_high"]].to_numpy()
    assert (np.diff(changes) > 1).all()
    assert (np.abs(changes) <= 100).all()
    sizes = [cost.parameters_and_flops(stop.settings, 3) for stop in three[0]]
    assert list(zip(table["parameters"], 1e6 * table["mflop"], strict=True)) == sizes
    assert len({size for size, _ in sizes}) == 2  # heads cost nothing


def test_results_belong_to_stops_by_their_order(three):
    found, trials = three
    swapped = recipe_steps.score(found, [trials[0], trials[2], trials[1]], _study(), 3)
    assert swapped["uar_change"].tolist() == pytest.approx([0, -100 / 3, 100 / 3], **EXACT)


def test_untrained_stops_are_refused(three):
    found, trials = three
    with pytest.raises(ValueError, match=r"\(fold 0, seed 9\) has no result"):
        recipe_steps.score(found, [*trials[:2], [dataclasses.replace(trials[2][0], seed=9)]], _study(), 3)


# --- what is shown ----------------------------------------------------------------------------------------


@pytest.fixture
def table():
    """Changes that are made up: of two steps alone, one misses zero in UAR, none in UF1."""
    rows = [("equations", EQUATIONS, 0.0), ("a", CUMULATIVE, 1.0), ("a", ALONE, 1.0)]
    rows += [("b", CUMULATIVE, -3.0), ("b", ALONE, -4.0)]
    table = pd.DataFrame(rows, columns=["step", "way", "uar_change"])
    table = table.assign(parameters=1234567, mflop=1234.56, uar=50.0, uf1=40.0, uf1_change=0.5)
    for metric in ("uar", "uf1"):
        table[f"{metric}_change_low"] = table[f"{metric}_change"] - 2
        table[f"{metric}_change_high"] = table[f"{metric}_change"] + 2
    return table


def test_the_walk_is_shown_first_and_then_each_step_alone(table):
    shown = recipe_steps.show(table).data
    assert shown[["step", "way"]].to_numpy().tolist() == [
        ["equations", EQUATIONS], ["a", CUMULATIVE], ["b", CUMULATIVE], ["a", ALONE], ["b", ALONE],
    ]  # fmt: skip
    assert shown["parameters"].tolist() == ["1,234,567"] * 5
    assert shown["MFLOP per clip"].iloc[0] == "1,234.6"
    assert shown["UAR, change in points"].tolist()[:3] == ["–", "+1.0 [-1.0, +3.0]", "-3.0 [-5.0, -1.0]"]


def test_what_is_said_is_what_the_table_says(table):
    alone, cumulative, last, _ = recipe_steps.conclude(table).data.splitlines()
    assert "UAR by -3.0 [-5.0, -1.0] and UF1 by +0.5 [-1.5, +2.5] points" in last
    said = "of UAR or UF1, of 1 of the 2 that fitted, in points: {}b (UAR {})."
    assert alone.endswith(said.format("", "-4.0 [-6.0, -2.0]"))
    assert cumulative.endswith(said.format("up to ", "-3.0 [-5.0, -1.0]"))


def test_steps_whose_networks_have_not_fitted_are_not_decided(table):
    table["fit"] = ["fitted", "fitted", "fitted", "not fitted", "not fitted"]
    alone, cumulative, last, _ = recipe_steps.conclude(table).data.splitlines()
    assert "of UAR or UF1, of 0 of the 1 that fitted. **Not fitted** " in alone
    assert "b (" not in cumulative
    assert last.endswith("have not fitted: it is not judged.")
    table["fit"] = ["not fitted"] + 4 * ["fitted"]
    assert recipe_steps.conclude(table).data == (
        "- The equations' own networks have not fitted, so that no step is decided."
    )


def test_the_figure_has_a_row_for_every_step(table):
    uar, uf1 = plots.walk(table).axes
    assert [label.get_text() for label in uar.get_yticklabels()] == ["a", "b"]
    cumulative, alone = (line for line in uar.lines if line.get_marker() == "o")
    assert cumulative.get_xdata().tolist() == [1.0, -3.0]
    assert alone.get_xdata().tolist() == [1.0, -4.0]
    assert (alone.get_ydata() > cumulative.get_ydata()).all()  # the axis points down: above
    assert [text.get_text() for text in uf1.figure.legends[0].get_texts()] == [
        "with all steps above it",
        "alone",
    ]
