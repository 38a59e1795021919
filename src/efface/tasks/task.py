"""A task: one frozen value of small functions that answer per face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from efface.data.faces import Array, Splits
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Aim, Bootstrap, Measure
from efface.measures.predictions import Predictions
from efface.results import HeadlineColumn, TaskCard

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from efface.data.batches import Batch


@dataclass(frozen=True)
class Score:
    """How well one face was answered, as a number of the same meaning for every face."""

    of: Callable[[Predictions], Array]
    """To (n,), NaN for a face of which it cannot be said."""
    aim: Aim
    about: str
    """One sentence for a reader who is not an engineer."""


@dataclass(frozen=True)
class Difference:
    """How differently two models answered one face, without asking which is right."""

    of: Callable[[Predictions, Predictions], Array]
    """(model's, another's, the same faces) to (n,)"""
    about: str


def nothing_wrong(_targets: Array, _shape: tuple[int, ...]) -> None:
    """Any target can be right."""


def nothing_more(_now: Predictions, _original: Predictions, _draws: Bootstrap) -> dict[MeasureKey, Measure]:
    """No measure beyond those of every task."""
    return {}


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that differs between eyes, recognition and attributes.

    A task is equal to itself alone: it is made of functions, which have no other equality.
    """

    name: str
    about: str
    needs: tuple[str, ...]
    """Columns a face table must have."""
    labels: Literal["none", "one", "several"]
    """How many columns a plan's `data.label` names, where what is to be answered is the plan's choice."""
    target_kind: type[np.generic]
    """NumPy's type of what is to be answered."""
    targets: Callable[[pd.DataFrame, Sequence[str]], Array]
    """(a face table's columns, the plan's labels) to what is to be answered for each row."""
    complaint: Callable[[Array, tuple[int, ...]], tuple[int, str] | None]
    """(targets, shape of the images (n, c, h, w)) to the first row that cannot be right, and why."""
    settle: Callable[[Splits, Sequence[str]], tuple[Splits, tuple[str, ...]]]
    """What can only be said once the people are divided: (splits, the plan's labels) to the splits with their final
    targets, and the names of what a network must tell apart, one per output (none: it answers with something else)."""
    models: tuple[str, ...]
    """Names of the networks that answer this task."""
    loss: Callable[[nn.Module, Batch], Tensor]
    """To (b,), what training lowers."""
    divergence: Callable[[Tensor, Tensor], Tensor]
    """(outputs, another model's outputs for the same faces) to (b,): how differently they answer; no label is used."""
    scores: dict[str, Score]
    """What is reported, face by face."""
    error: str
    """Name of the score that stands for all: the lower the better."""
    distribution_score: str
    """Name of the score whose whole distribution says most; where it grew most is worth a look."""
    harm_score: str
    """Name of the score whose increase the field reports as harm."""
    accuracy_score: str
    """Name of the score between 0 and 1 that stands for accuracy where the field compares accuracies."""
    signal: Score
    """What betrays a member to an attacker; lower on members."""
    signals: dict[str, Score]
    """Everything else an attacker may look at, each of the same sign."""
    likelihood: Callable[[Predictions], Array]
    """(n,) how likely a model found what is true, between 0 and 1, or what stands for it where answers are no
    probabilities."""
    outputs: Literal["points", "embeddings", "logits"]
    """What a network's outputs are."""
    differences: dict[str, Difference]
    """How far two models' answers are apart, face by face."""
    pictured: tuple[str, ...]
    """Splits from which a report shows faces."""
    stackable: bool
    """Whether many networks of it can be trained as one stack (the library that computes margin losses cannot)."""
    smallest_model: tuple[str, Mapping[str, Any]]
    """(name, settings) of a network small enough to check a method with in a moment."""
    constant: Callable[[Predictions], Array] | None = None
    """The one answer (...) that serves the retained best whatever the picture shows; None where there is none."""
    headline: tuple[tuple[MeasureKey, str], ...] = ()
    """(measure, what to call it in a table's head): what the field looks at first, beside what every task reports."""
    headline_title: str = ""
    headline_about: str = ""
    """What a reader must know not to be misled by these."""
    more: Callable[..., dict[MeasureKey, Measure]] = nothing_more
    """(model's, original's predictions, bootstrap, *, settings) to what else the field measures on this task; its
    settings are a plan's `[measures]`."""

    def card(self) -> TaskCard:
        """What a reader of results must know of the task."""
        return TaskCard(
            name=self.name,
            about=self.about,
            outputs=self.outputs,
            error=self.error,
            distribution_score=self.distribution_score,
            harm_score=self.harm_score,
            accuracy_score=self.accuracy_score,
            signal=self.signal.about,
            headline=[HeadlineColumn(measure=measure, title=title) for measure, title in self.headline],
            headline_title=self.headline_title,
            headline_about=self.headline_about,
        )
