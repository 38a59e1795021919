"""Memory: asked for before it is taken, handed back, and counted."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

import psutil

from efface.errors import InputError


def check_memory(needed: int, what: str) -> None:
    """Raise InputError where `what` needs more bytes than are free."""
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(f"{what} takes {needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free")


def memory_held() -> int:
    """Bytes in memory that are this process's own. Pages of mapped files, which the system may drop, do not count where
    it tells them apart."""
    held = _process(os.getpid()).memory_info()
    return int(held.rss - getattr(held, "shared", 0))


def hand_back_memory() -> None:
    """Give the system what was freed and is kept for later use (glibc; elsewhere nothing is done): what is taken next
    then shows."""
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)


@cache
def _trim() -> Any:
    """glibc's `malloc_trim`; None where there is none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
