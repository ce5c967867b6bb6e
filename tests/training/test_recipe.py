"""The recipe: labels, order of the clips, learning rates, losses and parameter groups, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_settings

from hsta_lib.config import Training, TrialTraining
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import recipe


def test_balanced_sampling_draws_every_class_equally_often():
    labels = np.repeat([0, 1, 3], [1, 10, 100])  # class 2 does not occur
    order = np.concatenate(
        [recipe.epoch_order(labels, "balanced", np.random.default_rng(s)) for s in range(30)]
    )
    drawn = np.bincount(labels[order], minlength=4) / len(order)
    # 3330 draws: the deviation of a share of 1/3 is 0.008, four of them 0.033.
    assert drawn[2] == 0
    assert np.abs(drawn[[0, 1, 3]] - 1 / 3).max() < 0.033


def test_uniform_sampling_visits_every_clip_once():
    order = recipe.epoch_order(np.zeros(17, int), "uniform", np.random.default_rng(0))
    assert sorted(order) == list(range(17))


def test_learning_rate_warms_up_and_decays_to_zero():
    chosen = Training(learning_rate=1.0, warmup_start=0.2, warmup_epochs=2, epochs=6)
    rates = [recipe.learning_rate(step, 4, chosen) for step in range(24)]
    assert rates[0] == 0.2
    assert rates[4] == pytest.approx(0.6)  # half of the way from 0.2 to 1
    assert rates[8] == 1.0
    assert rates[16] == pytest.approx(0.5)  # half of the cosine
    assert 0 < rates[23] < 0.02
    constant = chosen.model_copy(update={"schedule": "constant"})
    assert recipe.learning_rate(23, 4, constant) == 1.0


def test_loss_is_the_mean_square_over_batch_and_classes():
    logits = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.5, 0.0]])
    labels = torch.tensor([0, 1])
    # (0 + 0 + 4) + (0 + 0.25 + 0) over six entries.
    assert recipe.loss_of(logits, labels, "mse").item() == pytest.approx(4.25 / 6)
    even = torch.zeros(1, 4)
    assert recipe.loss_of(even, labels[:1], "mse_softmax").item() == pytest.approx((0.75**2 + 3 / 16) / 4)


def test_shuffled_labels_are_a_permutation_of_the_training_folds():
    clips, train = _recordings(), np.arange(3, 17)
    rows, labels = recipe.training_labels(clips, train, "fold", np.random.default_rng(0))
    true = clips["label"].to_numpy()[train]
    assert rows.tolist() == train.tolist()
    assert sorted(labels) == sorted(true)
    assert (labels != true).any()


def test_labels_within_a_recording_always_come_from_another_of_its_clips():
    clips = _recordings()
    clips["label"] = np.arange(len(clips))  # every clip its own label: whose label is whose is seen
    rows, labels = recipe.training_labels(clips, np.arange(19), "recording", np.random.default_rng(1))
    recordings = clips["recording_id"].to_numpy()
    assert (labels != rows).all()
    assert (recordings[labels] == recordings[rows]).all()
    assert sorted(labels) == sorted(rows)
    assert 18 not in rows  # alone in its recording


def test_shuffling_within_recordings_needs_a_recording_with_two_clips():
    clips = _recordings().drop_duplicates("recording_id").reset_index(drop=True)
    with pytest.raises(ValueError, match="two training clips"):
        recipe.training_labels(clips, np.arange(len(clips)), "recording", np.random.default_rng(0))


def _recordings():
    rows = [f"r{i % 5}" for i in range(18)] + ["alone"]
    return pd.DataFrame({"recording_id": rows, "label": np.arange(19) % 4})


def test_steps_multiply_the_rate_after_so_many_epochs():
    chosen = TrialTraining(
        learning_rate=0.8, schedule="steps", decay=0.5, decay_epochs=2, epochs=5, warmup_epochs=0
    )
    rates = [recipe.learning_rate(step, 3, chosen) for step in range(15)]
    assert rates == 6 * [0.8] + 6 * [0.4] + 3 * [0.2]


def test_clips_in_order_are_never_shuffled():
    rng = np.random.default_rng(0)
    assert recipe.epoch_order(np.array([2, 0, 1, 1, 0]), "in_order", rng).tolist() == [0, 1, 2, 3, 4]


def test_cross_entropy_is_that_of_the_softmax():
    logits = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.5, 0.0]])
    chosen = [2.0, 0.5]
    sums = [math.exp(1) + 1 + math.exp(2), 2 + math.exp(0.5)]
    expected = sum(math.log(total) - value for total, value in zip(sums, chosen, strict=True)) / 2
    assert recipe.loss_of(logits, torch.tensor([2, 1]), "cross_entropy").item() == pytest.approx(expected)


def test_the_released_schedule_at_chosen_steps():
    # 21 steps an epoch, 5 epochs of warm-up, 150 in all; the authors' rates for batches of 32.
    chosen = Training(
        learning_rate=6.25e-5,
        final_rate=1.25e-7,
        warmup_start=0,
        warmup_epochs=5,
        epochs=150,
        peak_twice=True,
    )
    rates = [recipe.learning_rate(step, 21, chosen) for step in range(150 * 21)]
    assert rates[0] == 0
    assert rates[52] == pytest.approx(6.25e-5 / 2)  # half of the way over 105 steps, both ends included
    assert rates[104] == rates[105] == 6.25e-5
    assert rates[105 + 3045 // 2] == pytest.approx((6.25e-5 + 1.25e-7) / 2, rel=2e-3)
    assert 1.25e-7 < rates[-1] < 1.26e-7
    assert rates[104:] == sorted(rates[104:], reverse=True)


def test_layers_further_down_learn_slower_and_biases_do_not_decay():
    model = HSTA.from_settings(tiny_settings(m=3, l_v=2, csta=False, head="branch_ln_linear"), 5)
    chosen = Training(weight_decay=0.05, layer_decay=0.5, decay_biases=False)
    groups = recipe.parameter_groups(model, chosen)
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
    (group,) = recipe.parameter_groups(model, Training())
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert (group["scale"], group["weight_decay"]) == (1, 0.05)


def test_what_a_constant_prediction_reaches():
    labels = np.repeat([0, 1, 3], [1, 2, 5])  # of four classes, 2 does not occur
    balanced = recipe.constant_prediction(labels, 4, TrialTraining())
    # A third each: the square of 2/3 or 1/3 three times, none for the class that is absent.
    expected = (3 * (1 / 3) * (2 / 3)) / 4
    assert balanced == {"constant_accuracy": 5 / 8, "constant_loss": pytest.approx(expected)}
    uniform = recipe.constant_prediction(labels, 4, TrialTraining(sampling="uniform", loss="mse_softmax"))
    shares = np.array([1, 2, 0, 5]) / 8
    losses = [np.mean((shares - np.eye(4)[label]) ** 2) for label in labels]
    assert uniform["constant_loss"] == pytest.approx(np.mean(losses))
    entropy = recipe.constant_prediction(labels, 4, TrialTraining(loss="cross_entropy"))
    assert entropy["constant_loss"] == pytest.approx(math.log(3))
    assert recipe.constant_prediction(labels, 4, TrialTraining(loss="own"))["constant_loss"] is None
