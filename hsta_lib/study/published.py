"""Tables 5 and 6: scores on several datasets or label sets, beside the systems that the paper prints.

A table has one row per ``system``, ``dataset`` (or ``n_classes``) and ``train_on``, and the columns of
`tables.score_table`. A baseline whose own evaluation kept the best epoch on the test fold
has a second row for each, its ``train_on`` with `SHORTCUT`.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.evaluation.fitted import NOT_FITTED
from hsta_lib.evaluation.metrics import METRICS, per_fold_means
from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.paper import load_extra, load_systems, load_table
from hsta_lib.paper_check import findings
from hsta_lib.reporting import tables
from hsta_lib.reporting.sentences import against_first
from hsta_lib.reporting.tables import HEADINGS, NOWRAP, from_to, in_full, score_rows, with_span
from hsta_lib.training.trials import NAMED_CELL

SHOWN = ("uf1", "uar")  # the paper prints no ACC in these tables
SHORTCUT = ", best epoch on the test fold"
SPECIAL_BRANCH = "HSTA, special branch"  # all of HSTA that sees published pictures of flow
_PUBLISHED, _MARK = "published", " †"
_TITLES = {"table5": "Table 5", "table6": "Table 6"}
_LABEL_SETS = {3: "emotion3", 4: "emotion4", 7: "emotion7"}
_NO_SHORTCUT = "none known"


def reduced(study):
    """The study as its preset has these tables: no more generated clips than that, and the seeds."""
    chosen = study.preset.datasets
    spec = {"n_micro": min(study.preset.synthetic.n_micro, chosen.n_micro)}
    spec |= {"depth": True} if study.name == "table6" and study.is_synthetic else {}
    seeds = study.parameters.seeds or chosen.seeds or study.preset.seeds
    name = SPECIAL_BRANCH if study.parameters.shows_flow else "HSTA"
    training = config.trained_for(study.preset.training, chosen.epochs.get(name, 0))
    study = replace(study, preset=study.preset.model_copy(update={"training": training}))
    return replace(study.variant(synthetic=spec), seeds=tuple(seeds))


def label_sets():
    """Rows of Table 6: the named setting on three, four and seven classes of CAS(ME)^3."""
    return pd.DataFrame({"system": "HSTA", "labels": list(_LABEL_SETS.values()), **NAMED_CELL})


def compared(study):
    """Baselines of a table: those the notebook or the preset names, else those the paper prints.

    On published pictures of flow, all there are. Columns: ``system``; for Table 6 also ``labels``: those it
    is printed for, or all three.
    """
    names = study.parameters.baselines or study.preset.datasets.baselines
    if not names and study.parameters.shows_flow:
        names = list(SYSTEMS)  # those that need frames are left out, and it is said
    if study.name == "table5":
        return pd.DataFrame({"system": names or _others(load_table("table5"))["method"].unique()})
    if names:
        return pd.DataFrame({"system": names}).merge(pd.DataFrame({"labels": _LABEL_SETS.values()}), "cross")
    printed = _others(load_table("table6"))
    return pd.DataFrame({"system": printed["method"], "labels": printed["n_classes"].map(_LABEL_SETS)})


def _others(printed):
    return printed[printed["method"] != "HSTA"]


def joined(cells, baselines):
    """Rows of HSTA, of the systems, and of those with a shortcut once more, by their names alone.

    In the order of `hsta_lib.study.comparison.predictions`. ``cells``: with ``system`` and ``train_on`` or
    ``labels``.
    """
    names = [name for name in ("system", "train_on", "labels") if name in cells]
    own = cells[names] if "train_on" in names else cells[names].assign(train_on="own")
    others = baselines.cells.assign(train_on="own" if "labels" in names else "composite")[own.columns]
    kept = others.iloc[baselines.kept]
    return pd.concat([own, others, kept.assign(train_on=kept["train_on"] + SHORTCUT)], ignore_index=True)


def score(cells, predictions, n_classes):
    """Scores of rows that have all classes in common, with the means over subjects beside the pooled scores.

    ``predictions``: of these rows, counted by the column ``cell``.

    Returns
    -------
    table : DataFrame
        As from `tables.score_table`; also ``<metric>_skipped`` and ``<metric>_zero``: the mean over
        subjects of each one's score, where a class a subject lacks counts nothing, or 0; in percent.
        ``chance``: the UAR of chance in percent, one in as many as there are classes; it is reached with
        guesses among those that occur, whether these are all or not.
    matrices : ndarray of int, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
    """
    table, matrices = tables.score_table(cells, predictions, n_classes)
    for absent in ("skipped", "zero"):
        means = 100 * per_fold_means(matrices, absent).mean(axis=1)
        table[[f"{metric}_{absent}" for metric in METRICS]] = means
    return table.assign(chance=100 / n_classes), matrices


def score_label_sets(cells, predictions):
    """Scores of rows that differ in their classes.

    Parameters
    ----------
    cells : DataFrame
        With ``labels``, one of emotion3, emotion4, emotion7.
    predictions : list of DataFrame
        Of each row; see `hsta_lib.training.store.predictions`.

    Returns
    -------
    table : DataFrame
        As from `score`, with ``n_classes``, by which it is sorted.
    matrices : dict of int to ndarray
        By the number of classes, as from `score`, of the rows in the order of the table.
    """
    parts, matrices = [], {}
    for n_classes, labels in _LABEL_SETS.items():
        rows = cells.index[cells["labels"] == labels]
        of_set = pd.concat([predictions[row].assign(cell=cell) for cell, row in enumerate(rows)])
        scored, matrices[n_classes] = score(cells.loc[rows].reset_index(drop=True), of_set, n_classes)
        parts.append(scored.assign(n_classes=n_classes))
    return pd.concat(parts, ignore_index=True), matrices


def against_hsta(cells, matrices, train_on):
    """Baselines against HSTA on the same clips, corrected together; see `sentences.against_first`.

    Parameters
    ----------
    cells : DataFrame
        Scores of the rows of `joined`, one per first axis of ``matrices``.
    matrices : ndarray, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
    train_on : {"own", "composite"}
        What both sides are trained on.
    """
    rows = np.flatnonzero(cells["train_on"] == train_on)
    return against_first(cells.iloc[rows], matrices[rows], "system")


def against_hsta_by_labels(table, matrices):
    """As `against_hsta`, for each number of classes by itself; ``table`` and ``matrices`` as scored."""
    parts = []
    for n_classes, found in matrices.items():
        rows = table[table["n_classes"] == n_classes]
        if (rows["train_on"] == "own").sum() > 1:
            against = against_hsta(rows, found, "own")
            parts.append(against.assign(row=f"{n_classes} classes, " + against["row"]))
    return pd.concat(parts, ignore_index=True)


def score_references(rows, sizes):
    """Reference rows ``<dataset>, <row>`` of several datasets or label sets, as by `tables.score_rows`.

    Parameters
    ----------
    rows : dict of str to dict of str to DataFrame
        Of each dataset, by name: its rows' predictions.
    sizes : dict of str to int
        Number of classes by the same names.
    """
    parts = [score_rows(rows[name], sizes[name]).rename(f"{name}, {{}}".format) for name in rows]
    return pd.concat(parts)


def published(name, also=()):
    """Rows of Table 5 or 6 as printed, each with whether its pair of scores is possible.

    Parameters
    ----------
    name : {"table5", "table6"}
    also : sequence of str
        Systems whose scores published elsewhere follow, see `hsta_lib.paper.load_extra`; there are none on
        the data of Table 6.

    Returns
    -------
    DataFrame
        The printed columns; ``source`` of a row that the table does not print, else empty; ``possible``
        (None: not decided) and ``reason``, in words, empty for possible pairs. See
        `hsta_lib.paper_check.findings.check_pairs`.

    Raises
    ------
    ValueError
        If it is another table.
    """
    if name not in _TITLES:
        raise ValueError(f"{name!r} prints no pairs of UF1 and UAR; choose one of {', '.join(_TITLES)}")
    pairs = findings.reported_pairs()
    rows = _judged(load_table(name).assign(source=""), pairs[pairs["table"] == _TITLES[name]])
    extra = load_extra()
    extra = extra[extra["method"].isin(also)]
    if name != "table5" or extra.empty:
        return rows
    return pd.concat([rows, _judged(extra, extra)], ignore_index=True)


def _judged(rows, pairs):
    """Rows with what their pairs of scores, in the same order, can be."""
    checked = findings.check_pairs(pairs, findings.COUNTS, findings.SUBJECTS)
    reasons = [_reason(pair) for pair in checked.itertuples()]
    return rows.assign(possible=checked["possible"].tolist(), reason=reasons)


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
    """The published rows, with ours beside those of the same system; ours without a published one come last.

    A dagger marks networks that have not fitted. ``printed``: from `published`; ``by``: "dataset" or
    "n_classes", as in all functions here.
    """
    rows = beside_published(printed, table, by)
    shown = {("", name): rows[name] for name in ("system", "year", by)}
    for metric in SHOWN:
        shown[f"{HEADINGS[metric]}, %", _PUBLISHED] = rows[metric].map("{:.1f}".format).replace("nan", "–")
        for train_on in table["train_on"].unique():
            heading = f"ours, {train_on}".replace(SHORTCUT, ", best epoch")
            heading = heading if by == "dataset" else heading.replace(", own", "")  # all of Table 6
            shown[f"{HEADINGS[metric]}, %", heading] = [
                _ours(row, f"{metric}_{train_on}", train_on) for row in rows.to_dict("records")
            ]
    shown["", "published pair"] = [told_of_pair(row) for row in rows.to_dict("records")]
    styler = pd.DataFrame(shown).style.hide(axis="index").set_table_styles(NOWRAP).set_caption(caption)
    return styler.format({("", "year"): "{:.0f}"}, na_rep="")


def told_of_pair(row):
    """Whether a published pair is possible, in a word or two; of ours without one nothing. See `notes`."""
    if pd.isna(row["source"]):
        return ""
    return (row["reason"] or "possible").partition(":")[0] + bool(row["source"]) * ", from elsewhere"


def notes(printed, by):
    """Below the table of `published`: why pairs are impossible, and where scores from elsewhere are from."""
    lines = []
    for row in printed.to_dict("records"):
        told = [row["reason"], row["source"] and f"not in the paper, from {row['source']}"]
        if any(told):
            lines.append(f"- {row['method']}, {_group(row, by)}: {'; '.join(filter(None, told))}.")
    return Markdown("\n".join(lines) or "All published pairs are possible.")


def _group(row, by):
    return row[by] if by == "dataset" else f"{row[by]} classes"


def _ours(row, column, train_on):
    if pd.isna(row[column]):
        return _shortcuts().get(row["system"], "") if train_on.endswith(SHORTCUT) else ""
    return with_span(row, column) + _MARK * (row.get(f"fit_{train_on}") == NOT_FITTED)


def _shortcuts():
    told = load_systems().set_index("system")["shortcut"]
    return told[told == _NO_SHORTCUT].to_dict()


def beside_published(printed, table, by):
    """Ours, as ``<metric>_<train_on>`` with ``_low`` and ``_high``, joined to published rows by system."""
    keys = ["system", by]
    rows = printed.rename(columns={"method": "system"})
    missing = table[keys].drop_duplicates().merge(rows[keys], on=keys, how="left", indicator=True)
    rows = pd.concat([rows, missing[missing.pop("_merge") == "left_only"]], ignore_index=True)
    for train_on, group in table.groupby("train_on", sort=False):
        ends = ("", "_low", "_high")
        names = {f"{metric}{end}": f"{metric}_{train_on}{end}" for metric in SHOWN for end in ends}
        names |= {name: f"{name}_{train_on}" for name in group if name == "fit"}
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
    return tables.styled(pd.DataFrame(shown))


def comparable(study):
    """What keeps our scores from being compared with the published ones, in words; may be empty."""
    if study.is_synthetic:
        return "ours are of synthetic faces: not comparable with the published scores, of real ones"
    reasons = []
    if study.parameters.shows_flow:
        reasons.append("ours see published pictures of flow, resized where a system needs another size")
    if study.settings.split.split != "loso":
        reasons.append("the published scores are of leave-one-subject-out, ours are not")
    return "; ".join(reasons)


def describe_protocol(study, datasets, studies, folds):
    """How each row's clips are divided, and whether that is the paper's way.

    ``datasets`` and ``folds`` are by the name of the row; ``studies`` has one of each row.
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
    if seconds := study.preset.datasets.core_seconds:
        lines += [
            "",
            f"The preset means every training, of HSTA and of each baseline, to take {seconds:g} s of one "
            "core, by the epochs that `benchmarks/core_seconds.py` measured. What the fastest of each took "
            "here stands below; other work on the machine may have slowed it.",
        ]
    return Markdown("\n".join(lines))


def summarise(table, printed, by):
    """Our rows by their names, the published scores beside them: what `records.write` keeps.

    Index ``<dataset>, trained on <train_on>``; the scores with their intervals; ``uf1_paper``, ``uar_paper``.
    """
    paper = printed.set_index(["method", by])
    ends = ("", "_low", "_high", "_skipped", "_zero")
    rows = {}
    for row in table.to_dict("records"):
        values = {f"{metric}{end}": row[f"{metric}{end}"] for metric in METRICS for end in ends}
        key = row["system"], row[by]
        values |= {f"{metric}_paper": paper.at[key, metric] for metric in SHOWN if key in paper.index}
        rows[f"{row['system']}, {_group(row, by)}, trained on {row['train_on']}"] = values
    return pd.DataFrame(rows).T


def describe_left_out(baselines):
    """Which baselines cannot be run on this data, and why."""
    lines = [
        f"- {row['system']} is not run: {row['reason']}." for row in baselines.left_out.to_dict("records")
    ]
    return Markdown("\n".join(lines) or "The data has what each of the baselines needs.")


def show_costs(costs, form):
    """What each system is here, how near it is to the original, and what it costs.

    ``costs``: from `comparison.costs`; of systems that are not in `hsta_lib.paper.load_systems` it is said.
    ``form``: "published" or "reduced" baselines.
    """
    told = load_systems().set_index("system").reindex(costs["system"])
    shown = costs.assign(form=told[f"{form}_form"].to_numpy(), guessed=told["guessed"].to_numpy())
    shown = shown[["system", "form", "parameters", "mflop", "seconds", "guessed"]].drop_duplicates("system")
    shown["form"] = shown["form"].mask(shown["system"].str.startswith("HSTA"), "this study")
    shown = shown.fillna({"form": "not described", "guessed": ""})
    counted = shown["parameters"] > 0  # a classifier without a network has none
    shown["parameters"] = shown["parameters"].map("{:,.0f}".format).where(counted, "–")
    shown["mflop"] = shown["mflop"].map("{:,.1f}".format).where(counted, "–")
    headings = ["system", "form", "parameters", "MFLOP a clip", "s of the fastest training"]
    styler = in_full(shown).format({"seconds": "{:.1f}"})
    return styler.relabel_index([*headings, "guessed or left out"], axis="columns")


def conclude(table, by):
    """Which rows of a table from `score` are above chance, in sentences."""
    lines = []
    honest = table[~table["train_on"].str.endswith(SHORTCUT)]
    for _, rows in honest.groupby(by, sort=False):
        # An interval without width shows nothing.
        is_above = (rows["chance"] < rows["uar_low"]) & (rows["uar_low"] < rows["uar"])
        above, others = (part.to_dict("records") for part in (rows[is_above], rows[~is_above]))
        lines.append(
            f"- {_group(rows.iloc[0], by)}, UAR above chance ({rows['chance'].iloc[0]:.1f} %): "
            f"{_told(above)}. Not shown to be: {_told(others)}."
        )
    return Markdown("\n".join(lines))


def _told(rows):
    """Systems by name, and what they are trained on where it is not the dataset alone."""
    named = [row["system"] + ("" if row["train_on"] == "own" else f" ({row['train_on']})") for row in rows]
    return "; ".join(named) or "none"
