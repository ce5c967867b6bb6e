"""The paper (arXiv 2405.03202): its printed numbers, one CSV per table, and where code and study depart."""

from pathlib import Path

import pandas as pd


def table_names():
    """Names of the tables with printed numbers."""
    return sorted(path.stem for path in Path(__file__).parent.glob("table*.csv"))


def load_table(name):
    """Published numbers of a table.

    Parameters
    ----------
    name : str
        ``table1`` to ``table7``. Figure 3 is printed only as a picture and has no numbers.

    Returns
    -------
    DataFrame
        The table's settings and its scores, in percent as printed.

    Raises
    ------
    ValueError
        If there is no such table.
    """
    if name not in table_names():
        raise ValueError(f"the paper has no {name!r} with printed numbers; known: {', '.join(table_names())}")
    return pd.read_csv(Path(__file__).with_name(f"{name}.csv"))


def load_departures():
    """Differences between the paper, the released code and this study.

    Returns
    -------
    DataFrame of str
        One row per ``topic``: network, recipe, data, evaluation, in this order. ``field`` is the setting or
        notebook parameter that switches it, empty where nothing does; ``paper``, ``released_code`` and
        ``this_study`` say what each does, ``paper`` "not said" where it is silent.
    """
    return pd.read_csv(Path(__file__).with_name("departures.csv"), dtype=str, keep_default_na=False)
