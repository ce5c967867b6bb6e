"""Fixtures shared by the test files."""

import pytest


@pytest.fixture
def no_environment(monkeypatch):
    """None of the variables is set that the library reads."""
    for name in ("HSTA_PRESET", "HSTA_DATA", "HSTA_RESULTS"):
        monkeypatch.delenv(name, raising=False)
