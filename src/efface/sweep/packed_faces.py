"""Packed faces, as `efface prepare` writes them: rows leave pictures and labels together, and checksums are new."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from efface.data.faces import FaceTable
from efface.erasure.record import Store as Holding
from efface.errors import InputError
from efface.preparation.packed import open_packed, read_manifest, write_packed
from efface.sweep.person import Person, suggested
from efface.sweep.raw import face_forms, files_of
from efface.sweep.store import Copy, Place, Searched, Store, kept_rows, own_folder

BLOCK = 1024
"""Faces that are written at a time."""
WRITTEN = {"format", "efface", "shape", "people", "columns", "sha256", "manifest_sha256"}
"""What `write_packed` says of itself in a manifest."""


class PackedFaces(Store):
    """`kind = "packed"`: faces by their rows."""

    kind: Literal["packed"]
    path: Place
    """The folder."""
    holds: Holding = "crops"

    def search(self, person: Person) -> Searched:
        """Faces by their embeddings and difference hashes."""
        faces = self._open()
        read = [person.read(_picture(image)) for image in faces.images]
        limits = person.limits([score for score, _ in read])
        copies = [
            Copy(self.name, f"row {row}", score, word, _sha256(faces.images[row]), face_forms(faces.images[row]))
            for row, (score, looks) in enumerate(read)
            if (word := suggested(score, limits, person.resembles(looks))) != "no"
        ]
        return Searched(sorted(copies, key=lambda one: -one.score), len(read))

    def delete(self, copies: Sequence[Copy]) -> None:
        """Write the folder again without these rows, beside it; then it takes its place."""
        faces, manifest = self._open(), read_manifest(self.path)
        self.refuse_changed(copies, {f"row {row}": _sha256(image) for row, image in enumerate(faces.images)})
        keep = kept_rows(len(faces.images), [one.location for one in copies])
        rows = np.flatnonzero(keep)
        if not len(rows):
            raise InputError(f"store '{self.name}': every face of {self.path} would go: remove the folder yourself")
        new, old = (self.path.with_name(self.path.name + end) for end in (".swept", ".before"))
        if old.exists():
            raise InputError(f"store '{self.name}': {old} is in the way: a sweep was cut off; see what is in it")
        shutil.rmtree(new, ignore_errors=True)
        write_packed(
            new,
            (np.array(faces.images[rows[start : start + BLOCK]]) for start in range(0, len(rows), BLOCK)),
            faces.table.iloc[rows].reset_index(drop=True),
            shape=faces.images.shape[1:],
            about={name: value for name, value in manifest.items() if name not in WRITTEN},
        )
        shutil.copymode(self.path, new)
        for file in self.files():
            if (new / file.name).is_file():
                shutil.copymode(file, new / file.name)
        self.path.rename(old)
        new.rename(self.path)
        shutil.rmtree(old)

    def files(self) -> list[Path]:
        """All files of the folder."""
        return files_of(own_folder(self.path, f"store '{self.name}':"))

    def _open(self) -> FaceTable:
        return open_packed(own_folder(self.path, f"store '{self.name}':"))


def _picture(image: np.ndarray) -> Image.Image:
    """A face (c, h, w) as a picture."""
    pixels = np.asarray(image).transpose(1, 2, 0)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")


def _sha256(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
