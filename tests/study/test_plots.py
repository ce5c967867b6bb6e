"""Figures of claims and of systems, by what is drawn in them."""

import numpy as np
import pandas as pd
import pytest

from hsta_lib.study import plots


def test_claims_are_drawn_by_what_decides_them_and_by_verdict():
    rows = [
        ("a", "table1", "rises", "paper", "supported", 3.0, np.nan, np.nan),
        ("a", "table1", "rises", "synthetic", "reverse seen on the synthetic benchmark", -2.0, -3.0, -1.0),
        ("b", "table2", "falls", "real:casme3", "supported", 4.0, 2.0, 6.0),
        ("b", "table2", "falls", "paper", "contradicted", -1.5, np.nan, np.nan),
        ("b", "table2", "falls", "real motion", "not seen in real motion", 0.5, -1.0, 2.0),
        ("c", "table3", "none", "paper", "undecided: nothing that is printed decides", *[np.nan] * 3),
    ]
    columns = ["id", "table", "says", "scope", "verdict", "estimate", "low", "high"]
    figure = plots.claims(pd.DataFrame(rows, columns=columns))
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.get_yticklabels()] == ["Table 1: rises", "Table 2: falls"]
    _, printed, supported, against, reverse, unseen, border = panel.lines
    assert border.get_ydata() == [0.5, 0.5]
    assert (printed.get_xdata().tolist(), printed.get_ydata().tolist()) == ([3], [0])
    marks = [line.get_xdata().tolist() for line in (supported, against, reverse, unseen)]
    assert marks == [[4], [-1.5], [-2], [0.5]]
    rings = [line.get_markerfacecolor() == "none" for line in (printed, supported, against, reverse)]
    assert rings == [True, False, True, False]
    colors = [line.get_color() for line in (printed, supported, against, reverse, unseen)]
    assert colors[0] == colors[1] != colors[2] == colors[3] != colors[4]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "supported by printed numbers", "supported, or pattern seen", "contradicted by printed numbers",
        "contradicted, or reverse seen", "neither, or undecided, in real motion",
    ]  # fmt: skip
    assert panel.get_xlabel().endswith("\nnot drawn, undecided: Table 3, none")


def test_scores_are_drawn_in_order_beside_what_they_cost():
    rows = [("HSTA", 3, 50.0, "fitted"), ("X", 3, 60.1, "fitted"), ("Y", 3, 40.2, "not fitted"),
            ("HSTA", 4, 30.0, "fitted"), ("X", 7, 20.0, "fitted"), ("HSTA", 7, 25.0, "fitted")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["system", "n_classes", "uar", "fit"])
    table = table.assign(uar_low=table["uar"] - 2, uar_high=table["uar"] + 3, chance=100 / table["n_classes"])
    costs = pd.DataFrame({"system": ["HSTA", "X", "Y"], "parameters": [9000, 0, 70], "seconds": [39, 40, 41]})
    figure = plots.scores_by_cost(table, costs, "n_classes")
    three, *of_three, seven, _, _ = figure.axes
    assert [panel.get_title(loc="left") for panel in (three, seven)] == ["3 classes", "7 classes"]
    assert [text.get_text() for text in three.get_yticklabels()] == ["X", "HSTA", "Y"]
    assert [text.get_text() for text in seven.get_yticklabels()] == ["HSTA", "X"]
    assert (three.lines[0].get_xdata()[0], seven.lines[0].get_xdata()[0]) == pytest.approx((100 / 3, 100 / 7))
    sizes, seconds = (panel.lines[0].get_xdata().tolist() for panel in of_three)
    assert sizes == pytest.approx([np.nan, 9000, 70], nan_ok=True)
    assert seconds == [40, 39, 41]
    assert not any(panel.lines[0].get_clip_on() for panel in of_three)  # a size of 0 lies on the axis
    (ring,) = [line for line in three.lines if line.get_label() == "baseline, not fitted"]
    assert (ring.get_xdata().tolist(), ring.get_markerfacecolor()) == ([40.2], "white")
    assert plots.scores_by_cost(table.drop(columns="fit"), costs, "n_classes").axes
