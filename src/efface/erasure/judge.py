"""What a model is judged by in a request: made once from the answers of the model before, then asked of every other.

A request of a recogniser and one of a network that answers questions (ages, attributes, eye centres) differ in nothing
else: reading, candidates, choice, files and record are the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import units
from efface.erasure.blocking import blocking_of
from efface.erasure.checkpoint import Checkpoint
from efface.erasure.criteria import FMR, FNMR, Limits, Verdict, asked_of, limits_of, limits_of_choice, verdict_of
from efface.erasure.deployed import judged_by, mean_of, placed_threshold, rates, read_model
from efface.erasure.measuring import groups_of, measurements_of
from efface.erasure.photos import RequestPhotos, Rows
from efface.erasure.record import Criterion, GroupMeasurements, Measurement
from efface.erasure.request import ErasureRequest
from efface.erasure.result import Threshold
from efface.erasure.trained_on import TrainedOn, head_cosines, trained_on
from efface.errors import InputError


class Judge(ABC):
    """What a model is judged by; answers (n, ...) are a model's to all photos of the request, in their order."""

    threshold: Threshold | None = None
    """Of a recogniser."""

    def __init__(self, request: ErasureRequest, photos: RequestPhotos, before: Array) -> None:
        self.request, self.photos, self.answers_before = request, photos, before

    @property
    @abstractmethod
    def choosing_rows(self) -> Rows:
        """The photos by which candidates are chosen: answers to no others are looked at by `choice`."""

    @abstractmethod
    def evidence(self, answers: Array, heads: Mapping[str, NDArray[np.float32]]) -> TrainedOn:
        """Whether a model was trained on the people who asked; heads: matrices that may hold a row of each person."""

    @abstractmethod
    def asked(self) -> list[Criterion]:
        """The criteria in words, for the record."""

    @abstractmethod
    def choice(self, answers: Array) -> Verdict:
        """Of a candidate, by the photos of the choice."""

    @abstractmethod
    def verdict(self, answers: Array) -> Verdict:
        """Of the model after, by photos that chose nothing."""

    @property
    @abstractmethod
    def of_everybody(self) -> tuple[str, ...]:
        """Criteria about everybody else: all others are about the people who asked."""

    def held_before(self, verdict: Verdict) -> list[str]:
        """Criteria about the people who asked that the model before met as well: they cannot tell whether anything was
        forgotten."""
        before = {one.name for one in self.verdict(self.answers_before).checked if one.word == "pass"}
        return [one.name for one in verdict.checked if one.name in before and one.name not in self.of_everybody]

    @abstractmethod
    def measurements(self, answers: Array | None) -> tuple[list[Measurement], bool | None]:
        """All that is measured before and, where there is a model after, after; and whether a gallery must be enrolled
        again (None: cannot be said)."""

    @abstractmethod
    def groups(self, answers: Array | None) -> list[GroupMeasurements]:
        """The same of everybody else, group by group."""

    def blocking(self) -> list[Measurement]:
        """What the model before does once gallery entries are deleted and a block list is kept."""
        return []

    @abstractmethod
    def weaker(self, answers: Array) -> str | None:
        """Both numbers, where a model answers strangers clearly worse than the model before: by the whole interval of
        the difference, person by person."""

    def rows_of_people(self, checkpoint: Checkpoint) -> dict[str, list[int]]:
        """Rows of a file's heads that hold the people who asked."""
        return {}

    def directions(self, checkpoint: Checkpoint) -> dict[str, Array]:
        """What a file's heads hold of the people who asked, by name, where they hold it."""
        return {}


class RecognitionJudge(Judge):
    """By embeddings: who is found again, at one fixed threshold."""

    threshold: Threshold
    of_everybody = (FMR, FNMR)

    def __init__(self, request: ErasureRequest, photos: RequestPhotos, before: Array) -> None:
        super().__init__(request, photos, before)
        self.threshold = fixed_threshold(request, before, photos)
        self.by_verdict, self.by_choice = (judged_by(photos, choosing=one) for one in (False, True))
        self.before = read_model(before, photos, self.by_verdict, self.threshold.value)

    @property
    def choosing_rows(self) -> Rows:
        return self.by_choice.rows

    @cached_property
    def limits(self) -> Limits:
        """Rates that everybody else must keep to."""
        return limits_of(self.request, self.before)

    @cached_property
    def limits_of_choice(self) -> Limits:
        """The same on the photos of the choice."""
        read = read_model(self.answers_before, self.photos, self.by_choice, self.threshold.value)
        return limits_of_choice(self.limits, limits_of(self.request, read))

    def evidence(self, answers: Array, heads: Mapping[str, NDArray[np.float32]]) -> TrainedOn:
        return trained_on(answers, self.photos, heads)

    def asked(self) -> list[Criterion]:
        return asked_of(self.request, self.limits, len(self.photos.people(self.photos.forget_held)))

    def choice(self, answers: Array) -> Verdict:
        read = read_model(answers, self.photos, self.by_choice, self.threshold.value)
        return verdict_of(self.request, read, self.limits_of_choice)

    def verdict(self, answers: Array) -> Verdict:
        read = read_model(answers, self.photos, self.by_verdict, self.threshold.value)
        return verdict_of(self.request, read, self.limits)

    def measurements(self, answers: Array | None) -> tuple[list[Measurement], bool | None]:
        after = None if answers is None else read_model(answers, self.photos, self.by_verdict, self.threshold.value)
        both = (self.answers_before, answers)
        return measurements_of(self.before, after, both, self.photos, self.by_verdict, self.threshold.value)

    def groups(self, answers: Array | None) -> list[GroupMeasurements]:
        after = None if answers is None else read_model(answers, self.photos, self.by_verdict, self.threshold.value)
        return groups_of(self.before, after, self.photos, self.by_verdict)

    def weaker(self, answers: Array) -> str | None:
        """By how often two photos of a stranger are more alike than one of theirs and another stranger's."""
        rows = np.concatenate([self.photos.calibration, self.photos.strangers])
        who = self.photos.faces.identities[rows]
        now, before = (told_apart_of(units(some[rows]), who) for some in (answers, self.answers_before))
        if (mean_of(now - before, "").high or 0) >= 0:
            return None
        return (
            f"{np.nanmean(now):.3f} of strangers' photos are told apart, by the model before {np.nanmean(before):.3f}"
        )

    def blocking(self) -> list[Measurement]:
        return blocking_of(self.answers_before, self.photos, self.by_verdict, self.threshold.value)

    def rows_of_people(self, checkpoint: Checkpoint) -> dict[str, list[int]]:
        """Those the request names, and each that is nearer to one of them than any row is to any stranger."""
        found: dict[str, set[int]] = {}
        for head, row in self.request.head_rows.values():
            found.setdefault(head, set()).add(row)
        photos, unit = self.photos, units(self.answers_before)
        asked = np.concatenate([photos.forget, photos.forget_held])
        strangers = np.concatenate([photos.calibration, photos.strangers, photos.teaching])
        for name, rows in heads_of(checkpoint).items():
            nearest, cosine = head_cosines(unit, photos.faces.identities, asked, rows)
            _, normal = head_cosines(unit, photos.faces.identities, strangers, rows)
            mine = nearest[cosine > normal.max()]
            if len(mine):
                found.setdefault(name, set()).update(mine.tolist())
        return {name: sorted(rows) for name, rows in found.items()}

    def directions(self, checkpoint: Checkpoint) -> dict[str, Array]:
        """The row that the request names, or that is nearer to a person's handed photos than any is to any stranger."""
        heads = heads_of(checkpoint)
        found = {
            person: heads[name][row]
            for person, (name, row) in self.request.head_rows.items()
            if name in heads and 0 <= row < len(heads[name])
        }
        photos, unit = self.photos, units(self.answers_before)
        strangers = np.concatenate([photos.calibration, photos.teaching])
        for rows in heads.values():
            nearest, cosine = head_cosines(unit, photos.faces.identities, photos.forget, rows)
            _, normal = head_cosines(unit, photos.faces.identities, strangers, rows)
            for person, row, near in zip(photos.people(photos.forget).tolist(), nearest, cosine, strict=True):
                if near > normal.max():
                    found.setdefault(person, rows[row])
        return found


MOST_FALSE_MATCHES = 0.1
"""Of a model at the threshold in use: with more of them the threshold, or the contract, is another model's."""


def told_apart_of(unit: NDArray[np.float32], who: Array) -> NDArray[np.float64]:
    """(p,) of each person how often two of their photos are more alike than one of them and another person's (AUC)."""
    alike, found = unit @ unit.T, []
    for person in np.unique(who):
        mine = who == person
        own = alike[np.ix_(mine, mine)][~np.eye(int(mine.sum()), dtype=bool)]
        others = np.sort(alike[np.ix_(mine, ~mine)].ravel())
        below = (np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")) / 2
        found.append(float(below.mean() / len(others)) if len(own) and len(others) else np.nan)
    return np.array(found)


def fixed_threshold(request: ErasureRequest, vectors: Array, photos: RequestPhotos) -> Threshold:
    """The threshold in use or, where none is given, one placed by the model before."""
    if request.threshold is not None:
        rows = np.concatenate([photos.retain_held, photos.calibration, photos.strangers])
        unit, who = units(vectors), photos.faces.identities
        rate = float(rates(unit, unit, who, rows, request.threshold).false_match[0])
        if rate > MOST_FALSE_MATCHES and request.at_most_fmr is None:
            raise InputError(
                f"at the threshold {request.threshold:g} the model before takes {rate:.0%} of pairs of two people for "
                "one: that is no threshold in use; check --threshold and the contract, or allow it with --at-most-fmr"
            )
        return Threshold(value=request.threshold, about="the one in use, as the request says")
    value, rate = placed_threshold(vectors, photos)
    return Threshold(value=value, about=f"placed where the model before takes {rate:.1%} of wrong pairs")


def heads_of(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    """Matrices (people, d) that a direction per person may stand in."""
    found = {}
    for name, head in checkpoint.heads.items():
        rows = head if checkpoint.people_axis(name) == 0 else head.T
        found[name] = np.ascontiguousarray(rows.float().numpy())
    return found
