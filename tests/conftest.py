"""What several tests build: faces of invented people, predictions without a model, and the one line of a refusal."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from efface.cli import SPIN
from efface.data.faces import EYES, Array, Faces, Images
from efface.errors import InputError
from efface.measure_key import MeasureKey
from efface.measures.predictions import Predictions

if TYPE_CHECKING:
    from efface.experiment.loading import LoadedFaces
    from efface.plan.tables import Plan

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
"""Faces and weights of real people, where they are at hand; tests that want them are skipped elsewhere."""
PUBLISHED = ROOT / "tests" / "data" / "published.json"
"""Numbers of the papers' own tables."""

TINY = """
task = "eyes"
goal = "influence removed"
seeds = [0, 1]
data = { name = "synthetic", people = 60, photos_per_person = 3, size = [24, 24] }
forget = { group = "B", share = 0.5 }
model = { name = "eyenet", widths = [4, 6, 8], hidden = 16 }
train = { epochs = 3 }
[methods.finetune]
epochs = 1
[methods.ascent]
use = "neggrad"
[methods."ascent, rebalanced"]
use = "rebalance"
after = "ascent"
epochs = 1
"""
"""A plan that runs in a second or two."""

TABLE = pd.DataFrame(
    {
        "key": ["a2", "a1", "b1", "b2", "c1", "c2"],
        "person": ["Ann", "Ann", "Bob", "Bob", "Cyd", "Cyd"],
        "race": ["East Asian", "East Asian", "White", "White", "", ""],
        "age": [30, 30, 40, 41, 50, 50],
        **dict(zip(EYES, ([5.0] * 6, [3.0] * 6, [2.0] * 6, [3.0] * 6), strict=True)),
    }
)
"""Six faces of three people."""

os.environ.setdefault("GOMP_SPINCOUNT", SPIN)  # as the command line does, before any test loads torch


key = MeasureKey.parse
"""A measure's key from its text."""


def refusal(function: Callable[..., object], *arguments: Any, **settings: Any) -> str:
    """The one line that a call answers bad input with."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **settings)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def consistent_with(truth: float, span: tuple[float, float, float]) -> bool:
    """Whether a value and its interval of 95% are what the truth would give: within 3.3 standard errors of it.

    One such interval in twenty misses the truth, and which one depends on how a machine rounds; of a control that is
    asked of many rows, on many machines, only a distance that occurs once in a thousand times is a fault.
    """
    value, low, high = span
    return abs(value - truth) <= 3.3 / 1.96 * (high - low) / 2


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


def answered(outputs: Array, targets: Array) -> Predictions:
    """Predictions of test faces of as many people, for scores that look at nothing but answers and truth."""
    people = np.arange(len(targets)).astype(str)
    return Predictions(np.full(len(targets), "test"), people, people, np.full(len(targets), ""), outputs, targets)


def predictions_of(*parts: tuple[str, str, int, int]) -> Predictions:
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
    targets = np.array([[20.0, 10.0], [10.0, 10.0]]) + generator.normal(0, 0.5, (len(split), 2, 2))
    outputs = targets + generator.normal(0, 1, targets.shape)
    return Predictions(split, np.arange(len(split)).astype(str), identity, group, outputs, targets)


def recognised(*, people: int = 4, photos: int = 6, noise: float = 0.1, seed: int = 0) -> Predictions:
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
    outputs = (directions[number] + rng.normal(0, noise, (len(number), 3 * people))).astype(np.float32)
    return Predictions(
        split,
        key,
        identity,
        np.full(len(split), "A"),
        outputs,
        np.where(number < 2 * people, number, -1),
        centres=(20 * directions[: 2 * people]).astype(np.float32),
    )


def plan_with(**changes: Any) -> dict[str, Any]:
    """Plain data of a plan that is right, but for these changes."""
    right: dict[str, Any] = {
        "task": "eyes",
        "goal": "influence removed",
        "data": {"name": "synthetic"},
        "forget": {"share": 0.5},
        "model": {"name": "eyenet"},
    }
    return right | changes


def packed(folder: Path, table: pd.DataFrame = TABLE, shape: tuple[int, int, int] = (1, 6, 8)) -> Path:
    """A packed folder whose images are filled with the number of their row."""
    from efface.preparation.packed import write_packed

    images = np.broadcast_to(np.arange(len(table), dtype=np.uint8)[:, None, None, None], (len(table), *shape))
    write_packed(folder, [images], table, shape=shape, about={"name": "test", "title": "", "licence": "", "home": ""})
    return folder


def loaded(*sources: Mapping[str, Any], out: Path | None = None) -> LoadedFaces:
    """What the eye task makes of sources; out: where what it writes is to stay."""
    from efface.experiment.loading import load_sources
    from efface.plan.tables import Source
    from efface.progress import Progress
    from efface.tasks import TASKS

    checked = [Source.model_validate(source) for source in sources]
    if out is not None:
        return load_sources(checked, TASKS["eyes"], out, Progress())
    with tempfile.TemporaryDirectory() as folder:
        return load_sources(checked, TASKS["eyes"], Path(folder), Progress())


def not_announced(arms: Mapping[str, Plan], out: Path) -> set[str]:
    """What a run measured although `check` did not know that it would."""
    from efface.experiment.measurable import metrics
    from efface.experiment.resolve import resolve
    from efface.results import read_results

    known = {name: metrics(one, resolve(one, "plan").task) for name, one in arms.items()}
    return {
        key
        for row in read_results(out).evaluations
        for key in row.measures
        if key.family != "memorisation" and key.metric not in known[row.arm].get(key.family, ())
    }
