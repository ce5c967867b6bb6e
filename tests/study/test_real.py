"""A published network on published pictures, on made-up clones with pictures, weights and logs."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import precision_score
from torch.nn import functional

from hsta_lib.data.readers import clones, flow_images
from hsta_lib.models.baselines import ststnet
from hsta_lib.study import real
from hsta_lib.study.study import start

pytestmark = pytest.mark.usefixtures("no_environment")

# Subject, its clips by class and name, as the log lists them.
CLIPS = {
    "006": [("006_1_2", 0), ("006_5_10", 2)],
    "s01": [("s01_ne_01", 0), ("s01_ne_02", 0), ("s01_po_01", 1)],
    "sub01": [("EP02_01f", 1)],
    "sub07": [("EP06_02_01", 2)],
}
WIDTHS = {1: 3, 2: 5, 3: 8}


def state(seed):
    """Random weights by the names and shapes of the authors' checkpoints."""
    rng = torch.Generator().manual_seed(seed)
    found = {"fc.weight": torch.randn(3, 400, generator=rng), "fc.bias": torch.randn(3, generator=rng)}
    for n, width in WIDTHS.items():
        found[f"conv{n}.weight"] = torch.randn(width, 3, 3, 3, generator=rng)
        for name in (f"conv{n}.bias", f"bn{n}.weight", f"bn{n}.bias", f"bn{n}.running_mean"):
            found[name] = torch.randn(width, generator=rng)
        found[f"bn{n}.running_var"] = torch.rand(width, generator=rng) + 0.5
        found[f"bn{n}.num_batches_tracked"] = torch.tensor(7)
    return found


def three_streams(weights, x):
    """Class scores as the article describes them: three streams, joined after their poolings."""
    parts = []
    for n in WIDTHS:
        part = functional.conv2d(x, weights[f"conv{n}.weight"], weights[f"conv{n}.bias"], padding=2).relu()
        mean, var = weights[f"bn{n}.running_mean"], weights[f"bn{n}.running_var"]
        part = functional.batch_norm(part, mean, var, weights[f"bn{n}.weight"], weights[f"bn{n}.bias"])
        parts.append(functional.max_pool2d(part, 3, 3, 1))
    joined = functional.avg_pool2d(torch.cat(parts, 1), 2).flatten(1)
    return joined @ weights["fc.weight"].T + weights["fc.bias"]


@pytest.fixture
def external(tmp_path):
    """Clones with pictures of noise, random weights, and logs of what these weights predict."""
    rng, log, by_clip = np.random.default_rng(0), [], []
    weights = tmp_path / "external/STSTNet/STSTNet_Weights"
    weights.mkdir(parents=True)
    rows = ["dataset,sub,filename_o,label,apex,imagename,sub_filename"]
    for seed, (subject, clips) in enumerate(CLIPS.items()):
        pictures = rng.integers(0, 64, (len(clips), 28, 28, 3), np.uint8)  # blue, green, red
        pictures += rng.integers(0, 192, (len(clips), 1, 1, 3), np.uint8)  # of a colour each
        for (name, label), picture in zip(clips, pictures, strict=True):
            folder = tmp_path / "external/HTNet/datasets/three_norm_u_v_os" / subject / "u_test" / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / f"{subject}_{name} .png"), picture)
            rows.append(f"x,{subject},{name},{label},,,")
        torch.save(state(seed), weights / f"{subject}.pth")
        seen = torch.tensor(pictures.transpose(0, 3, 1, 2), dtype=torch.float32)
        found, labels = three_streams(state(seed), seen).argmax(1).tolist(), [label for _, label in clips]
        log.append(f"Subject: {subject} \nPredicted   : {found} \nGround Truth: {labels} \nUF1: 1 | UAR: 1 ")
        by_clip += [f"x {subject}", *(f"{name} {label} {label}" for name, label in clips)]
    (weights.parent / "STSTNet_python_logfile.txt").write_text("\n".join(log))
    (weights.parent / "STSTNet_logfile.txt").write_text("\n".join(by_clip))
    (tmp_path / "external/HTNet/list.csv").write_text("\n".join(rows))
    return tmp_path / "external"


@pytest.fixture
def reproduced(external, tmp_path, monkeypatch):
    """A function that reproduces from these clones as they are then."""
    for name in ("HSTA_DATA", "HSTA_RESULTS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    given = {"preset": "smoke", "dataset": "megc2019_flow", "split": "loso"}
    study = start("reproduce", given | {"data_root": str(external / "HTNet")})
    return lambda: real.reproduce(study, study.open_dataset())


def test_every_prediction_is_that_of_the_log_and_only_in_the_published_order(reproduced):
    table = reproduced()
    assert table["subject"].tolist() == [0, 1, 2, 2, 3, 3, 3]
    assert table["y_true"].tolist() == [1, 2, 0, 2, 0, 0, 1]
    assert list(table.columns[:5]) == ["clip", "subject", "y_true", real.LOG, real.MATLAB_LOG]
    scored = real.score(table)
    assert scored.loc[real.WEIGHTS.format("blue, green, red"), "equal"] == 7
    others = scored["equal"][scored.index.str.startswith("their weights")][1:]
    assert len(others) == 5
    assert others[real.WEIGHTS.format("red, green, blue")] < 7
    assert scored.loc[real.MATLAB_LOG, ["uf1", "uar", "precision"]].tolist() == [100, 100, 100]
    for name in scored.index:
        expected = precision_score(table["y_true"], table[name], average="macro", zero_division=0)
        assert scored.loc[name, "precision"] == pytest.approx(100 * expected)
    said = real.conclude(scored, len(table)).data
    assert "predict 7 of 7 clips" in said
    assert f"two logs agree in {(table[real.LOG] == table[real.MATLAB_LOG]).sum()} of 7 clips" in said
    assert "None of our own trainings is stored" in said


def test_where_the_logs_lie_among_our_own_trainings(reproduced):
    table = reproduced()
    table = table.assign(**{"ours, seed 0": table["y_true"], "ours, seed 1": 0})
    said = real.conclude(real.score(table), len(table)).data
    assert "UAR of our own 2 trainings by leave-one-subject-out: 100.0, 33.3" in said
    assert "and 100.0, above" in said
    assert "and 1 of ours" in said


def break_log(external):
    path = external / "STSTNet/STSTNet_python_logfile.txt"
    path.write_text(path.read_text().replace("Ground Truth: [0, 2]", "Ground Truth: [0, 1]"))


def break_matlab_log(external):
    path = external / "STSTNet/STSTNet_logfile.txt"
    path.write_text(path.read_text().replace("EP02_01f 1 1", ""))


def other_network(external):
    torch.save({"fc.weight": torch.zeros(3, 400)}, external / "STSTNet/STSTNet_Weights/s01.pth")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_log, r"python_logfile.txt: subject 006 has the labels \[0, 1\], its pictures \[0, 2\]"),
        (break_matlab_log, r"no prediction of 1 of 7 clips, the first is casme2/sub01/EP02_01f"),
        (other_network, r"s01.pth: no checkpoint of STSTNet.*fc.bias"),
        (lambda at: (at / "STSTNet/STSTNet_Weights/s01.pth").write_bytes(b"PK"), "no checkpoint of STSTNet"),
        (lambda at: (at / "STSTNet/STSTNet_Weights/s01.pth").unlink(), "s01.pth is not there; christy1206/"),
        (lambda at: shutil.rmtree(at / "STSTNet"), "git clone https://github.com/christy1206/STSTNet /"),
    ],
)
def test_what_is_missing_or_another_version_is_named_with_the_command(external, reproduced, damage, message):
    damage(external)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        reproduced()


def test_a_network_with_more_than_three_streams_is_refused(tmp_path):
    torch.save(state(0) | {"conv4.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: no checkpoint of STSTNet.*unknown: conv4.weight"):
        ststnet.with_authors_weights(tmp_path / "a.pth")


def test_at_the_root_of_a_clone_the_pictures_are_found_and_its_list_is_compared(external):
    root = external / "HTNet"
    assert flow_images.read(root).problems.empty
    tree = root / "datasets/three_norm_u_v_os"
    (tree / "006/u_test/0/006_006_1_2 .png").unlink()
    (tree / "s01/u_test/1").rename(tree / "s01/u_test/2")
    problems = flow_images.read(root).problems.to_numpy().tolist()
    repair = "no picture; git clone https://github.com/wangzhifengharrison/HTNet"
    assert [row[1] for row in problems] == ["samm/006/006_1_2", "smic/s01/s1_po_01"]
    assert problems[0][2].startswith(repair)
    assert problems[1][2:] == ["positive, its folder says surprise", "folder's kept"]
    tree.rename(tree.with_name("renamed"))
    with pytest.raises(FileNotFoundError, match="three_norm_u_v_os is not there; wangzhifengharrison/HTNet"):
        flow_images.read(root)


def test_the_folder_of_faces_is_refused_by_name(tmp_path):
    (tmp_path / "datasets/combined_datasets_whole").mkdir(parents=True)
    with pytest.raises(ValueError, match="pictures of faces, which are bound by agreements and not read"):
        flow_images.read(tmp_path / "datasets/combined_datasets_whole")


def test_a_clone_of_git_is_repaired_by_git(tmp_path):
    (tmp_path / ".git").mkdir()
    assert "checkout --force 1afb56e" in clones.repair(tmp_path, "STSTNet")


def test_what_is_written_names_no_clip_and_no_subject(reproduced, tmp_path, monkeypatch):
    monkeypatch.setattr(real.config, "records_dir", lambda: tmp_path / "kept")
    table = reproduced()
    real.record(table, real.score(table))
    kept = pd.read_csv(tmp_path / "kept/real-reproduce-predictions.csv")
    assert kept.drop(columns=["clip", "subject"]).isin([0, 1, 2]).all(axis=None)
    assert kept["clip"].tolist() == list(range(7))
