"""Campaigns of misfortunes, short: nothing is lost, whatever happens to a run; see benchmarks/chaos.py."""

import importlib
import os
import sys

import pytest
from tiny import write_script

from hsta_lib import ROOT

WHERE = 'where = {"scheduler": sys.argv[1]} if sys.argv[1:] else {"workers": 1}'
PLACES = {"data": "config.data_dir()", "results": "config.results_dir()"}


@pytest.fixture
def chaos(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("chaos")


# The three of the first: a full disk of data, a killed worker, a disk of results that becomes read-only.
@pytest.mark.parametrize(("events", "seed"), [(3, 29), pytest.param(20, 0, marks=pytest.mark.slow)])
def test_whatever_happens_to_a_run_nothing_is_lost(chaos, tmp_path, events, seed):
    script = write_script(tmp_path, "tiny_trials(epochs=60)", "**where", before=WHERE, **PLACES)
    commands = {"run": [sys.executable, str(script)]}
    if events > 3:
        commands["run on a scheduler"] = [*commands["run"], str(tmp_path / "scheduler.json")]
    place = chaos.Place(tmp_path, commands, {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *sys.path)))})
    try:
        lines = chaos.campaign(place, range(events), tmp_path / "chaos.csv", seed)
    finally:
        place.close()
    assert [line["event"] for line in lines] == list(range(events))
    assert [line for line in lines if line["fault"]] == []
    assert sum(line["whom"] != "" for line in lines) >= events / 2  # the others came too late


def test_a_fault_is_found(chaos, tmp_path):
    # A command whose fourth run, after three undisturbed ones, stores or says something else.
    (tmp_path / "run.py").write_text(
        "import json, os, pathlib, sys\n"
        "folder, odd = pathlib.Path(os.environ['HSTA_RESULTS']), sys.argv[1]\n"
        "count = pathlib.Path(sys.argv[2]) / f'{odd}.txt'\n"
        "n = len(count.read_text()) if count.exists() else 0\n"
        "count.open('a').write('x')\n"  # a kill takes nothing from it
        "record = {'predictions': [n if odd == 'prediction' and n > 2 else 0], 'losses': []}\n"
        "(folder / 'a.json').write_text(json.dumps(record))\n"
        "said = ['always', n if odd == 'cell' and n > 2 else 0, n]\n"
        "cells = [{'id': f'c{i}', 'outputs': [{'text': str(one)}]} for i, one in enumerate(said)]\n"
        "report = folder.parent / 'reports' / 'a.ipynb'\n"
        "report.write_text(json.dumps({'cells': cells}))\n"
    )
    for odd, fault in (("prediction", "predictions differ"), ("cell", "differ: a.ipynb cell c1"), ("", "")):
        command = [sys.executable, str(tmp_path / "run.py"), odd, str(tmp_path)]
        place, record = chaos.Place(tmp_path / odd, {"a": command}), tmp_path / f"{odd}.csv"
        try:
            (line,) = chaos.campaign(place, [0], record)
            again = chaos.campaign(place, [0], record)
        finally:
            place.close()
        assert line["fault"] == again[0]["fault"] == fault
