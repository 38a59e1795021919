"""Names of people and groups, however they were typed: one name is one person."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

JOINERS = "\u200c\u200d"
"""Invisible, but part of the spelling of Persian and of Indian scripts."""

NOT_NAMES = ("key", "path")
"""Columns that name files: they stay as they are."""


def normal(name: str) -> str:
    """A name as everything compares it: Unicode NFC, trimmed, one blank between words, no invisible characters."""
    visible = "".join(c for c in name if c in JOINERS or c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFC", " ".join(visible.split()))


def normalised(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every text but keys and paths as `normal` has it."""
    known: dict[str, str] = {}

    def one(cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        if cell not in known:
            known[cell] = normal(cell)
        return known[cell]

    texts = [name for name in table.columns if name not in NOT_NAMES and table[name].dtype.kind not in "biufcmM"]
    changed = {name: table[name].map(one) for name in texts}
    return table.assign(**{name: column for name, column in changed.items() if not column.equals(table[name])})


def words_of(text: str, *, accents: bool = True) -> list[str]:
    """The words of a text as names are looked for in it: without capitals and what stands between words, however an
    accent is encoded; accents=False: without them too, as file names often are.

    >>> words_of("/faces/GARCÍA-José/"), words_of("jose_garci\u0301a", accents=False)
    (['faces', 'garcía', 'josé'], ['jose', 'garcia'])
    """
    known = normal(text)
    if not accents:
        parts = unicodedata.normalize("NFKD", known)
        known = "".join(c for c in parts if unicodedata.category(c) != "Mn")
    return re.findall(r"[^\W_]+", known.casefold())


def among(known: Collection[str]) -> Callable[[str], str | None]:
    """What finds a name among those known: itself or, where it is not there, the first that is spelt another way."""
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(normal(name), name)
    exact = {*known}
    return lambda name: name if name in exact else names.get(normal(name))


def spelt_alike(names: Collection[str]) -> list[list[str]]:
    """Groups of different names that may be one: `1` and `1.0` and `01`, or but for capitals and marks between words
    the same."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for name in set(names):
        number = re.fullmatch(r"(-?[0-9]{1,99})(\.0*)?", name)
        words = " ".join(words_of(unicodedata.normalize("NFKC", name)))
        groups[str(int(number[1])) if number else words or name].add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def spelling_warning(names: Collection[str]) -> str:
    """One sentence that names people who may be one person, or ""."""
    groups = spelt_alike(names)
    if not groups:
        return ""
    first = "; ".join(" and ".join(f"“{name}”" for name in group[:4]) for group in groups[:3])
    return (
        f"{len(groups):,} {'person' if len(groups) == 1 else 'people'} may stand under several names, each counted as "
        f"somebody else: {first}{'; ...' if len(groups) > 3 else ''}."
    )
