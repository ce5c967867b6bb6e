"""Published against honest: networks of the field on real motion, by the last epoch and by the best of each.

All clips of the composite are tested, each by a network that has not seen its subject.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.data.readers.flow_images import VARIANTS
from hsta_lib.evaluation import epochs
from hsta_lib.evaluation.fitted import names_not_fitted
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.models.baselines.causalnet import OTHER_GAMMAS
from hsta_lib.paper import load_composite
from hsta_lib.reporting.sentences import against_first
from hsta_lib.reporting.tables import HEADINGS, NOWRAP, from_to, in_full, matrices_of, score_rows, with_span
from hsta_lib.study import comparison, published, union
from hsta_lib.training import store
from hsta_lib.training.baseline_inputs import find

_SPECIAL = published.SPECIAL_BRANCH
LAST, BEST = "last epoch", "best epoch of each test subject"
_SHOWN = ("uf1", "uar")
_VARIANT = {"CausalNet": "causalnet", _SPECIAL: "causalnet"}  # where not HTNet's pictures
_ALL_EPOCHS = {"store_epochs": True}
_SHUFFLES = 200
_WORTH = {
    "gain": "best of each test subject",
    "others": "best of all other subjects",
    "chance": "best of each, labels dealt out at random",
}
_AS_THERE, _PRECISION = ", as its original", "macro precision"
_NOT_FITTED = " It has not fitted: this is about its training."


def prepare(study):
    """Names, datasets and trials of the published networks, and of HSTA's special branch.

    CausalNet is there with each ``gamma`` of its original's grid. All epochs' predictions are stored.
    ``data_root`` of the study is a folder that holds a clone of each extraction; empty: ``external/``.
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
    found = []
    for name, pictures, runs in zip(others.cells["system"], others.datasets, others.trials, strict=True):
        found.append((name, pictures, runs))
        gammas = OTHER_GAMMAS if name == "CausalNet" else ()
        found += [(f"{name} (gamma {gamma})", pictures, _with_gamma(runs, gamma)) for gamma in gammas]
    return [list(column) for column in zip(*found, (_SPECIAL, dataset, trials), strict=True)]


def _with_gamma(trials, gamma):
    form = f"{trials[0].settings.comparison.form}, gamma {gamma}"
    return [replace(trial, settings=config.with_fields(trial.settings, form=form)) for trial in trials]


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


def worth(trials, n_classes):
    """What choosing the epoch adds to the last one's UF1, in points, of each test subject.

    Keys: ``gain``, by its own score; ``others``, by that of all others; ``chance``, by its own where labels
    are dealt out at random; each with ``_low`` and ``_high``, an interval over subjects or, of ``chance``,
    the middle 95 % of deals; and ``epochs``, their number. ``trials`` (list of Trial): of one system,
    trained; those of the first seed are used.
    """
    records = [store.load(trial, config.results_dir()) for trial in trials if trial.seed == trials[0].seed]
    true, subject = (
        np.concatenate([record["predictions"][name] for record in records])
        for name in ("y_true", "subject_id")
    )
    predicted = np.concatenate([np.array(record["epoch_predictions"]) for record in records], axis=1)
    fold = np.repeat(np.arange(len(records)), [len(record["predictions"]["y_true"]) for record in records])
    subject = pd.factorize(subject)[0]
    chosen = epochs.compare(true, predicted, subject, fold, n_classes, np.random.default_rng(0), _SHUFFLES)
    found = {"epochs": len(predicted)}
    for name, (interval, choice) in {
        "gain": (chosen.gains, epochs.BY_FOLD),
        "others": (chosen.gains, epochs.BY_OTHERS),
        "chance": (chosen.chance, epochs.BY_FOLD),
    }.items():
        values = [100 * float(part[epochs.CHOICES.index(choice), METRICS.index("uf1")]) for part in interval]
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return found


def score(found, gained, n_classes):
    """Published scores beside ours, a DataFrame with a row per ``system`` and ``choice``.

    Columns: ``<metric>``, ``<metric>_low``, ``<metric>_high`` in percent, with intervals over subjects and
    seeds; ``<metric>_published`` (NaN: none); ``as_published``: whether the choice is that of the original;
    the keys of `worth`. ``found``: from `predictions`; ``gained`` (dict): `worth` of each system.
    """
    table = score_rows(dict(enumerate(found.values())), n_classes).reset_index(drop=True)
    systems, choices = zip(*found, strict=True)
    table = table.assign(system=systems, choice=choices).join(
        pd.DataFrame([gained[name] for name in systems])
    )
    if "fit" in table:  # known of the last epoch
        table["fit"] = table.groupby("system")["fit"].transform("first")
    printed = load_composite().set_index("system")
    for metric in _SHOWN:
        table[f"{metric}_published"] = [printed[metric].get(_plain(name), np.nan) for name in systems]
    keeps = {name: find(_plain(name), "published").keeps_best_epoch for name in {*systems} - {_SPECIAL}}
    table["as_published"] = [keeps.get(name, False) == (choice == BEST) for name, choice in found]
    return table


def _plain(name):
    """The system's name without its ``gamma``."""
    return name.partition(" (gamma")[0]


def reaches(table):
    """Systems that reach their published UF1 here, done as their originals do it, within the interval."""
    rows = table[table["as_published"] & (table["uf1_published"] <= table["uf1_high"])]
    return rows["system"].tolist()


def against_hsta(table, found, n_classes):
    """Each system's last epoch less that of HSTA's special branch, on the same clips, see `against_first`."""
    last = table[table["choice"] == LAST].iloc[::-1]  # HSTA comes last in the table, and first here
    return against_first(
        last, matrices_of([found[name, LAST] for name in last["system"]], n_classes), "system"
    )


def show(table):
    """The table of `score` for reading."""
    sources = load_composite().set_index("system")["source"]
    choice = table["choice"] + np.where(table["as_published"] & table["uf1_published"].notna(), _AS_THERE, "")
    shown = {("", "system"): table["system"], ("", "choice"): choice}
    for metric in _SHOWN:
        heading = f"{HEADINGS[metric]}, %"
        shown[heading, "published"] = table[f"{metric}_published"].map("{:.1f}".format).replace("nan", "–")
        shown[heading, "ours"] = [with_span(row, metric) for row in table.to_dict("records")]
    is_other = [_PRECISION in sources.get(_plain(name), "") for name in table["system"]]
    shown[f"{HEADINGS['uar']}, %", "published"] += np.where(is_other, f" ({_PRECISION})", "")
    return in_full(pd.DataFrame(shown)).set_table_styles(NOWRAP)


def show_worth(table):
    """What choosing the epoch adds, of the table of `score`, for reading."""
    rows = table[table["choice"] == BEST]
    shown = {("", name): rows[name] for name in ("system", "epochs")}
    for name, choice in _WORTH.items():
        shown["UF1, points above the last epoch", choice] = [
            with_span(row, name, "+") for row in rows.to_dict("records")
        ]
    return in_full(pd.DataFrame(shown)).set_table_styles(NOWRAP)


def conclude(table, differences, form):
    """What the choice of the epoch is worth, and which published scores are reached, in sentences.

    ``differences``: from `against_hsta`.
    """
    unfit = names_not_fitted(table)
    last, best = (table[table["choice"] == choice].set_index("system") for choice in (LAST, BEST))
    fitted = best[~best.index.isin(unfit)]
    lead = (
        "- **Of networks that fitted, the best epoch of each test subject adds {} points of UF1 to the last "
        "epoch's. The epoch that is best on all other subjects adds {}.**"
    )
    ranges = [from_to(fitted[name].min(), fitted[name].max()) for name in ("gain", "others")]
    lines = [lead.format(*ranges)] if len(fitted) else []
    lines += [
        f"- {name}: UF1 {with_span(row, 'uf1')} by the last of {row['epochs']} epochs, "
        f"{with_span(row, 'gain', '+', 'points')} by the best of each.{_NOT_FITTED * (name in unfit)}"
        for name, row in last.iterrows()
    ]
    tuned = best.loc[[_plain(name) == "CausalNet" for name in best.index], "uf1"]
    if len(tuned) > 1:
        lines.append(
            f"- CausalNet's authors choose `gamma` by the same scores. The best of {len(tuned)} has UF1 "
            f"{tuned.max():.1f} by the best epochs, their default {tuned['CausalNet']:.1f}."
        )
    told = [f"{row['row']} {with_span(row, 'uf1', '+')}" for row in differences.to_dict("records")]
    lines.append(f"- UF1 less that of HSTA's special branch, by the last epoch: {'; '.join(told)}.")
    rows = table[table["as_published"] & table["uf1_published"].notna()].set_index("system")
    missing = (rows["uf1_published"] - rows["uf1_high"])[~rows.index.isin(reaches(table))]
    below = ", ".join(f"{name} by {points:.1f}" for name, points in missing.items())
    reached = ", ".join(reaches(table)) or "none"
    lines.append(
        f"- Evaluated as their originals do it, the interval reaches the published UF1 of {reached}."
    )
    if below:
        lines.append(
            f"- It ends below that of {below} points. Ours have the form `{form}`: size, recipe or pictures "
            "may explain the difference, and no arrow is drawn."
        )
    return Markdown("\n".join(lines))


def cells(found):
    """``system`` and ``choice`` of each row, and all predictions counted by ``cell``; for the record."""
    return pd.DataFrame(list(found), columns=["system", "choice"]), comparison.numbered(list(found.values()))


def summarise(table):
    """The scores by the last epoch, for the record."""
    rows = table[table["choice"] == LAST].set_index("system")
    return rows[[name for name in rows if name.startswith(_SHOWN)]]
