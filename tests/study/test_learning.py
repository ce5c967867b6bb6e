"""The learning figure: as many steps with every number of clips, means and sentences by hand."""

from types import SimpleNamespace

import pandas as pd
import pytest
from tiny import tiny_dataset

from hsta_lib.study import comparison, learning
from hsta_lib.study.study import Study, start

pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.fixture
def study(tmp_path, monkeypatch):
    dataset = tiny_dataset(tmp_path, n_clips=300, n_subjects=50)
    monkeypatch.setattr(Study, "open_dataset", lambda self: dataset)
    monkeypatch.setattr(Study, "folds", lambda self, found, **_: learning.make_folds(
        found.clips, **self.settings.split.model_dump()))  # fmt: skip
    monkeypatch.setattr(comparison.baseline_inputs, "given", lambda dataset, _: dataset)
    return start("controls", {"preset": "smoke", "split": "holdout", "seeds": [3, 4, 5, 6]})


def test_every_number_of_clips_has_as_many_steps(study, capsys):
    # 300 clips of 50 subjects, 18 of whom are tested: 32 train at most, 192 clips; 14 by default, 84 clips.
    curves = learning.prepare(study, study.open_dataset())
    told = capsys.readouterr().out
    assert "Left out: 250 training clips. Reason: there are 192." in told
    table = curves.cells
    assert set(table["system"]) == {"HSTA", "branches concatenated", "special branch alone", "HTNet"}
    assert sorted(set(table["clips"])) == [48, 102]
    for runs, clips in zip(curves.trials, table["clips"], strict=True):
        assert {trial.seed for trial in runs} == {3, 4, 5}
        assert runs[0].settings.training.epochs == {48: 2, 102: 1}[clips]
        assert not runs[0].settings.training.store_epochs
    assert [trial.seed for trial in curves.named] == [3, 4, 5, 6]
    assert all(trial.settings.training.store_epochs for trial in curves.named)
    assert len(curves.everything) == 3 * len(table) + 4
    assert not table.duplicated().any()


def test_a_number_of_clips_that_lacks_a_class_is_left_out(study, capsys):
    clips = study.open_dataset().clips
    clips.loc[clips["subject_id"] != "tiny/s0", "label"] = 0
    learning.prepare(study, study.open_dataset())
    assert "50 training clips. Reason: they lack a class." in capsys.readouterr().out


def test_without_a_holdout_nothing_is_trained_and_a_line_says_why(tmp_path, capsys):
    study = start("controls", {"preset": "smoke"})
    curves = learning.prepare(study, None)
    assert curves.everything == curves.datasets == []
    assert "needs synthetic data, held out" in capsys.readouterr().out
    assert "Not shown" in learning.figure(curves, None, 0, 3).data
    assert learning.conclude(curves, None, 0, 3).data == ""


@pytest.fixture
def trained(monkeypatch):
    """Two trainings of three epochs on 70 clips, and rows of two networks by clips."""
    truth = [0, 0, 1, 1]
    epochs = {0: [[0, 0, 0, 0], [0, 0, 1, 0], truth], 1: [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]}
    record = {
        "n_train": 70,
        "losses": [0.8, 0.4, 0.2],
        "constant_loss": 0.8,
        "predictions": {"y_true": truth},
    }
    monkeypatch.setattr(
        learning.store, "load", lambda trial, _: record | {"epoch_predictions": epochs[trial.seed]}
    )
    training = SimpleNamespace(batch_size=32)
    named = [SimpleNamespace(seed=s, settings=SimpleNamespace(training=training)) for s in (0, 1)]
    rows = {"uar": [30.0, 50.0, 20.0, 25.0], "train_accuracy": [99.0, 90.0, 80.0, 70.0]}
    table = pd.DataFrame({"system": ["HSTA"] * 2 + ["HTNet"] * 2, "clips": [247, 1980] * 2, **rows})
    table = table.assign(uar_low=table["uar"] - 5, uar_high=table["uar"] + 5)
    monkeypatch.setattr(learning, "by_clips", lambda *_: table)
    return learning.Curves(table[["system", "clips"]], [], [], named)


REFERENCES = pd.DataFrame({"uar": [86.0, 61.0]}, index=["ceiling: true action units known",
                                                        "linear model on apex less onset"])  # fmt: skip


def test_steps_are_counted_and_seeds_averaged(trained):
    table = learning.by_steps(trained.named, 2)
    assert table["steps"].tolist() == [2, 4, 6]
    assert table["loss_share"].tolist() == pytest.approx([100, 50, 25])
    assert table["uar"].tolist() == pytest.approx([50, (75 + 50) / 2, (100 + 75) / 2])


def test_the_sentence_tells_what_few_clips_give(trained):
    said = learning.conclude(trained, REFERENCES, 50, 2).data
    assert "named setting's 6 training steps changes its UAR by +37.5 points" in said
    assert (
        "With 247 training clips** of these faces, training accuracy and test UAR were: HSTA 99 % and 30.0"
        in said
    )
    assert "With 1980 clips, after as many steps, the UAR was: HSTA 50.0, HTNet 25.0" in said
    assert "chance 50.0, ceiling 86.0, linear model on apex less onset 61.0" in said


def test_the_figure_draws_every_network_and_what_is_possible(trained):
    figure = learning.figure(trained, REFERENCES, 50, 2)
    by_steps, scored, accuracy = figure.axes
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "training loss of HSTA, of a constant prediction's"
    assert names[1:] == ["HSTA", "chance", "ceiling", "linear model on apex less onset", "HTNet"]
    for panel, values in ((scored, [20, 25]), (accuracy, [80, 70])):
        (line,) = [line for line in panel.lines if line.get_label() == "HTNet"]
        assert line.get_ydata().tolist() == values
        assert line.get_xdata().tolist() == [247, 1980]
    assert by_steps.get_xlabel() == "training steps"
    assert {line.get_label() for line in accuracy.lines} == {"HSTA", "HTNet"}, "UAR of others is none of it"
