"""What many small changes of a model add up to since it was trained in full, and whether to train it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from efface.ledger.cases import Case, ModelStep


@dataclass(frozen=True)
class Drift:
    """A model that was trained in full, and every change since."""

    steps: tuple[ModelStep, ...]
    """In their order; the first one's `before` is the model that was trained."""

    @property
    def people(self) -> int:
        """How many were forgotten by it."""
        return sum(one.people for one in self.steps)

    @property
    def seconds(self) -> float:
        """What it took."""
        return sum(one.seconds for one in self.steps)

    @property
    def left(self) -> list[str]:
        """Rates at the fixed threshold that are now above the interval which the model had when it was trained."""
        first, last = self.steps[0], self.steps[-1]
        rates = {
            "false match rate": (first.false_match, last.false_match),
            "false non-match rate": (first.false_non_match, last.false_non_match),
        }
        return [name for name, (then, now) in rates.items() if now[3] > then[2]]

    def advice(self, retraining: float | None) -> str:
        """Whether to train again; retraining: the seconds that takes, where they are known."""
        if self.left:
            return f"train again: the {' and the '.join(self.left)} left the interval of the model that was trained"
        if retraining is not None and self.seconds > retraining:
            return "train again: the runs since took longer than that"
        return "no need to train again by these numbers"


def drifts(cases: Iterable[Case]) -> list[Drift]:
    """A drift for each model that was trained in full: runs follow one another by the digests of their models.

    A run that was put to several requests counts once. A model that no run made was trained in full.
    """
    steps = {one.step.after: one.step for case in cases for one in case.links if one.step is not None}
    last = [one for one in steps.values() if one.after not in {other.before for other in steps.values()}]
    found = []
    for step in last:
        line = [step]
        while (earlier := steps.get(line[0].before)) is not None and earlier not in line:
            line.insert(0, earlier)
        found.append(Drift(tuple(line)))
    return found
