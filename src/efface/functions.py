"""Functions by name, each imported when it is asked for; what it takes and says of itself is read from its source."""

from __future__ import annotations
import __future__ as future

import ast
import builtins
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGE = Path(__file__).parent


class Functions(MutableMapping[str, Function], Generic[Function]):
    """A table of functions of `efface`: each name with the module that holds the function of this name.

    What does not need the function itself, such as validating its settings, asks for its `outline`, so that the module
    and the libraries it computes with are not imported.
    """

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = dict(modules)
        self.own: dict[str, Function] = {}
        """Functions that were put in at run time."""

    def __getitem__(self, name: str) -> Function:
        if name in self.own:
            return self.own[name]
        return cast(Function, getattr(import_module(self.modules[name]), name))

    def __setitem__(self, name: str, function: Function) -> None:
        self.own[name] = function

    def __delitem__(self, name: str) -> None:
        del self.own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules | self.own)

    def __len__(self) -> int:
        return len(self.modules | self.own)

    def __contains__(self, name: object) -> bool:
        return name in self.modules or name in self.own

    def outline(self, name: str) -> Function:
        """A function with the parameters, defaults and docstring of the one of this name, which computes nothing."""
        return self.own[name] if name in self.own else cast(Function, outline(self.modules[name], name))

    def about_module(self, name: str) -> str:
        """Docstring of the module that holds a function."""
        module = self.own[name].__module__ if name in self.own else self.modules[name]
        docstring = sys.modules[module].__doc__ if module in sys.modules else ast.get_docstring(source_of(module))
        return docstring or ""


def outline(module: str, name: str) -> Callable[..., Any]:
    """A function of a module of `efface` without its body, made from the source alone; of a module that is imported
    already, the function itself."""
    if module in sys.modules:
        return cast(Callable[..., Any], getattr(sys.modules[module], name))
    (found,) = (part for part in source_of(module).body if isinstance(part, ast.FunctionDef) and part.name == name)
    shell = ast.FunctionDef(
        name, found.args, [ast.Expr(ast.Constant(ast.get_docstring(found, clean=False)))], [], lineno=1, col_offset=0
    )
    arguments = found.args
    annotations = [one.annotation for one in arguments.kwonlyargs if one.annotation is not None]
    kept = [*annotations, *(one for one in [*arguments.defaults, *arguments.kw_defaults] if one is not None)]
    namespace = {"__name__": module} | names_in(module, kept)
    tree = ast.fix_missing_locations(ast.Module([shell], []))
    exec(compile(tree, str(file_of(module)), "exec", future.annotations.compiler_flag, dont_inherit=True), namespace)
    return cast(Callable[..., Any], namespace[name])


def value_in(module: str, name: str) -> Any:
    """What a name at the top of a module stands for: imported there, or assigned."""
    if module in sys.modules:
        return getattr(sys.modules[module], name)
    for part in source_of(module).body:
        if isinstance(part, ast.Import):
            for one in part.names:
                if name == (one.asname or one.name):
                    return import_module(one.name)
        elif isinstance(part, ast.ImportFrom):
            for one in part.names:
                if name == (one.asname or one.name):
                    return value_from(str(part.module), one.name)
        elif isinstance(part, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in part.targets):
            expression = ast.fix_missing_locations(ast.Expression(part.value))
            return eval(compile(expression, str(file_of(module)), "eval"), names_in(module, [part.value]))
    return getattr(builtins, name)


def value_from(module: str, name: str) -> Any:
    """What an import of a name from a module brings."""
    return value_in(module, name) if module.startswith("efface.") else getattr(import_module(module), name)


def names_in(module: str, parts: list[ast.expr]) -> dict[str, Any]:
    """Every name that stands in parts of a module's source, with what it stands for."""
    return {
        node.id: value_in(module, node.id) for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)
    }


def file_of(module: str) -> Path:
    """Where the source of a module of `efface` lies."""
    return PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


@cache
def source_of(module: str) -> ast.Module:
    """A module of `efface`, parsed."""
    return ast.parse(file_of(module).read_text(encoding="utf-8"))
