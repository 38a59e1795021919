"""What makes two models, or two conclusions, the same: hashes of plain data and of the code they follow from.

No list of modules is kept by hand. Weights follow from every module of the packages in `TRAINING`, from the task's own
module and from whatever a method's module imports; conclusions from every module of the packages in `ASSESSING`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import efface

TRAINING = ("data", "models", "training")
"""Packages that weights follow from, whatever the task and method; their own modules come on top."""
PREDICTING = ("data", "models", "evaluation.predict")
"""Packages that saved predictions follow from."""
ASSESSING = ("anonymize", "audit", "data", "evaluation", "experiment", "measures", "models", "tasks", "training")
"""Packages that measures and verdicts follow from."""


def signature_of(plain: Any) -> str:
    """Hash of plain data."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def code_of_packages(*names: str) -> str:
    """Hash of what every module of these packages of `efface` computes; a name may also be a single module."""
    return signature_of([[name, _computed_by(source)] for name, source in sorted(_modules_of(names))])


def code_of(*functions: Any) -> str:
    """Hash of what the modules of these functions compute, and of every module of `efface.methods` they are built on,
    however many imports away.

    Comments, docstrings and formatting do not count.
    """
    modules = {module for function in functions if (module := inspect.getmodule(function)) is not None}
    computed: dict[str, str] = {}
    waiting = sorted(module.__name__ for module in modules)
    while waiting:
        if (name := waiting.pop()) not in computed:
            source = inspect.getsource(import_module(name))
            computed[name] = _computed_by(source)
            waiting += [one for one in _imported(source) if one.startswith("efface.methods.")]
    return signature_of(sorted(computed.values()))


def _modules_of(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(path below the package's root, source) of every module of these packages."""
    root = Path(str(efface.__file__)).parent
    for name in names:
        place = root.joinpath(*name.split("."))
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        yield from ((file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")) for file in files)


@cache
def _computed_by(source: str) -> str:
    """Hash of what a module's text computes."""
    return hashlib.sha256(ast.dump(_without_texts(ast.parse(source))).encode()).hexdigest()


@cache
def _imported(source: str) -> list[str]:
    """Every module that a module's text imports, wherever in it; names imported from one may be modules too."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            below = [f"{node.module}.{name.name}" for name in node.names]
            found += [str(node.module), *(name for name in below if _is_module(name))]
    return found


def _is_module(name: str) -> bool:
    root = Path(str(efface.__file__)).parent
    return name.startswith("efface.") and root.joinpath(*name.split(".")[1:]).with_suffix(".py").exists()


def _without_texts(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
