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


@pytest.fixture(scope="module")
def found():
    """STSTNet is right always, HTNet by the best epoch alone, CausalNet hardly, HSTA never."""
    right = {"STSTNet": (5, 5), "HTNet": (2, 5), "CausalNet": (2, 2), "CausalNet (gamma 0.3)": (2, 4)}
    return {
        (name, choice): predictions(n)
        for name, of_name in (right | {"HSTA, special branch": (0, 0)}).items()
        for choice, n in zip((honest.LAST, honest.BEST), of_name, strict=True)
    }


@pytest.fixture(scope="module")
def table(found):
    gained = {}
    for n, name in enumerate(dict.fromkeys(name for name, _ in found), 1):
        points = {"gain": 10.0 * n, "others": -1.0 * n, "chance": 12.5}
        ends = {f"{kind}{end}": value for kind, value in points.items() for end in ("_low", "_high")}
        gained[name] = {"epochs": 7, **points, **ends}
    return honest.score(found, gained, 3)


def test_what_is_published_stands_beside_both_choices(table):
    rows = table.set_index(["system", "choice"])
    assert rows.loc[("HTNet", honest.LAST), "uf1_published"] == 86.03
    assert rows.loc[("HTNet", honest.BEST), "uf1"] == 100
    assert np.isnan(rows.loc[("HSTA, special branch", honest.LAST), "uf1_published"])
    assert rows.loc[("STSTNet", honest.BEST), "chance"] == 12.5
    done_as_there = table.loc[table["as_published"], ["system", "choice"]].to_numpy().tolist()
    assert done_as_there == [
        ["STSTNet", honest.LAST], ["HTNet", honest.BEST], ["CausalNet", honest.BEST],
        ["CausalNet (gamma 0.3)", honest.BEST], ["HSTA, special branch", honest.LAST],
    ]  # fmt: skip
    shown = honest.show(table).data.to_numpy().tolist()
    assert shown[0][1:3] == ["last epoch, as its original", "73.5"]
    assert shown[0][4] == "76.0 (macro precision)"
    assert shown[2][1] == "last epoch"
    assert shown[-2][1:3] == ["last epoch", "–"]


def test_an_arrow_is_drawn_only_where_the_original_way_reaches_the_published_score(table, found):
    assert honest.reaches(table) == ["STSTNet", "HTNet"]
    figure = plots.published_to_honest(table, honest.reaches(table))
    assert len(figure.axes[0].texts) == 2  # arrows
    differences = honest.against_hsta(table, found, 3)
    assert differences.set_index("row")["uf1"].to_dict() == pytest.approx(
        # HTNet's last epoch has F1 of 1/2, 1/2 and 0.
        {"CausalNet (gamma 0.3)": 100 / 3, "CausalNet": 100 / 3, "HTNet": 100 / 3, "STSTNet": 100}
    )
    said = honest.conclude(table, differences, "reduced").data
    assert "adds 10.0 to 50.0 points of UF1 to the last epoch's. The epoch that is best on all other " in said
    assert "adds -5.0 to -1.0.**" in said
    assert "The best of 2 has UF1 77.8 by the best epochs, their default 33.3." in said
    assert "special branch, by the last epoch: CausalNet (gamma 0.3) +33.3 [" in said
    assert "the interval reaches the published UF1 of STSTNet, HTNet." in said
    high = table.query(f"system == 'CausalNet' and choice == '{honest.BEST}'")["uf1_high"].item()
    assert f"It ends below that of CausalNet by {89.76 - high:.1f}, CausalNet (gamma 0.3) by " in said
    unfit = table.assign(fit=np.where(table["system"] == "HTNet", "not fitted", "fitted"))
    said = honest.conclude(unfit, differences, "reduced").data
    (told,) = [line for line in said.splitlines() if "has not fitted" in line]
    assert told.startswith("- HTNet: UF1 33.3 ")
    unfit = unfit.assign(fit=np.where(table["system"] == "STSTNet", "fitted", "not fitted"))
    assert "adds 10.0 to 10.0 points" in honest.conclude(unfit, differences, "reduced").data
    unfit = unfit.assign(fit="not fitted")
    assert honest.conclude(unfit, differences, "reduced").data.startswith("- STSTNet: UF1 100.0 ")


def test_what_choosing_adds_by_hand(monkeypatch):
    """Two epochs, each right on every other subject, so that the others always choose the wrong one."""
    records = {
        fold: {
            "predictions": {"y_true": [0, 1, 2], "subject_id": [f"s{fold}"] * 3},
            "epoch_predictions": [[0, 1, 2], [1, 2, 0]] if fold % 2 else [[1, 2, 0], [0, 1, 2]],
        }
        for fold in range(6)
    }
    monkeypatch.setattr(honest.store, "load", lambda trial, _: records.get(trial.fold))
    trials = [pd.Series({"fold": fold, "seed": 0}) for fold in range(6)]
    added = honest.worth(trials, 3)
    assert (added["epochs"], added["gain"], added["others"]) == (2, pytest.approx(50), pytest.approx(-50))
    assert 0 < added["chance"] < 50
    assert added["chance_low"] <= added["chance"] <= added["chance_high"]


def test_every_system_with_a_published_score_is_one_that_can_be_trained():
    printed = load_composite()
    assert all(honest.find(name, "reduced") for name in printed["system"])
    assert honest.find("CausalNet", "reduced, gamma 0.3").sizes["gamma"] == 0.3
    assert printed["source"].ne("").all()
    assert printed[["uf1", "uar"]].stack().between(0, 100).all()
