"""The first page of the site: what was found, and the list of the reports."""

import json
import shutil
from collections import Counter

from hsta_lib.files import write_whole
from hsta_lib.site import pages
from hsta_lib.tables import HEADINGS

METRICS = ("uar", "uf1")
_MARK = '<meta name="generator" content="hsta_lib.site">'
_CLAIM_FIELDS = ("id", "where", "says", "scope", "verdict", "table")


def build(reports, output):
    """Write a page per report and ``index.html``; nothing is written if a report is broken.

    Parameters
    ----------
    reports : Path
        Folder of executed notebooks and of the records beside them.
    output : Path
        Folder of the site; what an earlier build left there is removed.

    Raises
    ------
    ValueError
        If there is no report, a report did not run whole, a record lacks a field, or ``output`` holds
        something else than a site.
    """
    paths = sorted(path for path in reports.glob("*.ipynb") if ".partial" not in path.name)
    _refuse_foreign(output)
    if not paths:
        raise ValueError(f"{reports} holds no report; make one first: make table4")
    notebooks = {path.stem: pages.read_report(path) for path in paths}
    files = {name: _files_of(name, reports) for name in notebooks}
    content = {"index.html": render_index(reports, notebooks, files)}
    for name, notebook in notebooks.items():
        content[f"{name}.html"] = pages.render_report(notebook, reports, _links(files[name]))
    shutil.rmtree(output, ignore_errors=True)
    for name, text in content.items():
        write_whole(output / name, text)
    for path in {path for found in files.values() for path in found}:
        shutil.copyfile(path, output / path.name)


def _files_of(name, reports):
    """A report's notebook and the predictions it wrote beside itself."""
    return [reports / f"{name}.ipynb", *sorted(reports.glob(f"{name}-*.csv"))]


def _links(paths):
    texts = {".ipynb": "notebook", ".csv": "predictions"}
    several = len(paths) > 2
    return [
        (path.name, path.name if several and path.suffix == ".csv" else texts[path.suffix]) for path in paths
    ]


def _refuse_foreign(output):
    """An earlier site is replaced, nothing else."""
    index = output / "index.html"
    is_site = index.exists() and _MARK in index.read_text()
    if output.exists() and any(output.iterdir()) and not is_site:
        raise ValueError(f"{output} holds something else than a site; choose another folder with --output.")


def render_index(reports, notebooks, files):
    """The first page.

    Parameters
    ----------
    reports : Path
    notebooks : dict of str to nbformat.NotebookNode
        By name, from `hsta_lib.site.pages.read_report`.
    files : dict of str to list of Path
        Files to link beside each report, by its name.

    Returns
    -------
    str
    """
    described = [
        {
            "name": name,
            "title": pages.heading(notebook),
            "sentence": pages.first_sentence(notebook),
            "data": pages.data_used(notebook),
            "links": _links(files[name]),
        }
        for name, notebook in notebooks.items()
    ]
    titles = {report["name"]: report["title"] for report in described}
    records = _records(reports)
    return pages.render_page(
        "index.html.j2",
        metrics=[HEADINGS[metric] for metric in METRICS],
        results=headline(records, titles),
        changes=changes(records, titles),
        protocols=protocols(reports / "audit-lists.json"),
        claims=claims(reports, titles),
        reports=described,
    )


def _records(reports):
    """Records of the study by name, those of differences last; each has the fields that are read."""
    records = []
    for path in sorted(reports.glob("*-study-*.json")):
        record = json.loads(path.read_text())
        needed = {"report", "data", "n_clips", "n_subjects", "parameters", "summary", "references"}
        if needed - set(record):
            raise ValueError(f"{path}: {sorted(needed - set(record))} is missing; make the report again.")
        records.append(record)
    return sorted(records, key=lambda record: any(map(_is_change, record["summary"].values())))


def headline(records, titles):
    """The results named beforehand, beside the paper's, and the reference rows.

    Parameters
    ----------
    records : list of dict
        As written by `hsta_lib.report.record`.
    titles : dict of str to str
        Headings of the reports there are, by name.

    Returns
    -------
    list of dict
        For each record with scores ``title``, ``page`` ('' if there is no such report), ``data`` and
        ``rows``. A row has a ``name``, ``cells`` (``score`` and ``interval``; paper, then ours, for each
        metric) and whether it is a ``reference``; reference rows of an earlier record are not repeated.
    """
    blocks, seen = [], []
    for record in records:
        rows = [_row(name, scores) for name, scores in record["summary"].items() if not _is_change(scores)]
        for name, scores in record["references"].items():
            row = _row(name, scores) | {"reference": True}
            if (_data(record), row) not in seen:
                rows.append(row)
                seen.append((_data(record), row))
        if rows:
            blocks.append(_block(record, titles, rows))
    return blocks


def changes(records, titles):
    """Differences against the first row of a report, where they are its results.

    Parameters
    ----------
    records, titles
        As `headline`.

    Returns
    -------
    list of dict
        As `headline`, with one cell for each metric, in points, with its sign.
    """
    blocks = []
    for record in records:
        rows = [
            {"name": name, "cells": [_cell(scores, metric, "+.1f") for metric in METRICS]}
            for name, scores in record["summary"].items()
            if _is_change(scores)
        ]
        if rows:
            blocks.append(_block(record, titles, rows))
    return blocks


def _is_change(scores):
    """Of a difference, unlike a score, the record holds a p value."""
    return any(f"{metric}_p" in scores for metric in METRICS)


def _data(record):
    data = f"{record['data']}, {record['n_clips']} clips, {record['n_subjects']} subjects"
    return f"{data}; split {record['parameters']['split']}"


def _block(record, titles, rows):
    name = record["report"]
    return {
        "title": titles.get(name, name).split(":")[0],
        "page": f"{name}.html" if name in titles else "",
        "data": _data(record),
        "rows": rows,
    }


def _row(name, scores):
    columns = [column for metric in METRICS for column in (f"{metric}_paper", metric)]
    return {"name": name, "cells": [_cell(scores, column, ".1f") for column in columns]}


def _cell(scores, column, form):
    score, low, high = (scores.get(f"{column}{end}") for end in ("", "_low", "_high"))
    return {
        "score": "–" if score is None else f"{score:{form}}",
        "interval": "" if low is None or high is None else f"{low:{form}} to {high:{form}}",
    }


def protocols(path):
    """Rows of what predictors that see no picture reach on the authors' lists; empty without a record."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text())["rows"]
    return [{"predictor": row["predictor"], **_row(row["protocol"], row)} for row in rows]


def claims(reports, titles):
    """The paper's claims and their verdicts, by scope.

    Parameters
    ----------
    reports : Path
        Folder in which ``claims*.json`` are read: lists of objects with ``id``, ``where``, ``says``,
        ``scope``, ``verdict`` and ``table``, the report's name.
    titles : dict of str to str
        Headings of the reports there are, by name.

    Returns
    -------
    dict
        ``counts`` of the verdicts by scope, in order of appearance; ``rows``, the claims with the ``page``
        of their report or ''. Empty if there is no such file.

    Raises
    ------
    ValueError
        If a claim lacks a field.
    """
    rows = []
    for path in sorted(reports.glob("claims*.json")):
        for claim in json.loads(path.read_text()):
            missing = sorted(set(_CLAIM_FIELDS) - set(claim))
            if missing:
                raise ValueError(f"{path}: claim {claim.get('id', '?')} lacks {missing}; make it again.")
            rows.append(claim | {"page": f"{claim['table']}.html" if claim["table"] in titles else ""})
    if not rows:
        return {}
    counts = {row["scope"]: Counter() for row in rows}
    for row in rows:
        counts[row["scope"]][row["verdict"].split(":")[0]] += 1  # the rest says why
    return {"counts": counts, "rows": rows}
