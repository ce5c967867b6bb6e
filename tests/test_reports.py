"""Every score of the committed reports, computed once more from the committed predictions."""

import json

import numpy as np
import pandas as pd
import pytest

from hsta_lib import ROOT
from hsta_lib.data.table import class_names
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.reporting import tables
from hsta_lib.study.union import of_source

PREDICTIONS = sorted((ROOT / "reports").glob("*-study-*-predictions.csv"))
_OF_CLIPS = ["clip_id", "subject_id", "fold", "y_true"]


def record_of(path):
    """The record of a report; of one with several files of predictions, what it says of this one's rows."""
    stem = path.stem.removesuffix("-predictions")
    owners = [other for other in path.parent.glob("*.json") if f"{stem}-".startswith(f"{other.stem}-")]
    owner = max(owners, key=lambda other: len(other.stem))
    record, part = json.loads(owner.read_text()), stem.removeprefix(owner.stem)[1:]
    return _part_of(record, *part.partition("-")[::2]) if part else record


def _part_of(record, labels, macro):
    cells = [
        cell
        for cell in record["cells"]
        if cell["labels"] == labels and (cell.get("macro_clips", "none") != "none") == bool(macro)
    ]
    references = record["references"] if record["cells"][0] in cells else {}
    if record["report"] == "table6":  # its reference rows are named by the number of classes
        prefix = f"{cells[0]['n_classes']} classes, "
        found = {name.partition(prefix)[2]: row for name, row in record["references"].items()}
        references = {name: row for name, row in found.items() if name}
    return record | {"cells": cells, "references": references, "classes": class_names(labels)}


@pytest.fixture(params=PREDICTIONS, ids=lambda path: path.stem)
def report(request):
    """The record of a report, its predictions in rows, and its classes."""
    record = record_of(request.param)
    wide = pd.read_csv(request.param, dtype=str)
    rows = wide.melt(_OF_CLIPS, var_name="column", value_name="y_pred").dropna(subset="y_pred")
    rows[["setting", "seed"]] = rows.pop("column").str.rsplit(" seed=", n=1, expand=True)
    classes = record["classes"]
    for name in ("y_true", "y_pred"):
        rows[name] = rows[name].map(classes.index)
    return record, rows.astype({"seed": int, "fold": int}), classes


def test_there_are_predictions_of_reports():
    assert PREDICTIONS


def parts(record, rows):
    """Numbers of the record and the predictions they are of, by name; Table 5 is scored by dataset."""
    found = dict(iter(rows.groupby("setting", sort=False)))
    if record["report"] != "table5":
        cells = dict(zip(found, record["cells"], strict=False))
        numbers = cells | record["references"]
        assert set(numbers) == set(found)
        return {name: (found[name], numbers[name]) for name in found}
    chosen = {}
    for cell in record["cells"]:
        setting = f"system={cell['system']} train_on={cell['train_on']}"
        if setting in found:
            chosen[f"{setting}, {cell['dataset']}"] = (of_source(found[setting], cell["dataset"]), cell)
    for name, numbers in record["references"].items():
        dataset, row = name.split(", ", 1)
        chosen[name] = (of_source(found[row], dataset), numbers)
    return chosen


def test_scores_and_intervals_are_those_of_the_record(report):
    record, rows, classes = report
    chosen = parts(record, rows)
    assert len(chosen) > len(record["references"])
    scored = tables.score_rows({name: of_row for name, (of_row, _) in chosen.items()}, len(classes))
    for name, (_, expected) in chosen.items():
        for metric in METRICS:
            for column in (metric, f"{metric}_low", f"{metric}_high"):
                assert scored.loc[name, column] == pytest.approx(expected[column], abs=1e-3), (name, column)


def test_each_clip_is_predicted_once_by_every_setting_and_seed(report):
    record, rows, _ = report
    counts = rows.groupby(["setting", "seed"])["clip_id"].agg(["size", "nunique"])
    assert (counts == rows["clip_id"].nunique()).all(axis=None)
    if len(record["classes"]) == 7:  # label sets with fewer leave out clips
        assert counts["size"].iloc[0] == record["n_clips"]
    assert np.isfinite(rows["fold"]).all()
