"""What the paper's printed numbers and sentences do not allow, do not support, or leave out."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib import paper
from hsta_lib.evaluation.metrics import METRICS, scores
from hsta_lib.paper import load_subjects, load_table
from hsta_lib.paper_check.claims import SUPPORTED, all_claims, decide_printed
from hsta_lib.paper_check.fold_means import ABSENT, folds_with
from hsta_lib.paper_check.noise import EIGHT, product_of_eight
from hsta_lib.paper_check.possible import AVERAGES, check_counts, is_possible, is_small, uf1_range

# Clips of each class by subject, in the three datasets that are scored leaving one out.
SUBJECTS = {
    name: [clips for _, clips in rows] for name, rows in load_subjects().items() if name != "CAS(ME)^3"
}
# The same of all subjects. CAS(ME)^3 from the authors' sheet (v2): negative, positive, surprise; disgust,
# surprise, others, fear, anger, sad, happy.
COUNTS = {name: tuple(map(sum, zip(*subjects, strict=True))) for name, subjects in SUBJECTS.items()} | {
    "CAS(ME)^3, 3 classes": (457, 55, 187),
    "CAS(ME)^3, 3 classes, HTNet's list": (449, 54, 184),
    "CAS(ME)^3, 7 classes": (250, 187, 161, 86, 64, 57, 55),
}
# The released five test folds of the emotion labels; others, disgust, surprise, fear, anger, sad, happy.
EMOTION_FOLDS = (
    (33, 43, 35, 16, 21, 11, 13),
    (35, 50, 33, 15, 14, 12, 13),
    (29, 47, 41, 20, 10, 13, 12),
    (36, 60, 31, 18, 7, 9, 11),
    (28, 50, 47, 17, 12, 12, 6),
)

_A1 = load_table("table2").set_index("setting").loc["a1"]

# ``inherited`` is another work's slip, not charged to this paper.
KINDS = ("arithmetic", "text", "inherited", "unsupported", "omission")
_INNOCENT = {  # best innocent explanation of a pair that cannot be pooled
    ("HSTA", "SMIC"): "a mean over subjects was printed, or the cell repeats SAMM's UF1",
    ("LBP-TOP", "SMIC"): "the baseline as MEGC2019 printed it, copied faithfully",
    ("MMNet", "CASME II"): "a re-run whose source is not named; possibly a misprint",
}


def reported_pairs():
    """Pairs of UF1 and UAR of Tables 5 and 6: ``table, method, dataset, uf1, uar``, in percent."""
    table5, table6 = load_table("table5"), load_table("table6")
    name = "CAS(ME)^3, " + table6["n_classes"].astype(str) + " classes"
    table6["dataset"] = name.mask(table6["method"] == "HTNet", name + ", HTNet's list")
    both = pd.concat([table5.assign(table="Table 5"), table6.assign(table="Table 6")], ignore_index=True)
    return both[["table", "method", "dataset", "uf1", "uar"]]


def check_pairs(pairs, counts, subjects):
    """Check reported pairs of UF1 and UAR against class counts.

    Parameters
    ----------
    pairs : DataFrame
        With ``method``, ``dataset``, ``uf1``, ``uar``, in percent with one decimal.
    counts : dict of str to sequence of int
        Clips of each class by dataset.
    subjects : dict of str to sequence of sequence of int
        The same by left-out subject; where a dataset is not there, means over subjects are not considered.

    Returns
    -------
    DataFrame
        ``pairs`` with the UF1 that the UAR allows if both are pooled (Eq. 17), ``low`` and ``high``;
        ``possible`` (None: not decided); for pairs that are not, ``otherwise``: what else would give them.

    Raises
    ------
    ValueError
        If a dataset's counts are missing or its subjects do not add up to them.
    """
    unknown = sorted(set(pairs["dataset"]) - set(counts))
    if unknown:
        raise ValueError(f"counts lack dataset {unknown[0]!r}; they have {sorted(counts)}")
    for name, folds in subjects.items():
        check_counts(counts[name], np.sum(folds, axis=0))
    rng, rows = np.random.default_rng(0), []
    for pair in pairs.itertuples():
        of_dataset = counts[pair.dataset]
        possible = is_possible(of_dataset, pair.uar, pair.uf1, rng)
        otherwise = "" if possible else _otherwise(pair, of_dataset, subjects.get(pair.dataset), rng)
        rows.append((*uf1_range(of_dataset, pair.uar), possible, otherwise))
    found = pd.DataFrame(rows, columns=["low", "high", "possible", "otherwise"], index=pairs.index)
    return pairs.join(found)


def _otherwise(pair, counts, folds, rng):
    """Averages other than Eq. 17 that can give a pair."""
    found = []
    for average in AVERAGES[1:] if is_small(counts) else ():
        low, high = uf1_range(counts, pair.uar, average)
        found += [f"{average} by class size"] * bool(low - 0.05 <= pair.uf1 <= high + 0.05)
    for absent in ABSENT if folds else ():
        reached = folds_with(folds, pair.uar, pair.uf1, rng, absent=absent) is not None
        found += [f"a mean over subjects (absent classes: {absent})"] * reached
    return "; ".join(found) or "no average that was tried"


def shared_cells():
    """Settings that several tables print: ``csta, m, l_v, l_s, score, printed`` (text) and ``agree``."""
    rows = []
    for key, same in _all_cells().groupby(["csta", "m", "l_v", "l_s"]):
        for score in METRICS if len(same) > 1 else ():
            printed = ", ".join(f"{row.where} {getattr(row, score)}" for row in same.itertuples())
            rows.append((*key, score, printed, same[score].nunique() == 1))
    return pd.DataFrame(rows, columns=["csta", "m", "l_v", "l_s", "score", "printed", "agree"])


def _all_cells():
    """Rows of Tables 1 to 4 and the first of Table 7 with one set of keys."""
    tables = {number: load_table(f"table{number}") for number in (1, 2, 3, 4, 7)}
    video, layers = tables[1]["branch"] == "video", tables[1]["n_layers"]
    tables[1] = tables[1].assign(csta=False, m=1, l_v=layers.where(video, 0), l_s=layers.where(~video, 0))
    tables[2] = tables[2].assign(m=1)
    tables[3], tables[4] = tables[3].assign(csta=True), tables[4].assign(csta=True)
    tables[7] = tables[7].head(1).assign(csta=True, m=4, l_v=2, l_s=1)  # the setting section 4.2 chooses
    parts = [
        table.assign(where=[f"Table {number} row {row}" for row in range(1, len(table) + 1)])
        for number, table in tables.items()
    ]
    return pd.concat(parts)[["csta", "m", "l_v", "l_s", *METRICS, "where"]]


def constant_prediction(folds=EMOTION_FOLDS):
    """Highest UF1, in percent, of one predicted class per fold (Table 2, a1); and at its printed scores."""
    folds = np.array(folds)
    n_folds, n_classes = folds.shape
    choices = np.array(list(itertools.product(range(n_classes), repeat=n_folds)))
    matrices = np.zeros((len(choices), n_folds, n_classes, n_classes), dtype=int)
    trial, fold = np.ogrid[: len(choices), :n_folds]
    matrices[trial, fold, :, choices] = folds
    pooled, printed = 100 * scores(matrices.sum(axis=1)), _A1[["acc", "uar"]].to_numpy(float)
    as_printed = (np.abs(pooled[:, :2] - printed) <= 0.05 + 1e-9).all(axis=1)
    best = {
        "one class": pooled[(choices == choices[:, :1]).all(axis=1), 2],
        "mean over folds": 100 * scores(matrices)[..., 2].mean(axis=1),
        "class per fold": pooled[:, 2],
        "at printed scores": pooled[as_printed, 2],
    }
    return pd.Series({name: values.max() if len(values) else np.nan for name, values in best.items()})


def findings(pairs, noise, gmac):
    """All findings about the paper.

    Parameters
    ----------
    pairs : DataFrame
        From `check_pairs`, of `reported_pairs`.
    noise : DataFrame
        From `hsta_lib.paper_check.noise.table4_noise`.
    gmac : float
        Counted cost of one forward pass of the released network, in 10^9 multiply-adds.

    Returns
    -------
    DataFrame
        ``where``; ``kind``, one of `KINDS`; ``printed``; ``follows``; ``innocent``, the best innocent
        explanation. Ordered by kind.
    """
    found = [*_of_cells(), _of_a1(), *_of_pairs(pairs), *_of_claims(), _of_eight(noise)]
    told = pd.read_csv(Path(paper.__file__).with_name("sentences.csv"))
    told["follows"] = told["follows"].str.replace("{gmac}", f"{gmac:.1f}")
    columns = ["where", "kind", "printed", "follows", "innocent"]
    table = pd.concat([pd.DataFrame(found, columns=columns), told[columns]], ignore_index=True)
    rank = table["kind"].map(KINDS.index)
    return table.loc[rank.sort_values(kind="stable").index].reset_index(drop=True)


def _of_cells():
    cells = shared_cells()
    others = f"the other {cells['agree'].sum()} shared scores agree"
    for cell in cells[~cells["agree"]].itertuples():
        claim = f"{cell.score.upper()} of M = {cell.m}, L_v = {cell.l_v}, L_s = {cell.l_s}: {cell.printed}"
        follows = f"one setting, two values; {others}"
        yield "shared cells", "arithmetic", claim, follows, "a misprint, or the setting was run twice"


def _of_a1():
    best = constant_prediction()
    follows = (
        "as described the output cannot depend on the input, and UF1 is at most"
        f" {best['one class']:.1f} ({best['mean over folds']:.1f} as a mean over folds); with another class"
        f" in each fold, pooled, {best['class per fold']:.1f}, or {best['at printed scores']:.1f} at the"
        " printed ACC and UAR"
    )
    claim = f"a1, no layer in either branch, no CSTA: UF1 {_A1['uf1']}"
    innocent = "the file behind a1 is not released and may hold another network; or a misprint"
    return "Table 2", "arithmetic", claim, follows, innocent


def _of_pairs(pairs):
    for pair in pairs[pairs["possible"].eq(False)].itertuples():
        kind = "arithmetic" if pair.method == "HSTA" else "inherited"
        claim = f"{pair.method} on {pair.dataset}: UF1 {pair.uf1}, UAR {pair.uar}"
        follows = (
            f"pooled (Eq. 17) this UAR allows UF1 {pair.low:.1f} to {pair.high:.1f}; what can give the pair:"
            f" {pair.otherwise}"
        )
        yield pair.table, kind, claim, follows, _INNOCENT.get((pair.method, pair.dataset), "a misprint")


def _of_claims():
    """What the text says, where its own table says otherwise; of the product of eight see `_of_eight`."""
    for claim, row in zip(all_claims(), decide_printed().to_dict("records"), strict=True):
        if claim.is_stated and row["score"] and row["verdict"] != SUPPORTED and claim.id != EIGHT:
            follows = row["details"].partition(" In its favour:")[0]
            said = f"{claim.says} (“{claim.quote}”)" if claim.quote else claim.says
            yield claim.where, "text", said, follows, claim.innocent


def _of_eight(noise):
    eight, usual = product_of_eight(), noise[noise["p"] >= 0.5].groupby("score")["disagreement"].min()
    parts = [
        f"{score.upper()} {printed:.2f} ({f'from {usual[score]} % on' if score in usual else 'never'})"
        for score, printed in noise.groupby("score", sort=False)["printed"].first().items()
    ]
    follows = (
        "no noise is reported; standard deviation of the thirty cells, and the disagreement between models"
        f" from which equally good ones mostly spread as much: {', '.join(parts)}"
    )
    p = f"{eight['p'].min():.3f} to {eight['p'].max():.3f}"
    innocent = (
        f"the {eight['cells'].iloc[0]:.0f} cells near eight are above the rest on average (p {p},"
        " eight chosen afterwards), and UF1 rises with M for L_v = L_s = 1 (rank correlation"
        f" {eight.loc['uf1', 'rank_correlation']:.2f})"
    )
    return "4.2, Table 4", "unsupported", "M x L near 8 is best", follows, innocent
