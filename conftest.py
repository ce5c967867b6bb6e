"""Hooks of every test run, those of the notebooks included: they lie outside ``tests/``."""

import os
import re
from pathlib import Path

import nbformat

from hsta_lib.files import PROGRESS

_NOTEBOOKS = Path(__file__).parent / "notebooks"
_TAG, _TRAINS = "deterministic", "trains"


def pytest_configure(config):
    """Notebooks run under nbval are small: their kernels inherit the preset from here."""
    option = config.option
    if getattr(option, "nbval", False) or getattr(option, "nbval_lax", False):
        os.environ.setdefault("HSTA_PRESET", "smoke")
    if getattr(option, "nbval", False):
        os.environ["TQDM_DISABLE"] = "1"  # a progress bar is not what the report says


def pytest_collection_modifyitems(config, items):
    """Under strict nbval a report runs as far as nothing is trained, and what must be the same is compared.

    That is the output of the cells which the notebook of the report's name tags as deterministic. The
    report runs up to the last of them, with its own parameters; of the cells from the first on that is tagged
    to train, these alone run. Without such cells it does not run.
    """
    if not getattr(config.option, "nbval", False):
        return
    kept = []
    for path in dict.fromkeys(item.path for item in items):
        cells = [item for item in items if item.path == path]
        kept += _without_training(path, cells) if path.suffix == ".ipynb" else cells
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _without_training(path, cells):
    """Items of a report that are to run; those whose output is not compared are told so."""
    tagged, trains = (_tagged(_NOTEBOOKS / path.name, tag) for tag in (_TAG, _TRAINS))
    compared = [number for number, item in enumerate(cells) if item.cell.id in tagged]
    first = next((number for number, item in enumerate(cells) if item.cell.id in trains), len(cells))
    kept = [
        cells[number]
        for number in range(max(compared, default=-1) + 1)
        if number < first or number in compared
    ]
    for item in kept:
        item.options["check"] = item.cell.id in tagged
        if "injected-parameters" in item.cell.metadata.get("tags", []):
            item.cell.source = _without_missing_lists(item.cell.source)
        # A progress bar is of a report that made its data.
        item.cell.outputs = [output for output in item.cell.outputs if output.get("metadata") != PROGRESS]
    return kept


def _without_missing_lists(source):
    """Parameters of a report without those lists of the authors of which no clone lies here."""
    lines = source.splitlines(keepends=True)
    named = {line: re.fullmatch(r'lists_root = "(external/[^"]+)"\n?', line) for line in lines}
    return "".join(line for line in lines if not named[line] or Path(named[line][1]).is_dir())


def _tagged(path, tag):
    """Ids of the cells of a notebook that carry a tag; papermill leaves the ids as they are."""
    if not path.exists():
        return set()
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id for cell in cells if tag in cell.metadata.get("tags", [])}
