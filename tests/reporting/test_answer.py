"""A report opens with its answer: said once at the top, with the data, what was chosen and the command."""

from types import SimpleNamespace

import pandas as pd
import pytest
from IPython.display import Markdown

from hsta_lib import ROOT, config
from hsta_lib.reporting import answer
from hsta_lib.study.study import start

pytestmark = pytest.mark.usefixtures("no_environment")


def _study(**parameters):
    return start("table4", {"preset": "smoke", **parameters})


class _Handle:
    """What `display` gives for an output that can be replaced."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, shown):
        self.shown = shown


@pytest.fixture
def outputs(monkeypatch):
    """Outputs of the cell that the answer stands in."""
    handles = []

    def display(shown, display_id):
        assert display_id is True
        handles.append(_Handle(shown))
        return handles[-1]

    monkeypatch.setattr(answer, "display", display)
    return handles


def test_the_last_cell_replaces_what_the_first_shows(outputs):
    opened = answer.Answer(_study())
    text, figure = outputs
    assert "when the last cell has run" in text.shown.data
    dataset = SimpleNamespace(tested=pd.DataFrame({"subject_id": ["a", "b", "a"]}))
    opened.give(Markdown("- First."), Markdown("- Second."), figure="picture", dataset=dataset)
    assert len(outputs) == 2
    assert text.shown.data.startswith("## Answer\n\n- First.\n- Second.\n\n> **The faces are synthetic")
    assert "synthetic faces (easy), 3 clips of 2 subjects" in text.shown.data
    assert "preset `smoke`, recipe `equations`" in text.shown.data
    assert "last cell" not in text.shown.data
    assert figure.shown == "picture"


def test_real_data_are_not_called_synthetic_and_shared_subjects_are_said(outputs, tmp_path):
    folder = tmp_path / "casme3"
    folder.mkdir()
    answer.Answer(_study(dataset="casme3", data_root=str(folder), split="paper"))
    said = outputs[0].shown.data
    assert "synthetic" not in said
    assert "*Data*: casme3, **subject-dependent**;" in said
    assert "DATA_ROOT=.../casme3" in said
    assert str(tmp_path) not in said


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (
            {"dataset": "casme2", "variant": "croped"},
            "variant = 'croped' is unknown; choose one of cropped, sel",
        ),
        ({"dataset": "smic", "variant": "UV"}, "variant = 'UV' is unknown; choose one of HS, VIS"),
        ({"dataset": "own", "variant": "raw"}, "variant = 'raw' is unknown; own has no variants"),
        ({"dataset": "smic", "macro_clips": "all"}, "smic has no macro-expressions"),
        ({"dataset": "samm", "data_root": ""}, "'samm' needs the folder that holds it"),
        ({"lists_root": ".", "split": "authors"}, "give the folder of a clone of OceanSummerDay/HSTA_MER"),
        ({"scheduler": "nowhere.json"}, "neither an address, as tcp://host:8786, nor a scheduler file"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "no Dask scheduler answers"),
    ],
)
def test_what_is_not_there_stops_the_first_cell(outputs, tmp_path, monkeypatch, chosen, words):
    monkeypatch.setattr("hsta_lib.training.cluster.CONNECT_SECONDS", 0.5)
    study = _study(**{"data_root": str(tmp_path)} | chosen if "dataset" in chosen else chosen)
    with pytest.raises((ValueError, FileNotFoundError, ConnectionError), match=words):
        answer.Answer(study)
    assert not outputs


def test_the_command_has_every_parameter_that_was_given(monkeypatch, tmp_path):
    study = _study(seeds=[0, 1], dataset="own", data_root="mine", grid={"m": [1]}, workers=3, export=True)
    monkeypatch.setattr(config, "records_dir", lambda: tmp_path)
    made = "make table4 PRESET=smoke DATASET=own DATA_ROOT=mine SEEDS=0,1 GRID='{\"m\": [1]}'"
    assert answer.command(study) == made
    monkeypatch.setattr(config, "records_dir", lambda: ROOT / "reports")
    assert answer.command(study) == (
        "papermill notebooks/table4.ipynb reports/table4.ipynb -p preset smoke -p dataset own "
        "-p data_root mine -y 'seeds: [0, 1]' -y 'grid: {\"m\": [1]}'"
    )
    of_flow = answer.command(_study(dataset="megc2019_flow", variant="htnet"))
    assert of_flow.startswith("papermill notebooks/table4.ipynb reports/real-table4.ipynb -p preset smoke")


@pytest.mark.parametrize(
    ("preset", "folder"), [("smoke", "reports"), ("study", "reports"), ("smoke", "mine")]
)
def test_a_report_that_replaces_the_studys_says_so(outputs, monkeypatch, preset, folder):
    monkeypatch.setattr(config, "written_notebook", lambda: ROOT / folder / "table4.ipynb")
    answer.Answer(_study(preset=preset))
    said = "**This replaces the committed report, reports/table4.ipynb.**" in outputs[0].shown.data
    assert said == ((preset, folder) == ("smoke", "reports"))


@pytest.mark.parametrize("name", ["data_root", "lists_root"])
def test_a_folder_that_is_not_there_is_refused_before_anything_is_shown(outputs, name):
    split = {"split": "authors"} if name == "lists_root" else {}
    study = _study(**{"dataset": "casme3", "data_root": "/", name: "/not/there"} | split)
    with pytest.raises(
        FileNotFoundError, match=f"{name} = '/not/there': no such folder .*; the nearest is /"
    ):
        answer.Answer(study)
    assert outputs == []
