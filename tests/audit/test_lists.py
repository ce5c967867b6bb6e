"""The audit's tables and sentences, on invented lists and on clips where the answer is known."""

import json
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from hsta_lib import config
from hsta_lib.audit import lists as audit
from hsta_lib.audit import plots
from hsta_lib.data.splits import make_folds
from hsta_lib.study.study import start

pytestmark = pytest.mark.usefixtures("no_environment")

LABELS = "washed_data/washed_data/new_labels"
KINDS = {
    "emothion_as_label": ("Objective class,emotion", ["train"]),
    "Objective_class_as_label": (
        "Expression type,Objective class",
        ["no_macro_exp_train", "use_macro_exp_train"],
    ),
}
OBJECTIVE = ["I", "II", "III", "IV", "V", "VI", "VII"]
EMOTIONS = ["disgust", "surprise", "others", "fear", "anger", "sad", "happy"]


def line(number, kind, expression="micro"):
    """One of 35 clips: subject and film each tell the class; a macro clip ends where a micro clip begins."""
    subject, label, onset = number // 7, number % 7, 100 * number + (0 if expression == "micro" else -9)
    last = {
        "emothion_as_label": f"VII,{EMOTIONS[label]}",
        "Objective_class_as_label": f"{expression.capitalize()}-expression,{OBJECTIVE[label]}",
    }[kind]
    return f"spNO.{subject},{'abcdefg'[label]},{1000 + onset},{1004 + onset},{1009 + onset},4+R7,{last}"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Lists of five subjects with seven clips, each in a film of its own; folds of every fifth clip."""
    root = tmp_path_factory.mktemp("clone")
    for kind, (columns, trainings) in KINDS.items():
        folder = root / LABELS / kind
        folder.mkdir(parents=True)
        header = f"Subject,Filename,Onset,Apex,Offset,AU,{columns}"
        for fold in range(5):
            test = [number for number in range(35) if number % 5 == fold]
            train = [line(number, kind) for number in range(35) if number not in test]
            lines = {f"test_fold_{fold + 1}": [line(number, kind) for number in test]}
            for training in trainings:
                macro = [line(number, kind, "macro") for number in range(35) if "use" in training]
                lines[f"{training}_fold_{fold + 1}"] = train + macro
            for name, rows in lines.items():
                (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


@pytest.fixture(scope="module")
def lists(clone):
    return audit.divisions(start("audit", {"preset": "smoke", "lists_root": str(clone)}))


@pytest.fixture(scope="module")
def synthetic():
    return audit.divisions(start("audit", {"preset": "smoke"}))


@pytest.fixture(scope="module")
def scored(lists):
    return audit.pixel_free_scores(lists)


# --- the paper against itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs():
    return audit.check_pairs()


@pytest.fixture(scope="module")
def spread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "table4_noise", partial(audit.table4_noise, n_draws=23))
        return audit.noise()


def test_findings_carry_the_counted_cost_and_can_be_shown(pairs, spread):
    found = audit.find(pairs, spread)
    (cost,) = found.loc[found["printed"].str.contains("computing cost"), "follows"]
    assert "{gmac}" not in cost
    assert float(cost.split("costs ")[1].split(" GMAC")[0]) == 44.2
    assert "best innocent explanation" in audit.show_findings(found).to_html()
    said = audit.conclude_findings(found, pairs).data
    assert "3 arithmetic, 9 text, 4 inherited, 3 unsupported, 3 omission" in said
    assert "38 of the 41 pairs" in said
    assert "26 of the 27 scores" in said


def test_the_range_of_pooled_scores_lies_within_that_of_means(pairs):
    curve = audit.attainable("SMIC")
    assert len(curve) > 50
    assert ((curve["low"] <= curve["high"]) & (curve["folds_low"] <= curve["folds_high"])).all()
    hsta = pairs.query("method == 'HSTA' and dataset == 'SMIC'").iloc[0]
    near = curve.iloc[(curve["uar"] - hsta["uar"]).abs().argmin()]
    assert near["high"] < hsta["uf1"] < near["folds_high"]


def test_figures_are_drawn(pairs, spread, scored):
    smic = pairs[pairs["dataset"] == "SMIC"]
    figures = [plots.attainable_uf1(audit.attainable("SMIC"), smic), plots.spread(spread)]
    assert [len(figure.axes) for figure in figures] == [1, 3]
    named = [text.get_text() for text in figures[0].axes[0].texts]
    assert named == ["LBP-TOP: UAR 52.8, UF1 20.0", "HSTA: UAR 78.0, UF1 84.7"]
    figure = plots.pixel_free(scored)
    assert len(figure.axes) == 2 * scored["protocol"].nunique()
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks == list(scored["predictor"].unique())


# --- the lists --------------------------------------------------------------------------------------------


def test_the_lists_are_divided_as_the_paper_divides_them(lists):
    sizes = {name: (len(d.folds), d.n_classes, len(d.clips)) for name, d in lists.items()}
    assert sizes == {
        "emotions, authors' folds": (5, 7, 35),
        "emotions, leave one subject out": (5, 7, 35),
        "three classes, leave one subject out": (5, 3, 30),
        "objective classes, authors' folds": (5, 7, 35),
        "objective classes, authors' folds, macro clips in training": (5, 7, 70),
    }
    # Best of Table 4, HSTA in Table 6, and of Table 7 the row without and the best of those with macro clips.
    assert [list(division.printed.values()) for division in lists.values()] == [
        [43.1, 38.6, 35.1], [35.8, 34.1], [61.8, 59.3], [52.3, 43.2, 43.0], [69.8, 51.7, 52.7],
    ]  # fmt: skip


def test_overlap_is_counted_for_the_lists_alone_and_from_fold_one(lists):
    table = audit.overlaps(lists)
    assert table.index.unique("folds").tolist() == [name for name in lists if "authors" in name]
    assert table.index.unique("fold").tolist() == [1, 2, 3, 4, 5, "all"]
    alone = table.loc[("emotions, authors' folds", "micro", "all")]
    assert alone[["test clips", "subject in training", "recording in training"]].tolist() == [35, 35, 0]
    with_macro = table.loc[
        ("objective classes, authors' folds, macro clips in training", "micro and macro", "all")
    ]
    assert with_macro[["recording in training", "intersects"]].tolist() == [35, 35]


def test_what_is_said_of_overlap_counts_all_training_clips(lists):
    first, _, macro = audit.conclude_overlap(lists).data.splitlines()
    assert "of 35 test clips 35 (100.0 %) have a clip of their subject in training, 0 (0.0 %) one" in first
    assert "35 (100.0 %) one of their recording, and 35 (100.0 %) one that shares a frame" in macro


def test_random_folds_announce_how_many_clips_meet_their_subject(lists):
    division = lists["emotions, authors' folds"]
    clips = division.clips.assign(subject_id=[f"s{i // 2}" for i in range(34)] + ["alone"])
    expected = audit._expected(division._replace(clips=clips))
    # Pairs: the other clip lies in the same seven of 35 with probability 6 / 34; one has no other.
    assert expected == pytest.approx(34 * (1 - 6 / 34))
    folds = [
        fold
        for seed in range(97)
        for fold in make_folds(clips, split="paper", n_folds=5, stratify=False, split_seed=seed)
    ]
    subjects = clips["subject_id"].to_numpy()
    met = sum(np.isin(subjects[test], subjects[train]).sum() for train, test in folds) / 97
    assert met == pytest.approx(expected, abs=1)


# --- without lists ----------------------------------------------------------------------------------------


def test_without_lists_the_synthetic_benchmark_is_looked_at_and_said_so(synthetic, lists):
    assert list(synthetic) == [
        f"{ties}, {split}"
        for ties in ("labels not tied", "labels tied")
        for split in ("random folds over clips", "leave one subject out")
    ]
    assert {len(division.clips) for division in synthetic.values()} == {60}
    assert not any(division.printed for division in synthetic.values())
    said = audit.describe_source(start("audit", {"preset": "smoke"})).data
    assert "lists were not given" in said
    assert "synthetic benchmark" in said
    given = audit.describe_source(start("audit", {"preset": "smoke", "lists_root": "x"})).data
    assert "synthetic" not in given


def test_without_lists_a_dataset_of_ones_own_is_looked_at(tmp_path):
    rows = [f"s{i // 4},c{i},f,{10 * i + 1},{10 * i + 3},{10 * i + 7},happy,{i % 2}" for i in range(12)]
    header = "subject,clip,folder,onset,apex,offset,emotion,recording"
    (tmp_path / "clips.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "f").mkdir()
    for number in range(1, 120):
        (tmp_path / "f" / f"{number}.jpg").touch()
    study = start("audit", {"preset": "smoke", "dataset": "own", "data_root": str(tmp_path)})
    found = audit.divisions(study)
    assert list(found) == ["own, random folds over clips", "own, leave one subject out"]
    assert [len(division.folds) for division in found.values()] == [2, 3]
    assert "`own`" in audit.describe_source(study).data


def test_data_with_neither_recordings_nor_films_is_answered_too():
    rows = {"label": [0, 1, 0, 1], "onset": 1, "apex": 3, "offset": 7, "action_units": "", "dataset": "own"}
    keys = {f"{name}_id": [f"own/s{i}" for i in range(4)] for name in ("clip", "subject", "recording")}
    clips = pd.DataFrame(keys | rows)
    folds = make_folds(clips, split="loso", n_folds=0, stratify=False, split_seed=0)
    found = {"own": audit.Division(clips, folds, 2, {}, "", is_list=False)}
    said = audit.answer(found, audit.pixel_free_scores(found)).data
    assert said.startswith("- **Without any picture.** This data has neither of the keys named beforehand")
    film = {f"{metric}{end}": value for metric in ("uar", "uf1") for end, value in
            (("", 50.0), ("_low", 45.0), ("_high", 55.0), ("_paper", 40.0))}  # fmt: skip
    rows = [film, film | {"uar_paper": 47.0}, film | {"uar_paper": 60.0}]
    names = [f"protocol {number}" for number in range(3)]
    scores = pd.DataFrame(rows).assign(protocol=names, predictor="film")
    said = audit.answer(dict.fromkeys(names, found["own"]), scores).data.splitlines()
    assert said[0].endswith(
        "lies above the one printed for HSTA in 1 of 3 protocols, and contains it in 1.**"
    )
    uar = "UAR 50.0 % [45.0, 55.0], an interval below the printed 60.0"
    assert said[3].endswith(f"{uar}; UF1 50.0 % [45.0, 55.0], an interval above the printed 40.0.")


# --- without a picture ------------------------------------------------------------------------------------


def test_where_the_film_is_the_label_it_is_found_without_a_picture(scored):
    rows = scored.set_index(["protocol", "predictor"])
    film = rows.loc[("emotions, leave one subject out", "film")]
    assert film[["acc", "uar", "uf1"]].tolist() == [100, 100, 100]
    assert film[["uar_paper", "uf1_paper"]].tolist() == [35.8, 34.1]
    assert np.isnan(film["acc_paper"])
    assert rows.loc[("emotions, authors' folds", "recording"), "uar"] < 100 / 7 + 1  # none in training


def test_predictors_by_subject_are_left_out_where_subjects_are(scored):
    by_protocol = scored.groupby("protocol")["predictor"].agg(set)
    assert "subject" in by_protocol["emotions, authors' folds"]
    assert not by_protocol["emotions, leave one subject out"] & {"subject", "recording"}


def test_what_is_said_names_one_predictor_and_where_its_interval_lies(lists, scored):
    first, loso, *_, last = audit.conclude_pixel_free(lists, scored).data.splitlines()
    assert "`recording` alone" in first
    assert "an interval below the printed 38.6" in first
    assert "best of Table 4" in first
    assert re.search(
        r"`film` alone: UAR 100\.0 % \[[89]\d\.\d, 100\.0\], an interval above the printed 35\.8", loso
    )
    assert last.endswith("does not say what any network uses.")


def test_a_class_of_one_recording_is_warned_of(lists):
    division = lists["emotions, authors' folds"]
    assert list(audit._rarest("emotions", division)) == []
    clips = division.clips[(division.clips["label"] != 3) | (division.clips.index < 7)].reset_index(drop=True)
    folds = make_folds(clips, split="loso", n_folds=0, stratify=False, split_seed=0)
    (warning,) = audit._rarest("emotions", division._replace(clips=clips, folds=folds))
    assert "the rarest class has 1 test clip, all of one recording" in warning


def test_tied_labels_are_found_and_others_are_not():
    study = start("audit", {"preset": "quick"})
    scored = audit.pixel_free_scores(audit.divisions(study))
    film = scored[scored["predictor"] == "film"].set_index("protocol")
    tied, free = (film.loc[f"labels {name}, leave one subject out"] for name in ("tied", "not tied"))
    assert free["uar_low"] < 100 / 7 + 4
    assert tied["uar_low"] > free["uar_high"] + 10


def test_tables_can_be_shown(scored):
    html = audit.show_pixel_free(scored).to_html()
    assert "35.8" in html
    assert "HSTA as printed" in html


def test_only_named_predictors_on_the_authors_lists_are_recorded(clone, lists, scored, tmp_path, monkeypatch):
    monkeypatch.setattr(config, "records_dir", lambda: tmp_path)
    study = start("audit", {"preset": "smoke", "lists_root": str(clone)})
    assert audit.record(study, lists, scored) == f"numbers written to {tmp_path / audit.RECORD.name}"
    written = (tmp_path / audit.RECORD.name).read_text()
    rows = json.loads(written)["rows"]
    assert [(row["protocol"].endswith("subject out"), row["predictor"]) for row in rows] == [
        (False, "recording"), (True, "film"), (True, "film"), (False, "recording"), (False, "recording"),
    ]  # fmt: skip
    assert str(clone) not in written
    synthetic = start("audit", {"preset": "smoke"})
    assert audit.record(synthetic, lists, scored).startswith("nothing written")
