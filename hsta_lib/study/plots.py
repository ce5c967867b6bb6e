"""Figures of claims, of learning, and of systems beside their published scores."""

import textwrap

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from hsta_lib.paper import title_of
from hsta_lib.reporting.plots import PALETTE, band, figure_of, intervals, legend_below, name_rows
from hsta_lib.reporting.tables import HEADINGS

# Verdicts on data by what they begin with, and their colours; all others are grey.
_VERDICT_COLOURS = {
    ("supported", "pattern seen"): (PALETTE[0], "supported, or pattern seen"),
    ("contradicted", "reverse seen"): (PALETTE[3], "contradicted, or reverse seen"),
    ("undecided", ""): ("0.6", "neither, or undecided"),
}


def claims(verdicts):
    """Effects that decide the paper's claims, a line per claim, by table, above zero as claimed.

    Dots: studies with their intervals, squares of those in real motion; rings: printed numbers. The verdict
    is the colour. ``verdicts``: from `hsta_lib.study.claims.gather`; claims without any number are named.
    """
    rows = verdicts[verdicts["estimate"].notna()]
    told = rows.drop_duplicates("id").sort_values("table", kind="stable").set_index("id")
    tables = told["table"].map(title_of)
    places = rows["id"].map(told.index.get_loc)
    with figure_of((10, 1.2 + 0.24 * len(told))) as (figure, panel):
        panel.axvline(0, color="0.25", lw=1)
        values = rows.rename(columns={"low": "estimate_low", "high": "estimate_high"})
        for words, (color, label) in _VERDICT_COLOURS.items():
            of_kind = values[values["verdict"].str.startswith(words)]
            is_paper, is_real = (of_kind["scope"] == scope for scope in ("paper", "real motion"))
            ring = {"fmt": "o", "mfc": "none", "ms": 7}
            for part, mark, shift, name in (
                (of_kind[is_paper], ring, 0, f"{words[0]} by printed numbers"),
                (of_kind[~is_paper & ~is_real], {"fmt": "o"}, 0, label),
                (of_kind[is_real], {"fmt": "s"}, 0.3, f"{label}, in real motion"),
            ):
                if len(part):
                    where = places[part.index] + shift
                    intervals(panel, part, "estimate", where, label=name, color=color, **mark)
            values = values.drop(of_kind.index)
        for place in np.flatnonzero(tables.to_numpy()[1:] != tables.to_numpy()[:-1]):
            panel.axhline(place + 0.5, color="0.75", lw=0.8)
        name_rows(panel, tables + ": " + told["says"].map(lambda says: textwrap.shorten(says, 78)))
        told = ["points, above zero as claimed", "(the score and comparison that favour it least)"]
        for one in verdicts[~verdicts["id"].isin(rows["id"])].drop_duplicates("id").itertuples():
            without = f"not drawn, {one.verdict.partition(':')[0]}: {title_of(one.table)}, {one.says}"
            told.append(textwrap.fill(without, 60))
        panel.set_xlabel("\n".join(told))
        legend_below(figure, panel, ncols=3)
    return figure


def learning(steps, sizes, lines):
    """Loss and test score by training steps; test score and training accuracy by training clips.

    Parameters
    ----------
    steps, sizes : DataFrame
        From `hsta_lib.study.learning.by_steps` and `by_clips`; the second may be empty.
    lines : dict of str to float
        Test scores that do not depend on them, drawn dotted.
    """
    titles = ["HSTA: loss and test UAR", *["test UAR", "training accuracy"][: 2 * bool(len(sizes))]]
    with figure_of((3.6 * len(titles), 4), 1, len(titles), sharey=True, squeeze=False) as (figure, (panels,)):
        panels[0].plot(steps["steps"], steps["loss_share"], color="0.4", linestyle="--",
                       label="training loss of HSTA, of a constant prediction's")  # fmt: skip
        panels[0].plot(steps["steps"], steps["uar"], color=PALETTE[0], label="HSTA")
        panels[0].set_xlabel("training steps")
        for panel in panels[1:]:
            panel.set(xscale="log", xlabel="training clips, as many steps")
            panel.set_xticks(sizes["clips"].unique(), sizes["clips"].unique(), minor=False)
            panel.xaxis.set_minor_locator(NullLocator())
        for panel, column in zip(panels[1:], ("uar", "train_accuracy"), strict=False):
            for color, (name, rows) in zip(PALETTE, sizes.groupby("system", sort=False), strict=False):
                rows = rows.sort_values("clips")
                panel.plot(rows["clips"], rows[column], color=color, marker="o", ms=4, label=name)
                if column == "uar":
                    band(panel, rows["clips"], rows, "uar", color)
        for panel in panels[:2]:
            for style, (name, value) in zip((":", "-.", (0, (5, 1))), lines.items(), strict=False):
                panel.axhline(value, color="0.25", lw=1, linestyle=style, label=name)
        for panel, title in zip(panels, titles, strict=True):
            panel.set_title(title, fontsize=10)
        panels[0].set(ylabel="%", ylim=(0, 105))
        legend_below(figure, *panels, ncols=len(titles) + 1)
    return figure


def published_scores(printed, table, by, title):
    """Published scores of each system, and ours with their intervals, for each dataset or number of classes.

    A row of panels for UF1 and one for UAR, a column for each dataset or number of classes.

    Parameters
    ----------
    printed : DataFrame
        From `hsta_lib.study.published.published`; HSTA is drawn in colour, impossible pairs as crosses.
    table : DataFrame
        Ours, with ``train_on``.
    by : {"dataset", "n_classes"}
    title : str
        What our scores are of, and what keeps them from being compared.
    """
    groups = list(dict.fromkeys([*printed[by], *table[by]]))
    groups = groups if by == "dataset" else sorted(groups)
    names = list(dict.fromkeys([*printed["method"], *table["system"]]))
    size = 1.5 + 2.5 * len(groups), 1.8 + 0.5 * len(names)
    with figure_of(size, 2, len(groups), sharex=True, sharey=True, squeeze=False) as (figure, panels):
        for row, metric in zip(panels, ("uf1", "uar"), strict=True):
            for panel, group in zip(row, groups, strict=True):
                published, ours = printed[printed[by] == group], table[table[by] == group]
                _scores_of_systems(panel, published, ours, metric, names, list(table["train_on"].unique()))
                panel.set(xlabel=f"{HEADINGS[metric]}, %", xlim=(0, 100), ylim=(len(names) - 0.5, -0.5))
        for panel, group in zip(panels[0], groups, strict=True):
            panel.set_title(group if by == "dataset" else f"{group} classes", fontsize=9)
        panels[0, 0].set_yticks(range(len(names)), names)
        legend_below(figure, *figure.axes, ncols=2)
        figure.suptitle(title, fontsize=9)
    return figure


def _scores_of_systems(panel, published, ours, metric, names, ways):
    """One panel: for each system what is published and, below it, ours by what it is trained on."""
    lines = np.linspace(-0.12, 0.12, len(ways) + 1) * len(ways)
    _published_dots(panel, published, metric, published["method"].map(names.index) + lines[0])
    for number, way in enumerate(ways):
        rows = ours[ours["train_on"] == way]
        places, color = rows["system"].map(names.index) + lines[number + 1], PALETTE[(0, 2, 1)[number]]
        intervals(panel, rows, metric, places, color=color, label=f"ours, trained on {way}, 95 % interval")
    panel.grid(visible=False, axis="y")
    for border in np.arange(0.5, len(names) - 1):
        panel.axhline(border, color="0.9", lw=0.6)


def _published_dots(panel, printed, metric, places):
    is_hsta, is_possible = printed["method"] == "HSTA", printed["possible"].eq(True)
    kinds = {
        "other systems, published": (~is_hsta & is_possible, {"marker": "o", "color": "0.55"}),
        "HSTA, published": (is_hsta & is_possible, {"marker": "o", "color": PALETTE[3]}),
        "other system, impossible pair": (~is_hsta & ~is_possible, {"marker": "x", "color": "0.25"}),
        "HSTA, impossible pair": (is_hsta & ~is_possible, {"marker": "x", "color": PALETTE[3]}),
    }
    for name, (chosen, style) in kinds.items():
        if chosen.any():
            panel.plot(printed.loc[chosen, metric], places[chosen], linestyle="", markersize=6,
                       markerfacecolor="none", label=name, clip_on=False, **style)  # fmt: skip


def published_to_honest(table, reached):
    """UF1 as published, by the last epoch and by the best of each test subject, a row per system.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.study.honest.score`.
    reached : sequence of str
        Systems for which an arrow leads from the published score to the last epoch.
    """
    names = list(dict.fromkeys(table["system"]))
    with figure_of((7, 1.4 + 0.5 * len(names))) as (figure, panel):
        for number, (choice, rows) in enumerate(table.groupby("choice", sort=False)):
            places = rows["system"].map(names.index) + 0.16 * number
            intervals(panel, rows, "uf1", places, color=PALETTE[number], label=f"ours, {choice}")
        last = table.drop_duplicates("system").assign(place=np.arange(len(names)) - 0.16)
        ring = {"marker": "D", "mfc": "none", "color": "0.3", "linestyle": "", "label": "published"}
        panel.plot(last["uf1_published"], last["place"], **ring)
        for row in last[last["system"].isin(reached)].itertuples():
            ends = (row.uf1, row.place), (row.uf1_published, row.place)
            panel.annotate("", *ends, arrowprops={"arrowstyle": "->", "color": "0.5"})
        panel.set(xlabel=f"{HEADINGS['uf1']}, %; 95 % interval", xlim=(0, 100))
        name_rows(panel, names)
        legend_below(figure, panel, ncols=3)
    return figure


def scores_by_cost(table, costs, by):
    """UAR of each system, the highest first, beside its size and the time of one training.

    A row of panels per dataset or number of classes. Systems that have not fitted are rings.

    Parameters
    ----------
    table : DataFrame
        Scores with ``system``, ``chance``, ``uar``, ``uar_low``, ``uar_high`` and, if known, ``fit``;
        one row per system and group. A group of one system has no panels.
    costs : DataFrame
        From `hsta_lib.study.comparison.costs`. A system without a network has no size.
    by : {"dataset", "n_classes"}
    """
    costs = costs.drop_duplicates("system").set_index("system")
    groups = {group: rows for group, rows in table.groupby(by, sort=False) if len(rows) > 1}
    heights = [1 + len(rows) for rows in groups.values()]
    size, shape = (10, 1 + 0.28 * sum(heights)), (len(groups), 3)
    ratios = {"height_ratios": heights, "width_ratios": (2.2, 1, 1)}
    with figure_of(size, *shape, sharex="col", sharey="row", squeeze=False, **ratios) as (figure, panels):
        for line, (group, rows) in zip(panels, groups.items(), strict=True):
            rows = rows.sort_values("uar", ascending=False, ignore_index=True)
            _scores_in_order(line[0], rows)
            cost = costs.loc[rows["system"]]
            sizes = cost["parameters"].where(cost["parameters"] > 0)
            for panel, values in zip(line[1:], (sizes, cost["seconds"]), strict=True):
                panel.plot(values, rows.index, "o", color="0.3", ms=4, clip_on=False)
            line[0].set_title(group if by == "dataset" else f"{group} classes", loc="left", fontsize=9)
        labels = "UAR, %, 95 % interval", "weights of the network", "fastest training, s"
        for panel, label in zip(panels[-1], labels, strict=True):
            panel.set_xlabel(label)
        panels[0, 0].set_xlim(0, 100)
        sizes = costs["parameters"][costs["parameters"] > 0]
        if sizes.max() > 10 * sizes.min():
            panels[0, 1].set_xscale("log")
            panels[0, 1].xaxis.set_minor_locator(NullLocator())
        else:
            panels[0, 1].set_xlim(0, 1.1 * sizes.max())
            panels[0, 1].xaxis.set_major_locator(MaxNLocator(3))
        panels[0, 1].xaxis.set_major_formatter(EngFormatter())
        panels[0, 2].set_xlim(0, 1.1 * costs["seconds"].max())
        legend_below(figure, *panels[:, 0], ncols=4)
    return figure


def _scores_in_order(panel, rows):
    """A line per system, HSTA's in colour, chance dotted."""
    panel.axvline(rows["chance"].iloc[0], color="0.25", linestyle=":", label="chance")
    is_hsta = rows["system"].str.startswith("HSTA")
    for label, chosen, color in (("HSTA", is_hsta, PALETTE[0]), ("baseline", ~is_hsta, "0.3")):
        intervals(panel, rows[chosen], "uar", rows.index[chosen], label=label, color=color)
    name_rows(panel, rows["system"])
