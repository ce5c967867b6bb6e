"""Trials: the grid's cells, and an id that changes with all that can change a prediction."""

import dataclasses

import pandas as pd
import pytest

from hsta_lib.config import Frames, Group, Model, Settings, Split, TrialTraining, with_fields
from hsta_lib.training import trials
from hsta_lib.training.trials import Trial, expand_grid, make_trials, settings_of

# The defaults, those of Section 4.1, written out.
SETTINGS = Settings(
    labels="emotion7",
    frames=Frames(n_frames=6, keep_apex=False, image_size=224, crop="none", apex="annotated"),
    model=Model(
        m=4, l_v=2, l_s=1, csta=True, d=768, patch_size=16, tubelet_size=2, positions="sincos",
        mlp="ln_gelu_linear", head="linear", init="normal",
    ),
    training=TrialTraining(
        pixels="imagenet", loss="mse", optimizer="adamw", learning_rate=5e-5, weight_decay=0.05,
        batch_size=32, epochs=150, warmup_epochs=5, warmup_start=1e-6, schedule="cosine",
        sampling="balanced", shuffled_labels="none", store_epochs=False, store_draws=0,
        video="frames",
    ),
    split=Split(
        split="subject", n_folds=5, stratify=False, split_seed=0, macro_clips="none",
        training_subjects=1, train_on="composite",
    ),
)  # fmt: skip
TRIAL = Trial(SETTINGS, fold=3, seed=11, fingerprint="0123456789abcdef")

# Another legal value of every field of every group that can change a prediction.
ALTERNATIVES = {
    "n_frames": 8, "keep_apex": True, "image_size": 112, "crop": "center_square",
    "m": 5, "l_v": 1, "l_s": 2, "csta": False, "d": 384, "patch_size": 14, "tubelet_size": 1,
    "positions": "none", "mlp": "linear", "head": "ln_linear", "init": "xavier",
    "d_special": 384, "patch_size_special": 14, "border": "crop", "heads": 12, "pre_norm": True,
    "feed_forward": 4, "attention_bias": True, "projection": True, "dropout": 0.2, "drop_path": 0.2,
    "eps": 1e-6, "estimated_apex": "difference", "drawing": "random", "special": "tracks",
    "final_rate": 1e-7, "peak_twice": True, "layer_decay": 0.9, "decay_biases": False,
    "pixels": "clip", "loss": "mse_softmax", "optimizer": "adam", "learning_rate": 1e-4,
    "weight_decay": 0.0, "batch_size": 16, "epochs": 149, "warmup_epochs": 4, "warmup_start": 0.0,
    "schedule": "constant", "sampling": "uniform", "shuffled_labels": "recording",
    "split": "paper", "n_folds": 7, "stratify": True, "split_seed": 1, "macro_clips": "all",
    "apex": "estimated", "video": "shuffled", "training_subjects": 0.5, "train_on": "own",
    "decay": 0.5, "decay_epochs": 3, "drop_last": False, "form": "reduced",
    "precision": "bfloat16", "held_out": 0.5, "drawn": 0.5,
}  # fmt: skip


def group_fields():
    """Names of the fields of all groups of the settings."""
    groups = [field.annotation for field in Settings.model_fields.values()]
    groups = [group for group in groups if isinstance(group, type) and issubclass(group, Group)]
    return [name for group in groups for name in group.model_fields]


# --- grid -------------------------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_lists_the_first_varying_slowest():
    cells = expand_grid({"m": [3, 1], "d": [64, 32, 128]})
    assert cells.to_dict("list") == {"m": [3, 3, 3, 1, 1, 1], "d": [64, 32, 128, 64, 32, 128]}


def test_depths_are_pairs_of_l_v_and_l_s():
    cells = expand_grid({"m": [1, 2], "depths": [[2, 1], [3, 5]]})
    assert cells.to_dict("list") == {"m": [1, 1, 2, 2], "l_v": [2, 3, 2, 3], "l_s": [1, 5, 1, 5]}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "the grid is empty"),
        ({"m": []}, r"m = \[\] must be a list with at least one value"),
        ({"m": [1], "d": []}, r"d = \[\] must be a list"),
        ({"m": 3}, "m = 3 must be a list"),
        ({"mlp": "linear"}, "mlp = 'linear' must be a list"),
        ({"m": (1, 2)}, r"m = \(1, 2\) must be a list"),
        ({"m": [1, 2, 1]}, r"m = \[1, 2, 1\] repeats a value"),
        ({"depths": [[1, 1], [2, 1], [1, 1]]}, "depths = .* repeats a value"),
        ({"depths": [[1, 1], [2]]}, r"depths has \[2\]; each entry must be a pair"),
        ({"depths": [[1, 1, 1]]}, r"depths has \[1, 1, 1\]"),
        ({"depths": [2]}, "depths has 2"),
        ({"l_v": [1, 2], "depths": [[2, 1]]}, "depths gives l_v and l_s; do not give them a second time"),
        ({"depths": ["21"]}, "depths has '21'"),
    ],
)
def test_a_wrong_grid_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        expand_grid(grid)


# --- id ---------------------------------------------------------------------------------------------------


def test_the_id_is_what_it_was():
    # Results are found by it: it may change only together with PROTOCOL.
    changed = with_fields(SETTINGS, m=3, pixels="clip")
    assert dataclasses.replace(TRIAL, settings=changed).id == "656953e5fb5a3c60"


def test_a_default_changed_means_protocol_changed():
    # An id leaves out defaults. After a change of one raise PROTOCOL in hsta_lib/training/trials.py.
    assert trials.PROTOCOL == 3
    assert Settings() == SETTINGS


def test_equal_trials_have_one_id():
    again = Trial(with_fields(SETTINGS, m=5), 3, 11, "0123456789abcdef")
    assert dataclasses.replace(again, settings=with_fields(again.settings, m=4)).id == TRIAL.id


def test_every_field_has_an_alternative():
    elsewhere = {"store_epochs", "store_draws", "baseline", "pretraining_epochs"}
    assert set(ALTERNATIVES) == set(group_fields()) - elsewhere


def test_the_id_changes_with_the_labels():
    groups = {"frames", "model", "training", "split", "comparison"}
    assert set(Settings.model_fields) == {"labels", *groups}
    changed = SETTINGS.model_copy(update={"labels": "emotion3"})
    assert dataclasses.replace(TRIAL, settings=changed).id != TRIAL.id


@pytest.mark.parametrize("change", [{"fold": 4}, {"seed": 12}, {"fingerprint": "0123456789abcdee"}])
def test_the_id_changes_with_fold_seed_and_data(change):
    assert dataclasses.replace(TRIAL, **change).id != TRIAL.id


def test_the_id_changes_with_the_protocol(monkeypatch):
    before = TRIAL.id
    monkeypatch.setattr(trials, "PROTOCOL", trials.PROTOCOL + 1)
    assert TRIAL.id != before


def test_the_id_changes_with_every_field_and_none_is_mistaken_for_another():
    changed = [with_fields(SETTINGS, **{name: value}) for name, value in ALTERNATIVES.items()]
    changed.append(with_fields(SETTINGS, drawing="random_test"))
    changed.append(with_fields(SETTINGS, macro_clips="training_subjects"))
    ids = {dataclasses.replace(TRIAL, settings=settings).id for settings in changed}
    assert len({TRIAL.id, *ids}) == 1 + len(ALTERNATIVES) + 2


def test_the_id_does_not_depend_on_what_is_stored_along():
    drawn = with_fields(SETTINGS, drawing="random_test")
    storing = with_fields(drawn, store_epochs=True, store_draws=3)
    assert storing != drawn
    assert dataclasses.replace(TRIAL, settings=storing).id == dataclasses.replace(TRIAL, settings=drawn).id


def test_a_comparison_system_has_an_id_of_its_own_that_no_field_of_hsta_changes():
    rival = with_fields(SETTINGS, baseline="STSTNet", loss="own")
    staged = with_fields(rival, pretraining_epochs=2)
    other = with_fields(rival, baseline="MMNet")
    ids = [dataclasses.replace(TRIAL, settings=settings).id for settings in (SETTINGS, rival, staged, other)]
    assert len(set(ids)) == 4
    assert dataclasses.replace(TRIAL, settings=with_fields(rival, m=5, d=384)).id == ids[1]


@pytest.mark.parametrize("fields", [{"baseline": "STSTNet"}, {"loss": "own"}])
def test_a_comparison_system_has_its_own_loss_and_hsta_none(fields):
    with pytest.raises(ValueError, match="'own' is that of a baseline"):
        with_fields(SETTINGS, **fields)


def test_hsta_has_no_first_stage():
    with pytest.raises(ValueError, match="pretraining_epochs"):
        with_fields(SETTINGS, pretraining_epochs=1)


# --- trials of a grid -------------------------------------------------------------------------------------


def test_trials_are_every_cell_seed_and_fold_in_this_order():
    cells = expand_grid({"m": [2, 1], "depths": [[3, 2]]})
    made = [make_trials(settings, 3, [7, 5], "data") for settings in settings_of(SETTINGS, cells)]
    assert [len(cell) for cell in made] == [6, 6]
    for trials_of_cell in made:
        order = [(trial.seed, trial.fold) for trial in trials_of_cell]
        assert order == [(7, 0), (7, 1), (7, 2), (5, 0), (5, 1), (5, 2)]
    assert {trial.settings for trial in made[0]} == {with_fields(SETTINGS, m=2, l_v=3, l_s=2)}
    assert {trial.settings for trial in made[1]} == {with_fields(SETTINGS, m=1, l_v=3, l_s=2)}
    assert {trial.fingerprint for cell in made for trial in cell} == {"data"}
    assert len({trial.id for cell in made for trial in cell}) == 12


def test_a_cell_shares_its_trials_with_every_grid_that_has_it():
    wide = settings_of(SETTINGS, expand_grid({"m": [1, 2], "depths": [[1, 1]]}))
    narrow = settings_of(SETTINGS, pd.DataFrame([{"l_s": 1, "m": 2, "l_v": 1}]))
    ids = [[trial.id for trial in make_trials(part, 2, [0], "data")] for part in (wide[1], narrow[0])]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("grid", "message"), [({"mm": [1]}, "'mm' is no setting"), ({"m": [0]}, r"model\.m = 0 is not allowed")]
)
def test_a_cell_that_is_no_setting_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        settings_of(SETTINGS, expand_grid(grid))
