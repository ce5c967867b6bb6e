"""environment.yml, pyproject.toml and constraints.txt and the container describe one environment."""

import json
import re
import shlex
import subprocess
import tomllib
from importlib import metadata

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import hsta_lib
from hsta_lib import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = {Requirement(line).name: Requirement(line) for line in PROJECT["dependencies"]}
PINS = (ROOT / "constraints.txt").read_text().split()
FIXED = {
    "torch", "jupyterlab", "papermill", "matplotlib", "seaborn", "pandas",
    "einops", "opencv-python", "scikit-learn", "nbval",
}  # fmt: skip


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
    for name in REQUIREMENTS:
        assert Version(metadata.version(name)).public == _pinned()[name].public, name


def test_the_version_stands_in_one_place():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]
    assert "version" in PROJECT["dynamic"]
    assert told == {"path": "hsta_lib/__init__.py"}
    assert f"## {hsta_lib.__version__}\n" in (ROOT / "docs" / "changelog.md").read_text()
    assert "version:" not in (ROOT / "CITATION.cff").read_text().replace("cff-version:", "")


def _needed(name, extras=(), seen=None):
    """Installed packages that a package needs, with those they need; not what a parent pins itself."""
    seen = {} if seen is None else seen
    environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        wanted = requirement.marker is None or any(map(requirement.marker.evaluate, environments))
        if wanted and requirement.name not in seen and not str(requirement.specifier).startswith("=="):
            try:
                seen[requirement.name] = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:  # of an extra that is not installed here
                continue
            _needed(requirement.name, requirement.extras, seen)
    return seen


def test_every_package_that_gets_installed_is_pinned():
    needed = {
        canonicalize_name(name) for name in _needed("hsta-study", ("", *PROJECT["optional-dependencies"]))
    }
    assert len(needed) > 60
    assert needed - set(_pinned()) == set()


def test_the_container_and_the_hook_use_the_pinned_versions():
    docker = (ROOT / "Dockerfile").read_text()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert re.search(r"^FROM python:([\d.]+)", docker, re.M)[1] in environment["dependencies"][0]
    assert "RUN make setup" in docker  # which installs by constraints.txt
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert container["postCreateCommand"] == "make setup"
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert Version(hook["rev"]) == _pinned()["ruff"]
    assert "-c constraints.txt -e ." in _make("setup", "--always-make").stdout


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
    assert known - {"PYTHON", "TFLOPS", "RIVALS"} == names


def test_make_runs_a_users_report_beside_the_committed_ones():
    asked = ["PRESET=smoke", "SEEDS=[0, 1]", "DATA_ROOT=/a b/c's \"$x", "WORKERS=1", "GRID={'m': [1]}"]
    run = _make("table4", *asked)
    (line,) = [line for line in run.stdout.splitlines() if "commands.execute" in line]
    arguments = shlex.split(line.partition("||")[0])
    assert arguments[3:] == [
        "notebooks/table4.ipynb", "reports/local/table4.partial.ipynb", "-r", "preset", "smoke",
        "-r", "data_root", "/a b/c's \"$x", "-y", "workers: 1",
        "-y", "seeds: [0, 1]", "-y", "grid: {'m': [1]}",
    ]  # fmt: skip
    lines = [line for line in _make("reports").stdout.splitlines() if "commands.execute" in line]
    assert len(lines) > 5
    assert all(" reports/" in line and "local" not in line for line in lines)
