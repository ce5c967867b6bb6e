"""Fixtures shared by the test files."""

import hypothesis
import pytest

# The same examples in every run, however slow the machine.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def own_results(tmp_path_factory):
    """What tests store does not lie among the results of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSTA_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield


@pytest.fixture
def no_environment(monkeypatch):
    """None of the variables is set that the library reads."""
    for name in ("HSTA_PRESET", "HSTA_DATA", "HSTA_RESULTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def one_thread():
    """Tensors this small gain nothing from threads, and lose much where other work keeps the cores busy."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Random clips; see `tiny.tiny_dataset`."""
    from tiny import tiny_dataset

    return tiny_dataset(tmp_path_factory.mktemp("tiny"))
