"""The figure of README: real faces without a picture, the synthetic control with its ceiling, real motion."""

import io
import json
from typing import NamedTuple

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from hsta_lib import ROOT
from hsta_lib.audit import lists
from hsta_lib.evaluation import fitted
from hsta_lib.reporting.tables import LINEAR

_REPORTS = ROOT / "reports"
PATH = _REPORTS / "summary.svg"
_REPRODUCED = _REPORTS / "real-reproduce.json"
_BLUE, _ORANGE, _GREEN = (mpl.colors.to_hex(colour) for colour in sns.color_palette("colorblind")[:3])
_INK, _MUTED, _FAINT, _WARNING = "#1d2125", "#5a636b", "#eceff1", "#9a5b00"
_LEFT, _RIGHT = 0.02, 0.54  # where the columns begin, in widths of the figure
# Rows of the control by their names in the record: what the figure calls them, and their colour.
_ROWS = {
    "majority class": ("chance: always the most frequent class", _MUTED),
    "labels shuffled": ("HSTA trained on shuffled labels", _MUTED),
    "mean of all 30 settings": ("HSTA, mean over the settings of Table 4", _BLUE),
    "named setting (M = 4, L_v = 2, L_s = 1)": ("HSTA, the setting that the paper chose", _BLUE),
    LINEAR: ("linear model, apex less onset", _GREEN),
    "linear model on the true motion": ("linear model, true motion known", _GREEN),
    "ceiling: true action units known": ("ceiling, true action units known", _GREEN),
}
# A sentence stands where results are not there yet.
_NOT_FITTED = (
    "These networks have not fitted: they trained too few steps.\nA control that has fitted is not there yet."
)
_FITTED = "All networks of Table 4 have fitted."
_NOT_TRAINED = "Published systems trained anew on these pictures are not there yet."
_MARKS = [
    ("● UAR, %, and its 95 % interval over subjects", _BLUE), ("◆ printed for HSTA", _WARNING),
    ("● UF1, %, last epoch, 95 % interval", _BLUE), ("○ best epoch of each test subject", _BLUE),
    ("◆ published; an arrow where ours reaches it, evaluated as there", _WARNING),
]  # fmt: skip
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "summary", "text.color": _INK, "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "DejaVu Sans"],
}  # fmt: skip


class _Row(NamedTuple):
    """A score and its interval, in percent; beside them what is printed, and the score by the best epochs."""

    name: str
    value: float
    low: float
    high: float
    colour: str
    printed: float | None = None
    best: float | None = None
    arrow: bool = False


def record_of(name):
    """The committed record of a study on synthetic faces, by its notebook's name."""
    (path,) = paths_of(name)
    return json.loads(path.read_text())


def paths_of(name):
    """Where that record lies; none if there is none. One of other parameters than the preset's is another."""
    paths = _REPORTS.glob(f"{name}-study-synthetic-*.json")
    return [path for path in paths if "-custom-" not in path.name]


def has_fitted(record):
    """Whether all rows of a record are known to have fitted, but those that read no pixels."""
    return {row.get("fit") for row in record["cells"]} <= {fitted.FITTED, fitted.NO_PIXELS}


def draw():
    """The figure as SVG text, from the committed records; equal records give equal text."""
    honest = list(_published_and_ours())
    heights = 4.25, 1.05 + 0.46 * ((len(honest) + 1) // 2) + 0.5 * bool(honest)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, sum(heights)), facecolor="white")
        top, bottom = figure.subfigures(2, 1, height_ratios=heights, hspace=0)
        _heading(top, _LEFT, "Real clips, no picture", "What a clip’s film or recording alone gives away")
        _key(top, 0.79, (_LEFT, 0.335), _MARKS[:2])
        _dots(top.add_axes((_LEFT, 0.08, 0.44, 0.67)), list(_given_away()))
        _heading(top, _RIGHT, "Synthetic faces, a control", "Never evidence about real faces")
        record = record_of("table4")
        said = (_FITTED, _MUTED) if has_fitted(record) else (_NOT_FITTED, _WARNING)
        top.text(_RIGHT, 0.79, said[0], color=said[1], va="center", size=8.5, linespacing=1.35)
        _dots(top.add_axes((_RIGHT, 0.08, 0.44, 0.67)), list(_known(record)))
        _real_motion(bottom, heights[1], honest)
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _given_away():
    """Predictors that see no picture, on the authors' lists."""
    for row in json.loads(lists.RECORD.read_text())["rows"]:
        protocol = row["protocol"].replace("'", "’").removesuffix(" in training")
        yield _row(f"{protocol}: {row['predictor']}", row, "uar", _BLUE)._replace(printed=row["uar_paper"])


def _known(record):
    """Rows of the control, without the printed scores, which are of real faces."""
    rows = record["summary"] | record["references"]
    for name, (called, colour) in _ROWS.items():
        yield _row(called, rows[name], "uar", colour)


def _published_and_ours():
    """Published networks and HSTA's special branch, trained anew on published pictures; none without them."""
    for path in _REPORTS.glob("real-honest-study-*.json"):
        rows = [row for row in json.loads(path.read_text())["cells"] if "(gamma" not in row["system"]]
        for last, best in zip(rows[::2], rows[1::2], strict=True):  # see `honest.predictions`
            published = last["uf1_published"]
            as_there = next((row for row in (last, best) if row["as_published"]), last)
            reached = published is not None and published <= as_there["uf1_high"]
            unfit = ", not fitted" * (last.get("fit") == fitted.NOT_FITTED)
            row = _row(last["system"] + unfit, last, "uf1", _BLUE)
            yield row._replace(printed=published, best=best["uf1"], arrow=reached)


def reproduced():
    """How many predictions of STSTNet's published weights equal its authors' log, as ``n of n``."""
    record = json.loads(_REPRODUCED.read_text())
    equal = max(row["equal"] for name, row in record["rows"].items() if name.startswith("their weights"))
    return f"{equal} of {record['n_clips']}"


def _row(name, row, metric, colour):
    return _Row(name, *(row[metric + end] for end in ("", "_low", "_high")), colour)


def _heading(figure, x, title, subtitle):
    figure.text(x, 0.92, title, weight="bold", size=13)
    figure.text(x, 0.86, subtitle, color=_MUTED, size=9.5)


def _key(figure, y, places, marks):
    """What the marks mean."""
    for x, (meaning, colour) in zip(places, marks, strict=True):
        figure.text(x, y, meaning, color=colour, va="center", size=8.5)


def _real_motion(figure, height, honest):
    """Published weights on published pictures of flow, HSTA on them, and published networks trained anew."""
    said = f"{reproduced()} predictions equal its authors’ log."
    told = {"color": _BLUE, "size": 9}
    lines = [
        ("Real motion, published pictures of flow", {"weight": "bold", "size": 10}),
        (f"STSTNet’s published weights, in our STSTNet: {said}", told),
    ]
    for path in _REPORTS.glob("real-table4-study-*.json"):
        record = json.loads(path.read_text())
        name, row = next(item for item in record["summary"].items() if item[0].startswith("mean of all"))
        score = f"UAR {row['uar']:.1f} %, 95 % interval {row['uar_low']:.1f} to {row['uar_high']:.1f}"
        chance = f"chance {100 / len(record['classes']):.1f}"
        lines.append((f"HSTA trained on them, {name} of Table 4, folds by subject: {score}; {chance}.", told))
    if not honest:
        lines.append((_NOT_TRAINED, {"color": _WARNING, "size": 8.5}))
    box = figure.add_axes((_LEFT, 0.14 / height, 0.96, 1 - 0.14 / height), facecolor=_FAINT)
    box.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(height - 0.14, 0))  # in inches, from above
    box.spines[:].set_visible(False)
    for number, (line, style) in enumerate(lines):
        box.text(0.012, 0.17 + 0.205 * number, line, va="center", **style)
    if honest:
        _key(figure, 1 - 0.93 / height, (0.035, 0.27, 0.52), _MARKS[2:])
        half = (len(honest) + 1) // 2
        for x, rows in ((0.035, honest[:half]), (_RIGHT, honest[half:])):
            place = x, 0.42 / height, 0.425, 0.46 * half / height
            _dots(figure.add_axes(place, facecolor="none"), rows, "white", half)


def _dots(axes, rows, ground=_FAINT, n_places=0):
    """A line per row, its name above it: the score, its interval, what is beside it; room for more rows."""
    for place, row in enumerate(rows):
        level, above = [place, place], place - 0.22
        axes.plot([0, 100], level, color=ground, lw=5, solid_capstyle="butt")
        axes.plot([row.low, row.high], level, color=row.colour, lw=5, alpha=0.4, solid_capstyle="butt")
        if row.best is not None:
            axes.plot(row.best, place, "o", color=row.colour, mfc="white", ms=6)
        axes.plot(row.value, place, "o", color=row.colour, ms=8, mec="white")
        axes.text(0, above, row.name, size=9, va="bottom")
        axes.text(
            100, above, f"{row.value:.1f}", size=9, va="bottom", ha="right", color=row.colour, weight="bold"
        )
        if row.printed is not None:
            axes.plot(row.printed, place, "D", color=_ORANGE, ms=7, mec="white")
        if row.arrow:
            ends = (row.value, place), (row.printed, place)
            axes.annotate(
                "", *ends, arrowprops={"arrowstyle": "-|>", "color": _ORANGE, "lw": 1.8, "shrinkB": 5}
            )
    ticks = range(0, 101, 25)
    axes.set(xlim=(0, 100), ylim=(max(n_places, len(rows)) - 0.5, -0.85), yticks=[])
    axes.set_xticks(ticks, map(str, ticks), color=_MUTED, size=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
