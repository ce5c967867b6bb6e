"""Published scores against ours by the last and by the best epoch; when an arrow may be drawn."""

import numpy as np
import pandas as pd
import pytest

from hsta_lib.paper import load_composite
from hsta_lib.study import honest, plots


def predictions(right):
    """Of 60 clips of 12 subjects, ``right`` of the five clips of each subject predicted well."""
    true = np.tile([0, 1, 2, 0, 1], 12)
    subject = np.repeat(np.arange(12), 5)
    is_right = np.tile(np.arange(5) < right, 12)
    rows = {"clip_id": [f"smic/p{s:02}/c{i:03}" for i, s in enumerate(subject)], "subject_id": subject}
    rows |= {"y_true": true, "y_pred": np.where(is_right, true, (true + 1) % 3), "fold": subject, "seed": 0}
    return pd.DataFrame(rows)


@pytest.fixture
def table():
    """STSTNet is right always, HTNet by the best epoch alone, HSTA never."""
    found = {}
    for name, last, best in (
        ("STSTNet", 5, 5),
        ("HTNet", 2, 5),
        ("CausalNet", 2, 2),
        ("HSTA, special branch", 0, 0),
    ):
        found |= {(name, honest.LAST): predictions(last), (name, honest.BEST): predictions(best)}
    return honest.score(found, dict.fromkeys([name for name, _ in found], (12.5, 10.0, 15.0)), 3)


def test_what_is_published_stands_beside_both_choices(table):
    rows = table.set_index(["system", "choice"])
    assert rows.loc[("HTNet", honest.LAST), "uf1_published"] == 86.03
    assert rows.loc[("HTNet", honest.BEST), "uf1"] == 100
    assert np.isnan(rows.loc[("HSTA, special branch", honest.LAST), "uf1_published"])
    assert rows.loc[("STSTNet", honest.LAST), "chance"] == 0
    assert rows.loc[("STSTNet", honest.BEST), "chance"] == 12.5
    done_as_there = table.loc[table["as_published"], ["system", "choice"]].to_numpy().tolist()
    assert done_as_there == [
        ["STSTNet", honest.LAST], ["HTNet", honest.BEST], ["CausalNet", honest.BEST],
        ["HSTA, special branch", honest.LAST],
    ]  # fmt: skip


def test_an_arrow_is_drawn_only_where_the_original_way_reaches_the_published_score(table):
    assert honest.reaches(table) == ["STSTNet", "HTNet"]
    figure = plots.published_to_honest(table, honest.reaches(table))
    assert len(figure.axes[0].texts) == 2  # arrows
    said = honest.conclude(table, "reduced").data
    assert "these reach their published UF1 here: STSTNet, HTNet." in said
    assert "These do not: CausalNet. Ours have the form `reduced`" in said
    # HTNet's last epoch has F1 of 1/2, 1/2 and 0.
    assert "adds 0.0 to 66.7 points of UF1 to the last epoch's. The same choice adds 12.5 to 12.5 " in said
    unfit = table.assign(fit=np.where(table["system"] == "HTNet", "not fitted", "fitted"))
    said = honest.conclude(unfit, "reduced").data
    (told,) = [line for line in said.splitlines() if "has not fitted" in line]
    assert told.startswith("- HTNet: UF1 33.3 ")
    assert "adds 0.0 to 0.0 points" in said
    assert honest.conclude(unfit.assign(fit="not fitted"), "reduced").data.startswith("- STSTNet: UF1 100.0 ")


def test_what_chance_gains_is_that_of_choosing_per_fold(monkeypatch):
    """Two epochs, right and wrong in turn on two subjects: chance gains, but less than the choice itself."""
    records = {
        fold: {
            "predictions": {"y_true": [0, 1, 2], "subject_id": [f"s{fold}"] * 3},
            "epoch_predictions": [[0, 1, 2], [1, 2, 0]] if fold % 2 else [[1, 2, 0], [0, 1, 2]],
        }
        for fold in range(6)
    }
    monkeypatch.setattr(honest.store, "load", lambda trial, _: records.get(trial.fold))
    trials = [pd.Series({"fold": fold, "seed": 0}) for fold in range(6)]
    mean, low, high = honest.gain_by_chance(trials, 3)
    assert 0 < mean < 50
    assert low <= mean <= high


def test_every_system_with_a_published_score_is_one_that_can_be_trained():
    printed = load_composite()
    assert all(honest.find(name, "reduced") for name in printed["system"])
    assert printed["source"].ne("").all()
    assert printed[["uf1", "uar"]].stack().between(0, 100).all()
