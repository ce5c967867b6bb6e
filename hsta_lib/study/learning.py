"""What makes networks learn: training accuracy and test scores by training steps and by training clips."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.data.splits import HOLDOUT, make_folds
from hsta_lib.evaluation.metrics import METRICS, confusion, scores
from hsta_lib.reporting.tables import LINEAR, number, score_table
from hsta_lib.study import comparison, plots
from hsta_lib.training import store
from hsta_lib.training.trials import NAMED_CELL

HSTA = "HSTA"
_NETWORKS = {
    HSTA: {},
    "branches concatenated": {"csta": False},
    "special branch alone": {"csta": False, "l_v": 0},
}
_BASELINE, _EPOCHS = "HTNet", 19  # with which it fits the training clips of preset study as HSTA does
_CLIPS = (50, 100, 250, 500, 1000, 2000)
_ASKED = 250  # clips that a reader may have
_SEEDS = 3
_NOT_SHOWN = "what makes networks learn. Reason: it needs synthetic data, held out (split = 'holdout')"
_REFERENCES = {"ceiling": "ceiling: true action units known", LINEAR: LINEAR}


class Curves(NamedTuple):
    """Trainings on more and more clips, and of the named setting with stored epochs; empty if not shown."""

    cells: pd.DataFrame
    datasets: list
    trials: list
    named: list

    @property
    def everything(self):
        """All trials."""
        return [trial for runs in [*self.trials, self.named] for trial in runs]


def prepare(study, dataset):
    """Trials of HSTA, of its parts and of a baseline: by the number of training clips, as many steps each.

    Numbers of clips that leave a class out, or that there are not, are left out with a line. Without a
    holdout all are. Of seeds there are at most three; with one there are fewer sizes.
    """
    if study.settings.split.split != HOLDOUT:
        print(f"Left out: {_NOT_SHOWN}.")
        return Curves(pd.DataFrame(), [], [], [])
    named = study.reference_trials(dataset, ["named"])["named"]
    few, whole = replace(study, seeds=study.seeds[:_SEEDS]), len(study.folds(dataset)[0].train)
    sizes = _sizes(few, dataset)
    if sizes.empty:
        return Curves(pd.DataFrame(), [], [], named)
    same_steps = whole / sizes["clips"]
    epochs = (study.settings.training.epochs * same_steps).round().clip(1).astype(int)
    parts = [
        sizes.assign(system=name, epochs=epochs, **NAMED_CELL | {"csta": True} | fields)
        for name, fields in _NETWORKS.items()
    ]
    cells = pd.concat(parts, ignore_index=True)
    _, datasets, trials = few.prepare(cells.drop(columns=["clips", "system"]))
    rows = sizes[["drawn"]].assign(system=_BASELINE)
    own = min(_EPOCHS, study.preset.datasets.baseline_epochs or _EPOCHS) * same_steps
    others = comparison.prepare(few, rows, epochs=own.round().clip(1).astype(int), store_epochs=False)
    cells = pd.concat([cells, sizes.assign(system=_BASELINE)], ignore_index=True)
    return Curves(cells[["system", "clips"]], [*datasets, *others.datasets], trials + others.trials, named)


def _sizes(study, dataset):
    """Numbers of training clips that there are and that show every class, with the share of subjects."""
    fields = study.settings.split.model_dump()
    most = len(make_folds(dataset.clips, **fields | {"drawn": 1})[0].train)
    labels, found = dataset.clips["label"].to_numpy(), []
    for n in _CLIPS if len(study.seeds) == _SEEDS else _CLIPS[1::2]:
        share = round(min(n / most, 1), 4)
        try:
            trained = [make_folds(dataset.clips, **fields | {"drawn": share}, seed=s)[0].train
                       for s in study.seeds]  # fmt: skip
        except ValueError:  # nobody
            trained = [[]]
        lacks = min(len(np.unique(labels[rows])) for rows in trained) < len(dataset.classes)
        if n > 1.05 * most or lacks:
            why = "they lack a class" if n <= most else f"there are {most}"
            print(f"Left out: {n} training clips. Reason: {why}.")
        else:
            found.append({"clips": round(np.mean([len(rows) for rows in trained])), "drawn": share})
    return pd.DataFrame(found, columns=["clips", "drawn"])


def by_steps(trials, n_classes):
    """After each epoch: ``steps``, ``loss_share`` of a constant prediction's, ``uar``; means over trials."""
    parts = []
    for trial in trials:
        record = store.load(trial, config.results_dir())
        a_step = max(record["n_train"] // trial.settings.training.batch_size, 1)
        truth = record["predictions"]["y_true"]
        counts = np.stack([confusion(truth, epoch, n_classes) for epoch in record["epoch_predictions"]])
        share = 100 * np.array(record["losses"]) / record["constant_loss"]
        uar = 100 * scores(counts)[:, METRICS.index("uar")]
        steps = a_step * np.arange(1, len(share) + 1)
        parts.append(
            pd.DataFrame({"epoch": range(len(share)), "steps": steps, "loss_share": share, "uar": uar})
        )
    return pd.concat(parts).groupby("epoch").mean()


def by_clips(curves, n_classes):
    """Of each ``system`` and number of ``clips`` its scores and how it fits, see `tables.score_table`."""
    folder = config.results_dir()
    parts = [store.predictions(runs, folder) for runs in curves.trials]
    return score_table(curves.cells, comparison.numbered(parts), n_classes)[0] if parts else curves.cells


def figure(curves, references, chance, n_classes):
    """Loss and score by training steps, and scores by training clips, beside what is possible.

    A sentence where there are no curves. ``references``: from `hsta_lib.reporting.tables.score_rows`;
    ``chance``: UAR of chance, in percent.
    """
    if not curves.named:
        return Markdown(f"Not shown: {_NOT_SHOWN}.")
    lines = {"chance": chance} | _beside(references)
    return plots.learning(by_steps(curves.named, n_classes), by_clips(curves, n_classes), lines)


def _beside(references):
    """UAR of the reference rows that a network may be held against, by their short names."""
    return {name: references.loc[row, "uar"] for name, row in _REFERENCES.items() if row in references.index}


def conclude(curves, references, chance, n_classes):
    """What a reader with few clips may expect, in sentences; parameters as for `figure`."""
    if not curves.named:
        return Markdown("")
    steps = by_steps(curves.named, n_classes)
    half = (steps["steps"] - steps["steps"].iloc[-1] / 2).abs().idxmin()
    told = [
        f"- The second half of the named setting's {steps['steps'].iloc[-1]:.0f} training steps changes its "
        f"UAR by {number(steps['uar'].iloc[-1] - steps['uar'][half], '+')} points, to "
        f"{number(steps['uar'].iloc[-1])} %. Its loss ends at {steps['loss_share'].iloc[-1]:.0f} % of a "
        "constant prediction's."
    ]
    table = by_clips(curves, n_classes)
    if len(table):
        sizes = table["clips"].drop_duplicates().sort_values().to_numpy()
        asked, most = sizes[np.abs(sizes - _ASKED).argmin()], sizes[-1]
        here, there = (table[table["clips"] == n].set_index("system") for n in (asked, most))
        first = "; ".join(map(_named, here.index, here["train_accuracy"], here["uar"]))
        last = ", ".join(f"{name} {number(uar)}" for name, uar in there["uar"].items())
        told.append(
            f"- **With {asked} training clips** of these faces, training accuracy and test UAR were: "
            f"{first}. With {most} clips, after as many steps, the UAR was: {last}. Real faces may need more."
        )
    beside = {"chance": chance} | _beside(references)
    said = ", ".join(f"{name} {number(uar)}" for name, uar in beside.items())
    return Markdown("\n".join([*told, f"- UAR beside it: {said}."]))


def _named(name, trained, uar):
    return f"{name} {trained:.0f} % and {number(uar)} %"
