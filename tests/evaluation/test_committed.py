"""Every number of the committed reports once more from the committed predictions, by another way.

Scores are scikit-learn's, intervals those of ``second.py``, by the rule that the record names.
"""

import gzip
import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from second import RULES, Clips, difference, sklearn_scores
from sklearn.metrics import f1_score, recall_score

from hsta_lib import ROOT
from hsta_lib.data.table import class_names
from hsta_lib.evaluation.intervals import RULE
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


@pytest.fixture(scope="module", params=PREDICTIONS, ids=lambda path: path.stem)
def report(request):
    """The record of a report, its predictions in rows, and its classes."""
    return read(request.param)


def read(path):
    """As `report`, of a file of predictions."""
    record = record_of(path)
    wide = pd.read_csv(path, dtype=str)
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


def as_clips(rows, n_classes):
    """Predictions of one row of a table, seeds apart, in one order of clips."""
    rows = rows.sort_values(["seed", "clip_id"])
    y_pred = rows["y_pred"].to_numpy().reshape(rows["seed"].nunique(), -1)
    one = rows.iloc[: y_pred.shape[1]]
    return Clips(one["y_true"].to_numpy(), y_pred, one["subject_id"].to_numpy(dtype=str), n_classes)


def test_scores_and_intervals_are_those_of_the_record(report):
    record, rows, classes = report
    chosen = parts(record, rows)
    assert len(chosen) > len(record["references"])
    rule = record.get("intervals", "jackknife-t")  # records of before rules had names
    for name, (of_row, expected) in chosen.items():
        clips = as_clips(of_row, len(classes))
        found = {"": sklearn_scores(clips)} | dict(zip(("_low", "_high"), RULES[rule](clips), strict=True))
        for end, values in found.items():
            kept = [expected[f"{metric}{end}"] for metric in METRICS]
            np.testing.assert_allclose(100 * values, kept, rtol=0, atol=1e-3, err_msg=f"{name}{end}")


def test_the_library_gives_the_scores_and_the_intervals_of_its_own_rule(report):
    _, rows, classes = report
    settings = dict(iter(rows.groupby("setting", sort=False)))
    scored = tables.score_rows(settings, len(classes))
    for name in list(settings)[::3]:
        low, high = RULES[RULE](as_clips(settings[name], len(classes)))
        for i, metric in enumerate(METRICS):
            found = scored.loc[name, [f"{metric}_low", f"{metric}_high"]].astype(float)
            np.testing.assert_allclose(found, [100 * low[i], 100 * high[i]], atol=1e-6, err_msg=name)


def test_each_clip_is_predicted_once_by_every_setting_and_seed(report):
    record, rows, _ = report
    counts = rows.groupby(["setting", "seed"])["clip_id"].agg(["size", "nunique"])
    assert (counts == rows["clip_id"].nunique()).all(axis=None)
    if len(record["classes"]) == 7:  # label sets with fewer leave out clips
        assert counts["size"].iloc[0] == record["n_clips"]
    assert np.isfinite(rows["fold"]).all()


# Pairs of rows that the claims of Table 2 are about, the one that is to score more last.
PAIRS = {
    "csta-alone": ["a1 a2"], "csta-below-usta": ["a2 a3", "a2 a4"], "csta-with-usta": ["a5 a6"],
    "both-below-video": ["a5 a3"], "both-below-special": ["a5 a4"],
    "whole-module-best": [f"a{n} a6" for n in range(1, 6)],
}  # fmt: skip


def test_verdicts_of_table_2_have_the_numbers_of_a_second_comparison():
    (path,) = [path for path in PREDICTIONS if path.name.startswith("table2-")]
    record, rows, classes = read(path)
    claims = {claim["id"]: claim for claim in record["claims"] if not pd.isna(claim["estimate"])}
    family = {pair for name in claims for pair in PAIRS[name]}
    used = sorted({row for pair in family for row in pair.split()})
    of_setting = {name.split()[0].removeprefix("setting="): part for name, part in rows.groupby("setting")}
    clips = [as_clips(of_setting[row], len(classes)) for row in used]
    for name, claim in claims.items():
        places = [tuple(map(used.index, pair.split())) for pair in PAIRS[name]]
        found = [difference(clips, pair, len(family))[:, METRICS.index(claim["score"])] for pair in places]
        expected = [claim["estimate"] / 100, claim["low"] / 100, claim["high"] / 100, claim["p_adjusted"]]
        assert np.isclose(found, expected, rtol=0, atol=1e-4).all(axis=1).any(), name


def test_differences_of_the_controls_are_those_of_a_second_comparison():
    (path,) = [path for path in PREDICTIONS if path.name.startswith("controls-")]
    record, rows, classes = read(path)
    clips = {
        name.partition(" video=")[0].removeprefix("row="): as_clips(part, len(classes))
        for name, part in rows.groupby("setting")
    }
    first, *others = [cell["row"] for cell in record["cells"]]
    fitted = [cell["row"] for cell in record["cells"] if cell["fit"] == "fitted"]
    assert set(others) == set(record["summary"])
    for row in others:
        compared = fitted if row in fitted else [first, row]
        settings = [clips[name] for name in compared]
        *found, p = difference(settings, (0, compared.index(row)), len(compared) - 1)
        kept = record["summary"][row]
        for end, values in zip(("", "_low", "_high"), found, strict=True):
            expected = [kept[f"{metric}{end}"] for metric in METRICS]
            np.testing.assert_allclose(100 * values, expected, atol=1e-3, err_msg=f"{row}{end}")
        if row in fitted:
            np.testing.assert_allclose(p, [kept[f"{metric}_p"] for metric in METRICS], atol=1e-4)
        else:
            assert kept["uar_p"] is None


# --- Reports on real motion: what is committed names clips and subjects by running numbers ------------------

REAL = sorted((ROOT / "reports").glob("real-*"))
_OF_OTHERS = re.compile(
    r"\b(sub\d+[_/]EP\d|EP\d\d_\d|s\d+_(ne|po|sur)_\d|(smic|samm|casme2)/(?!p\d\d\b)\w|0\d\d_\d_\d)"
)


def test_reports_on_real_motion_name_no_clip_and_no_subject():
    assert {"real-reproduce.ipynb", "real-reproduce.json"} <= {path.name for path in REAL}
    for name in ("sub01_EP02_01f", "smic/s01", "s1_sur_01", "006_1_2"):  # made up
        assert _OF_OTHERS.search(name)
    for path in REAL:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        assert not _OF_OTHERS.search(text), path.name


def test_no_picture_no_weight_and_no_array_is_committed():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    endings = (".png", ".jpg", ".bmp", ".pth", ".pt", ".npy", ".mat")
    assert not [name for name in listed.splitlines() if name.endswith(endings)]


def test_scores_of_the_reproduction_are_those_of_its_predictions():
    rows = json.loads((ROOT / "reports/real-reproduce.json").read_text())["rows"]
    table = pd.read_csv(ROOT / "reports/real-reproduce-predictions.csv")
    about = ["clip", "subject", "y_true"]
    assert list(rows) == [name for name in table if name not in about]
    assert table["clip"].tolist() == list(range(442))
    assert table["subject"].nunique() == 68
    for name, row in rows.items():
        scores = [score(table["y_true"], table[name], average="macro") for score in (f1_score, recall_score)]
        assert [row["uf1"], row["uar"]] == pytest.approx([100 * value for value in scores], abs=1e-3)
        assert row["equal"] == (table[name] == table["authors' log, PyTorch"]).sum()
