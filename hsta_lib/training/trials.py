"""Trials: one setting, one fold, one seed; named by a hash of all that can change its predictions."""

import itertools
import json
from dataclasses import dataclass, field

import pandas as pd

from hsta_lib.config import Settings, with_fields
from hsta_lib.files import text_digest
from hsta_lib.paper import ROW_NAMES

# This number goes up when the arithmetic of a training changes while the settings do not, so that older
# results are not mistaken for it. It also goes up when the default of a setting changes, for an id leaves out
# what has its default. Tests fail when either happens and the number stays.
PROTOCOL = 3

# The setting each table's verdict rests on, named before any run (Table 7 and the comparisons use it).
NAMED_CELL = {"m": 4, "l_v": 2, "l_s": 1}

# What is stored along with the predictions without changing them counts as if it had its default.
_NOT_HASHED = {"training": {"store_epochs", "store_draws"}}


@dataclass(frozen=True)
class Trial:
    """One training: the settings, the fold that is tested, the seed, and the data's fingerprint.

    ``accept_other_code``: whether a stored result will do that other code has made, see `training.code`.
    ``device``: where it is trained, see `training.batches.device_of`. Neither counts in its id.
    """

    settings: Settings
    fold: int
    seed: int
    fingerprint: str
    accept_other_code: bool = field(default=False, compare=False)
    device: str = field(default="auto", compare=False)

    def description(self):
        """Everything that can change the trial's predictions, as JSON values; defaults are left out."""
        unused = {"model": True} if self.settings.comparison.baseline else {}
        settings = self.settings.model_dump(mode="json", exclude=_NOT_HASHED | unused, exclude_defaults=True)
        return {
            "protocol": PROTOCOL,
            "settings": {name: value for name, value in settings.items() if value != {}},
            "fold": self.fold,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
        }

    @property
    def id(self):
        """See `id_of`."""
        return id_of(self.description())


def id_of(description):
    """First 16 hex digits of the SHA-256 of the canonical JSON of a trial's description."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return text_digest(text)


def expand_grid(grid):
    """Settings of a grid: its product, with ``depths`` standing for the pair ``[l_v, l_s]``.

    ``grid`` (dict of str to list): the values that each field takes. One row per setting, one column per
    field, in the order of the grid's first key. A ValueError if the grid or one of its lists is empty, a list
    repeats a value, or a depth is no pair.

    Examples
    --------
    >>> expand_grid({"m": [1, 2], "depths": [[2, 1]]}).to_dict("list")
    {'m': [1, 2], 'l_v': [2, 2], 'l_s': [1, 1]}
    """
    if not grid:
        raise ValueError("the grid is empty: give at least one field and its values, e.g. {'m': [1, 2]}")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid: {name} = {values!r} must be a list with at least one value")
        if any(value in values[:i] for i, value in enumerate(values)):
            raise ValueError(f"grid: {name} = {values!r} repeats a value")
    return pd.DataFrame([_cell(grid, values) for values in itertools.product(*grid.values())])


def _cell(grid, values):
    cell = dict(zip(grid, values, strict=True))
    if "depths" in cell:
        if {"l_v", "l_s"} & set(cell):
            raise ValueError("grid: depths gives l_v and l_s; do not give them a second time")
        pair = cell.pop("depths")
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"grid: depths has {pair!r}; each entry must be a pair [l_v, l_s]")
        cell["l_v"], cell["l_s"] = pair
    return cell


def settings_of(settings, cells):
    """Settings of every cell, a list; ``settings`` are what the cells have in common.

    ``cells`` (DataFrame): from `expand_grid` or `hsta_lib.paper.printed_cells`. Its columns are fields of the
    settings, or names of rows, which are left aside.
    """
    fields = cells.drop(columns=[name for name in ROW_NAMES if name in cells])
    return [with_fields(settings, **cell) for cell in fields.to_dict("records")]


def make_trials(settings, n_folds, seeds, fingerprint, accept_other_code=False, device="auto"):
    """Trials of one setting, a list: every seed, and within it every fold.

    Parameters
    ----------
    n_folds : int
        Folds of the split, see `hsta_lib.data.splits.make_folds`.
    fingerprint : str
        Of the data.
    accept_other_code, device
        See `Trial`.
    """
    return [
        Trial(settings, fold, seed, fingerprint, accept_other_code, device)
        for seed in seeds
        for fold in range(n_folds)
    ]
