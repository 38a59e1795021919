"""Memory: asked for before it is taken, kept between steps, handed back, and counted.

psutil is imported where it is needed: the command line keeps memory before it knows what it is asked.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

from efface.errors import InputError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's `mallopt` can be told: from how much free memory on it hands some back, and from what size on a piece of
memory is asked of the system and handed back by itself."""
MOST_BYTES = 2**31 - 1
"""The largest number that it takes."""


def check_memory(needed: int, what: str) -> None:
    """Raise InputError where `what` needs more bytes than are free."""
    import psutil

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
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def keep_freed_memory() -> None:
    """From now on keep what is freed until it is handed back (glibc; elsewhere nothing is done). For processes of our
    own: each training step frees what the next one asks for, and the system clears each page before it hands it out
    again (benchmarks/kept_memory.py)."""
    if (tell := _of_glibc("mallopt")) is not None:
        tell(MMAP_THRESHOLD, MOST_BYTES)
        tell(TRIM_THRESHOLD, MOST_BYTES)


@cache
def _process(pid: int) -> Any:
    """The process, as psutil has it."""
    import psutil

    return psutil.Process(pid)


@cache
def _of_glibc(name: str) -> Any:
    """A function of glibc's memory; None where there is none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
