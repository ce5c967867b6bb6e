"""The sentences, the provenance and the record of a report: everything said is made from numbers.

Functions that write a file return its path, from the repository's root if it lies there.
"""

import hashlib
import json
from collections import Counter
from importlib.metadata import version

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import SHIPPED, config
from hsta_lib.data.table import default_labels
from hsta_lib.evaluation import comparisons
from hsta_lib.evaluation.fitted import NO_PIXELS, NOT_FITTED, are_about_the_method, names_not_fitted
from hsta_lib.evaluation.intervals import (
    RULE,
    bootstrap_scores,
    effective_subjects,
    score_interval,
    vanishing,
    without_largest,
)
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.files import csv_of, write_whole
from hsta_lib.reporting import tables
from hsta_lib.training import archive, store
from hsta_lib.training.trials import NAMED_CELL

_RARE = 0.05  # percent of resamples without a class, from which on it is mentioned
_ORDERED = {"m": "HSTA modules", "n_layers": "USTA layers", "n_frames": "frames"}
_LIBRARIES = ("numpy", "pandas", "scikit-learn", "papermill")


def summarise(table, matrices):
    """The two results named beforehand: the named setting, and the mean over all cells.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.reporting.tables.beside_paper`.
    matrices : ndarray, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
        From `hsta_lib.reporting.tables.score_table`.

    Returns
    -------
    DataFrame
        Rows ``named setting`` (if it is in the grid) and ``mean of all settings``, columns as ``table``'s
        scores. Settings that read no pixels are not in the mean. The best of the cells proves nothing.
    """
    scored = [column for column in table if column.split("_")[0] in METRICS]
    rows = {}
    named = (table[list(NAMED_CELL)] == list(NAMED_CELL.values())).all(axis=1)
    if named.any():
        name = "named setting (M = {m}, L_v = {l_v}, L_s = {l_s})".format(**NAMED_CELL)
        rows[name] = table.loc[named, scored].iloc[0]
    reads = (table["fit"] != NO_PIXELS).to_numpy() if "fit" in table else np.ones(len(table), dtype=bool)
    which = "" if reads.all() else " that read pixels"
    rows[f"mean of all {reads.sum()} settings{which}"] = _mean_row(table.loc[reads, scored], matrices[reads])
    return pd.DataFrame(rows).T


def _mean_row(scored, matrices):
    mean = scored.mean(skipna=False)  # of the paper's only where it prints all
    _, low, high = _contrast(matrices, np.full(len(matrices), 1 / len(matrices)))
    for i, metric in enumerate(METRICS):
        mean[f"{metric}_low"], mean[f"{metric}_high"] = low[i], high[i]
    return mean


def _contrast(matrices, weights):
    """Weighted sum of the settings' scores and its interval, in percent; each of shape (3,)."""
    found = score_interval(matrices, weights[None])
    return [100 * values[0] for values in (found.estimate, found.low, found.high)]


def _uar(row):
    return tables.with_span(row, "uar", unit="%")


def _against(row, chance):
    """How a UAR interval lies to chance, in words."""
    return tables.position(row["uar_low"], row["uar_high"], chance, "chance")


def conclude(summary, references, chance):
    """A table's conclusion, made from its numbers; what its claims come to is `hsta_lib.study.claims`.

    Parameters
    ----------
    summary, references : DataFrame
        From `summarise` and `hsta_lib.reporting.tables.score_rows`.
    chance : float
        UAR of chance, in percent.
    """
    lines = [
        f"- UAR of the {name}: {_uar(row)}, **{_against(row, chance)}**." for name, row in summary.iterrows()
    ]
    beside = [f"chance {chance:.1f} %"]
    for name, row in references.filter(like="shuffled", axis=0).iterrows():
        beside.append(f"{name} {_uar(row)}, {_against(row, chance)}")
    blind = references.filter(like="without a picture", axis=0)
    by_hand = blind.index.str.contains("action units")  # what people saw in all frames: almost the label
    for rows, which in (
        (blind[~by_hand], "the best predictor {}, annotated action units apart"),
        (references.filter(like="linear model", axis=0), "the best {}"),
        (references.filter(like="ceiling", axis=0), "the {}"),
    ):
        if len(rows):
            best = rows["uar"].idxmax()
            beside.append(f"{which.format(best)}: {_uar(rows.loc[best])}")
    return Markdown("\n".join([*lines, "- UAR beside it:", *(f"  - {told}." for told in beside)]))


def against_linear(table, matrices, references, n_classes):
    """How a linear model on two frames reads the same clips as the named setting, in a sentence.

    Empty if the named setting is not in the grid, or the linear model not among the ``references``
    (predictions by name). ``table`` and ``matrices``: from `hsta_lib.reporting.tables.score_table`.
    """
    named = (table[list(NAMED_CELL)] == list(NAMED_CELL.values())).to_numpy().all(axis=1)
    if not named.any() or tables.LINEAR not in references:
        return Markdown("")
    of_hsta = matrices[named][:1]
    of_linear = tables.matrices_of([references[tables.LINEAR]], n_classes)
    of_linear = np.broadcast_to(of_linear, of_hsta.shape)  # of folds it is trained once, else once a seed
    difference = tables.in_points(score_interval(np.concatenate([of_hsta, of_linear]), np.array([[-1, 1]])))
    told = "; ".join(_placed(difference, metric) for metric in ("uar", "uf1"))
    return Markdown(f"- A {tables.LINEAR}, less the named setting, on the same clips: {told}.")


def _placed(row, metric):
    """A difference in points, and how it lies to zero."""
    place = tables.position(row[f"{metric}_low"], row[f"{metric}_high"], 0, "zero")
    return f"{tables.HEADINGS[metric]} {tables.with_span(row, metric, '+', 'points')}, **{place}**"


def trend(table, matrices, x, by):
    """What the scores of an ordered setting come to, from its least value above zero to its largest.

    A line per group, with the interval of the difference on the same clips, corrected together; an end whose
    networks have not fitted is named.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.reporting.tables.score_table`.
    matrices : ndarray, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
        Of its rows.
    x : {"m", "n_layers", "n_frames"}
        Column of the ordered setting.
    by : dict of str to str
        Columns that tell groups of settings, and how they are written; may be empty.
    """
    rows, ends = table.reset_index(drop=True), {}
    for values, group in rows.groupby(list(by), sort=False) if by else [((), rows)]:
        ordered = group[group[x] > 0].sort_values(x)
        if ordered[x].nunique() > 1:
            named = [f"{word} {value}" for word, value in zip(by.values(), values, strict=True)]
            span = f"{_ORDERED[x]} from {ordered[x].iloc[0]} to {ordered[x].iloc[-1]}"
            ends[", ".join([*named, span])] = ordered.iloc[[0, -1]]
    if not ends:
        return Markdown(f"- There is one number of {_ORDERED[x]} alone: no trend.")
    found = comparisons.compare(matrices, [comparisons.pair(*of_ends.index) for of_ends in ends.values()])
    endings = [_unfit_end(x, of_ends) for of_ends in ends.values()]
    differences = [tables.in_points(found, rows=row) for row in range(len(ends))]
    places = [
        tables.position(row["uar_low"], row["uar_high"], 0, "zero")
        for row, unfit in zip(differences, endings, strict=True)
        if not unfit
    ]
    words = {"above zero": "higher", "below zero": "lower"}
    counts = Counter(words.get(place, "not shown to change") for place in places)
    said = ", ".join(f"{what} in {n}" for what, n in counts.items()) or "fitted in 0"
    of_all = tables.counted(len(ends), "comparison")
    opened = f"- **UAR from the fewest to the most {_ORDERED[x]}: {said} of {of_all}.**"
    lines = map(_told, ends, differences, endings)
    return Markdown("\n".join([opened, *lines, *_few_seeds(matrices.shape[1])]))


def _few_seeds(n_seeds):
    """What is said of fewer seeds than a verdict needs."""
    if n_seeds >= tables.N_SEEDS:
        return []
    seeds = tables.counted(n_seeds, "seed").replace("1 seed", "one seed")
    return [f"- With {seeds} this compares the networks that were trained, not their settings."]


def _unfit_end(x, ends):
    """Which ends of an ordered setting have not fitted, to end a line with."""
    unfit = ends.loc[ends["fit"] == NOT_FITTED, x] if "fit" in ends else ()
    return f"; at {' and '.join(map(str, unfit))} the networks have not fitted" if len(unfit) else ""


def about_subjects(matrices, classes):
    """How much hangs on few subjects: their number, scores without the largest, classes that vanish.

    ``matrices``: from `hsta_lib.reporting.tables.score_table`.
    """
    sizes = matrices[0, 0].sum(axis=(1, 2))
    scored = score_interval(matrices).estimate, without_largest(matrices)
    whole, without = (100 * values.mean(axis=0) for values in scored)
    changes = ", ".join(
        f"{tables.HEADINGS[metric]} {tables.number(after - before, '+')}"
        for metric, before, after in zip(METRICS, whole, without, strict=True)
    )
    lines = [
        f"- The {len(sizes)} subjects have unequal numbers of clips. They weigh as much as "
        f"{effective_subjects(sizes):.1f} with equal ones.",
        f"- Without the largest ({sizes.max()} of {sizes.sum()} clips) the mean of all settings changes by "
        f"{changes} points.",
    ]
    shares = dict(zip(classes, 100 * vanishing(matrices), strict=True))
    rare = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items() if share >= _RARE)
    lines.append(f"- Classes that a draw of as many subjects, with replacement, may lack: {rare or 'none'}.")
    return Markdown("\n".join(lines))


def measured_growth():
    """Times of training steps by size, from the record of ``benchmarks/growth.py``.

    Columns: ``size`` (of the network), ``setting`` (the one that is varied), ``value``, ``seconds`` of a
    step, ``machine``; ``exponent``: slope of a line through log(seconds) over log(value).
    """
    rows = pd.read_csv(SHIPPED / "benchmarks" / "growth.csv")
    for _, group in rows.groupby(["size", "setting"]):
        slope, _ = np.polyfit(np.log(group["value"]), np.log(group["seconds"]), deg=1)
        rows.loc[group.index, "exponent"] = slope
    return rows


def against_first(scores, matrices, name="row"):
    """Every row of a design against its first, those that fitted corrected together.

    A row that has not fitted is compared by itself and has no p: how its trainings scatter says nothing of
    the others. Where the first has not fitted, that is true of all.

    Parameters
    ----------
    scores : DataFrame
        A row's name in the column ``name`` and, if known, its ``fit``.
    matrices : ndarray, shape (n_rows, n_seeds, n_subjects, n_classes, n_classes)
        Of the rows in this order.

    Returns
    -------
    DataFrame
        See `tables.compare_rows`.
    """
    others = scores[name].iloc[1:]
    counts, rows = are_about_the_method(others, scores).to_numpy(), np.arange(1, len(scores))
    # The data may give no other row.
    parts = [tables.compare_rows([], comparisons.Compared(*[np.empty((0, 3))] * 5), np.empty((0, 3)))]
    for compared in filter(len, [rows[counts], *rows[~counts][:, None]]):
        of_rows = matrices[[0, *compared]]
        family = [comparisons.pair(0, place) for place in range(1, len(of_rows))]
        found, smallest = comparisons.compare(of_rows, family), comparisons.detectable(of_rows, family)
        part = tables.compare_rows(others.iloc[compared - 1], found, smallest).set_index(compared)
        if not counts[compared - 1].all():
            part.loc[:, part.columns.str.endswith(("_p", "_detectable"))] = np.nan
        parts.append(part)
    return pd.concat(parts[1:] or parts).sort_index().reset_index(drop=True)


def tell(differences, rows):
    """Some rows of `against_first` by themselves, in sentences: those that a notebook's title asks for."""
    asked = differences[differences["row"].isin(rows)].to_dict("records")
    return Markdown(
        "\n".join(
            _told(row["row"], row, "; it has not fitted" * bool(np.isnan(row["uar_p"]))) for row in asked
        )
    )


def _told(name, row, ending=""):
    """A named difference in UAR and UF1, as a line."""
    return f"- {name[0].upper()}{name[1:]}: {_placed(row, 'uar')}; {_placed(row, 'uf1')}{ending}."


def as_summary(*differences):
    """Tables of `against_first` as the summary of a record: one row each, the differences in points."""
    scored = [column for column in differences[0] if column.split("_")[0] in METRICS]
    return pd.concat(differences).set_index("row")[scored]


def conclude_differences(study, table, first="the first row", fits=None):
    """Which rows differ from the first by more than chance, in sentences.

    Parameters
    ----------
    table : DataFrame
        From `against_first`.
    first : str
        What the rows are compared with.
    fits : DataFrame, optional
        The rows' scores, the first's too, with ``fit``: those that did not fit are named and not counted, for
        their differences are about training.
    """
    unfit = names_not_fitted(fits)
    counted = table[are_about_the_method(table["row"], fits)]
    lines, differs = [], {metric: tables.differs(counted, metric) for metric in ("uar", "uf1")}
    for metric, shown in differs.items():
        ordered = counted[shown].sort_values(metric, key=abs, ascending=False).to_dict("records")
        rows = "; ".join(f"{row['row']} ({tables.with_span(row, metric, '+')})" for row in ordered)
        above = sum(row[metric] > 0 for row in ordered)
        which = f"of {len(counted)}{' that fitted' * bool(unfit)}"
        count = f"{which}, {above} above {first}, {len(ordered) - above} below"
        told = f", in points: {rows}" if rows else ""
        lines.append(f"- {tables.HEADINGS[metric]}: **{count}**{told}.")
    neither = counted.loc[~differs["uar"] & ~differs["uf1"], "row"]
    lines.append(f"- Not shown to differ in either: {'; '.join(neither) or 'none'}.")
    if unfit:
        lines.append(f"- Not fitted, so that their differences are not about the method: {'; '.join(unfit)}.")
    if unfit and counted.empty:
        lines = [f"- **No difference counts**: {first} or all others have not fitted.", *lines[3:]]
    smallest = counted["uf1_detectable"].median()
    if np.isfinite(smallest):
        lines.append(
            f"- As these trainings scatter, four of five such studies find a difference in UF1 of "
            f"{smallest:.1f} points; smaller ones are found less often."
        )
    lines += _few_seeds(len(study.seeds))
    return Markdown("\n".join(lines))


def peaks(settings, matrices, n_boot):
    """Where scores peak over ordered settings: percent of bootstrap draws with the best score at each.

    One row per setting; it also says where the score itself is highest. ``settings`` (Series): values of the
    ordered setting; its name is kept. ``matrices``: from `hsta_lib.reporting.tables.score_table`.
    """
    draws = bootstrap_scores(matrices, n_boot, np.random.default_rng(0))
    estimates = score_interval(matrices).estimate
    table = pd.DataFrame(index=pd.Index(settings, name=settings.name))
    for i, metric in enumerate(METRICS):
        found = comparisons.peak(estimates[:, i], draws[:, :, i])
        table[f"{tables.HEADINGS[metric]}, % of draws"] = 100 * found.shares
        best = np.where(np.arange(len(table)) == found.at, "highest", "")
        table[f"{tables.HEADINGS[metric]}, here"] = best
    return table


def seconds_of(trials):
    """Training time of each cell's trials, in seconds: of the fastest, which other work slowed least.

    ``trials`` (list of list of Trial): of each cell, trained.
    """
    folder = config.results_dir()
    return [min(store.load(trial, folder)["seconds"] for trial in runs) for runs in trials]


def provenance(study, dataset, trials):
    """Where a report's numbers come from, a row per fact: code, libraries, machine, data, trials."""
    records = [store.load(trial, config.results_dir()) for trial in dict.fromkeys(trials)]
    minutes = sum(record["seconds"] for record in records) / 60
    facts = {
        "code that made this report": store.code_version(),
        "code that trained": _listed(record["commit"] for record in records),
        "results of other code": "; ".join(store.told_of(trials, config.results_dir())) or "none",
        "device asked for": study.parameters.device,
        "trained on": _listed(record["device"] for record in records),
        "precision of products": _listed(trial.settings.training.precision for trial in trials),
        "trials": len(records),
        "epochs of HSTA": _epochs_of(trials),
        "training time": f"{minutes:.1f} minutes, one trial after the other",
        "classes absent from a training fold": _listed(
            name for record in records for name in record["absent_classes"]
        ) or "none",
        "data fingerprint": _listed(trial.fingerprint for trial in trials),
        "preset": study.preset_name,
        "trained with": _listed(f"Python {record['python']}" for record in records) + ", " + _listed(
            f"{name} {number}" for record in records for name, number in record["versions"].items()
        ),
        "reported with": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }  # fmt: skip
    return tables.of_facts(facts)


def _epochs_of(trials):
    chosen = {trial.settings.training.epochs for trial in trials if not trial.settings.comparison.baseline}
    return ", ".join(map(str, sorted(chosen))) or "–"


def _listed(values):
    return ", ".join(sorted(set(values)))


def record(study, dataset, trials, table, summary, references, verdicts=None):
    """Write a report's numbers beside it, for the README and for tests to read.

    The file is ``<name>-<preset>-<dataset>-<split>.json`` in `hsta_lib.config.records_dir`; a run with other
    labels, seeds or grid than the preset's has ``-custom-<hash>`` in its name: it replaces no other run's
    numbers.
    """
    content = {
        "report": study.name,
        "preset": study.preset_name,
        "parameters": _shared_parameters(study.parameters),
        "data": study.data_name,
        "classes": list(dataset.classes),
        "n_clips": len(dataset.tested),
        "n_subjects": int(dataset.tested["subject_id"].nunique()),
        "fingerprint": dataset.fingerprint,
        "seeds": list(study.seeds),
        "commit": store.code_version(),
        "trials": [trial.id for trial in dict.fromkeys(trials)],
        "intervals": RULE,
        "cells": _as_json(table, "records"),
        "summary": _as_json(summary.astype(float), "index"),
        "references": _as_json(references, "index"),
        "claims": [] if verdicts is None else _as_json(verdicts, "records"),
    }
    return _written(report_path(study, ".json"), json.dumps(content, indent=1) + "\n")


def report_path(study, ending):
    """Path of a file beside a report, named as `record` does: ``.json``, ``-predictions.csv``, ..."""
    return config.records_dir() / f"{_record_name(study)}{ending}"


def _written(path, content):
    """Write a file beside the report; its path for reading."""
    write_whole(path, content)
    return config.shown_path(path)


def predictions_table(cells, predictions, references, classes):
    """Predicted classes by name, a row per clip, a column per setting and seed; see `record_predictions`."""
    names = [" ".join(f"{key}={value}" for key, value in cell.items()) for cell in cells.to_dict("records")]
    parts = [predictions.assign(row=predictions["cell"].map(dict(enumerate(names))))]
    parts += [rows.assign(row=name) for name, rows in references.items()]
    rows = pd.concat(parts, ignore_index=True)
    rows["column"] = rows["row"] + " seed=" + rows["seed"].astype(str)
    keys = ["column", "clip_id"]
    if rows.duplicated(keys).any():
        raise ValueError(f"predicted twice: {rows[rows.duplicated(keys)][keys].iloc[0].to_dict()}")
    about = ["clip_id", "subject_id", "fold", "y_true"]
    clips = rows[about].drop_duplicates().set_index("clip_id").sort_index()
    if not clips.index.is_unique:
        twice = clips.index[clips.index.duplicated()][0]
        raise ValueError(f"clip {twice}: its subject, fold or label differs between the columns")
    wide = rows.pivot(index="clip_id", columns="column", values="y_pred")[rows["column"].unique()]
    if wide.isna().any(axis=None):
        lacking = wide.columns[wide.isna().any()][0]
        raise ValueError(f"{lacking}: not every clip is predicted")
    named = np.array(classes, dtype=object)
    wide = wide.apply(lambda column: named[column.astype(int)])
    return clips.assign(y_true=named[clips["y_true"]]).join(wide).reset_index()


def record_predictions(study, dataset, cells, predictions, references, part=""):
    """Write predicted classes beside the report, as ``<record's name>-predictions.csv``.

    A row per tested clip; a column per setting and seed, headed as ``m=4 l_v=2 l_s=1 seed=0``. Of a report
    that has several such tables each is a ``part``: ``<record's name>-<part>-predictions.csv``.

    Raises
    ------
    ValueError
        If a clip is predicted twice or not at all, or its subject, fold or label differs between columns.
    """
    table = predictions_table(cells, predictions, references, dataset.classes)
    path = report_path(study, f"-{part}-predictions.csv" if part else "-predictions.csv")
    return _written(path, csv_of(table))


def record_by_labels(study, datasets, cells, predictions, references):
    """As `record_predictions`, for rows that differ in their labels: a file for those of each label set.

    Rows with macro clips in training have a file of their own, ``<labels>-macro``: beside macro clips, clips
    of the synthetic benchmark lie elsewhere in their recordings.

    Parameters
    ----------
    datasets : list of hsta_lib.data.dataset.Dataset
        Of each row; those of one file have the same tested clips.
    cells : DataFrame
        With ``labels``, by which the files are named.
    predictions : list of DataFrame
        Of each row.
    references : dict of str to dict of str to DataFrame
        Predictions of the reference rows, by file, e.g. ``emotion7``; there may be none of some.
    """
    has_macro = ["macro" in set(dataset.clips["expression_type"]) for dataset in datasets]
    parts = cells["labels"] + np.where(has_macro, "-macro", "")
    paths = []
    for part, group in cells.reset_index(drop=True).groupby(parts.to_numpy(), sort=False):
        of_group = pd.concat([predictions[row].assign(cell=cell) for cell, row in enumerate(group.index)])
        dataset, named = datasets[group.index[0]], references.get(part, {})
        paths.append(record_predictions(study, dataset, group, of_group, named, part))
    return paths


def keep(study, trials):
    """Write a report's stored trials beside it, to make it again untrained: `hsta_lib.training.archive`."""
    path = report_path(study, archive.ENDING)
    archive.pack(trials, config.results_dir(), path)
    return config.shown_path(path)


def _shared_parameters(parameters):
    """Parameters that say what was run, not where and with how many workers."""
    where = {"data_root", "lists_root", "workers", "scheduler", "accept_other_code", "export"}
    return parameters.model_dump(exclude=where)


def _record_name(study):
    chosen = study.parameters.model_copy(update={"device": "auto"})  # it is where, not what
    layout = chosen.variant if study.is_synthetic or chosen.shows_flow else ""
    parts = [study.name, study.preset_name, chosen.dataset, *filter(None, [layout]), chosen.split]
    if chosen.shows_flow:
        parts = ["real", study.name, study.preset_name, layout, chosen.split]
    usual = config.Parameters(
        preset=chosen.preset,
        dataset=chosen.dataset,
        split=chosen.split,
        variant=layout,
        labels=default_labels(chosen.layout),
    )
    if _shared_parameters(chosen) != _shared_parameters(usual):
        text = json.dumps(_shared_parameters(chosen), sort_keys=True)
        parts.append(f"custom-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
    return "-".join(parts)


def _as_json(table, orient):
    return json.loads(table.to_json(orient=orient, double_precision=4))  # NaN becomes null
