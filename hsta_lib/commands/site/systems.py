"""A page per comparison system: what it is, where it comes from, what had to be guessed, what it scores."""

import ast
import html
import re
from functools import cache

from hsta_lib import ROOT
from hsta_lib.commands.site import pages
from hsta_lib.paper import load_systems
from hsta_lib.reporting.tables import HEADINGS
from hsta_lib.study import published

_TABLES = {"table5": ("Table 5", "{}"), "table6": ("Table 6", "{} classes")}
_DESCRIBED = {
    "sees": "Sees",
    "source": "Comes from",
    "published_form": "Here at published size",
    "reduced_form": "Here for a CPU",
    "guessed": "Guessed or left out",
    "shortcut": "Shortcut of the original’s evaluation",
}


def page_names():
    """File names of the pages of all systems that `hsta_lib.paper.load_systems` describes, by system."""
    names = load_systems()["system"]
    return {name: f"system-{re.sub(r'[^a-z0-9]+', '-', name.lower())}.html" for name in names}


def render_systems(records, titles):
    """The pages of all systems.

    Parameters
    ----------
    records : list of dict
        As written by `report.record`; those of other reports than Tables 5 and 6 are not looked at.
    titles : dict of str to str
        Headings of the reports there are, by name.

    Returns
    -------
    dict of str to str
        By file name.

    Raises
    ------
    ValueError
        If the module that a system is said to be in is not there or says nothing.
    """
    described, names = load_systems().to_dict("records"), page_names()
    return {names[row["system"]]: _render(row, records, titles) for row in described}


def _render(row, records, titles):
    name = row["system"]
    return pages.render_page(
        "system.html.j2",
        title=row["called"],
        called=_called(row),
        facts=[(heading, row[column]) for column, heading in _DESCRIBED.items()],
        module=f"hsta_lib/models/baselines/{row['module']}.py",
        paragraphs=_paragraphs(row),
        metrics=[HEADINGS[metric] for metric in published.SHOWN],
        printed=[line for table in _TABLES for line in _printed(table) if line["system"] == name],
        ours=[block for record in records if (block := _ours(name, record, titles))["rows"]],
    )


def _called(row):
    """Which tables of the paper list a system, and how, in words."""
    numbers = row["tables"].split(", ") if row["tables"] else []
    if not numbers:
        return "Not listed in the tables of the paper."
    where = " and ".join([f"Table{'s' * (len(numbers) > 1)} {numbers[0]}", *numbers[1:]])
    return f"Listed in {where} of the paper as {row['system']}."


def _paragraphs(row):
    """What the system's module says of itself, paragraph by paragraph, as HTML."""
    path = ROOT / "hsta_lib" / "models" / "baselines" / f"{row['module']}.py"
    told = ast.get_docstring(ast.parse(path.read_text())) if path.is_file() else None
    if not told:
        raise ValueError(
            f"hsta_lib/paper/systems.csv: {row['system']}: module = {row['module']!r}: no file of that name "
            "with a docstring lies in hsta_lib/models/baselines; name the file it is in"
        )
    return [_marked_up(paragraph) for paragraph in re.split(r"\n\s*\n", told)]


def _marked_up(text):
    """Text of a docstring as HTML, with its marks of code and of what is stressed."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    with_code = re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", escaped)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", with_code)


@cache
def _printed(table):
    """Published scores of a table and, for Table 5, of systems that it does not list."""
    title, where = _TABLES[table]
    rows = published.published(table, also=load_systems()["system"]).to_dict("records")
    by = "dataset" if table == "table5" else "n_classes"
    return [
        {
            "system": row["method"],
            "name": f"{'' if row['source'] else f'{title}, '}{where.format(row[by])}",
            "scores": [f"{row[metric]:.1f}" for metric in published.SHOWN],
            "pair": published.told_of_pair(row),
        }
        for row in rows
    ]


def _ours(name, record, titles):
    """A record's rows of one system; their names begin with its own."""
    rows = record["summary"] if record["report"] in _TABLES else {}
    start = f"{name}, "
    mine = {label.removeprefix(start): row for label, row in rows.items() if label.startswith(start)}
    return {
        **pages.named(record["report"], titles),
        "data": pages.data_of(record),
        "preset": record["preset"],
        "split": record["parameters"]["split"],
        "rows": [
            {"name": label, "cells": [pages.score_cell(row, metric) for metric in published.SHOWN]}
            for label, row in mine.items()
        ],
    }
