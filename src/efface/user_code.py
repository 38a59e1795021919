"""Code of the user's own, named "module:function" in a plan or on the command line.

A module that is installed is imported as everywhere. One of the working folder is found only if it was named, or if
a module so named imports it: the folder is never on `sys.path`, where a `queue.py` in it would stand for everybody's.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType
from typing import Any

from efface.errors import InputError


class WorkingFolder(MetaPathFinder):
    """Finds the module that is wanted in the working folder, and what it imports, after every other finder."""

    def __init__(self) -> None:
        self.wanted = ""
        self.found: dict[str, str] = {}
        """Top modules that came from a working folder, and that folder."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        folder = os.getcwd() if name == self.wanted else self.found.get(_importer())
        spec = PathFinder.find_spec(name, [folder]) if folder and path is None else None
        if spec is not None and folder is not None:
            self.found[name] = folder
        return spec


_WORKING_FOLDER = WorkingFolder()


def _importer() -> str:
    """The top module of the code that asks for an import."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module != __name__ and not module.startswith(("importlib", "_frozen_importlib")):
            return module.partition(".")[0]
        frame = frame.f_back
    return ""


def function_named(name: str, where: str = "model.factory") -> Callable[..., Any]:
    """The function that "module:function" names; its module is run. InputError where there is none."""
    module, _, attribute = name.partition(":")
    if _WORKING_FOLDER not in sys.meta_path:
        sys.meta_path.append(_WORKING_FOLDER)
    _WORKING_FOLDER.wanted = module.partition(".")[0]
    try:
        function: Callable[..., Any] = getattr(import_module(module), attribute)
        inspect.getsource(import_module(module))  # what a run is signed with
    except (ImportError, AttributeError, ValueError, TypeError, OSError, SyntaxError) as error:
        raise InputError(
            f"{where} '{name}' cannot be used: {error}; expected \"module:function\" that can be "
            "imported from where you stand"
        ) from None
    finally:
        _WORKING_FOLDER.wanted = ""
    return function
