"""The benchmark can be learned: what the reports rest on, at the size of the preset ``quick``."""

import pandas as pd
import pytest

from hsta_lib.reporting.tables import score_table
from hsta_lib.study.study import NAMED_CELL, start


@pytest.mark.slow
def test_the_named_setting_is_above_chance_and_shuffled_labels_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HSTA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path / "results"))
    study = start("table4", {"preset": "quick"})
    dataset = study.open_dataset()
    trials = study.reference_trials(dataset)
    study.run([*trials["named"], *trials["fold"]], dataset)
    named, shuffled = (
        score_table(pd.DataFrame([NAMED_CELL]), study.predictions([trials[name]]), 7)[0].iloc[0]
        for name in ("named", "fold")
    )
    assert named["uar_low"] > 100 / 7
    assert shuffled["uar_low"] < 100 / 7 < shuffled["uar_high"]
