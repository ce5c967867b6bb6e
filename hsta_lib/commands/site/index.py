"""The first page of the site: what was found, and the lists of the reports and of the pages of ``docs/``."""

import base64
import json
import shutil
from collections import Counter

from hsta_lib.commands.site import pages
from hsta_lib.evaluation.fitted import NOT_FITTED
from hsta_lib.files import write_whole
from hsta_lib.paper_check.claims import QUOTED
from hsta_lib.reporting.tables import HEADINGS

METRICS = ("uar", "uf1")
_MARK = '<meta name="generator" content="hsta_lib.commands.site">'
_SUMMARY = "summary.svg"
# Groups of reports, by their heading and what their names begin with; the last takes what is left.
_GROUPS = {
    "Findings": ("audit", "claims", "controls", "real-extr", "real-honest", "real-repr", "real-table"),
    "Tables and figures of the paper": ("figure", "table"),
    "Data and networks": ("",),
}
# The first page shows this report's results and these reference rows; its own page, all.
_HEADLINE, _REFERENCES = "table4", ("majority class", "labels shuffled")
_LISTS = ("audit", "real annotations of CAS(ME)³, no images")
_SCOPES = {
    "paper": "By the printed numbers", "synthetic": "As patterns on synthetic faces",
    "real motion": "As patterns in real motion",
}  # fmt: skip
_CLAIM_FIELDS = ("id", "scope", "basis", "verdict")


def build(reports, output):
    """Write a page per report and per page of ``docs/``, and ``index.html``; nothing if a report is broken.

    Parameters
    ----------
    reports : Path
        Folder of executed notebooks and of the records beside them; ``docs/`` lies beside it, if anywhere.
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
    titles = {name: pages.heading(notebook) for name, notebook in notebooks.items()}
    records = _records(reports)
    docs = sorted((reports.parent / "docs").glob("*.md"))
    guides = {path.stem: pages.read_guide(path) for path in docs}
    links = pages.Links(output, {path.resolve(): f"{path.stem}.html" for path in [*paths, *docs]})
    content = {
        name: pages.render_report(notebook, reports, links, _links(files[name]))
        for name, notebook in notebooks.items()
    }
    content |= {path.stem: pages.render_report(guides[path.stem], path.parent, links) for path in docs}
    sections = [(f"{name}.html", *found) for name, (_, parts) in content.items() for found in parts]
    answers = {name: pages.answer(notebook) for name, notebook in notebooks.items()}
    content["index"] = render_index(reports, records, titles, guides, sections, answers), []
    shutil.rmtree(output, ignore_errors=True)
    for name, (text, _) in content.items():
        write_whole(output / f"{name}.html", text)
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


def render_index(reports, records, titles, guides, sections, answers):
    """The first page: records, titles, pages of ``docs/``, what can be searched, and reports' answers."""
    return pages.render_page(
        "index.html.j2",
        metrics=[HEADINGS[metric] for metric in METRICS],
        results=headline(records, titles),
        lists=lists(reports / "audit-lists.json", titles),
        claims={"counts": claims(reports), "page": pages.named("claims", titles)["page"]},
        data=data_used(records, titles),
        unfit=[_named(record, titles) for record in records if _is_unfit(record)],
        groups=_grouped(titles, answers),
        guides=[(f"{name}.html", pages.heading(guide)) for name, guide in guides.items()],
        summary=_summary(reports / _SUMMARY),
        sections=sections,
        search=(pages.TEMPLATES / "search.js").read_text(),
    )


def _grouped(titles, answers):
    """Headings of groups and their reports, in the order of both."""
    groups = {heading: [] for heading in _GROUPS}
    for name in titles:
        group = next(heading for heading, begins in _GROUPS.items() if name.startswith(begins))
        groups[group].append(pages.named(name, titles) | {"answer": answers[name]})
    return {heading: found for heading, found in groups.items() if found}


def _summary(path):
    """The figure that tells it all, as an address that holds it; nothing if it is not there."""
    if not path.exists():
        return ""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def _records(reports):
    """Records of the study by name; each has the fields that are read."""
    records = []
    for path in sorted(reports.glob("*-study-*.json")):
        record = json.loads(path.read_text())
        needed = {"report", "preset", "data", "n_clips", "n_subjects", "parameters", "summary", "references"}
        if needed - set(record):
            raise ValueError(f"{path}: {sorted(needed - set(record))} is missing; make the report again.")
        records.append(record)
    return records


def headline(records, titles):
    """Results of Table 4 named beforehand, beside the paper's, and two reference rows: a block per record."""
    blocks = []
    for record in records:
        if record["report"] == _HEADLINE:
            rows = [_row(name, scores) for name, scores in record["summary"].items()]
            references = record["references"]
            shown = [name for name in _REFERENCES if name in references]
            rows += [_row(name, references[name]) | {"reference": True} for name in shown]
            data = f"{pages.data_of(record)}; split {record['parameters']['split']}"
            blocks.append({**_named(record, titles), "data": data, "rows": rows})
    return blocks


def lists(path, titles):
    """What predictors that see no picture reach on the authors' lists, as `headline`; [] without a record."""
    if not path.exists():
        return []
    name, data = _LISTS
    rows = json.loads(path.read_text())["rows"]
    rows = [_row(f"{row['protocol']}; {row['predictor']} known", row) for row in rows]
    return [{**pages.named(name, titles), "data": data, "rows": rows}]


def data_used(records, titles):
    """What data the records were made from: for each, in words, the reports' ``title`` and ``page``."""
    used = {}
    for record in records:
        used.setdefault(pages.data_of(record), []).append(_named(record, titles))
    return used


def _named(record, titles):
    """The report of a record, as `pages.named`; on real motion it has a name of its own."""
    is_real = record["parameters"].get("dataset") == "megc2019_flow"
    return pages.named("real-" * is_real + record["report"], titles)


def _is_unfit(record):
    """Whether a row of it has not fitted."""
    return any(row.get("fit") == NOT_FITTED for row in record.get("cells", ()))


def _row(name, scores):
    columns = [column for metric in METRICS for column in (f"{metric}_paper", metric)]
    return {"name": name, "cells": [pages.score_cell(scores, column) for column in columns]}


def claims(reports):
    """How many of the paper's claims have which verdict, by scope and basis; empty without a record."""
    counts = {}
    for path in sorted(reports.glob("claims*.json")):
        for claim in json.loads(path.read_text()):
            missing = sorted(set(_CLAIM_FIELDS) - set(claim))
            if missing:
                raise ValueError(f"{path}: claim {claim.get('id', '?')} lacks {missing}; make it again.")
            verdict = claim["verdict"].split(":")[0]  # the rest says why
            verdict = verdict.removesuffix(" on the synthetic benchmark").removesuffix(" in real motion")
            counts.setdefault((claim["scope"], claim["basis"]), Counter())[verdict] += 1
    places = {scope: place for place, scope in enumerate(_SCOPES)}
    order = sorted(counts, key=lambda key: (places.get(key[0], len(places)), key[0], key[1] != QUOTED))
    return {
        f"{_SCOPES.get(scope, scope)}, {basis}": counts[scope, basis].most_common() for scope, basis in order
    }
