"""Every score of the committed reports, computed once more from the committed predictions."""

import json

import numpy as np
import pandas as pd
import pytest

from hsta_lib import ROOT, tables
from hsta_lib.metrics import METRICS

PREDICTIONS = sorted((ROOT / "reports").glob("*-study-*-predictions.csv"))
_OF_CLIPS = ["clip_id", "subject_id", "fold", "y_true"]


@pytest.fixture(params=PREDICTIONS, ids=lambda path: path.stem)
def report(request):
    """The record of a report, its predictions in rows, and its classes."""
    record = json.loads(
        request.param.with_name(request.param.name.replace("-predictions.csv", ".json")).read_text()
    )
    wide = pd.read_csv(request.param, dtype=str)
    rows = wide.melt(_OF_CLIPS, var_name="column", value_name="y_pred").dropna(subset="y_pred")
    rows[["setting", "seed"]] = rows.pop("column").str.rsplit(" seed=", n=1, expand=True)
    classes = record["classes"]
    for name in ("y_true", "y_pred"):
        rows[name] = rows[name].map(classes.index)
    return record, rows.astype({"seed": int, "fold": int}), classes


def test_there_are_predictions_of_reports():
    assert PREDICTIONS


def test_scores_and_intervals_are_those_of_the_record(report):
    record, rows, classes = report
    names = rows["setting"].drop_duplicates().tolist()
    cells = names[: len(record["cells"])]
    found = {name: rows[rows["setting"] == name] for name in names}
    scored = tables.score_rows(found, len(classes))
    for name, expected in [*zip(cells, record["cells"], strict=True), *record["references"].items()]:
        for metric in METRICS:
            for column in (metric, f"{metric}_low", f"{metric}_high"):
                assert scored.loc[name, column] == pytest.approx(expected[column], abs=1e-3), (name, column)


def test_each_clip_is_predicted_once_by_every_setting_and_seed(report):
    record, rows, _ = report
    counts = rows.groupby(["setting", "seed"])["clip_id"].agg(["size", "nunique"])
    assert (counts == record["n_clips"]).all(axis=None)
    assert np.isfinite(rows["fold"]).all()
