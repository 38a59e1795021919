"""What several tests build: faces of invented people, outcomes without a model, and the one line of a refusal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from efface.cli import SPIN
from efface.errors import InputError
from efface.faces import Array, Faces, Images
from efface.measures.outcomes import Outcomes

os.environ.setdefault("GOMP_SPINCOUNT", SPIN)  # as the command line does, before any test loads torch


def refusal(function: Callable[..., object], *arguments: Any, **settings: Any) -> str:
    """The one line that a call answers bad input with."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **settings)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def faces_of(people: Mapping[str, int], photos: int = 2, shape: tuple[int, int, int] = (1, 8, 8)) -> Faces:
    """Noise pictures of so many people of each group, `photos` of each; people are called A0, A1, ... by group."""
    names = [f"{group}{number}" for group, count in people.items() for number in range(count) for _ in range(photos)]
    groups = [group for group, count in people.items() for _ in range(count * photos)]
    generator = np.random.default_rng(0)
    return Faces(
        images=Images(generator.integers(0, 256, (len(names), *shape), dtype=np.uint8), np.arange(len(names))),
        targets=generator.uniform(0, 8, (len(names), 2, 2)).astype(np.float32),
        identities=np.array(names),
        groups=np.array(groups),
        keys=np.array([f"{name}/{place % photos}" for place, name in enumerate(names)]),
    )


def answered(answers: Array, truth: Array) -> Outcomes:
    """Outcomes of test faces of as many people, for scores that look at nothing but answers and truth."""
    people = np.arange(len(truth)).astype(str)
    return Outcomes(np.full(len(truth), "test"), people, people, np.full(len(truth), ""), answers, truth)


def outcomes_of(*parts: tuple[str, str, int, int]) -> Outcomes:
    """A row per photo of each (split, group, people, photos of each person); eyes are found up to noise."""
    split, group, identity = (
        np.array(column)
        for column in zip(
            *(
                (split, group, f"{group}{split}{person}")
                for split, group, people, photos in parts
                for person in range(people)
                for _ in range(photos)
            ),
            strict=True,
        )
    )
    generator = np.random.default_rng(0)
    truth = np.array([[20.0, 10.0], [10.0, 10.0]]) + generator.normal(0, 0.5, (len(split), 2, 2))
    answers = truth + generator.normal(0, 1, truth.shape)
    return Outcomes(split, np.arange(len(split)).astype(str), identity, group, answers, truth)


def recognised(*, people: int = 4, photos: int = 6, noise: float = 0.1, seed: int = 0) -> Outcomes:
    """Embeddings around a direction of each person's own: `people` forgotten, retained and strangers, 8 dimensions
    each; two photos of each trained person are held back; the head knows the trained people's true directions."""
    rng = np.random.default_rng(seed)
    rows = []
    for cohort, (name, first) in enumerate({"forget": 0, "retain": people, "strangers": 2 * people}.items()):
        for person in range(people):
            for photo in range(photos):
                unseen = "_unseen" if cohort < 2 and photo >= photos - 2 else ""
                rows.append((name + unseen, f"{name}{person}/{photo}", f"{name}{person}", first + person))
    split, key, identity, number = (np.array(column) for column in zip(*rows, strict=True))
    directions = np.eye(3 * people)
    answers = (directions[number] + rng.normal(0, noise, (len(number), 3 * people))).astype(np.float32)
    return Outcomes(split, key, identity, np.full(len(split), "A"), answers,
                    np.where(number < 2 * people, number, -1),
                    centres=(20 * directions[:2 * people]).astype(np.float32))
