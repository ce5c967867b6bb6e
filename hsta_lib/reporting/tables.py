"""Predictions to tables: scores with intervals, beside the paper's. No torch; percent only here."""

from html import escape

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from hsta_lib.data.overlap import COUNTS, overlap, recording_in_training
from hsta_lib.data.readers.flow_images import channel_orders
from hsta_lib.evaluation import fitted
from hsta_lib.evaluation.intervals import score_interval
from hsta_lib.evaluation.metrics import METRICS, confusion, per_fold_means, scores
from hsta_lib.paper import load_table

LINEAR = "linear model on apex less onset"  # a reference row
N_SEEDS = 5  # from which on a difference is about settings, not about the networks that were trained
_SHOWN = 0.05  # percent, half a unit of the last digit that is shown: less is not seen, and not said
LEVEL = 0.05  # of corrected p values
HEADINGS = {"acc": "ACC", "uar": "UAR", "uf1": "UF1"}
_MACRO = "macro clips, for training"
# Style of tables of words.
LEFT = [
    {"selector": "th, td", "props": "text-align: left; vertical-align: top; max-width: 24em"},
    {"selector": "td", "props": "white-space: normal"},
]
# Of tables of intervals, which do not wrap.
NOWRAP = [
    {"selector": "th, td", "props": "text-align: left; vertical-align: top"},
    {"selector": "th.col_heading", "props": "min-width: 5em"},
    {"selector": "td", "props": "white-space: nowrap"},
]
NO_NUMBERS = "Published pictures of flow come without frame numbers and recordings: nothing can be told here."


def in_full(table):
    """A table of words, whole: of a DataFrame a notebook shows 60 rows and 50 letters of a cell."""
    return table.style.hide(axis="index").format(escape="html").set_table_styles(LEFT)


def of_facts(facts):
    """Facts by name, a row each."""
    table = pd.Series(facts, name="fact").to_frame().style.hide(axis="columns").format(escape="html")
    return table.set_table_styles([{"selector": "th, td", "props": "text-align: left"}])


def number(value, sign=""):
    """A score or difference for reading, to one digit; a zero has no minus."""
    return f"{round(value, 1) + 0.0:{sign}.1f}"


def span(low, high, sign=""):
    """The ends of an interval for reading: ``[23.0, 32.2]``; with ``sign="+"``, ``[-1.4, +3.0]``."""
    if low == high:  # whoever is left out changes nothing: no interval, and it is said
        return "[no spread]"
    return f"[{number(low, sign)}, {number(high, sign)}]"


def format_p(p):
    """A p value for reading: ``0.034``, or ``< 0.001``; it is never 0. A dash where there is none."""
    return "–" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(n, noun):
    """A number and its noun, in the singular for one: ``1 seed``, ``5 seeds``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def with_span(row, column, sign="", unit=""):
    """A value and its interval for reading: ``27.6 [23.0, 32.2]``; with a unit, ``27.6 % [23.0, 32.2]``.

    ``row`` (mapping of str to float): with ``<column>``, ``<column>_low`` and ``<column>_high``. Differences
    have ``sign="+"``.
    """
    value = number(row[column], sign) + (unit and f" {unit}")
    return f"{value} {span(row[f'{column}_low'], row[f'{column}_high'], sign)}"


def position(low, high, value, name):
    """How an interval lies to a value, in words: above, below or not distinguishable from its name."""
    if low > value + _SHOWN:
        return f"above {name}"
    return f"below {name}" if high < value - _SHOWN else f"not distinguishable from {name}"


def from_to(low, high):
    """The ends of an interval in a sentence or a column of their own: ``23.0 to 32.2``."""
    return f"{number(low)} to {number(high)}"


def check_predictions(predictions, clips):
    """Refuse predictions that cannot be scored: joins by clip, never by position.

    Parameters
    ----------
    predictions : DataFrame
        With ``cell, seed, clip_id, subject_id, y_true``.
    clips : DataFrame
        The clip table they were made from.

    Returns
    -------
    DataFrame
        The checks that passed and on how many rows.

    Raises
    ------
    ValueError
        If a clip is predicted twice or not at all for some cell and seed, a cell lacks a seed, or a clip
        carries another label or subject than the clip table's.
    """
    keys = ["cell", "seed", "clip_id"]
    twice = predictions[predictions.duplicated(keys)]
    if len(twice):
        raise ValueError(f"predicted twice: {twice[keys].iloc[0].to_dict()}")
    n_runs = len(predictions[["cell", "seed"]].drop_duplicates())
    if n_runs != predictions["cell"].nunique() * predictions["seed"].nunique():
        raise ValueError(f"{n_runs} runs of cells and seeds: not every cell has every seed")
    truth = clips[["clip_id", "subject_id", "label"]]
    joined = predictions.merge(truth, on="clip_id", how="left", suffixes=("", "_"))
    if len(predictions) != n_runs * len(clips) or joined["label"].isna().any():
        raise ValueError(
            f"{len(predictions)} predictions of {n_runs} runs over {len(clips)} clips: some missing"
        )
    wrong = joined[(joined["y_true"] != joined["label"]) | (joined["subject_id"] != joined["subject_id_"])]
    if len(wrong):
        raise ValueError(f"label or subject not the clip table's: {wrong[keys].iloc[0].to_dict()}")
    checks = [
        "each clip predicted once per setting and seed",
        "labels and subjects agree with the clip table",
    ]
    return pd.DataFrame({"check": checks, "rows": f"{len(predictions):,}", "result": "passed"})


def count(predictions, unit, n_classes):
    """Confusion matrices, int, shape (n_cells, n_seeds, n_units, n_classes, n_classes).

    ``predictions``: with ``cell, seed, y_true, y_pred`` and the ``unit``, "subject_id" or "fold".
    """
    groups = [pd.factorize(predictions[name], sort=True)[0] for name in ("cell", "seed", unit)]
    return confusion(predictions["y_true"], predictions["y_pred"], n_classes, by=groups)


def score_table(cells, predictions, n_classes):
    """Scores of each cell: pooled over folds, with a 95 % interval over subjects, and the mean over folds.

    Parameters
    ----------
    cells : DataFrame
        One row per cell, its settings.
    predictions : DataFrame
        Of these cells, counted by the column ``cell``.

    Returns
    -------
    table : DataFrame
        ``cells`` and, for each metric, ``<metric>``, ``<metric>_low``, ``<metric>_high`` and
        ``<metric>_folds``, in percent; means over seeds. See `hsta_lib.evaluation.intervals.score_interval`.
        How the cells fit, see `hsta_lib.evaluation.fitted.by_cell`.
    matrices : ndarray of int, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
        What settings are compared by, see `hsta_lib.evaluation.comparisons`.
    """
    matrices = count(predictions, "subject_id", n_classes)
    by_fold = count(predictions, "fold", n_classes)
    found = score_interval(matrices)
    folds = per_fold_means(by_fold).mean(axis=1)
    table = cells.reset_index(drop=True).copy()
    for i, metric in enumerate(METRICS):
        table[metric] = 100 * found.estimate[:, i]
        table[f"{metric}_low"], table[f"{metric}_high"] = 100 * found.low[:, i], 100 * found.high[:, i]
        table[f"{metric}_folds"] = 100 * folds[:, i]
    return table.join(fitted.by_cell(predictions)), matrices


def score_rows(rows, n_classes):
    """As the table of `score_table`, of predictions that need not share seeds or folds: references, controls.

    ``rows`` (dict of str to DataFrame): name of the row, the index, to its predictions, without ``cell``.
    """
    parts = [
        score_table(pd.DataFrame({"row": [name]}), predictions.assign(cell=0), n_classes)[0]
        for name, predictions in rows.items()
    ]
    return pd.concat(parts).set_index("row")


def by_recording(predictions, clips, folds, n_classes):
    """Scores of test clips whose recording is in training, and of the others, with ``clips``.

    The columns are those of `score_rows`. A group without two subjects and two classes is left out, as it has
    no interval.

    Parameters
    ----------
    predictions : DataFrame
        Of one setting, all seeds; from `hsta_lib.training.store.predictions`.
    folds : list of hsta_lib.data.splits.Fold
        That the predictions were made in.
    """
    seen = predictions["clip_id"].map(recording_in_training(clips, folds))
    groups = {"recording in training": predictions[seen], "recording not in training": predictions[~seen]}
    groups = {
        name: rows for name, rows in groups.items() if rows[["subject_id", "y_true"]].nunique().min() > 1
    }
    sizes = [rows["clip_id"].nunique() for rows in groups.values()]
    return score_rows(groups, n_classes).assign(clips=sizes)


def class_recalls(predictions, classes):
    """Confusion matrix of one setting, a row per true class, a mean over seeds; and ``recall`` in percent."""
    matrix = confusion(predictions["y_true"], predictions["y_pred"], len(classes))
    matrix = matrix / predictions["seed"].nunique()
    table = pd.DataFrame(matrix, index=pd.Index(classes, name="true class"), columns=list(classes))
    return table.assign(recall=100 * np.diagonal(matrix) / np.maximum(matrix.sum(axis=1), 1e-9))


def show_protocols(cells, studies, datasets):
    """Rows of a design with their number of clips in training and test, and how they are divided.

    ``cells``: with ``row``; ``studies`` and ``datasets``: of each row, from `study.Study.prepare`.
    """
    table = pd.DataFrame({"row": cells["row"]})
    folds = [study.folds(dataset) for study, dataset in zip(studies, datasets, strict=True)]
    table["test clips"] = [sum(len(fold.test) for fold in of_row) for of_row in folds]
    table["training clips, mean over folds"] = [round(np.mean([len(f.train) for f in row])) for row in folds]
    table["protocol"] = [study.protocol(of_row) for study, of_row in zip(studies, folds, strict=True)]
    return in_full(table)


def check_rows(rows, datasets):
    """As `check_predictions`, for rows of different datasets or labels.

    ``rows`` (dict of str to DataFrame): name of a row to its predictions; ``datasets``: that of each.
    """
    checks = [
        check_predictions(predictions.assign(cell=0), dataset.tested)
        for predictions, dataset in zip(rows.values(), datasets, strict=True)
    ]
    return pd.concat(checks, keys=rows, names=["row", None]).reset_index("row")


def score_cells(cells, rows, datasets):
    """Scores of rows of different datasets or labels, each by itself; see `score_rows`."""
    parts = [
        score_rows({name: predictions}, len(dataset.classes))
        for (name, predictions), dataset in zip(rows.items(), datasets, strict=True)
    ]
    return cells.join(pd.concat(parts), on="row")


def matrices_of(rows, n_classes):
    """Confusion matrices of rows with the same number of classes, for `study.claims` and comparisons.

    Shape (n_rows, n_seeds, n_subjects, n_classes, n_classes). ``rows``: predictions of each row.
    """
    stacked = pd.concat([predictions.assign(cell=cell) for cell, predictions in enumerate(rows)])
    return count(stacked, "subject_id", n_classes)


def in_points(found, suffix="", rows=0):
    """``<metric><suffix>``, ``_low`` and ``_high`` of contrasts in an `intervals.Interval`, times 100."""
    ends = {"": found.estimate, "_low": found.low, "_high": found.high}
    return {
        f"{metric}{suffix}{end}": 100 * values[rows, i]
        for i, metric in enumerate(METRICS)
        for end, values in ends.items()
    }


def beside_printed(table, name):
    """Put the paper's rows beside ours by the column ``printed``, which counts them; see `beside_paper`."""
    paper = load_table(name)
    paper = paper.rename(columns={metric: f"{metric}_paper" for metric in METRICS})
    return table.merge(paper, left_on="printed", right_index=True, how="left", validate="many_to_one")


def beside_paper(table, name):
    """Put the paper's printed scores beside ours: ``<metric>_paper``, in percent, NaN where it has none.

    Parameters
    ----------
    table : DataFrame
        From `score_table`.
    name : str
        Of the paper's table; joined on the settings both have.

    Raises
    ------
    ValueError
        If a setting occurs twice on either side, or they share no setting's column.
    """
    paper = load_table(name)
    keys = [column for column in paper.columns if column in table.columns and column not in METRICS]
    if not keys:
        raise ValueError(f"our cells {list(table.columns)} share no setting with the paper's {name}")
    paper = paper.reindex(columns=[*keys, *METRICS])  # the paper may not print a score
    try:
        return table.merge(paper, on=keys, how="left", suffixes=("", "_paper"), validate="one_to_one")
    except pd.errors.MergeError as error:
        raise ValueError(f"{name} and our cells do not match one to one on {keys}: {error}") from error


def chance(labels, n_classes):
    """Scores of chance, in percent: if each class is named equally often; ACC if the largest always is.

    The former are those of the expected confusion matrix. A class without clips is none that training could
    name. ``labels``: of all clips.
    """
    counts = np.bincount(labels, minlength=n_classes)
    guessed = np.outer(counts, (counts > 0) / (counts > 0).sum())
    return dict(zip(METRICS, 100 * scores(guessed), strict=True)) | {"acc": 100 * counts.max() / counts.sum()}


def describe_clips(dataset):
    """Tested clips and subjects per class, and in all; beside them the macro clips, where there are some."""
    clips = dataset.tested
    by_class = clips.groupby("label").agg(clips=("clip_id", "size"), subjects=("subject_id", "nunique"))
    by_class = by_class.reindex(range(len(dataset.classes)), fill_value=0)
    by_class.index = pd.Index(dataset.classes, name="class")
    length = clips["offset"] - clips["onset"] + 1
    total = [len(clips), clips["subject_id"].nunique()]
    if length.notna().any():  # not of pictures of flow
        medians = length.groupby(clips["label"]).median().reindex(range(len(by_class)))
        by_class["median length, frames"] = medians.to_numpy()
        total.append(length.median())
    macro = _macro_clips(dataset)
    if len(macro):
        by_class[_MACRO] = np.bincount(macro["label"], minlength=len(by_class))
        total.append(len(macro))
    return pd.concat([by_class, pd.DataFrame([total], columns=by_class.columns, index=["all"])]).round(1)


def _macro_clips(dataset):
    """The clips that are only ever trained on."""
    return dataset.clips[dataset.clips["expression_type"] == "macro"]


def plain(text):
    """Text from users, as clip names and emotions are, for Markdown: HTML in it is shown, not obeyed."""
    return escape(text, quote=False)


def code(name):
    """As `plain`, in type of code, which ends at an empty line."""
    return f"`{' '.join(name.split()).replace('`', chr(39))}`"


def describe_problems(dataset):
    """What was wrong with clips and what was done, or a sentence; and the clips of other classes."""
    if dataset.outside:
        outside = ", ".join(f"{name} ({counted(n, 'clip')})" for name, n in dataset.outside.items())
        display(Markdown(plain(f"Not part of this label set: {outside}.")))
    still = int((dataset.clips["apex"] == dataset.clips["onset"]).sum())
    if still:
        clips = counted(still, "clip")
        display(Markdown(f"In {clips} the apex is the onset: the special branch sees no movement."))
    if dataset.problems.empty:
        return Markdown("No problems: every clip with a class of this label set could be used.")
    actions = dataset.problems["action"].str.replace("^taken as .*", "corrected", regex=True).value_counts()
    display(Markdown(plain("; ".join(f"{action}: {n}" for action, n in actions.items()) + ".")))
    return in_full(dataset.problems)


_OF_CHANNELS = (
    "Red, green and blue are taken as u, v and strain. Measured for each order: how the strain of two "
    "colours correlates with the third (median over clips), and how many clips this order fits best."
)


def describe_version(dataset):
    """Which release was found, its clips per emotion beside those it should have; of flow, its channels."""
    display(Markdown(plain(f"Found: {dataset.version}.")))
    if dataset.shows_flow:
        display(Markdown(_OF_CHANNELS))
        orders = channel_orders(dataset.frames()[:, -2])
        return orders.style.hide(axis="index").format({"correlation": "{:.2f}"})
    if not dataset.counts["expected"].any():
        return Markdown("No counts are known of this version to compare with.")
    if not dataset.counts["difference"].any():
        return Markdown("Clips per emotion are as published.")
    display(Markdown("**Clips per emotion differ from the published ones** (copies differ; see below)."))
    return dataset.counts


def describe_subjects(dataset):
    """Tested clips of each subject and class, most first, and the number of recordings.

    Where there are macro clips, they have a column of their own; a subject may have nothing else.
    """
    clips, macro = dataset.tested, _macro_clips(dataset)
    counts = pd.crosstab(clips["subject_id"], clips["label"]).reindex(
        columns=range(len(dataset.classes)), fill_value=0
    )
    counts.columns = dataset.classes
    counts.insert(0, "recordings", clips.groupby("subject_id")["recording_id"].nunique())
    counts.insert(0, "clips", clips.groupby("subject_id").size())
    if len(macro):
        of_subject = macro.groupby("subject_id").size()
        counts = counts.reindex(counts.index.union(of_subject.index), fill_value=0)
        counts[_MACRO] = of_subject.reindex(counts.index, fill_value=0)
    return counts.sort_values("clips", ascending=False, kind="stable")


def overlaps(clips, folds_of):
    """Percent of test clips that training has seen clips near to; see `hsta_lib.data.overlap.overlap`.

    ``folds_of`` (dict of str to list of Fold): name of a way to divide the data to its folds; without any it
    is left out. Of pictures of flow a sentence.
    """
    if clips["onset"].isna().all():
        return Markdown(NO_NUMBERS)
    folds_of = {name: folds for name, folds in folds_of.items() if folds}
    if not folds_of:
        return Markdown("The data has too few clips for any split.")
    totals = {name: overlap(clips, folds).loc[("micro", "all")] for name, folds in folds_of.items()}
    table = pd.DataFrame(totals).T
    shares = 100 * table[COUNTS].div(table["test clips"], axis=0)
    shares.insert(0, "folds", [len(folds) for folds in folds_of.values()])
    return shares.style.format("{:.1f} %", subset=COUNTS)


def answer_data(dataset, folds_of):
    """What was found of a dataset, and what share of test clips have their recording in training, in words.

    ``folds_of`` (dict of str to list of Fold): name of a split to its folds.
    """
    lines = [f"- Found: {plain(dataset.version)}; {counted(len(dataset.problems), 'problem')}."]
    if dataset.counts["expected"].any():
        differ = counted(int((dataset.counts["difference"] != 0).sum()), "emotion")
        lines.append(f"- {differ} with another number of clips than published.")
    if not dataset.clips["onset"].isna().all():
        totals = {
            name: overlap(dataset.clips, folds).loc[("micro", "all")]
            for name, folds in folds_of.items()
            if folds
        }
        told = [f"`{name}` {100 * row[COUNTS[1]] / row['test clips']:.0f} %" for name, row in totals.items()]
        lines.append(f"- Test clips with a clip of their recording in training, by split: {', '.join(told)}.")
    return Markdown("\n".join(lines))


def padding(clips, n_frames):
    """Percent of clips that are shorter than ``n_frames`` and repeat some: a confound of Figure 3.

    Columns ``n_frames``, ``padded``. ``clips``: with ``onset`` and ``offset``.
    """
    lengths = clips["offset"] - clips["onset"] + 1
    return pd.DataFrame({"n_frames": n_frames, "padded": [100 * (lengths < n).mean() for n in n_frames]})


def compare_rows(names, compared, smallest):
    """Rows of a design against its first row, for reading and for records.

    Parameters
    ----------
    names : sequence of str
        Of the rows that are compared with the first.
    smallest : ndarray
        From `hsta_lib.evaluation.comparisons.detectable`.

    Returns
    -------
    DataFrame
        ``row`` and, for each metric, ``<metric>`` (difference in points), ``_low``, ``_high``, ``_p``
        (adjusted) and ``_detectable``.
    """
    table = pd.DataFrame({"row": list(names)})
    for i, metric in enumerate(METRICS):
        table[metric] = 100 * compared.estimate[:, i]
        table[f"{metric}_low"], table[f"{metric}_high"] = 100 * compared.low[:, i], 100 * compared.high[:, i]
        table[f"{metric}_p"], table[f"{metric}_detectable"] = compared.p_adjusted[:, i], 100 * smallest[:, i]
    return table


def off_zero(row, column):
    """Whether an interval misses zero: of a row, or of each of a table; one without spread tells nothing.

    ``row`` (mapping of str to float, or DataFrame): with ``<column>_low`` and ``<column>_high``.
    """
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return ((low > _SHOWN) | (high < -_SHOWN)) & (low < high)


def told_off_zero(row, of):
    """A row's changes ``<metric>_<of>`` in UAR and UF1 whose intervals miss zero, in words; or none."""
    return ", ".join(
        f"{HEADINGS[metric]} {with_span(row, f'{metric}_{of}', '+')}"
        for metric in ("uar", "uf1")
        if off_zero(row, f"{metric}_{of}")
    )


def differs(table, metric):
    """Which rows of `compare_rows` differ from the first by more than chance: test and interval agree."""
    return (table[f"{metric}_p"] < LEVEL) & off_zero(table, metric)


def show_comparisons(table, first="the first row"):
    """The table of `compare_rows` for reading; ``first`` names what its rows are compared with."""
    shown = {("", f"against {first}"): table["row"]}
    for metric in ("uar", "uf1"):
        heading = f"{HEADINGS[metric]}, points"
        shown[heading, "difference"] = [with_span(row, metric, "+") for row in table.to_dict("records")]
        shown[heading, "p, corrected"] = table[f"{metric}_p"].map(format_p)
    return pd.DataFrame(shown).style.hide(axis="index").set_table_styles(NOWRAP)


def show_plan(plan):
    """A plan for reading; see `hsta_lib.training.cost.plan`."""
    named = plan.rename(columns={"mflop": "MFLOP per clip"})
    styler = named.style.hide(axis="index").set_table_styles(_words_left(named) or None)
    return styler.format({"parameters": "{:,}", "MFLOP per clip": "{:,.1f}"})


def show(table, keys=(), caption="", best=False):
    """A table of scores for reading: per metric the paper's score if any, ours in bold, its interval.

    Parameters
    ----------
    table : DataFrame
        From `score_table`, `score_rows` or `beside_paper`.
    keys : sequence of str
        Columns to show first, as they are.
    caption : str
        Shown above the table.
    best : bool
        Underline the best score of each metric, and shade those that lie within its interval.
    """
    shown = pd.DataFrame({("", key): table[key] for key in keys}, index=table.index)
    has_folds = any(not np.allclose(table[f"{metric}_folds"], table[metric]) for metric in METRICS)
    for metric in METRICS:
        heading = f"{HEADINGS[metric]}, %"
        if f"{metric}_paper" in table:
            shown[heading, "paper"] = table[f"{metric}_paper"].map("{:.1f}".format).replace("nan", "–")
        shown[heading, "ours"] = table[metric].map("{:.1f}".format)
        bounds = zip(table[f"{metric}_low"], table[f"{metric}_high"], strict=True)
        shown[heading, "95 % interval"] = [from_to(*ends) for ends in bounds]
        if has_folds:
            shown[heading, "fold mean"] = table[f"{metric}_folds"].map("{:.1f}".format)
    for name, column in _fits(table).items():
        shown[name] = column
    shown.columns = pd.MultiIndex.from_tuples(shown.columns)
    styler = styled(shown, hide_index=bool(keys)).set_caption(caption.replace("*", ""))
    if best:
        for metric in METRICS:
            subset = [(f"{HEADINGS[metric]}, %", "ours")]
            styler = styler.apply(_marks, table=table, metric=metric, subset=subset)
    return styler


def show_fits(table, keys=()):
    """How each row fits, see `hsta_lib.evaluation.fitted`, or a sentence that it was not stored."""
    if "fit" not in table:
        return Markdown("How the networks fit was not stored when they were trained.")
    shown = pd.DataFrame({("", key): table[key] for key in keys} | _fits(table), index=table.index)
    return styled(shown, hide_index=bool(keys))


def _fits(table):
    """Columns of a table for reading that tell how its rows fit; none where that is not known."""
    if "fit" not in table:
        return {}
    pairs = {
        "accuracy, % (constant)": ("train_accuracy", "constant_accuracy"),
        "loss, % of constant's (worst)": ("loss_share", "loss_share_worst"),
    }
    shown = {
        ("training", heading): (table[one].map("{:.0f}".format) + table[other].map(" ({:.0f})".format))
        for heading, (one, other) in pairs.items()
    }
    shown = {name: column.replace("nan (nan)", "–") for name, column in shown.items()}
    return shown | {("training", "fit"): table["fit"].fillna("").replace("", "–")}


_ROWS_TO_CORRELATE = 5
_OF_BASELINES = "; of baselines with a loss of their own, wrong training labels are counted instead"


def conclude_fits(table, names):
    """Which rows fitted and which did not, in a sentence; only the former decide claims.

    ``table``: as for `show_fits`; ``names``: columns that name a row.
    """
    if "fit" not in table:
        return show_fits(table)
    told = [f"**Fitted** ({(table['fit'] == fitted.FITTED).sum()} of {len(table)} rows)"]
    for kind in (fitted.NOT_FITTED, fitted.NO_PIXELS):
        rows = table.loc[table["fit"] == kind, list(names)].to_dict("records")
        told += [f"{kind}: {'; '.join(map(row_name, rows))}"] if rows else []
    own_loss = _OF_BASELINES * ("system" in names)
    return Markdown(
        f"{'; '.join(told)}. A row fitted if in every fold its last training loss, mean over seeds, is at "
        f"most {100 * fitted.BOUND:.0f} % of that of a constant prediction{own_loss}. Tables have, in "
        "brackets, the accuracy of a constant prediction, and the loss of the worst training. Rows that did "
        f"not fit decide no claim.{_order_of_fit(table)}"
    )


def _order_of_fit(table):
    """Whether rows that fitted are better the better they fit, where they are of the same clips."""
    rows = table[table["fit"] == fitted.FITTED]
    if {"system", "labels"} & {*table} or len(rows) < _ROWS_TO_CORRELATE:
        return ""
    r = rows["uar"].corr(rows["loss_share"])
    told = f" Among those that did, UAR and last loss correlate by r = {r:+.2f}; near -1 scores show fit."
    return told if np.isfinite(r) else ""


def row_name(row):
    """A row by its settings: ``m = 4, l_v = 2``; texts stand alone."""
    return ", ".join(
        str(value) if isinstance(value, str) else f"{name} = {value}" for name, value in row.items()
    )


def _marks(_, table, metric):
    top = table[metric].idxmax()
    near = table[metric] >= table.loc[top, f"{metric}_low"]
    marks = near.map({True: "background-color: rgba(1, 115, 178, 0.15)", False: ""})
    marks[top] += "; text-decoration: underline"
    return marks


def styled(shown, hide_index=True):
    """A table for reading: numbers to the right, names of rows to the left, scores that are ours bold."""
    lines = [
        {"selector": "th, td", "props": "text-align: right; padding: 0.15em 0.6em"},
        {"selector": "td", "props": "white-space: nowrap"},
        {"selector": "th.row_heading", "props": "text-align: left; font-weight: normal"},
        {"selector": "th.col_heading.level0", "props": "text-align: center"},
    ]
    styler = shown.style.set_table_styles(lines + _words_left(shown))
    ours = [column for column in shown.columns if column[1:] == ("ours",)]
    styler = styler.set_properties(subset=ours, **{"font-weight": "bold"})
    return styler.hide(axis="index") if hide_index else styler


def _words_left(shown):
    """Styles of columns of words that have no heading above their own; the style of a cell is too weak."""
    return [
        {"selector": f"th.col{number}, td.col{number}", "props": "text-align: left"}
        for number, column in enumerate(shown.columns)
        if (isinstance(column, str) or not column[0]) and shown[column].dtype.kind not in "bif"
    ]
