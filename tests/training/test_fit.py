"""Training: each recipe field does what it says, and a trial repeated is the same trial."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import FINGERPRINT, tiny_dataset, tiny_settings, tiny_trials

from hsta_lib.config import RELEASED_STEPS, Training, TrialTraining, as_released, with_fields
from hsta_lib.data.frames import choose_frames
from hsta_lib.data.splits import make_folds
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import fit
from hsta_lib.training.trials import PROTOCOL, Trial


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return tiny_dataset(tmp_path_factory.mktemp("tiny"))


def _fit(dataset, **fields):
    return fit.fit(tiny_trials(**fields)[0], dataset)


def test_a_repeated_trial_gives_bit_identical_scores(dataset):
    first, again = _fit(dataset), _fit(dataset)
    assert first["predictions"] == again["predictions"]
    assert first["losses"] == again["losses"]


def test_the_number_of_torch_threads_changes_nothing_and_is_left_as_it_was(dataset):
    expected = _fit(dataset)["predictions"]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert _fit(dataset)["predictions"] == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_training_leaves_torch_random_numbers_alone(dataset):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    _fit(dataset)
    assert torch.equal(torch.rand(2), expected)


def test_predictions_changed_means_protocol_changed(dataset):
    # After a change of the training arithmetic raise PROTOCOL in hsta_lib/training/trials.py and put the new
    # numbers here. Rounding on another CPU moves them by 1e-6, the smallest recipe change tried by over 1e-3.
    scores = _fit(dataset)["predictions"]["scores"][:2]
    assert PROTOCOL == 2
    assert scores[0] == pytest.approx([0.036324, 0.046694, 0.046757], abs=1e-4)
    assert scores[1] == pytest.approx([0.034722, 0.051471, 0.049911], abs=1e-4)


def test_predictions_are_of_the_test_fold_and_of_nothing_else(dataset):
    trial = tiny_trials()[1]
    fold = make_folds(dataset.clips, **trial.settings.split.model_dump())[1]
    rows = pd.DataFrame(fit.fit(trial, dataset)["predictions"])
    expected = dataset.clips.iloc[fold.test]
    assert rows["clip_id"].tolist() == expected["clip_id"].tolist()
    assert rows["y_true"].tolist() == expected["label"].tolist()
    assert rows["y_pred"].tolist() == [int(np.argmax(scores)) for scores in rows["scores"]]


def test_test_labels_and_test_pixels_cannot_reach_the_training(dataset, tmp_path):
    # Change everything about the test clips but their subjects: the network of the fold stays the same, so
    # the predictions of one untouched test clip do too.
    trial = tiny_trials()[0]
    test = make_folds(dataset.clips, **trial.settings.split.model_dump())[0].test
    frames = np.array(dataset.frames())
    frames[test[1:]] = 255 - frames[test[1:]]
    changed = tiny_dataset(tmp_path)
    np.save(changed.frames_path, frames)
    changed.clips.loc[test, "label"] = (changed.clips.loc[test, "label"] + 1) % 3
    before, after = (fit.fit(trial, data)["predictions"]["scores"] for data in (dataset, changed))
    assert after[0] == before[0]
    assert after[1:] != before[1:]


def test_a_leak_of_one_test_clip_into_training_would_be_seen(dataset, monkeypatch):
    # The planted leak: the same check as above must fail when a test clip is trained on.
    trial = tiny_trials()[0]
    before = fit.fit(trial, dataset)["predictions"]["scores"]
    folds = make_folds(dataset.clips, **trial.settings.split.model_dump())
    leaking = folds[0]._replace(train=np.append(folds[0].train, folds[0].test[1]))
    monkeypatch.setattr(fit, "make_folds", lambda *_, **__: [leaking])
    assert fit.fit(trial, dataset)["predictions"]["scores"] != before


def test_the_network_learns_what_is_there_to_learn(dataset):
    result = _fit(dataset, epochs=60)
    correct = np.mean(np.equal(result["predictions"]["y_true"], result["predictions"]["y_pred"]))
    assert result["losses"][-1] < 0.3 * result["losses"][0]
    assert correct > 0.8


def test_data_of_another_fingerprint_is_refused(dataset):
    trial = tiny_trials()[0]
    other = type(trial)(trial.settings, 0, 0, "other")
    with pytest.raises(ValueError, match=r"data other.*opened is tiny"):
        fit.fit(other, dataset)


def test_a_loss_that_diverges_names_the_learning_rate(dataset):
    with pytest.raises(ValueError, match="learning_rate"):
        _fit(dataset, learning_rate=1e30, epochs=5)


def test_classes_absent_from_training_are_listed_and_skipped(tmp_path):
    data = tiny_dataset(tmp_path)
    trial = tiny_trials()[0]
    train = make_folds(data.clips, **trial.settings.split.model_dump())[0].train
    rows = data.clips.index.isin(train) & (data.clips["label"] == 2)
    data.clips.loc[rows, "label"] = 1
    assert fit.fit(trial, data)["absent_classes"] == ["high"]


def test_epoch_predictions_are_stored_on_request_and_end_with_the_final_ones(dataset):
    plain, stored = _fit(dataset), _fit(dataset, store_epochs=True)
    assert "epoch_predictions" not in plain
    assert stored["predictions"] == plain["predictions"]
    assert len(stored["epoch_predictions"]) == 2
    assert stored["epoch_predictions"][-1] == plain["predictions"]["y_pred"]


def test_balanced_sampling_draws_every_class_equally_often():
    labels = np.repeat([0, 1, 3], [1, 10, 100])  # class 2 does not occur
    order = np.concatenate([fit.epoch_order(labels, "balanced", np.random.default_rng(s)) for s in range(30)])
    drawn = np.bincount(labels[order], minlength=4) / len(order)
    # 3330 draws: the deviation of a share of 1/3 is 0.008, four of them 0.033.
    assert drawn[2] == 0
    assert np.abs(drawn[[0, 1, 3]] - 1 / 3).max() < 0.033


def test_uniform_sampling_visits_every_clip_once():
    order = fit.epoch_order(np.zeros(17, int), "uniform", np.random.default_rng(0))
    assert sorted(order) == list(range(17))


def test_learning_rate_warms_up_and_decays_to_zero():
    recipe = Training(learning_rate=1.0, warmup_start=0.2, warmup_epochs=2, epochs=6)
    rates = [fit.learning_rate(step, 4, recipe) for step in range(24)]
    assert rates[0] == 0.2
    assert rates[4] == pytest.approx(0.6)  # half of the way from 0.2 to 1
    assert rates[8] == 1.0
    assert rates[16] == pytest.approx(0.5)  # half of the cosine
    assert 0 < rates[23] < 0.02
    constant = recipe.model_copy(update={"schedule": "constant"})
    assert fit.learning_rate(23, 4, constant) == 1.0


def test_loss_is_the_mean_square_over_batch_and_classes():
    logits = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.5, 0.0]])
    labels = torch.tensor([0, 1])
    # (0 + 0 + 4) + (0 + 0.25 + 0) over six entries.
    assert fit.loss_of(logits, labels, "mse").item() == pytest.approx(4.25 / 6)
    even = torch.zeros(1, 4)
    assert fit.loss_of(even, labels[:1], "mse_softmax").item() == pytest.approx((0.75**2 + 3 / 16) / 4)


def test_imagenet_pixels_use_the_channel_constants():
    pixels = torch.full((1, 2, 5, 5, 3), 255, dtype=torch.uint8)
    seen = fit.normalise(pixels, "imagenet")[0, 0, 0, 0]
    expected = [(1 - m) / s for m, s in zip(fit.PIXEL_MEAN, fit.PIXEL_STD, strict=True)]
    assert seen.tolist() == pytest.approx(expected, rel=1e-6)


def test_clip_pixels_keep_only_what_moves():
    pixels = torch.randint(0, 255, (2, 1, 5, 5, 3), dtype=torch.uint8).expand(2, 7, 5, 5, 3).clone()
    assert fit.normalise(pixels, "clip").abs().max() == 0  # a still clip
    pixels[0, 3, 2, 2] = 255 - pixels[0, 3, 2, 2]
    seen = fit.normalise(pixels, "clip")
    assert seen[0].square().mean().item() == pytest.approx(1, abs=1e-5)
    assert seen[0, :, 0].abs().max() == 0
    assert seen[1].abs().max() == 0  # one clip's motion does not reach another


def test_shuffled_labels_are_a_permutation_of_the_training_folds():
    clips, train = _recordings(), np.arange(3, 17)
    rows, labels = fit.training_labels(clips, train, "fold", np.random.default_rng(0))
    true = clips["label"].to_numpy()[train]
    assert rows.tolist() == train.tolist()
    assert sorted(labels) == sorted(true)
    assert (labels != true).any()


def test_labels_within_a_recording_always_come_from_another_of_its_clips():
    clips = _recordings()
    clips["label"] = np.arange(len(clips))  # every clip its own label: whose label is whose is seen
    rows, labels = fit.training_labels(clips, np.arange(19), "recording", np.random.default_rng(1))
    recordings = clips["recording_id"].to_numpy()
    assert (labels != rows).all()
    assert (recordings[labels] == recordings[rows]).all()
    assert sorted(labels) == sorted(rows)
    assert 18 not in rows  # alone in its recording


def test_shuffling_within_recordings_needs_a_recording_with_two_clips():
    clips = _recordings().drop_duplicates("recording_id").reset_index(drop=True)
    with pytest.raises(ValueError, match="two training clips"):
        fit.training_labels(clips, np.arange(len(clips)), "recording", np.random.default_rng(0))


def _recordings():
    rows = [f"r{i % 5}" for i in range(18)] + ["alone"]
    return pd.DataFrame({"recording_id": rows, "label": np.arange(19) % 4})


ALTERNATIVES = {
    "pixels": "clip",
    "loss": "mse_softmax",
    "optimizer": "adam",
    "learning_rate": 2e-2,
    "weight_decay": 0.5,
    "batch_size": 4,
    "epochs": 3,
    "warmup_epochs": 1,
    "schedule": "constant",
    "sampling": "uniform",
    "shuffled_labels": "fold",
    "video": "shuffled",
    "final_rate": 5e-3,
    "layer_decay": 0.5,
    "drop_last": False,
    "precision": "bfloat16",
}


@pytest.mark.parametrize("field", ALTERNATIVES)
def test_every_recipe_field_changes_the_predictions(dataset, field):
    changed = _fit(dataset, **{field: ALTERNATIVES[field]})
    assert changed["predictions"]["scores"] != _fit(dataset)["predictions"]["scores"]


def test_the_start_of_the_warm_up_changes_the_predictions(dataset):
    low, high = (_fit(dataset, warmup_epochs=1, warmup_start=start) for start in (1e-6, 5e-3))
    assert low["predictions"]["scores"] != high["predictions"]["scores"]


def test_steps_multiply_the_rate_after_so_many_epochs():
    recipe = TrialTraining(
        learning_rate=0.8, schedule="steps", decay=0.5, decay_epochs=2, epochs=5, warmup_epochs=0
    )
    rates = [fit.learning_rate(step, 3, recipe) for step in range(15)]
    assert rates == 6 * [0.8] + 6 * [0.4] + 3 * [0.2]


def test_clips_in_order_are_never_shuffled():
    rng = np.random.default_rng(0)
    assert fit.epoch_order(np.array([2, 0, 1, 1, 0]), "in_order", rng).tolist() == [0, 1, 2, 3, 4]


def test_no_recipe_field_is_left_untested():
    elsewhere = {"warmup_start", "store_epochs", "store_draws", "peak_twice", "decay_biases"}
    elsewhere |= {"decay", "decay_epochs", "pretraining_epochs", "compile"}
    assert set(ALTERNATIVES) | elsewhere == set(TrialTraining.model_fields)


def test_cross_entropy_is_that_of_the_softmax():
    logits = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.5, 0.0]])
    chosen = [2.0, 0.5]
    sums = [math.exp(1) + 1 + math.exp(2), 2 + math.exp(0.5)]
    expected = sum(math.log(total) - value for total, value in zip(sums, chosen, strict=True)) / 2
    assert fit.loss_of(logits, torch.tensor([2, 1]), "cross_entropy").item() == pytest.approx(expected)


def test_the_released_schedule_at_chosen_steps():
    # 21 steps an epoch, 5 epochs of warm-up, 150 in all; the authors' rates for batches of 32.
    recipe = Training(
        learning_rate=6.25e-5,
        final_rate=1.25e-7,
        warmup_start=0,
        warmup_epochs=5,
        epochs=150,
        peak_twice=True,
    )
    rates = [fit.learning_rate(step, 21, recipe) for step in range(150 * 21)]
    assert rates[0] == 0
    assert rates[52] == pytest.approx(6.25e-5 / 2)  # half of the way over 105 steps, both ends included
    assert rates[104] == rates[105] == 6.25e-5
    assert rates[105 + 3045 // 2] == pytest.approx((6.25e-5 + 1.25e-7) / 2, rel=2e-3)
    assert 1.25e-7 < rates[-1] < 1.26e-7
    assert rates[104:] == sorted(rates[104:], reverse=True)


def test_layers_further_down_learn_slower_and_biases_do_not_decay():
    model = HSTA.from_settings(tiny_settings(m=3, l_v=2, csta=False, head="branch_ln_linear"), 5)
    recipe = Training(weight_decay=0.05, layer_decay=0.5, decay_biases=False)
    groups = fit.parameter_groups(model, recipe)
    of = {id(p): (g["scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    found = {name: of[id(parameter)] for name, parameter in model.named_parameters()}
    assert found["embed_video.project.weight"] == (0.5**4, 0.05)
    assert found["embed_special.project.bias"] == (0.5**4, 0)
    assert found["embed_video.cls"] == (1, 0.05)
    assert found["blocks.0.usta_video.1.attention.qkv.weight"] == (0.5**3, 0.05)
    assert found["blocks.2.usta_special.0.norm.weight"] == (0.5, 0)
    assert found["norm_video.weight"] == (1, 0)
    assert found["head.weight"] == (1, 0.05)
    assert found["head.bias"] == (1, 0)
    assert len(groups) == 2 * 5
    assert len(of) == len(found)


def test_without_decay_of_rates_all_parameters_are_one_group():
    model = HSTA.from_settings(tiny_settings(), 5)
    (group,) = fit.parameter_groups(model, Training())
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert (group["scale"], group["weight_decay"]) == (1, 0.05)


def test_the_rate_of_a_group_reaches_the_optimiser(dataset):
    slow, usual = _fit(dataset, layer_decay=1e-6, epochs=3), _fit(dataset, epochs=3)
    assert slow["losses"][0] != usual["losses"][0]


@pytest.mark.parametrize(
    ("length", "n_frames", "drawn"), [(6, 6, range(6)), (3, 6, [0, 0, 1, 2, 2, 2]), (1, 4, [0, 0, 0, 0])]
)
def test_short_clips_repeat_their_first_and_last_frame(length, n_frames, drawn):
    assert fit.draw_frames(length, n_frames, np.random.default_rng(0)).tolist() == list(drawn)


def test_long_clips_give_each_frame_equally_often_and_in_order():
    rng = np.random.default_rng(0)
    drawn = np.array([fit.draw_frames(11, 5, rng) for _ in range(2200)])
    assert (np.diff(drawn, axis=1) > 0).all()
    assert np.bincount(drawn.ravel()) == pytest.approx(1000, abs=100)  # standard deviation 23


def test_frames_are_drawn_anew_in_training_and_in_test(tmp_path):
    data = tiny_dataset(tmp_path, n_frames=51)
    trial = tiny_trials(drawing="random")[0]
    first, again = fit.fit(trial, data), fit.fit(trial, data)
    assert first["predictions"] == again["predictions"]
    stored = fit.fit(Trial(tiny_settings(drawing="random", store_epochs=True), 0, 0, FINGERPRINT), data)
    assert stored["predictions"] == first["predictions"]
    seen = fit._Data(data, trial)
    draws, rows = seen.frame_draws("training"), np.arange(5)
    (video, special), (other, same) = (seen.batch(rows, draws) for _ in range(2))
    assert not torch.equal(video, other)
    assert torch.equal(special, same)
    again, _ = seen.batch(rows, seen.frame_draws("test"))
    assert torch.equal(again, seen.batch(rows, seen.frame_draws("test"))[0])


def test_drawn_frames_are_the_clips_own_and_onset_and_apex_stay(tmp_path, monkeypatch):
    data = tiny_dataset(tmp_path, n_frames=51)  # clips of 9 frames
    frames = np.array(data.frames())
    frames[:] = np.arange(53, dtype=np.uint8)[:, None, None, None]
    np.save(data.frames_path, frames)
    monkeypatch.setattr(fit, "normalise", lambda pixels, kind: pixels.float())
    trial = tiny_trials(drawing="random")[0]
    seen = fit._Data(data, trial)
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
    monkeypatch.setattr(fit, "normalise", lambda pixels, kind: pixels.float())
    seen = fit._Data(data, tiny_trials(drawing="random_test")[0])
    assert seen.frame_draws("training") is None
    video, special = seen.batch(np.arange(23), seen.frame_draws("training"))
    expected = [choose_frames(0, min(length, 51) - 1, 6) for length in range(3, 95, 4)]
    assert video[:, 0, :, 0, 0].tolist() == np.array(expected).tolist()
    assert special[:, 0, :, 0, 0].tolist() == [[51, 52]] * 23
    drawn, _ = seen.batch(np.arange(23), seen.frame_draws("test"))
    assert not torch.equal(drawn, video)


def test_frames_drawn_in_the_test_alone_change_no_training(tmp_path, monkeypatch):
    # Where the test is not drawn either, short clips are seen as in evenly spaced training.
    data = tiny_dataset(tmp_path, n_frames=51)
    usual, drawn, everywhere = (
        fit.fit(tiny_trials(drawing=way, n_frames=4)[0], data)
        for way in ("random_test", "random_test", "random")
    )
    assert usual["losses"] == drawn["losses"] != everywhere["losses"]
    assert usual["predictions"] == drawn["predictions"]
    monkeypatch.setattr(fit._Data, "frame_draws", lambda *_: None)
    even = fit.fit(tiny_trials(drawing="random_test", n_frames=4)[0], data)
    assert even["losses"] == usual["losses"]
    assert even["predictions"]["scores"] != usual["predictions"]["scores"]


@pytest.mark.parametrize("drawing", ["random", "random_test"])
def test_draws_begin_with_that_of_the_predictions_and_differ_after_it(tmp_path, drawing):
    data = tiny_dataset(tmp_path, n_frames=51)
    frames = np.array(data.frames())
    frames[:, :-2] = np.random.default_rng(7).integers(0, 255, frames[:, :-2].shape)
    np.save(data.frames_path, frames)
    data.clips["offset"] = 60
    # Hardly trained, scores are close to one another, and other frames are enough for another class.
    fields = {"drawing": drawing, "n_frames": 2, "epochs": 1, "learning_rate": 1e-6}
    plain, stored = _fit(data, **fields), _fit(data, **fields, store_draws=5)
    assert "draw_predictions" not in plain
    assert stored["predictions"] == plain["predictions"]
    assert stored["losses"] == plain["losses"]
    first, *later = stored["draw_predictions"]
    assert first == plain["predictions"]["y_pred"]
    assert len(later) == 4
    assert len({tuple(draw) for draw in stored["draw_predictions"]}) > 1
    assert _fit(data, **fields, store_draws=3)["draw_predictions"] == stored["draw_predictions"][:3]


def test_every_draw_is_of_other_frames(tmp_path):
    data = tiny_dataset(tmp_path, n_frames=51)
    seen = fit._Data(data, tiny_trials(drawing="random_test")[0])
    drawn = [seen.batch(np.arange(23), seen.frame_draws("test", draw))[0] for draw in (0, 1, 2, 1)]
    assert torch.equal(drawn[1], drawn[3])
    assert not any(torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_draws_of_evenly_spaced_frames_are_refused():
    with pytest.raises(ValueError, match="store_draws has no effect with drawing = 'uniform'; leave it 0"):
        tiny_settings(store_draws=3)


def test_macro_clips_are_trained_on_and_not_tested(tmp_path):
    data = tiny_dataset(tmp_path)
    data.clips.loc[data.clips.index % 4 == 1, "expression_type"] = "macro"
    fitted = {rule: _fit(data, macro_clips=rule) for rule in ("none", "training_subjects", "all")}
    sizes = [result["n_train"] for result in fitted.values()]
    assert sizes == sorted(set(sizes))
    tested = {tuple(result["predictions"]["clip_id"]) for result in fitted.values()}
    assert len(tested) == 1
    assert not set(*tested) & set(data.clips["clip_id"][data.clips["expression_type"] == "macro"])
    assert len({str(result["predictions"]["scores"]) for result in fitted.values()}) == 3


def _numbered(tmp_path, monkeypatch, n_frames, **fields):
    """What the branches see of frames that are numbered from 0; onset and apex are the last two."""
    data = tiny_dataset(tmp_path, n_frames=n_frames)
    frames = np.array(data.frames())
    frames[:] = np.arange(n_frames + 2, dtype=np.uint8)[:, None, None, None]
    np.save(data.frames_path, frames)
    monkeypatch.setattr(fit, "normalise", lambda pixels, kind: pixels.float())
    return [fit._Data(data, trial) for trial in tiny_trials(n_frames=n_frames, **fields)]


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


@pytest.mark.parametrize("video", ["shuffled", "apex", "onset_apex"])
def test_a_changed_video_trains_and_leaves_the_special_data(dataset, video):
    usual, changed = (fit._Data(dataset, tiny_trials(video=way)[0]) for way in ("frames", video))
    rows = np.arange(23)
    (shown, special), (other, same) = (data.batch(rows, None) for data in (usual, changed))
    assert torch.equal(same, special)
    assert shown.shape == other.shape
    assert not torch.equal(shown, other)
    assert _fit(dataset, video=video)["predictions"]["scores"] != _fit(dataset)["predictions"]["scores"]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"drawing": "random"}, "'random' and 'frames'"),
        ({"drawing": "random_test"}, "'random_test' and 'frames'"),
        ({"special": "tracks"}, "'uniform' and 'tracks'"),
        ({"special": "flow"}, "'uniform' and 'flow'"),
    ],
)
@pytest.mark.parametrize("video", ["shuffled", "apex", "onset_apex"])
def test_a_changed_video_of_drawn_frames_or_beside_pictures_is_refused(video, fields, found):
    words = f"video = '{video}' needs drawing = 'uniform' and special = 'frames', found {found}"
    with pytest.raises(ValueError, match=words):
        tiny_settings(video=video, **fields)


def test_onset_and_apex_are_normalised_with_the_rest_of_the_clip(dataset):
    for pixels in ("imagenet", "clip"):
        seen = fit._Data(dataset, tiny_trials(pixels=pixels)[0])
        expected = fit.normalise(torch.from_numpy(dataset.frames()[:5]), pixels).movedim(-1, 1)
        assert torch.equal(torch.cat(seen.batch(np.arange(5), None), dim=2), expected)


@pytest.mark.parametrize("special", ["tracks", "flow"])
@pytest.mark.parametrize("pixels", ["imagenet", "clip"])
def test_pictures_are_normalised_apart_from_the_video(tmp_path, special, pixels):
    data = tiny_dataset(tmp_path)
    frames = np.array(data.frames())
    frames[:, -2:] = 128
    frames[:, -1, 0, 0] = (0, 128, 255)
    np.save(data.frames_path, frames)
    video, pictures = fit._Data(data, tiny_trials(pixels=pixels, special=special)[0]).batch(
        np.arange(23), None
    )
    alone = fit.normalise(torch.from_numpy(frames[:, :-2]), pixels)
    assert torch.equal(video, alone.movedim(-1, 1))
    assert pictures.shape == (23, 3, 2, 8, 8)
    # ImageNet's means and deviations, by hand.
    grey = [(128 / 255 - mean) / std for mean, std in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]]
    assert np.abs(grey).max() < 0.45
    assert pictures[3, :, 0, 5, 2].tolist() == pytest.approx(grey, abs=1e-6)
    dot = [-0.485 / 0.229, grey[1], (1 - 0.406) / 0.225]
    assert pictures[3, :, 1, 0, 0].tolist() == pytest.approx(dot, abs=1e-6)


def test_the_released_recipe_trains(tmp_path):
    settings = as_released(tiny_settings(d=12))
    assert (settings.model.d_special, settings.model.patch_size_special, settings.model.heads) == (6, 3, 6)
    result = fit.fit(Trial(settings, 0, 0, FINGERPRINT), tiny_dataset(tmp_path, n_frames=51))
    assert np.isfinite(result["losses"]).all()


def test_every_step_to_the_released_recipe_counts_and_can_be_taken_alone(tmp_path):
    usual = tiny_settings(d=12, m=2, warmup_epochs=1)
    scores = set()
    for name, step in {"none": lambda _: {}, **RELEASED_STEPS}.items():
        settings = with_fields(usual, **step(usual))
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        data = tiny_dataset(folder, n_frames=settings.frames.n_stored)
        result = fit.fit(Trial(settings, 0, 0, FINGERPRINT), data)
        scores.add(json.dumps(result["predictions"]["scores"]))
    assert len(scores) == 1 + len(RELEASED_STEPS)


def test_a_class_without_a_training_clip_is_never_predicted(tmp_path):
    data = tiny_dataset(tmp_path)
    train = make_folds(data.clips, **tiny_trials()[0].settings.split.model_dump())[0].train
    data.clips.loc[data.clips.index.isin(train) & (data.clips["label"] == 0), "label"] = 1
    assert 0 not in fit.fit(tiny_trials()[0], data)["predictions"]["y_pred"]


def test_a_class_without_a_training_clip_is_predicted_in_no_epoch_and_no_draw(tmp_path, monkeypatch):
    data = tiny_dataset(tmp_path, n_frames=51)
    scores = np.array([[3, 1, 2]], dtype=np.float32)  # the highest is that of class 0
    monkeypatch.setattr(fit, "predict", lambda model, data, rows, draw=0: scores.repeat(len(rows), 0))
    fields = {"drawing": "random_test", "store_epochs": True, "store_draws": 3}
    fold = make_folds(data.clips, **tiny_trials()[0].settings.split.model_dump())[0]
    for expected in (0, 2):
        result = _fit(data, **fields)
        stored = [result["predictions"]["y_pred"], *result["epoch_predictions"], *result["draw_predictions"]]
        assert stored == [[expected] * len(fold.test)] * (1 + 2 + 3)
        data.clips.loc[data.clips.index.isin(fold.train) & (data.clips["label"] == 0), "label"] = 1


def test_frames_that_are_not_those_of_the_settings_are_refused(dataset):
    with pytest.raises(ValueError, match=r"frames of shape \(8, 8, 8, 3\), the settings need \(6, 8, 8, 3\)"):
        _fit(dataset, n_frames=4)
