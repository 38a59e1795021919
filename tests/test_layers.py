"""Imports only go down, methods do not measure, measures see no tensor, and help is light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "efface"
PLANS = Path(__file__).parents[1] / "plans"

LAYERS = [
    {"errors"},
    {"distributed", "files", "functions", "measure_key", "memory", "progress", "user_code"},
    {"settings", "results"},
    {"plan"},
    {"data", "models"},
    {"measures", "datasets", "anonymize"},
    {"tasks", "preparation"},
    {"training", "quality"},
    {"methods"},
    {"evaluation", "reference"},
    {"audit"},
    {"report"},
    {"erasure", "experiment"},
    {"ledger", "sweep"},
    {"web"},
    {"library", "testing", "cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    return {
        parts[1]
        for name in imports(path)
        if (parts := name.split("."))[0] == "efface" and len(parts) > 1 and parts[1] in LEVEL
    }


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_go_down(path: Path) -> None:
    above = {other for other in rooms_imported(path) if other != room(path) and LEVEL[other] > LEVEL[room(path)]}
    assert not above


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "measures"], ids=lambda path: path.stem)
def test_measures_never_see_a_tensor(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} <= {
        "__future__",
        "collections",
        "dataclasses",
        "efface",
        "fairlearn",
        "functools",
        "math",
        "numpy",
        "os",
        "pandas",
        "pathlib",
        "scipy",
        "sklearn",
        "typing",
        "warnings",
    }


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "methods"], ids=lambda path: path.stem)
def test_methods_never_measure(path: Path) -> None:
    assert not rooms_imported(path) & {"measures", "evaluation", "results", "report"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """By their top-level imports; what is imported inside a function is loaded when it is called."""
    modules = {
        ".".join(["efface", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in FILES
    }
    needs: dict[str, set[str]] = {}
    for name, path in modules.items():
        top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
        found = {
            f"{node.module}.{one.name}" if f"{node.module}.{one.name}" in modules else str(node.module)
            for node in top
            for one in node.names
        }
        needs[name] = (found & set(modules)) - {name}
    tuple(TopologicalSorter(needs).static_order())  # raises CycleError


HEAVY = {"torch", "scipy", "sklearn", "pandas", "matplotlib"}


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], HEAVY | {"numpy"}),
        (["list"], HEAVY),
        (["list", "methods"], HEAVY),
        (["check", str(PLANS / "attributes.toml")], HEAVY),
        (["check", str(PLANS / "recognition_full.toml")], HEAVY),
    ],
    ids=["help", "list", "list methods", "check", "check of paths that are not here"],
)
def test_what_computes_nothing_imports_nothing_heavy(words: list[str], heavy: set[str]) -> None:
    code = (
        f"import sys; sys.argv = ['efface', *{words}]\n"
        "from efface.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"found = {heavy} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
