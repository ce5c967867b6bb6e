"""Figures of the reports: one palette, units on every axis, direct labels. No torch."""

import io
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.display import Image, Markdown
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter
from PIL import Image as pillow

from hsta_lib.data.flow import flow_colours, optical_flow
from hsta_lib.evaluation.fitted import NOT_FITTED, are_about_the_method, names_not_fitted
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.reporting.tables import HEADINGS, NO_NUMBERS, differs

# Readable for colour-blind readers and, with the dashes, in print.
PALETTE = sns.color_palette("colorblind")
_GROWING = {
    "n_frames": "frames per clip", "n_tokens": "tokens, video branch", "m": "modules (M)",
    "n_clips": "clips per batch",
}  # fmt: skip
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


def blank(**size):
    """A figure without panels."""
    figure = plt.figure(layout="constrained", dpi=110, FigureClass=Drawn, **size)
    plt.close(figure)  # a notebook shows the figure its cell returns; left open, it would show it twice
    return figure


@contextmanager
def figure_of(figsize, *shape, **options):
    """A figure of a size in inches and its panels, in the reports' style for as long as it is drawn on."""
    with sns.plotting_context("paper"), sns.axes_style(rc=_STYLE):
        figure = blank(figsize=figsize)
        yield figure, figure.subplots(*shape, **options)


def intervals(panel, rows, column, places, label=None, fmt="o", ms=4, **style):
    """Dots of a column at some heights, with its intervals, where it has any; rings where not fitted."""
    value = rows[column]
    ends = np.stack([value - rows[f"{column}_low"], rows[f"{column}_high"] - value]).astype(float)
    ends[np.abs(ends) < 1e-9] = 0  # an end at 100 % may miss a score of 100 % by rounding
    unfit = rows["fit"].eq(NOT_FITTED).to_numpy() if "fit" in rows else np.zeros(len(rows), dtype=bool)
    kinds = [(~unfit, label, style)] * (not unfit.all() or unfit.size == 0)
    kinds += [(unfit, ", ".join(filter(None, [label, NOT_FITTED])), style | {"mfc": "white"})] * int(
        unfit.any()
    )
    for chosen, named, drawn in kinds:
        at = np.asarray(places)[chosen]
        dots, *_ = panel.errorbar(
            value[chosen], at, xerr=ends[:, chosen], fmt=fmt, ms=ms, elinewidth=1.5, **drawn
        )
        dots.set_label(named)


def changes(panel, rows, column, places, **style):
    """Differences with intervals, and a line at zero."""
    panel.axvline(0, color="0.25", lw=1)
    intervals(panel, rows, column, places, **style)


def band(panel, x, rows, column, color):
    """The interval of a line."""
    panel.fill_between(x, rows[f"{column}_low"], rows[f"{column}_high"], color=color, alpha=0.12, lw=0)


def name_rows(panel, names):
    """Names of rows at the left, the first on top."""
    panel.set_yticks(range(len(names)), list(names))
    panel.set_ylim(len(names) - 0.5, -0.5)


def legend_below(figure, *panels, **options):
    """One legend of several panels below the figure, each name once."""
    handles = {}
    for panel in panels:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside lower center", frameon=False, fontsize=9, **options)


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
    with figure_of((10, 3.9), 1, len(METRICS), sharex=True) as (figure, panels):
        for panel, metric in zip(panels, METRICS, strict=True):
            for color, (values, group) in zip(PALETTE, groups, strict=False):
                name = ", ".join(f"{word} {value}" for word, value in zip(by.values(), values, strict=True))
                _line_with_band(panel, group.sort_values(x), x, metric, name, color)
            panel.axhline(chance[metric], color="0.25", linestyle=":", label=_CHANCE)
            panel.set(xlabel=xlabel, ylabel=f"{HEADINGS[metric]}, %", ylim=(0, None))
            panel.xaxis.set_major_locator(MaxNLocator(integer=table[x].dtype.kind == "i"))
        legend_below(figure, panels[0], ncols=4)
    return figure


def _line_with_band(panel, group, x, metric, name, color):
    ours, paper = (f"{name}, {whose}".removeprefix(", ") for whose in ("ours", _PAPER))
    panel.plot(group[x], group[metric], color=color, marker="o", markersize=4, label=ours)
    band(panel, group[x], group, metric, color)
    if f"{metric}_paper" in group and group[f"{metric}_paper"].notna().any():
        panel.plot(group[x], group[f"{metric}_paper"], color=color, linestyle="--", lw=1.2, label=paper)


def ordered(settings, values, xlabel, ylabel):
    """One value against an ordered setting, as the share of clips that repeat frames, or seconds."""
    with figure_of((5.5, 2.6)) as (figure, panel):
        panel.plot(list(settings), list(values), color=PALETTE[0], marker="o", markersize=4)
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
    with figure_of((10, 1.4 + 0.3 * len(table)), 1, len(METRICS), sharey=True) as (figure, panels):
        for panel, metric in zip(panels, METRICS, strict=True):
            intervals(panel, table, metric, places, color=PALETTE[0], label="ours, 95 % interval")
            if f"{metric}_paper" in table and table[f"{metric}_paper"].notna().any():
                panel.plot(table[f"{metric}_paper"], places, color=PALETTE[1], marker="o", markersize=6,
                           markerfacecolor="none", linestyle="", label=_PAPER)  # fmt: skip
            if not np.isnan(chance[metric]):
                panel.axvline(chance[metric], color="0.25", linestyle=":", label=_CHANCE)
            panel.set(xlabel=f"{HEADINGS[metric]}, %", xlim=(0, None))
        name_rows(panels[0], names)
        legend_below(figure, panels[0], ncols=3)
    return figure


def differences(table, first="the first row", fits=None):
    """Differences of rows from ``first`` in UAR and UF1, with intervals, by whether they could be chance.

    ``table``: from `hsta_lib.reporting.sentences.against_first`; ``fits``: as for
    `hsta_lib.reporting.sentences.conclude_differences`.
    """
    table = table.reset_index(drop=True)
    marked = table["row"] + np.where(table["row"].isin(names_not_fitted(fits)), ", not fitted", "")
    counts = are_about_the_method(table["row"], fits)
    with figure_of((10, 1.3 + 0.3 * len(table)), 1, 2, sharey=True) as (figure, panels):
        for panel, metric in zip(panels, ("uar", "uf1"), strict=True):
            shown = differs(table, metric)
            for rows, color, label in (
                (table[shown & counts], PALETTE[0], f"differs from {first}, corrected"),
                (table[~shown & counts], "0.6", "could be chance"),
                (table[~counts], PALETTE[1], "not fitted: about the training"),
            ):
                if len(rows):
                    changes(panel, rows, metric, rows.index, color=color, label=label)
            panel.set(xlabel=f"{HEADINGS[metric]}, points from {first}")
        name_rows(panels[0], marked)
        legend_below(figure, *panels, ncols=3)
    return figure


def losses(records, held_out=None):
    """Training loss of each epoch and, where epochs are stored, accuracy on held-out clips beside it.

    ``records`` and ``held_out`` (dict of str to list of list of float): name of a group of trials to a curve
    of each. Drawn are the mean over trials and their range.
    """
    parts = {"training loss": records, "accuracy on held-out clips, %": held_out or {}}
    parts = {label: curves for label, curves in parts.items() if curves}
    colours = dict(zip(records, PALETTE, strict=False))
    with figure_of((5.5 * len(parts), 2.8), 1, len(parts), squeeze=False) as (figure, (panels,)):
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


def confusion(recalls):
    """Confusion matrix: clips of each true class by predicted class; colour is their share of the class.

    ``recalls``: from `hsta_lib.reporting.tables.class_recalls`.
    """
    counts = recalls.drop(columns="recall")
    shares = 100 * counts.div(np.maximum(counts.sum(axis=1), 1e-9), axis=0)
    size = 1.6 + 0.55 * len(counts)
    with sns.plotting_context("paper"):
        figure = blank(figsize=(size + 0.8, size))
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
    figure = blank(figsize=(1.55 * len(pairs), 0.3 + 1.55 * len(rows)))
    panels = figure.subplots(len(rows), len(pairs), squeeze=False)
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=9)
        for panel, image in zip(line, images, strict=True):
            panel.imshow(image)
            panel.set(xticks=[], yticks=[])
    for panel, row in zip(panels[0], labels.index, strict=True):
        clip = clips.iloc[row]
        units = f"AU {clip['action_units']}" if clip["action_units"] else ""
        panel.set_title(f"{classes[clip['label']]}\n{units}", fontsize=9)
    return figure


def _difference(onset, apex):
    return (127.5 + _AMPLIFIED * (apex.astype(float) - onset)).clip(0, 255).astype(np.uint8)


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
    with figure_of((8, 2.6), 1, len(lengths)) as (figure, panels):
        for panel, (name, values) in zip(panels, lengths.items(), strict=True):
            width = 1 + (values.max() - values.min()) // 40
            panel.hist(values, np.arange(values.min() - 0.5, values.max() + width, width), color=PALETTE[0])
            panel.axvline(values.median(), color="0.25", linestyle=":", label=f"median {values.median():g}")
            panel.set(xlabel=name, ylabel="clips")
            panel.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1))  # above bars
    return figure


def growth(rows):
    """Time of a training step against what makes it longer, a panel per setting, a line per size of network.

    ``rows``: from `hsta_lib.reporting.sentences.measured_growth`; the exponent stands at the end of its line.
    """
    settings = list(dict.fromkeys(rows["setting"]))
    with figure_of((2.6 * len(settings), 3.2), 1, len(settings), sharey=True) as (figure, panels):
        for panel, setting in zip(panels, settings, strict=True):
            of_setting = rows[rows["setting"] == setting]
            for colour, (size, group) in zip(PALETTE, of_setting.groupby("size", sort=False), strict=False):
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
