"""The way into every notebook: mistaken parameters stop it, right ones reach the trials."""

import ast
import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_dataset

from hsta_lib import ROOT, config
from hsta_lib.evaluation import pixel_free
from hsta_lib.paper import load_table, table_names
from hsta_lib.study.ablations import DESIGNS
from hsta_lib.study.study import NAMED_CELL, start
from hsta_lib.training import store
from hsta_lib.training.precision import with_precision
from hsta_lib.training.trials import expand_grid, settings_of

pytestmark = pytest.mark.usefixtures("no_environment")

# These have parameters of their own besides those of all.
OWN = ("attention", "predict")
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem not in OWN)
# Parameters that a notebook which trains a table does not take: its rows differ in them, or have no grid.
NOT_TAKEN = {
    **{name: ["baselines"] for name in ("table1", "table2", "table3", "table4", "figure3")},
    "controls": ["grid", "baselines"],
    "table5": ["labels", "lists_root", "macro_clips", "grid"],
    "table6": ["variant", "labels", "lists_root", "macro_clips", "grid"],
    "table7": ["labels", "macro_clips", "grid", "baselines"],
}
ON_FLOW = {"dataset": "megc2019_flow", "data_root": "external/HTNet", "split": "loso"}
START = 'from hsta_lib.study.study import start\n\nstudy = start("table4", globals())\nstudy'
LATER = ["opened = study.open_dataset()\nm = 3", "epochs = 7\nseed = 3", "folds = study.folds(opened)"]


def code_cells(path):
    """Tags and source of a notebook's code cells."""
    cells = json.loads(path.read_text())["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    return [(cell["metadata"].get("tags", []), "".join(cell["source"])) for cell in cells]


def parameter_cell(path):
    """Source of a notebook's parameter cell."""
    (source,) = [source for tags, source in code_cells(path) if "parameters" in tags]
    return source


PARAMETERS = parameter_cell(ROOT / "notebooks" / "table4.ipynb")


def kernel(*injected, before=(PARAMETERS,)):
    """The names of a kernel in the cell that calls `start`, after a notebook's first cells."""
    cells = [*before, *injected]
    namespace = {}
    for cell in cells:
        exec(cell, namespace)
    return {**namespace, "In": ["", *cells, START]}


def started(**parameters):
    """The study of Table 4 with some parameters, in the small preset unless they say otherwise."""
    values = {"preset": "smoke", **parameters}
    return start("table4", kernel("# Parameters\n" + "\n".join(f"{k} = {v!r}" for k, v in values.items())))


# --- notebooks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_takes_the_parameters_with_their_defaults(path):
    statements = ast.parse(parameter_cell(path)).body
    values = {line.targets[0].id: ast.literal_eval(line.value) for line in statements}
    assert len(values) == len(statements)
    defaults = config.Parameters().model_dump()
    defaults |= ON_FLOW if path.stem == "reproduce" else {}
    defaults |= {"dataset": "megc2019_flow", "split": "subject"} if path.stem == "extractions" else {}
    defaults |= {"dataset": "megc2019_flow", "split": "loso"} if path.stem == "honest" else {}
    assert values == {name: defaults[name] for name in values}
    if path.stem in (*DESIGNS, *table_names()):
        taken = [name for name in config.Parameters.model_fields if name not in NOT_TAKEN.get(path.stem, ())]
        assert list(values) == taken
    assert [type(value) for value in values.values()] == [
        type(getattr(config.Parameters(), name)) for name in values
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_of_a_notebook_can_be_given(path):
    other = {
        "seeds": [3], "workers": 0, "device": "cpu", "baselines": ["HTNet"], "split": "loso",
        "labels": "emotion3", "macro_clips": "training_subjects", "repair": "drop", "export": True,
        "scheduler": "tcp://a:1",
    }  # fmt: skip
    statements = ast.parse(parameter_cell(path)).body
    usual = {line.targets[0].id: ast.literal_eval(line.value) for line in statements} | {"preset": "smoke"}
    for name in usual.keys() & other.keys():
        assert name in start(path.stem, usual | {name: other[name]}).given


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_starts_its_study_right_after_its_parameters(path):
    cells = code_cells(path)
    (position,) = [number for number, (tags, _) in enumerate(cells) if "parameters" in tags]
    assert f'start("{path.stem}", globals())' in cells[position + 1][1]


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "table7", "figure3", "controls"])
@pytest.mark.parametrize("preset", config.preset_names())
def test_every_preset_has_a_grid_or_all_rows_of_every_table(name, preset):
    study = start(name, {"preset": preset})
    assert study.grid == config.load_preset(preset)[1].grids.get(name, {})
    cells = study.cells()
    assert {"m", "l_v", "l_s"} <= set(cells)
    if study.grid:
        assert len(cells) == len(expand_grid(study.grid))
    elif name in DESIGNS:
        pd.testing.assert_frame_equal(cells.drop(columns="epochs", errors="ignore"), DESIGNS[name]())
    else:
        assert len(cells) == len(load_table(name))


def test_rows_that_are_printed_carry_their_names_and_settings():
    cells = start("table2", {"preset": "quick"}).cells()
    assert list(cells) == ["setting", "m", "l_v", "l_s", "csta"]
    assert cells.iloc[3].tolist() == ["a4", 1, 0, 1, False]
    grid = {"csta": [True], "depths": [[1, 1], [5, 2]], "m": [1]}
    given = start("table2", {"preset": "quick", "grid": grid}).cells()
    assert given.to_dict("list") == {"m": [1, 1], "l_v": [1, 5], "l_s": [1, 2], "csta": [True, True]}


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_every_row_of_a_printed_table_stands_beside_its_scores(name):
    study = start(name, {"preset": "full"})
    scores = dict.fromkeys(("acc", "uar", "uf1"), 1.5)
    table = study.beside_paper(study.cells().assign(**scores))
    for metric in scores:
        assert table[f"{metric}_paper"].tolist() == load_table(name)[metric].tolist()


# --- names of parameters ----------------------------------------------------------------------------------


def test_a_notebook_as_it_is_starts_with_the_defaults():
    study = start("table4", kernel())
    assert (study.name, study.preset_name) == ("table4", "quick")
    assert study.parameters == config.Parameters(labels="emotion7", split="holdout")
    preset = config.load_preset("quick")[1]
    expected = config.Settings(
        frames=preset.frames,
        model=preset.model,
        training=preset.training.model_dump(exclude={"precision"}),
        split=preset.split.model_dump() | {"split": "holdout"},
    )
    assert study.settings == with_precision(expected, "auto")


def test_injected_parameters_count():
    injected = "# Parameters\npreset = 'smoke'\nseeds = [5, 3]\nsplit: str = 'loso'\nlabels = 'emotion3'"
    study = start("table4", kernel(injected))
    assert (study.preset_name, study.seeds) == ("smoke", (5, 3))
    assert (study.settings.split.split, study.settings.labels) == ("loso", "emotion3")
    assert study.settings.split.n_folds == 2  # the preset's


@pytest.mark.parametrize(
    ("cells", "unknown"),
    [
        ([PARAMETERS, "# Parameters\nprest = 'quick'"], ["prest is unknown; known here: preset, recipe"]),
        ([PARAMETERS, "preset = 'smoke'\nprest: str = 'quick'"], ["prest is unknown; known here"]),
        ([PARAMETERS, "prest = 'quick'\nseed = 3"], ["prest is unknown", "seed is unknown"]),
        ([PARAMETERS, "epochs = 3", "seeds = [1]"], ["epochs is unknown", ", grid, "]),
        ([PARAMETERS.replace("preset =", "prest ="), "seeds = [1]"], ["prest is unknown"]),
    ],
)
def test_unknown_parameters_are_named_wherever_they_were_assigned(cells, unknown):
    with pytest.raises(ValueError, match="notebook parameters: ") as error:
        start("table4", kernel(before=cells))
    assert all(words in str(error.value) for words in unknown)


def test_names_of_later_cells_are_no_parameters():
    names = {"opened": object(), "m": 3, "epochs": 7, "seed": 3, "folds": [], "prest": "quick"}
    for history in ([PARAMETERS, START, *LATER, START], [PARAMETERS, START, *LATER, PARAMETERS, START]):
        namespace = {**kernel("preset = 'smoke'"), **names, "In": ["", *history]}
        assert start("table4", namespace).preset_name == "smoke"


def test_cells_before_the_parameters_are_no_parameters():
    namespace = kernel("preset = 'smoke'", before=("here = 3", "import os", PARAMETERS))
    assert start("table4", namespace).preset_name == "smoke"


# --- values of parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("preset", "huge", "preset = 'huge' is unknown; .*quick"),
        ("preset", 3, "preset = 3 is not allowed"),
        ("preset", None, "preset = None is not allowed"),
        ("recipe", "mine", "recipe = 'mine' is not allowed .*'equations' or 'released'"),
        ("dataset", "casme9", "dataset = 'casme9' is unknown; known datasets: synthetic, casme3,"),
        ("data_root", 3, "data_root = 3 is not allowed"),
        ("data_root", "/somewhere", "data_root is given"),
        ("labels", 7, "labels = 7 is not allowed"),
        ("labels", "emotion9", "labels = 'emotion9' is unknown"),
        ("split", "random", "split = 'random' is not allowed .*'subject_seen', 'holdout' or ''"),
        ("macro_clips", "some", "macro_clips = 'some' is not allowed .*'none', 'training_subjects' or 'all'"),
        ("macro_clips", True, "macro_clips = True is not allowed"),
        ("seeds", "1, 2", "seeds = '1, 2' is not allowed"),
        ("seeds", 3, "seeds = 3 is not allowed"),
        ("seeds", [0, "two"], "seeds.1 = 'two' is not allowed"),
        ("seeds", [0.5], "seeds.0 = 0.5 is not allowed"),
        ("seeds", [1, 2, 1], r"seeds = \[1, 2, 1\] must be different numbers from 0 on"),
        ("seeds", [3, -1], r"seeds = \[3, -1\] must be different numbers from 0 on"),
        ("workers", -1, "workers = -1 is not allowed .*greater than or equal to 0"),
        ("workers", "all", "workers = 'all' is not allowed"),
        ("grid", "[1]", r"grid = '\[1\]' is not allowed"),
        ("grid", [1], r"grid = \[1\] is not allowed"),
        ("grid", {"m": 1}, "grid.m = 1 is not allowed"),
        ("grid", {"m": "[1]"}, r"grid.m = '\[1\]' is not allowed"),
    ],
)
def test_a_wrong_value_is_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        started(**{name: value})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"m": [0, 1]}, r"model\.m = 0"),
        ({"m": []}, r"m = \[\] must be a list with at least one value"),
        ({"m": [1, 1]}, r"m = \[1, 1\] repeats a value"),
        ({"depths": [[1]]}, r"depths has \[1\]"),
    ],
)
def test_a_wrong_grid_is_named(grid, message):
    with pytest.raises(ValueError, match=message):
        started(grid=grid).cells()


def test_lists_that_papermill_gives_as_text_are_read():
    study = started(seeds=["3"], workers="2")
    assert (study.seeds, study.parameters.workers) == ((3,), 2)
    study = started(seeds="[3, 1]", grid="{m: [1, 4], depths: [[2, 1]]}")
    assert study.seeds == (3, 1)
    assert study.grid == {"m": [1, 4], "depths": [[2, 1]]}
    assert start("table6", {"preset": "smoke", "baselines": "[HTNet]"}).parameters.baselines == ["HTNet"]


def test_the_old_name_of_baselines_is_read_and_told(capsys):
    injected = {"preset": "smoke", "baselines": [], "rivals": "[HTNet]", "In": ["", 'rivals = "[HTNet]"', ""]}
    assert start("table6", injected).parameters.baselines == ["HTNet"]
    assert "notebook parameters: rivals is called baselines now" in capsys.readouterr().out
    preset = config.validated(config.Preset, {"datasets": {"rival_epochs": 3}}, "params/mine.yaml")
    assert preset.datasets.baseline_epochs == 3
    assert "params/mine.yaml: rival_epochs is called baseline_epochs now" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"seeds": "0,1"}, r"seeds = '0,1' is not allowed.*; a list is given by -y 'seeds: \[0, 1\]'"),
        ({"seeds": "[0, 1"}, r"seeds = '\[0, 1' is not allowed.*; a list is given by -y"),
        ({"seeds": 3}, "seeds = 3 is not allowed.*; a list is given by -y"),
        ({"grid": "[1]"}, r"grid = '\[1\]' is not allowed.*; a dictionary is given by -y"),
        ({"data_root": 6}, "data_root = 6 is not allowed.*; -r instead of -p takes a value as it is written"),
    ],
)
def test_a_value_that_papermill_made_something_else_of_names_the_option(given, hint):
    with pytest.raises(ValueError, match=hint):
        started(**given)


def test_the_device_is_checked_at_once_and_changes_no_id(dataset, monkeypatch):
    ids = {
        name: [trial.id for trial in started(device=name).reference_trials(dataset)["named"]]
        for name in ("auto", "cpu")
    }
    assert ids["auto"] == ids["cpu"]
    assert started(device="cpu").reference_trials(dataset)["fold"][0].device == "cpu"
    with pytest.raises(ValueError, match="device = 'gpu' is not allowed"):
        started(device="gpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ValueError, match="device = 'cuda:1' is not on this machine; there are: cpu"):
        started(device="cuda:1")
    assert started(device="cuda:1", scheduler="tcp://there:1").parameters.device == "cuda:1"


# --- preset, grid and seeds -------------------------------------------------------------------------------


def test_the_environment_chooses_the_preset_of_a_notebook_as_it_is(monkeypatch):
    monkeypatch.setenv("HSTA_PRESET", "smoke")
    assert start("table4", kernel()).preset_name == "smoke"
    assert start("table4", kernel("preset = 'quick'")).preset_name == "quick"


def test_grid_and_seeds_are_the_preset_s_unless_given():
    study = started(preset="study")
    assert study.seeds == tuple(config.load_preset("study")[1].seeds) != (0,)
    assert started().grid == config.load_preset("smoke")[1].grids["table4"]
    assert len(started().cells()) == 6
    assert started(grid={"m": ["1", 4]}).cells().to_dict("list") == {
        "m": [1, 4],
        "l_v": [2, 2],
        "l_s": [1, 1],
    }


def test_a_preset_without_a_grid_for_the_notebook_needs_one():
    with pytest.raises(ValueError, match=r"params/smoke\.yaml has no grid for table9; .*parameter grid"):
        start("table9", kernel("preset = 'smoke'"))
    study = start("table9", kernel("preset = 'smoke'\ngrid = {'m': [1, 2]}"))
    assert study.cells()["m"].tolist() == [1, 2]


# --- title ------------------------------------------------------------------------------------------------


def heading_and_text(study):
    """First line of what the study shows, and the rest."""
    heading, _, text = study._repr_markdown_().partition("\n")
    return heading, text


def test_the_title_tells_preset_and_data():
    heading, text = heading_and_text(started(seeds=[4, 2]))
    assert heading == "## Table 4: preset `smoke`, synthetic faces (easy)"
    assert "recipe `equations`, labels `emotion7`, split `subject`, seeds [4, 2]" in text
    assert "synthetic: a positive control." in text
    assert "no evidence about real faces" in text


def test_real_data_are_called_by_their_name():
    heading, text = heading_and_text(started(dataset="casme3"))
    assert heading == "## Table 4: preset `smoke`, casme3"
    assert "synthetic" not in text
    assert "control" not in text


@pytest.mark.parametrize(
    ("synthetic", "words"),
    [
        ({"tied_labels": True, "difficulty": "micro"}, "micro, labels tied to film and recording"),
        ({"tied_labels": 0.5}, "easy, labels tied to film and recording, strength 0.5"),
        ({"tied_labels": 0.05}, "easy, labels tied to film and recording, strength 0.05"),
        ({"tied_labels": 0}, "easy"),
    ],
)
def test_tied_labels_and_their_strength_are_told(synthetic, words):
    assert started().variant(synthetic=synthetic).data_name == f"synthetic faces ({words})"


@pytest.mark.parametrize(
    ("split", "macro_clips", "is_dependent"),
    [("subject", "training_subjects", False), ("subject", "all", True), ("paper", "none", True)],
)
def test_what_is_subject_dependent_is_headed_so(split, macro_clips, is_dependent):
    study = started(split=split, macro_clips=macro_clips)
    heading, _ = heading_and_text(study)
    assert ("**subject-dependent**" in heading) == is_dependent
    assert bool(study.dependence) == is_dependent


# --- folds and trials -------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path):
    """Twelve clips of four subjects, each with one pixel of its own."""
    clips = pd.DataFrame({"clip_id": [f"c{i:02d}" for i in range(12)], "label": [0, 1, 2] * 4})
    subjects = [f"s{i % 4}" for i in range(12)]
    clips = clips.assign(subject_id=subjects, recording_id=subjects)
    np.save(tmp_path / "rows.npy", np.arange(12, dtype=np.uint8))
    return SimpleNamespace(clips=clips, frames_path=tmp_path / "rows.npy", fingerprint="data", classes="abc")


@pytest.mark.parametrize(
    ("split", "n_folds", "sentence"),
    [
        ("subject", 2, "2 folds grouped by subject: no subject is in training and in test"),
        ("paper", 2, "subject-dependent: 2 random folds over clips"),
        ("loso", 4, "leave one subject out: 4 folds"),
        ("subject_seen", 4, "subject-dependent: 4 folds; of the clips of a fold's test subjects half are"),
    ],
)
def test_the_protocol_is_told_as_it_is(dataset, split, n_folds, sentence):
    study = started(split=split)
    assert len(study.folds(dataset)) == n_folds
    assert study.protocol(study.folds(dataset)).startswith(sentence)


@pytest.mark.parametrize(
    ("macro_clips", "end"),
    [
        ("none", "is in training and in test"),
        ("training_subjects", "; macro clips of the training subjects are in training"),
        (
            "all",
            "; all macro clips are in training, those of the test subjects included: subject-dependent",
        ),
    ],
)
def test_the_protocol_tells_of_macro_clips(dataset, macro_clips, end):
    kinds = ["macro" if row in (2, 6) else "micro" for row in range(12)]
    clips = dataset.clips.assign(expression_type=kinds)
    with_macro = SimpleNamespace(**vars(dataset) | {"clips": clips})
    study = started(macro_clips=macro_clips)
    folds = study.folds(with_macro)
    assert started(macro_clips=macro_clips, recipe="released").settings.split.macro_clips == macro_clips
    assert study.protocol(folds).startswith("2 folds grouped by subject")
    assert study.protocol(folds).endswith(end)
    # Both macro clips are of the third subject, who is tested in one of two folds.
    in_training = [len({2, 6} & set(train)) for train, _ in folds]
    assert sorted(in_training) == {"none": [0, 0], "training_subjects": [0, 2], "all": [2, 2]}[macro_clips]


def test_a_variant_is_the_study_with_other_parameters(dataset):
    study = started(seeds=[3, 1])
    other = study.variant(split="paper", macro_clips="all")
    assert other == started(seeds=[3, 1], split="paper", macro_clips="all")
    assert study == started(seeds=[3, 1])
    assert study.variant() == study
    assert study.variant(recipe="released") == started(seeds=[3, 1], recipe="released")
    assert [len(study.folds(dataset)), len(study.variant(split="loso").folds(dataset))] == [2, 4]


def test_a_variant_changes_fields_of_the_benchmark_and_of_the_settings():
    study = started()
    other = study.variant(synthetic={"tied_labels": 0.5}, fields={"store_epochs": True, "m": 3})
    expected = study.preset.synthetic.model_copy(update={"tied_labels": 0.5})
    assert other.preset == study.preset.model_copy(update={"synthetic": expected})
    assert other.settings == config.with_fields(study.settings, store_epochs=True, m=3)
    assert (other.parameters, other.grid, other.seeds) == (study.parameters, study.grid, study.seeds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "random"}, "parameters: split = 'random' is not allowed"),
        ({"macro_clip": "all"}, "parameters: macro_clip is unknown; known here: .*macro_clips"),
        ({"synthetic": {"tied": 1}}, "synthetic: tied is unknown; known here: .*tied_labels"),
        ({"synthetic": {"tied_labels": 2}}, "synthetic: tied_labels = 2 is not allowed"),
        ({"fields": {"mm": 1}}, "'mm' is no setting"),
        ({"fields": {"store_draws": 3}}, "settings: store_draws has no effect with drawing = 'uniform'"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        started().variant(**changes)


def test_trials_of_settings_are_of_every_seed_and_fold(dataset):
    study = started(seeds=[3, 1])
    settings = config.with_fields(study.settings, m=7)
    (trials,) = study.trials_of([settings], dataset)
    assert [(trial.seed, trial.fold) for trial in trials] == [(3, 0), (3, 1), (1, 0), (1, 1)]
    assert {trial.settings for trial in trials} == {settings}
    assert {trial.fingerprint for trial in trials} == {"data"}
    assert trials == study.trials(dataset, pd.DataFrame([{"m": 7}]))[0]


def test_reference_rows_can_be_made_with_macro_clips(tmp_path, monkeypatch):
    monkeypatch.setenv("HSTA_DATA", str(tmp_path))
    monkeypatch.setattr(store, "predictions", lambda *_: pd.DataFrame())
    study = started(labels="objective7", macro_clips="training_subjects")
    study = study.variant(synthetic={"n_micro": 23, "frame_size": 32})
    opened = study.open_dataset()
    trials = dict.fromkeys(("fold", "recording", "imagenet"), ())
    rows = study.reference_predictions(opened, study.folds(opened), trials)
    assert len(opened.clips) == 46
    for name in ("majority class", "linear model on the true motion"):
        assert sorted(rows[name]["clip_id"]) == opened.tested["clip_id"].tolist()


def test_trials_are_those_of_the_grid_seeds_and_folds(dataset):
    study = started(seeds=[3, 1], grid={"m": [2, 1], "depths": [[3, 1], [1, 2]]})
    trials = study.trials(dataset, study.cells())
    assert [len(cell) for cell in trials] == [4] * 4  # two seeds, two folds
    assert [(trial.seed, trial.fold) for trial in trials[0]] == [(3, 0), (3, 1), (1, 0), (1, 1)]
    depths = [(cell[0].settings.model.m, cell[0].settings.model.l_v) for cell in trials]
    assert depths == [(2, 3), (2, 1), (1, 3), (1, 1)]
    assert {trial.fingerprint for cell in trials for trial in cell} == {"data"}
    ((trial, *_), *_) = study.trials(dataset, study.cells(), epochs=9)
    assert (trial.settings.training.epochs, study.settings.training.epochs) == (9, 1)


@pytest.mark.parametrize("name", ["figure3", "table1", "table2"])
def test_a_preset_may_give_the_rows_of_a_notebook_epochs_of_their_own(name):
    given = {"preset": "study"}
    study = start(name, given)
    assert study.cells()["epochs"].unique().tolist() == [study.preset.epochs[name]]
    assert study.preset.epochs[name] > study.settings.training.epochs
    assert "epochs" not in start("table3", given).cells()
    assert "epochs" not in start(name, given | {"recipe": "released"}).cells()
    chosen = start(name, given | {"grid": {"l_v": [1], "l_s": [0], "epochs": [7]}}).cells()
    assert chosen["epochs"].tolist() == [7]


def test_references_are_variants_of_the_named_setting_with_at_least_three_shuffles(dataset):
    study = started()
    references = study.reference_trials(dataset)
    changed = {
        "named": {"store_epochs": True},
        "fold": {"shuffled_labels": "fold"},
        "recording": {"shuffled_labels": "recording"},
        "imagenet": {"pixels": "imagenet"},
    }
    assert list(references) == list(changed)
    for name, trials in references.items():
        (settings,) = {trial.settings for trial in trials}
        assert settings == config.with_fields(study.settings, m=4, l_v=2, l_s=1, **changed[name])
        seeds = [0, 1, 2] if "shuffled_labels" in changed[name] else [0]
        runs = [(seed, fold) for seed in seeds for fold in (0, 1)]
        assert [(trial.seed, trial.fold) for trial in trials] == runs


def test_a_reference_that_needs_recordings_is_left_out_in_a_line_where_there_are_none(dataset, capsys):
    study = started()
    alone = dataset.clips.assign(recording_id=dataset.clips["clip_id"])
    references = study.reference_trials(SimpleNamespace(**vars(dataset) | {"clips": alone}))
    assert list(references) == ["named", "fold", "imagenet"]
    assert capsys.readouterr().out == (
        "Left out: labels shuffled within each recording. "
        "Reason: in a fold no two training clips share a recording.\n"
    )
    assert "recording" in study.reference_trials(dataset)
    assert not capsys.readouterr().out


def own_study(folder, name, *lines, preset="smoke"):
    """A study of clips of one's own: lines of ``emotion,objective_class``, two clips a subject."""
    rows = [f"s{i // 2},c{i},clip{i},1,2,3,{line}" for i, line in enumerate(lines)]
    for number in range(len(rows)):
        (folder / f"clip{number}").mkdir(parents=True)
    header = "subject,clip,folder,onset,apex,offset,emotion,objective_class"
    (folder / "clips.csv").write_text("\n".join([header, *rows]))
    return start(name, {"preset": preset, "dataset": "own", "data_root": str(folder)})


def test_rows_that_the_data_cannot_give_are_left_out_in_a_line(tmp_path, capsys):
    study = own_study(tmp_path, "table7", "happy,", "sad,", "happy,", "fear,")
    cells = study.cells()
    assert set(cells["labels"]) == {"emotion7"}
    assert cells["special"].tolist() == ["frames", "tracks", "flow"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Left out: objective classes. Reason: no clip has a class of labels = 'obj")
    assert any("own has no macro-expressions" in line for line in lines)
    assert sum(line.split(". ")[0].count(";") + 1 for line in lines) == len(DESIGNS["table7"]()) - 3


def test_rows_of_objective_classes_need_these_alone(tmp_path, capsys):
    cells = own_study(tmp_path, "table7", "joy,I", "joy,II", "joy,VI", "joy,VII").cells()
    assert cells["row"].tolist() == ["objective classes", "objective classes without VI"]
    assert "special frames; optical flow" in capsys.readouterr().out
    nothing = own_study(tmp_path / "nothing", "table7", "joy,", "joy,")
    with pytest.raises(ValueError, match="no row of table7 can be made of this data: no clip has a class of"):
        nothing.cells()


@pytest.mark.parametrize("name", ["figure3", "controls"])
def test_rows_that_differ_in_settings_alone_are_all_given_or_none(tmp_path, capsys, name):
    cells = own_study(tmp_path / "all", name, "happy,", "sad,", "happy,", "fear,", preset="quick").cells()
    pd.testing.assert_frame_equal(cells.drop(columns="epochs", errors="ignore"), DESIGNS[name]())
    assert capsys.readouterr().out == ""
    nothing = own_study(tmp_path / "none", name, "joy,", "joy,", preset="quick")
    with pytest.raises(
        ValueError, match=f"no row of {name} can be made of this data: no clip has a class of"
    ):
        nothing.cells()


def test_a_split_that_few_subjects_do_not_give_is_left_out_of_the_data_in_a_line(dataset, capsys):
    two = SimpleNamespace(**vars(dataset) | {"clips": dataset.clips[dataset.clips["subject_id"] < "s2"]})
    study = started().variant(fields={"n_folds": 5})
    assert study.folds(two, "subject") == []
    assert capsys.readouterr().out == (
        "Left out: split 'subject'. Reason: split = 'subject' needs at least 5 subjects, the clip table has "
        "2; -p split loso leaves one subject out\n"
    )
    assert len(study.folds(two, "loso")) == 2
    with pytest.raises(ValueError, match="needs at least 5 subjects"):
        study.folds(two)


def test_clips_of_one_class_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path))
    opened = tiny_dataset(tmp_path)
    opened = dataclasses.replace(opened, clips=opened.clips.assign(label=2))
    with pytest.raises(ValueError, match="every clip is of the class 'high'; scores need clips of two or mo"):
        started().run([], opened)


@pytest.mark.parametrize(
    "field",
    ["split", "n_folds", "macro_clips", "n_frames", "keep_apex", "image_size", "shuffled_labels",
     "store_draws"],
)  # fmt: skip
def test_a_grid_cannot_vary_data_or_protocol(field):
    with pytest.raises(ValueError, match=f"'{field}' cannot vary within a table"):
        started(grid={"m": [1], field: [1]})


def test_a_notebook_that_opens_the_data_of_each_cell_may_vary_its_frames():
    grid = {"n_frames": [2, 10], "keep_apex": [True], "m": [1]}
    study = start("figure3", {"preset": "smoke", "grid": grid})
    assert study.cells()["n_frames"].tolist() == [2, 10]
    with pytest.raises(ValueError, match="'split' cannot vary within a table"):
        start("figure3", {"preset": "smoke", "grid": grid | {"split": ["loso"]}})


def test_a_grid_whose_settings_the_table_cannot_tell_apart_is_refused_before_training():
    with pytest.raises(ValueError, match="agree in m, l_v, l_s"):
        started(grid={"m": [1], "csta": [True, False]})
    with pytest.raises(ValueError, match="agree in m, l_v, l_s"):
        started(grid={"m": [1, "1"]})


def test_the_paper_stands_only_beside_its_own_labels_and_settings():
    scores = {metric: [50.0] for metric in ("acc", "uar", "uf1")}
    same, other, varied = (
        study.beside_paper(study.cells().assign(**scores))["uar_paper"].tolist()
        for study in (
            started(grid={"m": [4]}),
            started(grid={"m": [4]}, labels="objective7"),
            started(grid={"m": [4], "csta": [False]}),
        )
    )
    assert same == [38.0]
    assert np.isnan([*other, *varied]).all()


def _uar_beside(name, **grid):
    study = start(name, {"preset": "smoke", "grid": grid})
    table = study.beside_paper(study.cells().assign(acc=1.5, uar=1.5, uf1=1.5))
    return table["uar_paper"].fillna(-1).tolist()


def test_the_paper_stands_beside_settings_that_are_its_own_in_every_field():
    # Table 2 does not print M, Table 1 neither M nor CSTA: they are 1, and off.
    depths = [[1, 1], [1, 0]]
    assert _uar_beside("table2", csta=[False], depths=depths, m=[1]) == [32.1, 32.4]
    assert _uar_beside("table2", csta=[False], depths=depths) == [-1, -1]
    one_branch = {"l_v": [1, 4], "l_s": [0]}
    assert _uar_beside("table1", **one_branch, csta=[False], m=[1]) == [32.4, 33.1]
    assert _uar_beside("table1", **one_branch, m=[1]) == [-1, -1]
    assert _uar_beside("table1", **one_branch, csta=[False]) == [-1, -1]


def test_a_grid_of_table_1_has_the_names_of_its_rows():
    grid = {"depths": [[0, 0], [3, 0], [0, 5]], "csta": [False], "m": [1]}
    cells = start("table1", {"preset": "smoke", "grid": grid}).cells()
    assert cells[["branch", "n_layers"]].to_numpy().tolist() == [["video", 0], ["video", 3], ["special", 5]]
    with pytest.raises(
        ValueError, match=r"one branch alone, found {'l_v': 2, 'l_s': 1}; set l_v or l_s to 0"
    ):
        start("table1", {"preset": "smoke", "grid": {"m": [1], "csta": [False]}})
    with pytest.raises(ValueError, match="agree in branch, n_layers"):
        start("table1", {"preset": "smoke", "grid": grid | {"m": [1, 2]}})


def test_the_named_setting_is_trained_once_for_table_and_reference(dataset):
    study = started(grid={"m": [3, 4], "depths": [[1, 1], [2, 1]]})
    in_table = [trial.id for trial in study.trials(dataset, study.cells())[3]]
    assert in_table == [trial.id for trial in study.reference_trials(dataset)["named"]]
    assert NAMED_CELL == {"m": 4, "l_v": 2, "l_s": 1}


def test_rows_of_a_table_may_train_longer_than_its_reference_rows(dataset, monkeypatch):
    with_preset(monkeypatch, epochs={"table2": 7})
    study = start("table2", {"preset": "smoke"})
    assert {settings.training.epochs for settings in settings_of(study.settings, study.cells())} == {7}
    ((reference, *_),) = study.reference_trials(dataset, ["named"]).values()
    assert reference.settings.training.epochs == study.settings.training.epochs == 1
    assert "epochs" not in start("table3", {"preset": "smoke"}).cells()
    with_preset(monkeypatch, released_epochs=5, epochs={"table2": 7})
    assert "epochs" not in start("table2", {"preset": "smoke", "recipe": "released"}).cells()
    with pytest.raises(ValueError, match=r"epochs\.table9"):
        config.validated(config.Preset, {"epochs": {"table9": 7}}, "params/mine.yaml")


def test_real_data_of_few_clips_are_trained_for_as_many_steps(dataset, monkeypatch):
    with_preset(monkeypatch, least_steps=100)
    study = started(dataset="own", data_root="/somewhere")
    fewest = min(len(fold.train) for fold in study.folds(dataset))
    needed = -(-100 // max(fewest // study.settings.training.batch_size, 1))
    named = pd.DataFrame([NAMED_CELL])
    asked = started(dataset="own", data_root="/somewhere", grid={"epochs": [2], "m": [4]})
    for of, cells, epochs in [
        (study, named, needed),
        (study, named.assign(epochs=needed + 3), needed + 3),
        (asked, asked.cells(), 2),
        (started(), named, 1),  # synthetic
    ]:
        assert {trial.settings.training.epochs for trial in of.trials(dataset, cells)[0]} == {epochs}
    assert needed > 1
    assert "at least 100 training steps" in study.protocol(study.folds(dataset))
    assert "training steps" not in asked.protocol(study.folds(dataset))
    shuffled = study.reference_trials(dataset, ["fold"]).values()
    assert {trial.settings.training.epochs for runs in shuffled for trial in runs} == {needed}


def test_the_papers_scores_are_of_casme3_and_of_nothing_else():
    table = pd.DataFrame({"m": [4], "l_v": [2], "l_s": [1], "acc": [1.0], "uar": [1.0], "uf1": [1.0]})
    given = {"data_root": "/somewhere"}
    shown = {
        name: started(dataset=name, **({} if name == "synthetic" else given)).beside_paper(table)[
            "uar_paper"
        ][0]
        for name in ("synthetic", "casme3", "casme2", "own")
    }
    assert shown["synthetic"] == shown["casme3"] > 30
    assert np.isnan([shown["casme2"], shown["own"]]).all()
    row = pd.DataFrame({"row": ["special frames"], "printed": [0.0]})
    ours, theirs = (
        start("table7", {"preset": "smoke", "dataset": "own", "data_root": "/somewhere"}),
        start("table7", {"preset": "smoke"}),
    )
    assert theirs.beside_paper(row)["uar_paper"][0] > 30
    assert ours.beside_paper(row)["uar_paper"].isna().all()


def test_a_picture_is_never_that_of_another_clip(tmp_path, monkeypatch):
    monkeypatch.setenv("HSTA_DATA", str(tmp_path))
    study = started(recipe="released")
    clips = study.open_dataset().clips.head(3)
    assert study.pictures(clips).shape == (3, 4, 160, 160, 3)
    with pytest.raises(ValueError, match=r"a clip cannot be read any more: .*folder without frames"):
        study.pictures(clips.assign(folder=[clips["folder"][0], tmp_path, clips["folder"][2]]))


# --- holdout ----------------------------------------------------------------------------------------------


def holding_out(monkeypatch, **parameters):
    """A study of synthetic data in a preset that holds subjects out."""
    name, preset = config.load_preset("smoke")
    spec = preset.synthetic.model_copy(update={"n_subjects": 12, "n_micro": 120, "frame_size": 32})
    preset = preset.model_copy(update={"holdout": True, "synthetic": spec, "seeds": [0, 1]})
    monkeypatch.setattr(config, "load_preset", lambda _="": (name, preset))
    return started(**parameters)


@pytest.mark.parametrize(
    ("parameters", "split"),
    [
        ({"split": ""}, "holdout"),
        ({"split": "subject"}, "subject"),
        ({"split": "", "dataset": "casme3", "data_root": "x"}, "subject"),
    ],
)
def test_the_preset_holds_out_of_synthetic_data_alone(monkeypatch, parameters, split):
    study = holding_out(monkeypatch, **parameters)
    assert study.parameters.split == study.settings.split.split == split


def test_a_holdout_of_real_data_is_refused():
    with pytest.raises(ValueError, match=r"split = 'holdout' is for synthetic data, .* of casme3 every clip"):
        started(dataset="casme3", data_root="x", split="holdout")


def test_a_holdout_from_the_data_to_its_reference_rows_which_are_stored(monkeypatch, tmp_path):
    monkeypatch.setenv("HSTA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HSTA_RESULTS", str(tmp_path / "results"))
    study = holding_out(monkeypatch, split="", labels="emotion3")
    opened = study.open_dataset()
    folds = study.folds(opened)
    assert 0 < len(opened.tested) == len(folds[0].test) < len(opened.clips)
    assert f"({len(folds[0].train)} clips with the first seed)" in study.protocol(folds)
    assert [(trial.seed, trial.fold) for trial in study.trials(opened, study.cells())[0]] == [(0, 0), (1, 0)]
    rows = study.reference_predictions(opened, folds, {})
    for name in ("majority class", "linear model on the true motion"):
        assert sorted(rows[name]["clip_id"]) == sorted([*opened.tested["clip_id"]] * 2)
        assert rows[name]["seed"].value_counts().to_dict() == {0: len(opened.tested), 1: len(opened.tested)}

    def stored():
        return len(list(tmp_path.glob("results/references/*.json")))

    assert stored() == 2 * len(rows)  # of each seed
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", None)
        again = study.reference_predictions(opened, folds, {})
    assert list(again) == list(rows)
    for name, made in rows.items():
        pd.testing.assert_frame_equal(again[name], made)
    blind = study.blind_predictions(opened, folds)
    assert stored() == 2 * len(rows)
    other = dataclasses.replace(opened, clips=opened.clips.assign(onset=opened.clips["onset"] - 1))
    study.blind_predictions(other, folds)
    assert stored() == 2 * (len(rows) + len(blind))

    def second_class(clips, folds):
        return pixel_free.predicted(clips, folds, lambda train, test, labels: 1)

    monkeypatch.setattr(pixel_free, "majority", second_class)
    anew = study.blind_predictions(opened, folds)["majority class"]
    assert set(anew["y_pred"]) == {1} != set(rows["majority class"]["y_pred"])
    assert stored() == 2 * (len(rows) + len(blind) + 1)


# --- sizes of its own, and recipes that learn -------------------------------------------------------------


def with_preset(monkeypatch, **changes):
    name, preset = config.load_preset("smoke")
    changed = config.validated(config.Preset, preset.model_dump() | changes, "preset")
    monkeypatch.setattr(config, "load_preset", lambda _="": (name, changed))


def test_the_audit_has_sizes_of_its_own(monkeypatch):
    sizes = {
        "n_subjects": 4,
        "n_micro": 100,
        "epochs": 7,
        "learning_rate": 0.1,
        "n_folds": 2,
        "seeds": [5, 6],
    }
    with_preset(monkeypatch, audit=sizes, holdout=True)
    audit, table = start("audit", {"split": ""}), start("table4", {"split": ""})
    spec = audit.preset.synthetic
    assert (spec.n_subjects, spec.n_micro) == (4, 60)  # at most what the preset has
    training = audit.settings.training
    assert (training.epochs, training.learning_rate, audit.settings.split.n_folds) == (7, 0.1, 2)
    assert audit.seeds == (5, 6)
    assert (audit.parameters.split, table.parameters.split) == ("subject", "holdout")
    assert (table.settings.training.epochs, table.seeds) == (1, (0,))


def test_the_released_recipe_has_epochs_of_its_own_or_is_refused(monkeypatch):
    with_preset(monkeypatch, released_epochs=9)
    assert started(recipe="released").settings.training.epochs == 9
    assert started().settings.training.epochs == 1
    with_preset(monkeypatch, released_epochs=0)
    with pytest.raises(
        ValueError, match=r"recipe = 'released' does not learn in this preset: .* choose preset"
    ):
        started(recipe="released")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("table4", {"grid": {"d": [7], "heads": [3]}}, "grid: d = 7 is not divisible by heads = 3"),
        ("table7", {"grid": {"m": [1]}}, "grid has no effect in table7; leave it out"),
        ("table4", {"baselines": ["STSTNet"]}, "baselines has no effect in table4; leave it out"),
        ("data", {"seeds": [1]}, "seeds has no effect in data; leave it out. Known here: preset, dataset,"),
        ("table6", {"dataset": "own"}, "dataset = 'own': table6 is about synthetic or casme3 alone; other"),
        ("reproduce", {"dataset": "synthetic"}, "'synthetic': reproduce is about megc2019_flow alone; other"),
        ("claims", {"dataset": "own"}, "dataset has no effect in claims; leave it out. Known here: preset,"),
        ("table4", {"lists_root": "x"}, "lists_root has no effect with split = 'subject'; leave it out, or"),
        ("table6", {"baselines": ["Foo"]}, "baselines: 'Foo' is no baseline; choose from "),
        ("table5", {"baselines": ["RCN-A"]}, "baselines: 'RCN-A' was removed: no table of the paper"),
    ],
)
def test_what_has_no_effect_or_cannot_be_trained_is_refused_at_the_start(name, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        start(name, {"preset": "smoke", **given})


def test_accuracy_on_held_out_clips_is_that_of_each_stored_epoch(monkeypatch):
    records = {
        "a": {"predictions": {"y_true": [0, 1, 2, 1]}, "epoch_predictions": [[0, 0, 0, 0], [0, 1, 2, 0]]},
        "b": {"predictions": {"y_true": [1]}},
    }
    monkeypatch.setattr(store, "load", lambda trial, folder: records[trial])
    curves = started().held_out({"named": ["a", "b"], "shuffled": ["b"]})
    assert [curve.tolist() for curve in curves["named"]] == [[25, 75]]
    assert set(curves) == {"named"}
