"""Rows that differ in more than a grid: each changes what it says and nothing else, data are opened once."""

import pandas as pd
import pytest
from tiny import changes

from hsta_lib import config
from hsta_lib.paper import ROW_NAMES, load_table
from hsta_lib.study import ablations
from hsta_lib.study.ablations import AS_IS, DESIGNS
from hsta_lib.study.study import start
from hsta_lib.training.trials import NAMED_CELL

SMALL = {"n_subjects": 5, "n_micro": 23, "frame_size": 32}


def _study(name, **parameters):
    return start(name, {"preset": "smoke", **parameters}).variant(synthetic=SMALL)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Function that prepares the rows of a design once: cells, studies, datasets, trials."""
    done = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSTA_DATA", str(tmp_path_factory.mktemp("data")))
        patch.delenv("HSTA_PRESET", raising=False)

        def prepare(name):
            if name not in done:
                study = _study(name)
                cells = DESIGNS[name]()
                done[name] = (cells, *study.prepare(cells))
            return done[name]

        yield prepare


def by_row(cells, values):
    return dict(zip(cells["row"], values, strict=True))


# --- rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DESIGNS)
def test_rows_are_unique_by_name_and_by_settings(name):
    cells = DESIGNS[name]()
    assert not cells.drop(columns=[column for column in ROW_NAMES if column in cells]).duplicated().any()
    if "row" in cells:
        assert cells["row"].is_unique
    known = {*config.Parameters.model_fields, *ROW_NAMES}
    for column in set(cells) - known:
        config.field_value(config.Settings(), column)  # is a field of the settings


def test_figure_3_varies_the_frames_of_one_video_layer(prepared):
    cells, studies, datasets, trials = prepared("figure3")
    assert cells["n_frames"].tolist() == [2, 4, 6, 8, 10, 12, 16]
    assert len({dataset.fingerprint for dataset in datasets}) == 7
    for n_frames, study, dataset, runs in zip(cells["n_frames"], studies, datasets, trials, strict=True):
        assert dataset.frames().shape[1] == n_frames + 2
        assert {trial.settings for trial in runs} == {study.settings}
        model = study.settings.model
        assert (model.m, model.l_v, model.l_s, model.csta) == (1, 1, 0, False)
        assert changes(studies[0].settings, study.settings).keys() <= {"n_frames"}


def test_the_printed_rows_of_table_7_have_the_flags_of_the_paper():
    cells, paper = ablations.table7(), load_table("table7")
    printed = cells.dropna(subset="printed").set_index("printed").sort_index()
    assert printed.index.tolist() == list(paper.index)
    flags = {
        "optical_flow": printed["special"] == "tracks",
        "macro_expressions": printed["macro_clips"] == "all",
        "objective_classes": printed["labels"] == "objective7",
    }
    for name, values in flags.items():
        assert values.tolist() == paper[name].tolist()
    # The third row ticks neither kind of special data.
    assert (printed["special"] == "frames").tolist() == [True, False, True, False, True]
    assert paper["special_frames"].tolist() == [True, False, False, False, True]
    assert set(paper["n_classes"]) == {7}
    assert (printed["macro_clips"] != "training_subjects").all()


def test_variants_of_table_7_leave_the_test_subjects_macro_clips_out():
    cells = ablations.table7()
    honest = cells[cells["printed"].isna() & (cells["macro_clips"] != "none")]
    assert set(honest["macro_clips"]) == {"training_subjects"}
    assert (cells[list(NAMED_CELL)] == list(NAMED_CELL.values())).all(axis=None)


# --- prepared ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["controls", "table7"])
def test_the_first_row_shares_its_trials_with_table_4(prepared, name):
    cells, _, datasets, trials = prepared(name)
    table4 = _study("table4")
    opened = table4.open_dataset()
    assert opened.fingerprint == datasets[0].fingerprint
    ((*runs,),) = table4.trials(opened, pd.DataFrame([NAMED_CELL]))
    assert [trial.id for trial in trials[0]] == [trial.id for trial in runs]
    assert len(runs) == 2  # folds
    assert cells["row"][0] in (AS_IS, "special frames")


def test_as_it_is_has_the_defaults():
    (usual,) = ablations.controls().head(1).drop(columns="row").to_dict("records")
    assert usual == {name: config.field_value(config.Settings(), name) for name in usual}


CONTROLS = {
    AS_IS: {},
    "video frames shuffled": {"video": "shuffled"},
    "video: the apex frame repeated": {"video": "apex"},
    "video: onset and apex alone": {"video": "onset_apex"},
    "no positions": {"positions": "none"},
    "branches concatenated instead of CSTA": {"csta": False},
    "branches added instead of CSTA": {"csta": False, "head": "sum_linear"},
    "apex: frame most unlike the onset": {"apex": "estimated", "estimated_apex": "difference"},
    "apex: middle of onset and offset": {"apex": "estimated"},
    "half of the training subjects": {"training_subjects": 0.5},
    "a quarter of the training subjects": {"training_subjects": 0.25},
}


def test_every_control_changes_what_it_says_and_nothing_else(prepared):
    cells, studies, _, trials = prepared("controls")
    assert list(cells["row"]) == list(CONTROLS)
    usual = studies[0].settings
    for row, runs in by_row(cells, trials).items():
        (settings,) = {trial.settings for trial in runs}
        assert changes(usual, settings).keys() == set(CONTROLS[row])
        assert all(config.field_value(settings, name) == value for name, value in CONTROLS[row].items())
    ids = [trial.id for runs in trials for trial in runs]
    assert len(set(ids)) == len(ids) == 2 * len(CONTROLS)


def test_controls_are_tested_on_the_same_clips_and_open_data_once(prepared):
    cells, studies, datasets, trials = prepared("controls")
    tested = [
        [fold.test.tolist() for fold in study.folds(dataset)]
        for study, dataset in zip(studies, datasets, strict=True)
    ]
    assert all(folds == tested[0] for folds in tested)
    named = by_row(cells, datasets)
    estimated = [row for row in CONTROLS if row.startswith("apex")]
    assert {id(dataset) for row, dataset in named.items() if row not in estimated} == {id(datasets[0])}
    assert len({named[row].fingerprint for row in (AS_IS, *estimated)}) == 3
    for dataset, runs in zip(datasets, trials, strict=True):
        assert {trial.fingerprint for trial in runs} == {dataset.fingerprint}


def test_each_row_of_table_7_has_its_own_labels_macro_clips_and_special_data(prepared):
    cells, studies, datasets, trials = prepared("table7")
    for cell, study, dataset, runs in zip(cells.to_dict("records"), studies, datasets, trials, strict=True):
        (settings,) = {trial.settings for trial in runs}
        assert (settings.labels, settings.frames.special) == (cell["labels"], cell["special"])
        assert settings.split.macro_clips == cell["macro_clips"]
        assert len(dataset.classes) == (6 if cell["labels"] == "objective6" else 7)
        assert ("VI" in dataset.classes) == (cell["labels"] == "objective7")
        has_macro = (dataset.clips["expression_type"] == "macro").any()
        assert has_macro == (cell["macro_clips"] != "none")
        assert len(runs) == len(study.folds(dataset)) == 2
    named = by_row(cells, datasets)
    objective = [row for row in named if row.startswith("objective classes") and "without VI" not in row]
    # Whatever is in training, clips of the same subjects and classes are tested; beside macro clips, some of
    # them lie elsewhere in their recording.
    tested = [named[row].tested[["subject_id", "label"]].value_counts() for row in objective]
    assert all(counts.to_dict() == tested[0].to_dict() for counts in tested)


def test_the_seeds_of_a_study_reach_its_rows(prepared):
    prepared("figure3")  # the folder of data
    study = _study("figure3", seeds=[5, 3])
    cells = ablations.figure3().head(1)
    _, _, (runs,) = study.prepare(cells)
    assert [(trial.seed, trial.fold) for trial in runs] == [(5, 0), (5, 1), (3, 0), (3, 1)]


def test_what_is_neither_parameter_nor_field_is_refused():
    with pytest.raises(ValueError, match="'depth' is no setting"):
        _study("controls").prepare(pd.DataFrame([{"row": "a", "depth": 3}]))
    with pytest.raises(ValueError, match="parameters: labels = 7 is not allowed"):
        _study("controls").prepare(pd.DataFrame([{"row": "a", "labels": 7}]))
