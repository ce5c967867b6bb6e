"""Hooks of every test run, those of the notebooks included: they lie outside ``tests/``."""

import os
import re
from pathlib import Path

import nbformat

_NOTEBOOKS = Path(__file__).parent / "notebooks"
_TAG = "deterministic"


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
    report runs up to the last of them, with its own parameters; without such cells it does not run.
    """
    if not getattr(config.option, "nbval", False):
        return
    kept = []
    for path in dict.fromkeys(item.path for item in items):
        cells = [item for item in items if item.path == path]
        kept += _until_the_last_tagged(path, cells) if path.suffix == ".ipynb" else cells
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _until_the_last_tagged(path, cells):
    """Items of a report that are to run; those whose output is not compared are told so."""
    tagged = _tagged(_NOTEBOOKS / path.name)
    last = max((number for number, item in enumerate(cells) if item.cell.id in tagged), default=-1)
    for item in cells[: last + 1]:
        item.options["check"] = item.cell.id in tagged
        item.cell.outputs = _without_progress(item.cell.outputs)
    return cells[: last + 1]


def _tagged(path):
    """Ids of the cells of a notebook that carry the tag; papermill leaves the ids as they are."""
    if not path.exists():
        return set()
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id for cell in cells if _TAG in cell.metadata.get("tags", [])}


def _without_progress(outputs):
    """Outputs less the progress bars of a report that made its data: what follows a carriage return."""
    printed = [output for output in outputs if output.get("name") == "stdout"]
    others = [output for output in outputs if output.get("name") != "stdout"]
    text = re.sub(r"\r[^\n]*\n", "", "".join(output.text for output in printed))
    return [nbformat.v4.new_output("stream", text=text)] * bool(text) + others
