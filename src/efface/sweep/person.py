"""Who is looked for: vectors and perceptual hashes of examples, and what counts as a match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from efface.data.faces import Array
from efface.data.photos import Unusable, load, refuse_unusable
from efface.data.vectors import units
from efface.erasure.embedding import Embedder, load_embedder
from efface.erasure.find import BITS, COPY, Thresholds, against_each_other, photos_in, thresholds
from efface.errors import InputError
from efface.preparation.detect import Detector
from efface.preparation.photos import difference_hash

SAME = 0.999
"""Cosine from which on a vector is an example's own."""
Looks = tuple[int, int]


@dataclass(frozen=True)
class Person:
    """Examples of one person as a model sees them."""

    embedder: Embedder
    vectors: NDArray[np.float32]
    """(k, d) of length one: each example's embedding, alone and summed with its mirror image's."""
    looks: Sequence[Looks]
    """Difference hashes of each example and of its mirror image."""
    own: NDArray[np.float64]
    """(m,) each example's cosine to the nearest other."""
    least: float | None
    """The score from which on everything is suggested, where one was given."""

    def scores(self, vectors: Array, store: str) -> NDArray[np.float64]:
        """(n,) cosine of each vector (n, d) to the nearest example; below every other where it has no direction."""
        if vectors.ndim != 2 or vectors.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"store '{store}': vectors have the shape {vectors.shape[1:]}, the model's ({self.vectors.shape[1]},): "
                "give the model that they were made with"
            )
        wide = np.asarray(vectors, np.float64)
        whole: NDArray[np.bool_] = np.isfinite(wide).all(1) & np.asarray(wide.any(1))
        cosines = units(np.where(whole[:, None], wide, 0)) @ self.vectors.T
        return np.where(whole, cosines.max(1), -1.0).astype(np.float64)

    def limits(self, scores: Sequence[float] | NDArray[np.float64]) -> Thresholds:
        """From which score on what is suggested, among the scores (n,) of a store."""
        if self.least is not None:
            return Thresholds(self.least, self.least, None, None)
        return thresholds(self.own, np.asarray(scores))

    def read(self, photo: Image.Image) -> tuple[float, Looks]:
        """Score and difference hashes of a photo."""
        face = self.embedder.face(photo)
        looks = difference_hash(photo), difference_hash(ImageOps.mirror(photo))
        return float(self.scores(self.embedder.features(face[None]), "photos")[0]), looks

    def resembles(self, looks: Looks) -> bool:
        """Whether a photo has nearly the difference hash of an example."""
        return any((looks[0] ^ one).bit_count() <= BITS for hashes in self.looks for one in hashes)


def suggested(score: float, limits: Thresholds, resembles: bool = False) -> str:
    """yes, no or unsure; a near duplicate is never "no"."""
    if score >= SAME or (resembles and score >= COPY):
        return "yes"
    word = limits.suggested(score)
    return "unsure" if resembles and word == "no" else word


def look_at(
    examples: Path,
    *,
    model: Path,
    arch: str | None = None,
    size: tuple[int, int] | None = None,
    contract: Path | None = None,
    detector: Detector | None = None,
    least: float | None = None,
) -> Person:
    """The person on the examples, a photo or a folder of them. Raises InputError for a photo that cannot be used."""
    embedder = replace(load_embedder(model, arch, size, contract), detector=detector)
    if not embedder.recognises:
        raise InputError(f"{model} is no recogniser's: people are found by embeddings; give a recogniser's weights")
    chosen, _ = photos_in(examples, "examples")
    bad: dict[str, str] = {}
    faces, looks = [], []
    for path in chosen:
        try:
            photo = load(path, upright=True)
            faces.append(embedder.face(photo))
            looks.append((difference_hash(photo), difference_hash(ImageOps.mirror(photo))))
        except Unusable as error:
            bad[str(path)] = error.reason
    refuse_unusable(bad, len(chosen), "these are examples, nothing was searched; replace them or take them out")
    alone = units(np.concatenate([embedder.features(face[None]) for face in faces]))
    summed = np.concatenate([embedder.embeddings(face[None]) for face in faces])
    return Person(embedder, np.concatenate([alone, summed]), looks, against_each_other(alone, looks), least)
