"""The figure of README: what is known about real faces first, then the synthetic control with its ceiling."""

import io
import json

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from hsta_lib import ROOT
from hsta_lib.audit import lists
from hsta_lib.evaluation import fitted

PATH = ROOT / "reports" / "summary.svg"
_REPRODUCED = ROOT / "reports" / "real-reproduce.json"
_BLUE, _ORANGE, _GREEN = (mpl.colors.to_hex(colour) for colour in sns.color_palette("colorblind")[:3])
_INK, _MUTED, _FAINT, _WARNING = "#1d2125", "#5a636b", "#eceff1", "#9a5b00"
_LEFT, _RIGHT = 0.02, 0.54  # where the columns begin, in widths of the figure
# Rows of the control by their names in the record: what the figure calls them, and their colour.
_ROWS = {
    "majority class": ("chance: always the most frequent class", _MUTED),
    "labels shuffled": ("HSTA trained on shuffled labels", _MUTED),
    "mean of all 30 settings": ("HSTA, mean over the settings of Table 4", _BLUE),
    "named setting (M = 4, L_v = 2, L_s = 1)": ("HSTA, the setting that the paper chose", _BLUE),
    "linear model on the true motion": ("linear model, true motion known", _GREEN),
    "ceiling: true action units known": ("ceiling, true action units known", _GREEN),
}
# A sentence stands where results are not there yet.
_NOT_FITTED = (
    "These networks have not fitted: they trained too few steps.\nA control that has fitted is not there yet."
)
_FITTED = "All networks of Table 4 have fitted."
_NOT_TRAINED = "Systems trained anew on these pictures, beside their published scores, are not there yet."
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "summary", "text.color": _INK, "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "DejaVu Sans"],
}  # fmt: skip


def record_of(name):
    """The committed record of a study on synthetic faces, by its notebook's name."""
    (path,) = paths_of(name)
    return json.loads(path.read_text())


def paths_of(name):
    """Where that record lies; none if there is none."""
    return list((ROOT / "reports").glob(f"{name}-study-synthetic-*.json"))


def has_fitted(record):
    """Whether all rows of a record are known to have fitted, but those that read no pixels."""
    return {row.get("fit") for row in record["cells"]} <= {fitted.FITTED, fitted.NO_PIXELS}


def draw():
    """The figure as SVG text, from the committed records; equal records give equal text."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 5.3), facecolor="white")
        _heading(figure, _LEFT, "Real clips, no picture", "What a clip’s film or recording alone gives away")
        _key(figure)
        _dots(figure.add_axes((_LEFT, 0.24, 0.44, 0.56)), list(_given_away()))
        _heading(figure, _RIGHT, "Synthetic faces, a control", "Never evidence about real faces")
        record = record_of("table4")
        said = (_FITTED, _MUTED) if has_fitted(record) else (_NOT_FITTED, _WARNING)
        figure.text(_RIGHT, 0.832, said[0], color=said[1], va="center", size=8.5, linespacing=1.35)
        _dots(figure.add_axes((_RIGHT, 0.24, 0.44, 0.56)), list(_known(record)))
        _real_motion(figure)
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _given_away():
    """Predictors that see no picture, on the authors' lists: their names, scores and colour."""
    for row in json.loads(lists.RECORD.read_text())["rows"]:
        protocol = row["protocol"].replace("'", "’").removesuffix(" in training")
        yield f"{protocol}: {row['predictor']}", row, _BLUE


def _known(record):
    """Rows of the control, without the printed scores, which are of real faces."""
    rows = record["summary"] | record["references"]
    for name, (called, colour) in _ROWS.items():
        yield called, rows[name] | {"uar_paper": None}, colour


def _heading(figure, x, title, subtitle):
    figure.text(x, 0.935, title, weight="bold", size=13)
    figure.text(x, 0.888, subtitle, color=_MUTED, size=9.5)


def _key(figure):
    """What the marks mean."""
    marks = {"●": ("UAR, %, and its 95 % interval over subjects", _BLUE), "◆": ("printed for HSTA", _WARNING)}
    for x, (mark, (meaning, colour)) in zip((_LEFT, 0.335), marks.items(), strict=True):
        figure.text(x, 0.832, f"{mark} {meaning}", color=colour, va="center", size=8.5)


def _real_motion(figure):
    """Published weights on published pictures of flow: how many predictions are those of the authors."""
    record = json.loads(_REPRODUCED.read_text())
    equal = max(row["equal"] for name, row in record["rows"].items() if name.startswith("their weights"))
    said = f"{equal} of {record['n_clips']} predictions equal its authors’ log."
    box = figure.add_axes((_LEFT, 0.025, 0.96, 0.15), facecolor=_FAINT)
    box.set(xticks=[], yticks=[])
    box.spines[:].set_visible(False)
    box.text(0.012, 0.78, "Real motion, published pictures of flow", weight="bold", size=10, va="center")
    box.text(
        0.012, 0.48, f"STSTNet’s published weights in our network: {said}", color=_BLUE, size=9, va="center"
    )
    box.text(0.012, 0.2, _NOT_TRAINED, color=_WARNING, size=8.5, va="center")


def _dots(axes, rows):
    """A line per row, its name above it: the score, its interval, and what is printed, if anything."""
    for place, (name, row, colour) in enumerate(rows):
        level, above = [place, place], place - 0.22
        axes.plot([0, 100], level, color=_FAINT, lw=5, solid_capstyle="butt")
        axes.plot(
            [row["uar_low"], row["uar_high"]], level, color=colour, lw=5, alpha=0.4, solid_capstyle="butt"
        )
        axes.plot(row["uar"], place, "o", color=colour, ms=8, mec="white")
        axes.text(0, above, name, size=9, va="bottom")
        axes.text(
            100, above, f"{row['uar']:.1f}", size=9, va="bottom", ha="right", color=colour, weight="bold"
        )
        if row["uar_paper"] is not None:
            axes.plot(row["uar_paper"], place, "D", color=_ORANGE, ms=7, mec="white")
    ticks = range(0, 101, 25)
    axes.set(xlim=(0, 100), ylim=(len(rows) - 0.5, -0.85), yticks=[])
    axes.set_xticks(ticks, map(str, ticks), color=_MUTED, size=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
