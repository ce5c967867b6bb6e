"""Table 5: SMIC, SAMM and CASME II, each trained on alone and as the MEGC2019 union, scored one by one."""

import re

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib.data.readers import flow_images
from hsta_lib.evaluation.intervals import score_interval
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.reporting.tables import HEADINGS, in_points, off_zero, styled, with_span
from hsta_lib.study import published
from hsta_lib.training.trials import NAMED_CELL

# As the paper writes them, in its order, and how their clips' ids begin.
SOURCES = {"SMIC": "smic", "SAMM": "samm", "CASME II": "casme2"}
UNION = "all three"
_SCORE = f"^({'|'.join(METRICS)})"
TRAIN_ON = ("own", "composite")
# HSTA on pictures of flow: the video branch reads nothing and is not connected.
_SPECIAL_ALONE = {"l_v": 0, "csta": False}
_SIZES = {"n_micro": 576, "n_subjects": 68}  # with which the generated union is as large as MEGC2019's


def union(study):
    """The study on the union of the three datasets, in three classes.

    ``study``: with ``dataset`` megc2019, megc2019_flow or synthetic, which is then written in three layouts.

    Raises
    ------
    ValueError
        If the dataset is another one or the labels are not emotion3.
    """
    chosen = study.parameters
    known = chosen.dataset in ("synthetic", "megc2019", "megc2019_flow")
    if not known or chosen.variant not in ("", "megc2019", *flow_images.VARIANTS):
        raise ValueError(
            f"notebook parameters: dataset = {chosen.dataset!r}, variant = {chosen.variant!r}: Table 5 is "
            "about the union of CASME II, SMIC and SAMM; choose megc2019, with data_root the folder that "
            "holds the three, megc2019_flow or synthetic"
        )
    if chosen.layout == "synthetic":
        sizes = study.preset.synthetic.model_dump()
        most = {} if study.preset.holdout else {name: min(sizes[name], size) for name, size in _SIZES.items()}
        study = study.variant(variant="megc2019", labels="emotion3", synthetic=most)
    elif chosen.labels != "emotion3":
        raise ValueError(f"notebook parameters: labels = {chosen.labels!r}: the union has only emotion3")
    return published.reduced(study)


def cells(shows_flow=False):
    """Rows of the table: the named setting, trained on each dataset alone and on the union.

    ``shows_flow``: pictures of flow instead of frames: the special branch alone sees them.
    """
    rows = {"system": "HSTA", "train_on": list(TRAIN_ON), **NAMED_CELL}
    if shows_flow:
        rows |= {"system": published.SPECIAL_BRANCH, **_SPECIAL_ALONE}
    return pd.DataFrame(rows)


def count_clips(dataset):
    """Tested clips of each class and subjects of each of the three datasets.

    Raises
    ------
    ValueError
        If one of them is missing.
    """
    clips = dataset.tested
    rows = {}
    for name in SOURCES:
        of_dataset = of_source(clips, name)
        counts = np.bincount(of_dataset["label"], minlength=len(dataset.classes))
        subjects = of_dataset["subject_id"].nunique()
        rows[name] = {**dict(zip(dataset.classes, counts, strict=True)), "subjects": subjects}
    counted = pd.DataFrame(rows).T
    missing = counted.index[counted["subjects"] == 0]
    if len(missing):
        raise ValueError(
            f"data_root: there is no clip of {' and '.join(missing)}; Table 5 is about the union of "
            f"{', '.join(SOURCES)}"
        )
    return counted


def of_source(predictions, dataset):
    """The rows of predictions that are of one dataset's clips, or all for `UNION`."""
    if dataset == UNION:
        return predictions
    if dataset not in SOURCES:
        raise ValueError(
            f"dataset = {dataset!r} is not part of the union; choose one of {', '.join(SOURCES)}"
        )
    return predictions[predictions["clip_id"].str.startswith(f"{SOURCES[dataset]}/")]


def by_source(rows):
    """Predictions of reference rows, apart for each of three datasets; for `published.score_references`."""
    return {
        dataset: {name: of_source(predictions, dataset) for name, predictions in rows.items()}
        for dataset in SOURCES
    }


def score(cells, predictions, n_classes):
    """Scores on each dataset and on all three together, over all classes of the protocol.

    Parameters
    ----------
    cells : DataFrame
        From `cells`; rows of other systems may follow.
    predictions : DataFrame
        Of these rows, counted by the column ``cell``; ids of clips begin with their dataset's.

    Returns
    -------
    table : DataFrame
        As from `hsta_lib.study.published.score`, with ``dataset``.
    matrices : dict of str to ndarray
        Of each dataset, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes).
    """
    tables, matrices = [], {}
    for dataset in (*SOURCES, UNION):
        table, matrices[dataset] = published.score(cells, of_source(predictions, dataset), n_classes)
        table.insert(1, "dataset", dataset)
        tables.append(table)
    return pd.concat(tables, ignore_index=True), matrices


def differences(cells, matrices):
    """What training on the union adds to training on the tested dataset alone.

    One row per dataset and system that was trained both ways: ``system, dataset`` and, for each metric,
    ``<metric>``, ``<metric>_low``, ``<metric>_high``, in points; see `intervals.score_interval`. Intervals
    are not corrected for their number.

    Parameters
    ----------
    cells : DataFrame
        With ``system`` and ``train_on``.
    matrices : dict of str to ndarray
        From `score`; both sides of a difference are of the same clips.
    """
    rows = []
    for dataset, of_dataset in matrices.items():
        for system, group in cells.reset_index(drop=True).groupby("system", sort=False):
            places = {train_on: place for place, train_on in group["train_on"].items()}
            if set(places) >= set(TRAIN_ON):
                weights = np.zeros((1, len(cells)))
                weights[0, [places[train_on] for train_on in TRAIN_ON]] = -1, 1
                found = score_interval(of_dataset, weights)
                rows.append({"system": system, "dataset": dataset, **in_points(found)})
    return pd.DataFrame(rows)


def show_differences(table):
    """The table of `differences` for reading."""
    shown = table[["system", "dataset"]].copy()
    rows = table.to_dict("records")
    for metric in published.SHOWN:
        shown[f"{HEADINGS[metric]}, points"] = [with_span(row, metric, "+") for row in rows]
    return styled(shown).set_caption("trained on the union, less on the dataset alone")


def with_differences(table, differences):
    """Scores and ``<metric>_less_own`` and its ends, in points, where there is a difference: for records."""
    names = {name: re.sub(_SCORE, r"\1_less_own", name) for name in differences}
    return table.merge(differences.rename(columns=names).assign(train_on="composite"), how="left")


def conclude_differences(table):
    """On which datasets the union helps or harms by more than chance, in sentences."""
    lines = []
    for metric in published.SHOWN:
        is_off, is_higher = off_zero(table, metric), table[f"{metric}_low"] > 0
        better, worse = (table.loc[is_off & higher, "dataset"] for higher in (is_higher, ~is_higher))
        lines.append(
            f"- {HEADINGS[metric]}, training on the union: higher on {_listed(better)}, lower on "
            f"{_listed(worse)}; {len(table) - len(better) - len(worse)} of {len(table)} differences could be "
            "chance, each looked at by itself."
        )
    return Markdown("\n".join(lines))


def _listed(names):
    return ", ".join(names) or "none"
