"""Photos filed under somebody else before training, which is what albums get wrong, and the request to forget them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from efface.data.faces import Array, Faces, Splits, together
from efface.errors import InputError


def misfiled(splits: Splits, share: float, seed: int) -> tuple[Splits, dict[str, str]]:
    """The splits, in which of each person who was to be forgotten `share` of the trained photos is filed under another
    person and alone is to be forgotten, and by each such person's name the other's.

    The others are drawn from the retained, nobody twice. Everything that a model or a method sees has the wrong name:
    the misfiled photos are the other's, as in an album nobody has looked through. Whose they are is known to measures
    alone (`efface.measures.misfiled`). All other photos of both are retained, those held back among them.

    Raises InputError where nobody has two photos to train on, or fewer people are retained than have misfiled photos.
    """
    people, counts = np.unique(splits.forget.identities, return_counts=True)
    people = people[counts > 1]
    others = np.setdiff1d(splits.retain.identities, people)
    if not len(people):
        raise InputError(
            f"forget.misfile = {share:g} leaves each person some photos, and of nobody who was drawn there are two to "
            "train on: set split.photos"
        )
    if len(others) < len(people):
        raise InputError(
            f"forget.misfile: photos of {len(people)} people are filed under as many others, and {len(others)} are "
            "retained: ask for fewer people"
        )
    rng = np.random.default_rng([seed, 6])
    under = dict(zip(people.tolist(), rng.permutation(others)[: len(people)].tolist(), strict=True))
    chosen = np.concatenate([drawn(splits.forget.identities, person, share, rng) for person in people])
    wrong = splits.forget[np.sort(chosen)]
    right = splits.forget[np.setdiff1d(np.arange(len(splits.forget)), chosen)]
    renamed = np.array([under[person] for person in wrong.identities.tolist()])
    album = replace(
        splits,
        forget=replace(wrong, identities=renamed),
        retain=together(splits.retain, right),
        forget_unseen=nobody(splits.forget_unseen),
        retain_unseen=together(splits.retain_unseen, splits.forget_unseen),
    )
    return album, under


def drawn(identities: Array, person: str, share: float, rng: np.random.Generator) -> Array:
    """Rows of so many photos of a person, at least one and never all."""
    rows = np.flatnonzero(identities == person)
    return rng.permutation(rows)[: min(max(1, round(share * len(rows))), len(rows) - 1)]


def nobody(faces: Faces) -> Faces:
    """None of these faces."""
    return faces[np.zeros(0, np.int64)]
