"""Tables 5 and 6: published rows with their impossible pairs, and ours beside them."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.paper import load_extra, load_systems, load_table
from hsta_lib.study import plots
from hsta_lib.study import published as systems
from hsta_lib.study.study import start

pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.fixture(scope="module")
def printed():
    return systems.published("table5")


@pytest.fixture(scope="module")
def with_extra():
    return systems.published("table5", also=["OFF-ApexNet", "CausalNet", "HSTA"])


def ours(by, values, train_on="own", uf1=47.0, system="HSTA"):
    """Our rows, with scores of one kind."""
    table = pd.DataFrame({"system": system, by: values, "train_on": train_on, "chance": 33.3})
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
    table = systems.published("table6", also=["OFF-ApexNet"])  # of whom there are no scores on these data
    assert table["n_classes"].tolist() == load_table("table6")["n_classes"].tolist()
    assert not table["possible"].eq(False).any()


def test_other_tables_print_no_pairs():
    with pytest.raises(ValueError, match="'table4' prints no pairs of UF1 and UAR; choose one of table5"):
        systems.published("table4")


def test_scores_published_elsewhere_follow_with_their_source(printed, with_extra):
    assert with_extra.head(len(printed)).equals(printed)
    assert (printed["source"] == "").all()
    extra = with_extra.iloc[len(printed) :].set_index(["method", "dataset"])
    assert extra["uf1"].tolist() == load_extra()["uf1"].tolist()
    assert extra["source"].str.contains("article on|README of").all()
    assert extra["possible"].eq(True).all()


def test_ours_of_an_extra_system_stand_beside_its_scores_from_elsewhere(with_extra):
    table = ours("dataset", ["SMIC", "SAMM"], "composite", system="OFF-ApexNet")
    text = systems.show_published(with_extra, table, "dataset", "").to_html()
    (row,) = [row for row in text.split("<tr>") if "OFF-ApexNet" in row and ">SAMM<" in row]
    assert "47.0 [42.0, 52.0]" in row
    assert "54.1" in row
    assert "possible, from elsewhere" in row
    told = systems.notes(with_extra, "dataset").data
    assert "- OFF-ApexNet, SAMM: not in the paper, from Liong et al. (2019)" in told
    summary = systems.summarise(table, with_extra, "dataset")
    assert summary.loc["OFF-ApexNet, SMIC, trained on composite", "uf1_paper"] == 68.17


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
    assert text.count(">impossible<") == 3
    assert systems.notes(printed, "dataset").data.count("impossible: pooled, this UAR allows") == 3
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
def test_only_an_interval_above_chance_is_called_above(low, score, is_above):
    table = ours("n_classes", [3]).assign(uar=score, uar_low=low)
    text = systems.conclude(table, "n_classes").data
    above, _, below = text.partition("Not shown to be:")
    assert ("HSTA" in above) == is_above
    assert ("HSTA" in below) != is_above


def test_a_row_with_the_shortcut_is_not_concluded_from():
    table = ours("n_classes", [3], "own" + systems.SHORTCUT, uf1=90.0, system="HTNet")
    text = systems.conclude(table, "n_classes").data
    assert "HTNet" not in text


def predicted(*y_pred, y_true=(0, 1, 0, 1)):
    rows = pd.DataFrame({"clip_id": list("abcd"), "subject_id": ["s", "s", "t", "t"], "fold": 0, "seed": 0})
    return rows.assign(y_true=y_true, y_pred=y_pred)


@pytest.fixture
def two_sets():
    """HSTA on three and four classes, another system on four: right, always the first, always wrong."""
    cells = pd.DataFrame(
        {"system": ["HSTA", "HSTA", "HTNet"], "labels": ["emotion3", "emotion4", "emotion4"]}
    )
    parts = [predicted(0, 1, 0, 1), predicted(0, 0, 0, 0), predicted(1, 0, 1, 0)]
    empty = {"emotion7": predicted(6, 6, 6, 6)}
    cells = pd.concat([cells, pd.DataFrame({"system": ["HSTA"], "labels": list(empty)})], ignore_index=True)
    return cells.assign(train_on="own"), [*parts, *empty.values()]


def test_each_label_set_is_scored_over_its_own_classes(two_sets):
    table, matrices = systems.score_label_sets(*two_sets)
    assert table["n_classes"].tolist() == [3, 4, 4, 7]
    assert table["system"].tolist() == ["HSTA", "HSTA", "HTNet", "HSTA"]
    assert table["uar"].tolist() == pytest.approx([200 / 3, 25, 0, 0])
    assert table["uar_skipped"].tolist() == pytest.approx([100, 50, 0, 0])
    assert table["chance"].tolist() == pytest.approx([100 / 3, 25, 25, 100 / 7])
    assert {n: found.shape for n, found in matrices.items()} == {
        3: (1, 1, 2, 3, 3),
        4: (2, 1, 2, 4, 4),
        7: (1, 1, 2, 7, 7),
    }


def test_systems_are_compared_with_hsta_where_both_have_the_classes(two_sets):
    table, matrices = systems.score_label_sets(*two_sets)
    against = systems.against_hsta_by_labels(table, matrices)
    assert against["row"].tolist() == ["4 classes, HTNet"]
    assert against["uar"].iloc[0] == pytest.approx(-25)
    shown = systems.against_hsta(table[table["n_classes"] == 4].reset_index(drop=True), matrices[4], "own")
    assert shown["row"].tolist() == ["HTNet"]


def baselines_of(names, kept, by="labels", values="emotion3"):
    cells = pd.DataFrame({"system": names, by: values})
    return SimpleNamespace(cells=cells, kept=np.array(kept, int))


def test_rows_of_systems_follow_those_of_hsta_and_shortcuts_come_last():
    table = systems.joined(systems.label_sets().head(1), baselines_of(["STSTNet", "HTNet"], [1]))
    assert table.to_numpy().tolist() == [
        ["HSTA", "emotion3", "own"],
        ["STSTNet", "emotion3", "own"],
        ["HTNet", "emotion3", "own"],
        ["HTNet", "emotion3", "own, best epoch on the test fold"],
    ]
    cells = pd.DataFrame({"system": "HSTA", "train_on": ["own", "composite"], "m": 4})
    table = systems.joined(
        cells, SimpleNamespace(cells=pd.DataFrame({"system": ["HTNet"]}), kept=np.array([0]))
    )
    assert table["train_on"].tolist() == ["own", "composite", "composite", "composite" + systems.SHORTCUT]
    assert table.columns.tolist() == ["system", "train_on"]


def study_of(name, **given):
    return start(name, {"preset": "quick", "split": "", **given})


def test_those_that_the_paper_prints_are_compared_unless_others_are_named():
    assert systems.compared(study_of("table5"))["system"].tolist() == [
        *("LBP-TOP", "Bi-WOOF", "CapsuleNet", "MMNet", "Dual-Incep", "Dual-ATME", "STSTNet", "MERSiamC3D"),
        *("FRL-DGT", "Micro-BERT"),
    ]
    printed = systems.compared(study_of("table6"))
    assert printed.groupby("labels")["system"].apply(list).to_dict() == {
        "emotion3": ["FeatRef", "HTNet", "Micro-BERT"],
        "emotion7": ["RGB", "RGB-D", "Micro-BERT"],
    }
    assert systems.compared(study_of("table5", baselines=["OFF-ApexNet"]))["system"].tolist() == [
        "OFF-ApexNet"
    ]
    named = systems.compared(study_of("table6", baselines=["OFF-ApexNet"]))
    assert named["labels"].tolist() == ["emotion3", "emotion4", "emotion7"]


def test_costs_tell_what_each_system_is():
    costs = pd.DataFrame(
        {"system": ["HSTA", "HTNet", "HTNet", "mine"], "parameters": 1234567, "mflop": 2.34, "seconds": 5.67}
    )
    text = systems.show_costs(costs, "reduced").to_html()
    assert text.count(">HTNet<") == 1
    assert "reduced, with windows that mix" in text
    assert "as published" not in text
    assert "fixed windows instead of detected landmarks" in text
    assert ">this study<" in text
    assert ">not described<" in text
    assert "1,234,567" in text
    assert "nan" not in text


def test_a_shortcut_that_is_not_known_is_said_and_one_that_is_not_described_is_not(printed):
    rows = [ours("dataset", ["SMIC"], "composite", system=name) for name in ("STSTNet", "MMNet", "mine")]
    rows.append(ours("dataset", ["SMIC"], "composite" + systems.SHORTCUT, 61.0, system="MMNet"))
    text = systems.show_published(printed, pd.concat(rows), "dataset", "").to_html()
    of = {name: [row for row in text.split("<tr>") if f">{name}<" in row and ">SMIC<" in row] for name in
          ("STSTNet", "MMNet", "mine")}  # fmt: skip
    assert [len(found) for found in of.values()] == [1, 1, 1]
    assert "none known" in of["STSTNet"][0]
    assert "61.0 [56.0, 66.0]" in of["MMNet"][0]
    assert "none known" not in of["MMNet"][0] + of["mine"][0]


def test_systems_that_are_left_out_are_told_with_the_reason():
    left = pd.DataFrame({"system": ["RGB-D"], "reason": ["no depth"]})
    assert systems.describe_left_out(SimpleNamespace(left_out=left)).data == "- RGB-D is not run: no depth."
    assert "what each of" in systems.describe_left_out(SimpleNamespace(left_out=left.head(0))).data


def test_each_system_is_said_to_be_in_the_module_it_is_in():
    told = load_systems().set_index("system")["module"]
    for name, forms in SYSTEMS.items():
        build = forms["published"].build
        build = build.func if isinstance(build, partial) else build
        assert build.__module__ == f"hsta_lib.models.baselines.{told[name]}", name


def test_table_6_has_three_label_sets_and_no_more_clips_than_the_preset_allows():
    assert systems.label_sets()["labels"].tolist() == ["emotion3", "emotion4", "emotion7"]
    study = systems.reduced(start("table6", {"preset": "quick", "split": ""}))
    assert study.preset.synthetic.n_micro == 300
    assert systems.reduced(start("table6", {"preset": "full"})).preset.synthetic.n_micro == 860


def test_the_figure_shows_every_published_score_and_ours(printed):
    table = pd.concat([ours("dataset", ["SMIC", "SAMM"]), ours("dataset", ["SMIC"], "composite", 71.0)])
    figure = plots.published_scores(printed, table, "dataset", "ours not comparable")
    assert figure.get_suptitle() == "ours not comparable"
    panels = figure.axes[: printed["dataset"].nunique()]
    lines = [(line.get_label(), x) for panel in panels for line in panel.lines for x in line.get_xdata()]
    published = [x for name, x in lines if "published" in name or "impossible" in name]
    assert sorted(published) == sorted(printed["uf1"])
    assert [x for name, x in lines if name == "ours, trained on composite, 95 % interval"] == [71]
    assert {panel.get_xlabel() for panel in panels} == {"UF1, %"}
    rings = [line for panel in panels for line in panel.lines if "published" in line.get_label()]
    assert not any(line.get_clip_on() for line in rings)  # of the first row they lie at the edge
