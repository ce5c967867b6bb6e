"""environment.yml, pyproject.toml and constraints.txt describe one environment; the README is up to date."""

import re
import tomllib

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


def test_ci_runs_what_the_readme_says():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
