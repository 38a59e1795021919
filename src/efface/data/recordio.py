"""RecordIO, the file format of MXNet in which insightface hands out faces, read without MXNet.

A record is a magic number, a word with three bits of flag and 29 of length, and its bytes padded to four. Where the
magic number occurs in the bytes themselves, they are cut there and stand in several parts. The bytes of an image are a
header `IfQQ` (flag, label, two numbers), `flag` further labels, and the file of the picture.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efface.errors import InputError, refusing

MAGIC = 0xCED7230A
HEADER = 24
"""Bytes of `IfQQ`."""


@dataclass(frozen=True)
class Record:
    """One record, whole."""

    labels: tuple[float, ...]
    payload: bytes
    """The picture's file; empty in records that only describe."""


def read_record(path: Path, offset: int) -> Record:
    """The record that begins at a byte of a file; InputError where there is none."""
    parts = []
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(min(offset, size))
            while True:
                magic, word = struct.unpack("<II", file.read(8))
                kind, length = word >> 29, word & (1 << 29) - 1
                if magic != MAGIC or length > size:
                    raise _broken(path, offset)
                data = file.read(length)
                if len(data) < length:
                    raise _broken(path, offset)
                parts.append(data)
                if kind in (0, 3):
                    break
                file.seek(-length % 4, 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except struct.error:
        raise _broken(path, offset) from None
    data = struct.pack("<I", MAGIC).join(parts)
    if len(data) < HEADER:
        raise _broken(path, offset)
    flag, label, _, _ = struct.unpack_from("<IfQQ", data)
    if len(data) < HEADER + 4 * flag:
        raise _broken(path, offset)
    labels = struct.unpack_from(f"<{flag}f", data, HEADER) if flag else (label,)
    return Record(labels, data[HEADER + 4 * flag :])


def first_labels(path: Path, offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) the first label of the record at each offset, read without the pictures."""
    with refusing(f"{path} cannot be read"):
        store = np.memmap(path, np.uint8, "r")
    labels = np.empty(len(offsets))
    for start in range(0, len(offsets), 100_000):
        some = offsets[start : start + 100_000]
        inside = some + 8 + HEADER + 4 <= len(store)
        if not inside.all():
            raise _broken(path, int(some[~inside][0]))
        words = store[some[:, None] + np.arange(8 + HEADER + 4)].view("<u4")
        wrong = words[:, 0] != MAGIC
        if wrong.any():
            raise _broken(path, int(some[wrong][0]))
        numbers = words.view("<f4")
        labels[start : start + len(some)] = np.where(words[:, 2] > 0, numbers[:, 8], numbers[:, 3])
    return labels


def _broken(path: Path, offset: int) -> InputError:
    return InputError(
        f"{path} has no whole record at byte {offset}: the file is cut off or damaged, or its .idx "
        "belongs to another; fetch it again"
    )
