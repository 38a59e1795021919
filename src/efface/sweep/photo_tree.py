"""Photos below a folder, found by what the model sees in them and by their looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from PIL import ImageOps

from efface.data.photos import SUFFIXES, Unusable, files_below, load
from efface.files import sha256_of
from efface.preparation.photos import difference_hash
from efface.sweep.raw import slices
from efface.sweep.store import Copy, Store, Wanted, existing

NEAR = 2
"""Bits in which the difference hash of a copy that was saved again may differ."""


class PhotoTree(Store):
    """`kind = "photos"`: every photo below `path`."""

    kind: Literal["photos"]
    path: Path

    def check(self, folder: Path) -> None:
        self.path = existing(self.path, folder, self.name, is_folder=True)

    def search(self, wanted: Wanted) -> Iterator[Copy]:
        for path in self._photos():
            try:
                photo = load(path, upright=True)
                face = wanted.embedder.face(photo)
            except Unusable:
                continue
            looks = {difference_hash(photo), difference_hash(ImageOps.mirror(photo))}
            score = float((wanted.embedder.embeddings(face[None]) @ wanted.vectors.T).max())
            alike = any((one ^ other).bit_count() <= NEAR for one in looks for other in wanted.looks)
            if alike or score >= wanted.threshold:
                yield Copy(path.relative_to(self.path).as_posix(), "photo", score, sha256_of(path))

    def everything(self) -> Iterator[Copy]:
        for path in self._photos():
            yield Copy(path.relative_to(self.path).as_posix(), "photo", float("nan"), sha256_of(path))

    def needles(self, copies: Sequence[Copy]) -> dict[str, list[bytes]]:
        return {one.place: slices((self.path / one.place).read_bytes()) for one in copies}

    def delete(self, copies: Sequence[Copy]) -> None:
        for one in copies:
            (self.path / one.place).unlink()

    def files(self) -> list[Path]:
        return files_below(self.path)[0]

    def _photos(self) -> list[Path]:
        return [one for one in self.files() if one.suffix.lower() in SUFFIXES and not one.is_symlink()]
