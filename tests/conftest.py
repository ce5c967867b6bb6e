"""Fixtures shared by the test files."""

import hypothesis
import pytest

# The same examples in every run, however slow the machine.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture
def no_environment(monkeypatch):
    """None of the variables is set that the library reads."""
    for name in ("HSTA_PRESET", "HSTA_DATA", "HSTA_RESULTS"):
        monkeypatch.delenv(name, raising=False)
