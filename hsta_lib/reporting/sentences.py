"""The sentences of a report: everything said is made from numbers."""

from collections import Counter

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import SHIPPED, config
from hsta_lib.evaluation import comparisons, intervals
from hsta_lib.evaluation.fitted import NO_PIXELS, NOT_FITTED, are_about_the_method, names_not_fitted
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.reporting import tables
from hsta_lib.training import store
from hsta_lib.training.trials import NAMED_CELL

_RARE = 0.05  # percent of resamples without a class, from which on it is mentioned
_ORDERED = {"m": "HSTA modules", "n_layers": "USTA layers", "n_frames": "frames"}


def summarise(table, matrices):
    """The two results named beforehand: the named setting, and the mean over all cells.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.reporting.tables.beside_paper`.
    matrices : ndarray, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
        From `hsta_lib.reporting.tables.score_table`.

    Returns
    -------
    DataFrame
        Rows ``named setting`` (if it is in the grid) and ``mean of all settings``, columns as ``table``'s
        scores. Settings that read no pixels are not in the mean. The best of the cells proves nothing.
    """
    scored = [column for column in table if column.split("_")[0] in METRICS]
    rows = {}
    named = (table[list(NAMED_CELL)] == list(NAMED_CELL.values())).all(axis=1)
    if named.any():
        name = "named setting (M = {m}, L_v = {l_v}, L_s = {l_s})".format(**NAMED_CELL)
        rows[name] = table.loc[named, scored].iloc[0]
    reads = (table["fit"] != NO_PIXELS).to_numpy() if "fit" in table else np.ones(len(table), dtype=bool)
    which = "" if reads.all() else " that read pixels"
    rows[f"mean of all {reads.sum()} settings{which}"] = _mean_row(table.loc[reads, scored], matrices[reads])
    return pd.DataFrame(rows).T


def _mean_row(scored, matrices):
    mean = scored.mean(skipna=False)  # of the paper's only where it prints all
    _, low, high = _contrast(matrices, np.full(len(matrices), 1 / len(matrices)))
    for i, metric in enumerate(METRICS):
        mean[f"{metric}_low"], mean[f"{metric}_high"] = low[i], high[i]
    return mean


def _contrast(matrices, weights):
    """Weighted sum of the settings' scores and its interval, in percent; each of shape (3,)."""
    found = intervals.score_interval(matrices, weights[None])
    return [100 * values[0] for values in (found.estimate, found.low, found.high)]


def _uar(row):
    return tables.with_span(row, "uar", unit="%")


def _against(row, chance):
    """How a UAR interval lies to chance, in words."""
    return tables.position(row["uar_low"], row["uar_high"], chance, "chance")


def conclude(summary, references, chance):
    """A table's conclusion, made from its numbers; what its claims come to is `hsta_lib.study.claims`.

    Parameters
    ----------
    summary, references : DataFrame
        From `summarise` and `hsta_lib.reporting.tables.score_rows`.
    chance : float
        UAR of chance, in percent.
    """
    lines = [
        f"- UAR of the {name}: {_uar(row)}, **{_against(row, chance)}**." for name, row in summary.iterrows()
    ]
    beside = [f"chance {chance:.1f} %"]
    for name, row in references.filter(like="shuffled", axis=0).iterrows():
        beside.append(f"{name} {_uar(row)}, {_against(row, chance)}")
    blind = references.filter(like="without a picture", axis=0)
    by_hand = blind.index.str.contains("action units")  # what people saw in all frames: almost the label
    for rows, which in (
        (blind[~by_hand], "the best predictor {}, annotated action units apart"),
        (references.filter(like="linear model", axis=0), "the best {}"),
        (references.filter(like="ceiling", axis=0), "the {}"),
    ):
        if len(rows):
            best = rows["uar"].idxmax()
            beside.append(f"{which.format(best)}: {_uar(rows.loc[best])}")
    return Markdown("\n".join([*lines, "- UAR beside it:", *(f"  - {told}." for told in beside)]))


def against_linear(table, matrices, references, n_classes):
    """How a linear model on two frames reads the same clips as the named setting, in a sentence.

    Empty if the named setting is not in the grid, or the linear model not among the ``references``
    (predictions by name). ``table`` and ``matrices``: from `hsta_lib.reporting.tables.score_table`.
    """
    named = (table[list(NAMED_CELL)] == list(NAMED_CELL.values())).to_numpy().all(axis=1)
    if not named.any() or tables.LINEAR not in references:
        return Markdown("")
    of_hsta = matrices[named][:1]
    of_linear = tables.matrices_of([references[tables.LINEAR]], n_classes)
    of_linear = np.broadcast_to(of_linear, of_hsta.shape)  # of folds it is trained once, else once a seed
    difference = tables.in_points(
        intervals.score_interval(np.concatenate([of_hsta, of_linear]), np.array([[-1, 1]]))
    )
    told = "; ".join(_placed(difference, metric) for metric in ("uar", "uf1"))
    return Markdown(f"- A {tables.LINEAR}, less the named setting, on the same clips: {told}.")


def _placed(row, metric):
    """A difference in points, and how it lies to zero."""
    place = tables.position(row[f"{metric}_low"], row[f"{metric}_high"], 0, "zero")
    return f"{tables.HEADINGS[metric]} {tables.with_span(row, metric, '+', 'points')}, **{place}**"


def trend(table, matrices, x, by):
    """What the scores of an ordered setting come to, from its least value above zero to its largest.

    A line per group, with the interval of the difference on the same clips, corrected together; an end whose
    networks have not fitted is named.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.reporting.tables.score_table`.
    matrices : ndarray, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
        Of its rows.
    x : {"m", "n_layers", "n_frames"}
        Column of the ordered setting.
    by : dict of str to str
        Columns that tell groups of settings, and how they are written; may be empty.
    """
    rows, ends = table.reset_index(drop=True), {}
    for values, group in rows.groupby(list(by), sort=False) if by else [((), rows)]:
        ordered = group[group[x] > 0].sort_values(x)
        if ordered[x].nunique() > 1:
            named = [f"{word} {value}" for word, value in zip(by.values(), values, strict=True)]
            span = f"{_ORDERED[x]} from {ordered[x].iloc[0]} to {ordered[x].iloc[-1]}"
            ends[", ".join([*named, span])] = ordered.iloc[[0, -1]]
    if not ends:
        return Markdown(f"- There is one number of {_ORDERED[x]} alone: no trend.")
    found = comparisons.compare(matrices, [comparisons.pair(*of_ends.index) for of_ends in ends.values()])
    endings = [_unfit_end(x, of_ends) for of_ends in ends.values()]
    differences = [tables.in_points(found, rows=row) for row in range(len(ends))]
    places = [
        tables.position(row["uar_low"], row["uar_high"], 0, "zero")
        for row, unfit in zip(differences, endings, strict=True)
        if not unfit
    ]
    words = {"above zero": "higher", "below zero": "lower"}
    counts = Counter(words.get(place, "not shown to change") for place in places)
    said = ", ".join(f"{what} in {n}" for what, n in counts.items()) or "fitted in 0"
    of_all = tables.counted(len(ends), "comparison")
    opened = f"- **UAR from the fewest to the most {_ORDERED[x]}: {said} of {of_all}.**"
    lines = map(_told, ends, differences, endings)
    return Markdown("\n".join([opened, *lines, *_few_seeds(matrices.shape[1])]))


def _few_seeds(n_seeds):
    """What is said of fewer seeds than a verdict needs."""
    if n_seeds >= tables.N_SEEDS:
        return []
    seeds = tables.counted(n_seeds, "seed").replace("1 seed", "one seed")
    if n_seeds > 2:  # whose scatter is in the intervals
        return [f"- With {seeds} no claim is decided; a verdict needs {tables.N_SEEDS}."]
    return [f"- With {seeds} this compares the networks that were trained, not their settings."]


def _unfit_end(x, ends):
    """Which ends of an ordered setting have not fitted, to end a line with."""
    unfit = ends.loc[ends["fit"] == NOT_FITTED, x] if "fit" in ends else ()
    return f"; at {' and '.join(map(str, unfit))} the networks have not fitted" if len(unfit) else ""


def about_subjects(matrices, classes):
    """How much hangs on few subjects: their number, scores without the largest, classes that vanish.

    ``matrices``: from `hsta_lib.reporting.tables.score_table`.
    """
    sizes = matrices[0, 0].sum(axis=(1, 2))
    scored = intervals.score_interval(matrices).estimate, intervals.without_largest(matrices)
    whole, without = (100 * values.mean(axis=0) for values in scored)
    changes = ", ".join(
        f"{tables.HEADINGS[metric]} {tables.number(after - before, '+')}"
        for metric, before, after in zip(METRICS, whole, without, strict=True)
    )
    lines = [
        f"- The {len(sizes)} subjects have unequal numbers of clips. They weigh as much as "
        f"{intervals.effective_subjects(sizes):.1f} with equal ones.",
        f"- Without the largest ({sizes.max()} of {sizes.sum()} clips) the mean of all settings changes by "
        f"{changes} points.",
    ]
    shares = dict(zip(classes, 100 * intervals.vanishing(matrices), strict=True))
    rare = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items() if share >= _RARE)
    lines.append(f"- Classes that a draw of as many subjects, with replacement, may lack: {rare or 'none'}.")
    return Markdown("\n".join(lines))


def measured_growth():
    """Times of training steps by size, from the record of ``benchmarks/growth.py``.

    Columns: ``size`` (of the network), ``setting`` (the one that is varied), ``value``, ``seconds`` of a
    step, ``machine``; ``exponent``: slope of a line through log(seconds) over log(value).
    """
    rows = pd.read_csv(SHIPPED / "benchmarks" / "growth.csv")
    for _, group in rows.groupby(["size", "setting"]):
        slope, _ = np.polyfit(np.log(group["value"]), np.log(group["seconds"]), deg=1)
        rows.loc[group.index, "exponent"] = slope
    return rows


def against_first(scores, matrices, name="row"):
    """Every row of a design against its first, those that fitted corrected together.

    A row that has not fitted is compared by itself and has no p: how its trainings scatter says nothing of
    the others. Where the first has not fitted, that is true of all.

    Parameters
    ----------
    scores : DataFrame
        A row's name in the column ``name`` and, if known, its ``fit``.
    matrices : ndarray, shape (n_rows, n_seeds, n_subjects, n_classes, n_classes)
        Of the rows in this order.

    Returns
    -------
    DataFrame
        See `tables.compare_rows`.
    """
    others = scores[name].iloc[1:]
    counts, rows = are_about_the_method(others, scores).to_numpy(), np.arange(1, len(scores))
    # The data may give no other row.
    parts = [tables.compare_rows([], comparisons.Compared(*[np.empty((0, 3))] * 5), np.empty((0, 3)))]
    for compared in filter(len, [rows[counts], *rows[~counts][:, None]]):
        of_rows = matrices[[0, *compared]]
        family = [comparisons.pair(0, place) for place in range(1, len(of_rows))]
        found, smallest = comparisons.compare(of_rows, family), comparisons.detectable(of_rows, family)
        part = tables.compare_rows(others.iloc[compared - 1], found, smallest).set_index(compared)
        if not counts[compared - 1].all():
            part.loc[:, part.columns.str.endswith(("_p", "_detectable"))] = np.nan
        parts.append(part)
    return pd.concat(parts[1:] or parts).sort_index().reset_index(drop=True)


def tell(differences, rows):
    """Some rows of `against_first` by themselves, in sentences: those that a notebook's title asks for."""
    asked = differences[differences["row"].isin(rows)].to_dict("records")
    return Markdown(
        "\n".join(
            _told(row["row"], row, "; it has not fitted" * bool(np.isnan(row["uar_p"]))) for row in asked
        )
    )


def _told(name, row, ending=""):
    """A named difference in UAR and UF1, as a line."""
    return f"- {name[0].upper()}{name[1:]}: {_placed(row, 'uar')}; {_placed(row, 'uf1')}{ending}."


def as_summary(*differences):
    """Tables of `against_first` as the summary of a record: one row each, the differences in points."""
    scored = [column for column in differences[0] if column.split("_")[0] in METRICS]
    return pd.concat(differences).set_index("row")[scored]


def conclude_differences(study, table, first="the first row", fits=None):
    """Which rows differ from the first by more than chance, in sentences.

    Parameters
    ----------
    table : DataFrame
        From `against_first`.
    first : str
        What the rows are compared with.
    fits : DataFrame, optional
        The rows' scores, the first's too, with ``fit``: those that did not fit are named and not counted, for
        their differences are about training.
    """
    unfit = names_not_fitted(fits)
    counted = table[are_about_the_method(table["row"], fits)]
    lines, differs = [], {metric: tables.differs(counted, metric) for metric in ("uar", "uf1")}
    for metric, shown in differs.items():
        ordered = counted[shown].sort_values(metric, key=abs, ascending=False).to_dict("records")
        rows = "; ".join(f"{row['row']} ({tables.with_span(row, metric, '+')})" for row in ordered)
        above = sum(row[metric] > 0 for row in ordered)
        which = f"of {len(counted)}{' that fitted' * bool(unfit)}"
        count = f"{which}, {above} above {first}, {len(ordered) - above} below"
        told = f", in points: {rows}" if rows else ""
        lines.append(f"- {tables.HEADINGS[metric]}: **{count}**{told}.")
    neither = counted.loc[~differs["uar"] & ~differs["uf1"], "row"]
    lines.append(f"- Not shown to differ in either: {'; '.join(neither) or 'none'}.")
    if unfit:
        lines.append(f"- Not fitted, so that their differences are not about the method: {'; '.join(unfit)}.")
    if unfit and counted.empty:
        lines = [f"- **No difference counts**: {first} or all others have not fitted.", *lines[3:]]
    smallest = counted["uf1_detectable"].median()
    if np.isfinite(smallest):
        lines.append(
            f"- As these trainings scatter, four of five such studies find a difference in UF1 of "
            f"{smallest:.1f} points; smaller ones are found less often."
        )
    lines += _few_seeds(len(study.seeds))
    return Markdown("\n".join(lines))


def peaks(settings, matrices, n_boot):
    """Where scores peak over ordered settings: percent of bootstrap draws with the best score at each.

    One row per setting; it also says where the score itself is highest. ``settings`` (Series): values of the
    ordered setting; its name is kept. ``matrices``: from `hsta_lib.reporting.tables.score_table`.
    """
    draws = intervals.bootstrap_scores(matrices, n_boot, np.random.default_rng(0))
    estimates = intervals.score_interval(matrices).estimate
    table = pd.DataFrame(index=pd.Index(settings, name=settings.name))
    for i, metric in enumerate(METRICS):
        found = comparisons.peak(estimates[:, i], draws[:, :, i])
        table[f"{tables.HEADINGS[metric]}, % of draws"] = 100 * found.shares
        best = np.where(np.arange(len(table)) == found.at, "highest", "")
        table[f"{tables.HEADINGS[metric]}, here"] = best
    return table


def seconds_of(trials):
    """Training time of each cell's trials, in seconds: of the fastest, which other work slowed least.

    ``trials`` (list of list of Trial): of each cell, trained.
    """
    folder = config.results_dir()
    return [min(store.load(trial, folder)["seconds"] for trial in runs) for runs in trials]
