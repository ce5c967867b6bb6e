"""The rule that says whether a row fitted, by hand."""

import numpy as np
import pandas as pd
import pytest

from hsta_lib.evaluation import fitted


def predictions_of(*trainings, folds=0):
    """Two clips of each training: its cell, training accuracy, loss share and whether it reads pixels."""
    columns = ["cell", "train_accuracy", "loss_share", "reads_pixels"]
    rows = pd.DataFrame(trainings, columns=columns).assign(constant_accuracy=0.25)
    rows = rows.assign(trial_id=[str(number) for number in range(len(rows))], fold=folds)
    return pd.concat([rows, rows], ignore_index=True)


def test_a_row_fits_if_the_mean_loss_of_its_trainings_is_at_most_the_bound():
    found = fitted.by_cell(
        predictions_of((0, 0.9, 0.2, True), (0, 0.5, 0.6, True), (1, 0.5, 0.4, True), (1, 0.3, 0.6, True))
    )
    assert found.loc[0].tolist() == [pytest.approx(70), 25, pytest.approx(40), 60, "fitted"]
    assert found.loc[1].tolist() == [pytest.approx(40), 25, pytest.approx(50), 60, "not fitted"]


def test_a_fold_whose_networks_never_learned_is_not_passed_over():
    # Two seeds of five folds; in cell 0 both fail in one fold, in cell 1 each in another: that is chance.
    failed = {(0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 3)}
    runs = [(cell, seed, fold) for cell in (0, 1) for seed in (0, 1) for fold in range(5)]
    trainings = [(run[0], *((0.25, 0.7) if run in failed else (0.9, 0.1)), True) for run in runs]
    found = fitted.by_cell(predictions_of(*trainings, folds=[fold for *_, fold in runs]))
    assert found["loss_share"].tolist() == pytest.approx([22, 22])
    assert found["fit"].tolist() == ["not fitted", "fitted"]


def test_a_row_that_reads_no_pixels_is_exempt():
    found = fitted.by_cell(predictions_of((0, 0.25, 1.0, False), (1, 0.25, 1.0, True)))
    assert found["fit"].tolist() == ["reads no pixels", "not fitted"]


def test_rows_whose_fit_was_not_stored_have_none():
    stored = predictions_of(
        (0, 0.9, 0.1, True), (1, np.nan, np.nan, np.nan), (2, 0.9, 0.1, True), (2, np.nan, np.nan, True)
    )
    assert fitted.by_cell(stored)["fit"].tolist() == ["fitted", "", ""]
    assert fitted.by_cell(stored[stored["cell"] == 1]).columns.tolist() == []
    assert fitted.by_cell(stored[["cell", "trial_id", "fold"]]).index.tolist() == [0, 1, 2]
