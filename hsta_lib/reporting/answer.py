"""What a report opens with: its answer and key figure, which the last cell fills in, and its command."""

import json
import shlex

from IPython.display import Markdown, display

from hsta_lib import ROOT, SHIPPED, config
from hsta_lib.reporting.export import export_shown
from hsta_lib.reporting.records import report_path
from hsta_lib.reporting.tables import code, counted

# Parameters that say where and how fast a report is made, not what it says.
_NOT_SAID = ("preset", "workers", "scheduler", "export")


class Answer:
    """Two outputs of a notebook's first cell that its last cell replaces.

    With the parameter ``export`` of ``study``, what is shown from here on is written beside the report too.

    Raises
    ------
    FileNotFoundError, ValueError, ConnectionError
        If a parameter names a folder or a scheduler that is not there, or a variant that the data has not.
    """

    def __init__(self, study):
        study.check_given()
        self._study = study
        if study.parameters.export:
            export_shown(report_path(study, ""))
        waiting = "*It stands here when the last cell has run.*"
        self._text = display(self._opened(waiting), display_id=True)
        self._figure = display(Markdown(""), display_id=True)

    def give(self, *said, figure=None, dataset=None):
        """Say what was found.

        Parameters
        ----------
        *said : IPython.display.Markdown
            Sentences made from numbers, a list each.
        figure : matplotlib.figure.Figure, optional
            The one that shows it.
        dataset : hsta_lib.data.dataset.Dataset, optional
            Whose clips are counted.
        """
        self._text.update(self._opened("\n".join(part.data for part in said if part.data), dataset))
        if figure is not None:
            self._figure.update(figure)

    def _opened(self, answer, dataset=None):
        """The answer, what it is about, and the command."""
        clips = "" if dataset is None else _clips(dataset)
        about = f"{self._study.data_name}{clips}{self._study.dependence}; {self._study.chosen}"
        warnings = [] if "network" in self._study.given else self._study.warnings  # no dataset is opened
        if self._study.name == "claims":
            about = "those of the reports that it gathers, each with its split, labels and seeds"
        made = f"*Data*: {_with_own_clips(self._study, about)}. *Made by* `{command(self._study)}`."
        return Markdown("\n\n".join(["## Answer", answer, *_replaced(self._study), *warnings, made]))


def _with_own_clips(study, trained):
    """What a report is about where a folder of clips is given, and perhaps the network that reads them."""
    given = {name: code(_without_folders(study.given.get(name, ""))) for name in ("clips", "network")}
    origin = f"read from {given['network']}" if "network" in study.given else f"trained on {trained}"
    return f"the clips in {given['clips']}; the network is {origin}" if "clips" in study.given else trained


def _replaced(study):
    """A line where papermill writes another preset's report over the committed one of the study."""
    written = config.written_notebook()
    path = config.shown_path(written.resolve()) if written else ""
    committed = [f"reports/{of}{study.name}.ipynb" for of in ("", "real-") if ROOT == SHIPPED]
    told = f"**This replaces the committed report, {path}.** `git checkout {path}` brings it back."
    return [told] if path in committed and study.preset_name != "study" else []


def _clips(dataset):
    tested = dataset.tested
    return f", {counted(len(tested), 'clip')} of {counted(tested['subject_id'].nunique(), 'subject')}"


def command(study):
    """The command that makes a report of the same numbers; of absolute paths only the last folder."""
    given = {"preset": study.preset_name}
    given |= {name: value for name, value in study.given.items() if name not in _NOT_SAID}
    given = {name: _without_folders(value) for name, value in given.items()}
    if config.records_dir() != ROOT / "reports":
        return " ".join([f"make {study.name}", *(f"{name.upper()}={_listed(given[name])}" for name in given)])
    report = "real-" * study.parameters.shows_flow + study.name
    words = [f"papermill notebooks/{study.name}.ipynb reports/{report}.ipynb"]
    for name, value in given.items():
        is_text = isinstance(value, str)
        words.append(f"-p {name} {value}" if is_text else f"-y '{name}: {json.dumps(value)}'")
    return " ".join(words)


def _without_folders(value):
    """A path of this machine as ``.../name``."""
    is_absolute = isinstance(value, str) and value.startswith(("/", "~"))
    return f".../{value.rstrip('/').rpartition('/')[2]}" if is_absolute else value


def _listed(value):
    """A value as the shell hands it to make: ``0,1`` of a list."""
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return shlex.quote(json.dumps(value) if isinstance(value, dict) else str(value))
