"""Imports point one way, and only `hsta_lib.config` reads the environment."""

import ast
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
    assert "hsta_lib.metrics" in ours("hsta_lib.stats")
    assert {"hsta_lib.models.hsta", "hsta_lib.data.splits"} <= reached("hsta_lib.runner")
    assert "torch.nn" in imported(TREES["hsta_lib.models.hsta"])
    for line in ("import os; os.environ['A']", "from os import getenv", "import os as o; o.getenv('A')"):
        assert reads_environment(ast.parse(line))


@pytest.mark.parametrize(
    "module", ["config", "progress", "data.table", "metrics", "paper", "models.hsta", "data.splits"]
)
def test_the_base_imports_nothing_of_ours(module):
    assert ours(f"hsta_lib.{module}") == set()


def test_statistics_import_metrics_alone():
    assert ours("hsta_lib.stats") == {"hsta_lib.metrics"}


@pytest.mark.parametrize("module", [name for name in TREES if name.startswith("hsta_lib.data")])
def test_data_imports_only_data_config_files_and_progress(module):
    assert {name.split(".")[1] for name in reached(module)} - {"config", "files", "progress"} == {"data"}
    assert not any(name.split(".")[0] == "torch" for name in imported(TREES[module]))


@pytest.mark.parametrize("module", [name for name in TREES if name.startswith("hsta_lib.models")])
def test_models_import_only_models(module):
    assert {name.split(".")[1] for name in reached(module)} == {"models"}


@pytest.mark.parametrize("module", ["tables", "plots", "metrics", "stats", "paper", "trials", "store"])
def test_reading_results_needs_no_torch(module):
    for name in reached(f"hsta_lib.{module}"):
        assert not any(other.split(".")[0] == "torch" for other in imported(TREES[name]))


@pytest.mark.parametrize("module", [name for name in TREES if name != "hsta_lib.config"])
def test_only_config_reads_the_environment(module):
    assert not reads_environment(TREES[module])
    assert reads_environment(TREES["hsta_lib.config"])


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("hsta_lib", ["numpy", "pandas", "torch"]),
        ("hsta_lib.tables, hsta_lib.plots, hsta_lib.metrics, hsta_lib.stats, hsta_lib.paper", ["torch"]),
    ],
)
def test_importing_does_not_bring_in(modules, absent):
    code = f"import {modules}, sys; print(sorted(set(sys.modules) & set({absent})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
