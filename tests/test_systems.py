"""Tables 5 and 6: published rows with their impossible pairs, and ours beside them."""

from types import SimpleNamespace

import pandas as pd
import pytest

from hsta_lib import plots, systems
from hsta_lib.paper import load_table
from hsta_lib.study import start

pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.fixture(scope="module")
def printed():
    return systems.published("table5")


def ours(by, values, train_on="own", uf1=47.0):
    """Our rows, with scores of one kind."""
    table = pd.DataFrame({"system": "HSTA", by: values, "train_on": train_on})
    for number, metric in enumerate(("acc", "uar", "uf1")):
        for end, shift in {"": 0, "_low": -5, "_high": 5, "_skipped": 1, "_zero": -1}.items():
            table[f"{metric}{end}"] = uf1 - 3 * (2 - number) + shift
    return table


def test_impossible_pairs_are_marked_with_what_the_uar_allows(printed):
    assert len(printed) == len(load_table("table5"))
    wrong = printed[printed["possible"].eq(False)].set_index(["method", "dataset"])["reason"]
    assert set(wrong.index) == {("LBP-TOP", "SMIC"), ("MMNet", "CASME II"), ("HSTA", "SMIC")}
    assert "this UAR allows UF1 71.5 to 80.8" in wrong["HSTA", "SMIC"]
    assert (printed.loc[printed["possible"].eq(True), "reason"] == "").all()


def test_table_6_has_no_impossible_pair():
    table = systems.published("table6")
    assert table["n_classes"].tolist() == load_table("table6")["n_classes"].tolist()
    assert not table["possible"].eq(False).any()


def test_other_tables_print_no_pairs():
    with pytest.raises(ValueError, match="'table4' prints no pairs of UF1 and UAR; choose one of table5"):
        systems.published("table4")


def test_ours_stand_beside_their_own_system_and_dataset_alone(printed):
    table = pd.concat([ours("dataset", ["SMIC", "all three"]), ours("dataset", ["SAMM"], "composite", 71.0)])
    rows = systems.beside_published(printed, table, "dataset").set_index(["system", "dataset"]).sort_index()
    assert len(rows) == len(printed) + 1
    assert rows.loc[("HSTA", "SMIC"), "uf1_own"] == 47
    assert rows.loc[("HSTA", "SAMM"), "uf1_composite"] == 71
    assert rows.loc[("HSTA", "SAMM"), "uar_composite_low"] == 71 - 3 - 5
    assert rows.loc[("HSTA", "all three"), ["uf1", "uf1_own"]].isna().tolist() == [True, False]
    assert rows.drop("HSTA")[["uf1_own", "uf1_composite"]].isna().all(axis=None)


def test_the_shown_table_says_what_is_impossible_and_what_cannot_be_compared(printed):
    study = start("table5", {"preset": "smoke", "variant": "megc2019"})
    text = systems.show_published(
        printed, ours("dataset", ["SMIC"]), "dataset", systems.comparable(study)
    ).to_html()
    assert text.count("impossible: pooled, this UAR allows") == 3
    assert "not comparable with the published scores" in text
    assert "47.0 [42.0, 52.0]" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "synthetic faces"),
        ({"dataset": "casme3", "data_root": "/x"}, "the published scores are of leave-one-subject-out"),
        ({"dataset": "casme3", "data_root": "/x", "split": "loso"}, ""),
    ],
)
def test_what_keeps_scores_from_being_compared_is_said(given, words):
    study = start("table6", {"preset": "smoke", "split": "", **given})
    assert words in systems.comparable(study)
    assert bool(systems.comparable(study)) == bool(words)


def test_the_summary_keeps_the_printed_scores_of_the_same_row(printed):
    summary = systems.summarise(ours("dataset", ["SMIC", "all three"]), printed, "dataset")
    assert summary.loc["HSTA, SMIC, trained on own", ["uf1_paper", "uar_paper"]].tolist() == [84.7, 78.0]
    assert pd.isna(summary.loc["HSTA, all three, trained on own", "uf1_paper"])


@pytest.mark.parametrize(("low", "score", "is_above"), [(40, 50, True), (30, 50, False), (40, 40, False)])
def test_only_an_interval_above_guessing_is_called_above(low, score, is_above):
    study = start("table6", {"preset": "smoke"})
    table = ours("n_classes", [3]).assign(uar=score, uar_low=low)
    text = systems.conclude(study, table, [3], "n_classes").data
    assert ("not shown to be above guessing" in text) != is_above
    assert "neither supports nor contradicts the paper" in text


def test_each_label_set_is_scored_over_its_own_classes():
    rows = pd.DataFrame({"clip_id": list("abcd"), "subject_id": ["s", "s", "t", "t"], "fold": 0, "seed": 0})
    predictions = [rows.assign(y_true=[0, 1, 0, 1], y_pred=y_pred) for y_pred in ([0, 1, 0, 1], [0, 0, 0, 0])]
    datasets = [SimpleNamespace(classes=("a", "b", "c")), SimpleNamespace(classes=("a", "b", "c", "d"))]
    table = systems.score_label_sets(systems.label_sets().head(2), predictions, datasets)
    assert table["uar"].tolist() == pytest.approx([200 / 3, 25])
    assert table["uar_skipped"].tolist() == pytest.approx([100, 50])
    assert table["n_classes"].tolist() == [3, 4]
    assert table["train_on"].unique().tolist() == ["own"]


def test_table_6_has_three_label_sets_and_no_more_clips_than_the_preset_allows():
    assert systems.label_sets()["labels"].tolist() == ["emotion3", "emotion4", "emotion7"]
    study = systems.reduced(start("table6", {"preset": "quick", "split": ""}))
    assert study.preset.synthetic.n_micro == 200
    assert systems.reduced(start("table6", {"preset": "full"})).preset.synthetic.n_micro == 860


def test_the_figure_shows_every_published_score_and_ours(printed):
    table = pd.concat([ours("dataset", ["SMIC", "SAMM"]), ours("dataset", ["SMIC"], "composite", 71.0)])
    figure = plots.published_scores(printed, table, "dataset", "ours **not** comparable")
    assert figure.get_suptitle() == "ours not comparable"
    panel = figure.axes[0]
    shown = {line.get_label(): line.get_xdata() for line in panel.lines if len(line.get_xdata()) > 0}
    published = [n for name, xs in shown.items() if "published" in name or "impossible" in name for n in xs]
    assert sorted(published) == sorted(printed["uf1"])
    assert list(shown["ours, trained on composite, 95 % interval"]) == [71]
    assert panel.get_xlabel() == "UF1, %"
