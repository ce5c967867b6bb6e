"""The printed tables as settings: every row, its scores in place, rows that are printed twice agree."""

import pandas as pd
import pytest

from hsta_lib.config import Settings
from hsta_lib.paper import ROW_NAMES, load_table, printed_cells, table_names
from hsta_lib.training.trials import settings_of


def printed_settings(name):
    """Settings of each row by its printed name, M, L_v, L_s and CSTA."""
    cells = printed_cells(name)
    models = [settings.model for settings in settings_of(Settings(), cells)]
    columns = [column for column in ROW_NAMES if column in cells]
    keys = cells[columns].itertuples(index=False, name=None) if columns else range(len(cells))
    return {key: (model.m, model.l_v, model.l_s, model.csta) for key, model in zip(keys, models, strict=True)}


def test_rows_of_table_1_are_one_branch_alone_without_csta():
    found = printed_settings("table1")
    layers = (0, 1, 2, 4, 6, 8, 10, 12)
    assert found == {
        **{("video", n): (1, n, 0, False) for n in layers},
        **{("special", n): (1, 0, n, False) for n in layers},
    }


def test_rows_of_table_2_have_one_module():
    assert printed_settings("table2") == {
        ("a1",): (1, 0, 0, False),
        ("a2",): (1, 0, 0, True),
        ("a3",): (1, 1, 0, False),
        ("a4",): (1, 0, 1, False),
        ("a5",): (1, 1, 1, False),
        ("a6",): (1, 1, 1, True),
    }


def test_rows_of_table_3_by_their_names():
    found = printed_settings("table3")
    assert list(found) == [(f"b{number}",) for number in range(1, 13)]
    assert found["b1",] == (1, 1, 1, True)
    assert found["b7",] == (3, 5, 1, True)  # printed with L_s in front
    assert found["b11",] == (3, 2, 3, True)
    assert {m for m, *_ in list(found.values())[2:]} == {3}


def test_rows_of_table_4_are_its_grid():
    modules = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
    found = list(printed_settings("table4").values())
    assert sorted(found) == sorted((m, *depth, True) for m in modules for depth in [(1, 1), (2, 1), (2, 2)])


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_cells_stand_in_printed_order(name):
    cells, table = printed_cells(name), load_table(name)
    pd.testing.assert_index_equal(cells.index, table.index)
    shared = [column for column in cells if column in table]
    pd.testing.assert_frame_equal(cells[shared], table[shared])
    assert not {"acc", "uar", "uf1"} & set(cells)


# The scores of a4 and of one special layer are printed 0.4 points apart in UAR.
@pytest.mark.parametrize(
    ("rows", "uar_apart"),
    [
        ({"table1": ("video", 1), "table2": ("a3",)}, 0),
        ({"table1": ("special", 1), "table2": ("a4",)}, 0.4),
        ({"table2": ("a6",), "table3": ("b1",), "table4": 0}, 0),
        ({"table1": ("video", 0), "table2": ("a1",)}, 0),
    ],
)
def test_rows_that_tables_share_have_one_setting(rows, uar_apart):
    assert len({printed_settings(name)[row] for name, row in rows.items()}) == 1
    scores = []
    for name, row in rows.items():
        place = list(printed_settings(name)).index(row)
        scores.append(load_table(name).iloc[place][["acc", "uar", "uf1"]].tolist())
    assert max(uar for _, uar, _ in scores) - min(uar for _, uar, _ in scores) == pytest.approx(uar_apart)
    assert len({(acc, uf1) for acc, _, uf1 in scores}) == 1


def test_a_table_that_is_not_printed_is_refused():
    assert "table4" in table_names()
    with pytest.raises(ValueError, match="no 'table9' with printed numbers; known: table1, table2"):
        printed_cells("table9")
