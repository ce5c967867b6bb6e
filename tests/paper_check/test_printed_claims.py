"""The file of claims, and each kind of test on crafted tables: what fits, and what looks like it."""

import numpy as np
import pandas as pd
import pytest
import yaml

from hsta_lib.paper import load_systems, load_table
from hsta_lib.paper_check import claims
from hsta_lib.paper_check.claims import READING, decide_printed, load_changes, load_claims

CLAIMS = load_claims()
BY_ID = {claim.id: claim for claim in CLAIMS}


# --- the file ---------------------------------------------------------------------------------------------


def test_every_table_and_the_figure_have_claims():
    assert {claim.table for claim in CLAIMS} == {f"table{n}" for n in range(1, 8)} | {"figure3"}
    assert 25 <= len(CLAIMS) <= 40


def test_ids_are_unique_and_say_something():
    assert len(BY_ID) == len({claim.says for claim in CLAIMS}) == len(CLAIMS)


def test_a_claim_quotes_a_section_in_few_words_or_is_our_reading():
    quoted = [claim for claim in CLAIMS if claim.quote]
    assert quoted
    assert all(claim.is_stated and 1 <= len(claim.quote.split()) <= 15 for claim in quoted)
    assert {claim.basis for claim in CLAIMS if not claim.quote} == {READING}


def test_every_edit_has_a_date_and_a_reason_and_names_claims():
    withdrawn = {name for edit in load_changes() if edit.change == "withdrawn" for name in edit.claims}
    edited = {name for edit in load_changes() for name in edit.claims} - withdrawn
    assert edited <= set(BY_ID)
    assert not withdrawn & set(BY_ID)
    assert {"best-on-smic", "macro-gain", "macro-raises-with-flow", "chosen-setting-best"} <= withdrawn
    dates = [edit.date for edit in load_changes()]
    assert dates == sorted(dates)


def test_a_claim_whose_printed_numbers_do_not_fit_has_an_innocent_explanation():
    rows = decide_printed()
    unfit = rows[(rows["verdict"] != "supported") & (rows["score"] != "")]
    assert len(unfit) > 5
    assert unfit["details"].str.contains(" In its favour: .+[.]$").all()


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.test.rows], ids=lambda claim: claim.id)
def test_every_query_selects_rows_and_no_row_twice(claim):
    rows = (
        pd.DataFrame({"n_frames": [2, 6, 8]})
        if claim.table == "figure3"
        else claims.printed_rows(claim.table)
    )
    chosen = rows.query(claim.test.rows)
    assert len(chosen)
    if claim.test.against:
        against = rows.query(claim.test.against)
        assert len(against)
        assert not set(chosen.index) & set(against.index)


def test_every_product_near_eight_counts_with_l_as_the_paper_defines_it():
    near = load_table("table4").query(BY_ID["product-of-eight"].test.rows)
    assert sorted(map(tuple, near[["m", "l_v", "l_s"]].to_numpy().tolist())) == [
        (4, 2, 1), (4, 2, 2), (7, 1, 1), (7, 2, 1), (8, 1, 1), (8, 2, 1),
    ]  # fmt: skip
    assert len(load_table("table4").query(BY_ID["product-of-eight"].test.against)) == 24


def test_queries_select_what_the_claims_say():
    table7 = claims.printed_rows("table7")
    assert table7.query(BY_ID["both-gains"].test.against)["uf1"].tolist() == [35.1]
    assert table7.query(BY_ID["macro-raises"].test.against)["uf1"].tolist() == [43.0]
    sees = load_systems().set_index("system")["sees"]
    of_group = {name: load_table("table5").query(BY_ID[name].test.against)["method"] for name in BY_ID
                if BY_ID[name].table == "table5"}  # fmt: skip
    assert sees[of_group["above-flow"].unique()].str.startswith("flow").all()
    assert set(sees[of_group["above-special-frames"].unique()]) == {"apex", "onset and apex"}


GOOD = {
    "id": "one",
    "where": "4.2, Table 2",
    "says": "a",
    "table": "table2",
    "metrics": ["uf1"],
    "test": {"kind": "above", "rows": "setting == 'a2'", "against": "setting == 'a1'"},
}
CHANGE = {"date": "2026-11-29", "claims": ["one"], "change": "added", "reason": "b"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quote": "word " * 16}, "claim one: quote = .*16 words; quote 15 at most"),
        ({"quote": "so it is", "where": "Table 2"}, "where = 'Table 2' must begin with the section"),
        ({"score": 1}, "claim one: score is unknown"),
        ({"metrics": []}, "claim one: metrics"),
        ({"id": "One two"}, "id = 'One two'"),
        ({"table": "table8"}, "claim one: table = 'table8' is none"),
        ({"table": "table5", "metrics": ["acc"]}, "claim one: table5 has no acc"),
        ({"test": GOOD["test"] | {"rows": "setting == 'a9'"}}, "'a9'.* selects no row of table2"),
        ({"test": GOOD["test"] | {"rows": "colour == 1"}}, "claim one: .*colour"),
        ({"test": GOOD["test"] | {"rows": "setting =="}}, "claim one: "),
        ({"test": GOOD["test"] | {"against": "setting > 'a1'"}}, "cannot be compared with itself"),
        ({"test": GOOD["test"] | {"within": "setting"}}, "none to be compared with"),
        ({"test": {"kind": "above", "rows": "m == 1"}}, "kind above needs against"),
        ({"test": GOOD["test"] | {"kind": "gain"}}, "kind gain needs size"),
        ({"test": {"kind": "rises", "rows": "m == 1"}}, "kind rises needs order"),
        ({"test": {"kind": "rises", "rows": "m == 1", "order": "colour"}}, "claim one: .*colour"),
        ({"test": {"kind": "rises", "rows": "setting == 'a1'", "order": "l_v"}}, "a trend needs two"),
        (
            {"test": {"kind": "peak", "rows": "l_s == 0", "order": "l_v", "at": 1}},
            "a peak must be one of the rows, neither the first nor the last",
        ),
        ({"test": {"kind": "peak", "rows": "l_s == 0 and not csta", "order": "l_v"}}, "a peak must be one"),
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
    ("read", "claims", "changes", "message"),
    [
        (load_claims, [GOOD, GOOD], [], "claim one: this id occurs twice"),
        (load_claims, [3], [], "claim 1: must hold names"),
        (load_claims, [GOOD], None, "claims and changes"),
        (load_changes, [GOOD], [CHANGE | {"reason": ""}], "change 1: .*reason"),
        (load_changes, [GOOD], [CHANGE | {"date": "soon"}], "change 1: .*date = 'soon'"),
        (load_changes, [GOOD], [CHANGE | {"change": "gone"}], "change 1: .*change = 'gone'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, read, claims, changes, message):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [GOOD], "changes": [CHANGE]}))
    assert load_changes(path)[0].reason == "b"
    path.write_text(yaml.safe_dump({"claims": claims} | ({} if changes is None else {"changes": changes})))
    with pytest.raises(ValueError, match=f"claims.yaml: .*{message}"):
        read(path)
    path.write_text("claims: [")
    with pytest.raises(ValueError, match=r"claims\.yaml is no YAML file"):
        read(path)


def test_the_digest_is_of_the_test_alone():
    claim = BY_ID["six-frames"]
    assert claim.digest == claim.model_copy(update={"says": "reworded", "innocent": "so"}).digest
    others = [{"metrics": ["uf1"]}, {"test": claim.test.model_copy(update={"at": 4})}, {"table": "table1"}]
    assert len({claim.digest, *(claim.model_copy(update=other).digest for other in others)}) == 4


# --- the printed numbers: crafted ones ---------------------------------------------------------------------

FIRST_FOUR = {"rows": "place < 4", "order": "n"}
ONE_AGAINST = {"rows": "place == 3", "against": "place < 3"}
ABOVE, MEAN = {"kind": "above", **ONE_AGAINST}, {"kind": "mean_above", **ONE_AGAINST}
BEST = {"kind": "best", "rows": "place > 1", "against": "place < 2"}
RISES, PEAK = {"kind": "rises", **FIRST_FOUR}, {"kind": "peak", **FIRST_FOUR}
RISES_ON, FALLS_ON = RISES | {"continuous": True}, RISES | {"kind": "falls", "continuous": True}
PEAK_AT_2 = PEAK | {"at": 2}
GAIN = {"kind": "gain", "rows": "place == 1", "against": "place == 0", "size": 3}


@pytest.mark.parametrize(
    ("test", "scores", "verdict", "reason"),
    [
        # Each of the rows above each of the others, without a tie.
        (ABOVE, [1, 2, 3, 4], "supported", "+1.0 (so it is: 4 over 3)"),
        (ABOVE, [1, 4, 2, 4], "contradicted", "+0.0 (a tie, not so: 4 over 2)"),
        (ABOVE, [0, 0, 5, 4], "contradicted", "-1.0 (not so: 4 over 3)"),
        (ABOVE, [0, 0, np.nan, 4], "undecided: a score is missing", "+nan (not so: 4 over 3)"),
        (MEAN, [0, 0, 5, 4], "supported", "+2.3 (so it is)"),
        (MEAN, [3, 4, 5, 4], "contradicted", "+0.0 (a tie, not so)"),
        # One of the rows above all others.
        (BEST, [1, 2, 3, 0], "supported", "+1.0 (so"),
        (BEST, [1, 3, 3, 0], "contradicted", "+0.0 (a tie, not"),
        (BEST, [5, 1, 4, 4], "contradicted", "-1.0 (not"),
        # The last above the first, and where it is said no step back.
        (RISES, [1, 3, 2, 4], "supported", "+3.0 (so it is)"),
        (RISES, [1, 3, 2, 1], "contradicted", "+0.0 (a tie, not so)"),
        (RISES_ON, [1, 2, 2, 4], "supported", "n=3 over n=0"),
        (RISES_ON, [1, 3, 2, 4], "contradicted", "-1.0 (not so: n="),
        (RISES_ON, [2, 2, 2, 2], "contradicted", "+0.0 (a tie, not so: n="),
        (FALLS_ON, [4, 2, 2, 1], "supported", "n=0 over n=3"),
        (FALLS_ON, [4, 1, 2, 1], "contradicted", "n=1 over n=2"),
        # Above both ends and not below any other.
        (PEAK_AT_2, [1, 2, 3, 2], "supported", "+1.0 (so it is: n=2 over n=3"),
        (PEAK_AT_2, [1, 3, 3, 2], "supported", "+1.0 (so it is: n=2 over n=3"),
        (PEAK_AT_2, [1, 4, 3, 2], "contradicted", "-1.0 (not so: n=2 over n=1"),
        (PEAK_AT_2, [1, 2, 3, 3], "contradicted", "+0.0 (a tie, not so: n=2 over n=3"),
        (PEAK, [1, 4, 3, 2], "supported", "+2.0 (so it is: n=1 over n=3"),
        (PEAK, [4, 1, 3, 2], "contradicted", "-1.0 (not so: n=2 over n=0"),
        # The size, to half a point.
        (GAIN, [1, 4.4], "supported", "+3.4"),
        (GAIN, [1, 4.6], "contradicted", "+3.6"),
        (GAIN, [4, 1], "contradicted", "-3.0"),
    ],
)  # fmt: skip
def test_a_kind_tests_what_its_words_say(monkeypatch, test, scores, verdict, reason):
    crafted = pd.DataFrame({"method": [str(n + 1) for n in range(len(scores))], "uf1": scores})
    crafted["place"] = crafted["n"] = range(len(crafted))
    claim = claims.Claim(**GOOD | {"test": test})
    monkeypatch.setattr(claims, "printed_rows", lambda name: crafted)
    monkeypatch.setattr(claims, "all_claims", lambda: [claim])
    (row,) = decide_printed().to_dict("records")
    assert row["verdict"] == verdict
    assert reason in row["details"]


def test_within_compares_only_rows_that_have_the_value_in_common():
    rows = pd.DataFrame({"method": ["a", "b"] * 2, "dataset": [1, 1, 2, 2], "place": range(4)})
    rule = claims.Rule(kind="above", rows="method == 'b'", against="method == 'a'", within="dataset")
    (parts,) = claims.alternatives(rule, rows)
    assert [(part.comparison.first, part.comparison.second) for part in parts] == [((0,), (1,)), ((2,), (3,))]


# --- the printed numbers: those of the paper ---------------------------------------------------------------


def test_printed_verdicts_by_hand():
    printed = decide_printed().set_index("id")
    # ACC peaks at ten layers (40.9), UF1 and UAR at eight; of all thirty cells the best ACC has product ten,
    # four share the best UF1, two of them with M = 12 or 7.
    assert printed.loc["usta-special-peak", "verdict"] == "undecided"
    assert printed.loc["usta-special-peak", "details"].startswith(
        "ACC -1.4 (not so: 8 layers over 10 layers)"
    )
    eight = printed.loc["product-of-eight"]
    assert eight["verdict"] == "undecided"
    assert eight["details"].startswith(
        "ACC -0.3 (not so: m=8 l_v=1 l_s=1 over m=5 l_v=2 l_s=2); UAR +0.1 (so"
    )
    assert "UF1 +0.0 (a tie, not so: m=8 l_v=1 l_s=1 over m=12 l_v=1 l_s=1)" in eight["details"]
    assert printed.loc["best-on-casme2", "verdict"] == "supported"
    assert printed.loc["best-on-samm", "estimate"] == pytest.approx(83.9 - 84.8)  # UAR, against Micro-BERT
    assert printed.loc["three-percent", ["score", "estimate"]].tolist() == ["uf1", pytest.approx(1.5)]
    # b2 has 40.8, 34.1, 32.2; b3 41.3, 34.9, 31.3; b1 40.2, 33.9, 31.6.
    assert printed.loc["several-above-one", "details"] == (
        "ACC +0.8 (so it is); UAR +0.6 (so it is); UF1 +0.1 (so it is)"
    )
    for name in ("one-96th", "six-frames"):
        assert printed.loc[name, "verdict"].startswith("undecided: ")
    assert printed["low"].isna().all()
    assert (printed["scope"] == "paper").all()


def test_what_section_4_3_says_of_table_5_holds_in_every_printed_cell():
    printed = decide_printed().set_index("id")
    added = [name for name in printed.index if name.startswith("above-") and name != "above-rgb-d"]
    assert len(added) == 5
    assert (printed.loc[added, "verdict"] == "supported").all()
    # FRL-DGT on CASME II, 91.9 and 90.3, comes nearest: 92.5 and 92.2; in UAR on SAMM 75.8, on SMIC 74.9.
    assert printed.loc["above-frl-dgt", "details"].startswith(
        "UAR +1.9 (so it is: HSTA over FRL-DGT); UF1 +0.6"
    )
