"""The tree, what setup.py packs of it, and which modules count as pure."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("shared", "bus", "broker", "node")


def packed():
    """PACKAGES of setup.py."""
    for statement in ast.parse((ROOT / "setup.py").read_text("utf-8")).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "PACKAGES":
            return ast.literal_eval(statement.value)
    raise AssertionError("setup.py has no PACKAGES")


def modules():
    """Every module of the layers, by its import name."""
    for layer in LAYERS:
        for file in sorted((ROOT / layer).rglob("*.py")):
            if file.name != "__init__.py":
                yield ".".join(("xcluster", *file.relative_to(ROOT).with_suffix("").parts))


def contract(start):
    """The import-linter contract whose name begins so."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    return next(found for found in settings["contracts"] if found["name"].startswith(start))


def test_every_package_is_packed():
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for layer in (*LAYERS, "tools", "loadtest")
        for file in (ROOT / layer).rglob("__init__.py")
    }
    assert sorted(folders) == sorted(packed())


def test_every_package_has_a_map():
    for package in packed():
        text = (ROOT / package.replace(".", "/") / "__init__.py").read_text("utf-8")
        assert ast.get_docstring(ast.parse(text)), f"{package}/__init__.py has no docstring"


@pytest.mark.parametrize("module", list(modules()))
def test_module_is_checked_as_pure_or_marked_as_io(module):
    if module in contract("Pure modules")["source_modules"]:
        return
    package, _, name = module.removeprefix("xcluster.").rpartition(".")
    text = (ROOT / package.replace(".", "/") / "__init__.py").read_text("utf-8")
    lines = text.splitlines()
    if "(I/O)" in lines[0]:  # all of the package
        return
    marked = [line for line in lines if "(I/O)" in line]
    assert any(re.search(rf"\b{name}\b", line) for line in marked), (
        f"{module} is neither a pure module of pyproject.toml nor marked (I/O) in its package's docstring"
    )


def test_pure_modules_exist():
    assert set(contract("Pure modules")["source_modules"]) <= set(modules())
