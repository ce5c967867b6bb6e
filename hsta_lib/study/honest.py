"""Published against honest: networks of the field on real motion, by the last epoch and by the best of each.

All clips of the composite are tested, each by a network that has not seen its subject.
"""

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.data.readers.flow_images import VARIANTS
from hsta_lib.evaluation import epochs
from hsta_lib.evaluation.fitted import names_not_fitted
from hsta_lib.paper import load_composite
from hsta_lib.reporting.tables import HEADINGS, from_to, in_full, score_rows, span, with_span
from hsta_lib.study import comparison, published, union
from hsta_lib.training import store
from hsta_lib.training.baseline_inputs import find

LAST, BEST = "last epoch", "best epoch of each test subject"
_SHOWN = ("uf1", "uar")
_SPECIAL = "HSTA, special branch"
_VARIANT = {"CausalNet": "causalnet", _SPECIAL: "causalnet"}  # which pictures are seen, where not HTNet's
_ALL_EPOCHS = {"store_epochs": True}
_SHUFFLES = 200


def prepare(study):
    """Names, datasets and trials of the published networks, and of HSTA's special branch.

    The trials store the predictions of all epochs. ``data_root`` of the study is a folder that holds a clone
    of each extraction; empty: ``external/``.
    """
    study = published.reduced(study)
    names = (
        study.parameters.baselines or study.preset.datasets.baselines or load_composite()["system"].tolist()
    )
    names = [name for name in names if name in set(load_composite()["system"])]
    places = [_place(study, name) for name in names]
    others = comparison.prepare(study, pd.DataFrame(places).assign(system=names), **_ALL_EPOCHS)
    own = study.variant(**_place(study, _SPECIAL))
    dataset = own.open_dataset()
    cells = union.cells(shows_flow=True).query("train_on == 'composite'")
    (trials,) = own.trials(dataset, cells, **_ALL_EPOCHS)
    return [*others.cells["system"], _SPECIAL], [*others.datasets, dataset], [*others.trials, trials]


def _place(study, name):
    """Parameters that say which pictures a system sees."""
    variant, folder = _VARIANT.get(name, "htnet"), study.parameters.data_root
    return {"variant": variant, "data_root": folder and f"{folder}/{VARIANTS[variant]}"}


def predictions(names, trials, n_classes):
    """Predictions of each system by the last epoch, ``LAST``, and by the best of each fold, ``BEST``.

    By system and choice. ``trials`` (list of list of Trial): of each system, trained.
    """
    found = {}
    for name, runs in zip(names, trials, strict=True):
        found[name, LAST] = store.predictions(runs, config.results_dir())
        found[name, BEST] = comparison.best_epochs(runs, n_classes)
    return found


def gain_by_chance(trials, n_classes):
    """What choosing the best epoch of each fold gains in UF1, where labels are dealt out at random.

    In points: the mean, and the ends of the middle 95 %. ``trials`` (list of Trial): of one system, trained;
    those of the first seed are used.
    """
    records = [store.load(trial, config.results_dir()) for trial in trials if trial.seed == trials[0].seed]
    true, subject = (
        np.concatenate([record["predictions"][name] for record in records])
        for name in ("y_true", "subject_id")
    )
    predicted = np.concatenate([np.array(record["epoch_predictions"]) for record in records], axis=1)
    fold = np.repeat(np.arange(len(records)), [len(record["predictions"]["y_true"]) for record in records])
    subject = pd.factorize(subject)[0]
    rng = np.random.default_rng(0)
    found = epochs.compare(true, predicted, subject, fold, n_classes, rng, _SHUFFLES).chance
    row, column = epochs.CHOICES.index(epochs.BY_FOLD), 2
    return tuple(100 * float(values[row, column]) for values in found)


def score(found, chance, n_classes):
    """Published scores beside ours, a DataFrame with a row per ``system`` and ``choice``.

    Columns: ``<metric>``, ``<metric>_low``, ``<metric>_high`` in percent, with intervals over subjects and
    seeds; ``<metric>_published`` (NaN: none); ``chance``, ``chance_low``, ``chance_high``, points of UF1 that
    this choice gains by chance; ``as_published``: whether the choice is that of the original. ``found``: from
    `predictions`; ``chance`` (dict of str to tuple): of each system, from `gain_by_chance`.
    """
    table = score_rows(dict(enumerate(found.values())), n_classes)
    systems, choices = zip(*found, strict=True)
    table = table.assign(system=systems, choice=choices)
    printed = load_composite().set_index("system")
    for metric in _SHOWN:
        table[f"{metric}_published"] = [printed[metric].get(name, np.nan) for name in systems]
    gains = [chance[name] if choice == BEST else (0.0, 0.0, 0.0) for name, choice in found]
    table[["chance", "chance_low", "chance_high"]] = gains
    keeps = {name: find(name, "published").keeps_best_epoch for name in set(systems) - {_SPECIAL}}
    table["as_published"] = [keeps.get(name, False) == (choice == BEST) for name, choice in found]
    return table.reset_index(drop=True)


def reaches(table):
    """Systems that reach their published UF1 here, done as their originals do it, within the interval."""
    rows = table[table["as_published"] & (table["uf1_published"] <= table["uf1_high"])]
    return rows["system"].tolist()


def show(table):
    """The table of `score` for reading."""
    shown = {("", name): table[name] for name in ("system", "choice")}
    rows = table.to_dict("records")
    for metric in _SHOWN:
        heading = f"{HEADINGS[metric]}, %"
        shown[heading, "published"] = table[f"{metric}_published"].map("{:.1f}".format).replace("nan", "–")
        shown[heading, "ours"] = [with_span(row, metric) for row in rows]
    shown["UF1, points", "by chance"] = [
        f"{row['chance']:+.1f} {span(row['chance_low'], row['chance_high'], '+')}" if row["chance"] else "–"
        for row in rows
    ]
    return in_full(pd.DataFrame(shown))


def conclude(table, form):
    """What the choice of the epoch is worth, and which published scores are reached, in sentences."""
    unfit = names_not_fitted(table)
    last, best = (table[table["choice"] == choice].set_index("system") for choice in (LAST, BEST))
    gains, counts = best["uf1"] - last["uf1"], ~last.index.isin(unfit)
    least_to_most = [from_to(each[counts].min(), each[counts].max()) for each in (gains, best["chance"])]
    lead = (
        "- **The best epoch of each test subject adds {} points of UF1 to the last epoch's. The same choice "
        "adds {} where labels are dealt out at random.**"
    )
    lines = [lead.format(*least_to_most)] if counts.any() else []
    lines += [
        f"- {name}: UF1 {with_span(row, 'uf1')} by the last epoch, {gains[name]:.1f} points more by the best "
        f"of each; by chance {best.loc[name, 'chance']:.1f}."
        + " It has not fitted: this is about its training."
        * (name in unfit)
        for name, row in last.iterrows()
    ]
    reached = reaches(table)
    others = [name for name in table.dropna(subset="uf1_published")["system"].unique() if name not in reached]
    lines.append(
        f"- Evaluated as there, these reach their published UF1 here: {', '.join(reached) or 'none'}."
    )
    lines.append(
        f"- These do not: {', '.join(others) or 'none'}. Ours have the form `{form}`: size, recipe or "
        "pictures may explain the difference, and no arrow is drawn."
    )
    return Markdown("\n".join(lines))


def cells(found):
    """``system`` and ``choice`` of each row, and all predictions counted by ``cell``; for the record."""
    return pd.DataFrame(list(found), columns=["system", "choice"]), comparison.numbered(list(found.values()))


def summarise(table):
    """The scores by the last epoch, for the record."""
    rows = table[table["choice"] == LAST].set_index("system")
    return rows[[name for name in rows if name.startswith(_SHOWN)]]
