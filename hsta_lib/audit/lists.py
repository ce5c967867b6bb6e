"""What the audit's cells call: the paper against itself, the released lists, and what they give away."""

import json
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import ROOT, config
from hsta_lib.data.dataset import read_dataset
from hsta_lib.data.overlap import COUNTS, overlap
from hsta_lib.data.readers import authors_lists
from hsta_lib.data.splits import Fold, make_folds
from hsta_lib.data.synthetic import population
from hsta_lib.data.table import class_names, labelled
from hsta_lib.evaluation import pixel_free
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.files import write_whole
from hsta_lib.paper import load_table
from hsta_lib.paper_check import findings
from hsta_lib.paper_check.fold_means import fold_range
from hsta_lib.paper_check.noise import table4_noise
from hsta_lib.paper_check.possible import uf1_range
from hsta_lib.reporting import tables
from hsta_lib.training import cost, store

RECORD = ROOT / "reports" / "audit-lists.json"
# The two predictors that sentences are made of, chosen before any score was seen: by whether training has
# other clips of the same recording.
_NAMED = {True: "recording", False: "film"}
_LOSO = "leave one subject out"


class Division(NamedTuple):
    """Clips divided for training and test, without pixels.

    ``printed``: the paper's scores for HSTA under that protocol, by metric, empty where it has none;
    ``printed_where``: where it prints them. ``is_list``: whether overlap is worth counting.
    """

    clips: pd.DataFrame
    folds: list[Fold]
    n_classes: int
    printed: dict
    printed_where: str
    is_list: bool


# --- the paper against itself -----------------------------------------------------------------------------


def noise():
    """Table 4's spread beside noise; see `hsta_lib.paper_check.noise.table4_noise`."""
    return table4_noise(findings.COUNTS["CAS(ME)^3, 7 classes"])


def check_pairs():
    """Pairs of UF1 and UAR of Tables 5 and 6, checked; see `hsta_lib.paper_check.findings.check_pairs`."""
    return findings.check_pairs(findings.reported_pairs(), findings.COUNTS, findings.SUBJECTS)


def find(pairs, spread):
    """All findings about the paper, from `check_pairs` and `noise`; see `findings.findings`."""
    released = config.as_released(config.Settings())
    flops = cost.flops_of_plain_csta(released, len(class_names(released.labels)))
    return findings.findings(pairs, spread, gmac=flops / 2e9)


def show_findings(found):
    """Findings as a table for reading."""
    headings = {
        "where": "item",
        "printed": "what is printed",
        "follows": "what follows",
        "innocent": "best innocent explanation",
    }
    return tables.in_full(found.rename(columns=headings))


def conclude_findings(found, pairs):
    """How many findings of each kind there are, and what was found to be in order."""
    counts = found["kind"].value_counts().reindex(findings.KINDS, fill_value=0)
    kinds = ", ".join(f"{n} {kind}" for kind, n in counts.items())
    possible, agree = pairs["possible"].eq(True), findings.shared_cells()["agree"]
    lines = [
        f"- Findings: {kinds}. *Inherited* ones are slips of other works and not charged to this one.",
        f"- In order: {possible.sum()} of the {len(pairs)} pairs of UF1 and UAR in Tables 5 and 6 are "
        f"possible as pooled scores, and {agree.sum()} of the {len(agree)} scores that several tables share "
        "agree.",
    ]
    return Markdown("\n".join(lines))


def attainable(dataset="SMIC"):
    """UF1 that each UAR allows: pooled, and as a mean over left-out subjects.

    Columns ``uar, low, high, folds_low, folds_high``, in percent. The second range counts the classes a
    subject shows; it is a bound, the first is exact.
    """
    rows = []
    for uar in np.arange(40.0, 100.1, 1):
        means = fold_range(findings.SUBJECTS[dataset], uar, absent="left out")
        rows.append((uar, *uf1_range(findings.COUNTS[dataset], uar), *means))
    return pd.DataFrame(rows, columns=["uar", "low", "high", "folds_low", "folds_high"]).dropna()


# --- the released lists -----------------------------------------------------------------------------------


def divisions(study):
    """The authors' lists if their folder is given, else the dataset's clips, in the divisions of the paper.

    ``lists_root`` of the study's parameters decides. Without it: the dataset at ``data_root``, or the
    synthetic benchmark, once with labels that depend on the action units alone and once tied to film and
    recording. No image is read.
    """
    parameters = study.parameters
    if parameters.lists_root:
        return _of_lists(parameters.lists_root)
    if not study.is_synthetic:
        _, reading = read_dataset(parameters, study.preset, config.data_dir())
        return _of_clips(study, labelled(reading.clips, parameters.labels), parameters.dataset)
    found = {}
    for name, strength in (("labels not tied", 0), ("labels tied", 1)):
        spec = study.preset.synthetic.model_copy(update={"tied_labels": strength})
        clips = population.sample_clips(spec).assign(dataset="synthetic")
        clips = labelled(clips[clips["expression_type"] == "micro"], parameters.labels)
        found |= _of_clips(study, clips, name)
    return found


def _of_lists(root):
    emotion = authors_lists.read(root)
    objective = authors_lists.read(root, labels="objective")
    macro = authors_lists.read(root, labels="objective", macro=True)
    seven, three = (labelled(emotion.clips, name) for name in ("emotion7", "emotion3"))
    best = "best of {}, score by score".format
    return {
        "emotions, authors' folds": _listed(emotion, "emotion7", "table4", "m > 0", best("Table 4")),
        f"emotions, {_LOSO}": _loso(seven, 7, "n_classes == 7"),
        f"three classes, {_LOSO}": _loso(three, 3, "n_classes == 3"),
        "objective classes, authors' folds": _listed(
            objective, "objective7", "table7", "objective_classes and not macro_expressions", "Table 7"
        ),
        "objective classes, authors' folds, macro clips in training": _listed(
            macro, "objective7", "table7", "macro_expressions", best("Table 7's two")
        ),
    }


def _listed(lists, labels, table, rows, where):
    matched = authors_lists.match(lists, labelled(lists.clips, labels))
    printed = load_table(table).query(rows).reindex(columns=METRICS).max().to_dict()
    return Division(matched.clips, matched.folds, len(class_names(labels)), printed, where, is_list=True)


def _loso(clips, n_classes, rows):
    printed = load_table("table6").query(f"method == 'HSTA' and {rows}")[["uar", "uf1"]].iloc[0].to_dict()
    folds = make_folds(clips, split="loso", n_folds=0, stratify=False, split_seed=0)
    return Division(clips, folds, n_classes, printed, "Table 6", is_list=False)


def _of_clips(study, clips, name):
    """Random folds over clips, as in the paper's ablations, and one subject left out."""
    n_classes = len(class_names(study.parameters.labels, study.parameters.dataset))
    settings = study.settings.split.model_dump()
    kinds = {"random folds over clips": "paper", _LOSO: "loso"}
    return {
        f"{name}, {words}": Division(
            clips, make_folds(clips, **{**settings, "split": split}), n_classes, {}, "", split == "paper"
        )
        for words, split in kinds.items()
    }


def describe_source(study):
    """What parts two and three look at, in words that cannot be mistaken."""
    if study.parameters.lists_root:
        return Markdown(
            "**The authors' public lists of CAS(ME)³: a result about real data.** Clips, folds and labels "
            "are theirs; no image is read, so it is about labels and protocols, not about any network."
        )
    missing = (
        "The authors' lists were not given (parameter `lists_root`, a clone of OceanSummerDay/HSTA_MER). "
    )
    if not study.is_synthetic:
        return Markdown(f"{missing}What follows is about `{study.parameters.dataset}`, in random folds.")
    return Markdown(
        f"{missing}**What follows is about the synthetic benchmark** and shows what was planted there: "
        "labels that depend on nothing but the emotion shown, and labels tied to film and recording as in "
        "the real lists."
    )


def overlaps(found):
    """Test clips of each fold that training has clips near to; see `hsta_lib.data.overlap.overlap`."""
    parts = {
        name: overlap(division.clips, division.folds) for name, division in found.items() if division.is_list
    }
    table = pd.concat(parts, names=["folds"])
    numbered = {fold: fold if fold == "all" else fold + 1 for fold in table.index.unique("fold")}
    return table.rename(index=numbered, level="fold")


def conclude_overlap(found):
    """What share of test clips training has seen clips near to, and what random folds would give."""
    table, lines = overlaps(found), []
    for name in table.index.unique("folds"):
        n_clips, *near = table.loc[name].iloc[-1][
            ["test clips", *COUNTS[:3]]
        ]  # all training clips, all folds
        subject, recording, frame = (f"{count} ({100 * count / n_clips:.1f} %)" for count in near)
        line = (
            f"- **{name}**: of {n_clips} test clips {subject} have a clip of their subject in training, "
            f"{recording} one of their recording, and {frame} one that shares a frame with them."
        )
        if found[name].printed:
            line += f" Random folds of micro clips would give about {_expected(found[name]):.0f} the first."
        lines.append(line)
    return Markdown("\n".join(lines))


def _expected(division):
    """Test clips whose subject random folds over clips, of the same sizes, would have in training too."""
    subjects = division.clips.loc[division.clips["expression_type"] == "micro", "subject_id"]
    n, fold = len(subjects), round(len(subjects) / len(division.folds))
    # All other clips of a subject lie in the test fold with one of them.
    alone = sum(k * comb(fold - 1, k - 1) / comb(n - 1, k - 1) for k in subjects.value_counts())
    return n - alone


# --- what they give away without a picture ----------------------------------------------------------------


def pixel_free_scores(found):
    """Scores of predictors that see no pixels, with intervals over subjects, beside the paper's.

    ``protocol``, ``predictor``, and the columns of `tables.score_rows` with ``<metric>_paper``. Predictors by
    subject or recording are left out where no subject is on both sides: they would be the majority class.
    ``found``: from `divisions`.
    """
    parts = []
    for name, division in found.items():
        rows = pixel_free.rows(division.clips, division.folds)
        scored = tables.score_rows(rows, division.n_classes)
        paper = {f"{metric}_paper": division.printed.get(metric, np.nan) for metric in METRICS}
        parts.append(scored.rename_axis("predictor").reset_index().assign(protocol=name, **paper))
    return pd.concat(parts, ignore_index=True)


def show_pixel_free(scored):
    """The table of `pixel_free_scores` for reading."""
    return tables.show(
        scored, keys=["protocol", "predictor"], caption="paper: HSTA as printed for that protocol"
    )


def conclude_pixel_free(found, scored):
    """What one predictor per protocol, named beforehand, reaches beside the paper's score."""
    lines = []
    for name, division in found.items():
        rows = scored[scored["protocol"] == name].set_index("predictor")
        named = _NAMED[pixel_free.share_subjects(division.clips, division.folds)]
        if named not in rows.index:
            continue
        reached = "; ".join(_beside(rows.loc[named], metric) for metric in ("uar", "uf1"))
        where = f" HSTA: {division.printed_where}." if division.printed else ""
        lines.append(f"- **{name}**, `{named}` alone: {reached}.{where}")
    lines += [line for name, division in found.items() for line in _rarest(name, division)]
    lines.append("- This says what labels and protocols allow. It does not say what any network uses.")
    return Markdown("\n".join(lines))


def answer(found, scored):
    """What the predictors named beforehand reach without a picture, beside the printed scores."""
    told, printed = [], []
    for name, division in found.items():
        predictor = _NAMED[pixel_free.share_subjects(division.clips, division.folds)]
        rows = scored[(scored["protocol"] == name) & (scored["predictor"] == predictor)]
        printed.append(rows.dropna(subset="uar_paper"))
        for row in rows.to_dict("records"):
            reached = "; ".join(_beside(row, metric) for metric in ("uar", "uf1"))
            told.append(f"\n  - {name}, `{predictor}` alone: {reached}.")
    none = " This data has neither of the keys named beforehand, a recording of several clips or the film."
    opened, printed = "Without any picture.", pd.concat(printed)
    if len(printed):
        above = (printed["uar_low"] > printed["uar_paper"]).sum()
        below = (printed["uar_high"] < printed["uar_paper"]).sum()
        opened = (
            "Without any picture, a clip's film or recording has an interval of UAR that lies above the one "
            f"printed for HSTA in {above} of {len(printed)} protocols, and contains it in "
            f"{len(printed) - above - below}."
        )
    return Markdown(f"- **{opened}**{''.join(told) or none}")


def _rarest(name, division):
    """A warning if a class is of a single recording, which makes the intervals of its scores long."""
    tested = division.clips.iloc[np.concatenate([fold.test for fold in division.folds])]
    label = tested["label"].value_counts().idxmin()
    rarest = tested[tested["label"] == label]
    if rarest["recording_id"].nunique() == 1:
        yield (
            f"- {name}: the rarest class has {tables.counted(len(rarest), 'test clip')}, all of one "
            "recording. Without that subject the class counts 0, so the intervals are wide."
        )


def _beside(row, metric):
    low, high, paper = (row[f"{metric}_{end}"] for end in ("low", "high", "paper"))
    text = f"{tables.HEADINGS[metric]} {tables.with_span(row, metric, unit='%')}"
    if np.isnan(paper):
        return text
    place = "above" if low > paper else "below" if high < paper else "containing"
    return f"{text}, an interval {place} the printed {paper:.1f}"


def record(study, found, scored):
    """Write the named predictors' scores on the authors' lists beside the report, for the README.

    Returns what was written, in words. Scores on other data are not written: they are in the report.
    """
    if not study.parameters.lists_root:
        return "nothing written: these are not the authors' lists"
    named = {
        name: _NAMED[pixel_free.share_subjects(division.clips, division.folds)]
        for name, division in found.items()
    }
    rows = scored[scored["predictor"] == scored["protocol"].map(named)]
    rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
    content = {"commit": store.code_version(), "preset": study.preset_name, "rows": rows}
    path = config.records_dir() / RECORD.name
    write_whole(path, json.dumps(content, indent=1) + "\n")
    return f"numbers written to {config.shown_path(path)}"
