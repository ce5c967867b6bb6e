"""Figures of attention maps, and of what a network says of single clips."""

import textwrap

import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.ticker import MaxNLocator

from hsta_lib.reporting.plots import PALETTE, blank, figure_of, legend_below


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
    figure = blank(figsize=(1.2 + 1.3 * shape[1], 0.6 + 1.3 * shape[0]))
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
    with figure_of((1.5 + 1.4 * n_clips, 2.7), 1, n_clips, sharey=True, squeeze=False) as (figure, (panels,)):
        for clip, (panel, name) in enumerate(zip(panels, clip_names, strict=True)):
            for number, (color, (way, (shares, equal))) in enumerate(
                zip(PALETTE, ways.items(), strict=False)
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
        legend_below(figure, panels[0], ncols=2)
    return figure


def class_probabilities(probabilities, classes, labels, clip_names):
    """Softmax of the class scores, shape (n_clips, n_classes): a panel per clip, its true class in colour.

    ``labels`` (sequence of int): true class of each clip, -1 where it is not known.
    """
    places, n_clips = np.arange(len(classes)), len(clip_names)
    size = (1.5 + 1.3 * n_clips, 0.9 + 0.22 * len(classes))
    shared = {"sharex": True, "sharey": True, "squeeze": False}
    with figure_of(size, 1, n_clips, **shared) as (figure, (panels,)):
        for panel, row, label, name in zip(panels, probabilities, labels, clip_names, strict=True):
            kinds = {"class": places != label, "true class": places == label}
            for color, (kind, rows) in zip(PALETTE, kinds.items(), strict=False):
                if rows.any():
                    panel.barh(places[rows], 100 * row[rows], color=color, label=kind)
            panel.axvline(100 / len(classes), color="0.25", linestyle=":", label="equal shares")
            panel.set_title(name, fontsize=8)
            panel.grid(axis="y", visible=False)
        panels[0].set_yticks(places, classes)
        panels[0].invert_yaxis()
        panels[len(panels) // 2].set_xlabel("softmax of the scores, %")
        legend_below(figure, *panels, ncols=3)
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
    with figure_of((11, 3), 1, len(names), sharey=True) as (figure, panels):
        for panel, (way, name) in zip(panels, names.items(), strict=True):
            rows = table[table["way"] == way]
            lines = {"share": "moving in the clip", "others": "moving in the other clips"}
            lines = {column: label for column, label in lines.items() if rows[column].notna().any()}
            for color, (column, label) in zip(PALETTE, lines.items(), strict=False):
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
        legend_below(figure, panels[0], ncols=3)
    return figure
