"""The sentences, the provenance and the record of a report: everything said is made from numbers."""

import hashlib
import json
from importlib.metadata import version

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import ROOT, config, store
from hsta_lib.data.table import default_labels
from hsta_lib.files import write_whole
from hsta_lib.metrics import METRICS
from hsta_lib.stats import score_interval
from hsta_lib.trials import NAMED_CELL

_LIBRARIES = ("numpy", "pandas", "scikit-learn", "papermill")


def summarise(table, matrices):
    """The two results named beforehand: the named setting, and the mean over all cells.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.tables.beside_paper`.
    matrices : ndarray, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
        From `hsta_lib.tables.score_table`.

    Returns
    -------
    DataFrame
        Rows ``named setting`` (if it is in the grid) and ``mean of all settings``, columns as ``table``'s
        scores. The best of the cells proves nothing and is not used.
    """
    scored = [column for column in table if column.split("_")[0] in METRICS]
    rows = {}
    named = (table[list(NAMED_CELL)] == list(NAMED_CELL.values())).all(axis=1)
    if named.any():
        name = "named setting (M = {m}, L_v = {l_v}, L_s = {l_s})".format(**NAMED_CELL)
        rows[name] = table.loc[named, scored].iloc[0]
    rows[f"mean of all {len(table)} settings"] = _mean_row(table[scored], matrices)
    return pd.DataFrame(rows).T


def _mean_row(scored, matrices):
    mean = scored.mean()
    _, low, high = _contrast(matrices, np.full(len(matrices), 1 / len(matrices)))
    for i, metric in enumerate(METRICS):
        mean[f"{metric}_low"], mean[f"{metric}_high"] = low[i], high[i]
    return mean


def _contrast(matrices, weights):
    """Weighted sum of the settings' scores and its interval, in percent; each of shape (3,)."""
    found = score_interval(matrices, weights[None])
    return [100 * values[0] for values in (found.estimate, found.low, found.high)]


def _span(low, high):
    return f"[{low:.1f}, {high:.1f}]"


def _uar(row):
    return f"{row['uar']:.1f} % {_span(row['uar_low'], row['uar_high'])}"


def _against(row, chance):
    """How a UAR interval lies to chance, in words."""
    if row["uar_low"] > chance:
        return "above chance"
    return "below chance" if row["uar_high"] < chance else "not distinguishable from chance"


def depth_trends(table, matrices):
    """Change of UF1 from the smallest to the largest M, for each pair (L_v, L_s), paired by subject.

    Returns
    -------
    DataFrame
        ``l_v, l_s, m_from, m_to, change, low, high`` and the paper's ``paper_change``, in points.
    """
    rows = []
    for (l_v, l_s), group in table.groupby(["l_v", "l_s"], sort=False):
        first, last = group["m"].idxmin(), group["m"].idxmax()
        if first == last:
            continue
        weights = np.zeros(len(table))
        weights[[first, last]] = -1, 1
        change, low, high = (values[METRICS.index("uf1")] for values in _contrast(matrices, weights))
        paper_change = table["uf1_paper"][last] - table["uf1_paper"][first]
        rows.append([l_v, l_s, table["m"][first], table["m"][last], change, low, high, paper_change])
    columns = ["l_v", "l_s", "m_from", "m_to", "change", "low", "high", "paper_change"]
    return pd.DataFrame(rows, columns=columns)


def product_contrast(table, matrices):
    """UF1 of the settings with M x L_v = 8 less the mean of the others: the paper's reading of its Table 4.

    Returns
    -------
    Series or None
        ``change, low, high, paper_change``, in points; None if all or none of the cells have that product.
    """
    product = (table["m"] * table["l_v"] == 8).to_numpy()
    if product.all() or not product.any():
        return None
    weights = product / product.sum() - ~product / (~product).sum()
    change, low, high = (values[METRICS.index("uf1")] for values in _contrast(matrices, weights))
    paper_change = table["uf1_paper"] @ weights
    return pd.Series({"change": change, "low": low, "high": high, "paper_change": paper_change})


def conclude_table4(study, summary, references, trends, contrast, chance):
    """Table 4's conclusion, made from its numbers.

    Parameters
    ----------
    study : hsta_lib.study.Study
    summary, references : DataFrame
        From `summarise` and `hsta_lib.tables.score_rows`.
    trends : DataFrame
        From `depth_trends`.
    contrast : Series or None
        From `product_contrast`.
    chance : float
        UAR of guessing, in percent.

    Returns
    -------
    IPython.display.Markdown
    """
    where = f"{study.data_name}; preset `{study.preset_name}`; split `{study.settings.split.split}`"
    lines = [f"**{where}**{study.dependence}. Guessing gives a UAR of {chance:.1f} %.", ""]
    for name, row in summary.iterrows():
        lines.append(f"- UAR of the {name}: {_uar(row)}, **{_against(row, chance)}**.")
    for name, row in references.filter(like="shuffled", axis=0).iterrows():
        lines.append(f"- UAR with {name}: {_uar(row)}, {_against(row, chance)}.")
    for row in trends.itertuples():
        what = f"From M = {row.m_from} to M = {row.m_to} with L_v = {row.l_v}, L_s = {row.l_s}"
        lines.append(f"- {what}, UF1 changes by {_change(row)}.")
    if contrast is not None:
        lines.append(f"- The settings with M × L_v = 8 differ from the others by {_change(contrast)} in UF1.")
    if study.is_synthetic:
        lines.append("- All of this is about synthetic faces; it neither supports nor contradicts the paper.")
    return Markdown("\n".join(lines))


def _change(row):
    zero = "outside" if row.low > 0 or row.high < 0 else "inside"
    paper = "" if np.isnan(row.paper_change) else f"; in the paper by {row.paper_change:+.1f}"
    return f"{row.change:+.1f} points {_span(row.low, row.high)} (zero lies {zero}{paper})"


def provenance(study, dataset, trials):
    """Where a report's numbers come from: code, libraries, machine, data, trials.

    Returns
    -------
    pandas.io.formats.style.Styler
        One row per fact.
    """
    records = [store.load(trial, config.results_dir()) for trial in dict.fromkeys(trials)]
    minutes = sum(record["seconds"] for record in records) / 60
    facts = {
        "code that made this report": store.code_version(),
        "code that trained": _listed(record["commit"] for record in records),
        "trained on": _listed(record["device"] for record in records),
        "trials": len(records),
        "training time": f"{minutes:.1f} minutes, one trial after the other",
        "classes absent from a training fold": _listed(
            name for record in records for name in record["absent_classes"]
        ) or "none",
        "data fingerprint": dataset.fingerprint,
        "preset": study.preset_name,
        "trained with": _listed(f"Python {record['python']}" for record in records) + ", " + _listed(
            f"{name} {number}" for record in records for name, number in record["versions"].items()
        ),
        "reported with": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }  # fmt: skip
    left = [
        {"selector": "th, td", "props": "text-align: left"},
        {"selector": "thead", "props": "display: none"},
    ]
    return pd.DataFrame({"fact": facts}).style.set_table_styles(left)


def _listed(values):
    return ", ".join(sorted(set(values)))


def record(study, dataset, trials, table, summary, references):
    """Write a report's numbers beside it, for the README and for tests to read.

    The file is ``reports/<name>-<preset>-<dataset>-<split>.json``; a run with other labels, seeds or grid
    than the preset's has ``-custom-<hash>`` in its name: it replaces no other run's numbers.

    Returns
    -------
    str
        Its path from the repository's root.
    """
    content = {
        "report": study.name,
        "preset": study.preset_name,
        "parameters": _shared_parameters(study.parameters),
        "data": study.data_name,
        "n_clips": len(dataset.clips),
        "n_subjects": int(dataset.clips["subject_id"].nunique()),
        "fingerprint": dataset.fingerprint,
        "seeds": list(study.seeds),
        "commit": store.code_version(),
        "trials": [trial.id for trial in dict.fromkeys(trials)],
        "cells": _as_json(table, "records"),
        "summary": _as_json(summary.astype(float), "index"),
        "references": _as_json(references, "index"),
    }
    path = ROOT / "reports" / f"{_record_name(study)}.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")
    return str(path.relative_to(ROOT))


def _shared_parameters(parameters):
    """Parameters that say what was run, not where and with how many workers."""
    return parameters.model_dump(exclude={"data_root", "lists_root", "workers"})


def _record_name(study):
    chosen = study.parameters
    parts = [study.name, study.preset_name, chosen.dataset, chosen.split]
    usual = config.Parameters(
        preset=chosen.preset,
        dataset=chosen.dataset,
        split=chosen.split,
        labels=default_labels(chosen.dataset),
    )
    if _shared_parameters(chosen) != _shared_parameters(usual):
        text = json.dumps(_shared_parameters(chosen), sort_keys=True)
        parts.append(f"custom-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
    return "-".join(parts)


def _as_json(table, orient):
    return json.loads(table.to_json(orient=orient, double_precision=4))  # NaN becomes null
