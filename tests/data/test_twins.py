"""One clip under two names: planted in data of one's own and in a composite, and found."""

import shutil

import cv2
import numpy as np
import pytest
from tiny import tiny_dataset

from hsta_lib.config import Frames, Parameters, Preset, Synthetic
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.splits import Fold
from hsta_lib.data.twins import count_twins, near_twins
from hsta_lib.study import start, study

PRESET = Preset(frames=Frames(n_frames=2, image_size=32))
N_FRAMES = 4


def film(folder, seed, quality=95):
    """A film of noise that brightens, as JPEG."""
    folder.mkdir(parents=True)
    scene = np.random.default_rng(seed).integers(40, 180, (6, 6, 1)).astype(np.uint8)
    for number in range(N_FRAMES):
        frame = cv2.resize(np.tile(scene, 3), (96, 96)) + np.uint8(4 * number)
        cv2.imwrite(str(folder / f"{number}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, quality])


@pytest.fixture
def root(tmp_path):
    """Five subjects with two clips each, all different."""
    root = tmp_path / "mine"
    for seed in range(10):
        film(root / f"s{seed // 2}" / f"c{seed % 2}", seed)
    table(root, [])
    return root


def table(root, more):
    rows = [(f"s{n // 2}", f"c{n % 2}", f"s{n // 2}/c{n % 2}") for n in range(10)]
    lines = [
        f"{s},{c},{folder},0,2,{N_FRAMES - 1},{['happy', 'sad'][n % 2]}"
        for n, (s, c, folder) in enumerate([*rows, *more])
    ]
    (root / "clips.csv").write_text(
        "\n".join(["subject,clip,folder,onset,apex,offset,emotion", *lines]) + "\n"
    )


def opened_by(root, tmp_path, **parameters):
    """A study of the data, and the data."""
    chosen = {"dataset": "own", "data_root": str(root), "labels": "emotion7", **parameters}
    opened = open_dataset(Parameters(**chosen), PRESET, tmp_path / "data")
    return start("table4", {"preset": "quick", "split": "subject", **chosen}), opened  # five folds


def test_different_clips_are_no_twins(root, tmp_path, capsys):
    chosen, opened = opened_by(root, tmp_path)
    capsys.readouterr()
    chosen.folds(opened)
    chosen.folds(opened, "paper")
    assert opened.problems.empty
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("copied", [False, True])
def test_a_clip_under_another_subject_is_refused_where_subjects_are_apart(root, tmp_path, copied):
    if copied:
        shutil.copytree(root / "s0" / "c0", root / "new" / "c0")
    table(root, [("new", "c0", "new/c0" if copied else "s0/c0")])
    chosen, opened = opened_by(root, tmp_path)
    assert opened.problems[["clip_id", "problem", "action"]].to_numpy().tolist() == [
        ["own/s0/c0", "looks like own/new/c0: 0.0 grey levels apart on average", "kept"]
    ]
    told = r"fold \d (tests own/new/c0 and trains on own/s0/c0|tests own/s0/c0 and trains on own/new/c0)"
    for split in ("subject", "loso"):
        with pytest.raises(ValueError, match=rf"{told}, which has the same pixels.*give both one subject"):
            chosen.folds(opened, split)


def test_where_subjects_are_shared_they_are_counted_and_told_once(root, tmp_path, capsys):
    table(root, [("new", f"c{n}", f"s0/c{n}") for n in range(2)])
    chosen, opened = opened_by(root, tmp_path, split="paper")
    study._tell.cache_clear()
    capsys.readouterr()
    folds = chosen.folds(opened)
    apart = {opened.clips["clip_id"][row]: number for number, (_, test) in enumerate(folds) for row in test}
    n = 2 * sum(apart[f"own/new/c{i}"] != apart[f"own/s0/c{i}"] for i in range(2))
    assert n > 0
    chosen.folds(opened)
    line = f"split paper: {n} of 12 test clips are in training too, with the same pixels under another name\n"
    assert capsys.readouterr().out == line


def test_frames_of_one_folder_under_two_subjects_are_a_problem(root, tmp_path):
    films = root / "s0" / "c0", root / "s1" / "c1"
    for number in range(N_FRAMES):  # one folder of two films
        shutil.copy(films[1] / f"{number}.jpg", films[0] / f"{N_FRAMES + number}.jpg")
    table(root, [])
    last = {"new": (3, 5, 7), "other": (4, 5, 7)}  # shares the frame 3 of s0/c0, and none of its
    rows = [f"{s},c0,s0/c0,{onset},{apex},{offset},sad" for s, (onset, apex, offset) in last.items()]
    (root / "clips.csv").write_text("\n".join([(root / "clips.csv").read_text().strip(), *rows]) + "\n")
    problems = opened_by(root, tmp_path)[1].problems
    told = set(problems["clip_id"] + ": " + problems["problem"])
    assert "own/s0/c0: has frames of own/new/c0, which is of another subject: 1" in told
    assert "own/other/c0: has frames of own/new/c0, which is of another subject: 4" in told
    assert not [line for line in told if "other/c0" in line and "s0/c0" in line]


def test_frames_encoded_once_more_are_a_problem(root, tmp_path):
    film(root / "new" / "c0", seed=0, quality=60)
    table(root, [("new", "c0", "new/c0")])
    chosen, opened = opened_by(root, tmp_path)
    (problem,) = opened.problems.to_dict("records")
    assert problem["clip_id"] == "own/s0/c0"
    assert problem["problem"].startswith("looks like own/new/c0: 0.")
    chosen.folds(opened)  # they are not the same pixels


def test_clips_of_one_recording_may_look_alike(root, tmp_path):
    _, opened = opened_by(root, tmp_path)
    frames = np.load(opened.frames_path)
    frames[1] = frames[0] + 1 * (frames[0] < 255)
    np.save(tmp_path / "frames.npy", frames)
    assert near_twins(opened.clips, tmp_path / "frames.npy") == []
    frames[1, :, :, : frames.shape[3] // 2] = frames[0, :, :, : frames.shape[3] // 2]
    np.save(tmp_path / "frames.npy", frames)
    assert [row[1:] for row in near_twins(opened.clips, tmp_path / "frames.npy")] == [
        ("own/s0/c1", "looks like own/s0/c0: 0.5 grey levels apart on average", "kept")
    ]
    of_one = opened.clips.assign(recording_id="own/s0/film")
    assert near_twins(of_one, tmp_path / "frames.npy") == []


def test_pictures_whose_lines_are_as_bright_are_no_twins(root, tmp_path):
    _, opened = opened_by(root, tmp_path)
    frames = np.load(opened.frames_path)
    frames[1] = frames[0][..., ::-1, :]  # mirrored
    np.save(tmp_path / "frames.npy", frames)
    assert near_twins(opened.clips, tmp_path / "frames.npy") == []
    frames[1] = frames[0]
    np.save(tmp_path / "frames.npy", frames)
    assert len(near_twins(opened.clips, tmp_path / "frames.npy")) == 1


def test_a_twin_in_another_dataset_of_the_union_is_refused(tmp_path):
    preset = PRESET.model_copy(update={"synthetic": Synthetic(n_subjects=9, n_micro=45, frame_size=32)})
    chosen = {"variant": "megc2019", "labels": "emotion3"}
    opened = open_dataset(Parameters(**chosen), preset, tmp_path / "data")
    composite = start("table4", {"preset": "smoke", **chosen})
    composite.folds(opened)
    rows = [opened.clips["clip_id"].str.startswith(f"{name}/").idxmax() for name in ("smic", "samm")]
    frames = np.load(opened.frames_path)
    frames[rows[1]] = frames[rows[0]]
    np.save(opened.frames_path, frames)
    with pytest.raises(
        ValueError, match=r"tests (smic|samm)/.* and trains on (smic|samm)/.* the same pixels"
    ):
        composite.folds(opened)


def test_twins_are_counted_by_test_clip(tmp_path):
    dataset = tiny_dataset(tmp_path, n_clips=6)
    frames = np.load(dataset.frames_path)
    frames[[3, 4]] = frames[0]
    np.save(dataset.frames_path, frames)
    folds = [Fold(np.array([1, 2, 3]), np.array([0, 4, 5])), Fold(np.array([0, 4, 5]), np.array([1, 2, 3]))]
    assert count_twins(dataset.clips, dataset.frames_path, folds, subject_dependent=True) == 3
    apart = [Fold(np.array([1, 2, 5]), np.array([0, 3, 4]))]
    assert count_twins(dataset.clips, dataset.frames_path, apart, subject_dependent=False) == 0


def test_a_dataset_of_which_only_the_clips_are_known_has_no_twins(tmp_path):
    folds = [Fold(np.array([0]), np.array([1]))]
    assert count_twins(None, tmp_path, folds, subject_dependent=False) == 0
