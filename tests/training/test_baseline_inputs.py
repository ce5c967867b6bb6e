"""Baselines as trials: settings, inputs, and each of them through the runner."""

import dataclasses
import importlib
import sys

import numpy as np
import pandas as pd
import pytest

from hsta_lib.config import Datasets, Settings, TrialTraining, with_fields
from hsta_lib.data.splits import make_folds
from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.paper import load_systems
from hsta_lib.training import baseline_inputs, fit, run, store
from hsta_lib.training.trials import Trial
from tests.tiny import FINGERPRINT, tiny_dataset

REDUCED = Datasets(form="reduced", baseline_epochs=1)
TRAINED = [name for name in SYSTEMS if not SYSTEMS[name]["reduced"].depth]


def rows(*names):
    return pd.DataFrame({"system": names})


def settings_of(name, datasets=REDUCED):
    """Settings of a system's trials, two folds."""
    (cell,) = baseline_inputs.cells(rows(name), datasets).to_dict("records")
    fields = {key: value for key, value in cell.items() if key not in ("system", "recipe")}
    return with_fields(Settings(labels="emotion3"), n_folds=2, **fields)


def dataset_for(name, folder, **changes):
    """Eleven clips of the size a system needs."""
    frames = SYSTEMS[name]["reduced"].frames | changes
    folder = folder / "cache" / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    dataset = tiny_dataset(
        folder, n_clips=11, n_subjects=4, size=frames["image_size"], n_frames=frames["n_frames"]
    )
    return dataclasses.replace(dataset, shows_flow=SYSTEMS[name]["reduced"].pictures)


def with_class_of_one_fold(dataset):
    """The dataset with a class that only the first fold's test subjects show: no training there has it."""
    tested = make_folds(dataset.clips, split="subject", n_folds=2, stratify=False, split_seed=0)[0].test
    labels = np.arange(len(dataset.clips)) % 2
    labels[tested[::2]] = 2
    return dataclasses.replace(dataset, clips=dataset.clips.assign(label=labels))


@pytest.mark.parametrize("name", TRAINED)
def test_each_system_runs_through_the_runner_also_without_a_class(name, tmp_path, capsys):
    dataset = with_class_of_one_fold(dataset_for(name, tmp_path))
    trials = [Trial(settings_of(name), fold, 0, FINGERPRINT) for fold in (0, 1)]
    run.run(trials, [dataset], tmp_path / "results", workers=0)
    predictions = store.predictions(trials, tmp_path / "results")
    assert sorted(predictions["clip_id"]) == sorted(dataset.clips["clip_id"])
    assert set(predictions["y_pred"]) <= {0, 1, 2}
    assert 2 not in set(predictions.loc[predictions["fold"] == 0, "y_pred"])
    assert store.load(trials[0], tmp_path / "results")["absent_classes"] == ["high"]
    again = fit.fit(trials[0], dataset)
    assert again["predictions"] == store.load(trials[0], tmp_path / "results")["predictions"]
    assert ("epoch_predictions" in again) == SYSTEMS[name]["reduced"].keeps_best_epoch


def test_every_system_is_described_and_every_description_is_of_a_system():
    assert sorted(load_systems()["system"]) == sorted(SYSTEMS)


def test_the_shortcut_is_that_of_the_description():
    told = load_systems().set_index("system")["shortcut"]
    for name, forms in SYSTEMS.items():
        keeps = {form.keeps_best_epoch for form in forms.values()}
        assert keeps == {told[name] == "best epoch on the test subject"}, name


@pytest.mark.parametrize("form", ["published", "reduced"])
def test_recipes_are_legal_and_take_nothing_from_hsta(form):
    cells = baseline_inputs.cells(rows(*SYSTEMS), Datasets(form=form))
    assert cells["recipe"].eq("equations").all()
    assert cells["loss"].eq("own").all()
    assert set(TrialTraining.model_fields) - set(cells) == {"shuffled_labels", "video", "store_draws"}


def test_epochs_are_as_many_as_the_preset_allows():
    cells = baseline_inputs.cells(rows("STSTNet", "MERSiamC3D"), Datasets(form="reduced", baseline_epochs=3))
    assert cells["epochs"].tolist() == [3, 3]
    assert cells["pretraining_epochs"].tolist() == [0, 2]
    assert baseline_inputs.cells(rows("STSTNet"), Datasets())["epochs"].tolist() == [800]


@pytest.mark.parametrize(
    ("name", "why"), [("STNet", "is no baseline"), ("RCN-A", "was removed: no table of the paper lists it")]
)
def test_an_unknown_or_removed_baseline_is_refused_with_what_there_is(name, why):
    with pytest.raises(
        ValueError, match=rf"baselines: '{name}' {why}; choose from LBP-TOP, .*, OFF-ApexNet$"
    ):
        baseline_inputs.cells(rows(name), REDUCED)


def test_frames_are_no_published_pictures_of_flow(tmp_path):
    dataset = dataclasses.replace(dataset_for("CausalNet", tmp_path), shows_flow=1)
    with pytest.raises(
        ValueError, match=r"needs 4 published pictures of each clip's flow.*variant = 'causalnet'"
    ):
        baseline_inputs.given(dataset, settings_of("CausalNet"))


def test_inputs_are_those_of_each_clip_alone(tmp_path):
    # A descriptor that looked at other clips would let test clips reach the training.
    dataset = dataset_for("STSTNet", tmp_path)
    before = np.array(baseline_inputs.inputs(dataset, settings_of("STSTNet")))
    frames = np.load(dataset.frames_path)
    frames[3:] = 255 - frames[3:][:, :, ::-1]
    path = tmp_path / "cache" / "others" / "frames.npy"
    path.parent.mkdir()
    np.save(path, frames)
    after = baseline_inputs.inputs(dataclasses.replace(dataset, frames_path=path), settings_of("STSTNet"))
    assert np.array_equal(before[:3], after[:3])
    assert not np.array_equal(before[3:], after[3:])


# Inputs of OFF-ApexNet's shape, of more than their clip: what a network of one's own must not be given.
LEAKING = """
import numpy as np
seen, calls = [], []
labels = [0, 1, 2] * 20

def picture(flow):
    return np.repeat(flow.transpose(2, 0, 1)[:1], 3, axis=0).astype(np.float32)

def running_mean(flow):
    seen.append(flow)
    return picture(flow - np.mean(list(seen), axis=0))

def mean_of_the_first(flow):
    seen.append(flow)
    return picture(flow - np.mean(seen[:3], axis=0))

def labels_in_order(flow):
    calls.append(1)
    return picture(flow) + labels[len(calls) - 1]

def changed_in_place(flow):
    flow += 1
    return picture(flow)
"""


@pytest.mark.parametrize("name", ["running_mean", "mean_of_the_first", "labels_in_order", "changed_in_place"])
def test_an_input_of_more_than_its_clip_is_refused(name, tmp_path, monkeypatch):
    (tmp_path / "leaking.py").write_text(LEAKING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "leaking", raising=False)
    leaking, form = importlib.import_module("leaking"), SYSTEMS["OFF-ApexNet"]["reduced"]
    dataset, settings = dataset_for("OFF-ApexNet", tmp_path), settings_of("OFF-ApexNet")
    monkeypatch.setitem(SYSTEMS["OFF-ApexNet"], "reduced", dataclasses.replace(form, prepare=leaking.picture))
    assert baseline_inputs.given(dataset, settings) is dataset
    leaks = dataclasses.replace(form, prepare=getattr(leaking, name))
    monkeypatch.setitem(SYSTEMS["OFF-ApexNet"], "reduced", leaks)
    with pytest.raises(
        ValueError, match=rf"^leaking\.{name} makes another input of tiny/.* called again alone"
    ):
        baseline_inputs.given(dataset, settings)


def test_inputs_of_a_changed_function_are_made_anew(tmp_path, monkeypatch):
    dataset, settings = dataset_for("OFF-ApexNet", tmp_path), settings_of("OFF-ApexNet")
    before, form = baseline_inputs.inputs(dataset, settings), SYSTEMS["OFF-ApexNet"]["reduced"]

    def doubled(flow, _prepare=form.prepare):
        return 2 * _prepare(flow)

    monkeypatch.setitem(SYSTEMS["OFF-ApexNet"], "reduced", dataclasses.replace(form, prepare=doubled))
    assert np.array_equal(baseline_inputs.inputs(dataset, settings), 2 * before)


def test_a_preset_may_set_the_epochs_of_single_baselines():
    datasets = Datasets(form="reduced", epochs={"STSTNet": 7, "HSTA": 3})
    cells = baseline_inputs.cells(rows("STSTNet", "MERSiamC3D"), datasets)
    assert cells["epochs"].tolist() == [7, baseline_inputs.find("MERSiamC3D", "reduced").recipe["epochs"]]
