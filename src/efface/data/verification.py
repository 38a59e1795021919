"""Verification sets: pairs of photos, of people no model was trained on, that a recogniser must tell apart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efface.data.faces import Array, Faces, Images, Splits
from efface.data.pairs import places, read_bin, read_pairs
from efface.data.split import scores_of
from efface.errors import InputError
from efface.plan.tables import Verify


@dataclass(frozen=True)
class Verification:
    """p pairs among some images."""

    name: str
    images: Images
    first: Array
    """(p,) rows of the images"""
    second: Array
    same: Array
    """(p,) bool"""
    fold: Array
    """(p,) int"""
    quality: Array
    """(p,) of the worse photo; NaN where unknown."""
    poor: Array
    """(p,) bool: whether the plan calls that low; False where unknown."""
    left_out: int = 0
    """Pairs of the protocol that are not here: a trained person is in them, or a photo is missing."""

    def __len__(self) -> int:
        return len(self.same)

    @property
    def digest(self) -> str:
        """Changes with the pairs, their photos' places, and their quality."""
        columns = (
            self.images.rows[self.first],
            self.images.rows[self.second],
            self.same,
            self.fold,
            self.quality,
            self.poor,
        )
        return hashlib.sha256(
            self.name.encode() + b"".join(np.ascontiguousarray(one).tobytes() for one in columns)
        ).hexdigest()


def verification_sets(asked: Sequence[Verify], faces: Faces, splits: Splits) -> tuple[Verification, ...]:
    """Every set a plan asks for."""
    trained = np.concatenate(
        [getattr(splits, name).keys for name in ("forget", "forget_unseen", "retain", "retain_unseen")]
    )
    return tuple(
        from_pairs(one, faces, splits, trained) if one.pairs is not None else from_bin(one, faces.shape, trained)
        for one in asked
    )


def from_pairs(asked: Verify, faces: Faces, splits: Splits, trained: Array) -> Verification:
    """The pairs of a protocol file whose photos are here and whose people were never trained on; trained: keys of the
    trained people's photos."""
    assert asked.pairs is not None
    pairs = read_pairs(asked.pairs)
    rows = places(pairs, [re.sub(r"^\d+:", "", key) for key in faces.keys.tolist()])  # the source's place aside
    known = np.isin(faces.identities, np.concatenate([splits.forget.identities, splits.retain.identities]))
    usable: Array = np.all(rows >= 0, axis=0) & ~np.any(known[rows], axis=0)
    if not usable.any() or pairs.same[usable].all() or not pairs.same[usable].any():
        raise InputError(
            f"verify '{asked.name}': {int(usable.sum())} of the {len(usable)} pairs of {asked.pairs} are "
            "of people no model was trained on, whose photos are here "
            f"({int((rows < 0).any(0).sum())} pairs name a photo that is not): pairs of one person and of "
            "two are needed"
        )
    first, second = rows[:, usable]
    return Verification(
        asked.name,
        faces.images,
        first,
        second,
        pairs.same[usable],
        pairs.fold[usable],
        *divided(asked, faces.keys, first, second, trained),
        int((~usable).sum()),
    )


def divided(asked: Verify, keys: Array, first: Array, second: Array, trained: Array) -> tuple[Array, Array]:
    """Quality (p,) of the worse photo of each pair, and whether the plan calls that low; keys: of all photos."""
    if asked.quality is None:
        return np.full(len(first), np.nan, np.float32), np.zeros(len(first), bool)
    scored, where = np.unique([first, second], return_inverse=True)
    scores = scores_of(keys[scored], asked.quality, asked.quality_by)
    quality = scores[where].reshape(2, -1).min(0).astype(np.float32)
    own = asked.quality_of_trained
    everybody = quality if own is None else scores_of(trained, own, asked.quality_by)
    return quality, quality <= np.quantile(everybody, asked.below)


def from_bin(asked: Verify, shape: tuple[int, int, int], trained: Array) -> Verification:
    """All pairs of a set that brings its photos, as large as the plan's faces; trained: as above. A photo's key is its
    place in the set, from 0."""
    assert asked.bin is not None
    if shape[0] != 3:
        raise InputError(
            f"verify '{asked.name}': photos of a bin are in colour, the plan's faces have {shape[0]} "
            "channel: prepare them with colour = true"
        )
    images, same = read_bin(asked.bin, shape[1:])
    count, photos = len(same), np.arange(len(images))
    first, second = photos[::2], photos[1::2]
    poor = divided(asked, photos.astype(str), first, second, trained)
    return Verification(asked.name, Images(images, photos), first, second, same, np.arange(count) * 10 // count, *poor)
