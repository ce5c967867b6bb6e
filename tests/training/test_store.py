"""The result store: whole files or none, nothing silently replaced."""

import errno
import json
import os

import pandas as pd
import pytest
from disk import failing
from tiny import result_of, save, tiny_settings, tiny_trials

from hsta_lib.training import store

RESULT = result_of(scores=[[0.1, 0.30000001]])


@pytest.fixture
def trials():
    return tiny_trials()


def test_a_result_comes_back_as_it_was_saved(tmp_path, trials):
    save(trials[0], RESULT, tmp_path / "new" / "folder")
    record = store.load(trials[0], tmp_path / "new" / "folder")
    assert {key: record[key] for key in RESULT} == RESULT
    assert record["id"] == trials[0].id
    assert record["settings"]["model"]["d"] == record["all_settings"]["model"]["d"] == 7
    assert set(record["versions"]) == {"torch", "numpy", "opencv-python"}


def test_only_trials_without_a_result_are_missing_and_each_once(tmp_path, trials):
    save(trials[1], RESULT, tmp_path)
    assert store.missing([*trials, *trials], tmp_path) == [trials[0], trials[2]]


def test_nothing_is_left_under_a_trials_name_when_writing_fails(tmp_path, trials):
    with pytest.raises(TypeError):
        save(trials[0], RESULT | {"losses": object()}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_with_the_folder_and_the_fix(tmp_path, trials, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(store.NotWritten, match=rf"{tmp_path} \(No space left.*HSTA_RESULTS") as caught:
        save(trials[0], RESULT, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path, trials):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(store.NotWritten, match=r"file/results \(Not a directory\)"),
        store.token(tmp_path / "file" / "results"),
    ):
        pass


def test_a_token_lies_in_the_folder_only_meanwhile(tmp_path):
    with store.token(tmp_path) as name:
        assert [path.name for path in tmp_path.iterdir()] == [name]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", '{"id": "half', "[1, 2]", '{"foreign": true}', "[" * 100_000])
def test_a_damaged_or_foreign_file_is_named_kept_and_trained_again(tmp_path, trials, content, capsys):
    path = tmp_path / f"{trials[0].id}.json"
    path.write_text(content)
    with pytest.raises(store.DamagedResult, match=path.name):
        store.load(trials[0], tmp_path)
    assert store.missing(trials[:1], tmp_path) == trials[:1]
    assert path.name in capsys.readouterr().out
    assert (tmp_path / f"{path.name}.damaged").read_text() == content
    assert not path.exists()


def test_the_result_of_another_trial_under_this_name_is_refused(tmp_path, trials):
    save(trials[0], RESULT, tmp_path)
    (tmp_path / f"{trials[0].id}.json").rename(tmp_path / f"{trials[1].id}.json")
    with pytest.raises(store.DamagedResult, match="describes another"):
        store.load(trials[1], tmp_path)


DAMAGED = {
    "no predictions": lambda record: record.pop("predictions"),
    "a column missing": lambda record: record["predictions"].pop("y_pred"),
    "a short column": lambda record: record["predictions"]["y_pred"].pop(),
    "a score that is no number": lambda record: record["predictions"].update(scores=[[float("nan"), 0.1]]),
    "no classes": lambda record: record.pop("absent_classes"),
    "no versions": lambda record: record.pop("versions"),
    "a version of nothing": lambda record: record["versions"].update(evil="1"),
    "a version that is no text": lambda record: record["versions"].update(torch=5),
    "no losses beside a constant's": lambda record: record.update(losses=[], constant_loss=1.5),
    "draws that are no list": lambda record: record.update(draw_predictions=5),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_result_that_lost_a_part_is_trained_again(tmp_path, trials, name):
    save(trials[0], RESULT, tmp_path)
    path = tmp_path / f"{trials[0].id}.json"
    record = json.loads(path.read_text())
    del record["check"]  # as in those of an earlier version
    DAMAGED[name](record)
    path.write_text(json.dumps(record))
    assert store.missing(trials[:1], tmp_path) == trials[:1]
    assert path.with_suffix(".json.damaged").exists()


@pytest.mark.parametrize("edit", [('"y_pred": [0]', '"y_pred": [1]'), ("0.30000001", "0.3"), ("}", "} ")])
def test_a_result_edited_by_hand_is_trained_again(tmp_path, trials, edit, capsys):
    save(trials[0], RESULT, tmp_path)
    path = tmp_path / f"{trials[0].id}.json"
    path.write_text(path.read_text().replace(*edit, 1))
    assert store.missing(trials[:1], tmp_path) == trials[:1]
    assert f"{path.name} is damaged (it is not as it was written)" in capsys.readouterr().out


def test_a_result_of_an_earlier_version_has_no_check(tmp_path, trials):
    save(trials[0], RESULT, tmp_path)
    path = tmp_path / f"{trials[0].id}.json"
    record = json.loads(path.read_text())
    expected = store.load(trials[0], tmp_path)
    assert record.pop("check")
    path.write_text(json.dumps(record))
    assert store.load(trials[0], tmp_path) == expected == record


def test_a_result_is_read_once_and_again_only_if_its_file_is_another(tmp_path, trials, monkeypatch):
    save(trials[0], RESULT, tmp_path)
    read, loads = [], json.loads
    monkeypatch.setattr(store.json, "loads", lambda text: read.append(1) or loads(text))
    first = store.load(trials[0], tmp_path)
    first["seconds"] = "changed by who asked"
    assert store.load(trials[0], tmp_path)["seconds"] == RESULT["seconds"]
    assert len(read) == 1
    save(trials[0], RESULT | {"seconds": 0.2}, tmp_path)
    assert store.load(trials[0], tmp_path)["seconds"] == 0.2
    assert len(read) == 2


# --- rows that are not trained ----------------------------------------------------------------------------


def always(value):
    return pd.DataFrame({"clip_id": ["a", "b"], "y_pred": [value, 2]})


def never(value):
    return pd.DataFrame({"clip_id": ["a", "b"], "y_pred": [0, value]})


def rows_of(folder, maker=always, value=1, **described):
    made = []
    rows = store.kept(maker, {"row": "r", **described}, lambda: made.append(1) or maker(value), folder)
    return rows, bool(made)


def test_a_reference_row_is_made_once_and_read_as_it_was_made(tmp_path):
    first, was_made = rows_of(tmp_path, fingerprint="f")
    assert was_made
    again, was_made = rows_of(tmp_path, fingerprint="f")
    assert not was_made
    pd.testing.assert_frame_equal(again, first)
    pd.testing.assert_frame_equal(again, always(1))
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "references"]


def test_a_reference_row_of_other_data_code_or_libraries_is_made_again(tmp_path, monkeypatch):
    rows_of(tmp_path, fingerprint="f")
    assert rows_of(tmp_path, fingerprint="g", value=5)[0]["y_pred"].tolist() == [5, 2]
    assert rows_of(tmp_path, never, fingerprint="f", value=5)[0]["y_pred"].tolist() == [0, 5]
    monkeypatch.setattr(store, "_versions", lambda names: dict.fromkeys(names, "0.0"))
    assert rows_of(tmp_path, fingerprint="f")[1]


@pytest.mark.parametrize("stale", [{"fingerprint": "g"}, {"fingerprint": "f", "maker": never}])
def test_a_stale_reference_row_under_this_name_is_refused(tmp_path, capsys, stale):
    rows_of(tmp_path, fingerprint="f")
    (path,) = tmp_path.rglob("*.json")
    rows_of(tmp_path / "other", value=5, **stale)
    next((tmp_path / "other").rglob("*.json")).replace(path)
    rows, was_made = rows_of(tmp_path, fingerprint="f")
    assert was_made
    pd.testing.assert_frame_equal(rows, always(1))
    assert "it describes another; kept as" in capsys.readouterr().out
    assert not rows_of(tmp_path, fingerprint="f")[1]


def test_a_damaged_reference_row_is_made_again(tmp_path, capsys):
    rows_of(tmp_path, fingerprint="f")
    (path,) = tmp_path.rglob("*.json")
    path.write_text(path.read_text().replace("[1, 2]", "[3, 2]"))
    pd.testing.assert_frame_equal(rows_of(tmp_path, fingerprint="f")[0], always(1))
    assert f"{path.name} is damaged (it is not as it was written)" in capsys.readouterr().out


def test_other_files_in_the_folder_are_left_alone(tmp_path, trials):
    (tmp_path / "notes.json").write_text("mine")
    save(trials[0], RESULT, tmp_path)
    assert store.missing(trials[:1], tmp_path) == []
    assert (tmp_path / "notes.json").read_text() == "mine"


def test_a_result_without_epochs_is_missing_for_a_trial_that_asks_for_them(tmp_path, trials):
    save(trials[0], RESULT, tmp_path)
    asking = type(trials[0])(tiny_settings(store_epochs=True), 0, 0, trials[0].fingerprint)
    assert asking.id == trials[0].id
    assert store.missing([asking], tmp_path) == [asking]
    save(asking, RESULT | {"epoch_predictions": [[0]]}, tmp_path)
    assert store.missing([asking, trials[0]], tmp_path) == []


def test_a_result_with_too_few_draws_is_missing_for_a_trial_that_asks_for_more(tmp_path):
    plain, two, three = (tiny_trials(drawing="random_test", store_draws=n)[0] for n in (0, 2, 3))
    save(plain, RESULT, tmp_path)
    assert plain.id == two.id == three.id
    assert store.load(two, tmp_path) is None
    save(two, RESULT | {"draw_predictions": [[0], [1]]}, tmp_path)
    assert store.load(two, tmp_path)["draw_predictions"] == [[0], [1]]
    assert store.load(three, tmp_path) is None
    assert store.missing([plain, two, three], tmp_path) == [three]


def test_predictions_of_an_untrained_trial_are_refused(tmp_path, trials):
    save(trials[0], RESULT, tmp_path)
    with pytest.raises(ValueError, match=rf"{trials[1].id} \(fold 1, seed 0\)"):
        store.predictions(trials, tmp_path)
    assert store.predictions(trials[:1], tmp_path)["y_true"].tolist() == [1]


def test_predictions_tell_how_their_training_fits(tmp_path, trials):
    fits = {"train_accuracy": 0.75, "constant_accuracy": 0.5, "constant_loss": 2.0}
    for trial, result in zip(
        trials, (RESULT | fits, RESULT | fits | {"constant_loss": None}, RESULT), strict=True
    ):
        save(trial, result, tmp_path)
    found = store.predictions(trials, tmp_path)
    # The loss of 0.5 is a quarter of 2; half of the errors are left; of old results nothing is known.
    assert found["loss_share"].tolist()[:2] == [0.25, 0.5]
    assert found["train_accuracy"].tolist()[:2] == [0.75, 0.75]
    assert found[["train_accuracy", "constant_accuracy", "loss_share"]].iloc[2].isna().all()
    assert found["reads_pixels"].all()


def test_without_layers_and_csta_nothing_is_read():
    for fields, reads in (({"csta": False}, True), ({"l_v": 0, "l_s": 0}, True), ({}, False)):
        settings = tiny_settings(**{"csta": False, "l_v": 0, "l_s": 0} | fields if not reads else fields)
        assert settings.reads_pixels == reads
