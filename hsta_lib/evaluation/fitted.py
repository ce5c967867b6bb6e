"""Whether networks fitted: one rule, set before the runs by ``benchmarks/fit_search.py``. No torch."""

import pandas as pd

# Largest last training loss, as a share of a constant prediction's, that each training of a row may have: a
# mean would pass over a fold whose networks never learned. On generator seed 1 more steps, or another rate,
# moved UAR by 3 to 10 points above it, by less than 2 below.
BOUND = 0.45
FITTED, NOT_FITTED = "fitted", "not fitted"
NO_PIXELS = "reads no pixels"  # by its design: it cannot fit


def by_cell(predictions):
    """How well the trainings of each cell fit.

    ``predictions``: from `hsta_lib.training.store.predictions`, counted by the column ``cell``.

    Returns
    -------
    DataFrame
        By ``cell``: ``train_accuracy``, ``constant_accuracy``, ``loss_share`` (means over trainings) and
        ``loss_share_worst``, which decides, in percent; ``fit``: `FITTED`, `NOT_FITTED`, `NO_PIXELS`, or
        empty where that of a training was not stored. A loss share is the last loss over that of a constant
        prediction; where a baseline has a loss of its own, the share of wrong training labels over that of a
        constant prediction. No columns if no cell has them.
    """
    names = ["train_accuracy", "constant_accuracy", "loss_share"]
    cells = pd.Index(sorted(predictions["cell"].unique()), name="cell")
    if "loss_share" not in predictions or predictions["loss_share"].isna().all():
        return pd.DataFrame(index=cells)
    trainings = predictions.drop_duplicates(["cell", "trial_id"])
    of_cell = trainings.groupby("cell")
    found = 100 * of_cell[names].mean()
    worst = 100 * of_cell["loss_share"].agg(lambda shares: shares.max(skipna=False))
    fits = (worst <= 100 * BOUND).map({True: FITTED, False: NOT_FITTED}).where(worst.notna(), "")
    blind = of_cell["reads_pixels"].agg(lambda values: values.eq(False).any())
    return found.assign(loss_share_worst=worst, fit=fits.mask(blind, NO_PIXELS))
