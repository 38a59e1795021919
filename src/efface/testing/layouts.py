"""Small files in exactly the layout of large ones, for tests and for trying a plan before its data are there."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efface.data.recordio import MAGIC


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
        if data[place : place + 4] == magic:
            cuts.append(data[start:place])
            start = place + 4
    cuts.append(data[start:])
    kinds = [0] if len(cuts) == 1 else [1, *[2] * (len(cuts) - 2), 3]
    return b"".join(
        magic + struct.pack("<I", kind << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
        for kind, part in zip(kinds, cuts, strict=True)
    )


def write_rec(folder: Path, images: NDArray[np.uint8], people: Sequence[int]) -> None:
    """`train.rec`, `train.idx` and `property` of images (n, 3, h, w) sorted by person, with a description of each."""
    folder.mkdir(parents=True, exist_ok=True)
    count, names = len(images), sorted(set(people))
    data = [struct.pack("<IfQQ", 2, 0, 0, 0) + struct.pack("<2f", count + 1, count + 1 + len(names))]
    data += [
        struct.pack("<IfQQ", 0, person, number, 0) + picture_file(image)
        for number, (image, person) in enumerate(zip(images, people, strict=True), start=1)
    ]
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


def write_mufac(
    folder: Path,
    images: Mapping[str, NDArray[np.uint8]],
    families: Mapping[str, Sequence[tuple[str, str, str]]],
) -> None:
    """MUFAC's tree: of each part (train, val, test) images (n, 3, h, w) and (family, member, class a to h) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, people in families.items():
        (folder / f"{part}_images").mkdir(exist_ok=True)
        lines = ["family_id,person_id,age_class,image_path"]
        for number, (image, (family, member, age)) in enumerate(zip(images[part], people, strict=True)):
            name = f"{family}_AGE_{member}_{18 + number}_{age}{number}.{'JPG' if number % 5 == 0 else 'jpg'}"
            (folder / f"{part}_images" / name).write_bytes(picture_file(image))
            lines.append(f"{family},{member},{age},{name}")
        (folder / f"custom_{part}_dataset.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_celeba_hq(
    folder: Path,
    images: NDArray[np.uint8],
    people: Sequence[int],
    attributes: NDArray[np.int64],
    names: Sequence[str],
) -> None:
    """CelebA-HQ's tree of images (n, 3, h, w), the number of each person and attributes (n, a) of -1 and 1."""
    photos = folder / "CelebAMask-HQ" / "CelebA-HQ-img"
    photos.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (photos / f"{number}.jpg").write_bytes(picture_file(image))
    (folder / "CelebA-HQ-identity.txt").write_text(
        "".join(f"{number}.jpg {person}\n" for number, person in enumerate(people)), encoding="ascii"
    )
    rows = [f"{number}.jpg  {'  '.join(map(str, row))}" for number, row in enumerate(attributes.tolist())]
    (folder / "CelebA-HQ-attribute.txt").write_text(
        "\n".join([str(len(rows)), " ".join(names), *rows]) + "\n", encoding="ascii"
    )


def write_jaffe(folder: Path, images: NDArray[np.uint8], people: Sequence[str], expressions: Sequence[str]) -> None:
    """JAFFE's files of grey images (n, h, w), every seventh with a palette."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    times: dict[tuple[str, str], int] = {}
    for number, (image, person, expression) in enumerate(zip(images, people, expressions, strict=True)):
        times[person, expression] = times.get((person, expression), 0) + 1
        photo = Image.fromarray(image).convert("P" if number % 7 == 0 else "L")
        photo.save(folder / f"{person}.{expression}{times[person, expression]}.{number + 1}.tiff")
