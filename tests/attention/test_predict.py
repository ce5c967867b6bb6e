"""A network that is kept: what it says of clips, what it cannot tell, and that a file is what was written."""

import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from tiny import tiny_dataset, tiny_trials

from hsta_lib import ROOT
from hsta_lib.attention import networks, predict, weights
from hsta_lib.commands import score
from hsta_lib.data.splits import make_folds
from hsta_lib.reporting import answer


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    dataset = tiny_dataset(folder)
    trial = tiny_trials()[0]
    network = networks.trained(trial, dataset, folder)
    return predict.Kept(network, dataset.classes, 0.9, {"trained on": "synthetic faces (easy)"}), dataset


@pytest.fixture
def folder(tmp_path):
    """Five frames, the third unlike the others; a still video; no video; a single frame; two series."""
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)
    frames = [picture, picture, 255 - picture, picture, picture]
    for number, frame in enumerate(frames, start=11):
        (tmp_path / "clips" / "ann" / "moves").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "clips" / "ann" / "moves" / f"img_{number}.png"), frame)
    (tmp_path / "clips" / "one").mkdir()
    cv2.imwrite(str(tmp_path / "clips" / "one" / "1.png"), picture)
    video = cv2.VideoWriter(
        str(tmp_path / "clips" / "still.avi"), cv2.VideoWriter_fourcc(*"FFV1"), 25, (48, 48)
    )
    for _ in range(5):
        video.write(picture)
    video.release()
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "clips" / "two").mkdir()
    for name in ("a_7.png", "b_7.png"):
        cv2.imwrite(str(tmp_path / "clips" / "two" / name), picture)
    return tmp_path / "clips"


@pytest.mark.parametrize(
    ("n", "covered", "expected"), [(9, 0.9, 0.9), (19, 0.9, 0.9), (8, 0.9, 1.0), (10, 0.5, 0.6)]
)
def test_the_limit_is_the_miss_whose_rank_is_the_share_of_n_plus_one(n, covered, expected):
    # Rank ceil((n + 1) covered): of 9 it is 9, of 19 it is 18, of 8 there is none, of 10 it is 6.
    missed = np.arange(1, n + 1) / (10 if n < 19 else 20)
    probabilities = np.column_stack([1 - missed, missed])
    assert predict.conformal_limit(probabilities, np.zeros(n, int), covered) == pytest.approx(expected)


def test_nine_in_ten_true_classes_stand_in_their_sets_whatever_the_network():
    rng = np.random.default_rng(5)
    held = []
    for _ in range(300):
        probabilities = rng.dirichlet([1, 1, 1], size=60)
        labels = np.array([rng.choice(3, p=p**2 / (p**2).sum()) for p in probabilities])  # not what it says
        limit = predict.conformal_limit(probabilities[:30], labels[:30])
        held += list(1 - probabilities[30:][np.arange(30), labels[30:]] <= limit)
    assert (
        0.895 < np.mean(held) < 0.92
    )  # at least 0.9, at most 1/31 more; 9,000 clips: standard error below .005


def test_clips_of_a_folder_are_predicted_flagged_and_none_is_lost(kept, folder):
    table, problems = predict.of_folder(kept[0], str(folder))
    table = table.set_index("clip_id")
    assert list(table.index) == ["ann/moves", "still.avi"]
    assert sorted(problems["clip_id"]) == ["broken.mp4", "one", "two"]
    assert "a_7.png and b_7.png both have the number 7" in problems.set_index("clip_id").loc["two", "problem"]
    assert table["subject_id"].tolist() == ["ann", "still.avi"]
    assert table["nothing_moves"].tolist() == [False, True]
    assert table["not_a_face"].tolist() == [True, True]
    assert (table["trained_on"] == "synthetic faces (easy)").all()
    assert "onset 11, apex 13, offset 15" in table.loc["ann/moves", "notes"]
    of_classes = table[[f"p_{name}" for name in kept[0].classes]].to_numpy()
    np.testing.assert_allclose(of_classes.sum(axis=1), 1)
    for (_, row), values in zip(table.iterrows(), of_classes, strict=True):
        possible = [name for name, p in zip(kept[0].classes, values, strict=True) if 1 - p <= 0.9]
        assert row["possible"].split() == possible
        assert row["cannot_tell"] == (len(possible) != 1)
    said = predict.conclude(kept[0], table).data
    assert "In 1 of 2 clips nothing moves" in said
    assert "what it says of a real face means nothing" in said


def test_html_in_names_is_shown_and_not_obeyed():
    bad = "<img src=x onerror=alert(1)>"
    table = pd.DataFrame({"clip_id": [bad], "p_<script>": [0.25], "notes": [bad], "trained_on": [bad]})
    html = predict.show(table, ("<script>",)).to_html()
    assert "<img" not in html
    assert "<script" not in html
    assert html.count("&lt;img src=x") == 2
    assert ">25<" in html
    assert "<img" not in predict.describe(kept_of(bad)).to_html()


def kept_of(name):
    return predict.Kept(SimpleNamespace(origin=name), (name, "b"), 0.9, {"trained on": name})


def test_filled_in_predictions_are_scored(kept, folder, tmp_path, capsys):
    table, _ = predict.of_folder(kept[0], str(folder))
    table["y_true"] = kept[0].classes[:2]
    table.to_csv(tmp_path / "filled.csv", index=False)
    score.main([str(tmp_path / "filled.csv"), "--column", "y_pred"])
    assert "ACC" in capsys.readouterr().out


def test_a_kept_network_is_the_same_and_says_the_same(kept, folder, tmp_path):
    path = predict.save(kept[0], tmp_path / "kept.safetensors")
    again = predict.load(path)
    assert again[1:] == kept[0][1:]
    for name, values in kept[0].network.model.state_dict().items():
        assert torch.equal(again.network.model.state_dict()[name], values)
    pd.testing.assert_frame_equal(
        predict.of_folder(again, str(folder))[0], predict.of_folder(kept[0], str(folder))[0]
    )


def test_other_files_and_changed_weights_are_refused(kept, tmp_path):
    path = predict.save(kept[0], tmp_path / "kept.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"kept\.safetensors': its weights are not those that were written"):
        predict.load(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is no network that `make predict` kept"):
        predict.load(path)
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(3)}, metadata={"of": json.dumps("another")}))
    with pytest.raises(ValueError, match="is no network that `make predict` kept"):
        predict.load(path)
    with pytest.raises(FileNotFoundError, match="no such file; make one with `make predict`"):
        predict.load(tmp_path / "none.safetensors")


def test_subjects_that_calibrate_are_neither_trained_on_nor_shown(kept):
    network, dataset = kept[0].network, kept[1]
    fold = make_folds(dataset.clips, **network.trial.settings.split.model_dump(), seed=network.trial.seed)[0]
    tested = weights.look(network, dataset, fold.test)
    calibration, others = predict.halves(tested)
    assert len(calibration.clips) + len(others.clips) == len(fold.test)
    of_calibration, of_others = set(calibration.clips["subject_id"]), set(others.clips["subject_id"])
    assert of_calibration
    assert not of_calibration & of_others
    assert not of_calibration & set(dataset.clips["subject_id"].iloc[fold.train])
    table = predict.of_others(kept[0], others)
    assert table["y_true"].tolist() == [dataset.classes[label] for label in others.clips["label"]]
    n_held = sum(true in possible.split() for true, possible in table[["y_true", "possible"]].to_numpy())
    assert (
        f"stands in the set of {n_held} of {len(table)} clips; 90%" in predict.conclude(kept[0], table).data
    )


def test_a_folder_without_a_clip_is_named(folder):
    for name in ("ann", "two"):
        shutil.rmtree(folder / name)
    for name in ("still.avi", "broken.mp4"):
        (folder / name).unlink()
    (folder / "one" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"it holds neither a video \(\.avi, .* nor a folder of frames"):
        predict.clips_in(str(folder))
    with pytest.raises(FileNotFoundError, match="no such file or folder; the nearest is"):
        predict.clips_in(str(folder / "nowhere"))


def test_a_report_names_its_own_parameters_and_data(kept, folder, tmp_path, monkeypatch):
    path = predict.save(kept[0], tmp_path / "kept.safetensors")
    cells = json.loads((ROOT / "notebooks" / "predict.ipynb").read_text())["cells"]
    (own,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    exec("".join(own["source"]), defaults := {})
    given = {"preset": "smoke", "network": str(path), "clips": str(folder)}
    predict.start("predict", defaults | given)
    study, _ = predict.start("predict", given)
    assert answer.command(study) == "make predict PRESET=smoke NETWORK=.../kept.safetensors CLIPS=.../clips"
    shown = []
    monkeypatch.setattr(answer, "display", lambda part, display_id: shown.append(part.data))
    answer.Answer(study)
    assert "*Data*: the clips in `.../clips`; the network is read from `.../kept.safetensors`. *M" in shown[0]
    assert "faces" not in shown[0]
    answer.Answer(predict.start("predict", {"preset": "smoke", "clips": str(folder)})[0])
    assert "`.../clips`; the network is trained on synthetic faces (easy); preset `smoke`," in shown[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "paper"}, "split = 'paper', .* calibrated on subjects not trained on"),
        ({"macro_clips": "all"}, "macro_clips = 'all': .* calibrated on subjects not trained on"),
        ({"clips": "nowhere"}, "clips = 'nowhere': no such file or folder"),
        ({"network": "none.safetensors"}, "network = 'none.safetensors': no such file"),
        ({"seeds": [1], "network": "kept"}, "seeds has no effect with network = .*kept.*is trained; leave"),
    ],
)
def test_parameters_are_checked_in_the_first_cell(given, message, kept, tmp_path):
    if given.get("network") == "kept":
        path = str(predict.save(kept[0], tmp_path / "kept.safetensors"))
        given = given | {"network": path, "clips": path}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        predict.start("predict", {"preset": "smoke", **given})
