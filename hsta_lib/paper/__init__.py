"""The paper's printed numbers (arXiv 2405.03202), one CSV per table, in percent."""

from pathlib import Path

import pandas as pd


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
    path = Path(__file__).with_name(f"{name}.csv")
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.csv")))
        raise ValueError(f"the paper has no {name!r} with printed numbers; known: {known}")
    return pd.read_csv(path)
