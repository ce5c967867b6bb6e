"""What a paper needs of a report: its figures as SVG and PNG, its tables as CSV and LaTeX (booktabs)."""

from itertools import count
from pathlib import Path

import pandas as pd
from IPython import get_ipython
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from hsta_lib.files import csv_of, write_whole

_DPI = 200


def export_shown(stem):
    """From now on, write every figure and table that this notebook shows; nothing elsewhere.

    ``stem``: what the files' names begin with: ``<stem>-figure1.svg``, ``<stem>-table1.tex``, in order.
    """
    shell = get_ipython()
    if shell is None:
        return
    shell.run_line_magic("matplotlib", "inline")  # done later, it would undo what follows
    figures, tables, html = count(1), count(1), shell.display_formatter.formatters["text/html"]
    stem.parent.mkdir(parents=True, exist_ok=True)
    html.for_type(Figure, lambda figure: write_figure(figure, f"{stem}-figure{next(figures)}"))
    html.for_type(pd.DataFrame, lambda table: write_table(table, f"{stem}-table{next(tables)}"))
    html.for_type(Styler, lambda styler: write_table(styler, f"{stem}-table{next(tables)}"))


def write_figure(figure, stem):
    """``<stem>.svg`` and ``<stem>.png``, 200 dots per inch."""
    figure.savefig(f"{stem}.svg", bbox_inches="tight")
    figure.savefig(f"{stem}.png", bbox_inches="tight", dpi=_DPI)


def write_table(table, stem):
    """``<stem>.csv`` and ``<stem>.tex``, which needs booktabs; returns the table as HTML."""
    data = getattr(table, "data", table)
    has_names = not all(getattr(table, "hide_index_", [False]))
    data = data.replace("<br>", "; ", regex=True)
    write_whole(Path(f"{stem}.csv"), csv_of(data, has_names))
    latex = data.to_latex(index=has_names, escape=True, float_format="{:.1f}".format)
    write_whole(Path(f"{stem}.tex"), latex)
    return table._repr_html_()
