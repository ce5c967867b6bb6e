"""Claims on data: decided by planted scores, as their words say, never beyond their scope."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hsta_lib import config
from hsta_lib.evaluation.metrics import METRICS, scores
from hsta_lib.paper import load_table, printed_cells
from hsta_lib.paper_check.claims import all_claims, printed_rows
from hsta_lib.study import claims
from hsta_lib.study.claims import decide, decide_printed, gather, power

CLAIMS = all_claims()
BY_ID = {claim.id: claim for claim in CLAIMS}
N_SUBJECTS, N_CLASSES, N_CLIPS = 7, 3, 23  # clips of each class and subject
TESTED = [claim for claim in CLAIMS if claim.test.kind not in ("gain", "not_printed")]
REAL = "real:casme3"


def rng():
    return np.random.default_rng(0)


def cells(name):
    """Rows a study has for a table of the paper."""
    if name == "figure3":
        return pd.DataFrame({"n_frames": [2, 4, 6, 8, 10], "fit": "fitted"})
    return (printed_cells(name) if name < "table5" else load_table(name)).assign(fit="fitted")


def of_hits(hits, n_seeds=5, n_clips=N_CLIPS):
    """Matrices with as many hits in every class: all three scores are their share. Subjects differ."""
    matrices = np.zeros((len(hits), n_seeds, N_SUBJECTS, N_CLASSES, N_CLASSES))
    by_subject = np.array([np.roll([0, 1, 0, 2, 1, 0, 2], seed) for seed in range(n_seeds)])
    by_subject = np.asarray(hits)[:, None, None] + by_subject
    for c in range(N_CLASSES):
        matrices[..., c, c] = by_subject
        matrices[..., c, (c + 1) % N_CLASSES] = n_clips - by_subject
    return matrices


def planted(claim, table):
    """Hits of every cell that make the claim true, from 2 to 18."""
    rule, hits = claim.test, np.full(len(table), 9)
    named = table if claim.table == "figure3" else printed_rows(claim.table)
    rows = named.assign(place=range(len(named))).query(rule.rows)
    if not rule.order:
        hits[rows["place"]] = 14
        return hits
    ranks = rows[rule.order].rank(method="dense").to_numpy(int)
    if rule.kind == "falls":
        ranks = -ranks
    if rule.kind == "peak":
        at = rows[rule.order] == (rule.at or rows[rule.order].iloc[len(rows) // 2])
        ranks = -np.abs(ranks - ranks[at])
    hits[rows["place"]] = 10 + ranks - ranks.min() - (ranks.max() - ranks.min()) // 2
    return hits


def verdict_of(claim, hits, scope=REAL, **kwargs):
    verdicts = decide(claim.table, cells(claim.table), of_hits(hits, **kwargs), scope)
    return verdicts.set_index("id").loc[claim.id]


# --- planted scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", TESTED, ids=lambda claim: claim.id)
def test_a_planted_pattern_is_supported_and_its_reverse_contradicted(claim):
    hits = planted(claim, cells(claim.table))
    found = verdict_of(claim, hits)
    assert found["verdict"] == "supported"
    assert found["p_adjusted"] < 1e-6  # subjects and seeds agree
    assert 0 < found["low"] <= found["estimate"]
    reverse = verdict_of(claim, 20 - hits)
    assert reverse["verdict"] == "contradicted"
    assert reverse["high"] < 0
    assert verdict_of(claim, np.full(len(hits), 9))["verdict"] == "undecided"


@pytest.mark.parametrize(
    "claim", {claim.test.kind: claim for claim in TESTED}.values(), ids=lambda c: c.test.kind
)
@pytest.mark.parametrize(
    ("scope", "where"), [("synthetic", "on the synthetic benchmark"), ("real motion", "in real motion")]
)
def test_where_the_video_is_none_of_real_faces_there_are_words_of_its_own(claim, scope, where):
    hits = planted(claim, cells(claim.table))
    words = [verdict_of(claim, h, scope=scope)["verdict"] for h in (hits, 20 - hits, 0 * hits + 9)]
    assert words == [f"{what} {where}" for what in ("pattern seen", "reverse seen", "not seen")]
    verdicts = decide(claim.table, cells(claim.table), of_hits(hits), scope)
    assert not verdicts["verdict"].str.contains("support|contradict").any()


def test_estimates_are_in_points_and_above_zero_as_claimed():
    # Hits 14 against 9 of 23; subjects add the same to both.
    found = verdict_of(BY_ID["csta-alone"], planted(BY_ID["csta-alone"], cells("table2")))
    assert found["estimate"] == pytest.approx(100 * 5 / N_CLIPS)
    falling = BY_ID["more-special-at-3"]
    found = verdict_of(falling, planted(falling, cells("table3")))
    assert found["estimate"] == pytest.approx(100 / N_CLIPS)
    assert found["details"].startswith(f"ACC {100 / N_CLIPS:+.1f} [")


@pytest.mark.parametrize(
    ("name", "hits", "verdict", "reason"),
    [
        # Figure 3, 2 to 10 frames: a peak at six is above both ends and not below four or eight.
        ("six-frames", [3, 6, 15, 10, 7], "supported", "6 frames over 10 frames"),
        ("six-frames", [3, 15, 15, 10, 7], "supported", "6 frames over 10 frames"),
        ("six-frames", [3, 15, 10, 6, 2], "contradicted", "6 frames over 4 frames"),  # peak at four
        ("six-frames", [3, 6, 9, 12, 15], "contradicted", "6 frames over 10 frames"),
        ("six-frames", [3, 6, 9, 9, 9], "undecided", "6 frames over 10 frames"),
        ("six-frames", [15, 15, 15, 7, 3], "undecided", "6 frames over 2 frames"),
        # Table 1, video 1, 2, 4, 6, 8 layers at places 1 to 5: no step back.
        ("usta-video-rises", [0, 3, 6, 6, 9, 12, *[9] * 10], "supported", "8 layers over 1 layer"),
        ("usta-video-rises", [0, 3, 12, 6, 13, 14, *[9] * 10], "contradicted", "4 layers over 2 layers"),
        ("usta-video-rises", [0, 9, 9, 9, 9, 9, *[9] * 10], "undecided", "8 layers over 1 layer"),
        # Table 1, special 1 to 8 layers: the last above the first, whatever lies between.
        ("usta-special-rises", [9] * 9 + [3, 12, 2, 9, 9, 9, 9], "supported", "%"),
        # Table 2: the best is above each other row; a tie is not.
        ("whole-module-best", [3, 3, 3, 3, 3, 9], "supported", "a6 over a"),
        ("whole-module-best", [3, 3, 3, 3, 9, 9], "undecided", "a6 over a5"),
        ("whole-module-best", [3, 3, 3, 3, 12, 9], "contradicted", "a6 over a5"),
        # Table 2: each of a3 and a4 above a2.
        ("csta-below-usta", [9, 3, 9, 9, 9, 9], "supported", "over a2"),
        ("csta-below-usta", [9, 9, 15, 9, 9, 9], "undecided", "a4 over a2"),
        ("csta-below-usta", [9, 9, 15, 3, 9, 9], "contradicted", "a4 over a2"),
        # Table 3: b4 with b8, b5 with b10, not b4 with b10; the mean of b2 and b3.
        ("video-above-special", [0, 0, 0, 6, 15, 0, 0, 3, 0, 9, 0, 0], "supported", "over b"),
        ("video-above-special", [0, 0, 0, 15, 6, 0, 0, 3, 0, 9, 0, 0], "contradicted", "b5 over b10"),
        ("several-above-one", [9, 15, 6, *[0] * 9], "supported", ""),
        ("several-above-one", [9, 12, 6, *[0] * 9], "undecided", ""),
        # Table 3, L_v = 1 to 5 at places 2 to 6: a peak anywhere between the ends.
        ("more-video", [0, 0, 3, 15, 9, 9, 6, *[0] * 5], "supported", "l_v=2 over l_v=5"),
        ("more-video", [0, 0, 3, 6, 9, 12, 15, *[0] * 5], "contradicted", "over l_v=5"),
        ("more-video", [0, 0, 9, 15, 9, 9, 15, *[0] * 5], "undecided", "l_v=2 over l_v=5"),
    ],
)
def test_a_lure_is_not_taken_for_the_pattern(name, hits, verdict, reason):
    found = verdict_of(BY_ID[name], hits)
    assert found["verdict"] == verdict
    assert reason.strip("%") in found["details"]


def test_near_eight_wins_only_if_the_best_of_all_is_near_eight():
    claim, table = BY_ID["product-of-eight"], cells("table4")
    far = table.eval("m == 12 and l_v == 1")
    near = table.eval("m == 8 and l_v == 1")
    for hits, verdict in (
        (np.where(near, 14, 9), "supported"),
        (np.where(far, 14, np.where(near, 9, 6)), "contradicted"),  # product twelve best by far
        (np.where(far | near, 14, 6), "undecided"),
    ):
        assert verdict_of(claim, hits)["verdict"] == verdict


def test_every_metric_must_agree():
    claim = BY_ID["csta-alone"]
    matrices = of_hits([9] * 6)
    # Class 0 has ten times the clips: it is read better, the others worse. ACC rises, UAR falls.
    matrices[..., 0, :] *= 10
    for c, change in ((0, 50), (1, -6), (2, -6)):
        matrices[1, ..., c, c] += change
        matrices[1, ..., c, (c + 1) % N_CLASSES] -= change
    acc, uar, _ = (scores(matrices[1].sum(axis=1)) - scores(matrices[0].sum(axis=1)))[0]
    assert acc > 0 > uar
    found = decide("table2", cells("table2"), matrices, REAL).set_index("id").loc[claim.id]
    assert found["verdict"] == "undecided"
    assert found["score"] in ("uar", "uf1")
    assert found["estimate"] < 0


def test_scattered_scores_decide_nothing():
    hits = rng().integers(5, 15, size=(6, N_SUBJECTS))
    matrices = of_hits(np.zeros(6))
    for c in range(N_CLASSES):
        matrices[..., c, c], matrices[..., c, (c + 1) % 3] = hits[:, None], N_CLIPS - hits[:, None]
    verdicts = decide("table2", cells("table2"), matrices, REAL)
    assert set(verdicts["verdict"]) == {"undecided"}


# --- what decides nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [REAL, "synthetic", "code"])
def test_fewer_than_five_seeds_decide_nothing(scope):
    claim = BY_ID["csta-alone"]
    hits = planted(claim, cells("table2"))
    assert verdict_of(claim, hits, scope, n_seeds=4)["verdict"] == "undecided: 4 seeds, a verdict needs 5"
    assert verdict_of(claim, hits, scope, n_seeds=1)["verdict"] == "undecided: 1 seed, a verdict needs 5"


def test_rows_that_are_missing_test_nothing():
    table = cells("table3")
    kept = table["setting"] != "b5"
    whole = decide("table3", table, of_hits(np.arange(12)), REAL).set_index("id")["verdict"]
    part = decide("table3", table[kept], of_hits(np.arange(12)[kept]), REAL).set_index("id")["verdict"]
    gone = part == "not tested: rows missing"
    assert set(part.index[gone]) == {"more-video", "video-above-special", "more-special-at-3"}
    pd.testing.assert_series_equal(part[~gone], whole[~gone])


def test_rows_are_found_by_their_settings_in_any_order():
    table = cells("table3")[["l_v", "m", "l_s"]]
    order = rng().permutation(12)
    whole = decide("table3", table, of_hits(np.arange(12)), REAL)
    mixed = decide("table3", table.iloc[order], of_hits(np.arange(12)[order]), REAL)
    pd.testing.assert_frame_equal(whole, mixed)


def test_cells_of_another_network_are_not_the_papers():
    verdicts = decide("table3", cells("table3").assign(csta=False), of_hits(np.arange(12)), REAL)
    assert set(verdicts["verdict"]) == {"not tested: rows missing"}


def test_a_table_without_the_settings_tests_nothing():
    for name in ("table3", "figure3", "table6"):
        verdicts = decide(name, pd.DataFrame({"d": [1, 2]}), of_hits([3, 4]), REAL)
        assert verdicts["verdict"].str.startswith("not tested: ").all()


def test_rows_of_other_labels_are_families_of_their_own():
    table = cells("table7")
    matrices = of_hits([14, 9, 9, 9, 14])
    together = decide("table7", table, matrices, REAL).set_index("id")
    emotions = ~table["objective_classes"].to_numpy()
    matrices[emotions] = of_hits([14, 9], n_clips=29)
    apart = decide("table7", table, matrices, REAL).set_index("id")
    for name in ("flow-lowers", "macro-raises"):
        assert 0 < together.loc[name, "p_adjusted"] < 1e-6
    assert (
        apart.loc["objective-raises", "verdict"]
        == "not tested: the rows are not of the same clips and labels"
    )
    assert apart.loc["both-gains", "verdict"] == "not tested: decided on the printed numbers alone"


def test_a_repeated_row_counts_once_and_one_with_other_counts_tests_nothing():
    table = cells("table2")
    hits = [3, 9, 9, 9, 9, 14]
    whole = decide("table2", table, of_hits(hits), REAL)
    again = pd.concat([table, table.tail(1)], ignore_index=True)  # a6 twice, as in a grid with another field
    pd.testing.assert_frame_equal(decide("table2", again, of_hits([*hits, 14]), REAL), whole)
    verdicts = decide("table2", again, of_hits([*hits, 3]), REAL).set_index("id")["verdict"]
    assert verdicts["csta-with-usta"] == "not tested: several rows have the same setting"
    assert verdicts["csta-alone"] == "supported"


@pytest.mark.parametrize(
    ("hits", "unfit", "verdict"),
    [
        ([3, 4, 4, 4, 9, 14], "a2", "not fitted"),
        ([3, 4, 4, 14, 4, 9], "a2", "contradicted"),  # by a4, whatever a2 would reach
        ([3, 14, 4, 4, 4, 9], "a2", "not fitted"),  # the only one above
        ([3, 4, 4, 14, 4, 9], "a6", "not fitted"),  # the one that the claim is about
    ],
)
def test_an_opponent_that_fitted_may_contradict_a_claim_about_others_that_did_not(hits, unfit, verdict):
    table = cells("table2")
    table["fit"] = np.where(table["setting"] == unfit, "not fitted", "fitted")
    found = decide("table2", table, of_hits(hits), REAL).set_index("id").loc["whole-module-best"]
    assert found["verdict"].partition(":")[0] == verdict
    assert pd.isna(found["estimate"]) == (verdict == "not fitted")


def test_of_a_baseline_the_last_epoch_counts():
    table = pd.DataFrame({"system": ["HSTA", "FeatRef", "FeatRef"], "n_classes": 3, "fit": "fitted"})
    table["train_on"] = ["own", "own", "own, best epoch on the test fold"]
    verdicts = decide("table6", table, of_hits([9, 3, 19]), REAL)
    assert "several rows have the same setting" not in set(verdicts["verdict"].str.partition(": ")[2])


def test_rows_without_counts_test_nothing_and_say_so():
    matrices = of_hits([3, 9, 9, 9, 9, 14])
    matrices[5, 2, 3, 0, 0] = np.nan
    verdicts = decide("table2", cells("table2"), matrices, REAL).set_index("id")["verdict"]
    assert verdicts["csta-with-usta"] == verdicts["whole-module-best"] == "not tested: rows without counts"
    assert verdicts["csta-alone"] == "supported"


@pytest.mark.parametrize(
    ("n_seeds", "verdict"), [(5, "supported"), (1, "undecided: 1 seed, a verdict needs 5")]
)
def test_claims_of_table_5_and_6_are_decided_on_rows_of_several_datasets(n_seeds, verdict):
    table5 = cells("table5").rename(columns={"method": "system"})
    hits = np.where(table5["system"] == "HSTA", 14, 9)
    on_smic = (table5["dataset"] == "SMIC").to_numpy()
    matrices = list(of_hits(hits, n_seeds))
    for row in np.flatnonzero(on_smic):  # of other clips
        matrices[row] = of_hits([hits[row]], n_seeds, n_clips=31)[0]
    found = decide("table5", table5, matrices, REAL).set_index("id")
    assert (found["verdict"] == verdict).all()
    assert found.loc["above-frl-dgt", "estimate"] == pytest.approx(100 * 5 / 31)
    table6 = cells("table6")
    matrices = list(of_hits(np.where(table6["method"] == "HSTA", 14, 9), n_seeds))
    for row, cell in enumerate(matrices[:4]):  # two classes
        matrices[row] = cell[..., :2, :2].copy()
        matrices[row][..., 1, 0] = cell[..., 1, 2]
    of_classes = decide("table6", table6, matrices, REAL).set_index("id")["verdict"]
    assert of_classes[["best-of-three-classes", "best-of-seven-classes"]].tolist() == [verdict] * 2
    assert of_classes["above-rgb-d"] == "not tested: decided on the printed numbers alone"


def test_table_5_is_decided_as_it_is_scored_by_the_rows_trained_on_the_union():
    printed = cells("table5").rename(columns={"method": "system"})
    table = pd.concat([printed.assign(train_on=kind) for kind in ("own", "composite")])
    order = table.sort_values(["dataset", "train_on"], kind="stable").reset_index(drop=True)
    hits = np.where((order["system"] == "HSTA") & (order["train_on"] == "composite"), 14, 9)
    by_dataset = dict(enumerate(np.split(of_hits(hits), 3)))
    found = decide("table5", order, by_dataset, REAL)
    assert set(found["verdict"]) == {"supported"}
    own = order.assign(train_on=order["train_on"].map({"own": "composite", "composite": "own"}))
    assert "supported" not in set(decide("table5", own, by_dataset, REAL)["verdict"])


def test_rows_that_do_not_share_their_clips_are_not_compared():
    matrices = of_hits([14, 9] * 3)
    matrices[0] = of_hits([14], n_clips=29)[0]
    verdicts = decide("table2", cells("table2"), matrices, REAL).set_index("id")["verdict"]
    assert verdicts["csta-alone"] == "not tested: the rows are not of the same clips and labels"
    assert not verdicts["csta-with-usta"].startswith("not tested")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table8", cells("table2"), of_hits([9] * 6), REAL), "no claim is about 'table8'"),
        (
            ("table2", cells("table2"), of_hits([9] * 5), REAL),
            "matrices of 5 cells, but the table has 6 rows",
        ),
        (("table2", cells("table2"), of_hits([9] * 6), "paper"), "scope = 'paper' must be"),
        (("table2", cells("table2"), of_hits([9] * 6), "real:"), "scope = 'real:' must be"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        decide(*arguments)


# --- power ------------------------------------------------------------------------------------------------


def clips_of(classes):
    """Eight clips of each class, each subject with one of each."""
    labels = np.arange(8 * len(classes)) % len(classes)
    tested = pd.DataFrame({"label": labels, "subject_id": np.arange(len(labels)) // len(classes)})
    return SimpleNamespace(tested=tested, classes=classes)


def designed(name, *datasets):
    return power(SimpleNamespace(name=name, seeds=range(5)), cells(name), *datasets).data


def test_power_is_told_by_the_design_alone():
    said = designed("table2", clips_of("abc"))
    assert "24 test clips of 8 subjects, 5 seeds; 6 claims, 11 comparisons, corrected together" in said


def test_power_of_claims_that_are_not_tested_is_not_given():
    said = designed("table7", clips_of("abc"))
    assert "Not tested: decided on the printed numbers alone: `both-gains`" in said
    apart = designed("table7", *[clips_of("abc" if row else "abcd") for row in range(5)])
    assert "not of the same clips and labels: `" in apart


# --- all in one place -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    verdicts = decide("table2", cells("table2"), of_hits([3, 9, 9, 9, 9, 14]), "synthetic")
    rows = json.loads(verdicts.to_json(orient="records"))  # NaN becomes null
    for preset in ("study", "quick"):
        content = {"report": "table2", "preset": preset, "claims": rows}
        (tmp_path / f"table2-{preset}-synthetic-subject.json").write_text(json.dumps(content))
    (tmp_path / "audit-lists.json").write_text('{"rows": []}')
    (tmp_path / "claims.json").write_text("[]")
    return tmp_path


def test_verdicts_are_gathered_from_the_printed_numbers_and_the_records(folder):
    verdicts = gather(folder)
    assert (verdicts["scope"] == "paper").sum() == len(CLAIMS)
    studies = verdicts[verdicts["scope"] != "paper"]
    assert set(studies["report"]) == {"table2-study-synthetic-subject"}
    assert studies["verdict"].tolist().count("pattern seen on the synthetic benchmark") >= 3


def test_what_a_verdict_on_data_lacks_is_said(folder):
    for name, n_seeds in (("table5", 1), ("table6", 5)):
        content = {"report": name, "preset": "study", "claims": [], "seeds": list(range(n_seeds))}
        (folder / f"{name}-study-synthetic.json").write_text(json.dumps(content))
    sentence = claims.without_report(gather(folder), folder).data
    assert "Table 2" not in sentence
    assert sentence == (
        "No verdict on data yet: Figure 3 (no report), Table 1 (no report), Table 3 (no report), "
        "Table 4 (no report), Table 5 (its report has 1 seed, a verdict needs 5), "
        "Table 6 (its report decides none), Table 7 (no report)."
    )


def test_a_verdict_by_an_earlier_test_is_out_of_date_and_a_withdrawn_claim_has_none(folder):
    path = folder / "table2-study-synthetic-subject.json"
    content = json.loads(path.read_text())
    before = gather(folder).set_index(["id", "scope"])
    for row in content["claims"]:
        row["test"] = "an earlier one" if row["id"] == "csta-alone" else row["test"]
    content["claims"].append(content["claims"][0] | {"id": "best-on-smic"})
    path.write_text(json.dumps(content))
    after = gather(folder).set_index(["id", "scope"])
    late = after.loc[("csta-alone", "synthetic")]
    assert late["verdict"] == "out of date: by an earlier test, the report must be made again"
    assert np.isnan(late["estimate"])
    assert late["details"] == ""
    kept = [key for key in before.index if key != ("csta-alone", "synthetic")]
    pd.testing.assert_frame_equal(after.loc[kept], before.loc[kept])
    assert len(after) == len(before)


def test_the_record_is_what_the_web_page_reads(folder, monkeypatch):
    monkeypatch.setattr(config, "records_dir", lambda: folder)
    verdicts = gather(folder)
    assert claims.record(verdicts) == str(folder / "claims.json")
    rows = json.loads((folder / "claims.json").read_text())
    assert len(rows) == len(verdicts)
    assert {"id", "where", "says", "scope", "verdict", "table"} <= set(rows[0])
    assert gather(folder).equals(verdicts)  # it is no record of a study


def test_a_record_that_does_not_fit_the_claims_is_refused(folder):
    path = folder / "table2-study-synthetic-subject.json"
    content = json.loads(path.read_text())
    for change, message in (
        ({"id": "gone"}, "claim gone is not in claims.yaml"),
        ({"scope": None}, "lack scope"),
    ):
        rows = [
            {k: v for k, v in (row | change).items() if v is not None or k != "scope"}
            for row in content["claims"]
        ]
        path.write_text(json.dumps(content | {"claims": rows}))
        with pytest.raises(ValueError, match=f"{path.name}.*{message}"):
            gather(folder)


def test_conclusions_name_every_claim_and_their_scope(folder):
    verdicts = gather(folder)
    text = claims.conclude(verdicts).data
    assert all(claim.says in text for claim in CLAIMS)
    assert "By the printed numbers alone" in text
    assert "neither supports nor contradicts the paper" in text
    synthetic = claims.conclude(verdicts[verdicts["scope"] == "synthetic"]).data
    assert "**pattern seen on the synthetic benchmark**" in synthetic
    assert "supported" not in synthetic
    printed = claims.conclude(decide_printed()).data
    assert "neither supports" not in printed
    assert "*contradicted*: none." in printed
    assert "No study" in claims.conclude(verdicts.head(0)).data


def test_an_answer_explains_its_brackets_only_where_there_are_some():
    told = claims.answer(decide("table2", cells("table2"), of_hits([3, 9, 9, 9, 9, 14]), "real motion")).data
    assert "In brackets" in told
    assert "points [" in told
    untested = decide("table2", cells("table2")[:1], of_hits([3]), "real motion")
    assert claims.answer(untested).data.startswith("- **Of 6 claims: 6 not tested.**\n- **Not tested**, 6 ")
    assert "In brackets" not in claims.answer(untested).data


def test_verdicts_are_counted_by_scope():
    rows = [("paper", "supported"), ("paper", "undecided: a tie"), ("paper", "supported"), ("synthetic", "x")]
    text = claims.count(pd.DataFrame(rows, columns=["scope", "verdict"])).data
    assert text.splitlines() == [
        "- **By the printed numbers alone**, 3 claims: 2 supported, 1 undecided.",
        "- **On the synthetic benchmark**, 1 claim: 1 x.",
    ]


def test_claims_by_our_own_reading_are_counted_apart_and_one_is_one():
    verdicts = decide_printed().set_index("id", drop=False)
    text = claims.conclude(verdicts.loc[["csta-alone", "flow-lowers", "six-frames"]]).data
    assert text.splitlines()[:5] == [
        "- By the printed numbers alone, 2 claims by our own reading:",
        f"  - **supported** (1): {verdicts.loc['csta-alone', 'says']}.",
        f"  - **undecided** (1): {verdicts.loc['six-frames', 'says']}.",
        "- By the printed numbers alone, 1 claim that is quoted:",
        f"  - **undecided** (1): {verdicts.loc['flow-lowers', 'says']}.",
    ]


def test_a_caption_says_what_a_star_means_only_if_there_is_one():
    verdicts = decide_printed().set_index("id", drop=False)
    both, quoted = (claims.show(verdicts.loc[names]).to_html() for names in
                    (["csta-alone", "flow-lowers"], ["flow-lowers"]))  # fmt: skip
    assert both.count("*</td>") == 1
    assert "* our own reading" in both
    assert "“optical flow leads to a decrease”" in quoted
    assert "*" not in quoted


def test_verdicts_are_shown_with_what_decides_them(folder):
    page = claims.show(gather(folder)).to_html()
    assert "printed numbers" in page
    assert "synthetic" in page
    assert "no sentence of the paper is quoted for it" in page
    assert {metric.upper() for metric in METRICS} <= set(
        page.replace("<", " ").split()
    )  # headings of details


# --- networks that did not fit ----------------------------------------------------------------------------


def test_a_claim_about_rows_that_did_not_fit_is_not_fitted_and_names_them():
    table = cells("table4")
    hits = of_hits(np.full(len(table), 9))
    unfit = (table["m"] == 12) & (table["l_s"] == 2)
    table.loc[unfit, "fit"] = "not fitted"
    verdicts = decide("table4", table, hits, REAL).set_index("id")["verdict"]
    assert set(verdicts) == {"not fitted: m = 12, l_v = 2, l_s = 2, csta = True"}
    exempt = decide("table4", table.assign(fit="reads no pixels"), hits, REAL)
    assert set(exempt["verdict"]) == {"undecided"}


def test_a_pattern_above_networks_that_read_no_pixels_alone_is_told_so():
    table = cells("table2")
    table.loc[table["setting"] == "a1", "fit"] = "reads no pixels"
    verdicts = decide("table2", table, of_hits([4, 12, 14, 14, 9, 16]), "synthetic")
    verdicts = verdicts.set_index("id")["verdict"]
    above = "pattern seen (only above networks that read no pixels) on the synthetic benchmark"
    assert verdicts["csta-alone"] == above
    assert verdicts["csta-with-usta"] == "pattern seen on the synthetic benchmark"
    assert verdicts.tolist().count(above) == 1


def test_rows_that_have_names_are_told_by_them():
    table = cells("table7").assign(row=["frames", "tracks", "objective", "macro and tracks", "macro"])
    table.loc[1, "fit"] = "not fitted"
    verdicts = decide("table7", table, of_hits([9, 9, 9, 9, 9]), REAL).set_index("id")["verdict"]
    assert verdicts["flow-lowers"] == "not fitted: tracks"


@pytest.mark.parametrize("unknown", [{"fit": ""}, {"fit": np.nan}, {}])
def test_a_claim_about_rows_whose_fit_was_not_stored_is_not_tested(unknown):
    table = cells("table2").drop(columns="fit").assign(**unknown)
    verdicts = decide("table2", table, of_hits([3, 9, 9, 9, 9, 14]), REAL)
    assert set(verdicts["verdict"]) == {"not tested: how the rows fit was not stored"}


def test_scores_stand_in_lines_of_their_own_and_what_is_in_a_claims_favour_stays_whole():
    shown = claims.show(claims.decide_printed()).to_html()
    assert "true of UAR; the sentence names no score." in shown
    assert "<br>In its favour: " in shown
    assert re.search(r"UAR [^<]*<br>UF1 ", shown)
