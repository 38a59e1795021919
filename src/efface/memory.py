"""Memory asked for before it is taken."""

from __future__ import annotations

import psutil

from efface.errors import InputError


def check_memory(needed: int, what: str) -> None:
    """Raise InputError where `what` needs more bytes than are free."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(f"{what} takes {needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free")
