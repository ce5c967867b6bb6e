"""Imports point one way, rooms stay small, and only `hsta_lib.config` reads the environment."""

import ast
import re
import subprocess
import sys

import pytest

from hsta_lib import ROOT


def _module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    _module_name(path): ast.parse(path.read_text()) for path in sorted((ROOT / "hsta_lib").rglob("*.py"))
}


def imported(tree):
    """Full names a module imports anywhere: ``from a import b`` gives ``a.b``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(module):
    """Modules of this library that a module imports, without itself and the bare package."""
    found = set()
    for name in imported(TREES[module]):
        while name not in TREES and "." in name:
            name = name.rpartition(".")[0]
        found |= {name} & set(TREES)
    return found - {module, "hsta_lib"}


def reached(module):
    """All modules of this library that importing a module brings in."""
    seen, new = set(), {module}
    while new:
        seen |= new
        new = set().union(*map(ours, new)) - seen
    return seen


def reads_environment(tree):
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return bool(names & {"environ", "environb", "getenv", "getenvb"})


def test_the_rules_can_see():
    assert {"hsta_lib", "hsta_lib.config", "hsta_lib.data.splits", "hsta_lib.models.hsta"} <= set(TREES)
    assert "hsta_lib.evaluation.metrics" in ours("hsta_lib.evaluation.intervals")
    assert {"hsta_lib.models.hsta", "hsta_lib.data.splits"} <= reached("hsta_lib.training.run")
    assert "torch.nn" in imported(TREES["hsta_lib.models.hsta"])
    for line in ("import os; os.environ['A']", "from os import getenv", "import os as o; o.getenv('A')"):
        assert reads_environment(ast.parse(line))
    assert reads_environment(TREES["hsta_lib.config"])


# A package imports itself and packages of a lower rank: what is above is unknown below.
RANKS = {
    0: ["config", "files", "paper"],
    1: ["data", "models"],
    2: ["training", "evaluation"],
    3: ["paper_check", "reporting"],
    4: ["study"],
    5: ["attention", "audit"],
    6: ["commands"],
    7: ["score"],  # the name that users know
}
RANK = {name: rank for rank, names in RANKS.items() for name in names}


def package(module):
    return module.split(".")[1]


def imports_upwards(module, imported):
    mine, theirs = package(module), package(imported)
    return mine != theirs and RANK[theirs] >= RANK[mine]


def test_an_import_upwards_or_beside_is_seen():
    assert imports_upwards("hsta_lib.data.table", "hsta_lib.training.fit")
    assert imports_upwards("hsta_lib.training.fit", "hsta_lib.evaluation.metrics")
    assert not imports_upwards("hsta_lib.training.fit", "hsta_lib.data.table")
    assert not imports_upwards("hsta_lib.data.table", "hsta_lib.data.cache")


@pytest.mark.parametrize("module", [name for name in TREES if name != "hsta_lib"])
def test_imports_run_down(module):
    assert not [name for name in ours(module) if imports_upwards(module, name)]


def test_every_package_has_a_rank_and_the_root_few_rooms():
    rooms = {path.stem for path in (ROOT / "hsta_lib").iterdir() if not path.name.startswith("__")}
    assert rooms == set(RANK)
    assert len(rooms) <= 16


# What a reader follows from a clip to a number.
SPINE = {
    "": ["config"],
    "data/": ["table", "dataset", "frames", "cache", "splits"],
    "models/": ["hsta"],
    "training/": ["trials", "batches", "recipe", "fit", "store", "run"],
    "evaluation/": ["metrics", "intervals"],
}


def n_lines(paths):
    return sum(len(path.read_text().splitlines()) for path in paths)


def test_there_are_no_more_lines_than_the_readme_says():
    text = " ".join((ROOT / "README.md").read_text().split())
    said = re.search(r"has at most ([\d,]+) lines, the library ([\d,]+), the tests ([\d,]+)\.", text)
    spine, library, tests = (int(number.replace(",", "")) for number in said.groups())
    room = ROOT / "hsta_lib"
    assert n_lines(room / f"{folder}{name}.py" for folder, names in SPINE.items() for name in names) <= spine
    assert n_lines(room.rglob("*.py")) <= library
    assert n_lines((ROOT / "tests").rglob("*.py")) <= tests


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in TREES
        if name.startswith(("hsta_lib.data", "hsta_lib.evaluation", "hsta_lib.reporting"))
    ]
    + ["hsta_lib.training.trials", "hsta_lib.training.store", "hsta_lib.score"],
)
def test_reading_data_and_results_needs_no_torch(module):
    for name in reached(module):
        assert not any(other.split(".")[0] == "torch" for other in imported(TREES[name]))


@pytest.mark.parametrize("module", [name for name in TREES if name != "hsta_lib.config"])
def test_only_config_reads_the_environment(module):
    assert not reads_environment(TREES[module])


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("hsta_lib", ["numpy", "pandas", "torch"]),
        (
            "hsta_lib.reporting.tables, hsta_lib.reporting.plots, hsta_lib.evaluation.intervals, "
            "hsta_lib.evaluation.comparisons, hsta_lib.score, hsta_lib.paper",
            ["torch"],
        ),
        ("hsta_lib.study", ["torch", "sklearn"]),
    ],
)
def test_importing_does_not_bring_in(modules, absent):
    code = f"import {modules}, sys; print(sorted(set(sys.modules) & set({absent})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
