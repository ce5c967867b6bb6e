"""Two published extractions of the same flow: how far they agree, and what one is worth for the other."""

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib.config import Datasets
from hsta_lib.data.readers.flow_images import FRAMES, VARIANTS, correlation
from hsta_lib.evaluation.fitted import NOT_FITTED
from hsta_lib.evaluation.intervals import score_interval
from hsta_lib.reporting.tables import HEADINGS, in_full, in_points, with_span
from hsta_lib.training import baseline_inputs

_SYSTEM = "STSTNet"
_CHANNELS = ("u", "v", "strain")
_SHOWN = ("uf1", "uar")


def cells(study):
    """STSTNet as published, trained on either extraction; for `hsta_lib.study.study.Study.prepare`."""
    rows = pd.DataFrame({"system": _SYSTEM, "train_on": list(VARIANTS)})
    most = Datasets(form="published", baseline_epochs=study.preset.datasets.baseline_epochs)
    return baseline_inputs.cells(rows, most).assign(**FRAMES)


def agreement(dataset):
    """How far the pictures of a clip agree, channel by channel.

    One row per ``channel``: quartiles over clips of the correlation of both pictures, ``lower``, ``median``,
    ``upper``; ``above half``, the percentage of clips with more than 0.5, and ``below zero``. ``dataset``: of
    both extractions, see `hsta_lib.data.readers.flow_images.read_both`.
    """
    pictures, names = dataset.flow(dataset.frames().shape[2]), dataset.clips["clip_id"]
    first, second = (pictures[names.str.endswith(f"/{name}").to_numpy()] for name in VARIANTS)
    found = np.array(
        [[correlation(a[..., i], b[..., i]) for i in range(3)] for a, b in zip(first, second, strict=True)]
    )
    table = pd.DataFrame(
        np.quantile(found, [0.25, 0.5, 0.75], axis=0).T, columns=["lower", "median", "upper"]
    )
    table.insert(0, "channel", _CHANNELS)
    return table.assign(
        **{"above half": 100 * (found > 0.5).mean(0), "below zero": 100 * (found < 0).mean(0)}
    )


def show_agreement(table):
    """The table of `agreement` for reading."""
    digits = dict.fromkeys(("lower", "median", "upper"), "{:.2f}")
    percent = dict.fromkeys(("above half", "below zero"), "{:.0f} %")
    return in_full(table).format(digits | percent)


def crossed(predictions):
    """All four cells, ``trained on`` and ``tested on``, and predictions under ids that both extractions have.

    ``predictions``: of `cells`, counted by the column ``cell``.
    """
    clip_ids, tested = (predictions["clip_id"].str.rpartition("/")[part] for part in (0, 2))
    ways = [(trained, other) for trained in VARIANTS for other in VARIANTS]
    numbers = {way: number for number, way in enumerate(ways)}
    trained = [list(VARIANTS)[cell] for cell in predictions["cell"]]
    number = [numbers[way] for way in zip(trained, tested, strict=True)]
    rows = predictions.assign(clip_id=clip_ids, cell=number).sort_values("cell", kind="stable")
    named = [[VARIANTS[name] for name in way] for way in ways]
    return pd.DataFrame(named, columns=["trained on", "tested on"]), rows.reset_index(drop=True)


def differences(cells, matrices):
    """What is lost on an extraction by training on the other, on the same clips.

    Columns: ``tested on`` and, in points, ``<metric>``, ``<metric>_low``, ``<metric>_high``: trained on the
    other, less trained on the same. Each interval is of one row alone. ``matrices`` (ndarray, shape (4,
    n_seeds, n_subjects, 3, 3)): of the ``cells`` from `crossed`.
    """
    rows = []
    for tested in VARIANTS.values():
        is_same = cells["trained on"] == cells["tested on"]
        weights = np.where(cells["tested on"] == tested, np.where(is_same, -1, 1), 0)
        rows.append({"tested on": tested, **in_points(score_interval(matrices, weights[None]))})
    return pd.DataFrame(rows)


def show_differences(table):
    """The table of `differences` for reading."""
    shown = {"tested on": table["tested on"]}
    rows = table.to_dict("records")
    for metric in _SHOWN:
        shown[f"{HEADINGS[metric]}, points"] = [with_span(row, metric, "+") for row in rows]
    caption = "trained on the other extraction, less trained on the same"
    return in_full(pd.DataFrame(shown)).set_caption(caption)


def conclude(agreement, differences, table):
    """What both tables come to, in sentences made from their numbers; ``table``: scores of `crossed`."""
    told = ", ".join(f"{row['channel']} {row['median']:.2f}" for row in agreement.to_dict("records"))
    lines = [f"- The two extractions of the same clips correlate by (medians) {told}."]
    for row in differences.to_dict("records"):
        other = next(name for name in VARIANTS.values() if name != row["tested on"])
        points = ", ".join(f"{HEADINGS[metric]} {with_span(row, metric, '+')}" for metric in _SHOWN)
        lines.append(
            f"- Tested on {row['tested on']}'s pictures, {_SYSTEM} trained on {other}'s differs from one "
            f"trained on the same ones by these points: {points}."
        )
    unfit = table[table["fit"] == NOT_FITTED].drop_duplicates("trained on")
    lines += [
        f"- By our rule {_SYSTEM} has not fitted on {row['trained on']}'s pictures: its loss is "
        f"{row['loss_share']:.0f} % of a constant prediction's, in the worst training "
        f"{row['loss_share_worst']:.0f} %. More epochs than its published recipe has may change these points."
        for row in unfit.to_dict("records")
    ]
    return Markdown("\n".join(lines))


def references(study, dataset, folds):
    """Predictions that need no picture, by name; each clip once, under the ids of `crossed`."""
    rows = {}
    for name, predictions in study.blind_predictions(dataset, folds).items():
        once = predictions[predictions["clip_id"].str.endswith(f"/{next(iter(VARIANTS))}")]
        rows[name] = once.assign(clip_id=once["clip_id"].str.rpartition("/")[0])
    return rows


def summarise(agreement, differences):
    """Both tables in one, for the record."""
    return pd.concat([agreement.set_index("channel"), differences.set_index("tested on")])
