"""A network of one's own: the file and the entry that docs/baselines.md shows, trained and shown as a row."""

import importlib.util
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from hsta_lib import ROOT, config
from hsta_lib.config import Datasets, Parameters, Settings, TrialTraining, with_fields
from hsta_lib.models.baselines import registry
from hsta_lib.paper import load_systems
from hsta_lib.study import comparison, plots, published
from hsta_lib.training import baseline_inputs, run
from hsta_lib.training.trials import make_trials, settings_of
from tests.tiny import FINGERPRINT, tiny_dataset, tiny_settings

PAGE = ROOT / "docs" / "baselines.md"
MARK = "<!-- own network: read by tests/models/baselines/test_own_network.py -->"
N_FOLDS = 2


@pytest.fixture(scope="module")
def section():
    """The page from the mark to the next heading."""
    _, mark, rest = PAGE.read_text().partition(MARK)
    assert mark, f"docs/baselines.md lacks the mark {MARK!r}: put it before the code of the network"
    return re.split(r"^##+ ", rest, maxsplit=1, flags=re.M)[0]


@pytest.fixture(scope="module")
def code(section):
    """The network's file and its entry of the registry."""
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(blocks) == 2
    return blocks


@pytest.fixture
def forms(code, tmp_path, monkeypatch):
    """Both forms of the network, registered for one test."""
    path = tmp_path / "mine.py"
    path.write_text(code[0])
    spec = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entry = eval("{" + code[1] + "}", vars(registry) | {"mine": module})
    assert set(entry) == {"mine"}
    monkeypatch.setitem(registry.SYSTEMS, "mine", entry["mine"])
    return entry["mine"]


@pytest.fixture
def study(forms, tmp_path, monkeypatch):
    """A study of eleven clips: what `hsta_lib.study.comparison` asks of `hsta_lib.study.study.Study`."""
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path / "results"))
    folder = tmp_path / "cache" / "frames"
    folder.mkdir(parents=True)
    frames = forms["reduced"].frames
    sizes = {"size": frames["image_size"], "n_frames": frames["n_frames"]}
    dataset = tiny_dataset(folder, n_clips=11, n_subjects=4, **sizes)

    def prepare(cells):
        base = with_fields(Settings(labels="emotion3"), n_folds=N_FOLDS)
        settings = settings_of(base, cells.drop(columns=["labels", "recipe"]))
        trials = [make_trials(each, N_FOLDS, [0], FINGERPRINT) for each in settings]
        return None, [dataset] * len(cells), trials

    datasets = Datasets(form="reduced", baseline_epochs=2)
    preset = SimpleNamespace(datasets=datasets)
    parameters = SimpleNamespace(shows_flow=False)
    return SimpleNamespace(preset=preset, parameters=parameters, prepare=prepare, dataset=dataset)


def hsta_trials(frames):
    return make_trials(tiny_settings(patch_size=16, n_folds=N_FOLDS, **frames), N_FOLDS, [0], FINGERPRINT)


def test_it_is_trained_by_the_runner_and_shown_in_the_tables(study, forms):
    cells = published.label_sets().head(1)
    others = comparison.prepare(study, pd.DataFrame({"system": ["mine"], "labels": ["emotion3"]}))
    assert others.left_out.empty
    hsta = hsta_trials(forms["reduced"].frames)
    run.run([*hsta, *others.trials[0]], [study.dataset], config.results_dir(), workers=0)
    parts = comparison.predictions([hsta], others)
    assert sorted(parts[1]["clip_id"]) == sorted(study.dataset.clips["clip_id"])

    table, matrices = published.score(published.joined(cells, others), comparison.numbered(parts), 3)
    table = table.assign(n_classes=3)
    assert table["system"].tolist() == ["HSTA", "mine"]
    printed = published.published("table6")
    shown = published.show_published(printed, table, "n_classes", "").to_html()
    assert "mine" in shown
    assert "nan" not in shown
    assert published.against_hsta_by_labels(table, {3: matrices})["row"].tolist() == ["3 classes, mine"]
    summary = published.summarise(table, printed, "n_classes")
    assert "mine, 3 classes, trained on own" in summary.index
    assert plots.published_scores(printed, table, "n_classes", "").axes

    datasets = [study.dataset] * 2
    costs = comparison.costs(["HSTA", "mine"], [hsta, *others.trials], datasets).set_index("system")
    network = forms["reduced"].build(3)
    assert costs.loc["mine", "parameters"] == sum(p.numel() for p in network.parameters())
    assert costs.loc["mine", "mflop"] > 0
    assert plots.scores_by_cost(table, costs.reset_index(), "n_classes").axes
    told = published.show_costs(costs.reset_index(), others.form).to_html()
    assert "mine" not in set(load_systems()["system"])
    assert "not described" in told
    assert "nan" not in told


def test_it_learns(forms, one_thread):
    """Three patterns of flow, told apart after some steps of its own recipe."""
    torch.manual_seed(0)
    system, rng = forms["published"], np.random.default_rng(0)
    labels = torch.arange(30) % 3
    flows = rng.normal(0, 0.1, (30, 13, 17, 3)).astype(np.float32)
    for flow, label in zip(flows, labels, strict=True):
        flow[4 * label : 4 * label + 4, :, 0] += 1
    x = torch.from_numpy(np.stack([system.prepare(flow) for flow in flows]))
    assert x.dtype == torch.float32
    assert x.shape == (30, 3, 13, 17)
    network = system.build(3)
    optimiser = torch.optim.Adam(network.parameters(), lr=system.recipe["learning_rate"])
    for _ in range(80):
        optimiser.zero_grad()
        network.loss(x, labels).backward()
        optimiser.step()
    assert (network(x).argmax(dim=1) == labels).float().mean() >= 0.95


def test_a_clip_without_motion_is_an_input_too(forms):
    assert np.array_equal(forms["published"].prepare(np.zeros((5, 7, 3), np.float32)), np.zeros((3, 5, 7)))


def test_its_recipe_is_legal(forms):
    cells = baseline_inputs.cells(pd.DataFrame({"system": ["mine"]}), Datasets(form="published"))
    assert set(forms["published"].recipe) <= set(TrialTraining.model_fields)
    assert cells["epochs"].tolist() == [forms["published"].recipe["epochs"]]


def test_the_file_is_about_thirty_lines(code):
    assert 25 <= len(code[0].splitlines()) <= 35


def test_the_commands_name_notebooks_and_systems_that_exist(section, forms):
    commands = re.findall(r"^    papermill (\S+) (\S+) -y '(.*)'$", section, re.M)
    assert [notebook for notebook, *_ in commands] == ["notebooks/table5.ipynb", "notebooks/table6.ipynb"]
    for notebook, _, given in commands:
        assert (ROOT / notebook).is_file()
        parameters = Parameters(**yaml.safe_load(given))
        assert "mine" in parameters.baselines
        assert set(parameters.baselines) <= set(registry.SYSTEMS)
