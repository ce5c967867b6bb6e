"""How far do equally good models spread on the same clips, beside the spread that Table 4 prints?"""

import itertools

import numpy as np
import pandas as pd

from hsta_lib.evaluation.intervals import interval
from hsta_lib.evaluation.metrics import METRICS, scores
from hsta_lib.paper import load_table
from hsta_lib.paper_check.claims import all_claims
from hsta_lib.paper_check.possible import check_counts

EIGHT = "product-of-eight"  # the claim about Table 4


def simulate_spread(counts, acc, uar, disagreement, rng, *, n_models=30, n_draws=97):
    """Deviation of the scores over equally good models on the same clips, in points, ``(n_draws, 3)``."""
    # Each clip has probabilities of its own, from a Dirichlet distribution around its class's mean; models
    # draw from them independently. The wider it is, the more the clips decide which models fail. Recall rises
    # linearly with class size; errors go to other classes by their size; a subject's clips are no more alike.
    counts = check_counts(counts)
    recalls = _recalls(counts, acc, uar)
    most = float(200 * (recalls * (1 - recalls)) @ counts / counts.sum())  # of independent models
    if not 0 < disagreement < most:
        raise ValueError(f"disagreement is {disagreement}: must be above 0 and below {most:.1f} %")
    # Beta distributed correctness with sum s of its parameters: 2 p (1 - p) has mean 2 r (1 - r) s / (s + 1).
    alphas = _mean_rows(counts, recalls) * disagreement / (most - disagreement)
    y_true = np.tile(np.repeat(np.arange(len(counts)), counts), n_models)
    model = np.repeat(np.arange(n_models), counts.sum())
    shape = n_models, len(counts), len(counts)
    draws = []
    for _ in range(n_draws):
        shares = np.concatenate([rng.dirichlet(a, size=n) for a, n in zip(alphas, counts, strict=True)])
        uniform = rng.random((n_models, counts.sum(), 1))
        y_pred = (uniform > shares.cumsum(axis=1)[:, :-1]).sum(axis=2).ravel()
        cells = np.ravel_multi_index((model, y_true, y_pred), shape)
        matrices = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
        draws.append(100 * scores(matrices).std(axis=0, ddof=1))
    return np.array(draws)


def _recalls(counts, acc, uar):
    """Recalls that rise linearly with class size and give ACC and UAR."""
    above = counts - counts.mean()
    tilt = (above * counts).sum() / counts.sum()
    if not tilt and acc != uar:
        raise ValueError(f"acc {acc} and uar {uar} differ, but with equal classes they are the same")
    recalls = (uar + (acc - uar) * above / (tilt or 1)) / 100
    if recalls.min() <= 0 or recalls.max() >= 1:
        raise ValueError(f"acc {acc} and uar {uar} need recalls {recalls.round(3).tolist()} outside 0..1")
    return recalls


def _mean_rows(counts, recalls):
    """Mean confusion matrix with rows that sum to one."""
    rows = np.tile(counts.astype(float), (len(counts), 1))
    np.fill_diagonal(rows, 0)
    return rows * ((1 - recalls) / rows.sum(axis=1))[:, None] + np.diag(recalls)


def table4_noise(counts, disagreements=(2, 5, 10, 15, 20, 27, 36), *, seed=0, n_draws=97):
    """Spread of Table 4's thirty cells beside that of thirty equally good models, by disagreement.

    The models have the mean ACC and UAR of Table 4. Which disagreement the paper's networks had is not known.

    Parameters
    ----------
    counts : sequence of int
        Clips of each class.
    disagreements : sequence of float
        Percent of clips, see `simulate_spread`.

    Returns
    -------
    DataFrame
        One row per disagreement and score: ``printed``, the standard deviation of the cells, in points; that
        of equally good models: ``sd`` (median), ``low``, ``high`` (95 % of draws); ``p``: share of draws that
        spread at least as much as the cells. Where it is not small, noise alone makes that spread.
    """
    cells = load_table("table4").reindex(columns=METRICS)
    printed, (acc, uar, _) = cells.std(), cells.mean()
    rng, rows = np.random.default_rng(seed), []
    for disagreement in disagreements:
        draws = simulate_spread(counts, acc, uar, disagreement, rng, n_models=len(cells), n_draws=n_draws)
        low, high = interval(draws)
        p = (draws >= printed.to_numpy() - 1e-9).mean(axis=0)
        columns = {"printed": printed, "sd": np.median(draws, axis=0), "low": low, "high": high, "p": p}
        rows.append(
            pd.DataFrame(columns).rename_axis("score").reset_index().assign(disagreement=disagreement)
        )
    return pd.concat(rows, ignore_index=True)


def product_of_eight():
    """Table 4's cells whose product M x L is near eight against the rest, and the scores against M.

    By score: ``cells``, their number, as the claim `EIGHT` selects them; ``p``, the share of all choices of
    as many cells whose mean is at least as high; ``rank_correlation`` with M of the ten cells with L_v = L_s
    = 1. Eight was chosen after seeing the table, so p is too small.
    """
    table = load_table("table4")
    (claim,) = [claim for claim in all_claims() if claim.id == EIGHT]
    eight = table.index.isin(table.query(claim.test.rows).index)
    chosen = np.array(list(itertools.combinations(range(len(table)), eight.sum())))
    single = table[(table["l_v"] == 1) & (table["l_s"] == 1)]
    rows = {}
    for score in METRICS:
        values = table[score].to_numpy()
        p = (values[chosen].mean(axis=1) >= values[eight].mean() - 1e-9).mean()
        correlation = single["m"].rank().corr(single[score].rank())
        rows[score] = {"cells": eight.sum(), "p": p, "rank_correlation": correlation}
    return pd.DataFrame(rows).T
