"""Hooks of every test run, those of the notebooks included: they lie outside ``tests/``."""

import os


def pytest_configure(config):
    """Notebooks run under nbval are small: their kernels inherit the preset from here."""
    option = config.option
    if getattr(option, "nbval", False) or getattr(option, "nbval_lax", False):
        os.environ.setdefault("HSTA_PRESET", "smoke")
