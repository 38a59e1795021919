"""Whether bytes of a vector or a photo stand in files, whatever these are: read as they lie, without their format.

A vector is looked for in pieces of 16 bytes, so that what is split over pages or overwritten in part is found too, and
up to the last bits of its numbers: libraries that bring a vector to length one round differently.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import units
from efface.errors import InputError, one_line

PIECE, LINE, PIECES = 16, 48, 16
"""Bytes of a piece, of one of text (a single number of another line may be the same), and how many of each form are
looked for, spread over all of it."""
VARIED = 8
"""Different bytes that a piece must have: zeros and repeated bytes stand everywhere."""
JPEG, SCAN = b"\xff\xd8", b"\xff\xda"
BLOCK = 2**24
"""Bytes of a file in memory at a time."""
BITS, FACTOR = 24, np.uint64(0x9E3779B97F4A7C15)
"""Of the table by which most positions of a file are passed over: multiplicative hashing, Fibonacci's (Knuth, TAOCP
volume 3, 6.4)."""

NEEDED = {"photo bytes": 4, "pixels": 4}
"""How many pieces of a photo must stand in a file: one alone may be a table, a profile or a plain background."""
CLOSE = 1e-6
"""Relative difference up to which two numbers are the same, rounded differently."""
KINDS: Mapping[str, tuple[int, str]] = {
    "float32": (0xFFFFFF00FFFFFF00, "<f4"),
    "float64": (0xFFFFFFFF00000000, "<f8"),
    "pickled": (0x000000FFFFFFFFFF, ">f8"),
}
"""Of the kinds of numbers that are rounded: which bits of the first eight bytes of a piece are compared at once, and
how its numbers are read. Pickle writes a double as the letter G and eight bytes."""
EXACT = KINDS["float32"][0]

Forms = Mapping[str, tuple[bytes, ...]]
"""Pieces by the form of which they are: "float16", "photo bytes"."""


def vector_forms(vector: Array) -> Forms:
    """Pieces of a vector (d,) as it is and at length one, in the kinds of numbers that stores write."""
    plain = np.asarray(vector, np.float64)
    forms = {}
    for name, values in (("", plain), ("unit ", units(plain[None])[0].astype(np.float64))):
        for kind in ("<f4", "<f2", "<f8"):
            with np.errstate(over="ignore"):  # too long for float16: then no store has it so
                forms[f"{name}{np.dtype(kind).name}"] = _pieces(values.astype(kind).tobytes())
        doubles = values.astype(">f8").view(np.uint8).reshape(-1, 8)
        forms[f"{name}pickled"] = _pieces(np.insert(doubles, 0, ord("G"), axis=1).tobytes(), 18)
    if np.allclose(plain, values, rtol=CLOSE, atol=0):
        forms = {name: part for name, part in forms.items() if not name.startswith("unit")}
    return {name: part for name, part in forms.items() if part}


def photo_forms(content: bytes) -> Forms:
    """Pieces of a photo's file and of its SHA-256. Of a JPEG they are of its last scan, of others of the later half:
    what comes before are tables and profiles that photos share."""
    digest = hashlib.sha256(content)
    start = content.rfind(SCAN) + 14 if content.startswith(JPEG) and SCAN in content else len(content) // 2
    return {
        "photo bytes": _pieces(content[start:]),
        "SHA-256": (digest.digest()[:PIECE],),
        "SHA-256 in letters": (digest.hexdigest().encode()[:PIECE],),
    }


def face_forms(pixels: NDArray[np.uint8]) -> Forms:
    """Pieces of a face's pixels."""
    return {"pixels": _pieces(np.ascontiguousarray(pixels).tobytes())}


def text_forms(line: str) -> Forms:
    """Pieces of a line of a text file."""
    return {"text": _pieces(line.encode(), LINE)}


def _pieces(content: bytes, step: int = PIECE) -> tuple[bytes, ...]:
    """At most `PIECES` pieces, evenly spread, each of which says something."""
    found = [content[start : start + step] for start in range(0, len(content) - step + 1, step)]
    found = [piece for piece in found if len(set(piece)) >= VARIED]
    return tuple(
        found[place] for place in np.unique(np.linspace(0, len(found) - 1, PIECES).round().astype(int)) if found
    )


def files_of(*places: Path) -> list[Path]:
    """Regular files at and below these places, sorted; no link is followed."""
    found = []
    for place in places:
        if place.is_dir() and not place.is_symlink():
            for folder, _, names in os.walk(place):
                found += [Path(folder) / name for name in names]
        else:
            found.append(place)
    return sorted({one for one in found if not one.is_symlink() and one.is_file()})


def name_below(file: Path, folder: Path) -> str:
    """A file's path below a folder. Raises InputError for one that is not UTF-8, which no table can hold."""
    name = file.relative_to(folder).as_posix()
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{folder} holds a name that is not UTF-8, '{one_line(name)}': rename it") from None
    return name


def present(files: Sequence[Path], needles: Sequence[Forms]) -> tuple[dict[Path, dict[str, set[int]]], list[Path]]:
    """Which needles have a piece in which file: by file and form their numbers; and the files that cannot be read."""
    wanted: dict[int, dict[int, list[tuple[bytes, str, int]]]] = {}
    for number, forms in enumerate(needles):
        for form, parts in forms.items():
            mask, _ = KINDS.get(form.split()[-1], (EXACT, ""))
            for piece in parts:
                key = int.from_bytes(piece[:8], "little") & mask
                wanted.setdefault(mask, {}).setdefault(key, []).append((piece, form, number))
    likely = {mask: _likely(pieces) for mask, pieces in wanted.items()}
    found: dict[Path, dict[str, dict[int, set[bytes]]]] = {}
    closed = []
    for file in files:
        try:
            for block in _blocks(file, LINE):
                for mask, pieces in wanted.items():
                    for place, key in _candidates(block, likely[mask], mask):
                        for piece, form, number in pieces.get(key, ()):
                            seen = found.setdefault(file, {}).setdefault(form, {}).setdefault(number, set())
                            if len(seen) < NEEDED.get(form, 1) and _is_piece(block, place, piece, form):
                                seen.add(piece)
        except FileNotFoundError:
            continue  # a server removed it meanwhile
        except OSError:
            closed.append(file)
    enough = {
        file: {
            form: {number for number, seen in numbers.items() if len(seen) >= _needed(form, needles[number])}
            for form, numbers in forms.items()
        }
        for file, forms in found.items()
    }
    whole = {file: {form: numbers for form, numbers in forms.items() if numbers} for file, forms in enough.items()}
    return {file: forms for file, forms in whole.items() if forms}, closed


def _needed(form: str, forms: Forms) -> int:
    """How many of its pieces make a form present."""
    return min(NEEDED.get(form, 1), len(forms[form]))


def _is_piece(block: bytes, place: int, piece: bytes, form: str) -> bool:
    """Whether a piece stands here, but for how its numbers are rounded."""
    here = block[place : place + len(piece)]
    kind = form.split()[-1]
    if here == piece or kind not in KINDS or len(here) < len(piece):
        return here == piece
    if kind == "pickled":
        if here[9:10] != b"G":
            return False
        here, piece = here[1:9] + here[10:], piece[1:9] + piece[10:]
    found, wanted = (np.frombuffer(one, KINDS[kind][1]) for one in (here, piece))
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.allclose(found, wanted, rtol=CLOSE, atol=0))


def _likely(keys: Collection[int]) -> NDArray[np.bool_]:
    """(2**BITS,) by slot, whether a key falls into it."""
    likely = np.zeros(2**BITS, bool)
    likely[_slots(np.fromiter(keys, np.uint64, len(keys)))] = True
    return likely


def _slots(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    slots: NDArray[np.uint64] = (keys * FACTOR) >> np.uint64(64 - BITS)
    return slots


def _candidates(block: bytes, likely: NDArray[np.bool_], mask: int) -> Iterator[tuple[int, int]]:
    """Positions whose eight bytes may begin a piece, and these bytes under the mask."""
    for shift in range(8):
        if (many := (len(block) - shift) // 8) > 0:
            words = np.frombuffer(block, "<u8", many, shift) & np.uint64(mask)
            places = np.flatnonzero(likely[_slots(words)])
            yield from zip((8 * places + shift).tolist(), words[places].tolist(), strict=True)


def _blocks(file: Path, overlap: int) -> Iterator[bytes]:
    """A file block by block, each with the end of the one before."""
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        tail = b""
        while chunk := stream.read(BLOCK):
            yield tail + chunk
            tail = (tail + chunk)[-(overlap - 1) :]
