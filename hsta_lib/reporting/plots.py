"""Figures of the reports: one palette, units on every axis, direct labels. No torch."""

import io
import textwrap
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.display import Image, Markdown
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator, ScalarFormatter
from PIL import Image as pillow

from hsta_lib.data.flow import flow_colours, optical_flow
from hsta_lib.evaluation.fitted import NOT_FITTED, are_about_the_method, names_not_fitted
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.paper import title_of
from hsta_lib.reporting.tables import HEADINGS, NO_NUMBERS, differs

# Readable for colour-blind readers and, with the dashes, in print.
_PALETTE = sns.color_palette("colorblind")
_GROWING = {
    "n_frames": "frames per clip", "n_tokens": "tokens, video branch", "m": "modules (M)",
    "n_clips": "clips per batch",
}  # fmt: skip
# Verdicts on data by what they begin with, and their colours; all others are grey.
_VERDICT_COLOURS = {
    ("supported", "pattern seen"): (_PALETTE[0], "supported, or pattern seen"),
    ("contradicted", "reverse seen"): (_PALETTE[3], "contradicted, or reverse seen"),
    ("undecided", ""): ("0.6", "neither, or undecided"),
}
_CHANCE, _PAPER = "chance; in ACC, the largest class", "paper, real faces"
_ANIMATED, _COLOURS, _PER_FRAME = 96, 128, 150  # px, colours and milliseconds of an animation's frame
_AMPLIFIED = 4  # factor on the difference of two frames, drawn around mid-grey
_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.92",
    "axes.axisbelow": True,
}


class Drawn(Figure):
    """A figure that tells screen readers what it draws, in the words of its axes and legends."""

    def _repr_mimebundle_(self, include=None, exclude=None):
        """Its picture is the notebook's affair; the description goes with it."""
        return {}, {"image/png": {"alt": self.alt}}

    @property
    def alt(self):
        """What stands on the axes, and the names of lines and dots."""
        parts = {
            "horizontal axis": _texts(panel.get_xlabel() for panel in self.axes),
            "vertical axis": _texts(panel.get_ylabel() for panel in self.axes),
            "panels": _texts(panel.get_title() for panel in self.axes),
            "lines and dots": _texts(
                text.get_text() for legend in self._legends() for text in legend.get_texts()
            ),
        }
        return ". ".join(f"{name}: {told}" for name, told in parts.items() if told)

    def _legends(self):
        return [*self.legends, *filter(None, (panel.get_legend() for panel in self.axes))]


def _texts(texts):
    """Texts that are not empty, each once, in a line."""
    return "; ".join(dict.fromkeys(" ".join(text.split()) for text in texts if text.strip()))


def _figure(**size):
    figure = plt.figure(layout="constrained", dpi=110, FigureClass=Drawn, **size)
    plt.close(figure)  # a notebook shows the figure its cell returns; left open, it would show it twice
    return figure


@contextmanager
def _panels(figsize, *shape, **options):
    """A figure of a size in inches and its panels, in the reports' style for as long as it is drawn on."""
    with sns.plotting_context("paper"), sns.axes_style(rc=_STYLE):
        figure = _figure(figsize=figsize)
        yield figure, figure.subplots(*shape, **options)


def score_lines(table, x, by, chance, xlabel):
    """Scores by an ordered setting, a panel per metric, a line per group: ours with its interval.

    The paper's are dashed.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.reporting.tables.beside_paper`.
    x : str
        Column of the ordered setting.
    by : dict of str to str
        Columns that tell the groups, and how they are written in the legend; may be empty.
    chance : dict of str to float
        From `hsta_lib.reporting.tables.chance`, drawn dotted.
    """
    groups = table.groupby(list(by), sort=False) if by else [((), table)]
    with _panels((10, 3.9), 1, len(METRICS), sharex=True) as (figure, panels):
        for panel, metric in zip(panels, METRICS, strict=True):
            for color, (values, group) in zip(_PALETTE, groups, strict=False):
                name = ", ".join(f"{word} {value}" for word, value in zip(by.values(), values, strict=True))
                _line_with_band(panel, group.sort_values(x), x, metric, name, color)
            panel.axhline(chance[metric], color="0.25", linestyle=":", label=_CHANCE)
            panel.set(xlabel=xlabel, ylabel=f"{HEADINGS[metric]}, %", ylim=(0, None))
            panel.xaxis.set_major_locator(MaxNLocator(integer=table[x].dtype.kind == "i"))
        _legend_below(figure, panels[0], ncols=4)
    return figure


def _line_with_band(panel, group, x, metric, name, color):
    ours, paper = (f"{name}, {whose}".removeprefix(", ") for whose in ("ours", _PAPER))
    panel.plot(group[x], group[metric], color=color, marker="o", markersize=4, label=ours)
    _band(panel, group[x], group, metric, color)
    if f"{metric}_paper" in group and group[f"{metric}_paper"].notna().any():
        panel.plot(group[x], group[f"{metric}_paper"], color=color, linestyle="--", lw=1.2, label=paper)


def _band(panel, x, rows, column, color):
    """The interval of a line."""
    panel.fill_between(x, rows[f"{column}_low"], rows[f"{column}_high"], color=color, alpha=0.12, lw=0)


def ordered(settings, values, xlabel, ylabel):
    """One value against an ordered setting, as the share of clips that repeat frames, or seconds."""
    with _panels((5.5, 2.6)) as (figure, panel):
        panel.plot(list(settings), list(values), color=_PALETTE[0], marker="o", markersize=4)
        panel.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def score_dots(table, names, chance):
    """Scores of settings without an order, a panel per metric, a line each: ours with its interval.

    The paper's are rings.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.reporting.tables.beside_paper`.
    names : sequence of str
        Of the rows of ``table``.
    chance : dict of str to float
        From `hsta_lib.reporting.tables.chance`, drawn dotted; NaN where the rows have none in common.
    """
    places = np.arange(len(table))
    with _panels((10, 1.4 + 0.3 * len(table)), 1, len(METRICS), sharey=True) as (figure, panels):
        for panel, metric in zip(panels, METRICS, strict=True):
            _intervals(panel, table, metric, places, color=_PALETTE[0], label="ours, 95 % interval")
            if f"{metric}_paper" in table and table[f"{metric}_paper"].notna().any():
                panel.plot(table[f"{metric}_paper"], places, color=_PALETTE[1], marker="o", markersize=6,
                           markerfacecolor="none", linestyle="", label=_PAPER)  # fmt: skip
            if not np.isnan(chance[metric]):
                panel.axvline(chance[metric], color="0.25", linestyle=":", label=_CHANCE)
            panel.set(xlabel=f"{HEADINGS[metric]}, %", xlim=(0, None))
        _name_rows(panels[0], names)
        _legend_below(figure, panels[0], ncols=3)
    return figure


def differences(table, first="the first row", fits=None):
    """Differences of rows from ``first`` in UAR and UF1, with intervals, by whether they could be chance.

    ``table``: from `hsta_lib.reporting.report.against_first`; ``fits``: as for
    `hsta_lib.reporting.report.conclude_differences`.
    """
    table = table.reset_index(drop=True)
    marked = table["row"] + np.where(table["row"].isin(names_not_fitted(fits)), ", not fitted", "")
    counts = are_about_the_method(table["row"], fits)
    with _panels((10, 1.3 + 0.3 * len(table)), 1, 2, sharey=True) as (figure, panels):
        for panel, metric in zip(panels, ("uar", "uf1"), strict=True):
            shown = differs(table, metric)
            for rows, color, label in (
                (table[shown & counts], _PALETTE[0], f"differs from {first}, corrected"),
                (table[~shown & counts], "0.6", "could be chance"),
                (table[~counts], _PALETTE[1], "not fitted: about the training"),
            ):
                if len(rows):
                    _changes(panel, rows, metric, rows.index, color=color, label=label)
            panel.set(xlabel=f"{HEADINGS[metric]}, points from {first}")
        _name_rows(panels[0], marked)
        _legend_below(figure, *panels, ncols=3)
    return figure


def _name_rows(panel, names):
    """Names of rows at the left, the first on top."""
    panel.set_yticks(range(len(names)), list(names))
    panel.set_ylim(len(names) - 0.5, -0.5)


def _legend_below(figure, *panels, **options):
    """One legend of several panels below the figure, each name once."""
    handles = {}
    for panel in panels:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside lower center", frameon=False, fontsize=9, **options)


def claims(verdicts):
    """Effects that decide the paper's claims, a line per claim, by table, above zero as claimed.

    Dots: studies with their intervals, squares of those in real motion; rings: printed numbers. The verdict
    is the colour. ``verdicts``: from `hsta_lib.study.claims.gather`; claims without any number are named.
    """
    rows = verdicts[verdicts["estimate"].notna()]
    told = rows.drop_duplicates("id").sort_values("table", kind="stable").set_index("id")
    tables = told["table"].map(title_of)
    places = rows["id"].map(told.index.get_loc)
    with _panels((10, 1.2 + 0.24 * len(told))) as (figure, panel):
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
                    _intervals(panel, part, "estimate", where, label=name, color=color, **mark)
            values = values.drop(of_kind.index)
        for place in np.flatnonzero(tables.to_numpy()[1:] != tables.to_numpy()[:-1]):
            panel.axhline(place + 0.5, color="0.75", lw=0.8)
        _name_rows(panel, tables + ": " + told["says"].map(lambda says: textwrap.shorten(says, 78)))
        told = ["points, above zero as claimed", "(the score and comparison that favour it least)"]
        for one in verdicts[~verdicts["id"].isin(rows["id"])].drop_duplicates("id").itertuples():
            without = f"not drawn, {one.verdict.partition(':')[0]}: {title_of(one.table)}, {one.says}"
            told.append(textwrap.fill(without, 60))
        panel.set_xlabel("\n".join(told))
        _legend_below(figure, panel, ncols=3)
    return figure


def losses(records, held_out=None):
    """Training loss of each epoch and, where epochs are stored, accuracy on held-out clips beside it.

    ``records`` and ``held_out`` (dict of str to list of list of float): name of a group of trials to a curve
    of each. Drawn are the mean over trials and their range.
    """
    parts = {"training loss": records, "accuracy on held-out clips, %": held_out or {}}
    parts = {label: curves for label, curves in parts.items() if curves}
    colours = dict(zip(records, _PALETTE, strict=False))
    with _panels((5.5 * len(parts), 2.8), 1, len(parts), squeeze=False) as (figure, (panels,)):
        for panel, (label, groups) in zip(panels, parts.items(), strict=True):
            for name, curves in groups.items():
                curves = np.array(curves)
                epochs = np.arange(1, curves.shape[1] + 1)
                panel.plot(epochs, curves.mean(axis=0), color=colours[name], marker="o", ms=3, label=name)
                ends = curves.min(axis=0), curves.max(axis=0)
                panel.fill_between(epochs, *ends, color=colours[name], alpha=0.15, lw=0)
            panel.set(xlabel="epoch", ylabel=label, xlim=(0.5, epochs[-1] + 0.5), ylim=(0, None))
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.legend(frameon=False, fontsize=9)
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
    with _panels((3.6 * len(titles), 4), 1, len(titles), sharey=True, squeeze=False) as (figure, (panels,)):
        panels[0].plot(steps["steps"], steps["loss_share"], color="0.4", linestyle="--",
                       label="training loss of HSTA, of a constant prediction's")  # fmt: skip
        panels[0].plot(steps["steps"], steps["uar"], color=_PALETTE[0], label="HSTA")
        panels[0].set_xlabel("training steps")
        for panel in panels[1:]:
            _axis_of_clips(panel, sizes["clips"].unique())
        for panel, column in zip(panels[1:], ("uar", "train_accuracy"), strict=False):
            for color, (name, rows) in zip(_PALETTE, sizes.groupby("system", sort=False), strict=False):
                rows = rows.sort_values("clips")
                panel.plot(rows["clips"], rows[column], color=color, marker="o", ms=4, label=name)
                if column == "uar":
                    _band(panel, rows["clips"], rows, "uar", color)
        for panel in panels[:2]:
            for style, (name, value) in zip((":", "-.", (0, (5, 1))), lines.items(), strict=False):
                panel.axhline(value, color="0.25", lw=1, linestyle=style, label=name)
        for panel, title in zip(panels, titles, strict=True):
            panel.set_title(title, fontsize=10)
        panels[0].set(ylabel="%", ylim=(0, 105))
        _legend_below(figure, *panels, ncols=len(titles) + 1)
    return figure


def _axis_of_clips(panel, sizes):
    panel.set(xscale="log", xlabel="training clips, as many steps")
    panel.set_xticks(sizes, sizes, minor=False)
    panel.xaxis.set_minor_locator(NullLocator())


def confusion(recalls):
    """Confusion matrix: clips of each true class by predicted class; colour is their share of the class.

    ``recalls``: from `hsta_lib.reporting.tables.class_recalls`.
    """
    counts = recalls.drop(columns="recall")
    shares = 100 * counts.div(np.maximum(counts.sum(axis=1), 1e-9), axis=0)
    size = 1.6 + 0.55 * len(counts)
    with sns.plotting_context("paper"):
        figure = _figure(figsize=(size + 0.8, size))
        panel = figure.subplots()
        scale = {"label": "share of the true class, %", "shrink": 0.8}
        sns.heatmap(shares, annot=counts, fmt=".0f", cmap="Blues", vmin=0, vmax=100, ax=panel, square=True,
                    linewidths=0.5, cbar_kws=scale)  # fmt: skip
        names = [f"{name}, {recall:.0f} %" for name, recall in recalls["recall"].items()]
        panel.set(xlabel="predicted class", ylabel="true class, its recall")
        panel.set_yticklabels(names, rotation=0)
        panel.set_xticklabels(counts.columns, rotation=40, ha="right")
    return figure


def contact_sheet(clips, frames, classes, flow=False, pictures=None):
    """Onset, apex and their amplified difference for one clip of each class; without frames a sentence.

    Parameters
    ----------
    clips : DataFrame
        With ``label`` and ``action_units``; the first clip of each class is shown.
    frames : ndarray, uint8, shape (n_clips, n_frames + 2, size, size, 3)
        The last two are onset and apex. None: see `hsta_lib.study.study.Study.pictures`.
    flow : bool
        Also draw the optical flow from onset to apex (DIS), direction as colour, all on one scale.
    pictures : tuple of str, optional
        Names of the last two where they are no frames, but pictures of tracks or flow; they alone are shown.
    """
    if frames is None:
        return Markdown("Pictures of others' repositories are not shown; a report holds numbers alone.")
    labels = clips["label"].reset_index(drop=True).drop_duplicates().sort_values()
    pairs = [(frames[row, -2], frames[row, -1]) for row in labels.index]
    rows = {
        "onset": [onset for onset, _ in pairs],
        "apex": [apex for _, apex in pairs],
        f"difference × {_AMPLIFIED}": [_difference(*pair) for pair in pairs],
    }
    if pictures:
        rows = {name: [pair[i] for pair in pairs] for i, name in enumerate(pictures)}
    if flow:
        fields = [optical_flow(*pair, "dis") for pair in pairs]
        longest = max(np.linalg.norm(field, axis=2).max() for field in fields)
        rows[f"flow, to {longest:.1f} px"] = [flow_colours(field, longest or None) for field in fields]
    figure = _figure(figsize=(1.55 * len(pairs), 0.3 + 1.55 * len(rows)))
    panels = figure.subplots(len(rows), len(pairs), squeeze=False)
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=9)
        for panel, image in zip(line, images, strict=True):
            panel.imshow(image)
            panel.set(xticks=[], yticks=[])
    for panel, row in zip(panels[0], labels.index, strict=True):
        clip = clips.iloc[row]
        panel.set_title(f"{classes[clip['label']]}\n{_action_units(clip)}", fontsize=9)
    return figure


def _difference(onset, apex):
    return (127.5 + _AMPLIFIED * (apex.astype(float) - onset)).clip(0, 255).astype(np.uint8)


def _action_units(clip):
    return f"AU {clip['action_units']}" if clip["action_units"] else ""


def as_photograph(figure):
    """A figure of photographs as JPEG: noise takes a third of its room as PNG. A sentence stays as it is."""
    if isinstance(figure, Markdown):
        return figure
    content = io.BytesIO()
    figure.savefig(content, format="jpeg", bbox_inches="tight", pil_kwargs={"quality": 85})
    return Image(content.getvalue(), format="jpeg")


def animation(clips, frames):
    """The first clip of each class side by side, in their order: a small animated PNG, played three times.

    ``clips`` and ``frames`` are those of `contact_sheet`; nothing is made without frames.
    """
    if frames is None:
        return None
    labels = clips["label"].reset_index(drop=True).drop_duplicates().sort_values()
    rows = np.concatenate(list(frames[labels.index, :-2]), axis=2)  # time, height, width of all, RGB
    size = _ANIMATED * len(labels), _ANIMATED
    # One palette: those of single frames differ, and their flicker looks like movement.
    how = {"palette": pillow.fromarray(np.concatenate(rows)).quantize(_COLOURS), "dither": pillow.Dither.NONE}
    pictures = [pillow.fromarray(row).resize(size).quantize(**how) for row in rows]
    content = io.BytesIO()
    how = {"save_all": True, "append_images": pictures[1:], "duration": _PER_FRAME, "loop": 3}
    pictures[0].save(content, format="png", **how)
    return Image(content.getvalue(), format="png", metadata={"alt": "the clips above, playing"})


def timing(clips):
    """How long the clips are, and how soon their apex comes; of pictures of flow a sentence.

    ``clips``: with ``onset``, ``apex``, ``offset``.
    """
    if clips["onset"].isna().all():
        return Markdown(NO_NUMBERS)
    lengths = {
        "length, frames": clips["offset"] - clips["onset"] + 1,
        "onset to apex, frames": clips["apex"] - clips["onset"],
    }
    with _panels((8, 2.6), 1, len(lengths)) as (figure, panels):
        for panel, (name, values) in zip(panels, lengths.items(), strict=True):
            width = 1 + (values.max() - values.min()) // 40
            panel.hist(values, np.arange(values.min() - 0.5, values.max() + width, width), color=_PALETTE[0])
            panel.axvline(values.median(), color="0.25", linestyle=":", label=f"median {values.median():g}")
            panel.set(xlabel=name, ylabel="clips")
            panel.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1))  # above bars
    return figure


def attainable_uf1(curve, pairs, method="HSTA"):
    """UF1 that each UAR allows, with the pairs printed for that dataset, those of ``method`` in colour.

    Parameters
    ----------
    curve : DataFrame
        From `hsta_lib.audit.lists.attainable`.
    pairs : DataFrame
        With ``method``, ``uar``, ``uf1`` and ``possible``; pairs that are not possible are named.
    """
    with _panels((6, 4.2)) as (figure, panel):
        kinds = {"folds_": ("0.93", "mean over subjects, bound"), "": ("0.78", "pooled, exact")}
        for kind, (color, label) in kinds.items():
            ends = curve[f"{kind}low"], curve[f"{kind}high"]
            panel.fill_between(curve["uar"], *ends, color=color, label=label)
        for pair in pairs.itertuples():
            color = _PALETTE[3] if pair.method == method else "0.25"
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
    with _panels((10, 2.9), 1, len(METRICS), sharey=True) as (figure, panels):
        for panel, metric in zip(panels, METRICS, strict=True):
            rows = noise[noise["score"] == metric]
            panel.plot(rows["disagreement"], rows["sd"], color=_PALETTE[0], marker="o", markersize=4,
                       label="equally good models, 95 % of draws")  # fmt: skip
            panel.fill_between(
                rows["disagreement"], rows["low"], rows["high"], color=_PALETTE[0], alpha=0.15, lw=0
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
    with _panels((2 + 2.1 * len(protocols), 5.2), 2, len(protocols), **shared) as (figure, grid):
        for line, metric in zip(grid, ("uar", "uf1"), strict=True):
            for panel, protocol in zip(line, protocols, strict=True):
                _dots(panel, scored[scored["protocol"] == protocol], metric, predictors)
        for panel, protocol in zip(grid[0], protocols, strict=True):
            panel.set_title("\n".join(protocol.split(", ")), fontsize=9)
        grid[0, 0].set_yticks(range(len(predictors)), predictors)
    return figure


def _dots(panel, rows, metric, predictors):
    places = rows["predictor"].map(predictors.index)
    _intervals(panel, rows, metric, places, color=_PALETTE[0])
    paper = rows[f"{metric}_paper"].iloc[0]
    if not np.isnan(paper):
        panel.axvline(paper, color=_PALETTE[3], linestyle="--", lw=1.2)
        panel.annotate(f"HSTA {paper:.1f}", (paper, -0.6), (3, 0), textcoords="offset points",
                       color=_PALETTE[3], fontsize=8, va="center")  # fmt: skip
    panel.set(xlabel=f"{HEADINGS[metric]}, %", xlim=(0, 103), ylim=(len(predictors) - 0.5, -1))


def inflation(table):
    """What each shortcut adds, a panel per metric, a colour per strength of the labels' ties.

    ``table``: from `hsta_lib.audit.shortcuts.worth`.
    """
    leaking = table[table["protocol"] != table["against"]]
    protocols, ties = list(leaking["protocol"].unique()), list(leaking["ties"].unique())
    with _panels((10, 1.2 + 0.42 * len(protocols)), 1, 2, sharey=True) as (figure, panels):
        for panel, metric in zip(panels, ("uar", "uf1"), strict=True):
            for number, (color, name) in enumerate(zip(_PALETTE, ties, strict=False)):
                rows = leaking[leaking["ties"] == name]
                shift = 0.2 * (number - (len(ties) - 1) / 2)
                _changes(panel, rows, f"{metric}_inflation", rows["protocol"].map(protocols.index) + shift,
                         color=color, label=name)  # fmt: skip
            panel.set(xlabel=f"inflation of {HEADINGS[metric]}, points")
        _name_rows(panels[0], protocols)
        if len(ties) > 1:
            handles, names = panels[0].get_legend_handles_labels()
            title = "labels tied to film and recording"
            figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, title=title)
    return figure


def _intervals(panel, rows, column, places, label=None, fmt="o", ms=4, **style):
    """Dots of a column at some heights, with its intervals, where it has any."""
    value = rows[column]
    ends = np.stack([value - rows[f"{column}_low"], rows[f"{column}_high"] - value]).astype(float)
    ends[np.abs(ends) < 1e-9] = 0  # an end at 100 % may miss a score of 100 % by rounding
    dots, *_ = panel.errorbar(value, places, xerr=ends, fmt=fmt, ms=ms, elinewidth=1.5, **style)
    dots.set_label(label)


def _changes(panel, rows, column, places, **style):
    """Differences with intervals, and a line at zero."""
    panel.axvline(0, color="0.25", lw=1)
    _intervals(panel, rows, column, places, **style)


def walk(table):
    """How the scores change from the equations to the released code: each step alone, and all up to it.

    ``table``: from `hsta_lib.audit.recipe_steps.score`.
    """
    steps = [step for step, way in zip(table["step"], table["way"], strict=True) if way == "alone"]
    with _panels((10, 1.2 + 0.3 * len(steps)), 1, 2, sharey=True) as (figure, panels):
        for panel, metric in zip(panels, ("uar", "uf1"), strict=True):
            for color, way, shift in zip(_PALETTE, ("cumulative", "alone"), (-0.12, 0.12), strict=False):
                rows = table[table["way"] == way]
                _changes(panel, rows, f"{metric}_change", rows["step"].map(steps.index) + shift, color=color,
                         label={"cumulative": "with all steps above it", "alone": "alone"}[way])  # fmt: skip
            panel.set(xlabel=f"change of {HEADINGS[metric]} from the equations, points")
        _name_rows(panels[0], steps)
        _legend_below(figure, panels[0], ncols=2)
    return figure


def chance_by_best_epoch(table):
    """Scores of pure chance against the number of epochs that each subject's best is chosen from.

    ``table``: from `hsta_lib.audit.shortcuts.chance_by_best_epoch`.
    """
    with _panels((5.5, 3)) as (figure, panel):
        for color, metric in zip(_PALETTE, ("uar", "uf1"), strict=False):
            _band(panel, table["n_epochs"], table, metric, color)
            panel.plot(table["n_epochs"], table[metric], color=color, marker="o", markersize=4,
                       label=HEADINGS[metric])  # fmt: skip
        panel.set(xscale="log", xlabel="independent epochs to choose from", ylabel="score of pure chance, %",
                  ylim=(0, 100))  # fmt: skip
        panel.set_xticks(table["n_epochs"], table["n_epochs"])
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize=9)
    return figure


def attention_maps(frames, maps, *, patch_size, clip_names, frame_names):
    """Attention of the CLS token laid over the frames of clips, tubelet by tubelet.

    A column per clip, time downwards; of a single clip time runs to the right. One scale for all, whose
    middle is the share that every token has where all have the same.

    Parameters
    ----------
    frames : ndarray, uint8, shape (n_clips, n_frames, size, size, 3)
    maps : ndarray, shape (n_clips, n_times, h, w)
        Share of the attention on each tubelet; a tubelet's frames all show its share. Rows and columns that
        no patch covers stay bare.
    patch_size : int
        px.
    """
    n_clips, n_frames = frames.shape[:2]
    per_time, is_single = n_frames // maps.shape[1], n_clips == 1
    shape = (1, n_frames) if is_single else (n_frames, n_clips)
    figure = _figure(figsize=(1.2 + 1.3 * shape[1], 0.6 + 1.3 * shape[0]))
    panels = figure.subplots(*shape, squeeze=False)
    panels = panels if is_single else panels.T
    height, width = (patch_size * n for n in maps.shape[2:])
    doublings = np.log2(np.maximum(maps * (1 + maps[0].size), 1 / 32))
    scale = CenteredNorm(0, halfrange=max(1, np.abs(doublings).max()))
    for clip, line in enumerate(panels):
        for number, panel in enumerate(line):
            panel.imshow(frames[clip, number].mean(axis=2), cmap="gray", vmin=0, vmax=255)
            heat = panel.imshow(
                doublings[clip, number // per_time], cmap="RdBu_r", norm=scale,
                extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest", alpha=0.55,
            )  # fmt: skip
            panel.set(xticks=[], yticks=[], xlim=(-0.5, frames.shape[3] - 0.5),
                      ylim=(frames.shape[2] - 0.5, -0.5))  # fmt: skip
        (line[0].set_ylabel if is_single else line[0].set_title)(clip_names[clip], fontsize=8)
    for panel, name in zip(panels[0], frame_names, strict=True):
        (panel.set_title if is_single else panel.set_ylabel)(name, fontsize=8)
    bar = figure.colorbar(heat, ax=panels.ravel().tolist(), shrink=0.9 if n_frames < 3 or is_single else 0.4)
    bar.set_label("attention on the tubelet,\ntimes an equal share")
    bar.locator = MaxNLocator(6, integer=True)
    bar.formatter = lambda doubled, _: f"{2**doubled:.2g}"
    return figure


def attention_over_time(ways, clip_names):
    """Attention on the CLS token itself and on all tubelets of a time, beside equal shares: a panel per clip.

    ``ways`` (dict of str to tuple): name to ``shares`` (n_clips, 1 + n_times) and ``equal`` (1 + n_times,);
    the first entry is CLS itself.
    """
    width, n_clips = 0.8 / len(ways), len(clip_names)
    with _panels((1.5 + 1.4 * n_clips, 2.7), 1, n_clips, sharey=True, squeeze=False) as (figure, (panels,)):
        for clip, (panel, name) in enumerate(zip(panels, clip_names, strict=True)):
            for number, (color, (way, (shares, equal))) in enumerate(
                zip(_PALETTE, ways.items(), strict=False)
            ):
                places = np.arange(len(equal)) + width * (number - (len(ways) - 1) / 2)
                panel.bar(places, 100 * shares[clip], width, color=color, label=way)
                panel.hlines(100 * equal, places - width / 2, places + width / 2, color="0.25", lw=1.5,
                             label=None if number else "if all tokens got the same")  # fmt: skip
            panel.set_xticks(range(len(equal)), ["CLS", *range(1, len(equal))])
            panel.set_title(name, fontsize=8)
            panel.grid(axis="x", visible=False)
        panels[0].set_ylabel("share of the attention, %")
        panels[len(panels) // 2].set_xlabel("CLS itself; tubelets, in order of time")
        _legend_below(figure, panels[0], ncols=2)
    return figure


def class_probabilities(probabilities, classes, labels, clip_names):
    """Softmax of the class scores, shape (n_clips, n_classes): a panel per clip, its true class in colour.

    ``labels`` (sequence of int): true class of each clip, -1 where it is not known.
    """
    places, n_clips = np.arange(len(classes)), len(clip_names)
    size = (1.5 + 1.3 * n_clips, 0.9 + 0.22 * len(classes))
    shared = {"sharex": True, "sharey": True, "squeeze": False}
    with _panels(size, 1, n_clips, **shared) as (figure, (panels,)):
        for panel, row, label, name in zip(panels, probabilities, labels, clip_names, strict=True):
            kinds = {"class": places != label, "true class": places == label}
            for color, (kind, rows) in zip(_PALETTE, kinds.items(), strict=False):
                if rows.any():
                    panel.barh(places[rows], 100 * row[rows], color=color, label=kind)
            panel.axvline(100 / len(classes), color="0.25", linestyle=":", label="equal shares")
            panel.set_title(name, fontsize=8)
            panel.grid(axis="y", visible=False)
        panels[0].set_yticks(places, classes)
        panels[0].invert_yaxis()
        panels[len(panels) // 2].set_xlabel("softmax of the scores, %")
        _legend_below(figure, *panels, ncols=3)
    return figure


def attention_on_motion(table, names):
    """Share of the attention on the places that move most, module by module.

    Parameters
    ----------
    table : DataFrame
        From `hsta_lib.attention.weights.motion_of`; None where the movement is not known.
    names : dict of str to str
        Titles of the values of ``way``.
    """
    if table is None:
        return None
    with _panels((11, 3), 1, len(names), sharey=True) as (figure, panels):
        for panel, (way, name) in zip(panels, names.items(), strict=True):
            rows = table[table["way"] == way]
            lines = {"share": "moving in the clip", "others": "moving in the other clips"}
            lines = {column: label for column, label in lines.items() if rows[column].notna().any()}
            for color, (column, label) in zip(_PALETTE, lines.items(), strict=False):
                low, high = 100 * rows[f"{column}_low"], 100 * rows[f"{column}_high"]
                panel.plot(rows["module"], 100 * rows[column], color=color, marker="o", markersize=4,
                           label=label)  # fmt: skip
                panel.fill_between(rows["module"], low, high, color=color, alpha=0.12, lw=0)
            panel.axhline(100 * rows["chance"].iloc[0], color="0.25", linestyle=":", label="chance")
            highest = table[["share", "share_high", "others_high"]].max(axis=None)
            panel.set(xlabel="module", ylim=(0, 105 * highest))
            panel.set_title(textwrap.fill(name, 32), fontsize=8)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0].set_ylabel("share of the attention\non places that move most, %")
        _legend_below(figure, panels[0], ncols=3)
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
    with _panels(size, 2, len(groups), sharex=True, sharey=True, squeeze=False) as (figure, panels):
        for row, metric in zip(panels, ("uf1", "uar"), strict=True):
            for panel, group in zip(row, groups, strict=True):
                published, ours = printed[printed[by] == group], table[table[by] == group]
                _scores_of_systems(panel, published, ours, metric, names, list(table["train_on"].unique()))
                panel.set(xlabel=f"{HEADINGS[metric]}, %", xlim=(0, 100), ylim=(len(names) - 0.5, -0.5))
        for panel, group in zip(panels[0], groups, strict=True):
            panel.set_title(group if by == "dataset" else f"{group} classes", fontsize=9)
        panels[0, 0].set_yticks(range(len(names)), names)
        _legend_below(figure, *figure.axes, ncols=2)
        figure.suptitle(title, fontsize=9)
    return figure


def _scores_of_systems(panel, published, ours, metric, names, ways):
    """One panel: for each system what is published and, below it, ours by what it is trained on."""
    lines = np.linspace(-0.12, 0.12, len(ways) + 1) * len(ways)
    _published_dots(panel, published, metric, published["method"].map(names.index) + lines[0])
    for number, way in enumerate(ways):
        rows = ours[ours["train_on"] == way]
        places, color = rows["system"].map(names.index) + lines[number + 1], _PALETTE[(0, 2, 1)[number]]
        _intervals(panel, rows, metric, places, color=color, label=f"ours, trained on {way}, 95 % interval")
    panel.grid(visible=False, axis="y")
    for border in np.arange(0.5, len(names) - 1):
        panel.axhline(border, color="0.9", lw=0.6)


def _published_dots(panel, printed, metric, places):
    is_hsta, is_possible = printed["method"] == "HSTA", printed["possible"].eq(True)
    kinds = {
        "other systems, published": (~is_hsta & is_possible, {"marker": "o", "color": "0.55"}),
        "HSTA, published": (is_hsta & is_possible, {"marker": "o", "color": _PALETTE[3]}),
        "other system, impossible pair": (~is_hsta & ~is_possible, {"marker": "x", "color": "0.25"}),
        "HSTA, impossible pair": (is_hsta & ~is_possible, {"marker": "x", "color": _PALETTE[3]}),
    }
    for name, (chosen, style) in kinds.items():
        if chosen.any():
            panel.plot(printed.loc[chosen, metric], places[chosen], linestyle="", markersize=6,
                       markerfacecolor="none", label=name, clip_on=False, **style)  # fmt: skip


def growth(rows):
    """Time of a training step against what makes it longer, a panel per setting, a line per size of network.

    ``rows``: from `hsta_lib.reporting.report.measured_growth`; the exponent stands at the end of its line.
    """
    settings = list(dict.fromkeys(rows["setting"]))
    with _panels((2.6 * len(settings), 3.2), 1, len(settings), sharey=True) as (figure, panels):
        for panel, setting in zip(panels, settings, strict=True):
            of_setting = rows[rows["setting"] == setting]
            for colour, (size, group) in zip(_PALETTE, of_setting.groupby("size", sort=False), strict=False):
                panel.plot(group["value"], group["seconds"], marker="o", ms=3, color=colour)
                last = group.iloc[-1]
                told = f"{size}: {last['exponent']:.2f}"
                place = {"xytext": (0, 6), "textcoords": "offset points", "ha": "right", "color": colour}
                panel.annotate(told, (last["value"], last["seconds"]), **place)
            panel.margins(y=0.12)
            panel.set(xscale="log", yscale="log", xlabel=_GROWING[setting])
            ticks = sorted(of_setting["value"].unique())
            panel.set_xticks(ticks[:: -(-len(ticks) // 5)], minor=False)
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_locator(NullLocator())
        panels[0].set_ylabel("s per training step")
        return figure


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
    with _panels((7, 1.4 + 0.5 * len(names))) as (figure, panel):
        for number, (choice, rows) in enumerate(table.groupby("choice", sort=False)):
            places = rows["system"].map(names.index) + 0.16 * number
            _intervals(panel, rows, "uf1", places, color=_PALETTE[number], label=f"ours, {choice}")
        last = table.drop_duplicates("system").assign(place=np.arange(len(names)) - 0.16)
        ring = {"marker": "D", "mfc": "none", "color": "0.3", "linestyle": "", "label": "published"}
        panel.plot(last["uf1_published"], last["place"], **ring)
        for row in last[last["system"].isin(reached)].itertuples():
            ends = (row.uf1, row.place), (row.uf1_published, row.place)
            panel.annotate("", *ends, arrowprops={"arrowstyle": "->", "color": "0.5"})
        panel.set(xlabel=f"{HEADINGS['uf1']}, %; 95 % interval", xlim=(0, 100))
        _name_rows(panel, names)
        _legend_below(figure, panel, ncols=3)
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
    with _panels(size, *shape, sharex="col", sharey="row", squeeze=False, **ratios) as (figure, panels):
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
        _legend_below(figure, *panels[:, 0], ncols=4)
    return figure


def _scores_in_order(panel, rows):
    """A line per system: HSTA's in colour, rings where it has not fitted, chance dotted."""
    panel.axvline(rows["chance"].iloc[0], color="0.25", linestyle=":", label="chance")
    is_hsta, is_fitted = rows["system"].str.startswith("HSTA"), ~_is_not_fitted(rows)
    kinds = {
        "HSTA": (is_hsta & is_fitted, {"color": _PALETTE[0]}),
        "HSTA, not fitted": (is_hsta & ~is_fitted, {"color": _PALETTE[0], "mfc": "white"}),
        "baseline": (~is_hsta & is_fitted, {"color": "0.3"}),
        "baseline, not fitted": (~is_hsta & ~is_fitted, {"color": "0.3", "mfc": "white"}),
    }
    for label, (chosen, style) in kinds.items():
        if chosen.any():
            _intervals(panel, rows[chosen], "uar", rows.index[chosen], label=label, **style)
    _name_rows(panel, rows["system"])


def _is_not_fitted(rows):
    return rows["fit"].eq(NOT_FITTED) if "fit" in rows else np.zeros(len(rows), dtype=bool)
