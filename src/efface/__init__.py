"""Make a trained face model forget someone, and show what that did to everyone else.

>>> import efface
>>> efface.__all__
['InputError', 'audit_models', 'evaluate', 'forget', 'run']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from efface.errors import InputError

if TYPE_CHECKING:
    from efface.library import audit_models, evaluate, forget, run

__version__ = "0.1.0"

__all__ = ["InputError", "audit_models", "evaluate", "forget", "run"]


def __getattr__(name: str) -> Any:
    """The library's functions, loaded (and torch with them) when the first of them is asked for."""
    if name in __all__:
        from efface import library

        return getattr(library, name)
    raise AttributeError(f"module 'efface' has no attribute '{name}'")
