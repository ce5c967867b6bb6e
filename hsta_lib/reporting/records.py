"""Provenance and record of a report; what writes a file returns its path, from the repository's root."""

import json
from importlib.metadata import version

import numpy as np
import pandas as pd

from hsta_lib import config
from hsta_lib.data.table import default_labels
from hsta_lib.evaluation.intervals import RULE
from hsta_lib.files import csv_of, text_digest, write_whole
from hsta_lib.reporting import tables
from hsta_lib.training import archive, store

_LIBRARIES = ("numpy", "pandas", "scikit-learn", "papermill")


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


def write(study, dataset, trials, table, summary, references, verdicts=None):
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
    """Path of a file beside a report, named as `write` does: ``.json``, ``-predictions.csv``, ..."""
    return config.records_dir() / f"{_record_name(study)}{ending}"


def _written(path, content):
    """Write a file beside the report; its path for reading."""
    write_whole(path, content)
    return config.shown_path(path)


def predictions_table(cells, predictions, references, classes):
    """Predicted classes by name, a row per clip, a column per setting and seed; see `write_predictions`."""
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


def write_predictions(study, dataset, cells, predictions, references, part=""):
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


def write_by_labels(study, datasets, cells, predictions, references):
    """As `write_predictions`, for rows that differ in their labels: a file for those of each label set.

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
        paths.append(write_predictions(study, dataset, group, of_group, named, part))
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
        parts.append(f"custom-{text_digest(text)[:8]}")
    return "-".join(parts)


def _as_json(table, orient):
    return json.loads(table.to_json(orient=orient, double_precision=4))  # NaN becomes null
