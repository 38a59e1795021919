"""A task: one frozen value of small functions that answer per face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from efface.faces import Array

if TYPE_CHECKING:
    import pandas as pd

Aim = Literal["low", "high", "as retrained", "none"]


@dataclass(frozen=True)
class Score:
    """How well one face was answered, as a number of the same meaning for every face."""

    of: Callable[[Array, Array], Array]
    """(answers, truth) to (n,)."""
    aim: Aim
    about: str
    """One sentence for a reader who is not an engineer."""


@dataclass(frozen=True)
class Task:
    """Everything that differs between eyes, recognition and attributes."""

    name: str
    about: str
    needs: tuple[str, ...]
    """Columns an album must have."""
    targets: Callable[[pd.DataFrame], Array]
    """What is to be answered for each row of an album's table."""
    complaint: Callable[[Array, tuple[int, ...]], tuple[int, str] | None]
    """(targets, shape of the images (n, c, h, w)) to the first row that cannot be right, and why."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """(outputs, targets) to (n,), what training lowers."""
    scores: dict[str, Score]
    """What is reported, face by face."""
    error: str
    """Name of the score that stands for all: the lower the better."""
    price: str
    """Name of the score whose increase the field reports as harm."""
    signal: Callable[[Array, Array], Array]
    """(answers, truth) to (n,): what betrays a member to an attacker; lower on members."""
