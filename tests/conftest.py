"""Fixtures shared by the test files."""

import os

import hypothesis
import pytest
from filelock import FileLock

# Files with few but slow tests: begun last, they would leave all but one of several processes idle.
SLOW = ["test_browser", "test_run", "test_cluster", "test_chaos", "test_engine", "test_strict"]

# The same examples in every run, however slow the machine.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


def pytest_configure(config):
    """pytest-xdist keeps the order of the files; else it begins with those of the most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """Slow files come first, the others in their order."""
    places = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: places.get(item.path.stem, len(SLOW)))


@pytest.fixture(scope="session", autouse=True)
def own_results(tmp_path_factory):
    """What tests store does not lie among the results of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSTA_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield


@pytest.fixture
def no_environment(monkeypatch):
    """None of the variables is set that the library reads."""
    for name in ("HSTA_PRESET", "HSTA_DATA", "HSTA_RESULTS", "HSTA_SILENT_SECONDS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def committed_site(tmp_path_factory):
    """The site of the committed reports, built by the first process that needs it."""
    from hsta_lib import ROOT
    from hsta_lib.commands.site import index

    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    site, built = folder / "committed-site", folder / "committed-site.built"
    with FileLock(folder / "committed-site.lock"):
        if not built.exists():
            index.build(ROOT / "reports", site)
            built.touch()
    return site


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
