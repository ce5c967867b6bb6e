"""What benchmarks keep, and what a report reads of it."""

import importlib

import numpy as np
import pandas as pd
import psutil
import pytest

from hsta_lib import ROOT, config
from hsta_lib.reporting import plots, sentences


@pytest.fixture
def measure(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = importlib.import_module("measure")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results.csv")
    return module


def test_a_result_is_its_median_and_its_range(measure):
    row = measure.row("a ratio", [3, 1, 7])
    assert (row["median"], row["least"], row["largest"], row["unit"]) == (3, 1, 7, "times")


def test_only_a_script_s_own_rows_of_this_machine_are_replaced(measure, monkeypatch, capsys):
    measure.finish("/somewhere/a.py", [measure.row("first", [1]), measure.row("second", [2])], record=True)
    measure.finish("b.py", [measure.row("of b", [3])], record=True)
    measure.finish("b.py", [measure.row("not kept", [3])], record=False)
    measure.finish("a.py", [measure.row("third", [4, 5])], record=True)
    monkeypatch.setattr(measure, "machine", lambda: "another")
    measure.finish("a.py", [measure.row("elsewhere", [6])], record=True)
    kept = pd.read_csv(measure.RESULTS)
    assert sorted(kept["what"]) == ["elsewhere", "of b", "third"]
    assert kept["script"].tolist() == ["a.py", "a.py", "b.py"]
    assert "not kept: 3 times (3 to 3)" in capsys.readouterr().out


def test_peak_memory_is_no_less_than_what_is_held(measure):
    held = np.ones(10_000_000)
    assert measure.most_resident() >= 0.99 * psutil.Process().memory_info().rss > held.nbytes


def test_the_exponent_of_a_power_law(monkeypatch, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    values = [1, 2, 4, 8]
    rows = [
        {"size": size, "setting": "m", "value": value, "seconds": 0.3 * value**exponent, "machine": "here"}
        for size, exponent in (("quick", 0.5), ("full", 2))
        for value in values
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "benchmarks" / "growth.csv", index=False)
    monkeypatch.setattr(sentences, "SHIPPED", tmp_path)
    found = sentences.measured_growth().groupby("size")["exponent"].unique()
    assert found["quick"] == pytest.approx([0.5])
    assert found["full"] == pytest.approx([2])


def test_the_figure_names_every_line_with_its_exponent():
    rows = sentences.measured_growth()
    figure = plots.growth(rows)
    told = [text.get_text() for panel in figure.axes for text in panel.texts]
    assert len(told) == len(rows.drop_duplicates(["size", "setting"]))
    assert all(
        f"{row.size_}: {row.exponent:.2f}" in told
        for row in rows.rename(columns={"size": "size_"}).itertuples()
    )


def test_every_training_of_tables_5_and_6_gets_the_seconds_of_the_preset():
    measured = pd.read_csv(ROOT / "benchmarks" / "core_seconds.csv").set_index("system")
    chosen = config.load_preset("study")[1].datasets
    assert chosen.epochs == measured["epochs_wanted"].round().astype(int).to_dict()
    seconds = measured["first_stage"] + measured["seconds_per_epoch"] * pd.Series(chosen.epochs)
    assert seconds.between(0.8 * chosen.core_seconds, 1.2 * chosen.core_seconds).all()  # epochs are whole
