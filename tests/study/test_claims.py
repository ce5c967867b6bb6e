"""The paper's claims: complete, tested as they say, decided by planted scores, never beyond their scope."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from hsta_lib import config
from hsta_lib.evaluation.metrics import METRICS, scores
from hsta_lib.paper import load_table, printed_cells
from hsta_lib.paper_check.findings import check_sentences
from hsta_lib.study import claims
from hsta_lib.study.claims import decide, decide_printed, gather, load_claims, power

CLAIMS = load_claims()
N_SUBJECTS, N_CLASSES, N_CLIPS = 7, 3, 23  # clips of each class and subject
TESTED = [claim for claim in CLAIMS if claim.test.kind != "paper_only"]
REAL = "real:casme3"


def rng():
    return np.random.default_rng(0)


def cells(name):
    """Rows a study has for a table of the paper."""
    if name == "figure3":
        return pd.DataFrame({"n_frames": [2, 4, 6, 8, 10]})
    return printed_cells(name) if name < "table5" else load_table(name)


def of_hits(hits, n_seeds=5, n_clips=N_CLIPS):
    """Matrices with as many hits in every class: all three scores are their share. Subjects differ."""
    matrices = np.zeros((len(hits), n_seeds, N_SUBJECTS, N_CLASSES, N_CLASSES))
    by_subject = np.asarray(hits)[:, None] + np.array([0, 1, 0, 2, 1, 0, 2])
    for c in range(N_CLASSES):
        matrices[..., c, c] = by_subject[:, None]
        matrices[..., c, (c + 1) % N_CLASSES] = n_clips - by_subject[:, None]
    return matrices


def planted(claim, table):
    """Hits of every cell that make the claim true, from 2 to 18."""
    rule, hits = claim.test, np.full(len(table), 9)
    named = claims._printed(claim.table) if claim.table != "figure3" else table
    rows = named.assign(place=range(len(named))).query(rule.rows)
    if not rule.order:
        hits[rows["place"]] = 14
        return hits
    ranks = rows[rule.order].rank(method="dense").to_numpy(int)
    if rule.kind == "falls":
        ranks = -ranks
    if rule.kind == "rises_then_falls":
        ranks = -np.abs(ranks - ranks[rows[rule.order] == rule.peak])
    hits[rows["place"]] = 10 + ranks - ranks.min() - (ranks.max() - ranks.min()) // 2
    return hits


def verdict_of(claim, hits, scope=REAL, **kwargs):
    verdicts = decide(claim.table, cells(claim.table), of_hits(hits, **kwargs), scope, rng())
    return verdicts.set_index("id").loc[claim.id]


# --- the file ---------------------------------------------------------------------------------------------


def test_every_table_and_the_figure_have_claims():
    assert {claim.table for claim in CLAIMS} == {f"table{n}" for n in range(1, 8)} | {"figure3"}
    assert 25 <= len(CLAIMS) <= 40


def test_ids_are_unique_and_say_something():
    assert len({claim.id for claim in CLAIMS}) == len({claim.says for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.test.rows], ids=lambda claim: claim.id)
def test_every_query_selects_rows_and_no_row_twice(claim):
    rows = claims._printed(claim.table) if claim.table != "figure3" else cells("figure3")
    chosen = rows.query(claim.test.rows)
    assert len(chosen)
    if claim.test.against:
        against = rows.query(claim.test.against)
        assert len(against)
        assert not set(chosen.index) & set(against.index)


def test_queries_select_what_the_claims_say():
    by_id = {claim.id: claim for claim in CLAIMS}
    table4 = claims._printed("table4")
    eight = table4.query(by_id["product-of-eight"].test.rows)
    assert eight[["m", "l_v", "l_s"]].to_numpy().tolist() == [[8, 1, 1], [4, 2, 1], [4, 2, 2]]
    assert len(table4.query(by_id["product-of-eight"].test.against)) == 27
    table7 = claims._printed("table7")
    assert table7.query(by_id["macro-gain"].test.rows)["uf1"].tolist() == [52.7]
    assert table7.query(by_id["macro-gain"].test.against)["uf1"].tolist() == [43.0]
    assert table7.query(by_id["both-gains"].test.against)["uf1"].tolist() == [35.1]


GOOD = {
    "id": "one",
    "where": "Table 2",
    "says": "a",
    "basis": "table",
    "table": "table2",
    "metrics": ["uf1"],
    "test": {"kind": "higher", "rows": "setting == 'a2'", "against": "setting == 'a1'"},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"basis": "rumour"}, "claim one: basis = 'rumour'"),
        ({"score": 1}, "claim one: score is unknown"),
        ({"metrics": []}, "claim one: metrics"),
        ({"margin": -1}, "claim one: margin = -1"),
        ({"id": "One two"}, "id = 'One two'"),
        ({"table": "table8"}, "claim one: table = 'table8' is none"),
        ({"table": "table5", "metrics": ["acc"]}, "claim one: table5 has no acc"),
        ({"test": GOOD["test"] | {"rows": "setting == 'a9'"}}, "'a9'.* selects no row of table2"),
        ({"test": GOOD["test"] | {"rows": "colour == 1"}}, "claim one: .*colour"),
        ({"test": GOOD["test"] | {"rows": "setting =="}}, "claim one: "),
        ({"test": GOOD["test"] | {"against": "setting > 'a1'"}}, "each once"),
        ({"test": {"kind": "higher", "rows": "m == 1"}}, "kind higher needs against"),
        ({"test": {"kind": "paper_only", "rows": "m == 1"}}, "need each other"),
        ({"test": {"kind": "rises", "rows": "m == 1"}}, "kind rises needs order"),
        ({"test": {"kind": "rises", "rows": "m == 1", "order": "colour"}}, "claim one: .*colour"),
        ({"test": {"kind": "rises_then_falls", "rows": "m == 1", "order": "l_v"}}, "needs peak"),
        (
            {"test": {"kind": "rises_then_falls", "rows": "l_s == 0", "order": "l_v", "peak": 1}},
            "peak 1 must be one of the rows, neither the first nor the last",
        ),
        ({"test": {"kind": "best", "rows": "l_v == 0", "against": "l_v == 1"}}, "one can be the best"),
        ({"test": {"kind": "largest"}}, "kind = 'largest'"),
    ],
)
def test_a_wrong_claim_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [GOOD], "changes": []}))
    assert [claim.id for claim in load_claims(path)] == ["one"]
    path.write_text(yaml.safe_dump({"claims": [GOOD | change], "changes": []}))
    with pytest.raises(ValueError, match=f"claims.yaml: .*{message}"):
        load_claims(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (yaml.safe_dump({"claims": [GOOD, GOOD], "changes": []}), "claim one: this id occurs twice"),
        (yaml.safe_dump({"claims": [3], "changes": []}), "claim 1: must hold names"),
        (yaml.safe_dump({"claims": []}), "claims and changes"),
        ("claims: [", "no YAML file"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"claims.yaml.*{message}"):
        load_claims(path)


# --- the printed numbers ----------------------------------------------------------------------------------


def test_verdicts_agree_with_the_checked_sentences():
    printed = decide_printed().set_index("says")
    for sentence, lines in check_sentences().groupby("claim"):
        verdict = "supported" if lines["holds"].all() else "contradicted"
        verdict = "undecided" if lines["holds"].nunique() == 2 else verdict
        row = printed.loc[sentence]
        assert row["verdict"] == verdict
        for line in lines.itertuples():
            assert (
                f"({'so it is' if line.holds else 'not so'})" in row["details"].split(line.score.upper())[1]
            )
        assert row["basis"] == "sentence"
        assert (
            not lines["innocent"].any()
            or verdict == "supported"
            or lines["innocent"].iloc[0] in row["details"]
        )


def test_printed_verdicts_by_hand():
    printed = decide_printed().set_index("id")
    assert printed.loc["best-on-smic", "verdict"] == "contradicted"  # Micro-BERT 85.5 and 83.8
    assert printed.loc["best-on-smic", "estimate"] == pytest.approx(78.0 - 83.8)
    assert printed.loc["best-on-casme2", "verdict"] == "supported"
    assert printed.loc["three-percent", ["score", "estimate"]].tolist() == ["uf1", pytest.approx(1.5)]
    assert printed.loc["chosen-setting-best", "details"].startswith("ACC -0.5 (not so); UAR -0.6 (not so)")
    assert printed.loc["chosen-setting-best", "verdict"] == "undecided"  # none has a higher UF1
    for name in ("one-96th", "six-frames"):
        assert printed.loc[name, "verdict"].startswith("undecided: ")
    assert printed["low"].isna().all()
    assert (printed["scope"] == "paper").all()


# --- planted scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", TESTED, ids=lambda claim: claim.id)
def test_a_planted_pattern_is_supported_and_its_reverse_contradicted(claim):
    hits = planted(claim, cells(claim.table))
    found = verdict_of(claim, hits)
    assert found["verdict"] == "supported"
    assert found["p_adjusted"] == pytest.approx(2 / 2**N_SUBJECTS)
    assert 0 < found["low"] <= found["estimate"]
    reverse = verdict_of(claim, 20 - hits)
    assert reverse["verdict"] == "contradicted"
    assert reverse["high"] < 0
    assert verdict_of(claim, np.full(len(hits), 9))["verdict"] == "undecided"


@pytest.mark.parametrize(
    "claim", {claim.test.kind: claim for claim in TESTED}.values(), ids=lambda c: c.test.kind
)
def test_the_synthetic_benchmark_has_words_of_its_own(claim):
    hits = planted(claim, cells(claim.table))
    words = [verdict_of(claim, h, scope="synthetic")["verdict"] for h in (hits, 20 - hits, 0 * hits + 9)]
    assert words == [
        f"{what} on the synthetic benchmark" for what in ("pattern seen", "reverse seen", "not seen")
    ]
    verdicts = decide(claim.table, cells(claim.table), of_hits(hits), "synthetic", rng())
    assert not verdicts["verdict"].str.contains("support|contradict").any()


def test_estimates_are_in_points_and_above_zero_as_claimed():
    by_id = {claim.id: claim for claim in CLAIMS}
    # Hits 14 against 9 of 23; subjects add the same to both.
    found = verdict_of(by_id["csta-alone"], planted(by_id["csta-alone"], cells("table2")))
    assert found["estimate"] == pytest.approx(100 * 5 / N_CLIPS)
    falling = by_id["more-special-at-3"]
    found = verdict_of(falling, planted(falling, cells("table3")))
    assert found["estimate"] == pytest.approx(100 / N_CLIPS)
    assert found["details"].startswith(f"ACC {100 / N_CLIPS:+.1f} [")


def test_a_hump_needs_both_slopes_and_one_reversed_contradicts():
    claim = next(claim for claim in CLAIMS if claim.id == "six-frames")
    assert verdict_of(claim, [5, 7, 9, 9, 9])["verdict"] == "undecided"
    assert verdict_of(claim, [5, 7, 9, 11, 13])["verdict"] == "contradicted"
    assert verdict_of(claim, [9, 9, 9, 7, 5])["verdict"] == "undecided"


def test_the_best_is_above_each_other_row():
    claim = next(claim for claim in CLAIMS if claim.id == "whole-module-best")
    assert verdict_of(claim, [3, 3, 3, 3, 9, 9])["verdict"] == "undecided"
    assert verdict_of(claim, [3, 3, 3, 3, 12, 9])["verdict"] == "contradicted"


def test_every_metric_must_agree():
    claim = next(claim for claim in CLAIMS if claim.id == "csta-alone")
    matrices = of_hits([9] * 6)
    # Class 0 has ten times the clips: it is read better, the others worse. ACC rises, UAR falls.
    matrices[..., 0, :] *= 10
    for c, change in ((0, 50), (1, -6), (2, -6)):
        matrices[1, ..., c, c] += change
        matrices[1, ..., c, (c + 1) % N_CLASSES] -= change
    acc, uar, _ = (scores(matrices[1].sum(axis=1)) - scores(matrices[0].sum(axis=1)))[0]
    assert acc > 0 > uar
    found = decide("table2", cells("table2"), matrices, REAL, rng()).set_index("id").loc[claim.id]
    assert found["verdict"] == "undecided"
    assert found["score"] in ("uar", "uf1")
    assert found["estimate"] < 0


def test_an_interval_must_lie_beyond_the_margin(tmp_path, monkeypatch):
    hits = planted(CLAIMS[6], cells("table2"))  # 5 of 23, 21.7 points
    for margin, verdict in ((21, "supported"), (22, "undecided")):
        path = tmp_path / "claims.yaml"
        path.write_text(yaml.safe_dump({"claims": [GOOD | {"margin": margin}], "changes": []}))
        monkeypatch.setattr(claims, "_claims", lambda path=path: load_claims(path))
        assert decide("table2", cells("table2"), of_hits(hits), REAL, rng())["verdict"].tolist() == [verdict]


def test_scattered_scores_decide_nothing():
    hits = rng().integers(5, 15, size=(6, N_SUBJECTS))
    matrices = of_hits(np.zeros(6))
    for c in range(N_CLASSES):
        matrices[..., c, c], matrices[..., c, (c + 1) % 3] = hits[:, None], N_CLIPS - hits[:, None]
    verdicts = decide("table2", cells("table2"), matrices, REAL, rng())
    assert set(verdicts["verdict"]) == {"undecided"}


# --- what decides nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [REAL, "synthetic", "code"])
def test_fewer_than_five_seeds_decide_nothing(scope):
    claim = next(claim for claim in CLAIMS if claim.id == "csta-alone")
    hits = planted(claim, cells("table2"))
    assert verdict_of(claim, hits, scope, n_seeds=4)["verdict"] == "undecided: 4 seeds"
    assert verdict_of(claim, hits, scope, n_seeds=1)["verdict"] == "undecided: 1 seed"


def test_rows_that_are_missing_test_nothing():
    table = cells("table3")
    kept = table["setting"] != "b5"
    whole = decide("table3", table, of_hits(np.arange(12)), REAL, rng()).set_index("id")["verdict"]
    part = decide("table3", table[kept], of_hits(np.arange(12)[kept]), REAL, rng()).set_index("id")["verdict"]
    gone = part == "not tested: rows missing"
    assert set(part.index[gone]) == {"more-video", "video-above-special", "more-special-at-3"}
    pd.testing.assert_series_equal(part[~gone], whole[~gone])


def test_rows_are_found_by_their_settings_in_any_order():
    table = cells("table3")[["l_v", "m", "l_s"]]
    order = rng().permutation(12)
    whole = decide("table3", table, of_hits(np.arange(12)), REAL, rng())
    mixed = decide("table3", table.iloc[order], of_hits(np.arange(12)[order]), REAL, rng())
    pd.testing.assert_frame_equal(whole, mixed)


def test_cells_of_another_network_are_not_the_papers():
    verdicts = decide("table3", cells("table3").assign(csta=False), of_hits(np.arange(12)), REAL, rng())
    assert set(verdicts["verdict"]) == {"not tested: rows missing"}


def test_a_table_without_the_settings_tests_nothing():
    for name in ("table3", "figure3", "table6"):
        verdicts = decide(name, pd.DataFrame({"d": [1, 2]}), of_hits([3, 4]), REAL, rng())
        assert verdicts["verdict"].str.startswith("not tested: ").all()


def test_rows_of_other_labels_are_families_of_their_own():
    table = cells("table7")
    matrices = of_hits([14, 9, 9, 9, 14])
    together = decide("table7", table, matrices, REAL, rng()).set_index("id")
    emotions = ~table["objective_classes"].to_numpy()
    matrices[emotions] = of_hits([14, 9], n_clips=29)
    apart = decide("table7", table, matrices, REAL, rng()).set_index("id")
    for name in ("flow-lowers", "macro-raises"):
        assert together.loc[name, "p_adjusted"] == pytest.approx(2 / 2**N_SUBJECTS)
        assert apart.loc[name, "p_adjusted"] == pytest.approx(4 / 2**N_SUBJECTS)
    assert apart.loc["objective-raises", "verdict"] == "not tested: decided on the printed numbers alone"


def test_rows_that_do_not_share_their_clips_are_not_compared():
    matrices = of_hits([14, 9] * 3)
    matrices[0] = of_hits([14], n_clips=29)[0]
    verdicts = decide("table2", cells("table2"), matrices, REAL, rng()).set_index("id")["verdict"]
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
        decide(*arguments, rng())


# --- power ------------------------------------------------------------------------------------------------


def test_power_does_not_know_the_result():
    hits = rng().integers(5, 15, size=6)
    here, there = (power("table2", cells("table2"), of_hits(h), rng()) for h in (hits, 20 - hits))
    np.testing.assert_allclose(here["acc"], there["acc"])
    verdicts = decide("table2", cells("table2"), of_hits(hits), REAL, rng()).set_index("id")
    csta = here.set_index("id").loc["csta-alone"]
    assert verdicts.loc["csta-alone", "detectable"] == csta[verdicts.loc["csta-alone", "score"]]
    assert here.set_index("id").loc["whole-module-best", "comparisons"] == 5


def test_power_of_claims_that_are_not_tested_is_not_given():
    needed = power("table7", cells("table7"), of_hits([14, 9, 9, 9, 14]), rng()).set_index("id")
    assert needed.loc["macro-gain", "reason"] == "not tested: decided on the printed numbers alone"
    assert np.isnan(needed.loc["macro-gain", "uf1"])
    assert needed.loc["macro-raises", "uf1"] > 0
    shown = claims.show_power(needed.reset_index()).to_html()
    assert "decided on the printed numbers alone" in shown
    assert "–" in shown


# --- all in one place -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    verdicts = decide("table2", cells("table2"), of_hits([3, 9, 9, 9, 9, 14]), "synthetic", rng())
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
    sentence = claims.without_report(verdicts).data
    assert "Table 2" not in sentence
    assert sentence == "No study report yet: Figure 3, Table 1, Table 3, Table 4, Table 5, Table 6, Table 7."


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
    assert all(f"`{claim.id}`" in text for claim in CLAIMS)
    assert "By the printed numbers alone" in text
    assert "neither supports nor contradicts the paper" in text
    synthetic = claims.conclude(verdicts[verdicts["scope"] == "synthetic"]).data
    assert "**pattern seen on the synthetic benchmark**" in synthetic
    assert "supported" not in synthetic
    assert "neither supports" not in claims.conclude(decide_printed()).data
    assert "No study" in claims.conclude(verdicts.head(0)).data


def test_verdicts_are_shown_with_what_decides_them(folder):
    page = claims.show(gather(folder)).to_html()
    assert "printed numbers" in page
    assert "synthetic" in page
    assert "no sentence is quoted for it" in page
    assert {metric.upper() for metric in METRICS} <= set(
        page.replace("<", " ").split()
    )  # headings of details
