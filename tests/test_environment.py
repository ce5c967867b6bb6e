"""environment.yml, pyproject.toml and constraints.txt describe one environment; the README is up to date."""

import re
import shlex
import subprocess
import tomllib

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from hsta_lib import ROOT
from hsta_lib.commands import docs

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = {Requirement(line).name: Requirement(line) for line in PROJECT["dependencies"]}
PINS = (ROOT / "constraints.txt").read_text().split()
FIXED = {
    "torch",
    "jupyterlab",
    "papermill",
    "matplotlib",
    "seaborn",
    "pandas",
    "einops",
    "opencv-python",
    "scikit-learn",
    "nbval",
}


def _pinned():
    return {
        name.lower().replace("_", "-"): Version(version)
        for name, version in (pin.split("==") for pin in PINS)
    }


def test_the_packages_the_study_is_built_on_are_dependencies():
    assert set(REQUIREMENTS) >= FIXED


@pytest.mark.parametrize("pin", PINS)
def test_a_pin_is_a_plain_name_and_version(pin):
    assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", pin)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_dependency_is_pinned_to_a_version_it_allows(name):
    assert _pinned()[name] in REQUIREMENTS[name].specifier


def test_only_one_build_of_opencv_is_pinned():
    assert [name for name in _pinned() if name.startswith("opencv")] == ["opencv-python"]


def test_conda_installs_the_same_environment():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *plain, pip = environment["dependencies"]
    python = next(line.split("=")[1] for line in plain if line.startswith("python="))
    assert Version(python) in SpecifierSet(PROJECT["requires-python"])
    # Everything else comes from pyproject.toml, at the versions of constraints.txt.
    assert [line for line in plain if not line.startswith("python=")] == ["pip"]
    assert pip == {"pip": ["-c constraints.txt", "-e ."]}


def test_the_installed_versions_are_the_pinned_ones():
    from importlib.metadata import version

    for name in REQUIREMENTS:
        assert Version(version(name)).public == _pinned()[name].public, name


def test_the_generated_sections_of_the_readme_are_up_to_date():
    text = (ROOT / "README.md").read_text()
    assert docs.render(text) == text, "run `make readme`"


def test_missing_readme_markers_are_named():
    with pytest.raises(ValueError, match="'results' are missing"):
        docs.render("no markers")


def test_readme_commands_are_targets_of_the_makefile():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    targets |= {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    used = set(re.findall(r"`?make (\w+)", (ROOT / "README.md").read_text()))
    assert used <= targets
    assert {"table4", "test", "setup"} <= used


def test_ci_runs_the_two_commands_of_the_readme_in_its_order():
    commands = re.findall(r"^make (\w+)", (ROOT / ".ci" / "run").read_text(), re.M)
    printed = re.findall(r"^    make (\w+) +#", (ROOT / "README.md").read_text(), re.M)
    assert commands == ["setup", *printed]
    assert printed == ["table4", "test"]


def _make(*arguments):
    return subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_make_hands_every_parameter_of_a_notebook_on_and_refuses_others():
    known = set(re.search(r"known: (.*)\.  Stop", _make("table4", "PRESETS=smoke").stderr)[1].split())
    cells = [nbformat.read(path, as_version=4).cells for path in (ROOT / "notebooks").glob("*.ipynb")]
    parameters = [
        cell.source for of_one in cells for cell in of_one if "parameters" in cell.metadata.get("tags", [])
    ]
    names = {name.upper() for source in parameters for name in re.findall(r"^(\w+) =", source, re.M)}
    assert known - {"PYTHON", "TFLOPS"} == names


def test_make_runs_a_users_report_beside_the_committed_ones():
    run = _make("table4", "PRESET=smoke", "SEEDS=0,1", "DATA_ROOT=/a b/c", "WORKERS=1")
    (line,) = [line for line in run.stdout.splitlines() if "papermill" in line]
    arguments = shlex.split(line.partition("||")[0])
    assert arguments[6:] == [
        "notebooks/table4.ipynb", "reports/local/table4.partial.ipynb", "-r", "preset", "smoke",
        "-r", "data_root", "/a b/c", "-y", "workers: 1", "-y", "seeds: [0,1]",
    ]  # fmt: skip
    assert all(
        " reports/" in line and "local" not in line
        for line in _make("reports").stdout.splitlines()
        if "papermill" in line
    )
