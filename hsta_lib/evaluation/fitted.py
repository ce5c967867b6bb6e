"""Whether networks fitted: one rule, set before the runs by ``benchmarks/fit_search.py``. No torch."""

import pandas as pd

# Largest last training loss, as a share of a constant prediction's, that a row may have in a fold, mean over
# seeds. A mean over folds would pass over one whose networks never learned; seeds that differ are in the
# intervals. On generator seed 1 more steps, or another rate, moved UAR by 2 to 13 points above it; twice the
# steps by at most 2.5 below, where another seed moves it by 3.
BOUND = 0.45
FITTED, NOT_FITTED = "fitted", "not fitted"
NO_PIXELS = "reads no pixels"  # by its design: it cannot fit


def by_cell(predictions):
    """How well the trainings of each cell fit.

    By ``cell``: ``train_accuracy``, ``constant_accuracy``, ``loss_share`` (means over trainings) and
    ``loss_share_worst``, in percent; ``fit``: `FITTED`, `NOT_FITTED`, `NO_PIXELS`, or empty where that of a
    training was not stored. No columns if no cell has them.

    A loss share is the last loss over that of a constant prediction. Where a baseline has a loss of its own,
    it is the share of wrong training labels over that of a constant prediction. ``predictions``: from
    `hsta_lib.training.store.predictions`, counted by the column ``cell``.
    """
    names = ["train_accuracy", "constant_accuracy", "loss_share"]
    cells = pd.Index(sorted(predictions["cell"].unique()), name="cell")
    if "loss_share" not in predictions or predictions["loss_share"].isna().all():
        return pd.DataFrame(index=cells)
    trainings = predictions.drop_duplicates(["cell", "trial_id"])
    of_cell = trainings.groupby("cell")
    found = 100 * of_cell[names].mean()
    found["loss_share_worst"] = 100 * of_cell["loss_share"].max()
    of_folds = trainings.groupby(["cell", "fold"])["loss_share"].mean()
    fits = (of_folds.groupby("cell").max() <= BOUND).map({True: FITTED, False: NOT_FITTED})
    fits = fits.where(of_cell["loss_share"].count() == of_cell.size(), "")
    blind = of_cell["reads_pixels"].agg(lambda values: values.eq(False).any())
    return found.assign(fit=fits.mask(blind, NO_PIXELS))


def names_not_fitted(table):
    """Names of the rows that did not fit, from ``row`` or else ``system``; none where no fit is known.

    ``table`` (DataFrame, optional): scores, with the column ``fit`` of `by_cell` if there is one.
    """
    if table is None or "fit" not in table:
        return []
    names = table["row" if "row" in table else "system"]
    return names[table["fit"] == NOT_FITTED].unique().tolist()


def are_about_the_method(names, table):
    """Of which compared rows the difference counts: those that fitted, if what all are compared with did.

    ``names`` (Series): of the rows compared; ``table``: as for `names_not_fitted`, of all rows.
    """
    unfit = names_not_fitted(table)
    return ~names.isin(unfit) & set(unfit).issubset(names)
