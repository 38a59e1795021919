"""Small files in exactly the layout of large ones, for tests and for trying a plan before its data are there."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efface.recordio import MAGIC


def picture_file(image: NDArray[np.uint8], kind: str = "JPEG") -> bytes:
    """The file of a picture (3, h, w)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, kind, quality=95)
    return buffer.getvalue()


def record_bytes(data: bytes) -> bytes:
    """One record of RecordIO, cut in parts where its bytes hold the magic number on a boundary of four."""
    magic, cuts, start = struct.pack("<I", MAGIC), [], 0
    for place in range(0, len(data) - 3, 4):
        if data[place:place + 4] == magic:
            cuts.append(data[start:place])
            start = place + 4
    cuts.append(data[start:])
    kinds = [0] if len(cuts) == 1 else [1, *[2] * (len(cuts) - 2), 3]
    return b"".join(magic + struct.pack("<I", kind << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
                    for kind, part in zip(kinds, cuts, strict=True))


def write_rec(folder: Path, images: NDArray[np.uint8], people: Sequence[int]) -> None:
    """`train.rec`, `train.idx` and `property` of images (n, 3, h, w) sorted by person, with a description of each."""
    folder.mkdir(parents=True, exist_ok=True)
    count, names = len(images), sorted(set(people))
    data = [struct.pack("<IfQQ", 2, 0, 0, 0) + struct.pack("<2f", count + 1, count + 1 + len(names))]
    data += [struct.pack("<IfQQ", 0, person, number, 0) + picture_file(image)
             for number, (image, person) in enumerate(zip(images, people, strict=True), start=1)]
    for person in names:
        rows = [number for number, one in enumerate(people, start=1) if one == person]
        data.append(struct.pack("<IfQQ", 2, 0, 0, 0) + struct.pack("<2f", rows[0], rows[-1] + 1))
    offset, lines = 0, []
    with (folder / "train.rec").open("wb") as file:
        for key, one in enumerate(data):
            lines.append(f"{key}\t{offset}\n")
            offset += file.write(record_bytes(one))
    (folder / "train.idx").write_text("".join(lines), encoding="ascii")
    (folder / "property").write_text(f"{len(names)},{images.shape[2]},{images.shape[3]}\n", encoding="ascii")


def write_bin(path: Path, images: NDArray[np.uint8], same: Sequence[bool], *, arrays: bool = False) -> None:
    """A verification set of images (2p, 3, h, w); `arrays`: each picture file as an array of bytes."""
    files = [picture_file(image) for image in images]
    bins = [np.frombuffer(one, np.uint8) for one in files] if arrays else files
    path.write_bytes(pickle.dumps((bins, list(same)), protocol=2))
