"""Settings: the paper's values are the defaults, presets load, mistakes are named."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from hsta_lib import ROOT, config
from hsta_lib.config import (
    Folds,
    Frames,
    Group,
    Model,
    Preset,
    Settings,
    Split,
    Synthetic,
    Training,
    TrialTraining,
    with_fields,
)

pytestmark = pytest.mark.usefixtures("no_environment")

GROUPS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Group)
}


@pytest.fixture
def load_text(tmp_path, monkeypatch):
    """Function that loads a preset ``bad`` from the text of its file."""
    monkeypatch.setattr(config, "ROOT", tmp_path)
    (tmp_path / "params").mkdir()

    def load(text):
        (tmp_path / "params" / "bad.yaml").write_text(text)
        return config.load_preset("bad")[1]

    return load


# --- defaults ---------------------------------------------------------------------------------------------


def test_preset_full_spells_the_defaults_out():
    preset = config.load_preset("full")[1]
    assert (preset.frames, preset.model, preset.training) == (Frames(), Model(), Training())
    assert preset.split == Folds()
    assert preset.synthetic == Synthetic()


# --- presets ----------------------------------------------------------------------------------------------


def test_presets_are_the_files_in_params():
    assert config.preset_names() == sorted(path.stem for path in (ROOT / "params").iterdir())
    assert set(config.preset_names()) >= {"full", "quick", "smoke", "study"}


@pytest.mark.parametrize("name", config.preset_names())
def test_every_preset_loads(name):
    loaded, preset = config.load_preset(name)
    assert loaded == name
    assert preset.grids
    assert all(
        isinstance(values, list) and values for grid in preset.grids.values() for values in grid.values()
    )


def test_a_preset_lists_only_what_differs(load_text):
    assert load_text("# nothing differs\n") == Preset()
    preset = load_text("model:\n  d: 64\n")
    assert preset.model == Model(d=64)
    assert preset.training == Training()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training: {learning_rat: 1}", ["training.learning_rat is unknown", "learning_rate"]),
        ("seed: [1]", ["seed is unknown", "seeds"]),
        ("model: {m: many}", ["model.m = 'many'", "integer"]),
        ("model: {csta: maybe}", ["model.csta = 'maybe'", "boolean"]),
        ("model: {m: 2.5}", ["model.m = 2.5", "integer"]),
        ("model: {m: 0}", ["model.m = 0", "greater than or equal to 1"]),
        ("training: {learning_rate: 0}", ["training.learning_rate = 0", "greater than 0"]),
        ("training: {weight_decay: .nan}", ["training.weight_decay = nan"]),
        ("training: {learning_rate: .inf}", ["training.learning_rate = inf", "finite"]),
        ("split: {split: paper}", ["split.split is unknown", "n_folds"]),
        ("training: {shuffled_labels: fold}", ["training.shuffled_labels is unknown"]),
        ("frames: 3", ["frames = 3"]),
        ("seeds: []", ["seeds = []", "at least 1"]),
        ("n_boot: 99", ["n_boot = 99", "100"]),
        ("grids: {table4: {m: 3}}", ["grids.table4.m = 3", "list"]),
    ],
)
def test_a_mistake_in_a_preset_is_named(load_text, text, words):
    with pytest.raises(ValueError, match=r"params/bad\.yaml") as error:
        load_text(text)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", r"must hold names and their values, found \[1, 2\]"),
        ("quick", "must hold names and their values, found 'quick'"),
        ("a: b: c", "no YAML file: mapping values are not allowed here"),
    ],
)
def test_a_preset_that_is_no_mapping_is_refused(load_text, text, words):
    with pytest.raises(ValueError, match=rf"params/bad\.yaml.*{words}"):
        load_text(text)


def test_all_mistakes_are_named_at_once(load_text):
    with pytest.raises(ValueError, match=r"model\.m = 0 .*; training\.epoch is unknown"):
        load_text("model: {m: 0}\ntraining: {epoch: 3}")


def test_numbers_written_as_text_are_converted(load_text):
    # YAML reads 1e-3, without a point, as text.
    training = load_text("training: {learning_rate: 1e-3, epochs: '7'}").training
    assert (training.learning_rate, training.epochs) == (0.001, 7)
    assert isinstance(training.learning_rate, float)


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"preset = 'huge' is unknown; .*full, .*quick, .*smoke"):
        config.load_preset("huge")


# --- environment ------------------------------------------------------------------------------------------


def test_the_preset_is_quick_if_nothing_is_said(monkeypatch):
    assert config.load_preset()[0] == "quick"
    monkeypatch.setenv("HSTA_PRESET", "")
    assert config.load_preset("")[0] == "quick"


def test_the_environment_fills_in_an_empty_preset_only(monkeypatch):
    monkeypatch.setenv("HSTA_PRESET", "smoke")
    assert config.load_preset("")[0] == "smoke"
    assert config.load_preset("quick")[0] == "quick"


def test_an_unknown_preset_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("HSTA_PRESET", "huge")
    with pytest.raises(ValueError, match="preset = 'huge' is unknown"):
        config.load_preset("")


@pytest.mark.parametrize(
    ("folder", "variable", "default"),
    [(config.data_dir, "HSTA_DATA", "data"), (config.results_dir, "HSTA_RESULTS", "results")],
)
def test_folders_can_be_moved_by_the_environment(monkeypatch, tmp_path, folder, variable, default):
    assert folder() == ROOT / default
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder() == tmp_path
    assert isinstance(folder(), Path)


# --- fields of settings -----------------------------------------------------------------------------------


def test_field_names_are_unique_across_groups():
    assert list(GROUPS) == ["frames", "model", "training", "split", "comparison"]
    names = Counter(name for group in GROUPS.values() for name in group.model_fields)
    assert [name for name, count in names.items() if count > 1] == []


def test_with_fields_puts_each_field_into_its_group():
    changed = with_fields(Settings(), m=7, image_size=64, epochs=3, split="loso")
    assert changed == Settings(
        frames=Frames(image_size=64),
        model=Model(m=7),
        training=TrialTraining(epochs=3),
        split=Split(split="loso"),
    )


@pytest.mark.parametrize("name", [name for group in GROUPS.values() for name in group.model_fields])
def test_with_fields_finds_every_field(name):
    group = next(group for group in GROUPS.values() if name in group.model_fields)
    assert with_fields(Settings(), **{name: getattr(group(), name)}) == Settings()


def test_a_field_s_value_is_found_by_its_name():
    settings = with_fields(Settings(), m=7, split="loso", epochs=3, crop="center_square")
    values = [config.field_value(settings, name) for name in ("m", "split", "epochs", "crop", "d")]
    assert values == [7, "loso", 3, "center_square", 768]
    with pytest.raises(ValueError, match="'depth' is no setting"):
        config.field_value(settings, "depth")


def test_with_fields_keeps_the_rest_and_the_original():
    settings = Settings(labels="emotion3", model=Model(d=64))
    changed = with_fields(settings, m=2)
    assert (changed.labels, changed.model.d, changed.model.m) == ("emotion3", 64, 2)
    assert settings.model.m == 4


def test_with_fields_converts_numbers_written_as_text():
    assert with_fields(Settings(), learning_rate="1e-3").training.learning_rate == 0.001


def test_an_unknown_field_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'depth' is no setting; known settings: .*l_v, l_s"):
        with_fields(Settings(), depth=3)


def test_settings_are_hashable_by_value():
    assert len({Settings(), Settings(), with_fields(Settings(), m=2)}) == 2


def test_settings_are_frozen():
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.labels = "emotion3"
    with pytest.raises(ValidationError, match="frozen"):
        settings.model.m = 2


class _Process:
    """What `psutil.Process` tells of a command."""

    def __init__(self, folder, *arguments):
        self.cwd, self.cmdline = (lambda: str(folder)), (lambda: list(arguments))


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["python", "/env/bin/papermill", "notebooks/table4.ipynb", "out/mine.ipynb"], "out/mine.ipynb"),
        (["papermill", "-p", "m", "1", "a.ipynb", "/else/b.ipynb", "-k", "python3"], "/else/b.ipynb"),
        (["python", "-m", "hsta_lib.commands.execute", "a.ipynb", "out/b.ipynb"], "out/b.ipynb"),
        (["papermill", "a.ipynb", "s3://bucket/b.ipynb"], None),
        (["papermill", "a.ipynb"], None),  # to standard output
        (["python", "-m", "jupyterlab", "a.ipynb", "b.ipynb"], None),
    ],
)
def test_what_lies_beside_a_report_is_written_beside_it(tmp_path, monkeypatch, arguments, written):
    process = _Process(tmp_path, *arguments)
    monkeypatch.setattr(config.psutil, "Process", lambda: SimpleNamespace(parent=lambda: process))
    folder = (tmp_path / written).parent if written else ROOT / "reports" / "local"
    assert config.records_dir() == folder


def test_without_a_parent_the_folder_is_the_local_one(monkeypatch):
    monkeypatch.setattr(config.psutil, "Process", lambda: SimpleNamespace(parent=lambda: None))
    assert config.records_dir() == ROOT / "reports" / "local"
    assert config.shown_path(config.records_dir()) == "reports/local"


def test_how_long_a_worker_may_be_silent_is_a_setting(monkeypatch):
    monkeypatch.delenv("HSTA_SILENT_SECONDS", raising=False)
    assert config.silent_seconds() == 60
    monkeypatch.setenv("HSTA_SILENT_SECONDS", "300")
    assert config.silent_seconds() == 300
    for wrong in ("5", "1.5", "soon"):
        monkeypatch.setenv("HSTA_SILENT_SECONDS", wrong)
        with pytest.raises(ValueError, match=f"HSTA_SILENT_SECONDS = '{wrong}' must be a whole number of"):
            config.silent_seconds()
