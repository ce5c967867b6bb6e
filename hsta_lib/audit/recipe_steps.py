"""From the paper's equations to the released code, one difference at a time: size, cost and scores."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import config
from hsta_lib.evaluation.fitted import NOT_FITTED
from hsta_lib.evaluation.intervals import score_interval
from hsta_lib.reporting import tables
from hsta_lib.training import cost

# Differences that are no part of the recipe, each tried alone.
_FURTHER = {
    "special data: pictures of tracks": {"special": "tracks"},
    "special data: dense optical flow": {"special": "flow"},
}
EQUATIONS, CUMULATIVE, ALONE = "equations", "cumulative", "alone"


class Stop(NamedTuple):
    """One network and its training: the step that was taken, alone or after all before it."""

    step: str
    way: str
    settings: config.Settings


def stops(settings):
    """The equations, each of `RELEASED_STEPS` cumulatively (last ``released``) and alone; special data."""
    found, reached = [Stop(EQUATIONS, EQUATIONS, settings)], settings
    for step, fields_of in config.RELEASED_STEPS.items():
        reached = config.with_fields(reached, **fields_of(reached))
        alone = config.with_fields(settings, **fields_of(settings))
        found += [Stop(step, CUMULATIVE, reached), Stop(step, ALONE, alone)]
    return found + [
        Stop(step, ALONE, config.with_fields(settings, **fields)) for step, fields in _FURTHER.items()
    ]


def prepare(study):
    """The stops, trials of each, and a dataset for each way to choose and show frames.

    The first cell of the study's grid is where the walk begins, by the equations whatever its recipe.

    Raises
    ------
    ValueError
        If the study has no grid.
    """
    study = study.variant(recipe="equations")
    base = config.with_fields(study.settings, **study.cells().iloc[0].to_dict())
    found = stops(base)
    opened = {}
    for stop in found:
        if stop.settings.frames not in opened:
            fields = stop.settings.frames.model_dump()
            opened[stop.settings.frames] = study.variant(fields=fields).open_dataset()
    trials = [study.trials_of([stop.settings], opened[stop.settings.frames])[0] for stop in found]
    return found, trials, list(opened.values())


def score(found, trials, study, n_classes):
    """Size, cost and scores of every stop, and what sets it apart from the equations.

    ``step, way, parameters, mflop``, the columns of `hsta_lib.reporting.tables.score_table`, and
    ``<metric>_change`` with ``_low`` and ``_high``, in points, see `intervals.score_interval`. ``trials``, of
    each stop ``found``, are trained; both are from `prepare`.
    """
    sizes = [cost.parameters_and_flops(stop.settings, n_classes) for stop in found]
    cells = pd.DataFrame(
        {
            "step": [stop.step for stop in found],
            "way": [stop.way for stop in found],
            "parameters": [n for n, _ in sizes],
            "mflop": [flops / 1e6 for _, flops in sizes],
        }
    )
    scored, matrices = tables.score_table(cells, study.predictions(trials), n_classes)
    from_equations = np.eye(len(found))
    from_equations[:, 0] -= 1
    change = score_interval(matrices, from_equations)
    return scored.assign(**tables.in_points(change, "_change", slice(None)))


def show(table):
    """The table of `score` for reading: the walk, then every step alone."""
    shown = table[["step", "way"]].copy()
    shown["parameters"] = table["parameters"].map("{:,}".format)
    shown["MFLOP per clip"] = table["mflop"].map("{:,.1f}".format)
    for metric in ("uar", "uf1"):
        name = tables.HEADINGS[metric]
        shown[f"{name}, %"] = table[metric].map("{:.1f}".format)
        changes = [_change(row, metric) for row in table.to_dict("records")]
        shown[f"{name}, change in points"] = np.where(table["way"] == EQUATIONS, "–", changes)
    shown["fit"] = table.get("fit", "")
    order = shown["way"].map([EQUATIONS, CUMULATIVE, ALONE].index).argsort(kind="stable")
    return tables.in_full(shown.iloc[order]).set_table_styles(tables.NOWRAP)


def conclude(table):
    """Where the walk ends, and which single steps have an interval without zero; of networks that fitted."""
    unfit = (table["fit"] == NOT_FITTED) if "fit" in table else pd.Series(False, index=table.index)
    if unfit[table["way"] == EQUATIONS].any():
        return Markdown("- The equations' own networks have not fitted, so that no step is decided.")
    last, lines = table[table["way"] == CUMULATIVE].iloc[-1], []
    for way, which in ((ALONE, "each alone"), (CUMULATIVE, "all up to each together")):
        rows, left_out = (table[(table["way"] == way) & kind] for kind in (~unfit, unfit))
        told = [(row["step"], tables.told_off_zero(row, "change")) for row in rows.to_dict("records")]
        shown = [f"{'up to ' * (way == CUMULATIVE)}{step} ({change})" for step, change in told if change]
        changed = f", in points: {'; '.join(shown)}" if shown else ""
        others = f" **Not fitted** and left out: {'; '.join(left_out['step'])}." if len(left_out) else ""
        lines.append(
            f"- **Steps from equations to released code, {which}**: zero lies outside an interval, of UAR or "
            f"UF1, of {len(shown)} of the {len(told)} that fitted{changed}.{others}"
        )
    if not unfit[last.name]:
        changes = f"UAR by {_change(last, 'uar')} and UF1 by {_change(last, 'uf1')} points"
        lines.append(f"- All steps together, which is the released code, change {changes}.")
    else:
        lines.append("- All steps together, which is the released code, have not fitted: it is not judged.")
    lines.append("- Of steps that change nothing, one interval in twenty misses zero by chance.")
    return Markdown("\n".join(lines))


def _change(row, metric):
    return tables.with_span(row, f"{metric}_change", "+")
