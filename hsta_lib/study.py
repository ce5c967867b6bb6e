"""What every notebook starts with: its parameters checked, its preset read, its trials made."""

import ast
import re
from dataclasses import dataclass

import pandas as pd

from hsta_lib import config, references, runner, store
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.splits import check_folds, make_folds
from hsta_lib.trials import expand_grid, make_trials

# The setting each table's verdict rests on, named before any run (paper, Tables 5 to 7 use it).
NAMED_CELL = {"m": 4, "l_v": 2, "l_s": 1}

_PROTOCOLS = {
    "subject": "{n} folds grouped by subject: no subject is in training and in test",
    "paper": "subject-dependent: {n} random folds over clips, as in the paper's ablations; "
    "nearly every test clip's subject is also in training",
    "loso": "leave one subject out: {n} folds",
}


@dataclass(frozen=True)
class Study:
    """One notebook's run: which report, with which parameters, preset and settings."""

    name: str
    parameters: config.Parameters
    preset_name: str
    preset: config.Preset
    settings: config.Settings
    grid: dict
    seeds: tuple

    def open_dataset(self):
        """The dataset the parameters name; see `hsta_lib.data.dataset.open_dataset`."""
        return open_dataset(self.parameters, self.preset, config.data_dir())

    def folds(self, dataset):
        """Folds of the split, checked."""
        split = self.settings.split
        folds = make_folds(dataset.clips, **split.model_dump())
        check_folds(dataset.clips, folds, split=split.split)
        return folds

    def cells(self):
        """Settings of the grid, one row each; see `hsta_lib.trials.expand_grid`."""
        return expand_grid(self.grid)

    def trials(self, dataset, cells, **fields):
        """Trials of some cells, one list per cell; ``fields`` replace fields of the settings."""
        settings = config.with_fields(self.settings, **fields)
        return make_trials(settings, cells, len(self.folds(dataset)), self.seeds, dataset.fingerprint)

    def reference_trials(self, dataset):
        """Trials of the named setting, by the kind of label shuffling (``none``: true labels)."""
        named = pd.DataFrame([NAMED_CELL])
        kinds = ("none", "fold", "recording")
        return {kind: self.trials(dataset, named, shuffled_labels=kind)[0] for kind in kinds}

    def run(self, trials, dataset):
        """Train what has no result yet; see `hsta_lib.runner.run`."""
        runner.run(trials, dataset, config.results_dir(), workers=self.parameters.workers)

    def predictions(self, trials_of_cells):
        """Stored predictions of some cells, with a column ``cell`` that counts them from 0."""
        parts = [store.predictions(trials, config.results_dir()) for trials in trials_of_cells]
        return pd.concat([rows.assign(cell=cell) for cell, rows in enumerate(parts)], ignore_index=True)

    def reference_predictions(self, dataset, folds, trials):
        """Predictions of the reference rows, by name; ``trials`` from `reference_trials`, trained."""
        stored = {
            kind: store.predictions(trials[kind], config.results_dir()) for kind in ("fold", "recording")
        }
        rows = {
            "majority class": references.majority(dataset.clips, folds),
            "labels shuffled": stored["fold"],
            "labels shuffled within each recording": stored["recording"],
        }
        if self.is_synthetic and self.parameters.labels == "emotion7":
            spec = self.preset.synthetic
            rows["linear model on the true motion"] = references.linear_on_true_flow(dataset, folds, spec)
            rows["ceiling: true action units known"] = references.ceiling(dataset, folds, spec)
        return rows

    def losses(self, groups):
        """Epoch losses of groups of trials: name to a list of curves."""
        folder = config.results_dir()
        return {
            name: [store.load(trial, folder)["losses"] for trial in trials] for name, trials in groups.items()
        }

    def protocol(self, dataset):
        """How the clips are divided, as a sentence."""
        return _PROTOCOLS[self.settings.split.split].format(n=len(self.folds(dataset)))

    @property
    def is_synthetic(self):
        """Whether the faces are generated."""
        return self.parameters.dataset == "synthetic"

    @property
    def data_name(self):
        """The data, in words that cannot be mistaken."""
        if not self.is_synthetic:
            return self.parameters.dataset
        spec = self.preset.synthetic
        tied = ", labels tied to film and recording" if spec.tied_labels else ""
        return f"synthetic faces ({spec.difficulty}{tied})"

    def _repr_markdown_(self):
        warning = (
            "> **The faces are synthetic: a positive control.** It shows that data way, training and scoring "
            "work and can find a signal that is there. It is no evidence about real faces.\n\n"
            if self.is_synthetic
            else ""
        )
        dependent = " — **subject-dependent**" if self.settings.split.split == "paper" else ""
        return (
            f"## {_heading(self.name)}: preset `{self.preset_name}`, {self.data_name}{dependent}\n\n{warning}"
            f"recipe `{self.settings.recipe}`, labels `{self.settings.labels}`, "
            f"split `{self.settings.split.split}`, seeds {list(self.seeds)}"
        )


def start(name, namespace):
    """Check a notebook's parameters and read its preset.

    Parameters
    ----------
    name : str
        Of the notebook, e.g. ``table4``; the preset's grid of that name is the default grid.
    namespace : dict
        The notebook's ``globals()``.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        If a parameter is unknown or its value is not allowed, or the preset has no grid for the notebook.
    """
    known = set(config.Parameters.model_fields)
    assigned = set(_assigned_before(namespace.get("In", [])))
    values = {key: namespace[key] for key in known | assigned if key in namespace}
    parameters = config.validated(config.Parameters, values, "notebook parameters")
    preset_name, preset = config.load_preset(parameters.preset)
    if name not in preset.grids and not parameters.grid:
        raise ValueError(
            f"params/{preset_name}.yaml has no grid for {name}; give one with the parameter grid"
        )
    settings = config.Settings(
        recipe=parameters.recipe, labels=parameters.labels, frames=preset.frames, model=preset.model,
        training=preset.training, split=preset.split.model_copy(update={"split": parameters.split}),
    )  # fmt: skip
    grid = parameters.grid or preset.grids[name]
    seeds = tuple(parameters.seeds or preset.seeds)
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"notebook parameters: seeds = {list(seeds)} must be different numbers from 0 on")
    return Study(name, parameters, preset_name, preset, settings, grid, seeds)


def _heading(name):
    """``table4`` as a reader writes it: Table 4."""
    return re.sub(r"(\d+)", r" \1", name).capitalize()


def _assigned_before(history):
    """Names assigned in the parameter cells that ran just before this one.

    papermill injects a misspelt parameter without complaint, so its name is looked for in the cells
    executed before the current one, as far back as they only assign plain values.
    """
    names = []
    for source in reversed(history[:-1]):
        assigned = _plain_assignments(source)
        if not assigned:
            break
        names += assigned
    return names


def _plain_assignments(source):
    """Names a cell assigns, or nothing if it does anything but assign literals."""
    try:
        statements = ast.parse(source).body
        for statement in statements:
            ast.literal_eval(statement.value)
        return [
            target.id
            for statement in statements
            for target in ([statement.target] if isinstance(statement, ast.AnnAssign) else statement.targets)
        ]
    except (SyntaxError, ValueError, AttributeError):
        return []
