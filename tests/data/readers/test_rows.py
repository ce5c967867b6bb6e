"""What all readers share: index repair under each rule, checks, folder names, counts."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsta_lib.data.readers import rows as reading
from hsta_lib.data.readers.rows import compare_counts, is_folder_name, listing
from hsta_lib.data.table import COLUMNS


def row(clip_id, onset, apex, offset, **fields):
    """A reader's row of a clip."""
    subject = clip_id.rpartition("/")[0]
    usual = {
        **dict.fromkeys(COLUMNS, ""), "clip_id": clip_id, "subject_id": subject, "recording_id": subject,
        "folder": "there", "emotion": "disgust", "expression_type": "micro",
    }  # fmt: skip
    return {**usual, "onset": str(onset), "apex": str(apex), "offset": str(offset), **fields}


def read(rows, rule, dataset="casme3", **rest):
    return listing(rows, dataset, rule=rule, version="", expected={}, **rest)


def indices(listed):
    return listed.clips[["onset", "apex", "offset"]].astype(object).to_numpy().tolist()


KNOWN = row("casme3/spNO.149/d/112", 112, 83, 358)


def test_dropped_clips_are_those_with_a_known_error_even_if_they_could_be_used():
    # 214/c can be used as it is published, frames 5 to 3460; its offset is known to be wrong.
    rows = [row("casme3/spNO.214/c/5", 5, 5, 3460), row("casme3/spNO.1/a/7", 7, 8, 9)]
    assert indices(read(rows, "published")) == [[5, 5, 3460], [7, 8, 9]]
    assert indices(read(rows, "repaired")) == [[5, 5, 34], [7, 8, 9]]
    dropped = read(rows, "drop")
    assert indices(dropped) == [[7, 8, 9]]
    assert dropped.problems["problem"].tolist() == ["onset, apex, offset 5 5 3460: a known error"]
    assert dropped.problems["action"].tolist() == ["clip left out"]


@pytest.mark.parametrize(
    ("shipped", "taken"),
    [
        ((112, 83, 358), [112, 112, 358]),
        ((3647, 2668, 2694), [3647, 3647, 3647]),
        ((1812, 1824, 0), [1812, 1812, 1812]),
        ((10, 25, 21), [10, 15, 21]),
        ((10, 12, 21), [10, 12, 21]),
    ],
)
def test_the_authors_rules_in_their_order(shipped, taken):
    listed = read([row("casme3/spNO.9/z/1", *shipped)], "released")
    assert indices(listed) == [taken]
    assert len(listed.problems) == (list(shipped) != taken)


def test_a_copy_that_ships_other_numbers_is_not_touched():
    assert indices(read([row("casme3/spNO.149/d/112", 112, 167, 358)], "repaired")) == [[112, 167, 358]]
    assert indices(read([row("casme3/spNO.149/e/112", 112, 120, 358)], "repaired")) == [[112, 120, 358]]


def test_a_correction_of_two_numbers_needs_both_to_fit():
    assert indices(read([row("casme3/spNO.216/e/0", 0, 0, 25)], "repaired")) == [[1, 1, 25]]
    assert indices(read([row("casme3/spNO.216/e/0", 0, 17, 25)], "repaired")) == [[0, 17, 25]]


def test_corrections_may_ask_for_a_missing_number_or_for_the_offset():
    slash = row("casme2/sub04/EP12_01f", 261, "/", 321)
    assert indices(read([slash], "repaired", "casme2")) == [[261, 279, 321]]
    assert indices(read([slash], "published", "casme2")) == [[261, pd.NA, 321]]
    late = row("casme2/sub05/EP16_04f", 131, 171, 171)
    assert indices(read([late], "repaired", "casme2")) == [[131, 166, 171]]
    assert indices(read([{**late, "apex": "150"}], "repaired", "casme2")) == [[131, 150, 171]]


# Frame numbers as the sheets ship them, or invented where only the wrong one is known.
SHIPPED = {
    "spNO.149/d/112": (112, 83, 358), "spNO.216/d/3647": (3647, 2668, 2694),
    "spNO.40/e/1812": (1812, 1824, 0), "spNO.40/e/2327": (2327, 2363, 0),
    "spNO.216/e/0": (0, 0, 25), "spNO.214/c/5": (5, 5, 3460),
    "sub04/EP12_01f": (261, "/", 321), "sub05/EP09_05f": (69, 69, 140), "sub05/EP16_04f": (120, 190, 190),
    "sub12/EP09_06": (60, 110, 110), "sub20/EP16_01": (60, 120, 120), "sub07/EP06_01": (50, 60, 68),
    "032/032_3_1": (4896, 1930, 4970), "028/028_4_1": (1071, 1143, 1134),
}  # fmt: skip


def test_every_correction_gives_a_clip_that_can_be_used():
    table = pd.read_csv(reading._REPAIRS, dtype=str, comment="#")
    assert set(table["clip"]) == set(SHIPPED)
    assert not table.duplicated(["dataset", "clip", "column"]).any()
    for (dataset, clip), rows in table.groupby(["dataset", "clip"]):
        listed = read([row(f"{dataset}/{clip}", *SHIPPED[clip])], "repaired", dataset)
        (kept,) = indices(listed)
        assert kept == sorted(kept)
        for fix in rows.itertuples():
            assert listed.clips[fix.column].tolist() == [int(fix.repaired)]
            assert fix.source in listed.problems["action"][0]


def test_what_is_no_micro_expression_is_told_and_dropped_on_demand():
    rows = [row("casme3/a/1", 1, 20, 40), row("casme3/a/2", 2, 3, 4)]
    rule = {"micro_rule": lambda onset, apex, offset: offset - onset < 10}
    kept = read(rows, "repaired", **rule)
    assert len(kept.clips) == 2
    assert kept.problems["action"].tolist() == ["kept"]
    assert read(rows, "drop", **rule).clips["onset"].tolist() == [2]
    macro = [{**rows[0], "expression_type": "macro"}]
    assert read(macro, "drop", **rule).problems.empty


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="repair = 'guess' is unknown; choose one of repaired, published"):
        read([KNOWN], "guess")


numbers = st.integers(-3, 400)


@given(numbers, numbers, numbers, st.sampled_from(reading.RULES))
def test_under_every_rule_a_clip_kept_is_in_order(onset, apex, offset, rule):
    listed = read([row("casme3/x/1", onset, apex, offset)], rule)
    for first, middle, last in indices(listed):
        assert first <= middle <= last
    if onset <= apex <= offset:
        assert indices(listed) == [[onset, apex, offset]]
    elif rule == "released":
        assert len(listed.clips) == 1
    else:
        assert listed.clips.empty
    assert len(listed.clips) + (listed.problems["action"] == "clip left out").sum() == 1


def test_counts_stand_side_by_side():
    rows = [row("casme3/x/1", 1, 2, 3), row("casme3/x/2", 1, 2, 3, emotion="fear")]
    listed = listing(rows, "casme3", rule="published", version="v2", expected={"disgust": 3, "sad": 2})
    assert compare_counts(listed).to_numpy().tolist() == [
        ["disgust", 3, 1, -2], ["fear", 0, 1, 1], ["sad", 2, 0, -2],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "number"),
    [("12", 12), (" 12.0 ", 12), ("-3", -3), (7, 7)]
    + [(cell, None) for cell in ("12.5", "1_2", "#N/A", "nan", "", "1e3")],
)
def test_what_is_a_frame_number(cell, number):
    assert reading.frame_number(cell) == number


@pytest.mark.parametrize("name", ["spNO.1", "EP02_01f", "006_1_2", "a", "s1 (copy)"])
@pytest.mark.parametrize("bad", ["", "..", "../../etc", "a/b", "a\\b", ".hidden", "a..b", "/etc", "a\n"])
def test_what_climbs_out_is_no_name_of_a_folder(name, bad):
    assert is_folder_name(name)
    assert not is_folder_name(bad)
