"""What runs of efface leave behind: answers and evidence in .npz files, removed whole and made again by a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from efface.data.faces import Array
from efface.erasure.record import Store as Holding
from efface.errors import InputError
from efface.files import sha256_of
from efface.sweep.person import Person, suggested
from efface.sweep.raw import face_forms, files_of, name_below, vector_forms
from efface.sweep.store import Copy, Place, Searched, Store, arrays_of, own_folder


class RunFiles(Store):
    """`kind = "runs"`: a file is one copy, with the score of what in it is most like the person."""

    kind: Literal["runs"]
    path: Place
    """A folder of `efface run`, `efface forget` or `efface audit`, or of many."""
    holds: Holding = "caches"

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return "whole files removed"

    def search(self, person: Person) -> Searched:
        """Every .npz below the folder, by the vectors and the faces in its arrays."""
        best: dict[Path, tuple[float, Array]] = {}
        scores: list[float] = []
        unread = {}
        for file in self.files():
            if file.suffix != ".npz":
                continue
            try:
                for _, array in arrays_of(file):
                    one = self._scores(person, array)
                    scores += one.tolist()
                    if len(one) and one.max() > best.get(file, (-2.0, one))[0]:
                        flat = array.reshape(len(one), *array.shape[-1 if array.dtype.kind == "f" else -3 :])
                        best[file] = float(one.max()), flat[int(one.argmax())]
            except InputError as error:
                unread[name_below(file, self.path)] = str(error)
        limits = person.limits(scores)
        copies = [
            Copy(
                self.name,
                name_below(file, self.path),
                score,
                word,
                sha256_of(file),
                vector_forms(entry) if entry.ndim == 1 else face_forms(entry),
            )
            for file, (score, entry) in best.items()
            if (word := suggested(score, limits)) != "no"
        ]
        return Searched(sorted(copies, key=lambda one: -one.score), len(scores), unread)

    def delete(self, copies: Sequence[Copy]) -> None:
        """Unlink the files."""
        inside = {name_below(file, self.path): file for file in self.files()}
        named = {one.location: inside[one.location] for one in copies if one.location in inside}
        self.refuse_changed(copies, {name: sha256_of(file) for name, file in named.items()})
        for file in named.values():
            file.unlink()

    def files(self) -> list[Path]:
        """All files of the folder."""
        return files_of(own_folder(self.path, f"store '{self.name}':"))

    def _scores(self, person: Person, array: Array) -> Array:
        """(k,) of the vectors or faces of an array; none where it holds neither."""
        if array.dtype.kind == "f" and array.ndim >= 2 and array.shape[-1] == person.vectors.shape[1]:
            return person.scores(array.reshape(-1, array.shape[-1]), self.name)
        if array.dtype == np.uint8 and array.ndim >= 4 and array.shape[-3] in (1, 3) and array.size:
            faces = array.reshape(-1, *array.shape[-3:]).transpose(0, 2, 3, 1)
            pictures = (Image.fromarray(one.squeeze(2) if one.shape[2] == 1 else one).convert("RGB") for one in faces)
            return np.array([person.read(one)[0] for one in pictures])
        return np.zeros(0)
