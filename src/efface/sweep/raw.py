"""Whether what was deleted still stands in the bytes of a store's files.

A vector is looked for in several forms, as it was stored and at length one, by two slices of it: the start of a freed
cell is often written over. A photo is looked for by slices of its file. Whether a search can see anything in a store is
tried before the deletion: what was not to be seen then says nothing afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLICE = 32
"""Bytes of a needle."""
CHUNK = 32 * 2**20
"""Bytes of a file that are looked at at once."""


def slices(content: bytes) -> list[bytes]:
    """Two slices of some bytes, at a quarter and three quarters; fewer of what is short or is all alike there."""
    starts = (len(content) // 4, 3 * len(content) // 4 - SLICE)
    found = [content[start : start + SLICE] for start in starts if start >= 0]
    return [one for one in dict.fromkeys(found) if len(one) == SLICE and len(set(one)) > 4]


def of_vector(vector: NDArray[Any]) -> list[bytes]:
    """Slices of a vector in every form that it is likely to be stored in."""
    plain = np.asarray(vector, np.float32)
    made = [plain]
    if plain.any():  # stores normalise in single or double precision, and the last bits tell which
        exact = np.asarray(vector, np.float64)
        made += [plain / np.linalg.norm(plain), (exact / np.linalg.norm(exact)).astype(np.float32)]
    contents = [form for one in made for form in forms(one)]
    return list(dict.fromkeys(part for content in contents for part in slices(content)))


def forms(vector: NDArray[np.float32]) -> list[bytes]:
    """A vector as bytes: half, single and double precision, a pickled list of Python's floats, a list of JSON."""
    numbers = vector.astype(np.float64)
    pickled = np.empty((len(vector), 9), np.uint8)
    pickled[:, 0] = ord("G")
    pickled[:, 1:] = numbers.astype(">f8")[:, None].view(np.uint8)
    binary = [numbers.astype(kind).tobytes() for kind in (np.float16, np.float32, np.float64)]
    return [*binary, pickled.tobytes(), json.dumps(numbers.tolist()).encode()]


def surviving(needles: Iterable[bytes], files: Sequence[Path]) -> dict[bytes, list[Path]]:
    """Which needles stand in which files; memory does not grow with the files."""
    wanted: dict[int, list[bytes]] = {}
    for one in set(needles):
        wanted.setdefault(int.from_bytes(one[:8], "little"), []).append(one)
    starts = np.array(sorted(wanted), np.uint64)
    found: dict[bytes, list[Path]] = {}
    for path in files if len(starts) else ():
        with path.open("rb") as file:
            kept = b""
            while chunk := file.read(CHUNK):
                text = kept + chunk
                for one in _standing(text, starts, wanted):
                    places = found.setdefault(one, [])
                    if path not in places:
                        places.append(path)
                kept = text[-(SLICE - 1) :]
    return found


def _standing(text: bytes, starts: NDArray[np.uint64], wanted: dict[int, list[bytes]]) -> set[bytes]:
    """Needles in some bytes: every eight bytes, wherever they begin, are looked up among the needles' first eight."""
    found = set()
    for shift in range(min(8, len(text) - 7)):
        count = (len(text) - shift) // 8
        words = np.frombuffer(text, "<u8", count, shift)
        places = np.searchsorted(starts, words)
        places[places == len(starts)] = 0
        for row in np.flatnonzero(starts[places] == words).tolist():
            at = shift + 8 * row
            found |= {one for one in wanted[int(words[row])] if text[at : at + SLICE] == one}
    return found
