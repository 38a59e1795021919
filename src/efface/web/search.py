"""More photos of a person among those that the organisation keeps: searched by `efface find`, accepted by a person."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.erasure.find import TABLE
from efface.errors import InputError
from efface.files import plain_cells, read_csv
from efface.settings import validated

MOST_SHOWN = 300
"""Candidates on the page, the best first; more of one person stand in the table."""


@dataclass(frozen=True)
class Candidate:
    """A photo that may show the person."""

    row: int
    """Its row in the table of candidates, by which the page asks for it."""
    path: str
    score: float
    """Cosine to the nearest photo of the person."""
    suggested: str
    """yes or unsure."""


@dataclass(frozen=True)
class Search:
    """Where every request's person is looked for."""

    photos: Path
    others: Path | None = None
    """Photos of other people, from which it is learned what a stranger's score can be."""

    def command(self, tables: Mapping[str, Any], arch: str | None, examples: Path, out: Path) -> list[str]:
        """The `efface find` of a person whose photos are `examples`; tables: the settings of the office."""
        command = [sys.executable, "-m", "efface", "find", str(examples), str(self.photos), "--skip-unreadable"]
        options = {"out": out, "others": self.others, "arch": arch}
        options |= {name: tables.get(name) for name in ("model", "contract", "detector")}
        for name, value in options.items():
            command += [f"--{name}", str(value)] if value else []
        return command


def searched(tables: dict[str, Any], file: Path) -> Search | None:
    """Take `[search]` out of a settings file's tables; paths are from where the file lies. None where there is none."""
    given = tables.pop("search", None)
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InputError(f"settings {file}: [search] is a table with photos, and others if you have them")
    named = validated(_settings, given, f"settings {file}: [search]")
    places = {name: (file.parent / place).resolve() for name, place in named.items() if place}
    for name, place in places.items():
        if not place.is_dir():
            raise InputError(f"settings {file}: [search] {name} {place} is no folder")
    return Search(**places)


def _settings(*, photos: str, others: str = "") -> None:
    """What `[search]` may say."""


def candidates(folder: Path) -> list[Candidate]:
    """What a search found and does not rule out, best first; [] where it has not ended."""
    if not (folder / TABLE).exists():
        return []
    table = plain_cells(read_csv(folder / TABLE, "table of candidates"))
    rows = zip(table["row"], table["path"], table["score"], table["suggested"], strict=True)
    return [Candidate(int(row), path, float(score), why) for row, path, score, why in rows if why != "no"]


def chosen(found: Sequence[Candidate], rows: Sequence[str]) -> tuple[str, ...]:
    """Paths of the candidates whose rows a form names."""
    return tuple(one.path for one in found[:MOST_SHOWN] if str(one.row) in {*rows})
