"""The table of departures: every switch is in it, every name in it exists, no value is typed."""

import re
from typing import get_args

import pytest

from hsta_lib import config
from hsta_lib.commands import docs
from hsta_lib.config import Parameters, Settings
from hsta_lib.data.table import DATASETS
from hsta_lib.paper import load_departures

DEPARTURES = load_departures()
EQUATIONS, RELEASED = Settings(), config.as_released(Settings())
SETTINGS = {
    name: field
    for group in (EQUATIONS.frames, EQUATIONS.model, EQUATIONS.training, EQUATIONS.split)
    for name, field in type(group).model_fields.items()
}
FIELDS = SETTINGS | Parameters.model_fields
SWITCHED = DEPARTURES[DEPARTURES["field"] != ""]


def test_every_field_the_released_recipe_sets_is_listed():
    steps = {name for step in config.RELEASED_STEPS.values() for name in step(EQUATIONS)}
    assert {"d_special", "drawing", "peak_twice"} <= steps
    changed = {
        name for name in SETTINGS if config.field_value(EQUATIONS, name) != config.field_value(RELEASED, name)
    }
    assert steps | changed <= set(SWITCHED["field"])


# Fields without a row. What paper and released code both say, and say alike:
AGREED = {"m", "l_v", "l_s", "n_frames", "weight_decay", "batch_size", "epochs", "warmup_epochs", "n_folds"}
# What only this study chooses: its controls, its baselines, and how it runs.
OURS = {
    "apex", "decay", "decay_epochs", "drop_last", "pretraining_epochs", "shuffled_labels", "video",
    "store_epochs", "store_draws", "stratify", "split_seed", "training_subjects", "train_on", "held_out",
    "drawn",
}  # fmt: skip


def test_a_field_without_a_row_is_the_same_in_paper_and_code_or_ours_alone():
    assert set(SETTINGS) - set(SWITCHED["field"]) == AGREED | OURS
    for name in AGREED | OURS:
        assert config.field_value(EQUATIONS, name) == config.field_value(RELEASED, name)


def test_topics_are_unique_and_no_cell_is_empty_but_that_of_the_field():
    assert list(DEPARTURES) == ["topic", "field", "paper", "released_code", "this_study"]
    assert DEPARTURES["topic"].is_unique
    said = DEPARTURES.drop(columns="field")
    assert (said == said.apply(lambda column: column.str.strip())).all(axis=None)
    assert (said != "").all(axis=None)
    assert not DEPARTURES.apply(lambda column: column.str.contains("|", regex=False)).any(axis=None)


@pytest.mark.parametrize("row", list(SWITCHED.itertuples()), ids=lambda row: row.topic)
def test_a_field_exists_and_its_values_are_named_but_not_typed(row):
    assert row.field in FIELDS
    allowed = DATASETS if row.field == "dataset" else get_args(FIELDS[row.field].annotation)
    named = re.findall(r"`(\w+)`", row.this_study)
    assert set(named) <= set(allowed)
    if FIELDS[row.field].annotation in (int, float):
        assert not re.search(r"\d", row.this_study)


def test_a_misspelt_field_is_refused(monkeypatch):
    misspelt = DEPARTURES.replace({"field": {"heads": "head_count"}})
    monkeypatch.setattr(docs, "load_departures", lambda: misspelt)
    with pytest.raises(ValueError, match="'head_count' is no setting"):
        docs.departures_table()


def test_the_table_shows_a_field_s_value_and_that_of_the_released_recipe():
    lines = {line.split(" | ")[0]: line for line in docs.departures_table().splitlines()}
    assert len(lines) == len(DEPARTURES) + 2
    assert lines["| attention heads"].endswith(" | either | `heads`: `1` → `12` |")
    assert lines["| end of the decay"].endswith("`final_rate`: `0` → `1.25e-07` |")
    assert lines["| wrong frame numbers"].endswith(" | `repair`: `repaired` |")
    assert lines["| last partial batch"] == "| last partial batch | not said | dropped | dropped |  |"
