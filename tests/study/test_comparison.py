"""Baselines against their own training on shuffled labels."""

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest

from hsta_lib.study import comparison, published, union
from hsta_lib.study.study import start

TRUE = [0, 1] * 7
SHUFFLED = [0, 0, 1, 1] * 3 + [0, 1]  # right of half the clips of either class, and of two more


def predictions(y_pred):
    rows = pd.DataFrame({"y_true": TRUE, "y_pred": y_pred, "fold": 0, "seed": 0})
    return rows.assign(clip_id=[f"c{n}" for n in range(14)], subject_id=[f"s{n // 2}" for n in range(14)])


@pytest.fixture
def baselines(monkeypatch):
    """Three systems: one learns all, one nothing, one the opposite. Trials are told by a word."""
    told = {"all": TRUE, "nothing": SHUFFLED, "opposite": [1 - y for y in TRUE], "control": SHUFFLED}
    monkeypatch.setattr(comparison.store, "predictions", lambda trials, _: predictions(told[trials[0].name]))

    def trials(name):
        return [SimpleNamespace(name=name, seed=seed) for seed in (3, 5)]

    names = ["all", "nothing", "opposite"]
    return comparison.Baselines(
        form="reduced",
        cells=pd.DataFrame({"system": names, "labels": "emotion3"}),
        datasets=[SimpleNamespace(classes=("a", "b"))] * 3,
        trials=[trials(name) for name in names],
        controls=[trials("control")[:1] for _ in names],
        left_out=pd.DataFrame(),
    )


def test_what_training_on_true_labels_adds(baselines):
    table = comparison.gains(baselines).set_index("row")
    assert table["uar_shuffled"].tolist() == pytest.approx([100 * 8 / 14] * 3)
    gains = [100 * 6 / 14, 0, -100 * 8 / 14]
    assert table["uar"].tolist() == pytest.approx(gains)
    assert table.loc["all, emotion3", "uar_low"] > 0 > table.loc["opposite, emotion3", "uar_high"]
    shown = comparison.show_gains(table.reset_index()).data
    assert shown[("", "system")].tolist() == list(table.index)
    assert shown[("UAR", "labels shuffled, %")].tolist() == ["57.1"] * 3
    assert shown[("UAR", "true labels, points more")].iloc[0].startswith("+42.9")
    sentences = comparison.conclude_gains(table.reset_index()).data
    assert "UAR: 1 of 3 baselines are above" in sentences
    assert sentences.count("not shown to be: nothing, emotion3; opposite, emotion3.") == 2


def test_only_the_seed_of_the_control_counts(baselines, monkeypatch):
    seen = []
    monkeypatch.setattr(
        comparison.store, "predictions", lambda trials, _: seen.append(trials) or predictions(TRUE)
    )
    comparison.gains(baselines)
    assert {trial.seed for trials in seen for trial in trials} == {3}


def test_without_controls_it_is_said(baselines):
    table = comparison.gains(baselines._replace(controls=[]))
    assert "trains no system on shuffled labels" in comparison.show_gains(table).data
    assert comparison.conclude_gains(table).data == ""


@pytest.mark.usefixtures("no_environment")
def test_controls_are_the_same_trainings_on_shuffled_labels(monkeypatch, tmp_path):
    monkeypatch.setenv("HSTA_DATA", str(tmp_path))
    study = union.union(
        start("table5", {"preset": "smoke", "split": "", "seeds": [3, 5], "baselines": ["HTNet"]})
    )
    assert comparison.prepare(study, published.compared(study)).controls == []
    of_preset = study.preset.datasets.model_copy(update={"baseline_controls": True})
    study = dataclasses.replace(study, preset=study.preset.model_copy(update={"datasets": of_preset}))
    baselines = comparison.prepare(study, published.compared(study))
    ((*controls,),), ((*trials,),) = baselines.controls, baselines.trials
    assert {trial.seed for trial in controls} == {3}
    assert [trial.fold for trial in controls] == [trial.fold for trial in trials if trial.seed == 3]
    for trial in controls:
        assert trial.settings.training.shuffled_labels == "fold"
        assert not trial.settings.training.store_epochs
    assert set(baselines.everything) == {*controls, *trials}
