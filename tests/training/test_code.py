"""A stored result is used for the code that made it: what counts as other code, and what a user is told."""

import importlib
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tiny import tiny_dataset, tiny_settings, tiny_trials

from hsta_lib import ROOT
from hsta_lib.models.baselines import lbp_top, mmnet, registry
from hsta_lib.models.hsta import HSTA
from hsta_lib.study import start
from hsta_lib.training import archive, batches, recipe, run, store
from hsta_lib.training.code import differing, digests
from hsta_lib.training.trials import Trial

HSTA_TRIAL = tiny_trials()[0]


def of_baseline(name):
    return Trial(tiny_settings(baseline=name, form="reduced", loss="own"), 0, 0, "tiny")


def halved(self, video, special, _forward=HSTA.forward):
    """Another network: scores are halved."""
    return _forward(self, video, special) / 2


# Changes of a copy of the library's files: old text to new; and the modules that are then other code.
COPIES = {
    "nothing that is computed": (
        {
            "training/fit.py": {
                '"""Train one trial and predict its test fold: the only place that trains."""': '"""New."""',
                '    """Forward and backward pass of a batch and one step of the optimiser;': '    """New;',
                "    optimizer.zero_grad()\n": "    # A comment.\n\n    optimizer.zero_grad( )\n",
            },
            "models/hsta.py": {"from hsta_lib.config import Model": "\nfrom hsta_lib.config import Model"},
            "models/baselines/mmnet.py": {"import torch\n": "import torch\n\nUNUSED = 1\n"},
            "training/cluster.py": {"CONNECT_SECONDS = 5": "CONNECT_SECONDS = 6"},
            "files.py": {"import os": "import os\n\nNEW = 1"},
        },
        [],
    ),
    "arithmetic": (
        {"training/fit.py": {"losses.append(float(total) / steps)": "losses.append(float(total))"}},
        ["training.fit"],
    ),
    "constants": (
        {
            "training/batches.py": {"PIXEL_STD = (0.229, 0.224, 0.225)": "PIXEL_STD = (0.225, 0.224, 0.229)"},
            "training/recipe.py": {"_MOMENTUM = 0.9": "_MOMENTUM = 0.8"},
        },
        ["training.batches", "training.recipe"],
    ),
}  # fmt: skip


@contextmanager
def imported_anew(folder):
    """Within it the library is that of another folder."""
    ours = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "hsta_lib"}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "hsta_lib"]:
            del sys.modules[name]
        sys.modules.update(ours)


@pytest.mark.parametrize("name", COPIES)
def test_a_changed_file_is_other_code_where_what_it_computes_changes(tmp_path, name):
    changes, modules = COPIES[name]
    shutil.copytree(ROOT / "hsta_lib", tmp_path / "hsta_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for file, replaced in changes.items():
        text = (tmp_path / "hsta_lib" / file).read_text()
        for old, new in replaced.items():
            assert text.count(old) == 1, f"{file} has no longer: {old}"
            text = text.replace(old, new)
        (tmp_path / "hsta_lib" / file).write_text(text)
    with imported_anew(tmp_path):
        code = importlib.import_module("hsta_lib.training.code")
        assert tmp_path / "hsta_lib" == code.PACKAGE
        found = code.digests(HSTA_TRIAL)
    assert differing(found, digests(HSTA_TRIAL)) == modules


def test_a_file_that_is_but_renamed_is_no_other_code():
    assert (
        differing({"models.old": "1a", "training.fit": "2b"}, {"models.new": "1a", "training.fit": "2b"})
        == []
    )
    assert differing({"models.hsta": "1a"}, {"models.hsta": "3c"}) == ["models.hsta"]
    of_now = {"models.a": "1a", "models.a arrays": "2b"}
    assert differing({"models.a": "1a"}, of_now) == []  # from before arrays were followed
    assert differing(of_now | {"models.a arrays": "3c"}, of_now) == ["models.a"]


@pytest.mark.parametrize(
    ("owner", "name", "value", "changed"),
    [
        (HSTA, "forward", halved, ["HSTA"]),
        (mmnet.MMNet, "forward", halved, ["MMNet"]),
        (batches, "PIXEL_STD", (0.229, 0.225, 0.224), ["HSTA"]),
        (lbp_top, "_UNIFORM", lbp_top._UNIFORM[::-1].copy(), ["LBP-TOP"]),
        (recipe, "_MOMENTUM", 0.8, ["HSTA", "LBP-TOP", "MMNet", "STSTNet"]),
    ],
)
def test_what_is_replaced_in_this_process_is_other_code_of_those_that_use_it(
    monkeypatch, owner, name, value, changed
):
    trials = {"HSTA": HSTA_TRIAL} | {key: of_baseline(key) for key in ("LBP-TOP", "MMNet", "STSTNet")}
    before = {key: digests(trial) for key, trial in trials.items()}
    monkeypatch.setattr(owner, name, value)
    assert [key for key in trials if differing(before[key], digests(trials[key]))] == changed
    monkeypatch.undo()
    assert before == {key: digests(trial) for key, trial in trials.items()}


def test_a_baseline_of_another_size_or_with_another_input_is_other_code(monkeypatch):
    before, form = digests(of_baseline("MMNet")), registry.SYSTEMS["MMNet"]["reduced"]
    monkeypatch.setitem(registry.SYSTEMS["MMNet"], "reduced", replace(form, sizes=form.sizes | {"depth": 3}))
    assert differing(before, digests(of_baseline("MMNet"))) == ["models.baselines.registry"]
    monkeypatch.setitem(registry.SYSTEMS["MMNet"], "reduced", replace(form, prepare=lambda clip: clip * 2))
    assert "test_code" in differing(before, digests(of_baseline("MMNet")))


@pytest.fixture
def trained(tmp_path):
    """A dataset, two trials, and the folder of their results."""
    dataset, trials = tiny_dataset(tmp_path), tiny_trials(n_folds=2)
    run.run(trials, [dataset], tmp_path / "results", workers=0)
    return dataset, trials, tmp_path / "results"


def _scores(trials, folder):
    return [store.load(trial, folder)["predictions"]["scores"] for trial in trials]


def test_results_of_another_network_are_named_and_trained_again(trained, monkeypatch, capsys):
    dataset, trials, folder = trained
    before, made_by = _scores(trials, folder), digests(trials[0])
    capsys.readouterr()
    monkeypatch.setattr(HSTA, "forward", halved)
    refused = (
        r"was made by other code \(.*models/hsta.py.*\): train again, or accept it with accept_other_code"
    )
    with pytest.raises(store.OtherCode, match=refused):
        store.predictions(trials, folder)
    assert store.missing(trials, folder) == trials
    run.run(trials, [dataset], folder, workers=0)
    said = capsys.readouterr().out
    assert said.startswith("2 of the stored results: made by other code (models/hsta.py, ")
    assert "), trained again; accept_other_code = True uses them\n2 trials, 2 to train" in said
    assert _scores(trials, folder) != before
    assert store.load(trials[0], folder)["code"] == digests(trials[0]) != made_by


def test_results_of_another_network_are_used_if_that_is_accepted_and_it_is_told(trained, monkeypatch, capsys):
    dataset, trials, folder = trained
    before, made_by = _scores(trials, folder), digests(trials[0])
    capsys.readouterr()
    monkeypatch.setattr(HSTA, "forward", halved)
    accepting = [replace(trial, accept_other_code=True) for trial in trials]
    assert accepting == trials
    run.run(accepting, [dataset], folder, workers=0)
    said = capsys.readouterr().out
    assert said.startswith("2 of the stored results: made by other code (models/hsta.py, ")
    assert "), used\n2 trials, 0 to train" in said
    assert _scores(accepting, folder) == before
    assert store.load(accepting[0], folder)["code"] == made_by


def _change_records(trials, folder, change):
    for trial in trials:
        path = folder / f"{trial.id}.json"
        record = json.loads(path.read_text())
        record.pop("check", None)
        change(record)
        path.write_text(json.dumps(record))


def test_results_that_do_not_say_what_made_them_are_of_other_code(trained, capsys, tmp_path):
    dataset, trials, folder = trained
    _change_records(trials, folder, lambda record: record.pop("code"))
    capsys.readouterr()
    accepting = [replace(trial, accept_other_code=True) for trial in trials]
    run.run(accepting, [dataset], folder, workers=0)
    assert "training/recipe.py), used\n2 trials, 0 to train" in capsys.readouterr().out
    assert "code" not in store.load(accepting[0], folder)  # never written later
    archive.pack(accepting, folder, tmp_path / "some.gz")
    assert archive.unpack(tmp_path / "some.gz", tmp_path / "new").of_other_code == 2
    run.run(trials, [dataset], folder, workers=0)
    assert "trained again; accept_other_code = True uses them" in capsys.readouterr().out
    assert store.load(trials[0], folder)["code"] == digests(trials[0])


def test_other_versions_of_libraries_are_told_and_do_not_refuse(trained, capsys):
    dataset, trials, folder = trained
    _change_records(trials[:1], folder, lambda record: record["versions"].update(torch="1.0"))
    capsys.readouterr()
    run.run(trials, [dataset], folder, workers=0)
    assert "1 of the stored results: made with torch 1.0, here it is " in capsys.readouterr().out
    assert store.missing(trials, folder) == []


def test_an_archive_carries_the_digests_of_its_runs(trained, tmp_path, monkeypatch):
    _, trials, folder = trained
    archive.pack(trials, folder, tmp_path / "some.gz")
    assert archive.unpack(tmp_path / "some.gz", tmp_path / "new").of_other_code == 0
    assert store.load(trials[0], tmp_path / "new")["code"] == digests(trials[0])
    monkeypatch.setattr(HSTA, "forward", halved)
    assert archive.unpack(tmp_path / "some.gz", tmp_path / "new").of_other_code == 2
    assert store.missing(trials, tmp_path / "new") == trials


def test_a_notebook_accepts_results_of_other_code_by_a_parameter(tmp_path):
    dataset = tiny_dataset(tmp_path)
    for asked in (False, True):
        study = start("table4", {"preset": "smoke", "accept_other_code": asked})
        trials = study.trials(dataset, study.cells().head(1))[0]
        assert {trial.accept_other_code for trial in trials} == {asked}
