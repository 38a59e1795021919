"""What a network that answers questions (eye centres, classes, attributes) is judged by in a request.

A face that a network was trained on is answered with less loss than a stranger's. The people who asked are to be
answered as strangers are, neither better nor worse, on the photos that methods were handed and on those held back; and
nobody else is to be answered worse than before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.erasure.criteria import Checked, Verdict
from efface.erasure.deployed import FEWEST_OF_GROUP, Judged, as_strangers, judged_by, mean_of
from efface.erasure.judge import Judge
from efface.erasure.measuring import paired
from efface.erasure.photos import RequestPhotos, Rows, predictions_of
from efface.erasure.record import Criterion, GroupMeasurements, Measurement
from efface.erasure.request import ErasureRequest
from efface.erasure.trained_on import TrainedOn, compared, concluded
from efface.measures.bootstrap import Measure
from efface.tasks import TASKS, Score


@dataclass(frozen=True)
class OfPeople:
    """One measure of the people who asked."""

    name: str
    score: Score
    held_back: bool
    """Whether of held-back photos alone, or of all of theirs."""


class PredictionJudge(Judge):
    """By loss and error, photo by photo, the mean of each person counting once."""

    def __init__(self, request: ErasureRequest, photos: RequestPhotos, before: Array) -> None:
        super().__init__(request, photos, before)
        self.task = TASKS[request.task]
        signal, self.error = self.task.signal, self.task.scores[self.task.error]
        error = self.task.error.replace("_", " ")
        self.of_people = (
            OfPeople(f"{signal.about}, people who asked", signal, held_back=False),
            OfPeople(f"{signal.about}, held-back photos of the people who asked", signal, held_back=True),
            OfPeople(f"{error}, held-back photos of the people who asked", self.error, held_back=True),
        )
        self.of_others = f"{error} of everybody else"
        self.by_verdict, self.by_choice = (judged_by(photos, choosing=one) for one in (False, True))

    @property
    def of_everybody(self) -> tuple[str, ...]:
        return (self.of_others,)

    @property
    def choosing_rows(self) -> Rows:
        judged = self.by_choice
        return np.unique(np.concatenate([judged.forget_all, judged.strangers, judged.others]))

    @cached_property
    def limit(self) -> float:
        """The error of everybody else that is allowed: what the user says or the upper end of the model's own."""
        own = self.error_of_others(self.answers_before, self.by_verdict).high
        given = self.request.at_most_error
        return given if given is not None else np.nan if own is None else own

    @cached_property
    def limit_of_choice(self) -> float:
        """The same on the photos of the choice: it may grow there no more, in proportion."""
        before, verdict = (self.error_of_others(self.answers_before, one) for one in (self.by_choice, self.by_verdict))
        if before.value is None or before.high is None or not verdict.value:
            return np.nan
        return min(before.high, self.limit / verdict.value * before.value)

    def evidence(self, answers: Array, heads: Mapping[str, NDArray[np.float32]]) -> TrainedOn:
        """Heads are of the answers here, and hold nobody's row."""
        photos, signal = self.photos, self.task.signal
        asked = np.concatenate([photos.forget, photos.forget_held])
        strangers = np.concatenate([photos.calibration, photos.strangers, photos.teaching])
        theirs, others = (-self.people(signal, answers, rows) for rows in (asked, strangers))
        about = f"minus the {signal.about}, mean over a person's photos: higher for people trained on"
        signs = [compared(f"minus {signal.about}", theirs, others, about)]
        return TrainedOn(concluded(signs), tuple(signs))

    def asked(self) -> list[Criterion]:
        people = len(self.photos.people(self.photos.forget_held))
        normal = f"neither higher nor lower than the mean of {people} strangers lies in 95% of draws"
        return [
            *(Criterion(measure=one.name, asked=normal) for one in self.of_people),
            Criterion(measure=self.of_others, asked=f"at most {self.limit:.4g}"),
        ]

    def choice(self, answers: Array) -> Verdict:
        return self.checked(answers, self.by_choice, self.limit_of_choice)

    def verdict(self, answers: Array) -> Verdict:
        return self.checked(answers, self.by_verdict, self.limit)

    def checked(self, answers: Array, judged: Judged, limit: float) -> Verdict:
        """All criteria, by the photos of the choice or of the verdict."""
        found = []
        for one in self.of_people:
            value, normal = self.of_asked(one, answers, judged).value, self.of_strangers(one, answers, judged)
            low, high, aim = (np.nan if end is None else end for end in (normal.low, normal.high, normal.value))
            found.append(Checked(one.name, value, low, high, aim))
        now, was = (self.error_of_others(some, judged).value for some in (answers, self.answers_before))
        found.append(Checked(self.of_others, now, -np.inf, limit, np.nan if was is None else was))
        return Verdict(tuple(found))

    def measurements(self, answers: Array | None) -> tuple[list[Measurement], bool | None]:
        both = (self.answers_before, answers)
        found = []
        for one in self.of_people:
            theirs = (None if some is None else self.of_asked(one, some, self.by_verdict) for some in both)
            normal = (None if some is None else self.of_strangers(one, some, self.by_verdict) for some in both)
            found += [paired(one.name, *theirs), paired(f"{one.name}: strangers", *normal)]
        others = (None if some is None else self.error_of_others(some, self.by_verdict) for some in both)
        return [*found, paired(self.of_others, *others)], None

    def groups(self, answers: Array | None) -> list[GroupMeasurements]:
        faces, rows, found = self.photos.faces, self.by_verdict.others, []
        for name in np.unique(faces.groups[rows]):
            mine = rows[faces.groups[rows] == name]
            people = len(np.unique(faces.identities[mine]))
            if not name or people < FEWEST_OF_GROUP:
                continue
            both = (
                None if some is None else mean_of(self.people(self.error, some, mine), self.error.about)
                for some in (self.answers_before, answers)
            )
            found.append(
                GroupMeasurements(group=str(name), people=people, measurements=[paired(self.of_others, *both)])
            )
        return found

    def weaker(self, answers: Array) -> str | None:
        """By the error."""
        rows = np.concatenate([self.photos.calibration, self.photos.strangers])
        now, before = (self.people(self.error, some, rows) for some in (answers, self.answers_before))
        if (mean_of(now - before, "").low or 0) <= 0:
            return None
        error = self.task.error.replace("_", " ")
        return f"{error} {now.mean():.3g} on strangers, of the model before {before.mean():.3g}"

    def of_asked(self, one: OfPeople, answers: Array, judged: Judged) -> Measure:
        """A measure of the people who asked."""
        rows = judged.forget if one.held_back else judged.forget_all
        return mean_of(self.people(one.score, answers, rows), one.score.about)

    def of_strangers(self, one: OfPeople, answers: Array, judged: Judged) -> Measure:
        """What is normal of strangers, as many as were measured of those who asked."""
        people = len(self.photos.people(judged.forget if one.held_back else judged.forget_all))
        about = f"{one.score.about}, of strangers; interval: the mean of {people} of them in 95% of draws"
        return as_strangers(self.people(one.score, answers, judged.strangers), people, about)

    def error_of_others(self, answers: Array, judged: Judged) -> Measure:
        """The error of people who stay and of strangers."""
        return mean_of(self.people(self.error, answers, judged.others), self.error.about)

    def people(self, score: Score, answers: Array, rows: Rows) -> NDArray[np.float64]:
        """(p,) each person's mean over some rows."""
        predictions = predictions_of(self.photos, answers, rows)
        values = np.asarray(score.of(predictions), np.float64)
        _, of = np.unique(predictions.identity, return_inverse=True)
        means: NDArray[np.float64] = np.bincount(of, values) / np.bincount(of)
        return means
