"""The plan of the house, as laws: imports have no cycle, names mean one thing, files and folders stay small, packages are declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

import layerscout

PACKAGE = Path(layerscout.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
PROJECT = Path(__file__).parents[1]


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another, by Tarjan's algorithm; a module that imports itself counts."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph.get(module, ())):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = []
            while not group or group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1 or module in graph.get(module, ()):
                found.append(sorted(group))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return found


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
        ({"a": {"b", "c"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}, [["c", "d"], ["a", "b"]]),
        ({"a": {"a"}}, [["a"]]),
    ],
)
def test_cycles_are_found(graph, expected):
    assert cycles(graph) == expected


def test_no_module_reaches_itself_by_imports_not_even_through_imports_inside_functions():
    graph = grimp.build_graph("layerscout", cache_dir=None, exclude_type_checking_imports=True)
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    assert cycles(imports) == []


def names() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Public classes, and with them aliases of types, each with the modules that define them."""
    classes: dict[str, list[str]] = defaultdict(list)
    aliases: dict[str, list[str]] = defaultdict(list)
    for file in SOURCES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(str(file.relative_to(PACKAGE)))
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if re.fullmatch(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name):
                    aliases[name].append(str(file.relative_to(PACKAGE)))
    return classes, aliases


def test_a_class_name_stands_for_one_class():
    classes, aliases = names()
    assert len(classes) > 100
    both = {name: files + aliases.get(name, []) for name, files in classes.items()}
    assert {name: files for name, files in both.items() if len(files) > 1} == {}


def public(body: list[ast.stmt], within: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Public classes, functions and methods of a module's body with their full names; what is nested in a function is nobody else's."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from public(node.body, within)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield within + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{within}{node.name}.")


def without_sentence(source: str) -> list[str]:
    """Public names of a module that have no docstring, or one whose first paragraph is not closed by a full stop."""
    documented = ((name, ast.get_docstring(node) or "") for name, node in public(ast.parse(source).body))
    return [name for name, text in documented if not text.split("\n\n")[0].rstrip().endswith(".")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f():\n    """Give metres."""\n    def inner(): ...', []),
        ("def f(): ...\ndef _f(): ...", ["f"]),
        ('class A:\n    """A."""\n    def f(self): ...\n    def __len__(self): ...\nclass _B:\n    def g(self): ...', ["A.f"]),
        ('if True:\n    async def f():\n        """Give metres"""', ["f"]),
    ],
)
def test_missing_sentences_are_found(source, expected):
    assert without_sentence(source) == expected


def test_every_public_name_says_in_a_sentence_what_it_does_not_say_itself():
    found = {str(file.relative_to(PACKAGE)): without_sentence(file.read_text()) for file in SOURCES}
    assert {file: names for file, names in found.items() if names} == {}


def test_files_are_one_idea_and_folders_are_rooms():
    lengths = sorted(len(file.read_text().splitlines()) for file in SOURCES if file.name != "__init__.py")
    assert lengths[-1] <= 350, [str(file) for file in SOURCES if len(file.read_text().splitlines()) > 350]
    assert lengths[int(0.9 * len(lengths))] < 250
    modules: dict[Path, int] = defaultdict(int)
    for file in SOURCES:
        modules[file.parent] += file.name != "__init__.py"
    assert {str(folder): count for folder, count in modules.items() if count > 16} == {}


def imported(file: Path) -> Iterator[str]:
    """Top-level packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def declared() -> set[str]:
    """Names of all distributions in the dependencies and the extras, in the normal form of PyPI."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {normal(re.split(r"[\[<>=!~; ]", line)[0]) for line in lines}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_that_is_imported_is_declared():
    owners, known = packages_distributions(), declared()
    undeclared = defaultdict(list)
    for file in SOURCES:
        for package in set(imported(file)) - {"layerscout"} - set(sys.stdlib_module_names):
            if not {normal(owner) for owner in owners.get(package, [package])} & known:
                undeclared[package].append(str(file.relative_to(PACKAGE)))
    assert dict(undeclared) == {}


def test_a_test_module_has_a_name_of_its_own():
    modules = [file.name for file in (PROJECT / "tests").rglob("*.py") if file.name not in ("conftest.py", "__init__.py")]
    assert {name for name in modules if modules.count(name) > 1} == set()
