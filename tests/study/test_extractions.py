"""Two extractions of the same flow: how far they agree, and networks tested on the one they did not see."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hsta_lib.evaluation.fitted import FITTED, NOT_FITTED
from hsta_lib.reporting.tables import score_table
from hsta_lib.study import extractions

NAMES = ["casme2/p00/c000", "casme2/p00/c001", "smic/p01/c002", "smic/p01/c003"]
IDS = [f"{name}/{variant}" for name in NAMES for variant in ("causalnet", "htnet")]


def test_agreement_is_the_correlation_of_each_channel_of_the_same_clip():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 4, 4, 3)).astype(np.float32)
    pictures[1::2, ..., 0] = 2 * pictures[::2, ..., 0] + 3  # u: the same but for a stretch
    pictures[1::2, ..., 1] = -pictures[::2, ..., 1]
    frames = np.zeros((8, 4, 4, 4, 3), np.uint8)
    clips = pd.DataFrame({"clip_id": IDS})
    dataset = SimpleNamespace(clips=clips, frames=lambda: frames, flow=lambda size: pictures[:, :size])
    table = extractions.agreement(dataset).set_index("channel")
    assert table.loc["u", ["lower", "median", "upper", "above half"]].tolist() == pytest.approx(
        [1, 1, 1, 100]
    )
    assert table.loc["v", ["median", "below zero"]].tolist() == pytest.approx([-1, 100])
    expected = [np.corrcoef(*pictures[2 * i : 2 * i + 2, ..., 2].reshape(2, -1))[0, 1] for i in range(4)]
    assert table.loc["strain", "median"] == pytest.approx(np.median(expected))


@pytest.fixture
def ways():
    """Networks of HTNet's pictures are right everywhere; those of CausalNet's on their own pictures alone."""
    true = np.repeat([0, 1, 2, 0], 2)
    about = pd.DataFrame({"clip_id": IDS, "subject_id": [name[:10] for name in IDS], "y_true": true})
    about = about.assign(subject_id=about["clip_id"].str.split("/").str[:2].str.join("/"), fold=0, seed=0)
    own = about["clip_id"].str.endswith("causalnet")
    rows = [
        about.assign(y_pred=true, cell=0),
        about.assign(y_pred=np.where(own, true, (true + 1) % 3), cell=1),
    ]
    return extractions.crossed(pd.concat(rows, ignore_index=True))


def test_all_four_ways_are_scored_on_the_clips_both_have(ways):
    cells, predictions = ways
    assert cells.to_numpy().tolist() == [
        ["HTNet", "HTNet"], ["HTNet", "CausalNet"], ["CausalNet", "HTNet"], ["CausalNet", "CausalNet"],
    ]  # fmt: skip
    assert predictions.groupby("cell")["clip_id"].apply(sorted).tolist() == [NAMES] * 4
    table, matrices = score_table(cells, predictions, 3)
    assert table["uf1"].tolist() == [100, 100, 0, 100]
    found = extractions.differences(cells, matrices).set_index("tested on")["uf1"]
    assert found.to_dict() == {"HTNet": -100, "CausalNet": 0}


def test_what_is_said_is_made_of_the_numbers():
    agreement = pd.DataFrame({"channel": ["u", "v", "strain"], "median": [0.5, 0.25, 0.125]})
    ends = {"": -10.0, "_low": -12.0, "_high": 2.0}
    rows = {f"{metric}{end}": [value] * 2 for metric in ("uf1", "uar") for end, value in ends.items()}
    differences = pd.DataFrame({"tested on": ["HTNet", "CausalNet"]} | rows)
    table = pd.DataFrame({"trained on": ["HTNet", "HTNet", "CausalNet", "CausalNet"], "fit": FITTED})
    table = table.assign(loss_share=39.6, loss_share_worst=48.5)
    said = extractions.conclude(agreement, differences, table).data
    assert "u 0.50, v 0.25, strain 0.12" in said
    assert "Tested on HTNet's pictures, STSTNet trained on CausalNet's" in said
    assert "UF1 -10.0 [-12.0, +2.0]" in said
    assert "has not fitted" not in said
    table.loc[2:, "fit"] = NOT_FITTED
    said = extractions.conclude(agreement, differences, table).data
    assert "has not fitted on CausalNet's pictures: its loss is 40 %" in said
    assert said.count("has not fitted") == 1
