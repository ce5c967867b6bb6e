"""The paper (arXiv 2405.03202): its printed numbers, one CSV per table, and where code and study depart."""

import re
from pathlib import Path

import pandas as pd

# Columns of tables, printed or ours, that name a row and are no setting themselves.
ROW_NAMES = ("setting", "branch", "n_layers", "row", "printed", "system")
GRID_TABLES = ("table1", "table2", "table3", "table4")  # each row a network of other sizes or parts
_ONE_MODULE = {"m": 1}
_BRANCHES = {"video": "l_v", "special": "l_s"}


def table_names():
    """Names of the tables with printed numbers."""
    return sorted(path.stem for path in Path(__file__).parent.glob("table*.csv"))


def title_of(name):
    """A notebook's name as a reader writes it: ``table4`` is Table 4."""
    return re.sub(r"(\d+)", r" \1", name).capitalize()


def load_table(name):
    """Published numbers of a table: its settings and its scores, in percent as printed.

    ``name``: ``table1`` to ``table7``; another is a ValueError. Figure 3 is printed only as a picture and has
    no numbers.
    """
    if name not in table_names():
        raise ValueError(f"the paper has no {name!r} with printed numbers; known: {', '.join(table_names())}")
    return pd.read_csv(Path(__file__).with_name(f"{name}.csv"))


def printed_cells(name):
    """Settings of each row of Tables 1 to 4, as fields of the settings, with the printed names of the rows.

    In printed order. Table 1's columns are one branch with its layers, the other without any, no CSTA and
    M = 1; Table 2 has M = 1. Their shared rows agree with this reading.
    """
    table = load_table(name)
    cells = table[[column for column in table if column in (*ROW_NAMES, "m", "l_v", "l_s", "csta")]]
    if name == "table1":
        layers = {
            field: table["n_layers"].where(table["branch"] == branch, 0)
            for branch, field in _BRANCHES.items()
        }
        cells = cells.assign(**layers, csta=False)
    return cells if "m" in cells else cells.assign(**_ONE_MODULE)


def with_branch(cells):
    """Names that Table 1 would give to rows of other settings: the branch that has layers, and how many.

    Returns ``cells``, which have ``l_v`` and ``l_s``, after ``branch`` and ``n_layers``. A ValueError if both
    branches have layers.
    """
    both = cells[(cells["l_v"] > 0) & (cells["l_s"] > 0)]
    if len(both):
        found = both[["l_v", "l_s"]].iloc[0].to_dict()
        raise ValueError(f"grid: table1 is of one branch alone, found {found}; set l_v or l_s to 0")
    names = pd.DataFrame({"branch": "video", "n_layers": cells["l_v"] + cells["l_s"]})
    return names.assign(branch=names["branch"].where(cells["l_s"] == 0, "special")).join(cells)


def load_subjects():
    """Clips of each class by subject, of the lists that are public.

    Returns
    -------
    dict of str to list of tuple
        By dataset, as the paper writes it: ``(subject id, clips of each class)``. The ids are those of the
        readers, empty for CAS(ME)^3; the classes stand at the head of the file.
    """
    table = pd.read_csv(Path(__file__).with_name("subjects.csv"), comment="#", keep_default_na=False)
    clips = [tuple(map(int, numbers.split("/"))) for numbers in table["clips"]]
    rows = zip(table["dataset"], table["subject"], clips, strict=True)
    found = {}
    for dataset, subject, numbers in rows:
        found.setdefault(dataset, []).append((subject, numbers))
    return found


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


def load_systems():
    """The baselines: where they come from, what they are here, and what had to be guessed.

    Returns
    -------
    DataFrame of str
        One row per ``system``, as the paper prints it; ``called`` by its authors; ``module`` of
        `hsta_lib.models` that it is in; ``tables`` of the paper that list it (``5``, ``6``), empty for those
        that are extra; ``sees``; ``published_form`` and ``reduced_form``, how near each is to the original;
        ``shortcut``, that of the original's own evaluation, or ``none known``; ``source``; ``guessed``.
    """
    return pd.read_csv(Path(__file__).with_name("systems.csv"), dtype=str, keep_default_na=False)


def load_extra():
    """Published scores of systems that neither Table 5 nor Table 6 lists, in percent, with their sources."""
    return pd.read_csv(Path(__file__).with_name("extra.csv"))


def load_composite():
    """Published scores of systems on the composite of MEGC2019, in percent, with their sources."""
    return pd.read_csv(Path(__file__).with_name("composite.csv"))
