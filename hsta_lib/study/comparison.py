"""Baselines beside HSTA in a table: which can be run on its data, trials, controls and costs."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.data.readers import flow_images
from hsta_lib.evaluation.intervals import score_interval
from hsta_lib.evaluation.metrics import METRICS, confusion, scores
from hsta_lib.reporting.sentences import seconds_of
from hsta_lib.reporting.tables import HEADINGS, in_full, in_points, matrices_of, off_zero, with_span
from hsta_lib.study.published import SHOWN
from hsta_lib.training import baseline_inputs, store
from hsta_lib.training.cost import parameters_and_flops

_SHUFFLED = {"shuffled_labels": "fold", "store_epochs": False}


class Baselines(NamedTuple):
    """Baselines of a table: those that can be run, with a dataset and trials each, and the others.

    ``controls`` are the trials of each once more on labels shuffled within the training fold, with the first
    seed; empty where the preset has none. ``left_out`` has the names of the others and the reasons.
    """

    form: str
    cells: pd.DataFrame
    datasets: list
    trials: list
    controls: list
    left_out: pd.DataFrame

    @property
    def everything(self):
        """All trials."""
        return [trial for runs in [*self.trials, *self.controls] for trial in runs]

    @property
    def keeps_best_epoch(self):
        """Of each system, whether its original's evaluation kept the best epoch on the test fold."""
        return [baseline_inputs.find(name, self.form).keeps_best_epoch for name in self.cells["system"]]

    @property
    def kept(self):
        """Numbers of the systems whose originals' evaluation kept the best epoch on the test fold."""
        return np.flatnonzero(self.keeps_best_epoch)

    @property
    def shown(self):
        """Datasets of `predictions`."""
        return [*self.datasets, *(self.datasets[row] for row in self.kept)]


def prepare(study, rows, **fields):
    """Datasets, inputs and trials of `Baselines`; ``fields`` replace fields of their settings.

    ``rows`` (DataFrame): ``system``, and notebook parameters by which rows differ. Systems that the data has
    no input for are left out.

    Raises
    ------
    ValueError
        If none is left.
    """
    chosen = baseline_inputs.cells(rows, study.preset.datasets).assign(**fields)
    if study.parameters.shows_flow:
        pictures = [baseline_inputs.find(*row).pictures for row in chosen[["system", "form"]].to_numpy()]
        chosen = chosen.assign(**flow_images.FRAMES | {"n_frames": np.maximum(pictures, 2)})
    _, datasets, trials = study.prepare(chosen)
    datasets, reasons = zip(*map(_given, datasets, trials), strict=True)
    trials = [
        [replace(trial, fingerprint=dataset.fingerprint) for trial in of_system]
        for of_system, dataset in zip(trials, datasets, strict=True)
    ]
    runs = [row for row, reason in enumerate(reasons) if not reason]
    if not runs:
        raise ValueError(f"baselines: none of these systems can be run on this data; {reasons[0]}")
    others = chosen.assign(reason=reasons).drop(index=runs)
    return Baselines(
        study.preset.datasets.form,
        chosen.iloc[runs].reset_index(drop=True),
        [datasets[row] for row in runs],
        [trials[row] for row in runs],
        _controls([trials[row] for row in runs]) if study.preset.datasets.baseline_controls else [],
        others[[*rows.columns, "reason"]],
    )


def _controls(trials):
    """Of each system the trials of the first seed, on shuffled labels."""
    return [
        [
            replace(trial, settings=config.with_fields(trial.settings, **_SHUFFLED))
            for trial in of_system
            if trial.seed == of_system[0].seed
        ]
        for of_system in trials
    ]


def predictions(trials, baselines):
    """Predictions of HSTA's rows, of each baseline, and of some once more with their shortcut.

    In the order of `hsta_lib.study.published.joined`. ``trials`` (list of list of Trial), of HSTA's rows, and
    ``baselines`` are trained.
    """
    folder = config.results_dir()
    last = [store.predictions(runs, folder) for runs in [*trials, *baselines.trials]]
    sizes = [len(dataset.classes) for dataset in baselines.datasets]
    return last + [best_epochs(baselines.trials[row], sizes[row]) for row in baselines.kept]


def best_epochs(trials, n_classes):
    """Predictions of each trial after the first of the epochs with the highest UF1 on its own test fold."""
    parts = []
    for trial in trials:
        record = store.load(trial, config.results_dir())
        rows = pd.DataFrame(
            {name: record["predictions"][name] for name in ("clip_id", "subject_id", "y_true")}
        )
        epochs = np.array(record["epoch_predictions"])
        uf1 = [scores(confusion(rows["y_true"], epoch, n_classes))[METRICS.index("uf1")] for epoch in epochs]
        parts.append(rows.assign(y_pred=epochs[int(np.argmax(uf1))], fold=trial.fold, seed=trial.seed))
    return pd.concat(parts, ignore_index=True)


def gains(baselines):
    """What each system learns from the labels: its score, less that of its training on shuffled ones.

    Columns: ``row``, the system's name (and label set); ``<metric>_shuffled`` in percent; ``<metric>,
    <metric>_low, <metric>_high``, the difference in points, of all test folds pooled, with the seed of the
    control. Each interval is of one row alone, see `intervals.score_interval`, and of this one shuffle. There
    are no rows without controls. ``baselines``: trained.
    """
    if not baselines.controls:
        return pd.DataFrame()
    names = baselines.cells[[name for name in ("system", "labels") if name in baselines.cells]]
    return pd.DataFrame(
        {"row": ", ".join(name)} | _gain(control, trials, dataset)
        for name, control, trials, dataset in zip(
            names.to_numpy(), baselines.controls, baselines.trials, baselines.datasets, strict=True
        )
    )


def _gain(control, trials, dataset):
    same_seed = [trial for trial in trials if trial.seed == control[0].seed]
    folder = config.results_dir()
    rows = [store.predictions(runs, folder) for runs in (control, same_seed)]
    matrices = matrices_of(rows, len(dataset.classes))
    shuffled = 100 * score_interval(matrices).estimate[0]
    scores = {f"{metric}_shuffled": value for metric, value in zip(METRICS, shuffled, strict=True)}
    return scores | in_points(score_interval(matrices, [[-1, 1]]))


def show_gains(table):
    """The table of `gains` for reading, or a sentence that there is none."""
    if table.empty:
        return Markdown("This preset trains no system on shuffled labels (`baseline_controls`).")
    shown = {("", "system"): table["row"]}
    for metric in SHOWN:
        shown[HEADINGS[metric], "labels shuffled, %"] = table[f"{metric}_shuffled"].map("{:.1f}".format)
        shown[HEADINGS[metric], "true labels, points more"] = [
            with_span(row, metric, "+") for row in table.to_dict("records")
        ]
    return in_full(pd.DataFrame(shown))


def conclude_gains(table):
    """Which systems are not above their training on shuffled labels by more than chance, in sentences."""
    lines = []
    for metric in SHOWN if len(table) else ():
        below = table[~(off_zero(table, metric) & (table[f"{metric}_low"] > 0))]
        lines.append(
            f"- Learning from the labels, {HEADINGS[metric]}: {len(table) - len(below)} of {len(table)} "
            "baselines are above their training on shuffled ones, each looked at by itself; not shown to be: "
            f"{'; '.join(below['row']) or 'none'}."
        )
    return Markdown("\n".join(lines))


def numbered(parts):
    """Predictions of several rows as one table, counted by the column ``cell``."""
    return pd.concat([rows.assign(cell=cell) for cell, rows in enumerate(parts)], ignore_index=True)


def _given(dataset, trials):
    """The dataset as a system is given it, and why it cannot be; empty if it can."""
    try:
        return baseline_inputs.given(dataset, trials[0].settings), ""
    except ValueError as error:
        return dataset, str(error)


def costs(names, trials, datasets):
    """Size, arithmetic and training time of systems.

    Columns: ``system``, ``parameters``, ``mflop`` (10^6 FLOP of one clip's forward pass), ``seconds``: of the
    fastest training. ``trials`` (list of list of Trial), trained, and ``datasets`` are those of each system.
    """
    counts = [
        parameters_and_flops(runs[0].settings, len(dataset.classes))
        for runs, dataset in zip(trials, datasets, strict=True)
    ]
    parameters, flops = zip(*counts, strict=True)
    mflop = [value / 1e6 for value in flops]
    return pd.DataFrame(
        {"system": names, "parameters": parameters, "mflop": mflop, "seconds": seconds_of(trials)}
    )
