"""What a step is given: normalised pixels, drawn and changed frames, by hand."""

import numpy as np
import pytest
import torch
from tiny import pixels_of, tiny_dataset, tiny_trials

from hsta_lib.data.frames import choose_frames
from hsta_lib.training import batches


def test_imagenet_pixels_use_the_channel_constants():
    pixels = torch.full((1, 2, 5, 5, 3), 255, dtype=torch.uint8)
    seen = batches.normalise(pixels, "imagenet")[0, 0, 0, 0]
    expected = [(1 - m) / s for m, s in zip(batches.PIXEL_MEAN, batches.PIXEL_STD, strict=True)]
    assert seen.tolist() == pytest.approx(expected, rel=1e-6)


def test_clip_pixels_keep_only_what_moves():
    pixels = torch.randint(0, 255, (2, 1, 5, 5, 3), dtype=torch.uint8).expand(2, 7, 5, 5, 3).clone()
    assert batches.normalise(pixels, "clip").abs().max() == 0  # a still clip
    pixels[0, 3, 2, 2] = 255 - pixels[0, 3, 2, 2]
    seen = batches.normalise(pixels, "clip")
    assert seen[0].square().mean().item() == pytest.approx(1, abs=1e-5)
    assert seen[0, :, 0].abs().max() == 0
    assert seen[1].abs().max() == 0  # one clip's motion does not reach another


@pytest.mark.parametrize(
    ("length", "n_frames", "drawn"), [(6, 6, range(6)), (3, 6, [0, 0, 1, 2, 2, 2]), (1, 4, [0, 0, 0, 0])]
)
def test_short_clips_repeat_their_first_and_last_frame(length, n_frames, drawn):
    assert batches.draw_frames(length, n_frames, np.random.default_rng(0)).tolist() == list(drawn)


def test_long_clips_give_each_frame_equally_often_and_in_order():
    rng = np.random.default_rng(0)
    drawn = np.array([batches.draw_frames(11, 5, rng) for _ in range(2200)])
    assert (np.diff(drawn, axis=1) > 0).all()
    assert np.bincount(drawn.ravel()) == pytest.approx(1000, abs=100)  # standard deviation 23


def test_drawn_frames_are_the_clips_own_and_onset_and_apex_stay(tmp_path, monkeypatch):
    data = tiny_dataset(tmp_path, n_frames=51)  # clips of 9 frames
    frames = np.array(data.frames())
    frames[:] = np.arange(53, dtype=np.uint8)[:, None, None, None]
    np.save(data.frames_path, frames)
    monkeypatch.setattr(batches, "normalise", lambda pixels, kind: pixels.float())
    trial = tiny_trials(drawing="random")[0]
    seen = pixels_of(data, trial)
    video, special = seen.batch(np.arange(23), seen.frame_draws("training"))
    assert special[:, 0, :, 0, 0].tolist() == [[51, 52]] * 23
    drawn = video[:, 0, :, 0, 0]
    assert sorted(set(drawn.ravel().tolist())) == list(range(9))
    assert (drawn.diff(dim=1) > 0).all()


def test_frames_drawn_in_the_test_alone_are_evenly_spaced_in_training(tmp_path, monkeypatch):
    data = tiny_dataset(tmp_path, n_frames=51)
    data.clips["offset"] = np.arange(3, 95, 4)  # lengths 3 to 91, of which 51 frames are kept
    frames = np.array(data.frames())
    frames[:] = np.arange(53, dtype=np.uint8)[:, None, None, None]
    np.save(data.frames_path, frames)
    monkeypatch.setattr(batches, "normalise", lambda pixels, kind: pixels.float())
    seen = pixels_of(data, tiny_trials(drawing="random_test")[0])
    assert seen.frame_draws("training") is None
    video, special = seen.batch(np.arange(23), seen.frame_draws("training"))
    expected = [choose_frames(0, min(length, 51) - 1, 6) for length in range(3, 95, 4)]
    assert video[:, 0, :, 0, 0].tolist() == np.array(expected).tolist()
    assert special[:, 0, :, 0, 0].tolist() == [[51, 52]] * 23
    drawn, _ = seen.batch(np.arange(23), seen.frame_draws("test"))
    assert not torch.equal(drawn, video)


def test_every_draw_is_of_other_frames(tmp_path):
    data = tiny_dataset(tmp_path, n_frames=51)
    seen = pixels_of(data, tiny_trials(drawing="random_test")[0])
    drawn = [seen.batch(np.arange(23), seen.frame_draws("test", draw))[0] for draw in (0, 1, 2, 1)]
    assert torch.equal(drawn[1], drawn[3])
    assert not any(torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def _numbered(tmp_path, monkeypatch, n_frames, **fields):
    """What the branches see of frames that are numbered from 0; onset and apex are the last two."""
    data = tiny_dataset(tmp_path, n_frames=n_frames)
    frames = np.array(data.frames())
    frames[:] = np.arange(n_frames + 2, dtype=np.uint8)[:, None, None, None]
    np.save(data.frames_path, frames)
    monkeypatch.setattr(batches, "normalise", lambda pixels, kind: pixels.float())
    return [pixels_of(data, trial) for trial in tiny_trials(n_frames=n_frames, **fields)]


def _places(data, rows, purpose="training"):
    video, special = data.batch(np.array(rows), data.frame_draws(purpose))
    return video[:, 0, :, 0, 0].tolist(), special[:, 0, :, 0, 0].tolist()


def test_shuffled_frames_are_all_of_a_clips_in_an_order_of_its_own(tmp_path, monkeypatch):
    seen, other = _numbered(tmp_path, monkeypatch, 7, video="shuffled", n_folds=2)[:2]
    video, special = _places(seen, range(23))
    assert [sorted(places) for places in video] == [list(range(7))] * 23
    assert special == [[7, 8]] * 23
    assert len({tuple(places) for places in video}) > 20  # of 5040 orders two of 23 clips rarely share one
    # The same in every epoch, in training and in test, in whatever batch.
    assert _places(seen, range(23))[0] == _places(seen, range(23), "test")[0] == video
    assert _places(seen, [11, 3])[0] == [video[11], video[3]]
    assert _places(other, range(23))[0] != video  # another fold, another trial


@pytest.mark.parametrize(
    ("video", "n_frames", "places"),
    [
        ("frames", 5, [0, 1, 2, 3, 4]),
        ("apex", 5, [6, 6, 6, 6, 6]),
        ("onset_apex", 5, [5, 5, 6, 6, 6]),
        ("onset_apex", 6, [6, 6, 6, 7, 7, 7]),
    ],
)
def test_the_video_of_onset_and_apex_by_hand(tmp_path, monkeypatch, video, n_frames, places):
    seen = _numbered(tmp_path, monkeypatch, n_frames, video=video)[0]
    for purpose in ("training", "test"):
        assert _places(seen, [7, 2, 19], purpose) == ([places] * 3, [[n_frames, n_frames + 1]] * 3)


def test_onset_and_apex_are_normalised_with_the_rest_of_the_clip(dataset):
    for pixels in ("imagenet", "clip"):
        seen = pixels_of(dataset, tiny_trials(pixels=pixels)[0])
        expected = batches.normalise(torch.from_numpy(dataset.frames()[:5]), pixels).movedim(-1, 1)
        assert torch.equal(torch.cat(seen.batch(np.arange(5), None), dim=2), expected)


@pytest.mark.parametrize("special", ["tracks", "flow"])
@pytest.mark.parametrize("pixels", ["imagenet", "clip"])
def test_pictures_are_normalised_apart_from_the_video(tmp_path, special, pixels):
    data = tiny_dataset(tmp_path)
    frames = np.array(data.frames())
    frames[:, -2:] = 128
    frames[:, -1, 0, 0] = (0, 128, 255)
    np.save(data.frames_path, frames)
    video, pictures = pixels_of(data, tiny_trials(pixels=pixels, special=special)[0]).batch(
        np.arange(23), None
    )
    alone = batches.normalise(torch.from_numpy(frames[:, :-2]), pixels)
    assert torch.equal(video, alone.movedim(-1, 1))
    assert pictures.shape == (23, 3, 2, 8, 8)
    # ImageNet's means and deviations, by hand.
    grey = [(128 / 255 - mean) / std for mean, std in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]]
    assert np.abs(grey).max() < 0.45
    assert pictures[3, :, 0, 5, 2].tolist() == pytest.approx(grey, abs=1e-6)
    dot = [-0.485 / 0.229, grey[1], (1 - 0.406) / 0.225]
    assert pictures[3, :, 1, 0, 0].tolist() == pytest.approx(dot, abs=1e-6)


def test_a_device_is_taken_as_named_and_refused_where_it_is_not(monkeypatch):
    for n_gpus, expected in ((0, "cpu"), (2, "cuda")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda n=n_gpus: n)
        assert batches.device_of("auto") == torch.device(expected)
        assert batches.device_of("cpu") == torch.device("cpu")
    assert batches.device_of("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="'cuda:2' is not on this machine; there are: cpu, cuda:0, cuda:1"):
        batches.device_of("cuda:2")


@pytest.mark.parametrize("pixels", ["imagenet", "clip"])
@pytest.mark.parametrize("fields", [{}, {"video": "shuffled"}, {"drawing": "random_test"}])
def test_what_is_kept_is_what_is_made_anew_in_every_epoch(tmp_path, monkeypatch, pixels, fields):
    data = tiny_dataset(tmp_path, n_frames=51 if "drawing" in fields else 6)
    trial = tiny_trials(pixels=pixels, **fields)[0]
    kept = pixels_of(data, trial)
    monkeypatch.setattr(batches, "_MOST_KEPT", 0)
    made = pixels_of(data, trial)
    assert (kept.kept is None, made.kept) == (False, None)
    for rows in (np.arange(23), np.array([7, 3, 7]), np.array([11])):
        assert all(map(torch.equal, kept.batch(rows, None), made.batch(rows, None)))


def test_frames_that_are_drawn_in_training_are_not_kept(tmp_path):
    seen = pixels_of(tiny_dataset(tmp_path, n_frames=51), tiny_trials(drawing="random")[0])
    assert seen.kept is None
