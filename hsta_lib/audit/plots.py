"""Figures of the audit: what printed pairs, predictors without pixels and protocols allow."""

import numpy as np
import pandas as pd

from hsta_lib.evaluation.fitted import FITTED, NOT_FITTED
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.reporting.plots import PALETTE, band, changes, figure_of, intervals, legend_below, name_rows
from hsta_lib.reporting.tables import HEADINGS


def attainable_uf1(curve, pairs, method="HSTA"):
    """UF1 that each UAR allows, with the pairs printed for that dataset, those of ``method`` in colour.

    Parameters
    ----------
    curve : DataFrame
        From `hsta_lib.audit.lists.attainable`.
    pairs : DataFrame
        With ``method``, ``uar``, ``uf1`` and ``possible``; pairs that are not possible are named.
    """
    with figure_of((6, 4.2)) as (figure, panel):
        kinds = {"folds_": ("0.93", "mean over subjects, bound"), "": ("0.78", "pooled, exact")}
        for kind, (color, label) in kinds.items():
            ends = curve[f"{kind}low"], curve[f"{kind}high"]
            panel.fill_between(curve["uar"], *ends, color=color, label=label)
        for pair in pairs.itertuples():
            color = PALETTE[3] if pair.method == method else "0.25"
            size = 7 if pair.method == method else 4
            panel.plot(pair.uar, pair.uf1, marker="o", color=color, markersize=size)
            if not pair.possible or pair.method == method:
                name = f"{pair.method}: UAR {pair.uar}, UF1 {pair.uf1}"
                side, align = (-9, "right") if pair.uar > 70 else (9, "left")
                panel.annotate(name, (pair.uar, pair.uf1), (side, 0), color=color, fontsize=9,
                               textcoords="offset points", ha=align, va="center")  # fmt: skip
        panel.set(xlabel="UAR, %", ylabel="UF1, %", xlim=(40, 100), ylim=(0, 100))
        panel.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def spread(noise):
    """Standard deviation of Table 4's cells beside that of equally good models, by their disagreement.

    A panel per metric. ``noise``: from `hsta_lib.paper_check.noise.table4_noise`.
    """
    with figure_of((10, 2.9), 1, len(METRICS), sharey=True) as (figure, panels):
        for panel, metric in zip(panels, METRICS, strict=True):
            rows = noise[noise["score"] == metric]
            panel.plot(rows["disagreement"], rows["sd"], color=PALETTE[0], marker="o", markersize=4,
                       label="equally good models, 95 % of draws")  # fmt: skip
            panel.fill_between(
                rows["disagreement"], rows["low"], rows["high"], color=PALETTE[0], alpha=0.15, lw=0
            )
            panel.axhline(rows["printed"].iloc[0], color="0.25", linestyle="--", label="the thirty cells")
            panel.set(xlabel="disagreement of two models, % of clips", title=HEADINGS[metric])
        panels[0].set(ylabel="standard deviation, points", ylim=(0, 1.05 * noise["high"].max()))
        panels[0].legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def pixel_free(scored):
    """Scores of predictors without pixels, a panel for each protocol and metric; the paper's dashed.

    ``scored``: from `hsta_lib.audit.lists.pixel_free_scores`.
    """
    protocols, predictors = scored["protocol"].unique(), list(scored["predictor"].unique())
    shared = {"sharex": True, "sharey": True, "squeeze": False}
    with figure_of((2 + 2.1 * len(protocols), 5.2), 2, len(protocols), **shared) as (figure, grid):
        for line, metric in zip(grid, ("uar", "uf1"), strict=True):
            for panel, protocol in zip(line, protocols, strict=True):
                _dots(panel, scored[scored["protocol"] == protocol], metric, predictors)
        for panel, protocol in zip(grid[0], protocols, strict=True):
            panel.set_title("\n".join(protocol.split(", ")), fontsize=9)
        grid[0, 0].set_yticks(range(len(predictors)), predictors)
    return figure


def _dots(panel, rows, metric, predictors):
    places = rows["predictor"].map(predictors.index)
    intervals(panel, rows, metric, places, color=PALETTE[0])
    paper = rows[f"{metric}_paper"].iloc[0]
    if not np.isnan(paper):
        panel.axvline(paper, color=PALETTE[3], linestyle="--", lw=1.2)
        panel.annotate(f"HSTA {paper:.1f}", (paper, -0.6), (3, 0), textcoords="offset points",
                       color=PALETTE[3], fontsize=8, va="center")  # fmt: skip
    panel.set(xlabel=f"{HEADINGS[metric]}, %", xlim=(0, 103), ylim=(len(predictors) - 0.5, -1))


def inflation(table):
    """What each shortcut adds, a panel per metric, a colour per strength of the labels' ties.

    ``table``: from `hsta_lib.audit.shortcuts.worth`.
    """
    unfit = table.loc[table["fit"] == NOT_FITTED, ["ties", "protocol"]]
    leaking = table[table["protocol"] != table["against"]]
    either = [pd.MultiIndex.from_frame(leaking[["ties", name]]) for name in ("protocol", "against")]
    is_unfit = np.any([pairs.isin(pd.MultiIndex.from_frame(unfit)) for pairs in either], axis=0)
    leaking = leaking.assign(fit=np.where(is_unfit, NOT_FITTED, FITTED))
    protocols, ties = list(leaking["protocol"].unique()), list(leaking["ties"].unique())
    with figure_of((10, 1.2 + 0.42 * len(protocols)), 1, 2, sharey=True) as (figure, panels):
        for panel, metric in zip(panels, ("uar", "uf1"), strict=True):
            for number, (color, name) in enumerate(zip(PALETTE, ties, strict=False)):
                rows = leaking[leaking["ties"] == name]
                shift = 0.2 * (number - (len(ties) - 1) / 2)
                changes(panel, rows, f"{metric}_inflation", rows["protocol"].map(protocols.index) + shift,
                        color=color, label=name)  # fmt: skip
            panel.set(xlabel=f"inflation of {HEADINGS[metric]}, points")
        name_rows(panels[0], protocols)
        handles, names = panels[0].get_legend_handles_labels()
        if len(names) > 1:
            title = "labels tied to film and recording"
            figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, title=title)
    return figure


def walk(table):
    """How the scores change from the equations to the released code: each step alone, and all up to it.

    ``table``: from `hsta_lib.audit.recipe_steps.score`.
    """
    steps = [step for step, way in zip(table["step"], table["way"], strict=True) if way == "alone"]
    with figure_of((10, 1.2 + 0.3 * len(steps)), 1, 2, sharey=True) as (figure, panels):
        for panel, metric in zip(panels, ("uar", "uf1"), strict=True):
            for color, way, shift in zip(PALETTE, ("cumulative", "alone"), (-0.12, 0.12), strict=False):
                rows = table[table["way"] == way]
                changes(panel, rows, f"{metric}_change", rows["step"].map(steps.index) + shift, color=color,
                        label={"cumulative": "with all steps above it", "alone": "alone"}[way])  # fmt: skip
            panel.set(xlabel=f"change of {HEADINGS[metric]} from the equations, points")
        name_rows(panels[0], steps)
        legend_below(figure, panels[0], ncols=2)
    return figure


def chance_by_best_epoch(table):
    """Scores of pure chance against the number of epochs that each subject's best is chosen from.

    ``table``: from `hsta_lib.audit.shortcuts.chance_by_best_epoch`.
    """
    with figure_of((5.5, 3)) as (figure, panel):
        for color, metric in zip(PALETTE, ("uar", "uf1"), strict=False):
            band(panel, table["n_epochs"], table, metric, color)
            panel.plot(table["n_epochs"], table[metric], color=color, marker="o", markersize=4,
                       label=HEADINGS[metric])  # fmt: skip
        panel.set(xscale="log", xlabel="independent epochs to choose from", ylabel="score of pure chance, %",
                  ylim=(0, 100))  # fmt: skip
        panel.set_xticks(table["n_epochs"], table["n_epochs"])
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize=9)
    return figure
