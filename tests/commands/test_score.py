"""Scores of anyone's predictions: by hand, as the tables have them, and refused in one line."""

import importlib
import re
import subprocess
import sys
import time
import tomllib

import numpy as np
import pandas as pd
import pytest
from tiny import save, tiny_trials

from hsta_lib import ROOT, config
from hsta_lib.commands import score
from hsta_lib.data.splits import Fold
from hsta_lib.evaluation import comparisons, references
from hsta_lib.files import read_csv
from hsta_lib.reporting import records, tables
from hsta_lib.study.study import start
from hsta_lib.training import store


def scores_of(table, column=None, classes=None):
    columns, classes = score.check(table, column, classes)
    return score._score(score._rows(table, columns, classes), len(classes))[0]


CLASSES = ("low", "middle", "high")
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture
def rows():
    """Three subjects, two classes: 3 of 4 of ``x`` right, 1 of 2 of ``y``."""
    return pd.DataFrame(
        {
            "clip_id": list("abcdef"),
            "subject_id": list("rrsstt"),
            "y_true": list("xyxxxy"),
            "y_pred": list("xxxyxy"),
        }
    )


def test_scores_by_hand(rows):
    found = scores_of(rows).loc["y_pred"]
    # F1 of x: 2 * 3 / (4 + 4); of y: 2 * 1 / (2 + 2).
    expected = [100 * 4 / 6, 100 * (3 / 4 + 1 / 2) / 2, 100 * (3 / 4 + 1 / 2) / 2]
    assert found[["acc", "uar", "uf1"]].tolist() == pytest.approx(expected)
    # Subjects: r half of both, F1 2/3 and 0; s x alone, half, F1 2/3; t all of both.
    assert found["acc_folds"] == found["acc_folds_zero"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 1) / 3)
    assert found["uar_folds"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 1) / 3)
    assert found["uar_folds_zero"] == pytest.approx(100 * (1 / 2 + 1 / 4 + 1) / 3)
    assert found["uf1_folds"] == pytest.approx(100 * (1 / 3 + 2 / 3 + 1) / 3)
    assert found["uf1_folds_zero"] == pytest.approx(100 * (1 / 3 + 1 / 3 + 1) / 3)
    assert found["uf1_low"] < found["uf1"] < found["uf1_high"]


def test_a_class_without_clips_counts_zero(rows):
    found, more = scores_of(rows), scores_of(rows, classes=["x", "y", "z"])
    assert more["uar"].item() == pytest.approx(found["uar"].item() * 2 / 3)
    assert more["acc"].item() == found["acc"].item()


def test_the_order_of_rows_and_names_of_subjects_do_not_matter(rows):
    mixed = rows.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(scores_of(mixed), scores_of(rows))
    renamed = rows.assign(subject_id=rows["subject_id"].map({"r": "z", "s": "a", "t": "m"}))
    pd.testing.assert_frame_equal(scores_of(renamed), scores_of(rows))


def test_folds_are_those_of_the_file(rows):
    found = scores_of(rows.assign(fold=[1, 1, 2, 2, 1, 1])).loc["y_pred"]
    assert found["uar_folds"] == pytest.approx(100 * ((1 + 1 / 2) / 2 + 1 / 2) / 2)
    assert found["uar_folds_zero"] == pytest.approx(100 * ((1 + 1 / 2) / 2 + 1 / 4) / 2)


def test_columns_of_predictions_are_found(rows):
    several = rows.rename(columns={"y_pred": "mine"}).assign(other=list("xyxxxy"), onset="7")
    found = scores_of(several)
    assert found.index.tolist() == ["mine", "other"]
    assert found["acc"].tolist() == pytest.approx([100 * 4 / 6, 100])
    assert scores_of(several, column="other").index.tolist() == ["other"]
    assert scores_of(rows.assign(confidence="0.9")).index.tolist() == ["y_pred"]


def test_what_needs_no_picture(rows):
    # Left out subject by subject, x is always the most frequent class.
    assert score.without_pixels(rows, ["x", "y"])["uar"].to_dict() == {"majority class": 50.0}
    told = rows.assign(
        clip_id=[f"casme3/{s}/{y}/{i}" for i, (s, y) in enumerate(zip("rrsstt", "xyxxxy", strict=True))],
        recording_id=[f"{s}/{i}" for i, s in enumerate("rrsstt")],
    )
    found = score.without_pixels(told, ["x", "y"])["uar"].to_dict()
    assert found == {"majority class": 50.0, "recording": 50.0, "film": 100.0}
    shared = score.without_pixels(told.assign(fold=[1, 2, 1, 2, 1, 2]), ["x", "y"])
    assert shared.index.tolist() == ["majority class", "subject", "recording", "film"]


@pytest.fixture
def stored(tmp_path):
    """Random predictions of two cells and two seeds, stored and read back, and reference rows."""
    rng = np.random.default_rng(0)
    n_clips, n_folds = 53, 3
    clips = pd.DataFrame(
        {
            "clip_id": [f"c{i:02d}" for i in range(n_clips)],
            "subject_id": [f"s{i % 11}" for i in range(n_clips)],
            "y_true": rng.integers(3, size=n_clips),
        }
    )
    fold_of = (np.arange(n_clips) % 11) % n_folds
    folds = [Fold(np.flatnonzero(fold_of != n), np.flatnonzero(fold_of == n)) for n in range(n_folds)]
    trials = [tiny_trials(seeds=(0, 5), m=m) for m in (1, 2)]
    for trial in [trial for cell in trials for trial in cell]:
        test = clips.iloc[folds[trial.fold].test]
        guess = rng.integers(3, size=len(test)).tolist()
        columns = test.to_dict("list") | {"y_pred": guess, "scores": [[0.0]] * len(test)}
        save(trial, {"predictions": columns, "absent_classes": []}, tmp_path)
    parts = [store.predictions(cell, tmp_path) for cell in trials]
    predictions = pd.concat([part.assign(cell=cell) for cell, part in enumerate(parts)])
    references = {"labels shuffled": parts[0].assign(y_pred=1), "all low": parts[1][parts[1].seed == 5]}
    return pd.DataFrame({"m": [1, 2], "csta": [True, False]}), predictions, references


def test_the_table_of_predictions_names_classes_and_columns(stored):
    cells, predictions, references = stored
    table = records.predictions_table(cells, predictions, references, CLASSES)
    assert table.columns.tolist() == [
        "clip_id", "subject_id", "fold", "y_true",
        "m=1 csta=True seed=0", "m=1 csta=True seed=5", "m=2 csta=False seed=0", "m=2 csta=False seed=5",
        "labels shuffled seed=0", "labels shuffled seed=5", "all low seed=5",
    ]  # fmt: skip
    assert table["clip_id"].tolist() == sorted(predictions["clip_id"].unique())
    assert set(table["labels shuffled seed=0"]) == {"middle"}
    row = predictions[(predictions["cell"] == 1) & (predictions["seed"] == 5)].iloc[7]
    written = table.set_index("clip_id").loc[row["clip_id"]]
    assert written["m=2 csta=False seed=5"] == CLASSES[row["y_pred"]]
    assert (written["y_true"], written["fold"]) == (CLASSES[row["y_true"]], row["fold"])


def test_tables_of_unlike_predictions_are_refused(stored):
    cells, predictions, references = stored
    twice = pd.concat([predictions, predictions.iloc[[0]]])
    with pytest.raises(ValueError, match="predicted twice"):
        records.predictions_table(cells, twice, {}, CLASSES)
    with pytest.raises(ValueError, match="m=1 csta=True seed=0: not every clip"):
        records.predictions_table(cells, predictions.iloc[1:], {}, CLASSES)
    other = {"other folds": references["all low"].assign(fold=lambda part: 2 - part["fold"])}
    with pytest.raises(ValueError, match="fold or label differs"):
        records.predictions_table(cells, predictions, other, CLASSES)


def test_a_written_file_scores_as_the_report_does(stored, tmp_path, monkeypatch, no_environment):
    cells, predictions, references = stored
    monkeypatch.setattr(config, "records_dir", lambda: tmp_path / "reports")
    study = start("table4", {"preset": "smoke"})
    dataset = type("Dataset", (), {"classes": CLASSES})
    name = records.write_predictions(study, dataset, cells, predictions, references)
    assert name == str(tmp_path / "reports" / "table4-smoke-synthetic-subject-predictions.csv")
    read = read_csv(tmp_path / name)
    found = scores_of(read.sample(frac=1, random_state=1), classes=list(CLASSES))
    expected, _ = tables.score_table(cells, predictions, len(CLASSES))
    for cell, heading in enumerate(["m=1 csta=True", "m=2 csta=False"]):
        seeds = found.loc[[f"{heading} seed=0", f"{heading} seed=5"]].mean()
        for metric in ("acc", "uar", "uf1", "acc_folds", "uar_folds", "uf1_folds"):
            assert seeds[metric] == pytest.approx(expected[metric][cell])
    # One seed, the same predictions: the interval too.
    alone = tables.score_rows({"all low": references["all low"]}, len(CLASSES)).loc["all low"]
    pd.testing.assert_series_equal(
        found.loc["all low seed=5", alone.index], alone, check_names=False, rtol=1e-12
    )


def test_rows_of_several_label_sets_have_a_file_for_each(stored, tmp_path, monkeypatch, no_environment):
    _, predictions, references = stored
    monkeypatch.setattr(config, "records_dir", lambda: tmp_path / "reports")
    study = start("table7", {"preset": "smoke"})
    first, second = (predictions[predictions["cell"] == cell].drop(columns="cell") for cell in (0, 1))
    fewer = first[first["y_true"] < 2]
    fewer = fewer.assign(y_pred=fewer["y_pred"].clip(upper=1))
    about = {"clips": pd.DataFrame({"expression_type": ["micro"] * 5})}
    three, two = (type("Dataset", (), {"classes": CLASSES[:n], **about}) for n in (3, 2))
    cells = pd.DataFrame({"row": ["a", "b", "c"], "labels": ["three", "two", "three"]}, index=[5, 3, 2])
    rows = [first, fewer, second.assign(cell=1)]
    names = records.write_by_labels(study, [three, two, three], cells, rows, {"three": references})
    files = [f"table7-smoke-synthetic-subject-{n}-predictions.csv" for n in ("three", "two")]
    assert names == [str(tmp_path / "reports" / file) for file in files]
    found = scores_of(read_csv(tmp_path / names[0]), classes=list(CLASSES))
    assert found.index.tolist() == [
        "row=a labels=three seed=0", "row=a labels=three seed=5",
        "row=c labels=three seed=0", "row=c labels=three seed=5",
        "labels shuffled seed=0", "labels shuffled seed=5", "all low seed=5",
    ]  # fmt: skip
    expected = tables.score_rows({"a": first, "c": second}, 3)["uf1"]
    assert found["uf1"].iloc[[0, 1]].mean() == pytest.approx(expected["a"])
    assert found["uf1"].iloc[[2, 3]].mean() == pytest.approx(expected["c"])
    pair = scores_of(read_csv(tmp_path / names[1]), classes=list(CLASSES[:2]))
    assert pair.index.tolist() == ["row=b labels=two seed=0", "row=b labels=two seed=5"]
    assert pair["uf1"].mean() == pytest.approx(tables.score_rows({"b": fewer}, 2)["uf1"].item())
    clips = pd.DataFrame({"expression_type": ["micro"] * 5 + ["macro"] * 2})
    macro = type("Dataset", (), {"classes": CLASSES, "clips": clips})
    names = records.write_by_labels(study, [three, two, macro], cells, rows, {})
    assert [name.split("subject-")[1] for name in names] == [
        "three-predictions.csv", "two-predictions.csv", "three-macro-predictions.csv"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="row=b labels=three seed=0: not every clip"):
        records.write_by_labels(study, [three] * 3, cells.assign(labels="three"), rows, {})


BAD = {
    "no subjects": (lambda rows: rows.drop(columns="subject_id"), {}, "'subject_id' is missing.*clip_id"),
    "no labels": (lambda rows: rows.drop(columns="y_true"), {}, "'y_true' is missing"),
    "no predictions": (lambda rows: rows.drop(columns="y_pred"), {}, "'y_pred' is missing"),
    "no such column": (lambda rows: rows, {"column": "mine"}, "'mine' is missing"),
    "an unknown class": (
        lambda rows: rows.assign(y_pred=list("xxXyxy")),
        {},
        "'y_pred': 'X' of clip 'c' is none of the classes x, y.*--classes",
    ),
    "a class left out": (lambda rows: rows, {"classes": ["x", "z"]}, "'y_true': 'y' of clip 'b'.*x, z"),
    "a class named twice": (lambda rows: rows, {"classes": ["x", "y", "x"]}, "class is there twice"),
    "a subject's clip twice": (lambda rows: rows.assign(clip_id=list("abcdee")), {}, "'e' is there twice"),
    "several epochs": (
        lambda rows: rows.drop(columns="clip_id").assign(epoch=[1, 2] * 3),
        {},
        "several epochs: keep the rows of one",
    ),
    "a number that is missing": (
        lambda rows: rows.assign(y_pred=[*"xxxyx", "nan"]),
        {},
        "empty for clip 'f'",
    ),
    "one class": (lambda rows: rows[rows["y_true"] == "x"].assign(y_pred="x"), {}, "of one class, 'x'"),
    "one subject": (lambda rows: rows.assign(subject_id="r"), {}, "of one subject, 'r'"),
    "no clips": (lambda rows: rows.iloc[:0], {}, "no clips"),
    "an empty cell": (lambda rows: rows.assign(y_pred=["x", "x", "", *"yxy"]), {}, "empty for clip 'c'"),
    "a missing value": (lambda rows: rows.assign(y_true=["x", None, *"xxxy"]), {}, "empty for clip 'b'"),
    "no ids": (lambda rows: rows.drop(columns="clip_id").assign(y_pred=list("xxxzxy")), {}, "clip number 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_scored_is_refused(rows, name):
    change, chosen, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        scores_of(change(rows), **chosen)


def test_row_numbers_of_pandas_are_no_predictions(rows, tmp_path):
    rows.rename(columns={"y_pred": "mine"}).to_csv(tmp_path / "mine.csv")
    assert scores_of(read_csv(tmp_path / "mine.csv")).index.tolist() == ["mine"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_are_read_and_classes_may_hold_one(separator, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    rows = [("subject_id", "y_true", "y_pred"), ("a", '"sad, low"', "glad"), ("b", "glad", "glad")]
    path.write_text("\n".join(separator.join(row) for row in rows))
    assert score.main([str(path), "--classes", 'glad, "sad, low"']) == 0
    assert "clips per class: glad 1, sad, low 1" in capsys.readouterr().out


def test_the_same_clip_of_two_subjects_is_two_clips(rows):
    assert scores_of(rows.assign(clip_id=list("abcade")))["acc"].item() == pytest.approx(100 * 4 / 6)


def test_spellings_of_a_subject_and_of_a_class_are_one_and_are_listed(rows):
    rows["subject_id"] = ["1", "01", "1.0", "Ann", "ann", "1-1"]
    rows["y_true"] = ["Happy", "sad", "happy", "happy ".strip(), "sad", "2"]
    rows["y_pred"] = ["happy", "sad", "happy", "happy", "Sad", "2.0"]
    (table,), merged = score.merge_spellings([rows])
    assert table["subject_id"].tolist() == ["01", "01", "01", "Ann", "Ann", "1-1"]
    assert table["y_true"].equals(table["y_pred"])
    assert set(table["y_true"]) == {"Happy", "Sad", "2"}
    assert "'1.0' is taken as '01'" in merged
    assert "'happy' is taken as 'Happy'" in merged
    (table,), merged = score.merge_spellings([rows], classes=["happy", "sad", "2"])
    assert set(table["y_true"]) == {"happy", "sad", "2"}
    (table,), merged = score.merge_spellings([rows.assign(fold=["1", "01", "2", "2.0", "2", "1.0"])])
    assert (table["fold"].nunique(), "'1' is taken as '01'" in merged) == (2, True)
    signs = rows.assign(y_true=list("10") * 3, y_pred=["-1", "0"] * 3)
    assert set(score.merge_spellings([signs])[0][0]["y_pred"]) == {"-1", "0"}


def test_files_are_compared_clip_by_clip_in_any_order(rows, tmp_path, capsys):
    rows = pd.concat([rows.assign(subject_id=rows["subject_id"] + str(n)) for n in range(3)])
    better = rows.assign(y_pred=rows["y_true"]).sample(frac=1, random_state=0)
    paths = [str(tmp_path / f"{name}.csv") for name in ("mine", "other")]
    for path, table in zip(paths, (rows, better), strict=True):
        table.to_csv(path, index=False)
    assert score.main(paths) == 0
    said = capsys.readouterr().out
    together = rows.rename(columns={"y_pred": "mine"}).assign(other=rows["y_true"])
    assert said == score.describe(together) + "\n"
    matrices = np.stack([tables.count(part.assign(cell=0), "subject_id", 2)[0] for part in
                         score._rows(together, ["mine", "other"], ["x", "y"]).values()])  # fmt: skip
    found = comparisons.compare(matrices, [comparisons.pair(0, 1)])
    assert f"{100 * found.estimate[0, 1]:+.1f} [" in said
    assert f"{found.p_adjusted[0, 1]:.3f}" in said or "< 0.001" in said
    assert "'mine', in points" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.iloc[1:], "other: clip 'a' of 'r' is not in all files"),
        (lambda rows: rows.assign(y_true="x", y_pred="x"), "other: all clips are of one class"),
        (
            lambda rows: rows.assign(y_true=[*"xyxxy", "y"]),
            "other: clip 'e' of 't' is not in all files, or with",
        ),
        (lambda rows: rows.drop(columns="clip_id"), "other: column 'clip_id' is missing"),
        (lambda rows: rows.assign(fold=[1, 1, 2, 2, 3, 1]), "other: clip 'f' .*another y_true or fold"),
        (lambda rows: rows.drop(columns="fold"), "other: column 'fold' is missing.*left out of all files"),
    ],
)
def test_files_of_other_clips_are_refused(change, message, rows):
    rows = rows.assign(fold=[1, 1, 2, 2, 3, 3]) if "fold" in message else rows
    with pytest.raises(ValueError, match=message):
        score.join({"mine": rows, "other": change(rows)})


def test_subjects_in_several_folds_are_told(rows):
    assert "3 subjects, which count as 3.0 of equal size;" not in score.describe(rows)
    told = score.describe(rows.assign(fold=[1, 2, 1, 1, 2, 2]))
    assert "3 subjects, which count as 3.0 of equal size; 1 of them in several folds: subject-depend" in told


def test_a_closed_pipe_is_silent(rows, tmp_path):
    rows.to_csv(tmp_path / "mine.csv", index=False)
    command = f"{sys.executable} -m hsta_lib.score {tmp_path / 'mine.csv'} | true"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("with_folds", [True, False])
def test_many_rows_take_seconds(tmp_path, with_folds):
    random, n = np.random.default_rng(0), 200_000
    table = pd.DataFrame({"clip_id": np.arange(n), "subject_id": random.integers(2000, size=n)})
    for name in ("fold", "y_true", "y_pred")[not with_folds :]:
        table[name] = random.integers(7, size=n)
    table.to_csv(tmp_path / "many.csv", index=False)
    began = time.process_time()
    assert score.main([str(tmp_path / "many.csv")]) == 0
    assert time.process_time() - began < 5  # a fifth of a million; on a quiet machine 1 s


def test_the_majority_of_the_other_folds_is_that_of_the_study():
    random = np.random.default_rng(3)
    y_true, subject = random.integers(3, size=211), random.integers(13, size=211)
    table = pd.DataFrame({"subject_id": subject, "y_true": y_true, "y_pred": 0})
    found = score.without_pixels(table, [0, 1, 2]).loc["majority class"]
    clips = pd.DataFrame({"clip_id": range(211), "subject_id": subject, "label": y_true})
    folds = [Fold(np.flatnonzero(subject != n), np.flatnonzero(subject == n)) for n in range(13)]
    predictions = references.majority(clips, folds)
    assert predictions["y_pred"].nunique() > 1
    right = predictions["y_true"] == predictions["y_pred"]
    assert found["acc"] == pytest.approx(100 * right.mean())
    assert found["uar"] == pytest.approx(100 * right.groupby(predictions["y_true"]).mean().mean())


def test_a_reported_pair_is_possible_or_not(rows):
    # 4 and 2 clips: 3 of 4 and 1 of 2 right give 62.5 both; perfect recall leaves no error for UF1.
    said = score.check_reported(rows, 62.5, 62.5)
    assert said.startswith("reported UF1 62.5 with UAR 62.5, of these clips pooled: possible; that UAR goes")
    assert "impossible" in score.check_reported(rows, 90.0, 100.0)
    assert "no predictions have that UAR" in score.check_reported(rows, 90.0, 99.0)
    with pytest.raises(ValueError, match="positive integer"):
        score.check_reported(rows, 62.5, 62.5, ["x", "y", "z"])


def run(*arguments):
    command = [sys.executable, "-m", "hsta_lib.score", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def documented_example(name="predictions"):
    text = (ROOT / "docs" / "scoring.md").read_text()
    text = text[text.index(f"<!-- {name}: read by tests/commands/test_score.py -->") :]
    example = re.search(r"```csv\n(.*?)```", text, re.DOTALL)
    command = re.search(r"hsta-score predictions\.csv (.*)", text)
    return example[1], command[1].split()


def test_the_documented_command(tmp_path):
    content, options = documented_example()
    (tmp_path / "predictions.csv").write_text(content)
    done = run(tmp_path / "predictions.csv", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 clips of 3 subjects, which count as 2.7 of equal size" in done.stdout
    assert "clips per class: anger 2, happy 2" in done.stdout
    assert re.search(r"y_pred +75\.0 \[", done.stdout)
    assert re.search(r"happy +1 +1 +50\.0", done.stdout)
    assert "majority class" in done.stdout
    assert "reported UF1 35.1 with UAR 38.0" in done.stdout


def test_the_documented_command_on_epochs(tmp_path, capsys):
    content, options = documented_example("epochs")
    (tmp_path / "predictions.csv").write_text(content)
    assert score.main([str(tmp_path / "predictions.csv"), *options]) == 0
    said = capsys.readouterr().out
    assert (
        "4 clips of 2 subjects in 2 folds; 2 epochs, from 1 to 2; the best on the pooled test is 1;" in said
    )
    assert re.search(r"last epoch +50\.0 \[.*50\.0 \[.*50\.0 \[", said)
    assert re.search(r"best epoch of each fold +100\.0 \[\d+\.\d, 100\.0\]", said)
    assert re.search(r"best epoch of each fold +\+50\.0 \[", said)
    assert "best epoch of each fold, by chance" in said


def changed(line, to):
    return documented_example("epochs")[0].replace(line, to)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("epoch,", "step,"), "column 'epoch' is missing, which --epochs needs"),
        (changed("2,smile1", "last,smile1"), "must hold whole numbers, found 'last'"),
        (changed("2,smile1", "1.5,smile1"), "must hold whole numbers, found '1.5'"),
        (changed("2,smile1", "inf,smile1"), "must hold whole numbers, found 'inf'"),
        (changed("2,smile1,ann,happy,anger\n", ""), "epoch 2 has other clips than the first"),
        (
            changed("2,smile1,ann,happy", "2,smile1,ann,anger"),
            "epoch 2 has other clips than the first, or another",
        ),
        (changed("2,smile1,ann,happy,anger", "2,smile1,ann,happy,joy"), "epoch 2: column 'y_pred': 'joy'"),
        (changed("2,smile1", "1,smile1"), "epoch 1: clip 'smile1' is there twice, of subject 'ann'"),
    ],
)
def test_epochs_that_do_not_fit_each_other_are_refused(tmp_path, content, message, capsys):
    (tmp_path / "mine.csv").write_text(content)
    assert score.main([str(tmp_path / "mine.csv"), "--epochs"]) == 2
    assert message in capsys.readouterr().err


def test_epochs_may_list_clips_that_subjects_share_in_any_order(tmp_path, rows, capsys):
    rows = pd.concat([rows.assign(clip_id="a", subject_id=[f"{n}{i}" for i in range(6)]) for n in range(9)])
    table = pd.concat([rows.assign(epoch=epoch) for epoch in (1, 2)])
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "mine.csv", index=False)
    assert score.main([str(tmp_path / "mine.csv"), "--epochs"]) == 0
    assert "54 clips of 54 subjects" in capsys.readouterr().out


def test_an_error_tells_what_was_merged_before(tmp_path, rows, capsys):
    rows.assign(clip_id=list("aacdef"), subject_id=["Ann", "ann", *"sstt"]).to_csv(tmp_path / "mine.csv")
    assert score.main([str(tmp_path / "mine.csv")]) == 2
    said = capsys.readouterr().err
    assert said == "'ann' is taken as 'Ann'\nclip 'a' is there twice, of subject 'Ann'\n"


def test_bad_input_is_one_message_and_exit_code_two(tmp_path):
    (tmp_path / "mine.csv").write_text("")
    done = run(tmp_path / "mine.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "mine.csv is empty" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reported", "0.35,0.38"], "give percent"),
        (["--epochs", "--column", "a"], "--classes alone"),
    ],
)
def test_bad_options_are_one_message_and_exit_code_two(tmp_path, options, message, capsys):
    (tmp_path / "mine.csv").write_text("")
    with pytest.raises(SystemExit, match=r"^2$"):
        score.main([str(tmp_path / "mine.csv"), *options])
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("subject_id,y_true\na,x\n", [], "column 'y_pred' is missing"),
        (None, [], "No such file"),
        ("subject_id,y_true,y_pred\na,x,x\nb,y,y\n", ["--reported", "35.1,380"], "0 to 100"),
        ("subject_id,y_true,y_pred\na,x,x\nb,y,y\n", ["--classes", "x,z"], "none of the classes x, z"),
    ],
)
def test_nothing_is_printed_of_what_cannot_be_scored(tmp_path, content, options, message, capsys):
    if content is not None:
        (tmp_path / "mine.csv").write_text(content)
    assert score.main([str(tmp_path / "mine.csv"), *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err


def test_several_columns_have_one_table(tmp_path, rows, capsys):
    path = tmp_path / "mine.csv"
    rows.rename(columns={"y_pred": "mine"}).assign(other=list("xyxxxy")).to_csv(path, index=False)
    assert score.main([str(path)]) == 0
    several = capsys.readouterr().out
    assert "--column NAME" in several
    assert "recall" not in several
    assert score.main([str(path), "--column", "other"]) == 0
    assert re.search(r"y +0 +2 +100\.0", capsys.readouterr().out)


def test_it_runs_where_there_is_no_torch(rows, tmp_path):
    rows.to_csv(tmp_path / "mine.csv", index=False)
    code = "import sys; sys.modules['torch'] = None; import hsta_lib.training.archive\n"
    code += "from hsta_lib import score; score.main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "mine.csv"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_console_scripts_answer_help(name, capsys):
    module, function = SCRIPTS[name].split(":")
    with pytest.raises(SystemExit, match="0"):
        getattr(importlib.import_module(module), function)(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: {name} ")
