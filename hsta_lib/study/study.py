"""What every notebook starts with: its parameters checked, its preset read, its trials made."""

import ast
import json
import math
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib import SHIPPED, config
from hsta_lib.data.dataset import benchmark, check_given, open_dataset, why_lacking
from hsta_lib.data.frames import cache_frames
from hsta_lib.data.readers import find, flow_images
from hsta_lib.data.splits import (
    HOLDOUT,
    Fold,
    check_folds,
    is_subject_dependent,
    make_folds,
    shares_recording,
)
from hsta_lib.data.table import LackingError, class_names, default_labels
from hsta_lib.data.twins import count_twins
from hsta_lib.evaluation import pixel_free, references
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.paper import (
    GRID_TABLES,
    ROW_NAMES,
    load_table,
    printed_cells,
    table_names,
    title_of,
    with_branch,
)
from hsta_lib.reporting.errors import show_messages_alone
from hsta_lib.reporting.tables import LINEAR, beside_paper, beside_printed
from hsta_lib.study.ablations import DESIGNS
from hsta_lib.training import store
from hsta_lib.training.trials import NAMED_CELL, expand_grid, id_of, make_trials, settings_of

_DEFAULTS = config.Parameters().model_dump()
_SHUFFLES = 3
# Notebooks that can do with published pictures of flow, what HSTA is given of them, and the modules it has
# there. A deviation from the mean of a picture shown twice would be nothing: pixels are as ImageNet's.
_ON_FLOW_ALONE = ("reproduce", "extractions", "honest")
_ON_FLOW = ("data", "table1", "table3", "table4", "table5", "controls", *_ON_FLOW_ALONE)
# Notebooks of certain data alone: published scores or weights stand beside ours.
_ABOUT = {"table6": ("synthetic", "casme3"), **dict.fromkeys(_ON_FLOW_ALONE, ("megc2019_flow",))}
_FLOW_FIELDS = {
    **flow_images.FRAMES, "special": "flow", "drawing": "uniform", "keep_apex": False, "pixels": "imagenet",
    "patch_size": 7, "patch_size_special": 0, "tubelet_size": 2,
}  # fmt: skip
_MODULES_ON_FLOW = (1, 2, 4, 8)
_PATHS = ("data_root", "lists_root")
_PICTURE_SIZE = 160  # px

_LABELS_BY_ROW = ("table6", "table7")
_OF_ONE_NETWORK = ("attention", "predict")
_REAL_MOTION = "Real motion, published pictures of flow, no face"
_ON_REAL_MOTION = "HSTA's video branch, where there is one, sees these pictures too; the paper's sees frames."
_PROTOCOLS = {
    "subject": "{n} folds grouped by subject: no subject is in training and in test",
    "paper": "subject-dependent: {n} random folds over clips, as in the paper's ablations; "
    "nearly every test clip's subject is also in training",
    "loso": "leave one subject out: {n} folds",
    "authors": "subject-dependent: the authors' {n} lists, which are not grouped by subject; "
    "nearly every test clip's subject is also in training",
    "subject_seen": "subject-dependent: {n} folds; of the clips of a fold's test subjects half are tested, "
    "the others are in training",
    "holdout": "held out: each seed draws its training subjects from the same people ({train} clips with "
    "the first seed); all are tested on the same {test} clips of other subjects",
}
_REFERENCES = {
    "fold": "labels shuffled",
    "recording": "labels shuffled within each recording",
    "imagenet": "named setting, pixels normalised as ImageNet's",
}
_NO_RECORDINGS = "in a fold no two training clips share a recording"
_MACRO = {
    "none": "",
    "training_subjects": "; macro clips of the training subjects are in training",
    "all": "; all macro clips are in training, those of the test subjects included: subject-dependent",
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
    given: dict = field(default_factory=dict, compare=False)  # parameters that are not the defaults

    def variant(self, *, synthetic=None, fields=None, **parameters):
        """The same study with other parameters, fields of the benchmark or fields of the settings.

        The settings are made anew from the preset: fields given to an earlier variant are not kept.
        """
        chosen = config.validated(config.Parameters, self.parameters.model_dump() | parameters, "parameters")
        spec = self.preset.synthetic.model_dump() | (synthetic or {})
        spec = config.validated(config.Synthetic, spec, "synthetic")
        preset = self.preset.model_copy(update={"synthetic": spec})
        settings = config.with_fields(_settings(chosen, preset), **(fields or {}))
        return replace(self, parameters=chosen, preset=preset, settings=settings)

    def check_given(self):
        """Refuse before anything is made what is not there: a folder, a variant of the data, a scheduler.

        Raises FileNotFoundError, ValueError or ConnectionError.
        """
        for name in _PATHS:
            if name in self.given and not Path(self.given[name]).expanduser().exists():
                where = find.not_there(Path(self.given[name]).expanduser())
                raise FileNotFoundError(f"notebook parameters: {name} = {self.given[name]!r}: {where}")
        check_given(self.parameters)
        if self.parameters.scheduler:
            from hsta_lib.training import cluster  # with torch

            cluster.check(self.parameters.scheduler)

    def open_dataset(self):
        """The dataset the parameters name; see `hsta_lib.data.dataset.open_dataset`."""
        preset = self.preset.model_copy(update={"frames": self.settings.frames})  # as the recipe has them
        dataset = open_dataset(self.parameters, preset, config.data_dir())
        if self.settings.split.split != HOLDOUT:
            return dataset
        tested = np.concatenate([fold.test for fold in self.folds(dataset)])
        return replace(dataset, held_out=frozenset(dataset.clips["clip_id"].iloc[tested]))

    def folds(self, dataset, split="", seed=None):
        """Folds of the split, or of another one, checked; of that none, with a line, if clips are too few.

        Those of ``holdout`` are a seed's; of the first if none is given. Test clips whose pixels are in
        training too are refused or, where subjects are shared, told.
        """
        settings = self.settings.split.model_dump() | ({"split": split} if split else {})
        try:
            folds = make_folds(dataset.clips, **settings, seed=self.seeds[0] if seed is None else seed)
        except LackingError as error:
            if not split:
                raise
            print(f"Left out: split {split!r}. Reason: {error}")
            return []
        kind = {name: settings[name] for name in ("split", "macro_clips", "train_on")}
        check_folds(dataset.clips, folds, **kind, classes=dataset.classes)
        is_dependent = is_subject_dependent(settings["split"], settings["macro_clips"])
        if dataset.frames_path is None:
            return folds
        n = count_twins(dataset.clips, dataset.frames_path, folds, subject_dependent=is_dependent)
        if n:
            name = f"split {settings['split']}: {n} of {len(dataset.tested)} test clips"
            _tell(f"{name} are in training too, with the same pixels under another name")
        return folds

    def pictures(self, clips, n_frames=2):
        """Frames of some clips, uint8, shape ``(n_clips, n_frames + 2, 160, 160, 3)``; last onset and apex.

        None of published pictures of flow, which stay where they are.

        Raises
        ------
        ValueError
            If one of the clips cannot be read any more: its picture must not be that of the next.
        """
        if self.parameters.shows_flow:
            return None
        shown = {"crop": self.settings.frames.crop, "n_frames": n_frames, "image_size": _PICTURE_SIZE}
        path, _, left_out, _ = cache_frames(clips, config.Frames(**shown), config.data_dir() / "cache")
        if left_out:
            raise ValueError(f"a clip cannot be read any more: {left_out[0]}")
        return np.load(path)

    def cells(self):
        """Settings of the grid, else the notebook's own rows or those the paper prints, with M, L_v and L_s.

        See `trials.expand_grid`, `hsta_lib.study.ablations` and `hsta_lib.paper.printed_cells`.
        """
        if not self.grid and self.name in DESIGNS:
            return self._trained_longer(self._given(self._on_flow(DESIGNS[self.name]())))
        cells = expand_grid(self.grid) if self.grid else self._on_flow(printed_cells(self.name))
        variants = settings_of(self.settings, cells)
        kept = cells[[name for name in cells if name in ROW_NAMES]]
        names = [*NAMED_CELL, *(name for name in cells if name not in (*NAMED_CELL, *ROW_NAMES))]
        made = kept.assign(**{name: [config.field_value(v, name) for v in variants] for name in names})
        return self._trained_longer(with_branch(made) if self.grid and self.name == "table1" else made)

    def _trained_longer(self, cells):
        """Cells with the epochs that the preset gives this notebook, if it does and nobody chose others."""
        epochs = self.preset.epochs.get(self.name)
        chosen = self.parameters.recipe != "equations" or "epochs" in self.grid
        return cells.assign(epochs=epochs) if epochs and not chosen else cells

    def _on_flow(self, cells):
        """Rows that pictures of flow can have: none of the video alone or of frames, and few modules."""
        if not self.parameters.shows_flow:
            return cells
        if self.name == "table1":
            cells = cells[cells["branch"] == "special"]
        if self.name == "table4":
            cells = cells[cells["m"].isin(_MODULES_ON_FLOW)]
        if self.name == "controls":
            of_frames = (cells["video"] != "frames") | (cells["apex"] != "annotated")
            cells = cells[~of_frames].drop(columns=["video", "apex", "estimated_apex"])
        return cells.reset_index(drop=True)

    def _given(self, cells):
        """Rows that the data can give; a line names the others, before anything is trained."""
        if self.is_synthetic or self.parameters.shows_flow:
            return cells
        studies = self.of_cells(cells)
        keys = [study.parameters.model_dump_json() for study in studies]
        different = dict(zip(keys, studies, strict=True)).items()
        lacking = {key: why_lacking(s.parameters, s.preset, config.data_dir()) for key, s in different}
        reasons = np.array([lacking[key] for key in keys])
        if all(reasons):
            raise ValueError(f"no row of {self.name} can be made of this data: {reasons[0]}")
        for reason in dict.fromkeys(reasons[reasons != ""]):
            print(f"Left out: {'; '.join(cells['row'][reasons == reason])}. Reason: {reason}")
        return cells[reasons == ""].reset_index(drop=True)

    def trials(self, dataset, cells, **fields):
        """Trials of some cells, one list per cell; ``fields`` replace fields of the settings."""
        variants = settings_of(config.with_fields(self.settings, **fields), cells)
        return self.trials_of(variants, dataset)

    def prepare(self, cells):
        """Studies, datasets, trials of cells that may differ in any parameter or field, also in their frames.

        One of each for every row of ``cells``, whose columns are notebook parameters, fields of the settings,
        or names of rows. Datasets that are the same are opened once.
        """
        studies = self.of_cells(cells)
        opened = {}
        datasets = []
        for study in studies:
            key = study.parameters.model_dump_json(), study.preset.synthetic, study.settings.frames
            if key not in opened:
                opened[key] = study.open_dataset()
            datasets.append(opened[key])
        pairs = zip(studies, datasets, strict=True)
        trials = [study.trials_of([study.settings], dataset)[0] for study, dataset in pairs]
        return studies, datasets, trials

    def of_cells(self, cells):
        """The study of each cell, as for `prepare`."""
        chosen = cells.drop(columns=[name for name in cells if name in ROW_NAMES])
        return [self._with_cell(cell) for cell in chosen.to_dict("records")]

    def _with_cell(self, cell):
        parameters = {name: value for name, value in cell.items() if name in config.Parameters.model_fields}
        fields = {name: value for name, value in cell.items() if name not in parameters}
        return self.variant(**parameters, fields=fields)

    def trials_of(self, variants, dataset):
        """Trials of some settings, one list for each: every seed and fold; of enough steps on real data."""
        # Each seed of a holdout draws other subjects, who must show every class.
        seeds = self.seeds if self.settings.split.split == HOLDOUT else self.seeds[:1]
        folds = [self.folds(dataset, seed=seed) for seed in seeds]
        chosen = {name: getattr(self.parameters, name) for name in ("accept_other_code", "device")}
        more = max(map(len, folds)), self.seeds, dataset.fingerprint
        n_train = min(len(fold.train) for of_seed in folds for fold in of_seed)
        return [make_trials(self._long_enough(settings, n_train), *more, **chosen) for settings in variants]

    def _long_enough(self, settings, n_train):
        """Settings with as many epochs as the preset's least steps need, if nobody chose their number."""
        training = settings.training
        if settings.comparison.baseline or not self._least_steps:
            return settings
        # The last clips of an epoch, which fill no batch, may be left out.
        needed = math.ceil(self._least_steps / max(n_train // training.batch_size, 1))
        return config.with_fields(settings, epochs=max(needed, training.epochs))

    def reference_trials(self, dataset, names=("named", *_REFERENCES), named=None):
        """Trials of the named setting: as it is, on shuffled labels, on ImageNet's normalisation; or of some.

        ``named``, cells as for `trials`, takes the place of the paper's named setting; what it predicts after
        each epoch is stored, for `held_out`. One shuffle of the labels scatters by more than its interval
        shows: there are at least three. Labels shuffled within recordings are left out, with a line, where a
        fold's training clips share none.
        """
        several = self if len(self.seeds) >= _SHUFFLES else replace(self, seeds=tuple(range(_SHUFFLES)))
        runs = {
            "named": (self, {"store_epochs": True}),
            "fold": (several, {"shuffled_labels": "fold"}),
            "recording": (several, {"shuffled_labels": "recording"}),
            "imagenet": (self, {"pixels": "imagenet"}),
        }
        named = pd.DataFrame([NAMED_CELL]) if named is None else named
        without = ["imagenet"] if self.parameters.shows_flow else []  # whose pixels are always so
        if "recording" in names and not self._shares_recordings(dataset):
            print(f"Left out: {_REFERENCES['recording']}. Reason: {_NO_RECORDINGS}.")
            without.append("recording")
        runs = {name: runs[name] for name in names if name not in without}
        return {name: study.trials(dataset, named, **fields)[0] for name, (study, fields) in runs.items()}

    def _shares_recordings(self, dataset):
        return all(shares_recording(dataset.clips, train) for train, _ in self.folds(dataset))

    def run(self, trials, *datasets):
        """Train what has no result yet; see `hsta_lib.training.run.run`."""
        for dataset in datasets:
            if dataset.tested["label"].nunique() < 2:
                only = dataset.classes[dataset.tested["label"].iloc[0]]
                raise ValueError(f"every clip is of the class {only!r}; scores need clips of two or more")
        from hsta_lib.training import run as runner  # with torch, which a start needs not wait for

        where = {name: getattr(self.parameters, name) for name in ("workers", "scheduler")}
        runner.run(trials, datasets, config.results_dir(), **where)

    def predictions(self, trials_of_cells):
        """Stored predictions of some cells, with a column ``cell`` that counts them from 0."""
        parts = [store.predictions(trials, config.results_dir()) for trials in trials_of_cells]
        return pd.concat([rows.assign(cell=cell) for cell, rows in enumerate(parts)], ignore_index=True)

    def reference_predictions(self, dataset, folds, trials):
        """Predictions of the reference rows, by name; ``trials`` from `reference_trials`, trained."""
        stored = {name: store.predictions(runs, config.results_dir()) for name, runs in trials.items()}
        trained = {row: stored[name] for name, row in _REFERENCES.items() if name in stored}
        rows = self.blind_predictions(dataset, folds) | trained | self._simple_predictions(dataset, folds)
        spec = benchmark(self.preset.synthetic, self.parameters.macro_clips)
        is_as_casme3 = self.is_synthetic and not self.parameters.variant
        if is_as_casme3 and self.parameters.labels == "emotion7" and spec.tied_labels == 0:
            rows["ceiling: true action units known"] = references.ceiling(dataset, folds, spec)
        return rows

    def blind_predictions(self, dataset, folds):
        """Predictions that need no training and no picture, by the name of the reference row."""
        rows = self._kept_rows(dataset, folds, {
            name: (predict,) for name, predict in pixel_free.useful(dataset.clips, folds).items()
        })  # fmt: skip
        majority = {"majority class": rows.pop("majority class")}
        return majority | {f"without a picture: {name}": predictions for name, predictions in rows.items()}

    def _simple_predictions(self, dataset, folds):
        """Predictions of simple models, of the difference of apex and onset or the motion, by their rows."""
        models = {}
        if not dataset.shows_flow:  # whose apex is its onset
            models[LINEAR] = references.linear, references.difference, 32
            models["random forest on the small difference"] = references.forest, references.difference, 16
        if self.is_synthetic:
            spec = benchmark(self.preset.synthetic, self.parameters.macro_clips)
            motion = references.true_motion, spec, self.parameters.variant
            models["linear model on the true motion"] = references.linear, *motion
        return self._kept_rows(dataset, folds, models)

    def _kept_rows(self, dataset, folds, models):
        """Predictions by row, see `_kept_row`; of a holdout for each seed, which draws its own subjects."""
        of_seeds = {0: folds}
        if self.settings.split.split == HOLDOUT:
            of_seeds = {seed: self.folds(dataset, seed=seed) for seed in self.seeds}
        # The fingerprint knows pixels, ids and labels; these rows may use all that the sheet tells.
        sheet = dataset.clips.drop(columns=["folder", "face"], errors="ignore").to_csv(index=False)
        described = {"fingerprint": dataset.fingerprint, "sheet": id_of(sheet)}
        chosen = {name: (described | {"row": name}, *model) for name, model in models.items()}
        return {name: _kept_row(dataset, of_seeds, *model) for name, model in chosen.items()}

    def beside_paper(self, table):
        """The paper's scores beside ours, left out where ours are of other data, labels or settings."""
        is_casme3 = self.parameters.dataset == "casme3" or (self.is_synthetic and not self.parameters.variant)
        if "printed" in table:  # rows of several label sets, told apart by their number
            table, left_out = beside_printed(table, self.name), [not is_casme3] * len(table)
        else:
            table = beside_paper(table, self.name)
            sizes = [*NAMED_CELL, "csta"]
            varied = set(self.grid) - {*sizes, "depths"}
            is_other = not is_casme3 or self.parameters.labels != "emotion7" or bool(varied)
            printed = set(settings_of(self.settings, printed_cells(self.name)))
            ours = settings_of(self.settings, table[[name for name in sizes if name in table]])
            left_out = [is_other or settings not in printed for settings in ours]
        table.loc[left_out, [f"{metric}_paper" for metric in METRICS]] = float("nan")
        return table

    def losses(self, groups):
        """Epoch losses of groups of trials: name to a list of curves."""
        return {name: [record["losses"] for record in self._records(runs)] for name, runs in groups.items()}

    def held_out(self, groups):
        """Accuracy on the test clips after each epoch, in percent: name to curves; of stored epochs alone."""
        curves = {}
        for name, runs in groups.items():
            for record in self._records(runs):
                if "epoch_predictions" in record:
                    hits = np.array(record["epoch_predictions"]) == record["predictions"]["y_true"]
                    curves.setdefault(name, []).append(100 * hits.mean(axis=1))
        return curves

    def _records(self, trials):
        return [store.load(trial, config.results_dir()) for trial in trials]

    @property
    def _least_steps(self):
        """Training steps that HSTA takes at least; 0 of synthetic data, and where epochs were chosen."""
        return 0 if self.is_synthetic or "epochs" in self.grid else self.preset.least_steps

    def protocol(self, folds):
        """How the clips are divided, as a sentence."""
        split = self.settings.split
        own = "; trained on clips of the tested dataset alone" * (split.train_on == "own")
        least = self._least_steps
        steps = f"; HSTA takes at least {least} training steps, by more epochs where clips are few"
        sizes = {"n": len(folds)} | {
            part: sum(len(getattr(fold, part)) for fold in folds) for part in Fold._fields
        }
        return _PROTOCOLS[split.split].format(**sizes) + _MACRO[split.macro_clips] + own + steps * bool(least)

    @property
    def is_synthetic(self):
        """Whether the faces are generated."""
        return self.parameters.dataset == "synthetic"

    @property
    def scope(self):
        """What verdicts on claims are about; see `hsta_lib.study.claims.decide`."""
        if self.parameters.shows_flow:
            return "real motion"
        return "synthetic" if self.is_synthetic else f"real:{self.parameters.dataset}"

    @property
    def dependence(self):
        """What the scores of a subject-dependent split are headed with; empty for the others."""
        split = self.settings.split
        return ", **subject-dependent**" * is_subject_dependent(split.split, split.macro_clips)

    @property
    def data_name(self):
        """The data, in words that cannot be mistaken."""
        if self.parameters.shows_flow:
            owner = flow_images.VARIANTS.get(self.parameters.variant, "HTNet's and CausalNet")
            return f"published pictures of flow, {owner}'s"
        if not self.is_synthetic:
            return self.parameters.dataset
        spec = self.preset.synthetic
        tied = ", labels tied to film and recording" if spec.tied_labels else ""
        strength = f", strength {spec.tied_labels:g}" if 0 < spec.tied_labels < 1 else ""
        written = self.parameters.variant and f", in the layout of {self.parameters.variant}"
        return f"synthetic faces ({spec.difficulty}{tied}{strength}{written})"

    @property
    def chosen(self):
        """Preset, recipe, labels, split and seeds, in words; no labels where rows differ in them."""
        labels = "" if self.name in _LABELS_BY_ROW else f"labels `{self.settings.labels}`, "
        if self.name == "data":
            return f"preset `{self.preset_name}`, {labels}nothing is trained"
        seeds = f"seed {self.seeds[0]}" if self.name in _OF_ONE_NETWORK else f"seeds {list(self.seeds)}"
        return (
            f"preset `{self.preset_name}`, recipe `{self.parameters.recipe}`, {labels}"
            f"split `{self.settings.split.split}`, {seeds}"
        )

    @property
    def warnings(self):
        """Paragraphs that say what the data are worth; none for a real dataset."""
        told = []
        if self.is_synthetic:
            told.append(
                "> **The faces are synthetic: a positive control.** What it finds is no evidence about real "
                "faces and neither supports nor contradicts the paper."
            )
        if self.parameters.shows_flow:
            told.append(f"> **{_REAL_MOTION}.** {_ON_REAL_MOTION}")
        if self.parameters.lists_root:
            told.append("**What is made from the authors' lists says so: that is about real clips.**")
        return told

    def _repr_markdown_(self):
        about = f"preset `{self.preset_name}`, {self.data_name}{self.dependence}"
        heading = f"## {title_of(self.name)}: {about}"
        return "\n\n".join([heading, *self.warnings, self.chosen])


@cache
def _tell(line):
    """Print a line once."""
    print(line)


def start(name, namespace):
    """Check a notebook's parameters and read its preset.

    Parameters
    ----------
    name : str
        Of the notebook, e.g. ``table4``; the preset's grid of that name is the default grid.
    namespace : dict
        The notebook's ``globals()``.

    Raises
    ------
    ValueError
        If a parameter is unknown or its value is not allowed, the preset has no grid for the notebook, or
        the grid has a value the settings do not allow or settings the paper's table does not tell apart.
    """
    show_messages_alone()
    known = set(config.Parameters.model_fields)
    assigned = set(_assigned_before(namespace.get("In", [])))
    _check_known(name, (assigned - known - set(config.RENAMED)) & set(namespace))
    values = {key: namespace[key] for key in known | assigned if key in namespace}
    parameters = config.validated(config.Parameters, values, "notebook parameters")
    asked = parameters.model_dump().items()
    given = {key: value for key, value in asked if value not in ("", _DEFAULTS[key])}
    labels = parameters.labels or default_labels(parameters.layout)
    class_names(labels, parameters.layout)  # an unknown label set stops here, before any data is made
    preset_name, preset = config.load_preset(parameters.preset)
    preset = _of_audit(preset) if name == "audit" else preset
    if parameters.shows_flow and name not in _ON_FLOW:
        raise ValueError(
            f"notebook parameters: dataset = 'megc2019_flow' has no frames, which {name} needs; it serves "
            f"{', '.join(_ON_FLOW)}"
        )
    if parameters.dataset not in _ABOUT.get(name, (parameters.dataset,)):
        raise ValueError(
            f"notebook parameters: dataset = {parameters.dataset!r}: {name} is about "
            f"{' or '.join(_ABOUT[name])} alone; other notebooks take it: make table4"
        )
    variant = parameters.variant or ("htnet" if parameters.shows_flow else "")
    variant = flow_images.BOTH if name in ("extractions", "honest") else variant
    split = _split(name, parameters, preset)
    parameters = parameters.model_copy(update={"labels": labels, "split": split, "variant": variant})
    if "grid" in namespace and name not in (*preset.grids, *GRID_TABLES, *DESIGNS) and not parameters.grid:
        raise ValueError(
            f"params/{preset_name}.yaml has no grid for {name}; give one with the parameter grid"
        )
    settings = _settings(parameters, preset)
    seeds = tuple(parameters.seeds or preset.seeds)
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"notebook parameters: seeds = {list(seeds)} must be different numbers from 0 on")
    if parameters.split == "authors" and not parameters.lists_root:
        raise ValueError(
            "notebook parameters: split = 'authors' needs lists_root, the folder of a clone of the authors' "
            "repository (OceanSummerDay/HSTA_MER)"
        )
    if parameters.device.startswith("cuda") and not parameters.scheduler:
        from hsta_lib.training.batches import device_of  # with torch

        device_of(parameters.device)
    if parameters.data_root and parameters.dataset == "synthetic":
        raise ValueError("notebook parameters: data_root is given, but dataset = 'synthetic' is generated")
    _check_effect(name, parameters, given)
    grid = parameters.grid or preset.grids.get(name, {})
    study = Study(name, parameters, preset_name, preset, settings, grid, seeds, given)
    if grid:
        _check_grid(study)
    return study


def _split(name, parameters, preset):
    """The split the notebook asks for, else that of the preset."""
    is_synthetic = parameters.dataset == "synthetic"
    if parameters.split == HOLDOUT and not is_synthetic:
        raise ValueError(
            f"notebook parameters: split = 'holdout' is for synthetic data, which costs nothing; of "
            f"{parameters.dataset} every clip is tested: leave split empty, or choose subject or loso"
        )
    if parameters.split:
        return parameters.split
    if parameters.shows_flow:
        return "loso" if name in ("table5", "reproduce", "honest") else "subject"
    if is_synthetic and preset.holdout and name != "audit":
        return HOLDOUT
    return preset.datasets.split if name in ("table5", "table6") else "subject"


def _of_audit(preset):
    """The preset as the audit has it."""
    chosen = preset.audit
    whole = preset.synthetic
    sizes = {name: min(getattr(chosen, name), getattr(whole, name)) for name in ("n_subjects", "n_micro")}

    def own(*names):
        return {name: getattr(chosen, name) for name in names if getattr(chosen, name)}

    changed = {
        "synthetic": whole.model_copy(update=sizes),
        "training": preset.training.model_copy(update=own("epochs", "learning_rate")),
        "split": preset.split.model_copy(update=own("n_folds")),
        "seeds": chosen.seeds or preset.seeds,
    }
    return preset.model_copy(update=changed)


def _check_known(name, others):
    """Refuse parameters that are not of all notebooks, and name those of this one."""
    taken = _taken(name)
    if taken and others:
        unknown = "; ".join(f"{other} is unknown" for other in sorted(others))
        raise ValueError(f"notebook parameters: {unknown}; known here: {', '.join(taken)}")


def _check_effect(name, parameters, given):
    """Refuse what has no effect in a notebook, and systems that there are none of."""
    taken = _taken(name)
    for without in [key for key in given if taken and key not in taken]:
        raise ValueError(
            f"notebook parameters: {without} has no effect in {name}; leave it out. Known here: "
            f"{', '.join(taken)}"
        )
    if parameters.lists_root and parameters.split != "authors" and name != "audit":
        raise ValueError(
            f"notebook parameters: lists_root has no effect with split = {parameters.split!r}; leave it out, "
            "or give split = 'authors'"
        )
    config.silent_seconds()  # a ValueError if the environment says no number
    if parameters.baselines:
        _check_systems(parameters.baselines)


@cache
def _taken(name):
    """Parameters that a notebook takes; empty of one that does not come with the library."""
    path = SHIPPED / "notebooks" / f"{name}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
    sources = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    return [key for source in sources for key in _plain_assignments(source)]


def _check_systems(names):
    from hsta_lib.training.baseline_inputs import find  # it brings torch, which a start goes without

    for name in names:
        find(name, "reduced")


def _settings(parameters, preset):
    from hsta_lib.training.precision import with_precision  # with torch

    division = {name: getattr(parameters, name) for name in ("split", "macro_clips")}
    settings = config.Settings(
        labels=parameters.labels,
        frames=preset.frames,
        model=preset.model,
        training=preset.training.model_dump(exclude={"precision"}),
        split=preset.split.model_dump() | division,
    )
    if parameters.recipe == "released":
        if preset.released_epochs == 0:
            raise ValueError(
                "recipe = 'released' does not learn in this preset: its dropout and stochastic depth need "
                "more clips and steps, and it would predict two classes alone; choose preset study or full"
            )
        epochs = preset.released_epochs or settings.training.epochs
        settings = config.as_released(config.with_fields(settings, epochs=epochs))
    settings = config.with_fields(settings, **_FLOW_FIELDS) if parameters.shows_flow else settings
    return with_precision(settings, preset.training.precision)


def _check_grid(study):
    """Refuse before any training what could not be trained or not be shown."""
    # Only notebooks of designs open a dataset for each cell, see `Study.prepare`.
    groups = (config.Model, config.Training, *[config.Frames] * (study.name in DESIGNS))
    allowed = {"depths", *(name for group in groups for name in group.model_fields)}
    if set(study.grid) - allowed:
        name = sorted(set(study.grid) - allowed)[0]
        raise ValueError(f"grid: {name!r} cannot vary within a table; what can: {', '.join(sorted(allowed))}")
    cells = study.cells()
    printed = load_table(study.name) if study.name in table_names() else cells
    shown = [column for column in printed if column in cells]
    if study.parameters.grid:
        _check_networks(study, cells)
    if cells.duplicated(shown).any():
        raise ValueError(f"grid: some settings agree in {', '.join(shown)}, which is all {study.name} shows")


def _check_networks(study, cells):
    """Refuse settings that the network refuses, without weights."""
    import torch  # a start without a grid does not wait for it

    from hsta_lib.models.hsta import HSTA

    with torch.device("meta"):
        for settings in settings_of(study.settings, cells):
            try:
                HSTA.from_settings(settings, len(class_names(settings.labels, study.parameters.layout)))
            except ValueError as error:
                raise ValueError(f"grid: {error}") from error


def _kept_row(dataset, of_seeds, described, predict, *source):
    """A row's predictions of each seed's folds, stored or made now; ``source`` makes features, if needed."""
    features = cache(lambda: source[0](dataset, *source[1:]))

    def make(folds):
        return predict(dataset.clips, folds, *([features()] if source else []))

    parts = []
    for seed, folds in of_seeds.items():
        rows = [[part.tolist() for part in fold] for fold in folds]
        of_seed = described | {"given": repr(source[1:]), "folds": id_of(rows)}
        stored = store.kept([predict, *source[:1]], of_seed, partial(make, folds), config.results_dir())
        parts.append(stored.assign(seed=seed))
    return pd.concat(parts, ignore_index=True)


def _assigned_before(history):
    """Names assigned in the parameter cells just before this one: papermill accepts a misspelt parameter."""
    names = []
    for source in reversed(history[:-1]):
        assigned = _plain_assignments(source)
        if not assigned:
            break
        names += assigned
    return names


def _plain_assignments(source):
    """Names a cell assigns, or nothing if it does anything but assign values written out."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return []
    names = []
    for statement in statements:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            return []
        used = {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else statement.targets
        if used - {"float"} or not all(isinstance(target, ast.Name) for target in targets):
            return []  # papermill writes float('nan')
        names += [target.id for target in targets]
    return names
