"""Change of depth: hand-made maps, bad files, and the depth maps of the synthetic benchmark."""

import os
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from einops import rearrange

from hsta_lib.config import Datasets, Frames, Parameters, Preset, Settings, Synthetic, with_fields
from hsta_lib.data import depth
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.depth import cache_depth, depth_change, read_depth
from hsta_lib.data.synthetic import build, population, portrait, render
from hsta_lib.data.synthetic import clips as synthetic
from hsta_lib.training import baseline_inputs, fit
from hsta_lib.training.trials import Trial

SPEC = Synthetic(generator_seed=2, n_subjects=3, n_micro=12, n_macro=3, frame_size=32)
WITH_DEPTH = SPEC.model_copy(update={"depth": True})
PRESET = Preset(synthetic=WITH_DEPTH, frames=Frames(n_frames=3, image_size=16))


def random_map(seed, shape=(15, 35)):
    return np.random.default_rng(seed).integers(500, 1500, shape).astype(np.uint16)


def blocks(values):
    """A map of 15 x 35 px in its 5 x 5 blocks of 3 x 7 px: shape (5, 5, 21)."""
    return rearrange(values, "(rows h) (columns w) -> rows columns (h w)", h=3, w=7)


# --- two maps ---------------------------------------------------------------------------------------------


def test_the_change_is_that_of_the_means_of_blocks():
    onset, apex = random_map(0), random_map(1)
    expected = blocks(apex.astype(float) - onset).mean(axis=2) / np.median(onset)
    change = depth_change(onset, apex, 5)
    assert (change.shape, change.dtype) == ((5, 5), np.float32)
    assert change == pytest.approx(expected, abs=1e-6)


def test_outliers_of_either_map_are_left_out_of_the_means():
    onset, apex = np.full((3, 7), 200, np.uint16), np.full((3, 7), 200, np.uint16)
    onset[0, :2], apex[1, 1:4] = 0, 0
    apex[2, 5], apex[0, 0] = 240, 777  # where the onset is missing, the apex does not count
    assert depth_change(onset, apex, 1) == pytest.approx(40 / 16 / 200)


def test_where_either_map_is_missing_the_change_is_none():
    onset, apex = random_map(0), random_map(1)
    onset[:3, 7:14], apex[12:, 28:] = 0, 0
    change = depth_change(onset, apex, 5)
    assert np.argwhere(change == 0).tolist() == [[0, 1], [4, 4]]


def test_the_median_is_that_of_the_valid_depths():
    onset = np.array([[0, 0, 0, 0, 500, 600, 900]], np.uint16)
    apex = np.where(onset, onset + 60, 0).astype(np.uint16)
    assert depth_change(onset, apex, 1) == pytest.approx(60 / 600)


@pytest.mark.parametrize("size", [2, 5, 15, 23, 41])
def test_a_head_that_comes_nearer_as_a_whole_changes_alike_everywhere(size):
    tilted = (700 + 3 * np.arange(35) + 5 * np.arange(15)[:, None]).astype(np.uint16)
    onset, apex = tilted.copy(), tilted - 13
    onset[4, 11], apex[4, 12], apex[9, 30] = 0, 0, 0
    change = depth_change(onset, apex, size)
    assert change[change != 0] == pytest.approx(-13 / np.median(onset[onset > 0]), rel=1e-6)
    assert (change != 0).mean() > 0.99


@pytest.mark.parametrize("size", [3, 41])
def test_the_change_has_no_unit(size):
    onset, apex = random_map(0), random_map(1)
    onset[2:9, 3], apex[:5, 20:] = 0, 0
    change = depth_change(onset, apex, size)
    assert change.std() > 0.01
    assert depth_change(7 * onset, 7 * apex, size) == pytest.approx(change, abs=1e-6)


def test_eight_bits_are_read_as_sixteen_are(tmp_path):
    onset, apex = (random_map(seed, (11, 13)) // 10 for seed in (0, 1))
    changes = []
    for dtype in (np.uint8, np.uint16):
        maps = []
        for name, values in (("onset", onset), ("apex", apex)):
            cv2.imwrite(str(tmp_path / f"{name}.png"), values.astype(dtype))
            maps.append(read_depth(tmp_path / f"{name}.png"))
        assert maps[0].dtype == dtype
        assert (maps[0] == onset).all()
        changes.append(depth_change(*maps, 5))
    assert (changes[0] == changes[1]).all()


# --- clips ------------------------------------------------------------------------------------------------


@pytest.fixture
def clips(tmp_path):
    """Three clips of two videos; maps of their onsets and apices and of a frame more."""
    table = pd.DataFrame(
        {
            "dataset": "casme3",
            "clip_id": ["s/a/3", "s/a/11", "s/b/2"],
            "folder": [tmp_path / video / "color" for video in "aab"],
            "depth_folder": [tmp_path / video / "depth" for video in "aab"],
            "onset": [3, 11, 2],
            "apex": [5, 17, 7],
        }
    )
    for clip in table.itertuples():
        clip.depth_folder.mkdir(parents=True, exist_ok=True)
        for number in (clip.onset, clip.onset + 1, clip.apex):
            cv2.imwrite(str(clip.depth_folder / f"{number}.png"), random_map(number))
    return table


def test_each_clip_gets_the_change_between_its_own_maps(clips, tmp_path):
    path, _, problems = cache_depth(clips, 5, tmp_path / "cache")
    changes = np.load(path)
    assert (changes.shape, changes.dtype) == ((3, 5, 5), np.float32)
    for row, (onset, apex) in zip(changes, [(3, 5), (11, 17), (2, 7)], strict=True):
        assert (row == depth_change(random_map(onset), random_map(apex), 5)).all()
    assert problems == []


def test_the_change_is_computed_once_and_anew_for_other_files(clips, tmp_path, monkeypatch):
    path, digest, _ = cache_depth(clips, 5, tmp_path / "cache")
    other_size, *_ = cache_depth(clips, 3, tmp_path / "cache")
    monkeypatch.setattr(depth, "depth_change", None)
    assert cache_depth(clips, 5, tmp_path / "cache")[0] == path
    monkeypatch.undo()
    os.utime(tmp_path / "b" / "depth" / "7.png", (1e9, 1e9))
    other_time, same, _ = cache_depth(clips, 5, tmp_path / "cache")
    assert len({path, other_size, other_time}) == 3
    assert same == digest


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


BAD_MAPS = {
    "no depth map of apex 7": lambda path: path.unlink(),
    r"truncated or no image \(0 bytes\)": lambda path: path.write_bytes(b""),
    "truncated or no image": _cut_short,
    r"no depth map: uint8 \(15, 35, 3\), not one channel": lambda path: cv2.imwrite(
        str(path), np.full((15, 35, 3), 9, np.uint8)
    ),
    "without a valid depth: every pixel is 0": lambda path: cv2.imwrite(
        str(path), np.zeros((15, 35), np.uint16)
    ),
    r"13 x 11 px, but 2\.png is 35 x 15 px": lambda path: cv2.imwrite(str(path), random_map(0, (11, 13))),
    "folder of depth maps missing, empty": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("problem", BAD_MAPS)
def test_a_clip_without_two_good_maps_is_left_out_and_named(clips, tmp_path, problem):
    folder = tmp_path / "b" / "depth"
    BAD_MAPS[problem](folder / "7.png")
    path, _, ((where, clip_id, found, action),) = cache_depth(clips, 5, tmp_path / "cache")
    assert len(np.load(path)) == 2
    assert where.startswith(str(folder))
    assert (clip_id, action) == ("s/b/2", "clip left out")
    assert pd.Series([found]).str.match(problem).all()


def test_a_clip_without_a_folder_of_depth_maps_is_left_out_and_named(clips, tmp_path):
    clips["depth_folder"] = [None, *clips["depth_folder"][1:]]
    path, _, problems = cache_depth(clips, 5, tmp_path / "cache")
    assert len(np.load(path)) == 2
    assert problems == [(str(tmp_path / "a" / "color"), "s/a/3", "no folder of depth maps", "clip left out")]


@pytest.mark.parametrize("nothing", [None, np.nan, ""])
def test_a_dataset_without_depth_is_refused(clips, tmp_path, nothing):
    clips = clips.assign(dataset="casme2", depth_folder=nothing)
    with pytest.raises(ValueError, match=r"dataset = casme2: no clip has a depth_folder; CAS\(ME\)\^3"):
        cache_depth(clips, 5, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# --- an opened dataset ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def opened(data_dir):
    return open_dataset(Parameters(labels="emotion7"), PRESET, data_dir)


def test_a_dataset_gives_the_change_of_depth_beside_its_clips(opened):
    changes = np.load(opened.with_depth(7).depth_path)
    assert (changes.shape, changes.dtype) == ((12, 7, 7), np.float32)
    for clip, row in zip(opened.clips.itertuples(), changes, strict=True):
        maps = [read_depth(clip.depth_folder / f"{number}.png") for number in (clip.onset, clip.apex)]
        assert (row == depth_change(*maps, 7)).all()


@pytest.fixture
def seen_with_depth(tmp_path):
    """The benchmark for a system that sees depth, and the settings of its trials."""
    cells = baseline_inputs.cells(
        pd.DataFrame({"system": ["RGB-D"]}), Datasets(form="reduced", baseline_epochs=1)
    )
    (fields,) = cells.drop(columns=["system", "recipe"]).to_dict("records")
    settings = with_fields(Settings(labels="emotion7"), n_folds=2, **fields)
    preset = PRESET.model_copy(update={"frames": settings.frames})
    return open_dataset(Parameters(labels="emotion7"), preset, tmp_path), settings


def test_other_maps_are_other_data_and_give_other_inputs(seen_with_depth):
    dataset, settings = seen_with_depth
    before = baseline_inputs.given(dataset, settings)
    inputs = np.array(baseline_inputs.inputs(before, settings))
    clip = dataset.clips.iloc[3]
    path = clip["depth_folder"] / f"{clip['apex']}.png"
    cv2.imwrite(str(path), read_depth(path)[::-1])
    after = baseline_inputs.given(dataset, settings)
    assert len({dataset.fingerprint, before.fingerprint, after.fingerprint}) == 3
    changed = (baseline_inputs.inputs(after, settings) != inputs).any(axis=(1, 2, 3))
    assert np.flatnonzero(changed).tolist() == [3]


def test_where_the_change_of_depth_is_the_maps_are_not_needed(seen_with_depth):
    dataset, settings = seen_with_depth
    given = baseline_inputs.given(dataset, settings)
    assert given.files == [dataset.frames_path, given.depth_path]
    for folder in dataset.clips["depth_folder"].unique():
        shutil.rmtree(folder)
    result = fit.fit(Trial(settings, 0, 0, given.fingerprint), given)
    assert result["predictions"]


def test_clips_that_lack_depth_are_counted_and_the_first_is_named(opened):
    clips = opened.clips.copy()
    clips.loc[[4, 9], "apex"] = 100_000
    message = f"2 of 12 clips lack depth, the first is {clips['clip_id'][4]}: .*no depth map of apex 100000"
    with pytest.raises(ValueError, match=message):
        replace(opened, clips=clips).with_depth(7)


def test_cropped_frames_and_whole_maps_do_not_go_together(data_dir):
    frames = Frames(n_frames=3, image_size=16, crop="center_square")
    preset = PRESET.model_copy(update={"frames": frames})
    cropped = open_dataset(Parameters(labels="emotion7"), preset, data_dir)
    with pytest.raises(ValueError, match=r"crop = 'center_square': .* choose crop = 'none'"):
        cropped.with_depth(7)


def test_a_benchmark_without_depth_says_how_to_get_it(data_dir):
    preset = PRESET.model_copy(update={"synthetic": SPEC})
    without = open_dataset(Parameters(labels="emotion7"), preset, data_dir)
    with pytest.raises(ValueError, match=r"dataset = synthetic: .*depth = True"):
        without.with_depth(7)


# --- the synthetic benchmark ------------------------------------------------------------------------------


def test_depth_leaves_every_colour_file_as_it_is(data_dir):
    with_depth, without = (synthetic.ensure(spec, data_dir) for spec in (WITH_DEPTH, SPEC))
    assert with_depth != without
    frames = sorted(path.relative_to(without) for path in without.rglob("*.jpg"))
    assert frames == sorted(path.relative_to(with_depth) for path in with_depth.rglob("*.jpg"))
    assert all((with_depth / path).read_bytes() == (without / path).read_bytes() for path in frames)
    assert not list(without.rglob("*.png"))


def test_depth_changes_neither_clips_nor_fingerprint(opened, data_dir):
    preset = PRESET.model_copy(update={"synthetic": SPEC})
    without = open_dataset(Parameters(labels="emotion7"), preset, data_dir)
    assert without.fingerprint == opened.fingerprint
    assert without.clips["clip_id"].equals(opened.clips["clip_id"])


def test_maps_are_there_for_onset_and_apex_of_every_clip(data_dir):
    root = synthetic.ensure(WITH_DEPTH, data_dir)
    wanted = {
        root / "part_A" / clip.subject / clip.film / "depth" / f"{number}.png"
        for clip in population.sample_clips(WITH_DEPTH).itertuples()
        for number in (clip.onset, clip.apex)
    }
    assert set(root.rglob("*.png")) == wanted
    maps = np.stack([read_depth(path) for path in wanted])
    assert (maps.shape[1:], maps.dtype) == ((32, 32), np.uint16)
    assert 0 < (maps == 0).mean() < 0.01
    assert 400 < maps[maps > 0].min() < 700  # mm
    assert maps.max() < 1100


def test_without_depth_benchmarks_keep_their_names():
    # Literals from before there was depth; the layouts of other datasets have none, so theirs never change.
    spec = Synthetic(generator_seed=5, n_subjects=3, n_micro=40, frame_size=32)
    with_depth = spec.model_copy(update={"depth": True})
    assert synthetic._fingerprint(spec) == "56960bc49b"
    assert synthetic._fingerprint(with_depth) != "56960bc49b"
    assert build._fingerprint(spec) == build._fingerprint(with_depth) == "0c9137e4a4"


def test_damaged_maps_are_made_again(tmp_path, capsys):
    root = synthetic.ensure(WITH_DEPTH, tmp_path)
    maps = sorted(root.rglob("*.png"))
    before = {path: path.read_bytes() for path in maps}
    maps[0].write_bytes(b"no picture")
    maps[-1].unlink()
    capsys.readouterr()
    assert synthetic.ensure(WITH_DEPTH, tmp_path) == root
    assert "is damaged or not whole: it is drawn again" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in sorted(root.rglob("*.png"))} == before


def compression(field):
    """Minus the divergence of a field."""
    return -(np.gradient(field[..., 0], axis=1) + np.gradient(field[..., 1], axis=0))


@pytest.mark.parametrize(("difficulty", "least"), [("easy", 0.85), ("micro", 0.5)])
def test_skin_comes_nearer_where_the_true_field_compresses_it(difficulty, least):
    spec = Synthetic(generator_seed=2, n_subjects=5, n_micro=17, frame_size=128, difficulty=difficulty)
    likeness = []
    for clip_id in population.sample_clips(spec)["clip_id"]:
        clip = synthetic._find(spec, clip_id)
        field = clip.field()
        expected = cv2.resize(compression(field), (32, 32), interpolation=cv2.INTER_AREA)
        moves = np.linalg.norm(cv2.resize(field, (32, 32), interpolation=cv2.INTER_AREA), axis=2)
        change = depth_change(*clip.depth_maps().values(), 32)
        inside = moves > 0.2 * moves.max()
        likeness.append(np.corrcoef(-change[inside], expected[inside])[0, 1])
    assert np.mean(likeness) > least


def test_a_neutral_head_that_looks_larger_is_nearer_and_the_wall_stays():
    face = portrait.draw_identity(np.random.default_rng(2))
    onset, apex = (
        render.render_depth(face, None, [0, 0, 0, scale], 64, np.random.default_rng(seed))
        for seed, scale in enumerate((0, 0.05))
    )
    change = depth_change(onset, apex, 8)
    nose = render.render_depth(face, None, [0, 0, 0, 0], 64, np.random.default_rng(3))[28:36, 28:36]
    expected = np.median(nose) * (np.exp(-0.05) - 1) / np.median(onset[onset > 0])
    assert change[3:5, 3:5].mean() == pytest.approx(expected, rel=0.15)
    assert np.abs(change[:, 0]).max() < 0.002
