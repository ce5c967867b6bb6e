"""Tables 5 and 6: scores on several datasets or label sets, beside the systems that the paper prints.

A table has one row per ``system``, ``dataset`` (or ``n_classes``) and ``train_on``, and the columns of
`hsta_lib.tables.score_table`; rows of other systems than HSTA are added by concatenation.
"""

import pandas as pd
from IPython.display import Markdown

from hsta_lib.consistency import findings
from hsta_lib.metrics import METRICS, per_fold_means
from hsta_lib.paper import load_table
from hsta_lib.tables import HEADINGS, LEFT, from_to, score_rows, score_table, with_span
from hsta_lib.trials import NAMED_CELL

SHOWN = ("uf1", "uar")  # the paper prints no ACC in these tables
_PUBLISHED = "published"
_TITLES = {"table5": "Table 5", "table6": "Table 6"}


def reduced(study):
    """The study with no more generated clips than the preset allows for these tables."""
    spec = study.preset.synthetic
    return study.variant(synthetic={"n_micro": min(spec.n_micro, study.preset.datasets.n_micro)})


def label_sets():
    """Rows of Table 6: the named setting on three, four and seven classes of CAS(ME)^3."""
    labels = ["emotion3", "emotion4", "emotion7"]
    return pd.DataFrame({"system": "HSTA", "labels": labels, **NAMED_CELL})


def score(cells, predictions, n_classes):
    """Scores of rows that have all classes in common, with the means over subjects beside the pooled scores.

    Parameters
    ----------
    cells : DataFrame
    predictions : DataFrame
        Of these rows, counted by the column ``cell``.
    n_classes : int

    Returns
    -------
    table : DataFrame
        As from `hsta_lib.tables.score_table`; also ``<metric>_skipped`` and ``<metric>_zero``: the mean over
        subjects of each one's score, where a class a subject lacks counts nothing, or 0; in percent.
    matrices : ndarray of int, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
    """
    table, matrices = score_table(cells, predictions, n_classes)
    for absent in ("skipped", "zero"):
        means = 100 * per_fold_means(matrices, absent).mean(axis=1)
        table[[f"{metric}_{absent}" for metric in METRICS]] = means
    return table, matrices


def score_label_sets(cells, predictions, datasets):
    """Scores of rows that differ in their classes.

    Parameters
    ----------
    cells : DataFrame
    predictions : list of DataFrame
        Of each row; see `hsta_lib.store.predictions`.
    datasets : list of hsta_lib.data.dataset.Dataset
        Of each row.

    Returns
    -------
    DataFrame
        As from `score`, with ``n_classes`` and ``train_on``, which is ``own``.
    """
    sizes = [len(dataset.classes) for dataset in datasets]
    parts = [
        score(cells.iloc[[row]], rows.assign(cell=0), n_classes)[0].assign(n_classes=n_classes)
        for row, (rows, n_classes) in enumerate(zip(predictions, sizes, strict=True))
    ]
    return pd.concat(parts, ignore_index=True).assign(train_on="own")


def score_references(rows, sizes):
    """Scores of the reference rows of several datasets or label sets.

    Parameters
    ----------
    rows : dict of str to dict of str to DataFrame
        Of each dataset, by name: its rows' predictions.
    sizes : dict of str to int
        Number of classes by the same names.

    Returns
    -------
    DataFrame
        As from `hsta_lib.tables.score_rows`; rows are named ``<dataset>, <row>``.
    """
    parts = [score_rows(rows[name], sizes[name]).rename(f"{name}, {{}}".format) for name in rows]
    return pd.concat(parts)


def published(name):
    """Rows of Table 5 or 6 as printed, each with whether its pair of scores is possible.

    Parameters
    ----------
    name : {"table5", "table6"}

    Returns
    -------
    DataFrame
        The printed columns; ``possible`` (None: not decided) and ``reason``, in words, empty for possible
        pairs. See `hsta_lib.consistency.findings.check_pairs`.

    Raises
    ------
    ValueError
        If it is another table.
    """
    if name not in _TITLES:
        raise ValueError(f"{name!r} prints no pairs of UF1 and UAR; choose one of {', '.join(_TITLES)}")
    pairs = findings.reported_pairs()
    pairs = pairs[pairs["table"] == _TITLES[name]].reset_index(drop=True)
    checked = findings.check_pairs(pairs, findings.COUNTS, findings.SUBJECTS)
    reasons = [_reason(pair) for pair in checked.itertuples()]
    return load_table(name).assign(possible=checked["possible"].tolist(), reason=reasons)


def _reason(pair):
    if pair.possible:
        return ""
    if pair.possible is None:
        return "not decided"
    return (
        f"impossible: pooled, this UAR allows UF1 {from_to(pair.low, pair.high)}; what can give the pair: "
        f"{pair.otherwise}"
    )


def show_published(printed, table, by, caption):
    """The published rows, with ours beside those of the same system.

    Parameters
    ----------
    printed : DataFrame
        From `published`.
    table : DataFrame
        Ours; rows without a published one come last.
    by : {"dataset", "n_classes"}
    caption : str

    Returns
    -------
    pandas.io.formats.style.Styler
    """
    rows = beside_published(printed, table, by)
    shown = {("", name): rows[name] for name in ("system", "year", by)}
    for metric in SHOWN:
        shown[f"{HEADINGS[metric]}, %", _PUBLISHED] = rows[metric].map("{:.1f}".format).replace("nan", "–")
        for train_on in table["train_on"].unique():
            shown[f"{HEADINGS[metric]}, %", f"ours, trained on {train_on}"] = [
                _ours(row, f"{metric}_{train_on}") for row in rows.to_dict("records")
            ]
    shown["", "published pair"] = rows["reason"].mask(rows["possible"].eq(True), "possible").fillna("")
    styler = pd.DataFrame(shown).style.hide(axis="index").set_table_styles(LEFT).set_caption(caption)
    return styler.format({("", "year"): "{:.0f}"}, na_rep="")


def _ours(row, column):
    return "" if pd.isna(row[column]) else with_span(row, column)


def beside_published(printed, table, by):
    """Ours joined to the published rows by system and dataset.

    Returns
    -------
    DataFrame
        Columns of ``printed``, its ``method`` called ``system``; for UF1, UAR and each ``train_on``,
        ``<metric>_<train_on>``, ``..._low`` and ``..._high``, missing where we have none.
    """
    keys = ["system", by]
    rows = printed.rename(columns={"method": "system"})
    missing = table[keys].drop_duplicates().merge(rows[keys], on=keys, how="left", indicator=True)
    rows = pd.concat([rows, missing[missing.pop("_merge") == "left_only"]], ignore_index=True)
    for train_on, group in table.groupby("train_on", sort=False):
        ends = ("", "_low", "_high")
        names = {f"{metric}{end}": f"{metric}_{train_on}{end}" for metric in SHOWN for end in ends}
        ours = group[[*keys, *names]].rename(columns=names)
        rows = rows.merge(ours, on=keys, how="left", validate="one_to_one")
    return rows


def show_means(table, by):
    """Three ways to average: pooled over folds, and the means over subjects under both conventions."""
    shown = {("", name): table[name] for name in ("system", by, "train_on")}
    headings = {"": "pooled", "_skipped": "subjects, absent skipped", "_zero": "subjects, absent 0"}
    for metric in SHOWN:
        for end, heading in headings.items():
            shown[f"{HEADINGS[metric]}, %", heading] = table[f"{metric}{end}"].map("{:.1f}".format)
    return pd.DataFrame(shown).style.hide(axis="index")


def comparable(study):
    """What keeps our scores from being compared with the published ones, in words; may be empty."""
    if study.is_synthetic:
        return "ours are of synthetic faces: **not comparable with the published scores**, of real ones"
    is_loso = study.settings.split.split == "loso"
    return "" if is_loso else "the published scores are of leave-one-subject-out, ours are not"


def describe_protocol(study, datasets, studies, folds):
    """How each row's clips are divided, and whether that is the paper's way.

    Parameters
    ----------
    study : hsta_lib.study.Study
    datasets : dict of str to hsta_lib.data.dataset.Dataset
        By the name of the row.
    studies : list of hsta_lib.study.Study
        Of each row.
    folds : dict of str to list of Fold
    """
    lines = []
    for (name, dataset), of_row in zip(datasets.items(), studies, strict=True):
        clips, subjects = len(dataset.tested), dataset.tested["subject_id"].nunique()
        lines.append(f"- {name}: {clips} clips of {subjects} subjects; {of_row.protocol(folds[name])}.")
    if study.settings.split.split != "loso":
        lines += [
            "",
            f"**Not leave-one-subject-out**, which the paper uses here: preset `{study.preset_name}` is made "
            'to end in minutes. Preset `full`, or the parameter `split = "loso"`, leaves one subject out.',
        ]
    return Markdown("\n".join(lines))


def summarise(table, printed, by):
    """Our rows by their names, the published scores beside them: what `hsta_lib.report.record` keeps.

    Returns
    -------
    DataFrame
        Index ``<dataset>, trained on <train_on>``; the scores with their intervals; ``uf1_paper``,
        ``uar_paper``.
    """
    paper = printed.set_index(["method", by])
    ends = ("", "_low", "_high", "_skipped", "_zero")
    rows = {}
    for row in table.to_dict("records"):
        values = {f"{metric}{end}": row[f"{metric}{end}"] for metric in METRICS for end in ends}
        key = row["system"], row[by]
        values |= {f"{metric}_paper": paper.at[key, metric] for metric in SHOWN if key in paper.index}
        rows[_name(row, by)] = values
    return pd.DataFrame(rows).T


def _name(row, by):
    where = row[by] if by == "dataset" else f"{row[by]} classes"
    return f"{row['system']}, {where}, trained on {row['train_on']}"


def conclude(study, table, sizes, by):
    """What each row shows against guessing, in sentences.

    Parameters
    ----------
    study : hsta_lib.study.Study
    table : DataFrame
    sizes : sequence of int
        Number of classes of each row. Guessing has a UAR of one in as many at most, and reaches it with
        guesses among the classes that occur, whether these are all or not: those that do not count 0.
    by : {"dataset", "n_classes"}
    """
    where = f"{study.data_name}; preset `{study.preset_name}`; split `{study.settings.split.split}`"
    lines = [f"**{where}**{study.dependence}.", ""]
    for row, n_classes in zip(table.to_dict("records"), sizes, strict=True):
        guessing = 100 / n_classes
        is_above = guessing < row["uar_low"] < row["uar"]  # an interval without width shows nothing
        verdict = "above guessing" if is_above else "not shown to be above guessing"
        uf1, uar = (with_span(row, metric) for metric in SHOWN)
        lines.append(f"- {_name(row, by)}: UF1 {uf1}, UAR {uar}, {verdict} ({guessing:.1f} %).")
    if study.is_synthetic:
        lines.append("- All of this is about synthetic faces; it neither supports nor contradicts the paper.")
    return Markdown("\n".join(lines))
