"""Every number of the committed reports once more from the committed predictions, by another way.

Scores are scikit-learn's, intervals and comparisons those of ``second.py``.
"""

import gzip
import itertools
import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from second import Clips, difference, differences, interval, sklearn_scores, weighted
from sklearn.metrics import f1_score, recall_score

from hsta_lib import ROOT
from hsta_lib.data.table import class_names
from hsta_lib.evaluation.intervals import RULE
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.reporting import tables
from hsta_lib.study.union import of_source

REPORTS = ROOT / "reports"
PREDICTIONS = sorted(REPORTS.glob("*-study-*-predictions.csv"))
assert PREDICTIONS, "no predictions of reports are there"
_OF_CLIPS = ["clip_id", "subject_id", "fold", "y_true"]


def owner_of(path):
    """Path of the record that a file of predictions belongs to."""
    owners = [other for other in path.parent.glob("*.json") if path.stem.startswith(f"{other.stem}-")]
    return max(owners, key=lambda other: len(other.stem))


def record_of(path):
    """The record of a report; of one with several files of predictions, what it says of this one's rows."""
    stem, owner = path.stem.removesuffix("-predictions"), owner_of(path)
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
    assert record["intervals"] == RULE
    for name, (of_row, expected) in chosen.items():
        clips = as_clips(of_row, len(classes))
        np.testing.assert_allclose(interval([clips])[0], sklearn_scores(clips), atol=1e-9)
        assert_interval(expected, [clips], name)


def assert_kept(kept, found, name, atol=1e-3):
    """Numbers of a record, in percent, are those that were found, by the endings of their names."""
    for end, values in found.items():
        expected = [kept[f"{metric}{end}"] for metric in METRICS]
        np.testing.assert_allclose(100 * values, expected, rtol=0, atol=atol, err_msg=f"{name}{end}")


def assert_interval(kept, settings, name, shares=(1,)):
    """A weighted sum of settings' scores and its interval are those of a record."""
    assert_kept(kept, dict(zip(("", "_low", "_high"), interval(settings, shares), strict=True)), name)


def fold_means(clips, folds, absent):
    """Mean over folds of each one's scores; a class that a fold lacks counts nothing, or 0."""
    members = folds == np.unique(folds)[:, None]
    found = weighted(clips, members.astype(float))  # by seed and fold
    if absent == "skipped":
        occurring = [len(set(clips.y_true[of_fold])) for of_fold in members]
        found[..., 1:] *= clips.n_classes / np.array(occurring)[:, None]
    return found.mean(axis=(0, 1))


def test_means_over_folds_and_over_subjects_are_those_of_the_record(report):
    (record, rows, classes), compared = report, []
    for name, (of_row, expected) in parts(record, rows).items():
        clips = as_clips(of_row, len(classes))
        once = of_row.drop_duplicates("clip_id").sort_values("clip_id")
        for end, column in (("_folds", "fold"), ("_skipped", "subject_id"), ("_zero", "subject_id")):
            if f"uar{end}" in expected:
                compared.append(end)
                absent = "zero" if end == "_zero" else "skipped"
                assert_kept(expected, {end: fold_means(clips, once[column].to_numpy(), absent)}, name)
    assert "_folds" in compared


def test_the_mean_of_all_settings_is_that_of_the_record(report):
    record, rows, classes = report
    found = [(of_row, cell) for of_row, cell in parts(record, rows).values() if cell in record["cells"]]
    read = [as_clips(of_row, len(classes)) for of_row, cell in found if cell["fit"] == "fitted"]
    for name, kept in record["summary"].items():
        if name.startswith("mean of all"):
            assert f" {len(read)} " in name
            assert_interval(kept, read, name, [1 / len(read)] * len(read))


def test_the_library_gives_the_scores_and_the_intervals_of_its_own_rule(report):
    _, rows, classes = report
    settings = dict(iter(rows.groupby("setting", sort=False)))
    scored = tables.score_rows(settings, len(classes))
    for name in list(settings)[::3]:
        _, low, high = interval([as_clips(settings[name], len(classes))])
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


# --- Claims: what each says of which rows, written down a second time ---------------------------------------


def above(chosen, against):
    """Every one of some rows above every one of others. A part: lower rows, upper rows, whether surely."""
    return [[((low,), (high,), True) for high in chosen for low in against]]


def best(chosen, against):
    """Any one of some rows above every one of others."""
    return [above([row], against)[0] for row in chosen]


def rises(*rows, step_by_step=False):
    steps = [((low,), (high,), False) for low, high in itertools.pairwise(rows)]
    return [[((rows[0],), (rows[-1],), True), *steps * step_by_step]]


def peak(tops, rows):
    """Any one of some inner rows surely above both ends, and not below the others."""
    return [[((row,), (top,), row in (rows[0], rows[-1])) for row in rows if row != top] for top in tops]


VIDEO, SPECIAL = ([f"{branch} {n}" for n in (1, 2, 4, 6, 8, 10, 12)] for branch in ("video", "special"))
NEAR_EIGHT = ["7 1 1", "8 1 1", "4 2 1", "7 2 1", "8 2 1", "4 2 2"]
FAR = [f"{m} {pair}" for m in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12) for pair in ("1 1", "2 1", "2 2")]
MACRO = "objective classes, all macro clips (test subjects' too)"
SEEN, REVERSED, NOT_SEEN = "pattern seen", "reverse seen", "not seen"
SOURCES = ("SMIC", "SAMM", "CASME II")


def over_all(methods, *sources):
    parts = [above([f"{source} HSTA"], [f"{source} {one}" for one in methods])[0] for source in sources]
    return [list(itertools.chain(*parts))]


LISTED = [
    "LBP-TOP", "Bi-WOOF", "CapsuleNet", "MMNet", "Dual-Incep", "Dual-ATME", "STSTNet", "MERSiamC3D",
    "FRL-DGT", "Micro-BERT",
]  # fmt: skip
SAYS = {
    "table1": {
        "usta-helps": above(VIDEO + SPECIAL, ["video 0"]),  # and "special 0", which is the same network
        "usta-video-rises": rises(*VIDEO[:5], step_by_step=True),
        "usta-video-peak": peak(["video 8"], VIDEO),
        "usta-special-rises": rises("special 1", "special 8"),
        "usta-special-peak": peak(["special 8"], SPECIAL),
    },
    "table2": {
        "csta-alone": above(["a2"], ["a1"]),
        "csta-below-usta": above(["a3", "a4"], ["a2"]),
        "csta-with-usta": above(["a6"], ["a5"]),
        "both-below-video": above(["a3"], ["a5"]),
        "both-below-special": above(["a4"], ["a5"]),
        "whole-module-best": best(["a6"], ["a1", "a2", "a3", "a4", "a5"]),
    },
    "table3": {
        "several-above-one": [[(("b1",), ("b2", "b3"), True)]],
        "more-video": peak(["b4", "b5", "b6"], ["b3", "b4", "b5", "b6", "b7"]),
        "more-special-at-1": rises("b10", "b8", "b3", step_by_step=True),
        "more-special-at-2": rises("b11", "b9", "b4", step_by_step=True),
        "more-special-at-3": rises("b12", "b5", step_by_step=True),
        "video-above-special": [[(("b8",), ("b4",), True), (("b10",), ("b5",), True)]],
    },
    "table4": {"product-of-eight": best(NEAR_EIGHT, [row for row in FAR if row not in NEAR_EIGHT])},
    "figure3": {"six-frames": peak(["6"], ["2", "4", "6", "8", "10", "12", "16"])},
    "table5": {
        "above-hand-crafted": over_all(["LBP-TOP", "Bi-WOOF"], *SOURCES),
        "above-special-frames": over_all(["CapsuleNet", "MMNet"], *SOURCES),
        "above-flow": over_all(["Dual-Incep", "Dual-ATME"], *SOURCES),
        "above-ststnet-mersiamc3d": over_all(["STSTNet", "MERSiamC3D"], *SOURCES),
        "above-frl-dgt": over_all(["FRL-DGT"], *SOURCES),
        "best-on-samm": over_all(LISTED, "SAMM"),
        "best-on-casme2": over_all(LISTED, "CASME II"),
    },
    "table6": {
        "best-of-three-classes": over_all(["FeatRef", "HTNet", "Micro-BERT"], "emotion3"),
        "best-of-seven-classes": over_all(["RGB", "RGB-D", "Micro-BERT"], "emotion7"),
    },
    "table7": {
        "flow-lowers": above(["special frames"], ["optical flow, drawn as tracks (the paper's)"]),
        "macro-raises": above([MACRO], ["objective classes"]),
    },
}
NAMED_BY = {
    "table1": ("branch", "n_layers"), "table2": ("setting",), "table3": ("setting",),
    "table4": ("m", "l_v", "l_s"), "figure3": ("n_frames",), "table5": ("dataset", "system"),
    "table6": ("labels", "system"), "table7": ("row",), "controls": ("row",),
    "extractions": ("trained on", "tested on"),
}  # fmt: skip


def rows_by_name(owner):
    """Of a record's rows, by name: their clips and whether they have fitted."""
    found, fits = {}, {}
    for path in owner.parent.glob(f"{owner.stem}*-predictions.csv"):
        record, rows, classes = read(path)
        counted = "composite" if record["report"] == "table5" else "own"
        for of_row, cell in parts(record, rows).values():
            is_asked = {*NAMED_BY[record["report"]]} <= {*cell}  # reference rows are not
            if is_asked and cell.get("train_on", counted) == counted:
                name = " ".join(str(cell[column]) for column in NAMED_BY[record["report"]])
                found[name], fits[name] = as_clips(of_row, len(classes)), cell["fit"] != "not fitted"
    return found, fits


def verdict_of(options, found, scores):
    """``found``: value, ends and p of each part by score."""

    def holds(part, score):
        value, low, *_ = found[part[:2]][score]
        return low > 0 if part[2] else value >= -1e-9

    if all(any(all(holds(part, score) for part in option) for option in options) for score in scores):
        return SEEN
    is_reversed = [
        any(all(found[part[:2]][score][2] < 0 for score in scores) for part in option) for option in options
    ]
    return REVERSED if all(is_reversed) else NOT_SEEN


WITH_CLAIMS = [
    path for path in sorted(REPORTS.glob("*-study-*.json")) if json.loads(path.read_text())["claims"]
]


@pytest.mark.parametrize("path", WITH_CLAIMS, ids=lambda path: path.stem)
def test_verdicts_of_claims_are_those_of_a_second_comparison(path):
    record = json.loads(path.read_text())
    clips, fits = rows_by_name(path)
    says = {
        name: options
        for name, options in SAYS[record["report"]].items()
        if all(row in clips for option in options for part in option for row in part[0] + part[1])
    }
    asked = {  # of rows that have fitted
        name: [[part for part in option if all(fits[row] for row in part[0] + part[1])] for option in options]
        for name, options in says.items()
    }
    families = {}  # by the clips that are compared
    for part in {part[:2] for options in asked.values() for option in options for part in option}:
        families.setdefault(clips[part[0][0]].y_true.tobytes(), []).append(part)
    found = {}
    for family in families.values():
        used = sorted({row for part in family for row in part[0] + part[1]})
        shares = [
            [(row in high) / len(high) - (row in low) / len(low) for row in used] for low, high in family
        ]
        n_distinct = len({frozenset(part) for part in family})  # one and its reverse are the same
        numbers = differences([clips[row] for row in used], shares, n_distinct * len(families))
        found |= dict(zip(family, numbers, strict=True))
    for claim in record["claims"]:
        name, options = claim["id"], asked.get(claim["id"], [])
        if not any(options):
            assert claim["verdict"].startswith(("not tested", "not fitted")), name
            continue
        scores = ["uar", "uf1"] if record["report"] in ("table5", "table6") else METRICS
        verdict = verdict_of(options, found, [METRICS.index(score) for score in scores])
        if options != says[name] and verdict != REVERSED:
            assert claim["verdict"].startswith("not fitted"), name
            continue
        assert claim["verdict"].startswith(verdict), name
        kept = [claim[column] for column in ("estimate", "low", "high", "p_adjusted", "detectable")]
        kept = np.array(kept, float) / [100, 100, 100, 1, 100]
        of_score = [found[part[:2]][METRICS.index(claim["score"])] for option in options for part in option]
        assert np.isclose(of_score, kept, rtol=0, atol=1e-4, equal_nan=True).all(axis=1).any(), name


@pytest.mark.parametrize(
    ("report", "labels"), [("controls", None), ("table7", "emotion7"), ("table7", "objective7")]
)
def test_differences_from_a_first_row_are_those_of_a_second_comparison(report, labels):
    (path,) = REPORTS.glob(f"{report}-study-*.json")
    record = json.loads(path.read_text())
    clips, fits = rows_by_name(path)
    cells = [cell for cell in record["cells"] if cell.get("labels") == labels]
    first, *others = [cell["row"] for cell in cells]
    fitted = [row for row in (first, *others) if fits[row]]
    assert set(others) <= set(record["summary"])
    for row in others:
        compared = fitted if row in fitted else [first, row]
        settings = [clips[name] for name in compared]
        value, low, high, p, smallest = difference(settings, (0, compared.index(row)), len(compared) - 1)
        kept = record["summary"][row]
        assert_kept(kept, {"": value, "_low": low, "_high": high}, row)
        if row in fitted:
            assert_kept(kept, {"_detectable": smallest}, row)
            np.testing.assert_allclose(p, [kept[f"{metric}_p"] for metric in METRICS], atol=1e-4)
        else:
            assert kept["uar_p"] is None


def test_what_another_extraction_costs_is_that_of_the_record():
    (path,) = REPORTS.glob("real-extractions-study-*.json")
    clips, _ = rows_by_name(path)
    for tested, other in [("HTNet", "CausalNet"), ("CausalNet", "HTNet")]:
        pair = [clips[f"{trained} {tested}"] for trained in (other, tested)]
        assert_interval(json.loads(path.read_text())["summary"][tested], pair, tested, (1, -1))


def test_the_page_of_claims_has_the_verdicts_of_the_records():
    page, keys = json.loads((REPORTS / "claims.json").read_text()), ("report", "id", "scope", "verdict")
    found = [one | {"report": p.stem} for p in WITH_CLAIMS for one in json.loads(p.read_text())["claims"]]
    kept, expected = ([tuple(row[key] for key in keys) for row in rows] for rows in (page, found))
    assert sorted(row for row in kept if row[0]) == sorted(expected)


# --- Fit, and what was trained on one dataset alone: from the archives of trials ----------------------------


def trainings_of(owner):
    """Trainings of a record's archive: each with ``rows``, its predictions."""
    content = gzip.decompress(owner.with_suffix(".trials.jsonl.gz").read_bytes())
    header, *lines = map(json.loads, content.splitlines())
    for one in lines[header["clips"] :]:
        said = one["predictions"]
        one["rows"] = pd.DataFrame(lines[said["clips"]]).assign(y_pred=said["y_pred"], seed=one["seed"])
    return lines[header["clips"] :]


def assert_fit(kept, trainings, name):
    """Accuracy and shares of losses, or of errors where a loss is not compared, are those of a record."""
    table = pd.DataFrame(trainings)
    reached, constant = 100 * table["train_accuracy"], 100 * table["constant_accuracy"]
    share = 100 * table["losses"].str[-1] / table["constant_loss"].astype(float).replace(0, np.nan)
    share = share.fillna(100 * (100 - reached) / (100 - constant))
    found = [reached.mean(), constant.mean(), share.mean(), share.max()]
    columns = ["train_accuracy", "constant_accuracy", "loss_share", "loss_share_worst"]
    np.testing.assert_allclose([kept[column] for column in columns], found, rtol=0, atol=1e-3, err_msg=name)
    is_fit = share.groupby(table["fold"]).mean().max() <= 45
    assert kept["fit"] in ("reads no pixels", "fitted" if is_fit else "not fitted"), name


def named(baseline, form):
    """A system as reports call it: its name and, of forms that differ in that, its gamma."""
    gamma = form.partition(", ")[2]
    return (baseline or "HSTA") + f" ({gamma})" * bool(gamma)


@pytest.mark.parametrize("path", PREDICTIONS, ids=lambda path: path.stem)
def test_how_rows_fit_is_what_the_archive_says(path):
    (record, rows, _), archive, is_read = read(path), trainings_of(owner_of(path)), []
    said = [dict(one["rows"][["clip_id", "y_pred"]].to_numpy()).items() for one in archive]
    by = pd.DataFrame(archive).groupby(["seed", "fold"]).groups
    systems = [named(**one["all_settings"]["comparison"]) for one in archive]
    for name, (of_row, kept) in parts(record, rows).items():
        if kept.get("loss_share") is None:  # of reference rows and best epochs
            continue
        system = kept.get("system", "").partition(",")[0]
        ending, found = f"/{kept['tested on'].lower()}" if "tested on" in kept else "", []
        for chosen, part in of_row.groupby(["seed", "fold"]):
            asked = dict(zip(part["clip_id"] + ending, part["y_pred"], strict=True)).items()
            places = [place for place in by[chosen] if asked <= said[place]]
            found.append([place for place in places if system in ("", systems[place])])
        assert all(found), name
        is_read.append(all(len(places) == 1 for places in found))  # else several networks predict the same
        if is_read[-1]:
            assert_fit(kept, [archive[place] for (place,) in found], name)
    assert np.mean(is_read) > 0.7


def test_what_is_trained_on_one_dataset_alone_is_what_the_archive_says():
    (owner,) = REPORTS.glob("table5-study-*.json")
    own = [one for one in trainings_of(owner) if one["rows"]["clip_id"].str[:4].nunique() == 1]
    cells = [cell for cell in json.loads(owner.read_text())["cells"] if cell["system"] == "HSTA"]
    cells, (composite, _) = {(one["dataset"], one["train_on"]): one for one in cells}, rows_by_name(owner)
    for dataset in (*SOURCES, "all three"):
        chosen = [one for one in own if len(of_source(one["rows"], dataset))]
        alone = as_clips(pd.concat([one["rows"] for one in chosen]), 3)
        assert_fit(cells[dataset, "own"], chosen, dataset)
        assert_interval(cells[dataset, "own"], [alone], dataset)
        added = {name.replace("_less_own", ""): value for name, value in cells[dataset, "composite"].items()}
        added = cells.get((dataset, "composite less own"), added)  # as records from before have it
        assert_interval(added, [alone, composite[f"{dataset} HSTA"]], dataset, (-1, 1))


# --- Reports on real motion: what is committed names clips and subjects by running numbers ------------------

REAL = sorted(REPORTS.glob("real-*"))
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
    rows = json.loads((REPORTS / "real-reproduce.json").read_text())["rows"]
    table = pd.read_csv(REPORTS / "real-reproduce-predictions.csv")
    about = ["clip", "subject", "y_true"]
    assert list(rows) == [name for name in table if name not in about]
    assert table["clip"].tolist() == list(range(442))
    assert table["subject"].nunique() == 68
    for name, row in rows.items():
        scores = [score(table["y_true"], table[name], average="macro") for score in (f1_score, recall_score)]
        assert [row["uf1"], row["uar"]] == pytest.approx([100 * value for value in scores], abs=1e-3)
        assert row["equal"] == (table[name] == table["authors' log, PyTorch"]).sum()
