"""An installed wheel: what it brings, and where a user's files then lie."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from hsta_lib import PACKAGE, ROOT, config
from hsta_lib.commands import notebooks

SHIPPED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "force-include"
]
ASKED = """
from hsta_lib import ROOT, config
from hsta_lib.commands import notebooks
from hsta_lib.reporting.sentences import measured_growth
from hsta_lib.study import start
print(start("table4", {"preset": "smoke"}).preset_name, *config.preset_names(), len(measured_growth()) > 0)
print(ROOT, config.data_dir(), config.results_dir(), config.records_dir())
notebooks.main(["mine"])
"""


@pytest.fixture
def site(tmp_path):
    """A copy of the library as the wheel holds it."""
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "hsta_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for source, place in SHIPPED.items():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        (site / place).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / source, site / place)
    return site


def test_an_installed_library_works_in_the_working_folder(tmp_path, site):
    work = tmp_path / "work"
    (work / "params").mkdir(parents=True)
    shutil.copy(ROOT / "params" / "smoke.yaml", work / "params" / "mine.yaml")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HSTA_")}
    environment["PYTHONPATH"] = str(site)
    told = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=work, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert told[0] == " ".join(["smoke", *sorted([*config.preset_names(), "mine"]), "True"])
    assert told[1].split() == [str(work / part) for part in ("", "data", "results", "reports/local")]
    assert told[2].startswith(f"{_count()} notebooks are in mine")
    assert len(list((work / "mine").glob("*.ipynb"))) == _count()


def _count():
    return len(list((ROOT / "notebooks").glob("*.ipynb")))


def test_notebooks_are_copied_and_none_is_replaced(tmp_path, capsys):
    notebooks.main([str(tmp_path / "new" / "place")])
    assert (tmp_path / "new/place/table4.ipynb").read_bytes() == (
        ROOT / "notebooks/table4.ipynb"
    ).read_bytes()
    (tmp_path / "new/place/audit.ipynb").unlink()
    with pytest.raises(SystemExit):
        notebooks.main([str(tmp_path / "new" / "place")])
    assert "attention.ipynb is there already; choose another folder" in capsys.readouterr().err
    assert not (tmp_path / "new/place/audit.ipynb").exists()
